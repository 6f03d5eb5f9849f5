"""Conditions on rows, such as `year>=2020`: the rows of the test part, said in a line."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from ..errors import InputError, shown, unknown
from ..later import pl
from .columns import Marks
from .kinds import marked_cells
from .notations import as_numbers, number_notation
from .reading import RawTable
from .times import FORMATS, as_times, seconds

COMPARISONS: dict[str, Any] = {
    "<=": np.less_equal, ">=": np.greater_equal, "==": np.equal, "=": np.equal, "!=": np.not_equal, "<": np.less,
    ">": np.greater,
}  # fmt: skip


def where(columns: Mapping[str, np.ndarray], condition: str | None, source: str) -> np.ndarray:
    """Return for every row whether a condition such as `"index < 5"` holds.

    >>> where({"index": np.array([3, 7])}, "index<5", "here").tolist()
    [True, False]
    """
    if condition is None:
        return np.zeros(len(next(iter(columns.values()))), dtype=bool)
    name, sign, value = _parsed(condition, columns, source)
    values = columns[name]
    try:
        return COMPARISONS[sign](values, type(values[0].item())(value) if values.dtype != object else value)
    except (ValueError, TypeError):
        raise _not_of_that_kind(source, name, values[0], value) from None


def _parsed(condition: str, names: Iterable[str], source: str) -> tuple[str, str, str]:
    match = re.fullmatch(r"\s*(.+?)\s*(<=|>=|==|!=|<|>|=)\s*(.+?)\s*", condition)
    if match is None:
        raise InputError(f"expected a condition such as 'index<5' or 'year>=2020' (got {shown(condition)})")
    name, sign, value = match.groups()
    if name not in names:
        raise InputError(f"{source}: {unknown('column', name, names)}")
    return name, sign, value


def rows_where(raw: RawTable, condition: str, marks: Marks) -> np.ndarray:
    """Return for every row of a table whether a condition holds; it never does where the cell is missing.

    Numbers are compared as numbers, dates as dates, anything else as text.
    """
    name, sign, value = _parsed(condition, raw.frame.columns, raw.source)
    cells, _ = marked_cells(raw.frame[name], marks.of(name))
    present = cells.is_not_null().to_numpy()
    if notation := number_notation(cells, raw.delimiter):
        cells = as_numbers(cells, notation)
    numbers = None if cells.dtype in (pl.Date, pl.Datetime) else cells.cast(pl.Float64, strict=False)
    if numbers is not None and numbers.null_count() == cells.null_count():
        values, wanted = numbers.fill_null(np.nan).to_numpy(), _number(value)
    elif as_times(cells) is not None:
        values, _ = seconds(cells, "")
        wanted = _moment(value)
    else:
        values, wanted = cells.cast(pl.String).fill_null("").to_numpy(), value
    if wanted is None:
        raise _not_of_that_kind(raw.source, name, cells.drop_nulls()[0], value)
    return np.asarray(COMPARISONS[sign](values, wanted), dtype=bool) & present


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None


def _moment(text: str) -> float | None:
    """Return a date such as `2020-06-30`, or the beginning of a year, in seconds since 1970."""
    for pattern, cell in [*((pattern, text) for pattern in FORMATS), ("%Y-%m-%d", f"{text}-01-01")]:
        found, wrong = seconds(pl.Series([cell]), pattern)
        if not wrong[0]:
            return float(found[0])
    return None


def _not_of_that_kind(source: str, name: str, example: Any, value: str) -> InputError:
    return InputError(f"{source}: {name} holds values such as {shown(example)}; {shown(value)} is not one of that kind")
