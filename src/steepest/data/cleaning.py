"""Cleaning: from a table of text to typed columns, with a report of everything that was done.

Nothing is repaired silently. Cells that mean "missing" are marked, columns are told into numbers and categories, empty and
identifier-like columns are left out, rows without a label are left out; each of these is a line of the report. What cannot
be true - text in a column of numbers, an infinite value - stops with the column and the line.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import polars as pl

from ..errors import InputError, unknown
from .reading import RawTable

if TYPE_CHECKING:
    from .preprocessing import TablePreprocessing

MISSING_MARKS = ("", "?", "NA", "N/A", "n/a", "#N/A", "<NA>", "NaN", "nan", "NULL", "null", "None")
MOSTLY_NUMBERS = 0.9  # above this share of numbers, the rest of a column is taken for mistakes
MAX_DISTINCT_SHARE = 0.5  # text that differs in more rows than this names the rows rather than describes them
FEW_ROWS = 50
LARGEST = 1e100  # beyond, the variance of a column overflows
SIMPLE = (pl.String, pl.Boolean, pl.Categorical, pl.Enum, pl.Date, pl.Datetime, pl.Null)


@dataclass(frozen=True)
class Finding:
    """One thing that cleaning did or noticed: what, in which column (None: the whole table), how often, done what."""

    what: str
    column: str | None
    count: int
    action: str

    def __str__(self) -> str:
        where = f" in {self.column}" if self.column else ""
        return f"{self.count:,} {self.what}{where}: {self.action}"


@dataclass
class CleaningReport:
    """Everything that cleaning did, in order."""

    rows: int = 0
    columns: int = 0
    findings: list[Finding] = field(default_factory=list)

    def add(self, what: str, count: int, action: str, column: str | None = None) -> None:
        """Add a finding unless there is nothing to tell."""
        if count:
            self.findings.append(Finding(what, column, int(count), action))

    def note(self, text: str) -> None:
        """Add what was noticed on the way."""
        self.findings.append(Finding("note", None, 1, text))

    def to_dict(self) -> dict[str, Any]:
        return {"rows": self.rows, "columns": self.columns, "findings": [asdict(finding) for finding in self.findings]}

    def __str__(self) -> str:
        head = f"{self.rows:,} rows, {self.columns} columns"
        return "\n".join([head, *(f"  {finding}" for finding in self.findings)])


@dataclass(frozen=True)
class Column:
    """A cleaned column: numbers (float64, NaN where missing) or categories (text, None where missing)."""

    name: str
    kind: str  # "number" or "category"
    values: np.ndarray

    def take(self, rows: np.ndarray) -> Column:
        return Column(self.name, self.kind, self.values[rows])


@dataclass(frozen=True)
class Marks:
    """What means a missing cell: in every column, and further marks per column such as `{"glucose": ["0"]}`."""

    everywhere: Sequence[str] = MISSING_MARKS
    by_column: Mapping[str, Sequence[str]] = field(default_factory=dict)

    def of(self, column: str) -> tuple[str, ...]:
        return (*self.everywhere, *self.by_column.get(column, ()))


@dataclass(frozen=True)
class Reading:
    """How a table was read, kept so that new rows are read alike: missing marks, and whether line 1 named the columns."""

    marks: Marks = field(default_factory=Marks)
    header: bool | None = None

    def to_dict(self) -> dict[str, Any]:
        by_column = {name: list(marks) for name, marks in self.marks.by_column.items()}
        return {"missing": list(self.marks.everywhere), "missing_in": by_column, "header": self.header}

    @classmethod
    def from_dict(cls, value: Mapping[str, Any]) -> Reading:
        return cls(Marks(tuple(value["missing"]), value["missing_in"]), value["header"])


@dataclass(frozen=True)
class Table:
    """Cleaned columns of equal length."""

    columns: tuple[Column, ...]
    reading: Reading = field(default_factory=Reading)
    kind: ClassVar[str] = "table"

    def __len__(self) -> int:
        return len(self.columns[0].values) if self.columns else 0

    def take(self, rows: np.ndarray) -> Table:
        """Return the table of these rows, in this order."""
        return Table(tuple(column.take(rows) for column in self.columns), self.reading)

    def describe(self) -> str:
        return f"{len(self):,} rows x {len(self.columns)} columns"

    def fit(self, scaling: str, report: CleaningReport) -> TablePreprocessing:
        """Fit the preprocessing on all rows, which must be the training rows."""
        from .preprocessing import fit_table

        return fit_table(self, scaling, report)

    def joined(self, other: Table) -> Table:
        """Return this table with the rows of another of the same columns below."""
        pairs = zip(self.columns, other.columns, strict=True)
        columns = tuple(Column(a.name, a.kind, np.concatenate([a.values, b.values])) for a, b in pairs)
        return Table(columns, self.reading)

    def names(self, kind: str) -> list[str]:
        return [column.name for column in self.columns if column.kind == kind]

    def __getitem__(self, name: str) -> Column:
        return next(column for column in self.columns if column.name == name)


def find_label(names: Sequence[str], label: str | int, source: str) -> str:
    """Return the name of the label column, given by name or by position (from 0, -1 is the last)."""
    if isinstance(label, str) and label in names:
        return label
    try:
        position = int(str(label))
    except ValueError:
        raise InputError(f"{source}: {unknown('label column', label, names)}") from None
    if not -len(names) <= position < len(names):
        raise InputError(f"{source}: label position {position} is outside the {len(names)} columns (0 to {len(names) - 1})")
    return names[position]


def clean(
    raw: RawTable,
    label: str,
    report: CleaningReport,
    *,
    reading: Reading | None = None,
    categorical: Sequence[str] = (),
    drop: Sequence[str] = (),
    on_bad_row: str = "stop",
) -> tuple[Table, Column]:
    """Type every column; return the inputs and the label column.

    Args:
        raw: the table as read.
        label: the name of the label column.
        report: takes the findings.
        reading: what means a missing cell.
        categorical: columns of categories even where they look like numbers.
        drop: columns to leave out.
        on_bad_row: at text among numbers, `"stop"` or `"skip"` the row.
    """
    reading = reading or Reading()
    marks = reading.marks
    for name in (*marks.by_column, *categorical, *drop):
        if name not in raw.frame.columns:
            raise InputError(f"{raw.source}: {unknown('column', name, raw.frame.columns)}")
    if label in drop:
        raise InputError(f"{raw.source}: the label {label!r} cannot be dropped")
    report.rows, report.columns = raw.frame.height, raw.frame.width
    for note in raw.notes:
        report.note(note)
    raw = _labelled(raw, label, marks, report)
    bad = np.zeros(raw.frame.height, dtype=bool) if on_bad_row == "skip" else None
    columns: list[Column] = []
    for name in raw.frame.columns:
        if name in drop:
            report.add("column", 1, "left out as asked", name)
            continue
        cells, absent = _cells(raw.frame[name], marks.of(name))
        column = _typed(raw, name, cells, name in categorical, bad)
        if name == label or _worth_keeping(column, cells, absent, report):
            columns.append(column)
    table = Table(tuple(columns), reading)
    if bad is not None and bad.any():
        report.add("rows with text among numbers", int(bad.sum()), "skipped")
        raw, table = raw.take(np.flatnonzero(~bad)), table.take(np.flatnonzero(~bad))
    inputs = Table(tuple(column for column in table.columns if column.name != label), reading)
    if not inputs.columns:
        raise InputError(f"{raw.source}: no column is left to learn from beside the label {label!r}")
    report.add("rows equal to another row", raw.frame.height - raw.frame.unique().height, "kept (they may be real)")
    return inputs, table[label]


def _worth_keeping(column: Column, cells: pl.Series, absent: int, report: CleaningReport) -> bool:
    """Return whether a column can tell anything about new rows; the report says why not, or what fills its missing cells."""
    if absent == len(cells):
        report.add("empty column", 1, "left out", column.name)
    elif column.kind == "number" and _counts_rows(column.values):
        report.add("consecutive whole numbers", len(cells), "left out: they count the rows", column.name)
    elif column.kind == "category" and _names_rows(cells):
        why = "left out: it names the rows rather than describes them"
        report.add("distinct texts", cells.n_unique(), why, column.name)
    else:
        filled = "filled with the training median" if column.kind == "number" else "a category of their own"
        report.add("missing cells", absent, filled, column.name)
        return True
    return False


def _labelled(raw: RawTable, label: str, marks: Marks, report: CleaningReport) -> RawTable:
    """Return the rows that have a label."""
    cells, _ = _cells(raw.frame[label], marks.of(label))
    keep = np.flatnonzero(cells.is_not_null().to_numpy())
    if not keep.size:
        raise InputError(f"{raw.source}: the label column {label!r} is missing in all {raw.frame.height} rows")
    report.add("rows without a label", raw.frame.height - keep.size, "left out", label)
    return raw.take(keep) if keep.size < raw.frame.height else raw


def _cells(series: pl.Series, marks: Sequence[str]) -> tuple[pl.Series, int]:
    """Return the column with missing cells as null, and how many there are."""
    if series.dtype == pl.String:
        series = series.str.strip_chars()
        series = series.set(series.is_in(list(marks)), None)
        return series, series.null_count()
    if not (series.dtype.is_numeric() or series.dtype in SIMPLE):
        raise InputError(f"column {series.name!r} holds {series.dtype}; expected numbers, text, booleans or dates; drop it")
    if series.dtype.is_float():
        series = series.fill_nan(None)
    if series.dtype.is_numeric() and (numbers := [float(mark) for mark in marks if _is_finite_number(mark)]):
        series = series.set(series.cast(pl.Float64).is_in(numbers), None)
    return series, series.null_count()


def _is_finite_number(text: str) -> bool:
    try:
        return math.isfinite(float(text))
    except ValueError:
        return False


def _typed(raw: RawTable, name: str, cells: pl.Series, as_category: bool, bad: np.ndarray | None) -> Column:
    """Tell numbers from categories; rows with text among numbers are marked in `bad`, or stop where it is None."""
    if as_category or cells.dtype in (pl.Categorical, pl.Enum, pl.Boolean):
        return _category(name, cells)
    values, wrong = _numbers(cells)
    share = 1 - wrong.sum() / max(len(cells) - cells.null_count(), 1)
    if wrong.any() and share < MOSTLY_NUMBERS:
        return _category(name, cells)
    if wrong.any() and bad is None:
        at = int(np.flatnonzero(wrong)[0])
        raise InputError(
            f"{raw.source}, {raw.place(at)}, column {name!r}: expected a number (as in {share:.1%} of its cells), "
            f"got {cells[at]!r}; correct it, or add --missing {name}={cells[at]}, --categorical {name} or --on-bad-row skip"
        )
    if bad is not None:
        bad |= wrong
    return _finite(raw, name, values)


def typed_as(raw: RawTable, name: str, kind: str, missing: Sequence[str]) -> Column:
    """Return a column of new rows, read as the kind that the training data had there."""
    cells, _ = _cells(raw.frame[name], missing)
    if kind == "category":
        return _category(name, cells)
    values, wrong = _numbers(cells)
    if wrong.any():
        at = int(np.flatnonzero(wrong)[0])
        raise InputError(f"{raw.source}, {raw.place(at)}, column {name!r}: expected a number, got {cells[at]!r}; correct it")
    return _finite(raw, name, values)


def _category(name: str, cells: pl.Series) -> Column:
    return Column(name, "category", cells.cast(pl.String).to_numpy())


def _numbers(cells: pl.Series) -> tuple[np.ndarray, np.ndarray]:
    """Return the column as float64 (NaN where missing), and where it holds text instead."""
    if cells.dtype in (pl.Date, pl.Datetime):
        cells = cells.cast(pl.Datetime("us")).cast(pl.Int64) / 86_400_000_000  # days
    numbers = cells.cast(pl.Float64, strict=False)
    return numbers.to_numpy().astype(np.float64, copy=True), (cells.is_not_null() & numbers.is_null()).to_numpy()


def _finite(raw: RawTable, name: str, values: np.ndarray) -> Column:
    if (huge := np.abs(np.nan_to_num(values, posinf=np.inf)) > LARGEST).any():
        at = int(np.flatnonzero(huge)[0])
        raise InputError(
            f"{raw.source}, {raw.place(at)}, column {name!r}: expected a finite number, got {values[at]} "
            f"(beyond {LARGEST:g}); correct or remove the row"
        )
    return Column(name, "number", values)


def _names_rows(cells: pl.Series) -> bool:
    present = len(cells) - cells.null_count()
    return present >= FEW_ROWS and cells.drop_nulls().n_unique() > MAX_DISTINCT_SHARE * present


def _counts_rows(values: np.ndarray) -> bool:
    """Return whether a column is 1, 2, 3, ... in some order: a row number that says nothing about new rows."""
    ordered = np.sort(values)
    return len(values) >= FEW_ROWS and bool(np.all(np.diff(ordered) == 1))
