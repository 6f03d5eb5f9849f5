"""Objectives as people give them: a value, its name or text, or a function of their own."""

from __future__ import annotations

from typing import Any

from ..calls import read_named
from ..errors import InputError, check_callable
from .classification import binary_cross_entropy, cross_entropy, focal
from .core import Objective
from .own import own_objective
from .regression import huber, mse, pinball, poisson
from .transcription import ctc

_MAKERS = {
    "mse": mse, "huber": huber, "poisson": poisson, "pinball": pinball, "cross_entropy": cross_entropy,
    "binary_cross_entropy": binary_cross_entropy, "focal": focal, "ctc": ctc,
}  # fmt: skip
NAMES = tuple(_MAKERS)  # for recipes


def as_objective(value: Any) -> Objective | None:
    """Return the objective that a value, a name, a text or a function of the caller's own stands for; None stays None.

    >>> as_objective("focal(gamma=1.0)"), as_objective("mse")
    (focal(gamma=1.0), mse())
    """
    if value is None or isinstance(value, Objective):
        return value
    if isinstance(value, str):
        made = read_named(value, _MAKERS, what="objective", example="cross_entropy(label_smoothing=0.1)")
        if not isinstance(made, Objective):
            raise InputError(f"expected an objective such as mse() (got {value!r})")
        return made
    check_callable("objective", value, "one such as cross_entropy(), its text, or a function (outputs, targets) -> loss")
    return own_objective(value)
