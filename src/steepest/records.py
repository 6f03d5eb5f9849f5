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
import logging
import math
import os
import secrets
import shutil
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from .durable import alone, append_lines
from .errors import InputError, nearest, reason_of

log = logging.getLogger("steepest")

KINDS = {"run": ("runs", "f"), "race": ("races", "r")}
RECORD = "record.jsonl"
SCHEMA = 1  # of the lines; records of before have none, and are read all the same


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


LASTING = ("start", "end", "stopped", "resumed")  # events that are brought to the disk at once
_TOLD: set[tuple[Path, int]] = set()  # lines of records that were told to be damaged


def _line(event: str, content: dict[str, Any]) -> bytes:
    written = {"event": event, "at": round(time.time(), 3)} | ({"schema": SCHEMA} if event == "start" else {}) | content
    text = json.dumps(jsonable(written), ensure_ascii=False)
    return text.encode(errors="backslashreplace") + b"\n"  # \udcff of a file's name, as JSON has it


def _event(line: bytes) -> dict[str, Any] | None:
    """Return the event of a line, None where it is none."""
    try:
        event = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return event if isinstance(event, dict) and isinstance(event.get("event"), str) else None


@dataclass(frozen=True)
class Record:
    """One run's or race's append-only file of events; `listeners` are told each of them, whether or not the disk takes it."""

    kind: str
    id: str
    folder: Path
    listeners: list[Callable[[dict[str, Any]], None]] = field(default_factory=list, repr=False, compare=False)
    _waiting: list[bytes] = field(default_factory=list, repr=False, compare=False)  # lines that the disk has not taken

    @property
    def path(self) -> Path:
        return self.folder / RECORD

    def append(self, event: str, **content: Any) -> None:
        """Append one event as one line, whoever else appends: a reader never sees half of two.

        What could not be appended before goes first.

        Raises:
            OSError: the disk takes nothing.
        """
        line = _line(event, content)
        self._write(line, event)
        self._tell(line)

    def note(self, event: str, **content: Any) -> bool:
        """Append one event; where the disk takes nothing, say so once, and have it wait in memory for the next one."""
        line = _line(event, content)
        self._tell(line)
        try:
            self._write(line, event)
        except OSError as error:
            if not self._waiting:
                log.warning("%s cannot be written (%s): what happens waits in memory", self.path, reason_of(error))
            self._waiting.append(line)
            return False
        return True

    def _write(self, line: bytes, event: str) -> None:
        append_lines(self.path, [*self._waiting, line], sync=event in LASTING)
        self._waiting.clear()

    def _tell(self, line: bytes) -> None:
        """Tell an event to who listens, as the file has it."""
        for listener in self.listeners:
            listener(json.loads(line))

    def events(self) -> Iterator[dict[str, Any]]:
        """Yield the events; a line that is none (cut off by a kill in the middle of a write, damaged) is left out, and told.

        Where the very first is none, whoever reads says so.
        """
        begun = False
        with self.path.open("rb") as file:
            for number, line in enumerate(file, 1):
                event = _event(line)
                if event is not None:
                    begun = True
                    yield event
                elif begun and (self.path, number) not in _TOLD and line.strip():
                    _TOLD.add((self.path, number))
                    log.warning("%s: line %d was cut off or is damaged, and is left out", self.path, number)

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
    known = {record.id: (record, stat) for record, stat in records_in(root)}
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
    """Turn whatever a damaged record makes of the code that reads it into one line; one of a later schema is refused."""
    schema = (record.first("start") or {}).get("schema", 0)
    if not isinstance(schema, int) or schema > SCHEMA:
        raise InputError(f"{record.path} was written by a later steepest (schema {schema}, this reads up to {SCHEMA}): upgrade")
    try:
        yield
    except InputError:
        raise
    except (KeyError, TypeError, AttributeError, ValueError, IndexError, OverflowError) as error:
        what = f"{type(error).__name__}: {error}"
        raise InputError(f"{record.path} is damaged, or was written by another version ({what})") from error


@contextlib.contextmanager
def holding(record: Record | None) -> Iterator[None]:
    """While this is open, the record is this process's to go on with; one that another process writes is refused."""
    if record is None:
        yield
        return
    with alone(record.folder / "lock") as mine:
        if not mine:
            raise InputError(f"{record.id} is being written by another process; stop that one first")
        yield


def records_in(root: Path) -> Iterator[tuple[Record, os.stat_result]]:
    """Yield every record in a home, and what its file looks like now."""
    for kind, (folder, _) in KINDS.items():
        for path in sorted((root / folder).glob(f"*/{RECORD}")):
            if path.is_file():
                yield Record(kind, path.parent.name, path.parent), path.stat()
