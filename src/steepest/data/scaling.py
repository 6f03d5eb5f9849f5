"""How numbers are scaled: a shift and a scale for each column, those that scikit-learn's transformers find.

They are written out here because importing scikit-learn takes as long as importing torch.
"""

from __future__ import annotations

import numpy as np

from ..errors import InputError

EPSILON = np.finfo(np.float64).eps
SCALINGS = ("standard", "minmax", "robust", "none")


def check_scaling(scaling: str) -> None:
    """Raise unless `scaling` is one we know."""
    if scaling not in SCALINGS:
        raise InputError(f"scaling must be one of {', '.join(SCALINGS)} (got {scaling!r})")


def scaler_numbers(values: np.ndarray, scaling: str) -> tuple[np.ndarray, np.ndarray]:
    """Return the shift and scale of each column of `values`, shape (rows, columns), without NaN.

    `"standard"`: mean and deviation; `"minmax"`: the least and the range; `"robust"`: median and distance of the quartiles (the
    deviation where those are equal); the scale of a constant column is 1.
    """
    values = np.asarray(values, dtype=np.float64)
    if scaling == "none":
        return np.zeros(values.shape[1]), np.ones(values.shape[1])
    if scaling == "minmax":
        least = values.min(axis=0)
        return least, _or_one(values.max(axis=0) - least)
    if scaling == "robust":
        low, middle, high = np.percentile(values, [25, 50, 75], axis=0)
        return middle, np.where(low == high, _or_one(values.std(axis=0)), high - low)  # half the values may be equal
    mean, variance = values.mean(axis=0), values.var(axis=0)
    rounding = len(values) * EPSILON * variance + (len(values) * mean * EPSILON) ** 2
    return mean, np.where(variance <= rounding, 1.0, np.sqrt(variance))


def _or_one(scale: np.ndarray) -> np.ndarray:
    return np.where(scale < 10 * EPSILON, 1.0, scale)
