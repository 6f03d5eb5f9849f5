"""New rows, however they come, as network inputs: with the columns, categories and numbers of the training data."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..errors import InputError
from .cleaning import Table, typed_as
from .frames import is_frame, to_numbers, to_polars
from .preprocessing import CategoryStep, ImagePreprocessing, Preprocessing, TablePreprocessing
from .reading import RawTable, read_frame


def encode_rows(rows: Any, preprocessing: Preprocessing) -> np.ndarray:
    """Return new rows as network inputs, with the columns and categories of the training data."""
    if isinstance(preprocessing, TablePreprocessing):
        return preprocessing(_table_like(rows, preprocessing))
    if isinstance(rows, str) or is_frame(rows):
        raise InputError(f"this model reads arrays of shape (rows, {', '.join(map(str, preprocessing.shape))}), not tables")
    values = to_numbers(rows, "rows")
    if values.dtype.kind == "f" and np.isnan(values).any():
        raise InputError("rows hold NaN; only tables may have missing cells")
    if isinstance(preprocessing, ImagePreprocessing):
        values = channels_first(values, preprocessing.image_shape)
    if values.shape[1:] != preprocessing.shape:
        raise InputError(f"rows must have shape (n, {', '.join(map(str, preprocessing.shape))}); got {values.shape}")
    return preprocessing(values)


def channels_first(images: np.ndarray, shape: tuple[int, ...] | None = None) -> np.ndarray:
    """Return images as (rows, channels, height, width), from that, (rows, height, width[, channels]) or flat rows."""
    if shape is not None and images.shape[1:] == tuple(shape):
        return images
    if shape is not None and images.ndim == 2 and images.shape[1] == int(np.prod(shape)):
        return images.reshape(-1, *shape)
    if images.ndim == 3:
        return images[:, None]
    if images.ndim == 4 and images.shape[-1] in (1, 3, 4) and images.shape[1] not in (1, 3, 4):
        return np.ascontiguousarray(images.transpose(0, 3, 1, 2))
    if images.ndim == 4:
        return images
    raise InputError(f"images must have shape (rows, height, width[, channels]); got {images.shape}")


def _table_like(rows: Any, preprocessing: TablePreprocessing) -> Table:
    names = [step.name for step in preprocessing.steps]
    if isinstance(rows, np.ndarray) or hasattr(rows, "detach"):
        values = to_numbers(rows, "rows")
        if values.ndim != 2:
            raise InputError(f"rows must have shape (n, {len(names)}); got {values.shape}")
        taken = names if len(names) == values.shape[1] else [f"c{i + 1}" for i in range(values.shape[1])]  # in their order
        raw = RawTable.of(to_polars({name: values[:, i] for i, name in enumerate(taken)}), "rows")
    elif isinstance(rows, str) or hasattr(rows, "__fspath__"):
        raw = read_frame(rows, header=preprocessing.reading.header)
    else:
        raw = RawTable.of(to_polars(rows), "rows")
    columns = []
    for step in preprocessing.steps:
        if step.name not in raw.frame.columns:
            raise InputError(
                f"rows lack the column {step.name!r} that the model was trained on (they have {', '.join(raw.frame.columns)})"
            )
        kind = "category" if isinstance(step, CategoryStep) else "number"
        columns.append(typed_as(raw, step.name, kind, preprocessing.reading.marks.of(step.name)))
    return Table(tuple(columns))
