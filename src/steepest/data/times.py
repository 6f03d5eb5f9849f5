"""Columns that hold the time: found, read, and in order."""

from __future__ import annotations

from datetime import datetime

import numpy as np

from ..errors import InputError, shown, unknown
from ..later import pl
from .findings import CleaningReport
from .reading import RawTable

FORMATS = (
    "%Y-%m-%d %H:%M:%S", "%Y-%m-%dT%H:%M:%S", "%Y-%m-%d %H:%M", "%Y-%m-%d", "%Y/%m/%d %H:%M:%S", "%Y/%m/%d %H:%M", "%Y/%m/%d",
    "%d.%m.%Y %H:%M:%S", "%d.%m.%Y %H:%M", "%d.%m.%Y", "%d/%m/%Y", "%m/%d/%Y", "%d/%m/%Y %H:%M", "%m/%d/%Y %H:%M",
    "%d/%m/%Y %H:%M:%S", "%m/%d/%Y %H:%M:%S", "%Y-%m-%dT%H:%M:%SZ", "%Y-%m-%d %H:%M:%S%.f", "%Y-%m-%dT%H:%M:%S%.f",
    "%Y-%m-%dT%H:%M:%S%.fZ",
)  # fmt: skip
MOSTLY = 0.9  # of the cells: then the rest are mistakes


SAMPLE = 200  # cells that tell the format


def is_date(dtype: object) -> bool:
    """Return whether a column's type is a date, or a date and a time."""
    return dtype in (pl.Date, pl.Datetime)


