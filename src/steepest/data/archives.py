"""npz archives, checked before they are unpacked into memory, or into the cache where they do not fit; nothing is unpickled."""

from __future__ import annotations

import io
import math
import os
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np

from ..errors import InputError, switch
from ..sources import MOST_TIMES, most_unpacked, read_bytes
from .cache import Wanted, stored
from .lines import AT_ONCE

SHARE_OF_MEMORY = 0.5  # of what is free: rows are copied once, when they become tensors


def free_memory() -> int:
    """Return how many bytes of memory are free, about; in a container, what its limit leaves."""
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
        free = 1024 * next(int(line.split()[1]) for line in lines if line.startswith("MemAvailable"))
    except (OSError, StopIteration):
        free = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return int(min(free, _left_in(CONTAINER)))


CONTAINER = Path("/sys/fs/cgroup")


def _left_in(container: Path) -> float:
    """Return the bytes that a container's limit leaves, with what it can let go of files; infinite without a limit."""
    try:
        most, taken = (int((container / name).read_text()) for name in ("memory.max", "memory.current"))
        stat = dict(line.split() for line in (container / "memory.stat").read_text().splitlines())
        return max(0, most - taken + int(stat.get("inactive_file", 0)))
    except (OSError, ValueError):  # another system, or "max": no limit
        return math.inf


def too_large(nbytes: int, on_disk: bool | None) -> bool:
    """Return whether rows stay on disk: where they would take more than half of the free memory, or as `on_disk` says."""
    check_on_disk(on_disk)
    return nbytes > SHARE_OF_MEMORY * free_memory() if on_disk is None else on_disk


def check_on_disk(on_disk: object) -> None:
    """Raise unless this is True, False or None."""
    if on_disk is not None:
        switch("on_disk", on_disk)


def read_archive(path: str | Path, on_disk: bool | None = None) -> dict[str, Any]:
    """Return the arrays of an npz archive; where they would unpack to more than half of the free memory, the largest ones are
    unpacked into the cache, and stay there.
    """
    path = Path(path)
    try:
        if on_disk is not False and zipfile.is_zipfile(path):
            with zipfile.ZipFile(path) as members:
                promised = _promised(members)
                believed = on_disk or promised <= MOST_TIMES * path.stat().st_size
                if believed and too_large(promised, on_disk):
                    return _unpacked(path, members)
        content = read_bytes(path)
        with zipfile.ZipFile(io.BytesIO(content)) as members:
            promised, limit = _promised(members), SHARE_OF_MEMORY * free_memory()
        if promised > most_unpacked(len(content)):
            raise InputError(
                f"{path}: {len(content):,} bytes promise {promised:,} unpacked, which data hardly do; give on_disk=True if you "
                "trust it"
            )
        if promised > limit:
            raise InputError(
                f"{path}: {len(content):,} bytes promise {promised:,} unpacked, more than half of the free memory "
                f"({limit:,.0f}); it is damaged, or too large for this machine"
            )
        with np.load(io.BytesIO(content), allow_pickle=False) as archive:
            return {name: np.atleast_1d(archive[name]) for name in archive.files}
    except InputError:
        raise
    except (
        ValueError,
        TypeError,
        OSError,
        MemoryError,
        zipfile.BadZipFile,
        zlib.error,
        EOFError,
        NotImplementedError,
        RuntimeError,  # it is encrypted
    ) as error:
        raise InputError(f"{path} is not a readable npz archive ({error})") from None


def _promised(members: zipfile.ZipFile) -> int:
    """Return how many bytes an archive unpacks to, as it says itself."""
    return sum(max(member.file_size, _declared(members, member).nbytes) for member in members.infolist())


@dataclass(frozen=True)
class Declared:
    """What the header of an array promises."""

    shape: tuple[int, ...]
    fortran: bool
    dtype: np.dtype[Any]

    @property
    def nbytes(self) -> int:
        return int(np.prod([int(size) for size in self.shape], dtype=object)) * self.dtype.itemsize if self.shape else 1


def _declared(members: zipfile.ZipFile, member: zipfile.ZipInfo) -> Declared:
    with members.open(member) as file:
        return _read_header(file)


def _read_header(file: IO[bytes]) -> Declared:
    major, _ = np.lib.format.read_magic(file)
    read = np.lib.format.read_array_header_1_0 if major == 1 else np.lib.format.read_array_header_2_0
    return Declared(*read(file))


def _unpacked(path: Path, members: zipfile.ZipFile) -> dict[str, Any]:
    """Return the arrays of an archive, those of the same rows as the largest one on disk, in one entry of the cache."""
    declared = {member.filename: _declared(members, member) for member in members.infolist()}
    largest = max(declared.values(), key=lambda one: one.nbytes)
    row, dtype = largest.shape[1:], largest.dtype
    alike = {name: one for name, one in declared.items() if one.shape[1:] == row and one.dtype == dtype and len(one.shape) > 1}
    others = sum(one.nbytes for name, one in declared.items() if name not in alike)
    if not alike or too_large(others, None) or dtype.hasobject or any(one.fortran for one in alike.values()):
        raise InputError(f"{path}: its arrays do not fit into memory, and are not rows of numbers, one after the other")
    status = path.stat()
    made_of = [str(path.resolve()), status.st_size, status.st_mtime_ns, list(alike)]
    rows = {name: one.shape[0] for name, one in alike.items()}
    entry = stored(Wanted(made_of, row, dtype, sum(rows.values()), lambda _: _unpacking(members, rows, largest)))
    found, at = {}, 0
    for name, one in declared.items():
        if name in alike:
            found[_bare(name)], at = entry.lines[at : at + one.shape[0]], at + one.shape[0]
        else:
            with members.open(name) as file:
                found[_bare(name)] = np.atleast_1d(np.lib.format.read_array(file, allow_pickle=False))
    return found


def _unpacking(members: zipfile.ZipFile, rows: dict[str, int], like: Declared) -> Iterator[np.ndarray]:
    """Yield the rows of some arrays, some at a time."""
    row_bytes = int(np.prod(like.shape[1:], dtype=np.int64)) * like.dtype.itemsize
    at_once = max(AT_ONCE // max(row_bytes, 1), 1)
    for name, count in rows.items():
        with members.open(name) as file:
            _read_header(file)
            for begin in range(0, count, at_once):
                wanted = min(at_once, count - begin) * row_bytes
                content = file.read(wanted)
                if len(content) < wanted:
                    raise EOFError(f"{name} ends after {begin * row_bytes + len(content):,} bytes")
                yield np.frombuffer(content, dtype=like.dtype).reshape(-1, *like.shape[1:])


def _bare(name: str) -> str:
    return name.removesuffix(".npy")
