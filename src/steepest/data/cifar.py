"""CIFAR-10 in its binary version: rows of one byte for the class and 3,072 for 32 x 32 pixels, red, then green, then blue.

Krizhevsky, 2009, Learning Multiple Layers of Features from Tiny Images. The archive is read as it is: nothing is
unpacked to disk and nothing unpickled.
"""

from __future__ import annotations

import re
import tarfile
import zlib
from pathlib import Path

import numpy as np

from ..errors import InputError
from ..sources import read_bytes
from .images import LabelledArrays

ARCHIVE = "cifar-10-binary.tar.gz"
BATCH = re.compile(r"(data_batch_\d+|test_batch)\.bin")
SHAPE = (3, 32, 32)
ROW = 1 + 3 * 32 * 32
MAX_BATCH = 10_000 * ROW  # as published; more is not CIFAR-10
CLASSES = np.array(("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"))


def is_cifar(path: Path) -> bool:
    """Return whether a path is the archive, or a folder with the archive or its batches."""
    if path.is_dir():
        return any(BATCH.fullmatch(entry.name) or entry.name == ARCHIVE for entry in path.iterdir())
    return path.name == ARCHIVE


def read_cifar(path: str | Path) -> LabelledArrays:
    """Read the archive, or a folder that holds it or the batches unpacked."""
    source = str(path)
    path = Path(path)
    if path.is_dir() and not any(BATCH.fullmatch(entry.name) for entry in path.iterdir()):
        path = path / ARCHIVE
    found = _unpacked(path) if path.is_dir() else _members(path)
    training = [name for name in sorted(found) if name != "test_batch.bin"]
    if not training:
        raise InputError(f"{path}: no data_batch_1.bin in it; expected the binary version of CIFAR-10")
    images, labels = _batches(path, {name: found[name] for name in training})
    test = _batches(path, {"test_batch.bin": found["test_batch.bin"]}) if "test_batch.bin" in found else (None, None)
    return LabelledArrays(images, labels, *test, source)


def _unpacked(folder: Path) -> dict[str, bytes]:
    return {entry.name: read_bytes(entry) for entry in folder.iterdir() if BATCH.fullmatch(entry.name)}


def _members(path: Path) -> dict[str, bytes]:
    """Return the batches in an archive; a member that says it is larger than a batch is refused unread."""
    found = {}
    try:
        with tarfile.open(path, "r|gz") as archive:
            for member in archive:
                name = member.name.rpartition("/")[2]
                if not member.isfile() or not BATCH.fullmatch(name):
                    continue
                if member.size > MAX_BATCH:
                    raise InputError(f"{path}: {name} has {member.size:,} bytes; expected at most {MAX_BATCH:,}")
                content = archive.extractfile(member)
                found[name] = content.read() if content else b""
    except FileNotFoundError:
        raise InputError(f"no such file: {path}") from None
    except (tarfile.TarError, OSError, EOFError, zlib.error) as error:
        raise InputError(f"{path} is a damaged archive ({error}); copy or download it again") from None
    return found


def _batches(path: Path, batches: dict[str, bytes]) -> tuple[np.ndarray, np.ndarray]:
    for name, content in batches.items():
        if not content or len(content) % ROW:
            raise InputError(f"{path}: {name} has {len(content):,} bytes; expected rows of {ROW:,}")
    rows = np.concatenate([np.frombuffer(content, dtype=np.uint8) for content in batches.values()]).reshape(-1, ROW)
    if rows[:, 0].max() >= len(CLASSES):
        raise InputError(f"{path}: a row of class {rows[:, 0].max()}; CIFAR-10 has classes 0 to {len(CLASSES) - 1}")
    return np.ascontiguousarray(rows[:, 1:]).reshape(-1, *SHAPE), CLASSES[rows[:, 0]]
