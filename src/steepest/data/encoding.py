"""New rows, however they come, as network inputs: with the columns, categories and numbers of the training data."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, overload

import numpy as np

from ..errors import InputError, listed
from .cleaning import Table, typed_as
from .frames import is_frame, is_records, to_numbers, to_polars
from .inputs import Arrays, Images, Series, Texts
from .language import CharacterPreprocessing
from .lines import Lines
from .pictures import as_pictures
from .preprocessing import ArrayPreprocessing, ImagePreprocessing, Preprocessing, TablePreprocessing
from .reading import RawTable, read_frame
from .recordings import as_sounds
from .series import SeriesPreprocessing
from .sounds import SoundPreprocessing
from .steps import DateStep, NumberStep
from .texts import TextPreprocessing
from .times import backwards, times

if TYPE_CHECKING:
    from .gathering import Rows


def encode_rows(rows: Any, preprocessing: Preprocessing) -> np.ndarray | Rows:
    """Return new rows as network inputs, with the columns, categories, words and numbers of the training data."""
    if isinstance(preprocessing, TablePreprocessing):
        raw = _table_like(rows, preprocessing)
        return preprocessing(_typed(raw, preprocessing), lambda row: f"{raw.source}, {raw.place(row)}")
    if isinstance(preprocessing, TextPreprocessing):
        return preprocessing(Texts(np.array(_texts(rows, preprocessing), dtype=object)))
    if isinstance(preprocessing, CharacterPreprocessing):
        raise InputError("a model of what comes next has no rows to predict; it continues a text: run.generate(prompt)")
    if isinstance(preprocessing, SoundPreprocessing):
        return preprocessing(as_sounds(rows, preprocessing.rate))
    if isinstance(preprocessing, SeriesPreprocessing):
        return preprocessing(_last_window(rows, preprocessing))
    shape = preprocessing.form.shape
    if isinstance(preprocessing, ImagePreprocessing):
        pictures = as_pictures(rows, shape[0], (shape[1], shape[2]))
        rows = rows if pictures is None else pictures
    if isinstance(rows, str) or is_frame(rows):
        raise InputError(f"this model reads arrays of shape (rows, {', '.join(map(str, shape))}), not tables")
    values = to_numbers(rows, "rows")
    if values.dtype.kind == "f" and np.isnan(values).any():
        raise InputError("rows hold NaN; only tables may have missing cells")
    if isinstance(preprocessing, ImagePreprocessing):
        values = channels_first(values, preprocessing.image_shape)
        if values.shape[1:] == shape:
            return preprocessing(Images(values))
    if values.shape[1:] != shape:
        raise InputError(f"rows must have shape (n, {', '.join(map(str, shape))}); got {values.shape}")
    return preprocessing(Arrays(values)) if isinstance(preprocessing, ArrayPreprocessing) else values.astype(np.float32)


def _texts(rows: Any, preprocessing: TextPreprocessing) -> list[str]:
    """Return texts given one by one, in a list or array, or in a column of a frame."""
    if isinstance(rows, Path):
        raise InputError(f"this model reads texts, and {rows} is a path; of a file of texts: run.predict_file(path)")
    if is_frame(rows) or is_records(rows):
        return texts_of_column(RawTable.of(to_polars(rows), "rows"), preprocessing)
    found = [rows] if isinstance(rows, str) else list(rows) if isinstance(rows, Iterable) else []
    if not found or not all(isinstance(text, str) for text in found):
        raise InputError("this model reads texts: a list of str, one a row")
    return found


def texts_of_column(raw: RawTable, preprocessing: TextPreprocessing) -> list[str]:
    """Return the texts of the column that the model was trained on; missing cells are empty texts, as in training."""
    names, name = raw.frame.columns, preprocessing.column
    if name is None and len(names) == 1:
        name = names[0]
    if name is None:
        raise InputError(
            f"{raw.source}: which column holds the texts is not known of this run; give a table of that column alone"
        )
    if name not in names:
        raise InputError(f"{raw.source}: lacks the column {name!r} that the model was trained on (it has {listed(names)})")
    if not raw.frame.height:
        raise InputError(f"{raw.source}: the column {name!r} has no rows")
    cells = typed_as(raw, name, "text", preprocessing.reading.marks.of(name)).values
    return [text or "" for text in cells]


def _last_window(rows: Any, preprocessing: SeriesPreprocessing) -> Series:
    """Return the last window of a table of steps, or windows of shape (n, window, features), as windows of a series."""
    names, window = preprocessing.names, preprocessing.window
    if isinstance(rows, np.ndarray) and rows.ndim == 3:
        values = to_numbers(rows, "rows")
        if values.shape[1:] != (window, len(names)):
            raise InputError(f"rows must have shape (n, {window}, {len(names)}); got {values.shape}")
        begins = np.arange(len(values), dtype=np.int64) * window
        values = values.reshape(-1, len(names))
    else:
        values, begins = _last_steps(rows, preprocessing), np.zeros(1, dtype=np.int64)
    if (absent := np.isnan(values).any(axis=0)).any():
        name = names[int(np.flatnonzero(absent)[0])]
        raise InputError(f"{_source(rows)}column {name!r}: a forecast needs steps without missing values; fill them first")
    return Series(values, names, begins, window, preprocessing.horizon, preprocessing.label)


def _source(rows: Any) -> str:
    """Return the beginning of a message about a file of rows."""
    named = rows.source if isinstance(rows, RawTable) else rows
    return f"{named}, " if isinstance(named, str | Path) else ""


def _last_steps(rows: Any, preprocessing: SeriesPreprocessing) -> np.ndarray:
    """Return the last steps of a table, read and checked as the training table was; shape (window, features)."""
    window, reading, time = preprocessing.window, preprocessing.reading, preprocessing.time
    if isinstance(rows, str | Path):
        rows = read_frame(rows, header=reading.header, on_bad_row=None)
    raw = rows if isinstance(rows, RawTable) else RawTable.taken(rows)
    _check_columns(raw, preprocessing.names)
    if raw.frame.height < window:
        raise InputError(f"{raw.source}: a forecast needs the last {window} steps (got {raw.frame.height})")
    if time in raw.frame.columns:
        stamps = times(raw, time, preprocessing.pattern)
        if stamps is not None and (wrong := backwards(raw, stamps)):
            raise InputError(wrong)
    return np.column_stack(
        [typed_as(raw, name, "number", reading.marks.of(name)).values[-window:] for name in preprocessing.names]
    )


def _check_columns(raw: RawTable, names: Iterable[str]) -> None:
    """Raise unless a table has the columns that the model was trained on."""
    if lacking := next((name for name in names if name not in raw.frame.columns), None):
        rows = "rows lack" if raw.source in ("rows", "frame") else f"{raw.source} lacks"
        they = "they have" if rows == "rows lack" else "it has"
        raise InputError(f"{rows} the column {lacking!r} that the model was trained on ({they} {listed(raw.frame.columns)})")


@overload
def channels_first(images: np.ndarray, shape: tuple[int, ...] | None = None) -> np.ndarray: ...


@overload
def channels_first(images: Lines, shape: tuple[int, ...] | None = None) -> Lines: ...


def channels_first(images: np.ndarray | Lines, shape: tuple[int, ...] | None = None) -> np.ndarray | Lines:
    """Return images as (rows, channels, height, width), from that, (rows, height, width[, channels]) or flat rows."""
    if shape is not None and images.shape[1:] == tuple(shape):
        return images
    if isinstance(images, np.ndarray) and shape is not None and images.ndim == 2 and images.shape[1] == int(np.prod(shape)):
        return images.reshape(-1, *shape)
    if images.ndim == 3:
        return replace(images, axes=(-1, 0, 1)) if isinstance(images, Lines) else images[:, None]
    if images.ndim == 4 and images.shape[-1] in (1, 3, 4) and images.shape[1] not in (1, 3, 4):
        if isinstance(images, Lines):
            return replace(images, axes=(2, 0, 1))
        return np.ascontiguousarray(images.transpose(0, 3, 1, 2))
    if images.ndim == 4:
        return images
    raise InputError(f"images must have shape (rows, height, width[, channels]); got {images.shape}")


def _table_like(rows: Any, preprocessing: TablePreprocessing) -> RawTable:
    """Return a file, frame, array or lists of new rows as it is read."""
    names = [step.name for step in preprocessing.steps]
    if isinstance(rows, str) or hasattr(rows, "__fspath__"):
        return read_frame(rows, header=preprocessing.reading.header, on_bad_row=None)
    if isinstance(rows, np.ndarray) or hasattr(rows, "detach") or (isinstance(rows, list | tuple) and not is_records(rows)):
        values = to_numbers(rows, "rows")
        if values.ndim != 2:
            hint = "; a single row is [[...]], a list of rows" if values.shape == (len(names),) else ""
            raise InputError(f"rows must have shape (n, {len(names)}); got {values.shape}{hint}")
        taken = names if len(names) == values.shape[1] else [f"c{i + 1}" for i in range(values.shape[1])]  # in their order
        return RawTable.of(to_polars({name: values[:, i] for i, name in enumerate(taken)}), "rows")
    return RawTable.of(to_polars(rows), "rows")


def _typed(raw: RawTable, preprocessing: TablePreprocessing) -> Table:
    """Return the columns that the model reads, each of the kind that it was in training."""
    columns = []
    _check_columns(raw, [step.name for step in preprocessing.steps])
    for step in preprocessing.steps:
        pattern = step.pattern if isinstance(step, DateStep | NumberStep) else ""
        columns.append(typed_as(raw, step.name, step.kind, preprocessing.reading.marks.of(step.name), pattern))
    return Table(tuple(columns))
