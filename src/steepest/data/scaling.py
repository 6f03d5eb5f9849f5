"""How numbers are scaled: a shift and a scale for each column, as scikit-learn's transformers find them."""

from __future__ import annotations

import numpy as np

from ..errors import InputError

SCALINGS = ("standard", "minmax", "robust", "none")


def check_scaling(scaling: str) -> None:
    """Raise unless `scaling` is one we know."""
    if scaling not in SCALINGS:
        raise InputError(f"scaling must be one of {', '.join(SCALINGS)} (got {scaling!r})")


def scaler_numbers(values: np.ndarray, scaling: str) -> tuple[np.ndarray, np.ndarray]:
    """Return the shift and scale that scikit-learn's transformer finds for each column of `values`, shape (rows, columns)."""
    from sklearn.preprocessing import MinMaxScaler, RobustScaler, StandardScaler

    if scaling == "none":
        return np.zeros(values.shape[1]), np.ones(values.shape[1])
    if scaling == "standard":
        standard = StandardScaler().fit(values)
        return np.asarray(standard.mean_), np.asarray(standard.scale_)
    if scaling == "minmax":
        span = MinMaxScaler().fit(values)
        return span.data_min_, np.where(span.data_range_ == 0, 1.0, span.data_range_)
    robust = RobustScaler().fit(values)
    quartiles = np.percentile(values, [25, 75], axis=0)
    spread = np.where(values.std(axis=0) == 0, 1.0, values.std(axis=0))
    return robust.center_, np.where(quartiles[0] == quartiles[1], spread, robust.scale_)  # half the values may be equal
