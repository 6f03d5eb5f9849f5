"""Reading tables: csv (plain or gzipped) and parquet, into a polars frame, with every complaint naming its line.

A csv is read as text, column by column; what the text means (numbers, dates, categories, missing cells) is settled by
`cleaning`, which can then say what it did. Rows are found on the bytes of the file, so that every complaint can name its line
without a line ever becoming a Python object; polars takes the cells apart.
"""

from __future__ import annotations

import codecs
import csv
import io
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import InputError, cut, shown
from ..later import pl
from ..sources import read_bytes
from .findings import counted
from .frames import to_polars

TABLE_SUFFIXES = (".csv", ".csv.gz", ".tsv", ".tsv.gz", ".parquet")
DELIMITERS = (",", ";", "\t", "|")
LONGEST_NAME = 1_000  # characters of a column's name
csv.field_size_limit(max(csv.field_size_limit(), 2**31 - 1))  # a cell may hold a whole document
UTF_16 = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)


@dataclass(frozen=True)
class RawTable:
    """A table as read: the frame, the line of the file that each row began on, and what was noticed on the way."""

    frame: pl.DataFrame
    lines: np.ndarray
    source: str
    notes: list[str] = field(default_factory=list)

    unit: str = "line"
    delimiter: str = ""  # of a csv

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
        return RawTable(self.frame[rows], self.lines[rows], self.source, unit=self.unit, delimiter=self.delimiter)


def read_frame(path: str | Path, *, header: bool | None = None, on_bad_row: str | None = "stop") -> RawTable:
    """Read a csv or parquet file.

    Args:
        path: the file; the ending decides (`.parquet`, otherwise csv, gzipped or not).
        header: whether line 1 names the columns; None takes it for names unless every field is a number, which is refused.
        on_bad_row: `"stop"` at a row with the wrong number of fields, or `"skip"` it and say so; None: stop, where nobody can
            ask for skipping, or say whether there is a header: new rows are read as the training data were.
    """
    path = Path(path)
    if on_bad_row not in ("stop", "skip", None):
        raise InputError(f"on_bad_row must be 'stop' or 'skip' (got {on_bad_row!r})")
    content = read_bytes(path)
    if path.suffix == ".parquet":
        return _parquet(path, content)
    content, notes = _as_utf8(path, content)
    return _csv(Lines(path, content), notes, header, on_bad_row)


def read_text(path: str | Path) -> tuple[str, list[str]]:
    """Return the text of a file, gzipped or not, and what was noticed: lines that are not UTF-8 are read as Latin-1."""
    content, notes = _as_utf8(Path(path), read_bytes(path))
    return content.decode(), notes


def _parquet(path: Path, content: bytes) -> RawTable:
    try:
        frame = pl.read_parquet(io.BytesIO(content))
    except Exception as error:  # polars raises several unrelated classes for a damaged file
        reason = str(error).splitlines()[0]
        raise InputError(f"{path} is not a readable parquet file ({reason})") from None
    return RawTable.of(frame, str(path))


def _as_utf8(path: Path, content: bytes) -> tuple[bytes, list[str]]:
    """Return a text as UTF-8 with lines that end at line feeds, and what was noticed."""
    if content[:2] in UTF_16:
        try:
            return content.decode("utf-16").encode(), ["UTF-16; read as such"]
        except UnicodeError as error:
            raise InputError(f"{path} begins as UTF-16 but is not ({error}); save it as UTF-8") from None
    if b"\x00" in content[:65536]:
        raise InputError(f"{path} is not text (it holds zero bytes); expected a csv, parquet, npz or idx file")
    if b"\r" in content and b"\n" not in content:  # lines as old Macs ended them
        content = content.replace(b"\r", b"\n")
    content = content.removeprefix(codecs.BOM_UTF8)
    if content.isascii() or _is_utf8(content):
        return content, []
    lines = content.split(b"\n")
    wrong = [i for i, line in enumerate(lines) if not _is_utf8(line)]
    for i in wrong:
        lines[i] = lines[i].decode("latin-1").encode()
    return b"\n".join(lines), [f"{counted(len(wrong), 'lines')} not UTF-8 (first: line {wrong[0] + 1}); read as Latin-1"]


def _is_utf8(content: bytes) -> bool:
    try:
        content.decode()
    except UnicodeDecodeError:
        return False
    return True


