"""The cache of rows that do not fit into memory: written once, as an npy file and a manifest, and read by their numbers.

An entry is a folder named by what its rows were made of. It gets its name only once everything in it has been written and
flushed to the disk, so that a killed write leaves nothing that could be read; the next one begins anew. Of several processes
that want the same entry one writes, the others wait.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import itertools
import json
import os
import shutil
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

import numpy as np

from ..errors import InputError, reason_of
from ..sources import cache_folder
from .findings import CleaningReport
from .lines import Lines, identity_of, in_chunks

VERSION = 2
ROWS, MANIFEST = "rows.npy", "manifest.json"
BUFFER = 2**22  # bytes between two writes


@dataclass(frozen=True)
class Wanted:
    """What an entry is to hold.

    Attributes:
        made_of: everything its rows follow from: files with their sizes and times, how they are read.
        row: the shape of a row.
        dtype: its numbers.
        rows: how many rows at most, to see whether they fit on the disk.
        write: yields the rows, some at a time, shape (n, *row); facts to keep beside them go into the dict it is given.
    """

    made_of: Any
    row: tuple[int, ...]
    dtype: np.dtype[Any]
    rows: int
    write: Callable[[dict[str, Any]], Iterable[np.ndarray]]

    @property
    def key(self) -> str:
        text = json.dumps([VERSION, self.made_of, self.row, self.dtype.str], sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:24]

    @property
    def row_bytes(self) -> int:
        return int(np.prod(self.row, dtype=np.int64)) * self.dtype.itemsize

    @property
    def nbytes(self) -> int:
        return self.rows * self.row_bytes


@dataclass(frozen=True)
class Entry:
    """Rows in the cache, and the facts kept beside them."""

    lines: Lines
    about: dict[str, Any] = field(default_factory=dict)


def stored(wanted: Wanted) -> Entry:
    """Return an entry of the cache, written now unless it is there already.

    Raises:
        InputError: the folder cannot be written to, or the disk is too full.
    """
    folder = cache_folder("rows").absolute()
    with _writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
        found = _read(folder / wanted.key, wanted)
        if found is None:
            with _locked(folder / f"{wanted.key}.lock"):
                found = _read(folder / wanted.key, wanted) or _write(folder / wanted.key, wanted)
    return found


def stored_arrays(*arrays: np.ndarray | Lines) -> Lines:
    """Return the rows of arrays, one after the other, written to the cache under the fingerprint of what they hold."""
    digest, dtype = hashlib.sha256(), np.result_type(*(array.dtype for array in arrays))

    def chunks(_: Any = None) -> Iterator[np.ndarray]:
        return itertools.chain.from_iterable(in_chunks(array) for array in arrays)

    for some in chunks():
        digest.update(_content(some.astype(dtype, copy=False)))
    rows = sum(map(len, arrays))
    return stored(Wanted([rows, digest.hexdigest()], arrays[0].shape[1:], dtype, rows, chunks)).lines


def tell(report: CleaningReport, lines: Lines, what: str) -> None:
    """Say in a report where rows lie, and how large they are."""
    report.add(f"{what} left on disk", len(lines), f"read batch by batch, {lines.nbytes:,} bytes in {lines.path}")


# -- reading ----------------------------------------------------------------------------------------------------------


def _read(entry: Path, wanted: Wanted) -> Entry | None:
    """Return an entry if it is whole, and what is wanted, else None: then it is written again."""
    try:
        manifest = json.loads((entry / MANIFEST).read_text())
        status = (entry / ROWS).stat()
        if manifest["version"] != VERSION or status.st_size != manifest["bytes"]:
            return None
        if status.st_mtime_ns != manifest["written_ns"]:  # a file that was copied has another time, and the same rows
            if _digest(entry / ROWS, manifest["offset"]) != manifest["sha256"]:
                return None
            with contextlib.suppress(OSError):  # they need not be looked through again
                os.utime(entry / ROWS, ns=(status.st_atime_ns, manifest["written_ns"]))
        rows, offset = manifest["rows"], len(_header(wanted, 0))
        if (manifest["row"], manifest["dtype"], manifest["offset"]) != (list(wanted.row), wanted.dtype.str, offset):
            return None
        if not isinstance(rows, int) or offset + rows * wanted.row_bytes != status.st_size:
            return None
        identity = identity_of((entry / ROWS).stat())[:3]  # its time may be set back again, by who finds it to be the same
        lines = Lines(str(entry / ROWS), offset, wanted.row, wanted.dtype.str, np.arange(rows, dtype=np.int64), identity)
        return Entry(lines, manifest["about"])
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return None


def _digest(path: Path, offset: int) -> str:
    """Return the SHA-256 of the rows of a file."""
    with path.open("rb") as file:
        file.seek(offset)
        return hashlib.file_digest(file, "sha256").hexdigest()


# -- writing ----------------------------------------------------------------------------------------------------------


def _write(entry: Path, wanted: Wanted) -> Entry:
    """Write an entry beside its place, then move it there; whatever was in the way was not whole."""
    part = entry.with_name(f"{entry.name}.part")
    shutil.rmtree(part, ignore_errors=True)  # of a write that was killed: nobody else holds the lock
    _check_space(entry.parent, wanted.nbytes)
    part.mkdir()
    try:
        manifest = _write_rows(part / ROWS, wanted)
        _flushed(part / MANIFEST, json.dumps(manifest).encode())
        shutil.rmtree(entry, ignore_errors=True)
        part.rename(entry)
        _flush_folder(entry.parent)
    finally:
        shutil.rmtree(part, ignore_errors=True)
    found = _read(entry, wanted)
    if found is None:
        raise InputError(f"{entry} is not what was written there a moment ago; name another folder with STEEPEST_CACHE")
    return found


def _write_rows(path: Path, wanted: Wanted) -> dict[str, Any]:
    """Write the rows behind their header, and return the manifest."""
    about: dict[str, Any] = {}
    digest, rows, offset = hashlib.sha256(), 0, len(_header(wanted, 0))
    with path.open("wb", buffering=BUFFER) as file:
        file.seek(offset)
        for some in wanted.write(about):
            assert some.shape[1:] == wanted.row
            content = _content(some.astype(wanted.dtype, copy=False))
            file.write(content)
            digest.update(content)
            rows += len(some)
        file.seek(0)
        file.write(_header(wanted, rows))
        _flush(file)
    status = path.stat()
    return {
        "version": VERSION, "made_of": wanted.made_of, "row": wanted.row, "dtype": wanted.dtype.str, "rows": rows,
        "offset": offset, "bytes": status.st_size, "written_ns": status.st_mtime_ns, "sha256": digest.hexdigest(),
        "about": about,
    }  # fmt: skip


def _content(rows: np.ndarray) -> memoryview:
    """Return the bytes of rows, one row after the other."""
    return np.ascontiguousarray(rows).reshape(-1).view(np.uint8).data


def _header(wanted: Wanted, rows: int) -> bytes:
    """Return the header of an npy file; NumPy leaves room in it for any number of rows, so that its length is one."""
    file = io.BytesIO()
    described = {"descr": wanted.dtype.str, "fortran_order": False, "shape": (rows, *wanted.row)}
    np.lib.format.write_array_header_1_0(file, described)
    return file.getvalue()


def _check_space(folder: Path, nbytes: int) -> None:
    free = shutil.disk_usage(folder).free
    if nbytes > free:
        raise InputError(
            f"rows of {nbytes:,} bytes do not fit on the disk of {folder} ({free:,} bytes free); name a folder on another with "
            "STEEPEST_CACHE"
        )


def _flushed(path: Path, content: bytes) -> None:
    with path.open("wb") as file:
        file.write(content)
        _flush(file)
    _flush_folder(path.parent)


def _flush(file: IO[bytes]) -> None:
    file.flush()
    os.fsync(file.fileno())


def _flush_folder(folder: Path) -> None:
    if not hasattr(os, "O_DIRECTORY"):  # Windows opens no folders
        return
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Hold a lock that ends with the process, however that ends; Windows has none of these, and there the last writer wins."""
    try:
        import fcntl
    except ImportError:
        yield
        return
    with path.open("ab") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


@contextlib.contextmanager
def _writing(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise InputError(
            f"rows that are left on disk are kept in {folder}, which cannot be written ({reason_of(error)}); name "
            "another folder with STEEPEST_CACHE"
        ) from None
