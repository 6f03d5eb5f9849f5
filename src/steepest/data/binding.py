"""What binds rows to parts: groups that stay together, times that follow each other, a condition that test rows meet."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..errors import InputError, check_seed, shown, unknown
from ..later import pl
from .columns import Marks
from .conditions import rows_where
from .findings import CleaningReport
from .kinds import BadRows, marked_cells
from .reading import RawTable
from .splitting import PARTS, check_shares, deal, in_turn, without
from .targets import Targets
from .times import as_times, example_of, seconds


@dataclass(frozen=True)
class Binding:
    """Of each row: its group and its time, where there are such, and whether it is a test row."""

    tested: np.ndarray
    groups: np.ndarray | None = None  # of text; None: a row without a group
    stamps: np.ndarray | None = None  # rising numbers; NaN: a row without a time

    def take(self, rows: np.ndarray) -> Binding:
        groups, stamps = self.groups, self.stamps
        return Binding(self.tested[rows], None if groups is None else groups[rows], None if stamps is None else stamps[rows])

    def joined(self, tests: np.ndarray, groups: np.ndarray | None) -> Binding:
        """Return this with the rows of a test file below."""
        more = np.ones(len(tests), dtype=bool)
        if self.groups is not None:
            groups = np.concatenate([self.groups, np.full(len(tests), None, dtype=object) if groups is None else groups])
        stamps = None if self.stamps is None else np.concatenate([self.stamps, np.full(len(tests), np.nan)])
        return Binding(np.concatenate([self.tested, more]), groups, stamps)

    @property
    def group_numbers(self) -> np.ndarray | None:
        """The groups as numbers; a row without a group is one of its own."""
        if self.groups is None:
            return None
        numbers = pl.Series(self.groups.tolist(), dtype=pl.String).rank("dense").cast(pl.Int64)
        alone = numbers.is_null().to_numpy()
        found = numbers.fill_null(0).to_numpy().copy()
        found[alone] = found.max(initial=0) + 1 + np.arange(alone.sum())
        return found


def bound(
    raw: RawTable, marks: Marks, bad: BadRows | None, *, group: str | None, time: str | None, test_where: str | None
) -> Binding:
    """Read what binds the rows of a table; a time that cannot be stops, or is marked in `bad`."""
    for what, name in (("group", group), ("time", time)):
        if name is not None and name not in raw.frame.columns:
            raise InputError(f"{raw.source}: {unknown(f'{what} column', name, raw.frame.columns)}")
    if group is not None and time is not None:
        raise InputError(f"{raw.source}: rows are dealt out by group or in the order of time, not both; leave out one of them")
    tested = np.zeros(raw.frame.height, dtype=bool)
    if test_where is not None:
        tested = rows_where(raw, test_where, marks)
        if not tested.any():
            raise InputError(f"{raw.source}: no row is a test row by {test_where!r}; correct the condition")
    groups = None if group is None else group_cells(raw, group, marks)
    return Binding(tested, groups, None if time is None else _stamps(raw, time, marks, bad))


def group_cells(raw: RawTable, group: str, marks: Marks) -> np.ndarray:
    """Return the group of each row as text, None where there is none."""
    return marked_cells(raw.frame[group], marks.of(group))[0].cast(pl.String).to_numpy()


def _stamps(raw: RawTable, name: str, marks: Marks, bad: BadRows | None) -> np.ndarray:
    """Return the time of each row: numbers as they are, dates in seconds."""
    cells, _ = marked_cells(raw.frame[name], marks.of(name))
    numbers = None if cells.dtype in (pl.Date, pl.Datetime) else cells.cast(pl.Float64, strict=False)
    if numbers is not None and numbers.null_count() == cells.null_count():
        return numbers.fill_null(np.nan).to_numpy().copy()
    if as_times(cells) is None:
        raise InputError(f"{raw.source}: the column {name!r} holds no times (such as 2024-12-31 23:59, or numbers)")
    values, wrong = seconds(cells, "")
    if wrong.any() and bad is None:
        at = int(np.flatnonzero(wrong)[0])
        raise InputError(
            f"{raw.source}, {raw.place(at)}, column {name!r}: expected a time such as {example_of('')!r}, "
            f"got {shown(cells[at])}; correct it, or add --on-bad-row skip"
        )
    if bad is not None:
        bad.add("dates that cannot be", wrong)
    return values


def in_order(binding: Binding, time: str, report: CleaningReport) -> np.ndarray:
    """Return the rows in the order of time; those without a time are left out."""
    assert binding.stamps is not None
    absent = np.isnan(binding.stamps)
    report.add("rows without a time", int(absent.sum()), "left out", time)
    return np.argsort(binding.stamps, kind="stable")[: len(absent) - int(absent.sum())]


def deal_bound(
    targets: Targets, binding: Binding, shares: tuple[float, ...], seed: int, source: str, report: CleaningReport
) -> dict[str, np.ndarray]:
    """Deal rows out into the four parts as they are bound; rows must be in the order of time where that binds them."""
    tested, groups = binding.tested, binding.group_numbers
    torn = np.zeros(len(tested), dtype=bool)
    if groups is not None:
        torn = ~tested & np.isin(groups, groups[tested])
        report.add("rows of a group that has test rows", int(torn.sum()), "left out: a group never falls in two parts")
    rest = np.flatnonzero(~tested & ~torn)
    if not len(rest):
        raise InputError(f"{source}: all {len(tested)} rows are test rows, or of their groups; none are left to train on")
    with_test = not tested.any()
    if binding.stamps is not None:
        parts = _following(binding.stamps[rest], shares if with_test else without(("test",), check_shares(shares)), source)
        check_seed(seed)
    else:
        own = None if groups is None else groups[rest]
        parts = deal(targets.take(rest), shares, seed, source, with_test=with_test, groups=own)
    dealt = {name: rest[rows] for name, rows in parts.items()}
    return dealt if with_test else dealt | {"test": np.flatnonzero(tested)}


def _following(stamps: np.ndarray, shares: tuple[float, ...], source: str) -> dict[str, np.ndarray]:
    """Return parts that follow each other in time; rows of one time stay together."""
    count = len(stamps)
    between = np.array([0, *(np.flatnonzero(np.diff(stamps) > 0) + 1), count])  # where a new time begins
    ends = [int(between[np.argmin(np.abs(between - end))]) for _, end in in_turn(count, shares, source)]
    parts = {name: np.arange(begin, end) for name, begin, end in zip(PARTS, [0, *ends], ends, strict=False)}
    for name, share in zip(PARTS, shares, strict=True):
        if share and not len(parts[name]):
            times = len(between) - 1
            raise InputError(
                f"{source}: {times} different times are too few to split in {', '.join(PARTS)}; the {name} part is empty"
            )
    return parts


def learnable(
    targets: Targets, dealt: dict[str, np.ndarray], source: str, label: str, report: CleaningReport, on_bad_row: str
) -> tuple[Targets, dict[str, np.ndarray]]:
    """Return classes and parts without the classes that no training row has; such a class stops, unless it is to be skipped."""
    if targets.classes is None:
        return targets, dealt
    counts = np.bincount(targets.values[dealt["train"]], minlength=targets.num_classes)
    if counts.all():
        return targets, dealt
    lost = targets.classes[int(np.flatnonzero(counts == 0)[0])]
    if on_bad_row == "stop" or (counts > 0).sum() < 2:
        raise InputError(
            f"{source}: no training row has the label {shown(lost)} of {label!r}, only rows of other parts; deal the rows out "
            "otherwise, or add --on-bad-row skip"
        )
    places = np.where(counts > 0, np.cumsum(counts > 0) - 1, -1)
    values = places[targets.values]
    kept = {name: rows[values[rows] >= 0] for name, rows in dealt.items()}
    skipped = sum(len(dealt[name]) - len(rows) for name, rows in kept.items())
    report.add("rows with a label that no training row has", skipped, "skipped", label)
    classes = tuple(name for name, count in zip(targets.classes, counts, strict=True) if count)
    return Targets(targets.kind, values, classes), kept
