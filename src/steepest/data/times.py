"""Columns that hold the time: found, read, and in order."""

from __future__ import annotations

import numpy as np
import polars as pl

from ..errors import InputError, unknown
from .cleaning import CleaningReport
from .reading import RawTable

FORMATS = (
    "%Y-%m-%d %H:%M:%S", "%Y-%m-%dT%H:%M:%S", "%Y-%m-%d %H:%M", "%Y-%m-%d", "%Y/%m/%d %H:%M:%S", "%Y/%m/%d %H:%M", "%Y/%m/%d",
    "%d.%m.%Y %H:%M:%S", "%d.%m.%Y %H:%M", "%d.%m.%Y", "%d/%m/%Y", "%m/%d/%Y",
)  # fmt: skip
MOSTLY = 0.9  # of the cells: then the rest are mistakes


def as_times(cells: pl.Series) -> pl.Series | None:
    """Return a column of text as times, null where a cell holds none, if most of its cells are times of one format."""
    if cells.dtype in (pl.Date, pl.Datetime):
        return cells.cast(pl.Datetime("us"))
    present = cells.drop_nulls()
    if cells.dtype != pl.String or not len(present):
        return None
    sample = present[:: max(1, len(present) // 200)]
    for pattern in FORMATS:
        if sample.str.to_datetime(pattern, strict=False, time_unit="us").null_count() <= (1 - MOSTLY) * len(sample):
            return cells.str.to_datetime(pattern, strict=False, time_unit="us")
    return None


def times(raw: RawTable, name: str | None) -> pl.Series | None:
    """Return the column that holds the time, in microseconds: the one named, else the first of dates, else None."""
    if name is not None and name not in raw.frame.columns:
        raise InputError(f"{raw.source}: {unknown('time column', name, raw.frame.columns)}")
    for column in [name] if name is not None else raw.frame.columns:
        cells = raw.frame[column]
        if name is not None and (cells.dtype.is_numeric() or cells.cast(pl.Float64, strict=False).null_count() == 0):
            return cells.cast(pl.Float64).alias(column)
        found = as_times(cells)
        if found is None:
            continue
        wrong = np.flatnonzero((found.is_null()).to_numpy())
        if len(wrong):
            at = int(wrong[0])
            raise InputError(
                f"{raw.source}, {raw.place(at)}, column {column!r}: expected a date such as {cells[0]!r}, got {cells[at]!r}; "
                "correct or remove the row"
            )
        return found.alias(column)
    if name is not None:
        raise InputError(f"{raw.source}: the column {name!r} holds no times (such as 2024-12-31 23:59, or numbers)")
    return None


def in_order(raw: RawTable, stamps: pl.Series, report: CleaningReport, on_bad_row: str) -> RawTable:
    """Return the table if its rows are in the order of time; in it, where bad rows are to be skipped rather than stop."""
    ticks = stamps.cast(pl.Float64).to_numpy()
    back = np.flatnonzero(np.diff(ticks) < 0)
    if back.size and on_bad_row == "stop":
        at = int(back[0]) + 1
        raise InputError(
            f"{raw.source}, {raw.place(at)}, column {stamps.name!r}: {raw.frame[stamps.name][at]!r} comes after "
            f"{raw.frame[stamps.name][at - 1]!r}; sort the rows by time, or add --on-bad-row skip, which leaves such rows out"
        )
    if back.size:
        late = ticks < np.maximum.accumulate(ticks)
        report.add("rows that go back in time", int(late.sum()), "left out", stamps.name)
        raw, ticks = raw.take(np.flatnonzero(~late)), ticks[~late]
    steps = np.diff(ticks)
    if len(steps):
        usual = np.median(steps)
        report.add("steps of another length than the others", int((steps != usual).sum()), "taken as one step", stamps.name)
    return raw
