"""What kind of column some cells make: numbers, dates, categories, text, or names of the rows; and the cells read as that."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from ..errors import InputError, shown
from ..later import pl
from .columns import Column
from .notations import as_numbers, number_notation
from .reading import RawTable
from .times import date_pattern, example_of, is_date, seconds

MOSTLY_NUMBERS = 0.9  # above this share of numbers, the rest of a column is taken for mistakes
MAX_DISTINCT_SHARE = 0.5  # text that differs in more rows than this names the rows rather than describes them
FEW_ROWS = 50
LARGEST = 1e100  # beyond, the variance of a column overflows
WORD = r"\p{L}[\w'’]*"  # begins with a letter
MIN_WORDS = 3  # a cell on average: fewer name something rather than say something
MIN_SHARED = 0.3  # share of a text's words that other cells have too
SAMPLE = 2_000  # cells looked at for that


@dataclass
class BadRows:
    """Rows that cannot be right, and in what; to be left out."""

    rows: int
    found: dict[str, np.ndarray] = field(default_factory=dict)

    def add(self, what: str, wrong: np.ndarray) -> None:
        """Mark rows where something is wrong."""
        if wrong.any():
            self.found[what] = self.found.get(what, False) | wrong

    @property
    def mask(self) -> np.ndarray:
        """Return for each row whether anything is wrong in it."""
        return np.logical_or.reduce([np.zeros(self.rows, dtype=bool), *self.found.values()])


def marked_cells(series: pl.Series, marks: Sequence[str]) -> tuple[pl.Series, int]:
    """Return the column with missing cells as null, and how many there are."""
    if series.dtype == pl.String:
        series = series.str.strip_chars()
        series = series.set(series.is_in(list(marks)), None)
        return series, series.null_count()
    simple = (pl.String, pl.Boolean, pl.Categorical, pl.Enum, pl.Date, pl.Datetime, pl.Null)
    if not (series.dtype.is_numeric() or series.dtype in simple):
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


def typed(
    raw: RawTable, name: str, cells: pl.Series, bad: BadRows | None, *, as_category: bool = False, label: bool = False
) -> Column:
    """Tell what kind of column these cells make, and read them; rows that cannot be right stop, or are marked in `bad`.

    A label is numbers or categories.
    """
    if as_category or cells.dtype in (pl.Categorical, pl.Enum, pl.Boolean):
        return category(name, cells) if label or not names_rows(cells) else _name(name)
    if is_date(cells.dtype) and not label:
        return _dates(raw, name, cells, "", bad)
    values, wrong = _numbers(cells)
    pattern = number_notation(cells, raw.delimiter) if wrong.any() else ""
    if pattern:
        values, wrong = _numbers(cells, pattern)
    share = 1 - wrong.sum() / max(len(cells) - cells.null_count(), 1)
    if wrong.any() and share < MOSTLY_NUMBERS:
        return category(name, cells) if label else _of_text(raw, name, cells, bad)
    if wrong.any() and bad is None:
        at = int(np.flatnonzero(wrong)[0])
        raise InputError(
            f"{raw.source}, {raw.place(at)}, column {name!r}: expected a number (as in {share:.1%} of its cells), "
            f"got {shown(cells[at])}{_way_out(name, cells[at])}"
        )
    if bad is not None:
        bad.add("text among numbers", wrong)
    return _finite(raw, name, values, bad, pattern)


def _of_text(raw: RawTable, name: str, cells: pl.Series, bad: BadRows | None) -> Column:
    pattern = date_pattern(cells)
    if pattern is not None:
        return _dates(raw, name, cells, pattern, bad)
    if not names_rows(cells):
        return category(name, cells)
    return _text(name, cells) if _says_something(cells) else _name(name)


def typed_as(
    raw: RawTable, name: str, kind: str, missing: Sequence[str], pattern: str = "", bad: BadRows | None = None
) -> Column:
    """Return a column of new rows, read as the kind that the training data had there."""
    cells, _ = marked_cells(raw.frame[name], missing)
    if kind == "category":
        return category(name, cells)
    if kind == "text":
        return _text(name, cells)
    if kind == "date":
        return _dates(raw, name, cells, pattern, bad, training=False)
    values, wrong = _numbers(cells, pattern)
    if wrong.any() and bad is None:
        at, such = int(np.flatnonzero(wrong)[0]), f" such as {pattern!r}" if pattern else ""
        raise InputError(
            f"{raw.source}, {raw.place(at)}, column {name!r}: expected a number{such}, got {shown(cells[at])}; correct it"
        )
    if bad is not None:
        bad.add("text among numbers", wrong)
    return _finite(raw, name, values, bad, pattern)


def category(name: str, cells: pl.Series) -> Column:
    """Return a column of categories; rows of one category share one text in memory."""
    cells = cells.cast(pl.String)
    levels = cells.drop_nulls().unique()
    codes = cells.cast(pl.Enum(levels)).to_physical().cast(pl.Int64).fill_null(len(levels))
    return Column(name, "category", np.array([*levels, None], dtype=object)[codes.to_numpy()])


def _text(name: str, cells: pl.Series) -> Column:
    return Column(name, "text", cells.cast(pl.String).to_numpy())


def _name(name: str) -> Column:
    return Column(name, "name", np.empty(0, dtype=object))


def _way_out(name: str, cell: str) -> str:
    """Return what may be done about a cell that is not of its column's kind, where data are learned from."""
    missing = f"--missing {name}={cell}, " if shown(cell) == repr(cell) else ""
    return f"; correct it, or add {missing}--categorical {name} or --on-bad-row skip"


