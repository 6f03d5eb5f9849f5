"""Records: what happened, appended as JSON lines. They are the truth; the SQLite index beside them can be rebuilt.

.steepest/
runs/f3a9c/record.jsonl        one line an event: start, evaluation, ..., end
runs/f3a9c/weights.safetensors
races/r7f3b/record.jsonl       start, trial, ..., verdict, end
reports/r7f3b.html
index.sqlite                   one row a record, for `steepest runs`
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import secrets
import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .errors import InputError, nearest

if TYPE_CHECKING:
    import sqlite3

KINDS = {"run": ("runs", "f"), "race": ("races", "r")}
RECORD = "record.jsonl"


def home_folder(home: str | Path | None = None) -> Path:
    """Return the folder of the records: `home`, else `STEEPEST_HOME`, else `./.steepest`."""
    if home is not None and not isinstance(home, str | os.PathLike):
        raise InputError(f"home is the name of a folder (got {home!r})")
    return Path(home or os.environ.get("STEEPEST_HOME") or ".steepest")


def jsonable(value: Any) -> Any:
    """Return a value as JSON allows it: tuples as lists, numbers that are not finite as text, NumPy scalars as numbers."""
    if isinstance(value, dict):
        return {str(key): jsonable(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [jsonable(item) for item in value]
    if hasattr(value, "tolist"):
        return jsonable(value.tolist())
    if isinstance(value, float) and not math.isfinite(value):
        return None if math.isnan(value) else ("inf" if value > 0 else "-inf")
    return value if isinstance(value, str | int | float | bool | None) else str(value)


@dataclass(frozen=True)
class Invocation:
    """How the command line called a verb: for the record, the clock and plain logs.

    `start_s` is how long the process took to get here, `data_s` how long the data took to read; `lines`: where nobody
    watches, say every ten seconds how far it is.
    """

    command: str | None = None
    start_s: float = 0.0
    data_s: float = 0.0
    lines: bool = False


FROM_PYTHON = Invocation()


@dataclass(frozen=True)
class Record:
    """One run's or race's append-only file of events."""

    kind: str
    id: str
    folder: Path

    @property
    def path(self) -> Path:
        return self.folder / RECORD

    def append(self, event: str, **content: Any) -> None:
        """Append one event; a single write of one line, so that a reader never sees half of two."""
        line = json.dumps(jsonable({"event": event, "at": round(time.time(), 3), **content}), ensure_ascii=False)
        with self.path.open("ab+") as file:
            torn = file.tell() > 0 and (file.seek(-1, os.SEEK_END), file.read(1))[1] != b"\n"
            file.write(b"\n" * torn + line.encode(errors="backslashreplace") + b"\n")  # \udcff of a file's name, as JSON has it

    def events(self) -> Iterator[dict[str, Any]]:
        """Yield the events; a line that is none (cut off by a kill in the middle of a write, damaged) is passed over."""
        with self.path.open("rb") as file:
            for line in file:
                with contextlib.suppress(ValueError, RecursionError):
                    event = json.loads(line)
                    if isinstance(event, dict) and isinstance(event.get("event"), str):
                        yield event

    def delete(self) -> None:
        """Remove the record and all that lies beside it."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def first(self, event: str) -> dict[str, Any] | None:
        """Return the first event of that name, or None."""
        return next((found for found in self.events() if found["event"] == event), None)

    def last(self, event: str) -> dict[str, Any] | None:
        """Return the last event of that name, or None."""
        found = [item for item in self.events() if item["event"] == event]
        return found[-1] if found else None


def create(kind: str, home: str | Path | None = None) -> Record:
    """Make a new, empty record with an id that is not taken."""
    folder, letter = KINDS[kind]
    parent = home_folder(home) / folder
    try:
        parent.mkdir(parents=True, exist_ok=True)
        while True:
            name = letter + secrets.token_hex(2)
            try:
                (parent / name).mkdir()
            except FileExistsError:
                continue
            record = Record(kind, name, parent / name)
            record.path.touch()
            return record
    except OSError as error:
        raise InputError(f"cannot write records to {parent} ({error.strerror}); name another folder with --home") from None


