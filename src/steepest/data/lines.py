"""Rows of one size in a file, read by their numbers: what stands for an array that does not fit into memory.

Rows are read into the batch that asked for them, not mapped into the process: no page of the file counts as its memory, and
a file that was cut off is one line instead of a dead process.
"""

from __future__ import annotations

import itertools
import mmap
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import InputError

AT_ONCE = 2**24  # bytes that a pass over all rows holds
RUN = 512  # neighbours that one call reads; Linux takes 1,024


@dataclass(frozen=True, eq=False)
class Lines:
    """Rows of a file in the order of their numbers: an array as far as `len`, `shape`, `dtype`, `[rows]` and `read` go.

    Attributes:
        path: the file.
        offset: bytes before its first row.
        stored: the shape of a row as it lies there.
        kind: its numbers, as NumPy spells them (`"|u1"`).
        rows: which rows these are, shape (n,).
        axes: how the axes of a stored row are put in order, None: as they are; a first axis of one is added for -1.
    """

    path: str
    offset: int
    stored: tuple[int, ...]
    kind: str
    rows: np.ndarray
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

    def joined(self, other: Lines) -> Lines:
        """Return these rows and then those of the same file."""
        assert (self.path, self.offset, self.stored, self.axes) == (other.path, other.offset, other.stored, other.axes)
        return replace(self, rows=np.concatenate([self.rows, other.rows]))

    def read(self, places: np.ndarray | slice = slice(None)) -> np.ndarray:
        """Return the rows at these places; the file is read from its beginning to its end, neighbours in one call."""
        wanted = self.rows[places]
        found = np.empty((len(wanted), *self.stored), dtype=self.dtype)
        order = np.argsort(wanted, kind="stable")
        begins = [self.offset + row * self.row_bytes for row in wanted[order].tolist()]
        runs = _runs(wanted[order])
        memory = found.reshape(-1).view(np.uint8).data
        into = [memory[at : at + self.row_bytes] for at in (order * self.row_bytes).tolist()]
        with opened(self.path) as file:
            if len(runs) > 1:  # the disk is told of all before the first is waited for
                for begin, end in runs:
                    os.posix_fadvise(file, begins[begin], (end - begin) * self.row_bytes, os.POSIX_FADV_WILLNEED)
            for begin, end in runs:
                self._fill(file, into[begin:end], begins[begin])
        return self._in_order(found)

    def _fill(self, file: int, into: list[memoryview], at: int) -> None:
        try:
            count = os.preadv(file, into, at)
        except OSError as error:
            raise InputError(f"{self.path} cannot be read: {error.strerror or error}") from None
        if count != self.row_bytes * len(into):
            raise InputError(f"{self.path} was cut off: it ends after {at + count:,} bytes, in the middle of its rows")

    def _in_order(self, stored: np.ndarray) -> np.ndarray:
        """Return stored rows with their axes in order."""
        if self.axes is None:
            return stored
        kept = stored.transpose(0, *(axis + 1 for axis in self.axes if axis >= 0))
        return np.ascontiguousarray(kept.reshape(len(stored), *self.shape[1:]))


def _runs(rows: np.ndarray) -> list[tuple[int, int]]:
    """Return where runs of neighbours begin and end in a sorted array of row numbers.

    >>> _runs(np.array([3, 4, 9]))
    [(0, 2), (2, 3)]
    """
    breaks = (np.flatnonzero(np.diff(rows) != 1) + 1).tolist()
    bounds = sorted({*range(0, len(rows), RUN), *breaks, len(rows)})
    return list(itertools.pairwise(bounds))


@contextmanager
def opened(path: str) -> Iterator[int]:
    """Open a file to read in it; every failure is one line."""
    try:
        file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror or error}") from None
    try:
        yield file
    finally:
        os.close(file)


def in_chunks(values: np.ndarray | Lines, size: int = AT_ONCE) -> Iterator[np.ndarray]:
    """Yield rows in their order, so many that each chunk takes about `size` bytes."""
    row_bytes = max(values.nbytes // max(len(values), 1), 1)
    for begin in range(0, len(values), step := max(size // row_bytes, 1)):
        some = values[begin : begin + step]
        yield some.read() if isinstance(some, Lines) else some


def lines_of(array: Any) -> Lines | None:
    """Return the rows of an array that NumPy has mapped from a file; None where they do not lie there one after the other."""
    mapped = getattr(array, "_mmap", None)
    if not isinstance(array, np.memmap) or mapped is None or array.mode == "c" or not array.flags.c_contiguous:
        return None
    whole = np.frombuffer(mapped, dtype=np.uint8)
    begin = (
        array.offset - array.offset % mmap.ALLOCATIONGRANULARITY
    )  # of the map in the file; array.offset is the file's header
    inside = array.__array_interface__["data"][0] - whole.__array_interface__["data"][0]
    rows = np.arange(len(array), dtype=np.int64)
    return Lines(str(Path(str(array.filename)).resolve()), begin + inside, array.shape[1:], array.dtype.str, rows)
