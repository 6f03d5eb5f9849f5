"""Tables as they are after cleaning: typed columns, and how they were read, so that new rows are read alike."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from ..later import pl
from .findings import CleaningReport

if TYPE_CHECKING:
    from .preprocessing import TablePreprocessing

MISSING_MARKS = ("", "?", "NA", "N/A", "n/a", "#N/A", "<NA>", "NaN", "nan", "NULL", "null", "None")


@dataclass(frozen=True)
class Column:
    """A cleaned column.

    Attributes:
        name: its name.
        kind: `"number"`, `"date"`, `"category"` or `"text"`; `"name"`: text that only names the rows, and is not kept.
        values: numbers, or dates in seconds since 1970 (float64, NaN where missing); or text (None where missing).
        pattern: how text holds a date, such as `"%Y-%m-%d"`, or a number, such as `"1.234,5 €"`; `""`: plainly.
    """

    name: str
    kind: str
    values: np.ndarray
    pattern: str = ""

    def take(self, rows: np.ndarray) -> Column:
        return replace(self, values=self.values[rows])

    def cells(self) -> pl.Series:
        """Return the values as a polars column, null where missing."""
        if self.values.dtype == object:
            return pl.Series(self.name, self.values.tolist(), dtype=pl.String)
        return pl.Series(self.name, self.values).fill_nan(None)


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
        columns = tuple(replace(a, values=np.concatenate([a.values, b.values])) for a, b in pairs)
        return Table(columns, self.reading)

    def names(self, kind: str) -> list[str]:
        return [column.name for column in self.columns if column.kind == kind]

    def __getitem__(self, name: str) -> Column:
        return next(column for column in self.columns if column.name == name)