def find(name: str, home: str | Path | None = None, kind: str | None = None) -> Record:
    """Return the record with this id, or `last` for the newest (of a kind); name the nearest when there is none."""
    root = home_folder(home)
    known = {record.id: (record, stat) for record, stat in _records(root)}
    wanted = [record for record, _ in known.values() if kind in (None, record.kind)]
    if name == "last" and wanted:  # a race ends after the training with its winner
        name = max(wanted, key=lambda record: (known[record.id][1].st_mtime, record.kind == "race")).id
    if name not in known:
        close = nearest(name, known)
        hint = f"; did you mean {close!r}?" if close else f" ({len(known)} records there); `steepest runs` lists them"
        raise InputError(f"no {kind or 'run or race'} {str(name)!r} in {root}{hint}")
    found = known[name][0]
    if kind not in (None, found.kind):
        raise InputError(f"{name} is a {found.kind}, not a {kind}; `steepest runs` lists both")
    return found


@contextlib.contextmanager
def reading(record: Record) -> Iterator[None]:
    """Turn whatever a damaged record makes of the code that reads it into one line."""
    try:
        yield
    except InputError:
        raise
    except (KeyError, TypeError, AttributeError, ValueError, IndexError, OverflowError) as error:
        what = f"{type(error).__name__}: {error}"
        raise InputError(f"{record.path} is damaged, or was written by another version ({what})") from error


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a temporary path that becomes `path` at the end, all at once; nothing half-written is ever seen."""
    import tempfile

    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    os.close(handle)
    try:
        yield Path(name)
        Path(name).chmod(0o644)
        Path(name).replace(path)
    finally:
        Path(name).unlink(missing_ok=True)


# -- the index --------------------------------------------------------------------------------------------------------

COLUMNS = ("id", "kind", "task", "recipe", "status", "started", "seconds", "result")


def summary(record: Record) -> dict[str, Any]:
    """Return the index row of a record, from its own lines alone."""
    start, end = record.first("start") or {}, record.last("end") or {}

    def text(value: Any) -> str | None:
        return None if value is None else str(value)

    def number(value: Any) -> float | None:
        return float(value) if isinstance(value, int | float) and 0 <= value < 1e11 else None

    return {
        "id": record.id,
        "kind": record.kind,
        "task": text(start.get("task")),
        "recipe": text(start.get("label")),
        "status": text(end.get("status", "unfinished" if start else "damaged")),
        "started": number(start.get("at")),
        "seconds": number(end.get("seconds")),
        "result": text(end.get("result")),
    }


def listing(home: str | Path | None = None) -> list[dict[str, Any]]:
    """Return one row a record, newest first, from the index, which is brought up to date where a record has changed."""
    import sqlite3

    root = home_folder(home)
    if not root.is_dir():
        return []
    for _ in range(2):
        try:
            with contextlib.closing(_connect(root)) as index:
                return _synchronised(index, root)
        except (sqlite3.Error, OSError):  # damaged: it is only an index
            with contextlib.suppress(OSError):
                (root / "index.sqlite").unlink(missing_ok=True)
    rows = [summary(record) for record, _ in _records(root)]  # a folder that cannot be written to
    return sorted(rows, key=lambda row: row["started"] or 0, reverse=True)


def _connect(root: Path) -> sqlite3.Connection:
    import sqlite3

    index = sqlite3.connect(root / "index.sqlite", timeout=5)
    columns = ", ".join(COLUMNS)
    index.execute(f"CREATE TABLE IF NOT EXISTS records ({columns}, changed REAL, size INTEGER, PRIMARY KEY (id))")
    return index


def _records(root: Path) -> Iterator[tuple[Record, os.stat_result]]:
    for kind, (folder, _) in KINDS.items():
        for path in sorted((root / folder).glob(f"*/{RECORD}")):
            if path.is_file():
                yield Record(kind, path.parent.name, path.parent), path.stat()


def _synchronised(index: sqlite3.Connection, root: Path) -> list[dict[str, Any]]:
    known = {row[0]: row[1:] for row in index.execute("SELECT id, changed, size FROM records")}
    present = set()
    with index:
        for record, stat in _records(root):
            present.add(record.id)
            if known.get(record.id) != (stat.st_mtime, stat.st_size):
                row = summary(record)
                values = [row[name] for name in COLUMNS] + [stat.st_mtime, stat.st_size]
                index.execute(f"INSERT OR REPLACE INTO records VALUES ({', '.join('?' * len(values))})", values)
        index.executemany("DELETE FROM records WHERE id = ?", [(name,) for name in set(known) - present])
    rows = index.execute(f"SELECT {', '.join(COLUMNS)} FROM records ORDER BY started DESC")
    return [dict(zip(COLUMNS, row, strict=True)) for row in rows]
