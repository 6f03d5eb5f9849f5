"""Series in time: windows of what was seen, and what came after them; parts follow each other, and nothing is shuffled."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import InputError, shown, whole
from ..forms import Form
from ..later import pl
from ..sources import bare_name
from ..values import tupled
from .cleaning import MISSING_MARKS, CleaningReport, Marks, Reading, find_label, typed_as
from .core import Data
from .inputs import Series
from .reading import RawTable, read_frame
from .scaling import scaler_numbers
from .splitting import PARTS, SHARES, in_turn
from .targets import Targets
from .times import date_pattern, in_order, times, with_dates

if TYPE_CHECKING:
    from .gathering import Windows

WINDOWS_SEEN = 4  # times the horizon, where the user does not say


@dataclass(frozen=True)
class SeriesPreprocessing:
    """Windows of a series: `(x - shift) / scale` per feature, in rows of shape (window, features).

    What is forecast is scaled by the same two numbers as the label is where it is seen, for networks add to its last value.
    """

    names: tuple[str, ...]
    window: int
    horizon: int
    label: int
    shift: tuple[float, ...]
    scale: tuple[float, ...]
    reading: Reading = field(default_factory=Reading)  # how new steps are to be read
    time: str | None = None  # the column whose order they must have, and how text holds the time there
    pattern: str | None = None

    @property
    def form(self) -> Form:
        return Form("series", (self.window, len(self.names)))

    @property
    def target_scale(self) -> tuple[np.ndarray, np.ndarray]:
        """The shift and scale of each step ahead: those of the label."""
        return np.full(self.horizon, self.shift[self.label]), np.full(self.horizon, self.scale[self.label])

    def __call__(self, series: Series) -> Windows:
        import torch

        from .gathering import Windows

        scaled = (series.values - np.asarray(self.shift)) / np.asarray(self.scale)
        return Windows(torch.from_numpy(scaled.astype(np.float32)), torch.from_numpy(series.begins), self.window)

    def to_dict(self) -> dict[str, Any]:
        return {"kind": "series", **asdict(self), "reading": self.reading.to_dict()}

    @classmethod
    def from_dict(cls, value: dict[str, Any]) -> SeriesPreprocessing:
        kept = tupled(value, "names", "shift", "scale")
        if "reading" in kept:  # earlier records have none
            kept["reading"] = Reading.from_dict(kept["reading"])
        return cls(**kept)


def fit_series(series: Series, scaling: str, report: CleaningReport) -> SeriesPreprocessing:
    """Fit shift and scale of every feature on the steps that the training windows see; mean and deviation of the label."""
    last = int(series.begins.max()) + series.window
    seen = series.values[int(series.begins.min()) : last]
    shift, scale = scaler_numbers(seen, scaling)
    at = slice(series.label, series.label + 1)
    shift[at], scale[at] = scaler_numbers(seen[:, at], "none" if scaling == "none" else "standard")
    constant = [name for name, spread in zip(series.names, np.ptp(seen, axis=0), strict=True) if spread == 0]
    for name in constant:
        report.add("constant column in the training part", 1, "kept, it says nothing", name)
    return SeriesPreprocessing(
        series.names, series.window, series.horizon, series.label, tuple(shift.tolist()), tuple(scale.tolist()),
        series.reading, series.time, series.pattern,
    )  # fmt: skip


def read_series(
    source: Any,
    label: str | int,
    *,
    horizon: int,
    window: int | None = None,
    time: str | None = None,
    features: Sequence[str] | None = None,
    drop: Sequence[str] = (),
    missing: Sequence[str] = MISSING_MARKS,
    header: bool | None = None,
    on_bad_row: str = "stop",
    scaling: str = "standard",
    parts: tuple[float, ...] = SHARES,
    seed: int = 0,
    name: str | None = None,
) -> Data:
    """Read a series from a table whose rows follow each other in time, to forecast one of its columns.

    A row is a window of `window` steps of every feature; its targets are the next `horizon` values of the label. What is
    forecast in one part is never seen in another before it; the first windows of a part look back over the cut.

    Args:
        source: a csv or parquet file, or a frame.
        label: the column to forecast, by name or position; its own past is a feature.
        horizon: how many steps ahead are forecast, >= 1.
        window: how many steps are seen, >= 1; None: four times the horizon.
        time: the column that holds the time; None: the first one that holds dates. Rows must be in its order.
        features: the columns that are seen; None: every column of numbers. `features=(label,)`: its own past alone.
        drop: columns to leave out.
        missing: marks of a missing cell; a missing value is the last one before it, or the median of the training part.
        header: whether line 1 names the columns.
        on_bad_row: `"stop"` at a row that cannot be right, or `"skip"` it.
        scaling: of features, as in `read_table`; the label has mean 0 and deviation 1, unless it is `"none"`.
        parts: shares of train, validation, test and certificate, in this order in time.
        seed: not used: nothing is dealt out at random.
        name: what records call the data; None: the file's name.

    Raises:
        InputError: a date that cannot be, rows that are not in the order of time, a part shorter than a window and its horizon.
    """
    del seed
    whole("horizon", horizon, 1)
    window = WINDOWS_SEEN * horizon if window is None else window
    whole("window", window, 1)
    raw = read_frame(source, header=header, on_bad_row=on_bad_row) if isinstance(source, str | Path) else RawTable.taken(source)
    report = CleaningReport(raw.frame.height, raw.frame.width, [])
    for note in raw.notes:
        report.note(note)
    label = find_label(raw.frame.columns, label, raw.source)
    _check_numbers(raw, label, missing)
    raw = with_dates(raw, time, report) if on_bad_row == "skip" else raw
    advice = "correct or remove the row, or add --on-bad-row skip, which leaves such rows out"
    stamps, pattern = times(raw, time, advice=advice), None
    if stamps is not None:
        pattern = date_pattern(raw.frame[stamps.name])
        raw = in_order(raw, stamps, report, on_bad_row)
    names = _features(raw, label, stamps.name if stamps is not None else None, features, drop, missing, report)
    name = name or bare_name(raw.source)
    cuts = in_turn(raw.frame.height, parts, name)
    values = np.column_stack([_steps(raw, column, missing, cuts[0][1], report) for column in names])
    series, dealt = _windows(values, tuple(names), names.index(label), window, horizon, cuts, name)
    kept = Reading(Marks(tuple(missing)), header)
    series = replace(series, reading=kept, time=None if stamps is None else stamps.name, pattern=pattern)
    ahead = series.begins[:, None] + window + np.arange(horizon)
    targets = values[ahead, names.index(label)]
    return Data(name, series, Targets("regression", targets), dealt, report, scaling, in_time=True)


def _features(
    raw: RawTable, label: str, time: str | None, features: Sequence[str] | None, drop: Sequence[str], missing: Sequence[str],
    report: CleaningReport,
) -> list[str]:  # fmt: skip
    """Return the names of the columns that are seen: the label, and then the others."""
    for asked in (*(features or ()), *drop):
        find_label(raw.frame.columns, asked, raw.source)
    if features is not None:
        return list(dict.fromkeys([label, *features]))
    names = [label]
    for name in raw.frame.columns:
        if name in (*drop, label, time):
            continue
        if _words(raw.frame[name], missing) is not None:
            report.add("column of text", 1, "left out of the series", name)
            continue
        names.append(name)
    return names


def _words(cells: pl.Series, missing: Sequence[str]) -> str | None:
    """Return the first cell of a column that is no number, where most are none."""
    if cells.dtype != pl.String:
        return None
    marked = cells.str.strip_chars()
    present = marked.filter(~marked.is_in(list(missing)))
    others = present.filter(present.cast(pl.Float64, strict=False).is_null())
    return others[0] if len(others) > len(present) / 2 else None


def _check_numbers(raw: RawTable, label: str, missing: Sequence[str]) -> None:
    """Raise unless what is to be forecast is numbers."""
    if (found := _words(raw.frame[label], missing)) is not None:
        raise InputError(
            f"{raw.source}: {label!r} is not a column of numbers (it holds {shown(found)}); a series forecasts one; leave "
            "--horizon out to tell classes apart"
        )


def _steps(raw: RawTable, name: str, missing: Sequence[str], trained: int, report: CleaningReport) -> np.ndarray:
    """Return a column as numbers without gaps: the last value before them, or the median of the first `trained` steps."""
    values = typed_as(raw, name, "number", Marks(tuple(missing)).of(name)).values
    absent = np.isnan(values)
    if absent[:trained].all():
        advice = f"leave it out with --drop {name}, or give other parts"
        raise InputError(
            f"{raw.source}: the column {name!r} is empty over the training part, the first {trained:,} steps; {advice}"
        )
    last = np.maximum.accumulate(np.where(absent, -1, np.arange(len(values))))
    leading = last < 0
    report.add("missing values before the first", int(leading.sum()), "filled with the training median", name)
    report.add("missing values", int((absent & ~leading).sum()), "filled with the last value before them", name)
    return np.where(leading, np.nanmedian(values[:trained]), values[last])


def _windows(
    values: np.ndarray, names: tuple[str, ...], label: int, window: int, horizon: int, cuts: list[tuple[int, int]], source: str
) -> tuple[Series, dict[str, np.ndarray]]:
    """Return all windows and the rows of each part: those whose targets lie in it."""
    begins, dealt, count = [], {}, 0
    for part, (begin, end) in zip(PARTS, cuts, strict=True):
        first = max(begin - window, 0)
        found = np.arange(first, max(first, end - window - horizon + 1))
        if end > begin and not len(found):
            raise InputError(
                f"{source}: the {part} part has {end - begin} steps, too few for a window of {window} and {horizon} ahead; "
                "give a smaller window or horizon, or other parts"
            )
        begins.append(found)
        dealt[part] = np.arange(count, count + len(found))
        count += len(found)
    return Series(values, names, np.concatenate(begins).astype(np.int64), window, horizon, label), dealt
