"""Cleaning: from a table of text to typed columns, with a report of everything that was done.

Nothing is repaired silently. Cells that mean "missing" are marked, columns are told into numbers, dates, categories and text,
empty and identifier-like columns are left out, rows without a label are left out; each of these is a line of the report. What
cannot be true - text in a column of numbers, an infinite value, the 31st of February - stops with the column and the line.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from ..errors import InputError, shown, unknown
from ..later import pl
from .columns import MISSING_MARKS, Column, Marks, Reading, Table
from .findings import CleaningReport, Finding
from .kinds import FEW_ROWS, LARGEST, BadRows, category, marked_cells, typed, typed_as
from .notations import told
from .reading import RawTable
from .targets import guess_kind

__all__ = [
    "LARGEST", "MISSING_MARKS", "CleaningReport", "Column", "Finding", "Marks", "Reading", "Table", "clean", "find_label",
    "typed_as",
]  # fmt: skip


def find_label(names: Sequence[str], label: str | int, source: str, what: str = "column") -> str:
    """Return the name of the label column, or another, given by name or by position (from 0, -1 is the last)."""
    if isinstance(label, str) and label in names:
        return label
    try:
        position = int(str(label))
    except ValueError:
        raise InputError(f"{source}: {unknown(what, label, names)}") from None
    if not -len(names) <= position < len(names):
        asked = what.replace("column", "position")
        raise InputError(f"{source}: {asked} {position} is outside the {len(names)} columns (0 to {len(names) - 1})")
    return names[position]


@dataclass(frozen=True)
class Cleaned:
    """What cleaning leaves: the inputs, the label column, and which rows of the table as read those are."""

    inputs: Table
    label: Column
    rows: np.ndarray


def clean(
    raw: RawTable,
    label: str,
    report: CleaningReport,
    *,
    reading: Reading | None = None,
    categorical: Sequence[str] = (),
    drop: Mapping[str, str] | None = None,
    bad: BadRows | None = None,
    kind: str | None = None,
) -> Cleaned:
    """Type every column.

    Args:
        raw: the table as read.
        label: the name of the label column.
        report: takes the findings.
        reading: what means a missing cell.
        categorical: columns of categories even where they look like numbers.
        drop: columns to leave out, and what the report says of them.
        bad: takes the rows that cannot be right, which are left out; None: the first one stops.
        kind: `"regression"` where a label of few different amounts is no name of a class.
    """
    reading, drop = reading or Reading(), drop or {}
    marks = reading.marks
    for name in (*marks.by_column, *categorical, *drop):
        if name not in raw.frame.columns:
            raise InputError(f"{raw.source}: {unknown('column', name, raw.frame.columns)}")
    if label in drop:
        raise InputError(f"{raw.source}: the label {label!r} cannot be dropped")
    report.rows, report.columns = raw.frame.height, raw.frame.width
    for note in raw.notes:
        report.note(note)
    check_labels(raw, label, bad)
    rows = _labelled(raw, label, marks, report)
    if bad is not None and bad.found:
        rows = rows[~bad.mask[rows]]
    raw = raw.take(rows) if len(rows) < raw.frame.height else raw
    wrong = BadRows(len(rows)) if bad is not None else None
    table = _typed_columns(raw, label, report, reading, categorical, drop, wrong, kind)
    if wrong is not None and wrong.found:
        for what, where in wrong.found.items():
            report.add(f"rows with {what}", int(where.sum()), "skipped")
        keep = np.flatnonzero(~wrong.mask)
        rows, raw, table = rows[keep], raw.take(keep), table.take(keep)
    inputs = Table(tuple(column for column in table.columns if column.name != label), reading)
    if not inputs.columns:
        raise InputError(f"{raw.source}: no column is left to learn from beside the label {label!r}")
    if not len(inputs):
        raise InputError(f"{raw.source}: every row was skipped; none are left to learn from")
    repeated = raw.frame.height - raw.frame.hash_rows().n_unique()
    report.add("rows equal to another row", repeated, "kept (they may be real)")
    return Cleaned(inputs, table[label], rows)


def _typed_columns(
    raw: RawTable, label: str, report: CleaningReport, reading: Reading, categorical: Sequence[str], drop: Mapping[str, str],
    bad: BadRows | None, kind: str | None,
) -> Table:  # fmt: skip
    columns: list[Column] = []
    for name in raw.frame.columns:
        if name in drop:
            report.add("column", 1, drop[name], name)
            continue
        cells, absent = marked_cells(raw.frame[name], reading.marks.of(name))
        column = typed(raw, name, cells, bad, as_category=name in categorical, label=name == label)
        if name == label and column.pattern and kind != "regression" and guess_kind(column.values) == "classification":
            column = category(name, cells)  # "10%" and "20%": names
        elif column.kind == "number" and column.pattern:
            what, read = told(cells, column.pattern)
            report.add(what, len(cells) - absent, read, name)
        if name == label or _worth_keeping(column, cells, absent, report):
            columns.append(column)
    return Table(tuple(columns), reading)


FILLED = {
    "number": "filled with the training median", "date": "filled with the training median",
    "category": "a category of their own", "text": "taken as no words",
}  # fmt: skip


def _worth_keeping(column: Column, cells: pl.Series, absent: int, report: CleaningReport) -> bool:
    """Return whether a column can tell anything about new rows; the report says why not, or what fills its missing cells."""
    if absent == len(cells):
        report.add("empty column", 1, "left out", column.name)
    elif column.kind == "number" and _counts_rows(column.values):
        report.add("consecutive whole numbers", len(cells), "left out: they count the rows", column.name)
    elif column.kind == "name":
        why = "left out: it names the rows rather than describes them"
        report.add("distinct texts", cells.n_unique(), why, column.name)
    else:
        report.add("missing cells", absent, FILLED[column.kind], column.name)
        if column.kind == "text":
            report.add("texts", len(cells) - absent, "read by their words", column.name)
        return True
    return False


LONGEST_LABEL = 500  # characters; beyond, it is not the name of a class


def check_labels(raw: RawTable, label: str, bad: BadRows | None) -> None:
    """Raise at a label that is far too long to be one, or mark it in `bad`."""
    cells = raw.frame[label]
    if cells.dtype != pl.String:
        return
    lengths = cells.str.len_chars()
    wrong = (lengths > LONGEST_LABEL).fill_null(False).to_numpy()
    if wrong.any() and bad is None:
        at = int(np.flatnonzero(wrong)[0])
        raise InputError(
            f"{raw.source}, {raw.place(at)}, column {label!r}: expected a label, got {shown(cells[at])} of {lengths[at]:,} "
            "characters; correct the row, or name another column with --label"
        )
    if bad is not None:
        bad.add("labels far too long", wrong)


def _labelled(raw: RawTable, label: str, marks: Marks, report: CleaningReport) -> np.ndarray:
    """Return the rows that have a label."""
    cells, _ = marked_cells(raw.frame[label], marks.of(label))
    keep = np.flatnonzero(cells.is_not_null().to_numpy())
    if not keep.size:
        raise InputError(f"{raw.source}: the label column {label!r} is missing in all {raw.frame.height} rows")
    report.add("rows without a label", raw.frame.height - keep.size, "left out", label)
    return keep


def _counts_rows(values: np.ndarray) -> bool:
    """Return whether a column is 1, 2, 3, ... in some order: a row number that says nothing about new rows."""
    if len(values) < FEW_ROWS or np.nanmax(values) - np.nanmin(values) != len(values) - 1:
        return False
    return bool(np.all(np.diff(np.sort(values)) == 1))
