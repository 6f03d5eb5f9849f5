"""Reading tables: csv (plain or gzipped) and parquet, into a polars frame, with every complaint naming its line.

A csv is read as text, column by column; what the text means (numbers, categories, missing cells) is settled by
`cleaning`, which can then say what it did.
"""

from __future__ import annotations

import csv
import io
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from ..errors import InputError
from ..sources import read_bytes
from .frames import to_polars

TABLE_SUFFIXES = (".csv", ".csv.gz", ".tsv", ".tsv.gz", ".parquet")
DELIMITERS = (",", ";", "\t", "|")


@dataclass(frozen=True)
class RawTable:
    """A table as read: the frame, the line of the file that each row began on, and what was noticed on the way."""

    frame: pl.DataFrame
    lines: np.ndarray
    source: str
    notes: list[str] = field(default_factory=list)

    unit: str = "line"

    @classmethod
    def taken(cls, value: Any) -> RawTable:
        """Return a pandas or polars frame, or what makes one, as it is."""
        frame = to_polars(value)
        if not frame.height:
            raise InputError("the frame has no rows")
        return cls.of(frame, "frame")

    @classmethod
    def of(cls, frame: pl.DataFrame, source: str) -> RawTable:
        """Wrap a frame that came from no file: its rows count from 0."""
        return cls(frame, np.arange(frame.height), source, unit="row")

    def place(self, row: int) -> str:
        """Return where a row stands, for an error message."""
        return f"{self.unit} {self.lines[row]}"

    def take(self, rows: np.ndarray) -> RawTable:
        """Return the table of these rows."""
        return RawTable(self.frame[rows], self.lines[rows], self.source, unit=self.unit)


def read_frame(path: str | Path, *, header: bool | None = None, on_bad_row: str = "stop") -> RawTable:
    """Read a csv or parquet file.

    Args:
        path: the file; the ending decides (`.parquet`, otherwise csv, gzipped or not).
        header: whether line 1 names the columns; None takes it for names unless every field is a number, which is refused.
        on_bad_row: `"stop"` at a row with the wrong number of fields, or `"skip"` it and say so.
    """
    path = Path(path)
    if on_bad_row not in ("stop", "skip"):
        raise InputError(f"on_bad_row must be 'stop' or 'skip' (got {on_bad_row!r})")
    content = read_bytes(path)
    if path.suffix == ".parquet":
        return _parquet(path, content)
    text, notes = _decode(path, content)
    return _csv(path, text, notes, header, on_bad_row)


def read_text(path: str | Path) -> tuple[str, list[str]]:
    """Return the text of a file, gzipped or not, and what was noticed: one that is not UTF-8 is read as Latin-1."""
    return _decode(Path(path), read_bytes(path))


def _parquet(path: Path, content: bytes) -> RawTable:
    try:
        frame = pl.read_parquet(io.BytesIO(content))
    except Exception as error:  # polars raises several unrelated classes for a damaged file
        reason = str(error).splitlines()[0]
        raise InputError(f"{path} is not a readable parquet file ({reason})") from None
    return RawTable.of(frame, str(path))


def _decode(path: Path, content: bytes) -> tuple[str, list[str]]:
    if b"\x00" in content[:65536]:
        raise InputError(f"{path} is not text (it holds zero bytes); expected a csv, parquet, npz or idx file")
    if b"\r" in content and b"\n" not in content:  # lines as old Macs ended them
        content = content.replace(b"\r", b"\n")
    try:
        return content.decode("utf-8-sig"), []
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        return content.decode("latin-1"), [f"not UTF-8 (line {line}); read as Latin-1"]


def _csv(path: Path, text: str, notes: list[str], header: bool | None, on_bad_row: str) -> RawTable:
    lines = text.split("\n")
    first = next((i for i, line in enumerate(lines) if line.strip()), None)
    if first is None:
        raise InputError(f"{path} is empty (only blank lines)")
    delimiter = "\t" if ".tsv" in path.suffixes else max(DELIMITERS, key=lines[first].count)
    begins, ends, counts = _rows(path, text, lines, delimiter)
    names = next(csv.reader([lines[first]], delimiter=delimiter))
    width = len(names)
    if header is None and all(_is_number(name) for name in names):
        raise InputError(
            f"{path}, line {first + 1}: expected column names, got numbers ({', '.join(names[:3])}, ...); "
            "add --no-header (or --header if these are the names)"
        )
    bad = np.flatnonzero(counts != width)
    if bad.size and on_bad_row == "stop":
        at = bad[0]
        raise InputError(
            f"{path}, line {begins[at] + 1}: expected {width} fields, got {counts[at]}; "
            "correct the line, or add --on-bad-row skip"
        )
    if bad.size:
        notes = [*notes, f"{bad.size} rows with the wrong number of fields skipped (first: line {begins[bad[0]] + 1})"]
    keep = np.flatnonzero(counts == width)
    if header is not False:
        keep = keep[1:]
    columns = [f"c{i + 1}" for i in range(width)] if header is False else _column_names(path, names, first + 1)
    if not keep.size:
        raise InputError(f"{path} has column names but no rows")
    body = "\n".join("\n".join(lines[begins[i] : ends[i]]) for i in keep) + "\n"
    frame = pl.read_csv(
        body.encode(),
        has_header=False,
        new_columns=columns,
        separator=delimiter,
        infer_schema=False,
        truncate_ragged_lines=True,
    )
    assert frame.height == len(keep), f"{path}: {frame.height} rows parsed, {len(keep)} counted"
    return RawTable(frame, begins[keep] + 1, str(path), notes)


def _rows(path: Path, text: str, lines: list[str], delimiter: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return each row's first line and end line (from 0, end excluded) and its number of fields; blank lines are no rows."""
    if '"' not in text:
        series = pl.Series(lines)
        at = np.flatnonzero((series.str.strip_chars() != "").to_numpy())
        counts = series.str.count_matches(delimiter, literal=True).to_numpy()[at] + 1
        return at, at + 1, counts
    begins, ends, counts = [], [], []
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    last = 0
    try:
        for row in reader:
            if row and not (len(row) == 1 and not row[0].strip()):
                begins.append(last)
                ends.append(reader.line_num)
                counts.append(len(row))
            last = reader.line_num
    except csv.Error as error:
        raise InputError(f"{path}, line {last + 1}: not readable as csv ({error}); check the quotes") from None
    return np.array(begins), np.array(ends), np.array(counts)


def _column_names(path: Path, names: list[str], line: int) -> list[str]:
    stripped = [name.strip() or f"c{i + 1}" for i, name in enumerate(names)]
    for name in stripped:
        if stripped.count(name) > 1:
            raise InputError(f"{path}, line {line}: two columns are called {name!r}; rename one, or add --no-header")
    return stripped


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