@dataclass(frozen=True)
class Lines:
    """The lines of a file, as places in its bytes: line i goes from `begins[i]` to `begins[i + 1]`."""

    path: Path
    content: bytes

    @cached_property
    def begins(self) -> np.ndarray:
        after = np.flatnonzero(self._at("\n")) + 1
        size = len(self.content)
        return np.concatenate([[0], after, [] if after.size and after[-1] == size else [size]]).astype(np.int64)

    def __len__(self) -> int:
        return len(self.begins) - 1

    def text(self, begin: int, end: int | None = None) -> str:
        """Return some lines as text."""
        return self.content[self.begins[begin] : self.begins[begin + 1 if end is None else end]].decode()

    def count(self, character: str, outside: np.ndarray | None = None) -> np.ndarray:
        """Return how often each line holds a character, or only where `outside` is true."""
        found = self._at(character)
        places = np.flatnonzero(found if outside is None else found & outside)
        return np.diff(np.searchsorted(places, self.begins))

    def _at(self, character: str) -> np.ndarray:
        return np.frombuffer(self.content, dtype=np.uint8) == ord(character)

    def outside_quotes(self, delimiter: str) -> np.ndarray | None:
        """Return for each byte whether an even number of quotes precedes it; None where a quote stands in an odd place."""
        quotes = self._at('"')
        inside = np.bitwise_xor.accumulate(quotes.view(np.uint8)).view(bool)
        at = np.flatnonzero(quotes)
        if at.size % 2:
            return None
        text = np.frombuffer(b"\n" + self.content + b"\n", dtype=np.uint8)
        around = np.zeros(256, dtype=bool)
        around[[ord(character) for character in (delimiter, "\r", "\n", '"')]] = True
        proper = np.where(inside[at], around[text[at]], around[text[at + 2]])  # before one that opens, after one that closes
        return ~inside if proper.all() else None

    def quoted_rows(self, delimiter: str) -> Iterator[tuple[int, int, list[str]]]:
        """Yield each row with quotes: where it begins, where it ends (excluded), its fields; it may go on over lines."""
        at = 0

        def lines() -> Iterator[str]:
            nonlocal at
            while at < len(self):
                at += 1
                yield self.text(at - 1)

        reader = csv.reader(lines(), delimiter=delimiter, strict=True)
        for line in np.flatnonzero(self.count('"')).tolist():
            if line < at:
                continue  # it belongs to the row before
            at = line
            try:
                fields = next(reader)
            except csv.Error as error:
                problem = f"not readable as csv ({error}); check the quotes"
                raise InputError(f"{self.path}, line {line + 1}: {problem}") from None
            yield line, at, fields


@dataclass(frozen=True)
class Rows:
    """Where each row of a csv begins and ends (lines from 0, the end excluded), and its number of fields."""

    begins: np.ndarray
    ends: np.ndarray
    counts: np.ndarray
    odd: bool  # whether quotes stand in the middle of fields

    def take(self, rows: np.ndarray) -> Rows:
        return Rows(self.begins[rows], self.ends[rows], self.counts[rows], self.odd)


def _csv(lines: Lines, notes: list[str], header: bool | None, on_bad_row: str | None) -> RawTable:
    path = lines.path
    first = next((i for i in range(len(lines)) if lines.text(i).strip()), None)
    if first is None:
        raise InputError(f"{path} is empty (only blank lines)")
    delimiter = "\t" if ".tsv" in path.suffixes else max(DELIMITERS, key=lines.text(first).count)
    rows = _rows(lines, delimiter)
    names = next(csv.reader(io.StringIO(lines.text(first, int(rows.ends[0])).rstrip("\r\n"), newline=""), delimiter=delimiter))
    width = len(names)
    columns = _column_names(path, names, first + 1, header, asked=on_bad_row is not None)
    bad = np.flatnonzero(rows.counts != width)
    if bad.size and on_bad_row != "skip":
        problem = (
            f"{path}, line {rows.begins[bad[0]] + 1}: expected {width} fields, got {rows.counts[bad[0]]}; correct the line"
        )
        raise InputError(problem + (", or add --on-bad-row skip" if on_bad_row else ""))
    if bad.size:
        place = rows.begins[bad[0]] + 1
        notes = [*notes, f"{counted(bad.size, 'rows')} with the wrong number of fields skipped (first: line {place})"]
    keep = np.flatnonzero(rows.counts == width)
    if header is not False:
        keep = keep[1:]
    if not keep.size:
        raise InputError(f"{path} has column names but no rows")
    kept = rows.take(keep)
    if width == 1 and (blank := np.flatnonzero(kept.begins[1:] != kept.ends[:-1])).size:  # a row, or none?
        raise InputError(
            f"{path}, line {kept.ends[blank[0]] + 1} is blank, and in a table of one column that may be an empty cell; "
            'write "" where it is one, or remove the line'
        )
    return RawTable(_cells(lines, kept, columns, delimiter), kept.begins + 1, str(path), notes, delimiter=delimiter)


