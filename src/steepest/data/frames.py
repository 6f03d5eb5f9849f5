"""Frames and arrays as people bring them, taken as they are: NumPy, pandas, polars, lists, torch tensors."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from ..errors import InputError, blaming, listed, shown
from ..later import pl


def is_frame(value: Any) -> bool:
    """Return whether a value is a pandas or polars frame or an Arrow table (told by its type's module; none is imported)."""
    return (type(value).__module__.split(".")[0], type(value).__name__) in (
        ("pandas", "DataFrame"), ("polars", "DataFrame"), ("polars", "LazyFrame"), ("pyarrow", "Table"),
    )  # fmt: skip


def is_records(value: Any) -> bool:
    """Return whether a value is a dict of columns or a list of dicts."""
    return isinstance(value, Mapping) or (isinstance(value, list) and bool(value) and isinstance(value[0], Mapping))


def to_polars(value: Any) -> pl.DataFrame:
    """Return a polars frame from a polars or pandas frame, an Arrow table, a list of dicts or a dict of columns."""
    if isinstance(value, pl.LazyFrame):
        return value.collect()
    if isinstance(value, pl.DataFrame):
        return value
    if type(value).__module__.split(".")[0] == "pyarrow":
        return pl.DataFrame(value)
    if is_frame(value):
        return pl.DataFrame([_pandas_column(str(name), value.iloc[:, i]) for i, name in enumerate(value.columns)])
    if isinstance(value, Mapping):
        columns = {str(name): _cells(str(name), column) for name, column in value.items()}
        lengths = {name: len(cells) for name, cells in columns.items()}
        if len(set(lengths.values())) > 1:
            found = listed(f"{length} in {name}" for name, length in lengths.items())
            raise InputError(f"the columns must have equally many rows (got {found})")
        with blaming("taking a dict of columns as a frame"):
            return pl.DataFrame(columns, strict=False)
    if isinstance(value, Sequence) and value and all(isinstance(row, Mapping) for row in value):
        with blaming("taking a list of dicts as a frame"):
            return pl.DataFrame([dict(row) for row in value], strict=False, infer_schema_length=None)
    raise InputError(f"expected a frame, a list of dicts or a dict of columns (got {type(value).__name__})")


def _cells(name: str, column: Any) -> list[Any]:
    if isinstance(column, str | bytes | Mapping) or not isinstance(column, Iterable):
        raise InputError(
            f"the column {shown(name)} must be a list or an array, a value a row (got {shown(column)}); a single row is "
            "written [{...}], a list of dicts"
        )
    return list(column)


def _pandas_column(name: str, series: Any) -> pl.Series:
    kind = series.dtype.kind if isinstance(series.dtype, np.dtype) else "O"
    if kind in "iufbM":
        return pl.Series(name, series.to_numpy())
    missing = series.isna().to_numpy()
    values = [None if absent else item for item, absent in zip(series.tolist(), missing, strict=True)]
    if all(isinstance(item, bool) for item in values if item is not None):
        return pl.Series(name, values, dtype=pl.Boolean)
    if all(isinstance(item, int | float) for item in values if item is not None):
        return pl.Series(name, values, dtype=pl.Float64, strict=False)
    return pl.Series(name, [None if item is None else str(item) for item in values], dtype=pl.String)


LARGEST = np.finfo(np.float32).max  # of what becomes float32


def to_numpy(value: Any, what: str) -> np.ndarray:
    """Return an array from an array, tensor, series or list; refuse ragged and empty ones."""
    if type(value).__module__.startswith("scipy.sparse"):
        raise InputError(f"{what} is a sparse matrix; pass {what}.toarray()")
    if hasattr(value, "detach"):
        with blaming(f"taking {what} as an array"):
            value = value.detach().cpu()
            value = (value.float() if value.is_floating_point() and value.element_size() < 4 else value).numpy()
    elif hasattr(value, "to_numpy"):
        value = value.to_numpy()
    elif is_frame(value):
        value = to_polars(value).to_numpy()
    try:
        array = np.asarray(value)
    except ValueError as error:
        raise InputError(f"{what} is not an array: its rows differ in length ({error})") from None
    if array.ndim == 0:
        raise InputError(f"{what} must have at least one dimension (got the single value {value!r})")
    if len(array) == 0:
        raise InputError(f"{what} is empty (0 rows)")
    return array


def to_numbers(value: Any, what: str) -> np.ndarray:
    """Return a numeric array without infinite values; NaN (missing) may remain."""
    array = to_numpy(value, what)
    if array.dtype == object or array.dtype.kind in "US":
        try:
            array = array.astype(np.float64)
        except (TypeError, ValueError) as error:
            raise InputError(f"{what}: expected numbers, got text or objects ({error})") from None
    if array.dtype.kind == "c":
        raise InputError(f"{what}: complex numbers are not supported; pass real and imaginary parts as columns")
    if 0 in array.shape[1:]:
        raise InputError(f"{what}: expected numbers in each row (got shape {array.shape})")
    if array.dtype.kind not in "biuf":
        raise InputError(f"{what}: expected numbers (got {array.dtype})")
    for begin, rows in in_pieces(array) if array.dtype.kind == "f" else ():
        huge = np.abs(rows) > LARGEST  # NaN is not
        if huge.any():
            row, *place = (int(i) for i in np.argwhere(huge)[0])
            raise InputError(
                f"{what} holds an infinite value, or one too large for float32, at {[begin + row, *place]}; correct or remove "
                "that row"
            )
    return array


def first_wrong(array: np.ndarray) -> int | None:
    """Return the first row with a number that is missing, infinite or too large for float32; None: there is none."""
    if array.dtype.kind != "f":
        return None
    wrong = ~(np.abs(array) <= LARGEST).reshape(len(array), -1).all(axis=1)  # NaN is neither
    return int(np.flatnonzero(wrong)[0]) if wrong.any() else None


NUMBERS_AT_ONCE = 2**17  # that are looked at: what is made of them stays in the cache of a core


def in_pieces(array: np.ndarray) -> Iterator[tuple[int, np.ndarray]]:
    """Yield the rows of an array some at a time, and the place of the first: what is made of them is never as large as all."""
    step = max(1, NUMBERS_AT_ONCE // max(1, math.prod(array.shape[1:])))
    for begin in range(0, len(array), step):
        yield begin, array[begin : begin + step]


def count_missing(array: np.ndarray) -> int:
    """Return how many numbers are NaN."""
    return sum(int(np.isnan(rows).sum()) for _, rows in in_pieces(array)) if array.dtype.kind == "f" else 0


def rows_of(array: np.ndarray, places: np.ndarray) -> np.ndarray:
    """Return some rows: the very same numbers, where they follow each other in memory that may be written to; else copies."""
    begin = int(places[0]) if len(places) else 0
    if len(places) and array.flags.writeable and np.array_equal(places, np.arange(begin, begin + len(places))):
        return array[begin : begin + len(places)]
    return array[places]
