"""Making Data from tables: csv and parquet files, pandas and polars frames, with a test file if there is one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from ..errors import InputError
from .cleaning import MISSING_MARKS, CleaningReport, Column, Marks, Reading, Table, clean, find_label, typed_as
from .core import Data
from .reading import RawTable, read_frame
from .splitting import SHARES, deal
from .targets import Targets, align, encode


def read_table(
    source: Any,
    label: str | int,
    *,
    test: Any = None,
    header: bool | None = None,
    missing: Sequence[str] = MISSING_MARKS,
    missing_in: Mapping[str, Sequence[str]] | None = None,
    categorical: Sequence[str] = (),
    drop: Sequence[str] = (),
    on_bad_row: str = "stop",
    kind: str | None = None,
    scaling: str = "standard",
    parts: tuple[float, ...] = SHARES,
    seed: int = 0,
    name: str | None = None,
) -> Data:
    """Read a table from a csv or parquet file or a frame, and clean it.

    Args:
        source: a path (csv, csv.gz, tsv, parquet) or a pandas or polars frame.
        label: the column to predict, by name or by position (from 0, -1 is the last).
        test: a second file or frame that becomes the test part.
        header: whether line 1 names the columns; without names they are c1, c2, ...
        missing: marks of a missing cell; `missing_in` adds marks per column, such as `{"c2": ["0"]}`.
        categorical: columns of categories that look like numbers.
        drop: columns to leave out.
        on_bad_row: `"stop"` at a row that cannot be right, or `"skip"` it.
        kind: `"classification"` or `"regression"`; None: told from the label.
        scaling: of numbers: `"standard"`, `"minmax"`, `"robust"` or `"none"`.
        parts: shares of train, validation, test and certificate; with a test file the test share goes to the others.
        seed: how rows are dealt out.
        name: what records call the data; None: the file's name.

    Raises:
        InputError: anything that cannot be right, with its line and column.
    """
    raw = _raw(source, header, on_bad_row)
    name = name or Path(raw.source).name.removesuffix(".gz").rsplit(".", 1)[0]
    label = find_label(raw.frame.columns, label, raw.source)
    report, reading = CleaningReport(), Reading(Marks(tuple(missing), missing_in or {}), header)
    table, target = clean(raw, label, report, reading=reading, categorical=categorical, drop=drop, on_bad_row=on_bad_row)
    targets = encode(target.values, raw.source, f"label {label!r}", kind)
    num_test = 0
    if test is not None:
        other = _raw(test, header, on_bad_row)
        test_table, labels = _conform(other, table, target)
        codes = align(labels, targets.classes, other.source, report) if targets.classes else labels
        table = table.joined(test_table)
        targets = Targets(targets.kind, np.concatenate([targets.values, codes]), targets.classes)
        num_test = len(codes)
    dealt = deal(targets, parts, seed, name, num_test)
    return Data(name, table, targets, dealt, report, scaling, test_given=test is not None)


def _raw(source: Any, header: bool | None, on_bad_row: str) -> RawTable:
    if isinstance(source, str | Path):
        return read_frame(source, header=header, on_bad_row=on_bad_row)
    return RawTable.taken(source)


def _conform(raw: RawTable, table: Table, target: Column) -> tuple[Table, np.ndarray]:
    """Read a second file with the columns and kinds of the first; return its inputs and labels."""
    for column in (*table.columns, target):
        if column.name not in raw.frame.columns:
            raise InputError(f"{raw.source}: lacks the column {column.name!r} of the training file")
    marks = table.reading.marks
    columns = tuple(typed_as(raw, column.name, column.kind, marks.of(column.name)) for column in table.columns)
    labels = typed_as(raw, target.name, target.kind, marks.of(target.name)).values
    absent = [i for i, value in enumerate(labels) if value is None or (isinstance(value, float) and np.isnan(value))]
    if absent:
        raise InputError(f"{raw.source}, {raw.place(absent[0])}: the label {target.name!r} is missing in the test file")
    return Table(columns), labels


def frame_columns(frame: pl.DataFrame, report: CleaningReport) -> Table:
    """Clean a frame that has no label column."""
    label = "(label)"
    raw = RawTable.of(frame.with_columns(pl.Series(label, np.arange(frame.height) % 2)), "X")
    table, _ = clean(raw, label, report)
    report.columns -= 1
    return table


def number_table(values: np.ndarray) -> Table:
    """Return a table of number columns c1, c2, ... from a matrix."""
    return Table(tuple(Column(f"c{i + 1}", "number", values[:, i].astype(np.float64)) for i in range(values.shape[1])))
