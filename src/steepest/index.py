"""The index of a home: one row a record, in SQLite, so that `steepest runs` need not read every record; it can be rebuilt.

The lines of the records are the truth. An index that is damaged, older, or of another version is set aside and made anew, and
where none can be kept (a folder that cannot be written to, a network's file system, on which SQLite's locks fail) rows are read
from the records themselves.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .records import Record, home_folder, records_in

if TYPE_CHECKING:
    import sqlite3

log = logging.getLogger("steepest")

NAME = "index.sqlite"
VERSION = 2  # of its table
COLUMNS = ("id", "kind", "task", "recipe", "status", "started", "seconds", "result")
WAITS_S = 10.0  # for another process that writes
OF_A_NETWORK = {"nfs", "nfs4", "cifs", "smb3", "smbfs", "ncpfs", "afs", "9p", "ceph", "lustre", "gpfs", "beegfs", "fuse.sshfs"}
OPEN = ("start", "resumed")  # events after which a record goes on


def summary(record: Record) -> dict[str, Any]:
    """Return the index row of a record, from its own lines alone."""
    start, end, last = {}, {}, ""
    for event in record.events():
        if event["event"] == "start":
            start = start or event
        elif event["event"] == "end":
            end = event
        last = event["event"]

    def text(value: Any) -> str | None:
        return None if value is None else str(value)

    def number(value: Any) -> float | None:
        return float(value) if isinstance(value, int | float) and 0 <= value < 1e11 else None

    unfinished = "stopped" if last == "stopped" else "unfinished" if start else "damaged"
    ended = end if last not in ("stopped", *OPEN) else {}
    return {
        "id": record.id,
        "kind": record.kind,
        "task": text(start.get("task")),
        "recipe": text(start.get("label")),
        "status": text(ended.get("status", unfinished)),
        "started": number(start.get("at")),
        "seconds": number(ended.get("seconds")),
        "result": text(ended.get("result")),
    }


def listing(home: str | Path | None = None) -> list[dict[str, Any]]:
    """Return one row a record, newest first, from the index, which is brought up to date where a record has changed."""
    import sqlite3

    root = home_folder(home)
    if not root.is_dir():
        return []
    if not is_on_a_network(root):
        for _ in range(2):
            try:
                with contextlib.closing(_connect(root)) as index:
                    return _synchronised(index, root)
            except (sqlite3.DatabaseError, OSError) as error:
                if isinstance(error, sqlite3.OperationalError) or not _set_aside(root, "damaged"):
                    break  # it cannot be written to, or somebody holds it
    rows = [summary(record) for record, _ in records_in(root)]
    return sorted(rows, key=lambda row: row["started"] or 0, reverse=True)


def rebuild(home: str | Path | None = None) -> int:
    """Make the index anew from the records, and return how many there are."""
    root = home_folder(home)
    if root.is_dir():
        _remove(root)
    return len(listing(home))


def is_on_a_network(folder: Path) -> bool:
    """Return whether a folder lies on a file system of a network, as far as the system tells."""
    try:
        mounts = [line.split()[1:3] for line in Path("/proc/mounts").read_text().splitlines()]
    except (OSError, IndexError):
        return False
    where = folder.resolve()
    inside = [(len(place), kind) for place, kind in mounts if where.is_relative_to(place.replace("\\040", " "))]
    return max(inside, default=(0, ""))[1] in OF_A_NETWORK


def _connect(root: Path) -> sqlite3.Connection:
    """Open the index; one of another version is kept beside it, and made anew."""
    import sqlite3

    index = sqlite3.connect(root / NAME, timeout=WAITS_S)
    try:
        version, tables = (index.execute(f"PRAGMA {name}").fetchone() for name in ("user_version", "schema_version"))
        if tables[0] and version[0] != VERSION:
            index.close()
            _set_aside(root, f"version-{version[0]}")
            index = sqlite3.connect(root / NAME, timeout=WAITS_S)
        index.execute("PRAGMA journal_mode=WAL")
        with index:
            index.execute("BEGIN IMMEDIATE")
            columns = ", ".join(COLUMNS)
            index.execute(f"CREATE TABLE IF NOT EXISTS records ({columns}, changed REAL, size INTEGER, PRIMARY KEY (id))")
            index.execute(f"PRAGMA user_version={VERSION}")
    except BaseException:
        index.close()
        raise
    return index


def _set_aside(root: Path, why: str) -> bool:
    """Keep an index that cannot be used under another name; return whether that was possible."""
    try:
        (root / NAME).replace(root / f"{NAME}.{why}")
        log.warning("the index %s was %s; it is kept as %s.%s, and made anew", root / NAME, why, NAME, why)
    except OSError:
        return False
    _remove(root)
    return True


def _remove(root: Path) -> None:
    for name in (NAME, f"{NAME}-wal", f"{NAME}-shm"):
        with contextlib.suppress(OSError):
            (root / name).unlink(missing_ok=True)


def _synchronised(index: sqlite3.Connection, root: Path) -> list[dict[str, Any]]:
    """Bring the rows of changed records up to date, by one writer at a time, and return all of them."""
    known = {row[0]: row[1:] for row in index.execute("SELECT id, changed, size FROM records")}
    present, changed = set(), []
    for record, stat in records_in(root):
        present.add(record.id)
        if known.get(record.id) != (stat.st_mtime, stat.st_size):
            row = summary(record)
            changed.append([row[name] for name in COLUMNS] + [stat.st_mtime, stat.st_size])
    gone = [(name,) for name in set(known) - present]
    if changed or gone:
        with index:
            index.execute("BEGIN IMMEDIATE")
            index.executemany(f"INSERT OR REPLACE INTO records VALUES ({', '.join('?' * (len(COLUMNS) + 2))})", changed)
            index.executemany("DELETE FROM records WHERE id = ?", gone)
    return _rows(index)


def _rows(index: sqlite3.Connection) -> list[dict[str, Any]]:
    rows: Iterator[Any] = index.execute(f"SELECT {', '.join(COLUMNS)} FROM records ORDER BY started DESC")
    return [dict(zip(COLUMNS, row, strict=True)) for row in rows]
