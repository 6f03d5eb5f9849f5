"""Models: networks as frozen values, chosen by the data's kind. Importing this needs no torch; building does."""

from .defaults import default_model
from .named import NAMES, as_model
from .sequences import bag_of_words, gru, lstm, rnn, text_cnn, transformer
from .specs import ModelSpec, additive_model, linear_model, mlp, residual_cnn

__all__ = [
    "NAMES",
    "ModelSpec",
    "additive_model",
    "as_model",
    "bag_of_words",
    "default_model",
    "gru",
    "linear_model",
    "lstm",
    "mlp",
    "residual_cnn",
    "rnn",
    "text_cnn",
    "transformer",
]
