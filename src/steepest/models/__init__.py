"""Models: networks as frozen values, chosen by the data's kind. Importing this needs no torch; building does."""

from .specs import ModelSpec, default_model, linear_model, mlp, residual_cnn

__all__ = ["ModelSpec", "default_model", "linear_model", "mlp", "residual_cnn"]
