"""Rules: the mathematics of one update, written once. This floor imports no torch."""

from .adaptive import orthogonal, scale_by_adadelta, scale_by_adagrad, scale_by_adam, scale_by_lion, scale_by_rms
from .catalogue import adadelta, adagrad, adam, adamw, ema_momentum, lion, momentum, muon, nesterov, rmsprop, sgd
from .core import KINDS, Chain, Link, Parameter, Rule, Split, Transform, chain, split
from .transforms import clip_global_norm, clip_value, decay_weights, ema, heavy_ball, scale_by_learning_rate

__all__ = [
    "KINDS",
    "Chain",
    "Link",
    "Parameter",
    "Rule",
    "Split",
    "Transform",
    "adadelta",
    "adagrad",
    "adam",
    "adamw",
    "chain",
    "clip_global_norm",
    "clip_value",
    "decay_weights",
    "ema",
    "ema_momentum",
    "heavy_ball",
    "lion",
    "momentum",
    "muon",
    "nesterov",
    "orthogonal",
    "rmsprop",
    "scale_by_adadelta",
    "scale_by_adagrad",
    "scale_by_adam",
    "scale_by_learning_rate",
    "scale_by_lion",
    "scale_by_rms",
    "sgd",
    "split",
]
