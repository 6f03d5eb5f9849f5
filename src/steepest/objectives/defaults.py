"""The objective that suits targets and outputs."""

from __future__ import annotations

from .classification import binary_cross_entropy, cross_entropy
from .core import Objective
from .regression import mse
from .transcription import ctc


def default_objective(kind: str, num_outputs: int) -> Objective:
    """Return mean squared error for numbers, CTC for transcripts, binary cross-entropy for one output, else cross-entropy."""
    if kind == "transcription":
        return ctc()
    if kind == "regression":
        return mse()
    return binary_cross_entropy() if kind == "classification" and num_outputs == 1 else cross_entropy()