def _rows(lines: Lines, delimiter: str) -> Rows:
    """Find the rows; blank lines are none."""
    ends, begins_here = np.arange(1, len(lines) + 1), np.ones(len(lines), dtype=bool)
    outside = lines.outside_quotes(delimiter) if b'"' in lines.content else None
    counts = lines.count(delimiter, outside) + 1
    if outside is not None:
        begins_here[1:] = outside[lines.begins[1:-1] - 1]
        counts, ends = _gathered(counts, begins_here)
    odd = outside is None and b'"' in lines.content
    if odd:
        for line, end, fields in lines.quoted_rows(delimiter):
            counts[line], ends[line] = len(fields), end
            begins_here[line + 1 : end] = False
            begins_here[line] = len(fields) > 1 or any(field.strip() for field in fields)
    for line in np.flatnonzero((counts == 1) & begins_here).tolist():
        begins_here[line] = bool(lines.text(line).strip())
    at = np.flatnonzero(begins_here)
    return Rows(at, ends[at], counts[at], odd)


def _gathered(counts: np.ndarray, begins_here: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the fields and the end of the row that begins on each line, where rows go on over several lines."""
    first = np.flatnonzero(begins_here)
    ends = np.arange(1, len(counts) + 1)
    ends[first] = [*first[1:], len(counts)]
    fields = counts.copy()
    fields[first] = np.add.reduceat(counts - 1, first) + 1
    return fields, ends


def _cells(lines: Lines, rows: Rows, columns: list[str], delimiter: str) -> pl.DataFrame:
    """Return the cells of these rows as text."""
    begins, ends = lines.begins[rows.begins], lines.begins[rows.ends]
    apart = np.flatnonzero(ends[:-1] != begins[1:])  # where blank lines and bad rows lie between
    pieces = zip(begins[[0, *(apart + 1)]].tolist(), ends[[*apart, -1]].tolist(), strict=True)
    content = b"".join(memoryview(lines.content)[begin:end] for begin, end in pieces)
    if rows.odd:  # quotes that polars would take for the beginning of a field
        fields = zip(*csv.reader(io.StringIO(content.decode(), newline=""), delimiter=delimiter), strict=True)
        return pl.DataFrame([pl.Series(name, cells, dtype=pl.String) for name, cells in zip(columns, fields, strict=True)])
    frame = pl.read_csv(
        content,
        has_header=False,
        new_columns=columns,
        separator=delimiter,
        quote_char='"' if b'"' in content else None,
        infer_schema=False,
        truncate_ragged_lines=True,
    )
    assert frame.height == len(rows.begins), f"{lines.path}: {frame.height} rows parsed, {len(rows.begins)} counted"
    return frame


def _column_names(path: Path, names: list[str], line: int, header: bool | None, *, asked: bool) -> list[str]:
    """Return the names on the first line; `asked`: whoever reads may say whether there are any."""
    if header is False:
        return [f"c{i + 1}" for i in range(len(names))]
    if header is None and all(_is_number(name) for name in names):
        numbers = ", ".join(map(cut, names[:3]))
        hint = "add --no-header (or --header if these are the names)" if asked else "write those of the training data there"
        raise InputError(f"{path}, line {line}: expected column names, got numbers ({numbers}, ...); {hint}")
    stripped = [name.strip() or f"c{i + 1}" for i, name in enumerate(names)]
    hint = ", or add --no-header" if asked else ""
    if long := next((name for name in stripped if len(name) > LONGEST_NAME), None):
        raise InputError(
            f"{path}, line {line}: expected column names, got {shown(long)} of {len(long):,} characters; check the quotes{hint}"
        )
    for name in stripped:
        if stripped.count(name) > 1:
            raise InputError(f"{path}, line {line}: two columns are called {shown(name)}; rename one{hint}")
    return stripped


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
