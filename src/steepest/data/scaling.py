"""How numbers are scaled: a shift and a scale for each column, those that scikit-learn's transformers find.

They are written out here because importing scikit-learn takes as long as importing torch.
"""

from __future__ import annotations

from collections.abc import Iterable

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
    return mean, _deviation(len(values), mean, variance)


def _deviation(rows: int, mean: np.ndarray, variance: np.ndarray) -> np.ndarray:
    """Return the deviation of each column, 1 where it is nothing but rounding."""
    rounding = rows * EPSILON * variance + (rows * mean * EPSILON) ** 2
    return np.where(variance <= rounding, 1.0, np.sqrt(variance))


def counted_numbers(counts: np.ndarray, scaling: str) -> tuple[np.ndarray, np.ndarray]:
    """Return what `scaler_numbers` finds, from how often each value 0, 1, 2, ... occurs, shape (values, columns).

    Of images in 8 bits 256 counts a channel say everything, however many images there are.

    >>> counted_numbers(np.array([[2], [0], [2]]), "standard")  # 0, 0, 2, 2
    (array([1.]), array([1.]))
    """
    values, rows = np.arange(len(counts), dtype=np.float64)[:, None], int(counts[:, 0].sum())
    if scaling == "none":
        return scaler_numbers(np.zeros((1, counts.shape[1])), scaling)
    least, most = (counts > 0).argmax(axis=0), len(counts) - 1 - (counts[::-1] > 0).argmax(axis=0)
    if scaling == "minmax":
        return least.astype(np.float64), _or_one((most - least).astype(np.float64))
    mean = (counts * values).sum(axis=0) / rows
    variance = (counts * (values - mean) ** 2).sum(axis=0) / rows
    if scaling == "robust":
        low, middle, high = (_percentile(counts, rows, share) for share in (0.25, 0.5, 0.75))
        return middle, np.where(low == high, _or_one(np.sqrt(variance)), high - low)
    return mean, _deviation(rows, mean, variance)


def _percentile(counts: np.ndarray, rows: int, share: float) -> np.ndarray:
    """Return the value of each column that a share of its values lies below, between two of them in proportion."""
    place = share * (rows - 1)
    below = np.cumsum(counts, axis=0)
    low, high = ((below > np.floor(at)).argmax(axis=0) for at in (place, min(place + 1, rows - 1)))
    return low + (high - low) * (place - np.floor(place))


def chunked_numbers(chunks: Iterable[np.ndarray], scaling: str) -> tuple[np.ndarray, np.ndarray]:
    """Return what `scaler_numbers` finds, of columns that come in chunks (rows, columns); `"robust"` needs them whole.

    Means and deviations of chunks are put together as Chan, Golub and LeVeque do (1979).
    """
    rows, mean, squares, least, most = 0, np.float64(0), np.float64(0), np.float64(np.inf), np.float64(-np.inf)
    for chunk in chunks:
        values = chunk.astype(np.float64)
        change, total = values.mean(axis=0) - mean, rows + len(values)
        squares = squares + len(values) * values.var(axis=0) + change**2 * (rows * len(values) / total)
        mean = mean + change * (len(values) / total)
        least, most, rows = np.minimum(least, values.min(axis=0)), np.maximum(most, values.max(axis=0)), total
    if scaling == "minmax":
        return np.asarray(least), _or_one(np.asarray(most - least))
    if scaling == "none":
        return np.zeros_like(mean), np.ones_like(mean)
    if scaling == "robust":
        raise InputError("robust scaling needs all numbers in memory; of rows that do not fit give scaling='standard'")
    return np.asarray(mean), _deviation(rows, np.asarray(mean), np.asarray(squares / rows))


def _or_one(scale: np.ndarray) -> np.ndarray:
    return np.where(scale < 10 * EPSILON, 1.0, scale)
