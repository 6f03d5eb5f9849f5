"""npz archives, checked before they are unpacked: what they promise must fit into memory, and nothing is unpickled."""

from __future__ import annotations

import io
import os
import zipfile
from pathlib import Path

import numpy as np

from ..errors import InputError
from ..sources import read_bytes

SHARE_OF_MEMORY = 0.5  # of what is free: rows are copied once, when they become tensors


def free_memory() -> int:
    """Return how many bytes of memory are free, about."""
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
        return 1024 * next(int(line.split()[1]) for line in lines if line.startswith("MemAvailable"))
    except (OSError, StopIteration):
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def read_archive(path: str | Path) -> dict[str, np.ndarray]:
    """Return the arrays of an npz archive; one that would unpack to more than half of the free memory is refused unopened."""
    content = read_bytes(path)
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as members:
            promised = sum(max(member.file_size, _declared(members, member)) for member in members.infolist())
        limit = SHARE_OF_MEMORY * free_memory()
        if promised > limit:
            raise InputError(
                f"{path}: {len(content):,} bytes promise {promised:,} unpacked, more than half of the free memory "
                f"({limit:,.0f}); it is damaged, or too large for this machine"
            )
        with np.load(io.BytesIO(content), allow_pickle=False) as archive:
            return {name: np.atleast_1d(archive[name]) for name in archive.files}
    except InputError:
        raise
    except (ValueError, TypeError, OSError, MemoryError, zipfile.BadZipFile, EOFError, NotImplementedError) as error:
        raise InputError(f"{path} is not a readable npz archive ({error})") from None


def _declared(members: zipfile.ZipFile, member: zipfile.ZipInfo) -> int:
    """Return how many bytes the header of an array promises."""
    with members.open(member) as file:
        major, _ = np.lib.format.read_magic(file)
        read = np.lib.format.read_array_header_1_0 if major == 1 else np.lib.format.read_array_header_2_0
        shape, _, dtype = read(file)
    return int(np.prod([int(size) for size in shape], dtype=object)) * dtype.itemsize if shape else dtype.itemsize
