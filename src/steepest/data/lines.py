"""Rows of one size in a file, read by their numbers: what stands for an array that does not fit into memory.

The file is mapped, and a batch gathered in one call: 128 rows of 784 bytes, read one by one, took thirty times as long.
A file that was cut off would end a process that has mapped it, and one that was replaced holds other rows: whether it is still
the one that was looked at is asked before every batch.
"""

from __future__ import annotations

import itertools
import mmap
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import InputError, reason_of

AT_ONCE = 2**24  # bytes that a pass over all rows holds
HELD_BYTES = 2**30  # read through a map before its pages are let go; the kernel may keep what they hold
A_PAGE_S = 2e-5  # longer than memory takes for a page, shorter than a disk
MOST_OPEN = 8  # files
COMPARED = 64  # places of a map that are compared with its file
ADVISES = hasattr(mmap.mmap, "madvise")  # whether the system can be told which pages are wanted; Windows cannot


@dataclass(frozen=True, eq=False)
class Lines:
    """Rows of a file in the order of their numbers: an array as far as `len`, `shape`, `dtype`, `[rows]` and `read` go.

    Attributes:
        path: the file.
        offset: bytes before its first row.
        stored: the shape of a row as it lies there.
        kind: its numbers, as NumPy spells them (`"|u1"`).
        rows: which rows these are, shape (n,).
        identity: which file it was when its rows were looked at, see `identity_of`; what it leaves out may change.
        axes: how the axes of a stored row are put in order, None: as they are; a first axis of one is added for -1.
    """

    path: str
    offset: int
    stored: tuple[int, ...]
    kind: str
    rows: np.ndarray
    identity: tuple[int, ...]
    axes: tuple[int, ...] | None = None

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def dtype(self) -> np.dtype[Any]:
        return np.dtype(self.kind)

    @property
    def shape(self) -> tuple[int, ...]:
        row = self.stored if self.axes is None else tuple(1 if axis < 0 else self.stored[axis] for axis in self.axes)
        return (len(self.rows), *row)

    @property
    def ndim(self) -> int:
        return len(self.shape)

    @property
    def row_bytes(self) -> int:
        return int(np.prod(self.stored, dtype=np.int64)) * self.dtype.itemsize

    @property
    def nbytes(self) -> int:
        return len(self) * self.row_bytes

    def __getitem__(self, which: np.ndarray | slice) -> Lines:
        """Return some of the rows, unread."""
        return replace(self, rows=self.rows[which])

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        del copy  # what is read is always new
        return self.read().astype(dtype or self.dtype, copy=False)

    @property
    def place(self) -> tuple[Any, ...]:
        """Where the row of number 0 lies, and how rows are read: alike for rows that can be joined."""
        return self.path, self.offset, self.stored, self.kind, self.axes

    def joined(self, other: Lines) -> Lines:
        """Return these rows and then those of the same file."""
        assert self.place == other.place
        return replace(self, rows=np.concatenate([self.rows, other.rows]))

    def read(self, places: np.ndarray | slice = slice(None)) -> np.ndarray:
        """Return the rows at these places."""
        return self.in_order(self.gather(places))

    def gather(self, places: np.ndarray | slice, into: np.ndarray | None = None) -> np.ndarray:
        """Return the rows at these places as they are stored; `into` is memory to use, if it is of their size."""
        wanted = self.rows[places]
        if into is None or into.shape != (len(wanted), *self.stored):
            into = np.empty((len(wanted), *self.stored), dtype=self.dtype)
        _opened(self).take(wanted, into)
        return into

    def in_order(self, stored: np.ndarray) -> np.ndarray:
        """Return stored rows with their axes in order."""
        if self.axes is None:
            return stored
        kept = stored.transpose(0, *(axis + 1 for axis in self.axes if axis >= 0))
        return np.ascontiguousarray(kept.reshape(len(stored), *self.shape[1:]))


class _Opened:
    """A file of rows, mapped: the pages that are read count as this process's until so many have been that they are let go."""

    def __init__(self, path: str, offset: int, row: tuple[int, ...], dtype: np.dtype[Any]) -> None:
        self._offset = offset
        self._row_bytes = int(np.prod(row, dtype=np.int64)) * dtype.itemsize
        with _blamed(path), open(path, "rb") as file:
            self.identity = identity_of(os.fstat(file.fileno()))
            self._map = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        count = max(len(self._map) - offset, 0) // max(self._row_bytes, 1)
        self._rows = np.frombuffer(self._map, dtype, count * int(np.prod(row)), offset).reshape(count, *row)
        self._waits = True  # whether the last rows had to be waited for
        self._held = 0

    def take(self, rows: np.ndarray, into: np.ndarray) -> None:
        """Read rows by their numbers; where the disk is waited for, it is told of all of them first, in their order."""
        assert not len(rows) or rows.max() < len(self._rows)  # the file has the size it had when they were counted
        if self._waits and ADVISES:
            self._tell(rows)
        began = time.perf_counter()
        self._rows.take(rows, axis=0, out=into, mode="clip")  # "raise" would fill a copy first; they are within bounds
        pages = 1 + into.nbytes // mmap.PAGESIZE
        self._waits = time.perf_counter() - began > A_PAGE_S * max(len(rows), pages)
        self._held += into.nbytes
        if self._held > HELD_BYTES and ADVISES:
            self._map.madvise(mmap.MADV_DONTNEED)
            self._held = 0

    def _tell(self, rows: np.ndarray) -> None:
        line = np.sort(rows)
        for begin, end in runs(line):
            first = self._offset + int(line[begin]) * self._row_bytes
            page = first - first % mmap.PAGESIZE
            self._map.madvise(mmap.MADV_WILLNEED, page, first + (end - begin) * self._row_bytes - page)


