"""Objectives: what training makes small. A loss per row, averaged over the batch, plus regularisers."""

from .classification import BinaryCrossEntropy, CrossEntropy, Focal, binary_cross_entropy, cross_entropy, focal
from .core import LossFunction, Objective, as_targets
from .defaults import default_objective
from .named import NAMES, as_objective
from .own import OwnObjective
from .regression import Huber, Mse, Pinball, Poisson, huber, mse, pinball, poisson
from .transcription import Ctc, ctc

__all__ = [
    "NAMES",
    "BinaryCrossEntropy",
    "CrossEntropy",
    "Ctc",
    "Focal",
    "Huber",
    "LossFunction",
    "Mse",
    "Objective",
    "OwnObjective",
    "Pinball",
    "Poisson",
    "as_objective",
    "as_targets",
    "binary_cross_entropy",
    "cross_entropy",
    "ctc",
    "default_objective",
    "focal",
    "huber",
    "mse",
    "pinball",
    "poisson",
]