def _dates(raw: RawTable, name: str, cells: pl.Series, pattern: str, bad: BadRows | None, *, training: bool = True) -> Column:
    values, wrong = seconds(cells, pattern)
    if wrong.any() and bad is None:
        at = int(np.flatnonzero(wrong)[0])
        raise InputError(
            f"{raw.source}, {raw.place(at)}, column {name!r}: expected a date such as {example_of(pattern)!r}, "
            f"got {shown(cells[at])}{_way_out(name, cells[at]) if training else '; correct it'}"
        )
    if bad is not None:
        bad.add("dates that cannot be", wrong)
    return Column(name, "date", values, pattern)


def _numbers(cells: pl.Series, pattern: str = "") -> tuple[np.ndarray, np.ndarray]:
    """Return the column as float64 (NaN where missing), and where it holds text instead."""
    if is_date(cells.dtype):
        cells = cells.cast(pl.Datetime("us")).cast(pl.Int64) / 86_400_000_000  # days
    numbers = as_numbers(cells, pattern) if pattern and cells.dtype == pl.String else cells.cast(pl.Float64, strict=False)
    return numbers.to_numpy().astype(np.float64, copy=True), (cells.is_not_null() & numbers.is_null()).to_numpy()


def _finite(raw: RawTable, name: str, values: np.ndarray, bad: BadRows | None, pattern: str = "") -> Column:
    huge = np.abs(np.nan_to_num(values, posinf=np.inf)) > LARGEST
    if huge.any() and bad is None:
        at = int(np.flatnonzero(huge)[0])
        raise InputError(
            f"{raw.source}, {raw.place(at)}, column {name!r}: expected a finite number, got {values[at]} "
            f"(beyond {LARGEST:g}); correct or remove the row"
        )
    if bad is not None:
        bad.add("numbers that are not finite", huge)
    return Column(name, "number", values, pattern)


def names_rows(cells: pl.Series) -> bool:
    """Return whether text differs in most rows."""
    present = len(cells) - cells.null_count()
    return present >= FEW_ROWS and cells.drop_nulls().n_unique() > MAX_DISTINCT_SHARE * present


def _says_something(cells: pl.Series) -> bool:
    """Return whether cells hold several words each, and words that other cells have too."""
    present = cells.drop_nulls()
    sample = present[:: max(1, len(present) // SAMPLE)]
    found = words_of(sample).list.unique().explode(empty_as_null=False, keep_nulls=False)
    if len(found) < MIN_WORDS * len(sample):
        return False
    counts = found.value_counts()["count"]
    often = max(2, len(sample) // 100)
    return bool(counts.filter(counts >= often).sum() >= MIN_SHARED * len(found))


def words_of(cells: pl.Series) -> pl.Series:
    """Return the words of each cell, in small letters.

    >>> words_of(pl.Series(["Don't PANIC, 42 towels"])).to_list()
    [["don't", 'panic', 'towels']]
    """
    return cells.str.to_lowercase().str.extract_all(WORD)
