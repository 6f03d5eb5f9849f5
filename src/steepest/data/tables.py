"""Making Data from tables: csv and parquet files, pandas and polars frames, with a test file if there is one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import InputError
from ..later import pl
from ..sources import bare_name
from .binding import Binding, bound, deal_bound, group_cells, in_order, learnable
from .cleaning import Cleaned, check_labels, clean, find_label
from .columns import MISSING_MARKS, Column, Marks, Reading, Table
from .core import Data
from .findings import CleaningReport
from .inputs import Inputs, Texts
from .kinds import BadRows, typed_as
from .reading import RawTable, read_frame
from .splitting import SHARES
from .suspicions import tell_suspicions
from .targets import Targets, align, encode
from .texts import check_tokens


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
    group: str | None = None,
    time: str | None = None,
    test_where: str | None = None,
    on_bad_row: str = "stop",
    kind: str | None = None,
    tokens: str = "words",
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
        group: a column whose rows of one value never fall in two parts; it is no input.
        time: a column of dates or numbers: parts follow each other in its order, the certificate last.
        test_where: a condition such as `"year>=2020"`: those rows become the test part.
        on_bad_row: `"stop"` at a row that cannot be right, or `"skip"` it.
        kind: `"classification"` or `"regression"`; None: told from the label.
        tokens: how a text is taken apart where it is the only input, as in `read_texts`.
        scaling: of numbers: `"standard"`, `"minmax"`, `"robust"` or `"none"`.
        parts: shares of train, validation, test and certificate; with a test file the test share goes to the others.
        seed: how rows are dealt out.
        name: what records call the data; None: the file's name.

    Raises:
        InputError: anything that cannot be right, with its line and column.
    """
    if test is not None and test_where is not None:
        raise InputError("the test part is a file or the rows of a condition, not both; give test= or test_where=")
    check_tokens(tokens)
    raw = _raw(source, header, on_bad_row)
    name = name or bare_name(raw.source)
    label = find_label(raw.frame.columns, label, raw.source, "label column")
    report, reading = CleaningReport(), Reading(Marks(tuple(missing), missing_in or {}), header)
    bad = BadRows(raw.frame.height) if on_bad_row == "skip" else None
    binding = bound(raw, reading.marks, bad, group=group, time=time, test_where=test_where)
    left_out = dict.fromkeys(drop, "left out as asked") | ({group: "left out: it groups the rows"} if group else {})
    found = clean(raw, label, report, reading=reading, categorical=categorical, drop=left_out, bad=bad, kind=kind)
    binding = binding.take(found.rows)
    if time is not None:
        found, binding = _sorted(found, binding, time, report)
    targets, table = encode(found.label.values, raw.source, f"label {label!r}", kind), found.inputs
    if test is not None:
        other = _raw(test, header, on_bad_row)
        table, targets, binding, report.kept = _with_test(other, found, targets, binding, report, group, on_bad_row)
    dealt = deal_bound(targets, binding, parts, seed, name, report)
    targets, dealt = learnable(targets, dealt, raw.source, label, report, on_bad_row)
    tell_suspicions(table, targets, dealt, label, report)
    return Data(
        name, _as_inputs(table, tokens), targets, dealt, report, scaling, test_given=bool(binding.tested.any()),
        groups=binding.group_numbers, in_time=time is not None,
    )  # fmt: skip


def _sorted(found: Cleaned, binding: Binding, time: str, report: CleaningReport) -> tuple[Cleaned, Binding]:
    """Return the rows in the order of time."""
    order = in_order(binding, time, report)
    return Cleaned(found.inputs.take(order), found.label.take(order), found.rows[order]), binding.take(order)


def _as_inputs(table: Table, tokens: str) -> Inputs:
    """Return the table, or its texts where it holds nothing else."""
    first, *others = table.columns
    if others or first.kind != "text":
        if tokens != "words":
            raise InputError(f"--tokens {tokens}: only for texts; this table has other columns than one of text")
        return table
    values = np.array([text or "" for text in first.values], dtype=object)
    return Texts(values, tokens, first.name, table.reading)


def _raw(source: Any, header: bool | None, on_bad_row: str) -> RawTable:
    if isinstance(source, str | Path):
        return read_frame(source, header=header, on_bad_row=on_bad_row)
    return RawTable.taken(source)


def _with_test(
    raw: RawTable, found: Cleaned, targets: Targets, binding: Binding, report: CleaningReport, group: str | None,
    on_bad_row: str,
) -> tuple[Table, Targets, Binding, np.ndarray]:  # fmt: skip
    """Return inputs, targets and binding with the rows of a test file below, and the numbers of those that were kept."""
    bad = BadRows(raw.frame.height) if on_bad_row == "skip" else None
    table, labels = _conform(raw, found.inputs, found.label, bad)
    groups = None
    if group is not None and group in raw.frame.columns:
        groups = group_cells(raw, group, found.inputs.reading.marks)
    keep = np.arange(len(labels))
    if bad is not None:
        for what, where in bad.found.items():
            report.add(f"rows of the test file with {what}", int(where.sum()), "skipped")
        keep = keep[~bad.mask]
    codes = align(labels[keep], targets.classes, raw.source, report, on_bad_row) if targets.classes else labels[keep]
    if targets.classes:
        keep, codes = keep[codes >= 0], codes[codes >= 0]
    if not keep.size:
        raise InputError(f"{raw.source}: every row of the test file was skipped; none are left to test on")
    table, groups = table.take(keep), None if groups is None else groups[keep]
    joined = Targets(targets.kind, np.concatenate([targets.values, codes]), targets.classes)
    return found.inputs.joined(table), joined, binding.joined(codes, groups), keep


def _conform(raw: RawTable, table: Table, target: Column, bad: BadRows | None) -> tuple[Table, np.ndarray]:
    """Read a second file with the columns and kinds of the first; return its inputs and labels."""
    for column in (*table.columns, target):
        if column.name not in raw.frame.columns:
            raise InputError(f"{raw.source}: lacks the column {column.name!r} of the training file")
    check_labels(raw, target.name, bad)
    marks = table.reading.marks
    columns = tuple(
        typed_as(raw, column.name, column.kind, marks.of(column.name), column.pattern, bad) for column in table.columns
    )
    labels = typed_as(raw, target.name, target.kind, marks.of(target.name), target.pattern, bad).values
    absent = Column(target.name, target.kind, labels).cells().is_null().to_numpy()
    if bad is not None:
        bad.add("a missing label", absent)
    elif absent.any():
        place = raw.place(int(np.flatnonzero(absent)[0]))
        raise InputError(f"{raw.source}, {place}: the label {target.name!r} is missing in the test file")
    return Table(columns, table.reading), labels


def frame_columns(frame: pl.DataFrame, report: CleaningReport) -> Table:
    """Clean a frame that has no label column."""
    label = "(label)"
    raw = RawTable.of(frame.with_columns(pl.Series(label, np.arange(frame.height) % 2)), "X")
    table = clean(raw, label, report).inputs
    report.columns -= 1
    return table


def number_table(values: np.ndarray) -> Table:
    """Return a table of number columns c1, c2, ... from a matrix."""
    return Table(tuple(Column(f"c{i + 1}", "number", values[:, i].astype(np.float64)) for i in range(values.shape[1])))