_OPEN: dict[tuple[Any, ...], _Opened] = {}  # of this process, the last few


def _opened(lines: Lines) -> _Opened:
    """Return the file of some rows, opened before or now; raise where it is not the one that they were found in."""
    with _blamed(lines.path):
        identity = identity_of(os.stat(lines.path))
    key = (lines.path, lines.offset, lines.stored, lines.kind)
    found = _OPEN.get(key)
    if found is None or found.identity != identity:
        found = _OPEN[key] = _Opened(lines.path, lines.offset, lines.stored, lines.dtype)
        for old in list(_OPEN)[:-MOST_OPEN]:
            _OPEN.pop(old, None)
    if found.identity[: len(lines.identity)] != lines.identity:
        raise _changed(lines, found.identity)
    return found


def identity_of(status: os.stat_result) -> tuple[int, int, int, int]:
    """Return what tells a file from another, and from what it was before: device, inode, bytes, last change in ns."""
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns


def _changed(lines: Lines, identity: tuple[int, ...]) -> InputError:
    how = "altered"
    if identity[:2] != lines.identity[:2]:
        how = "replaced"
    elif identity[2] < lines.identity[2]:
        how = "cut off"
    return InputError(f"{lines.path} was {how} since its rows were looked at; load it again")


@contextmanager
def _blamed(path: str) -> Iterator[None]:
    try:
        yield
    except (OSError, ValueError) as error:  # an empty file cannot be mapped
        raise InputError(f"{path} cannot be read: {reason_of(error)}") from None


def runs(rows: np.ndarray) -> list[tuple[int, int]]:
    """Return where runs of neighbours begin and end in a sorted array of row numbers.

    >>> runs(np.array([3, 4, 9]))
    [(0, 2), (2, 3)]
    """
    breaks = (np.flatnonzero(np.diff(rows) > 1) + 1).tolist()
    return list(itertools.pairwise([0, *breaks, len(rows)])) if len(rows) else []


def in_chunks(values: np.ndarray | Lines, size: int = AT_ONCE) -> Iterator[np.ndarray]:
    """Yield rows in their order, so many that each chunk takes about `size` bytes."""
    row_bytes = max(values.nbytes // max(len(values), 1), 1)
    for begin in range(0, len(values), step := max(size // row_bytes, 1)):
        some = values[begin : begin + step]
        yield some.read() if isinstance(some, Lines) else some


def lies_in_a_file(array: Any) -> bool:
    """Return whether an array is one that NumPy has mapped from a file, where its rows lie one after the other."""
    named = isinstance(array, np.memmap) and getattr(array, "_mmap", None) is not None and array.filename is not None
    return named and array.mode != "c" and array.flags.c_contiguous


def lines_of(array: Any) -> Lines | None:
    """Return the rows of an array that NumPy has mapped from a file; None where they do not lie there one after the other.

    Raises:
        InputError: another file has come to its place since it was mapped, as far as its size and some of its bytes tell.
    """
    if not lies_in_a_file(array):
        return None
    mapped = array._mmap
    whole = np.frombuffer(mapped, dtype=np.uint8)
    begin = (
        array.offset - array.offset % mmap.ALLOCATIONGRANULARITY
    )  # of the map in the file; array.offset is the file's header
    inside = array.__array_interface__["data"][0] - whole.__array_interface__["data"][0]
    path, rows = str(Path(str(array.filename)).resolve()), np.arange(len(array), dtype=np.int64)
    return Lines(path, begin + inside, array.shape[1:], array.dtype.str, rows, _identity_as_mapped(path, mapped, begin))


def _identity_as_mapped(path: str, mapped: mmap.mmap, begin: int) -> tuple[int, ...]:
    """Return the identity of the file at a path, if it is the one that was mapped from this byte on."""
    mapped.flush()  # else what was written into the map might count as a later change
    with _blamed(path), open(path, "rb", buffering=0) as file:
        identity = identity_of(os.fstat(file.fileno()))
        same = begin + len(mapped) <= identity[2] == mapped.size()  # which asks the file that was mapped
        for place in np.linspace(0, max(len(mapped) - mmap.PAGESIZE, 0), COMPARED, dtype=np.int64).tolist() if same else ():
            file.seek(begin + place)
            some = mapped[place : place + mmap.PAGESIZE]
            same = same and file.read(len(some)) == some
    if not same:
        raise InputError(f"{path} was replaced since it was mapped; load it again")
    return identity