def date_pattern(cells: pl.Series) -> str | None:
    """Return the format that most cells of a column of text have, or None: the one that leaves the fewest unread."""
    present = cells.drop_nulls()
    if cells.dtype != pl.String or not len(present):
        return None
    sample = present[:: max(1, len(present) // SAMPLE)]
    unread = {pattern: _read(sample, pattern).null_count() for pattern in FORMATS}
    best = min(unread, key=unread.__getitem__)
    return best if unread[best] <= (1 - MOSTLY) * len(sample) else None


def _read(cells: pl.Series, pattern: str) -> pl.Series:
    return cells.str.to_datetime(pattern, strict=False, time_unit="us")


def as_times(cells: pl.Series, pattern: str | None = None) -> pl.Series | None:
    """Return a column of text as times, null where a cell holds none, if most of its cells are times of one format."""
    if is_date(cells.dtype):
        if getattr(cells.dtype, "time_zone", None) is not None:
            cells = cells.dt.convert_time_zone("UTC").dt.replace_time_zone(None)
        return cells.cast(pl.Datetime("us"))
    pattern = pattern or date_pattern(cells)
    return None if pattern is None or cells.dtype != pl.String else _read(cells, pattern)


def seconds(cells: pl.Series, pattern: str) -> tuple[np.ndarray, np.ndarray]:
    """Return dates as seconds since 1970 (float64, NaN where missing), and where a cell holds something else."""
    found = as_times(cells, pattern)
    found = pl.Series(cells.name, [None] * len(cells), dtype=pl.Datetime("us")) if found is None else found
    wrong = (cells.is_not_null() & found.is_null()).to_numpy()
    return (found.cast(pl.Int64).cast(pl.Float64) / 1e6).fill_null(np.nan).to_numpy().copy(), wrong


def example_of(pattern: str) -> str:
    """Return a date in a format.

    >>> example_of("%d.%m.%Y %H:%M")
    '31.12.2024 23:59'
    """
    return datetime(2024, 12, 31, 23, 59).strftime((pattern or FORMATS[3]).replace("%.f", ".5"))


def times(
    raw: RawTable, name: str | None, pattern: str | None = None, *, advice: str = "correct or remove the row"
) -> pl.Series | None:
    """Return the column that holds the time, in microseconds: the one named, else the first of dates, else None."""
    found = _stamps(raw, name, pattern)
    if found is None or not found.null_count():
        return found
    at, cells = int(found.is_null().arg_max() or 0), raw.frame[found.name]
    example = next((shown(cell) for cell, stamp in zip(cells, found, strict=True) if stamp is not None), "")
    raise InputError(
        f"{raw.source}, {raw.place(at)}, column {found.name!r}: expected a date such as {example}, got {shown(cells[at])}; "
        f"{advice}"
    )


def with_dates(raw: RawTable, name: str | None, report: CleaningReport) -> RawTable:
    """Return the rows whose time can be read."""
    found = _stamps(raw, name, None)
    if found is None or not found.null_count():
        return raw
    report.add("rows whose date cannot be read", found.null_count(), "left out", found.name)
    return raw.take(np.flatnonzero(found.is_not_null().to_numpy()))


def _stamps(raw: RawTable, name: str | None, pattern: str | None) -> pl.Series | None:
    """Return the column that holds the time; cells that hold none are null."""
    if name is not None and name not in raw.frame.columns:
        raise InputError(f"{raw.source}: {unknown('time column', name, raw.frame.columns)}")
    for column in [name] if name is not None else raw.frame.columns:
        cells = raw.frame[column]
        if name is not None and _counts(cells):
            return cells.cast(pl.Float64).alias(column)
        found = as_times(cells, pattern)
        if found is not None:
            return found.alias(column)
    if name is not None:
        raise InputError(f"{raw.source}: the column {name!r} holds no times (such as 2024-12-31 23:59, or numbers)")
    return None


def _counts(cells: pl.Series) -> bool:
    """Return whether a column holds numbers, as numbers or as text."""
    return not is_date(cells.dtype) and (cells.dtype.is_numeric() or cells.cast(pl.Float64, strict=False).null_count() == 0)


def backwards(raw: RawTable, stamps: pl.Series) -> str:
    """Return what to say of the first row that goes back in time, or nothing."""
    back = np.flatnonzero(np.diff(stamps.cast(pl.Float64).to_numpy()) < 0)
    if not back.size:
        return ""
    at, cells = int(back[0]) + 1, raw.frame[stamps.name]
    return (
        f"{raw.source}, {raw.place(at)}, column {stamps.name!r}: {shown(cells[at])} comes after {shown(cells[at - 1])}; "
        "sort the rows by time"
    )


def in_order(raw: RawTable, stamps: pl.Series, report: CleaningReport, on_bad_row: str) -> RawTable:
    """Return the table if its rows are in the order of time; in it, where bad rows are to be skipped rather than stop."""
    ticks = stamps.cast(pl.Float64).to_numpy()
    wrong = backwards(raw, stamps)
    if wrong and on_bad_row == "stop":
        raise InputError(f"{wrong}, or add --on-bad-row skip, which leaves such rows out")
    if wrong:
        late = ticks < np.maximum.accumulate(ticks)
        report.add("rows that go back in time", int(late.sum()), "left out", stamps.name)
        raw, ticks = raw.take(np.flatnonzero(~late)), ticks[~late]
    steps = np.diff(ticks)
    if len(steps):
        usual = np.median(steps)
        report.add("steps of another length than the others", int((steps != usual).sum()), "taken as one step", stamps.name)
    return raw


def times_ahead(raw: RawTable, name: str | None, pattern: str | None, count: int) -> pl.Series | None:
    """Return the times of the next `count` rows, written as the table writes them; None where its rows are not evenly spaced,
    in time or in months.
    """
    stamps = times(raw, name, pattern) if name in raw.frame.columns else None
    if stamps is None or len(stamps) < 3:  # two are always evenly spaced
        return None
    if stamps.dtype.is_numeric():
        return _numbers_ahead(stamps, count)
    ticks, months = np.diff(stamps.cast(pl.Int64)), np.diff(12 * stamps.dt.year().cast(pl.Int64) + stamps.dt.month())
    within = stamps - stamps.dt.month_start()
    at_end = bool((stamps.dt.month_end() == stamps).all())
    if ticks[0] > 0 and (ticks == ticks[0]).all():
        unit, step = "us", int(ticks[0])
    elif months[0] > 0 and (months == months[0]).all() and (at_end or within.n_unique() == 1):
        unit, step = "mo", int(months[0])
    else:
        return None
    last = stamps[-1:].dt.month_start() if unit == "mo" and at_end else stamps[-1:]
    found = pl.concat([last.dt.offset_by(f"{step * i}{unit}") for i in range(1, count + 1)])
    found = found.dt.month_end() if unit == "mo" and at_end else found
    cells = raw.frame[stamps.name]
    written = pattern or date_pattern(cells) or (FORMATS[3] if cells.dtype == pl.Date else FORMATS[0])
    return found.dt.strftime(written).alias(stamps.name)


def _numbers_ahead(stamps: pl.Series, count: int) -> pl.Series | None:
    ticks = stamps.to_numpy()
    steps = np.diff(ticks)
    if not (steps[0] > 0 and np.allclose(steps, steps[0], rtol=1e-6, atol=0)):
        return None
    found = pl.Series(stamps.name, ticks[-1] + steps[0] * np.arange(1, count + 1))
    return found.cast(pl.Int64) if (ticks == np.rint(ticks)).all() else found
