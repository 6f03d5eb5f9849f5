"""Networks by name: the text of one, as recipes and the command line have it, read as the value it stands for."""

from __future__ import annotations

from typing import Any

from ..calls import read_named
from ..errors import InputError
from .sequences import bag_of_words, gru, lstm, rnn, text_cnn, transformer
from .specs import ModelSpec, additive_model, linear_model, mlp, residual_cnn

_MAKERS = {
    "mlp": mlp, "linear_model": linear_model, "additive_model": additive_model, "residual_cnn": residual_cnn,
    "bag_of_words": bag_of_words, "text_cnn": text_cnn, "transformer": transformer, "gru": gru, "lstm": lstm, "rnn": rnn,
}  # fmt: skip
NAMES = tuple(_MAKERS)  # for recipes


def as_model(value: Any) -> Any:
    """Return the network that a name (`"mlp"`) or a text (`"mlp((64, 64))"`) stands for; anything else as it is.

    >>> as_model("mlp((8,), dropout=0.1)")
    mlp(hidden=(8,), dropout=0.1)
    """
    if not isinstance(value, str):
        return value
    made = read_named(value, _MAKERS, what="network", example="mlp((64, 64))")
    if not isinstance(made, ModelSpec):
        raise InputError(f"expected a network such as mlp((64, 64)) (got {value!r})")
    return made
