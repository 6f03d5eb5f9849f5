"""Files that outlive a kill: written under another name, brought to the disk, then put in their place all at once."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import secrets
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

AT_ONCE = 2**24  # bytes handed to the system in one call
NO_LOCKS = (errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP, errno.EINVAL)  # of file systems of networks
NO_SYNC = (errno.EINVAL, errno.EBADF, errno.ENOSYS, errno.EOPNOTSUPP)  # of file systems that cannot flush a folder
HERE = ".tmp-"  # how the names of what is not finished begin


def write_file(path: Path, pieces: Iterable[Any]) -> tuple[int, str]:
    """Write a new file to the disk; return its bytes and their SHA-256.

    Args:
        path: where; nothing may be there.
        pieces: what to write: `bytes` or anything else that gives its memory.

    Raises:
        OSError: whatever the system says; a file that is not complete is removed.
    """
    digest, size = hashlib.sha256(), 0
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0), 0o644)
    try:
        for piece in pieces:
            view = memoryview(piece).cast("B")
            for begin in range(0, len(view), AT_ONCE):
                part = view[begin : begin + AT_ONCE]
                _write_all(handle, part)
                digest.update(part)
            size += len(view)
        os.fsync(handle)
    except BaseException:
        os.close(handle)
        with contextlib.suppress(OSError):
            os.unlink(path)
        raise
    os.close(handle)
    return size, digest.hexdigest()


def _write_all(handle: int, view: memoryview) -> None:
    """Write all of a piece, however much of it the system takes at once."""
    while view:
        written = os.write(handle, view)
        if written <= 0:
            raise OSError(errno.EIO, "the system takes nothing more of a file")
        view = view[written:]


def replace_file(path: Path, content: bytes) -> None:
    """Put a small file in the place of another, all at once."""
    temporary = path.with_name(f"{HERE}{path.name}-{secrets.token_hex(4)}")
    write_file(temporary, [content])
    try:
        os.replace(temporary, path)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(temporary)
        raise
    sync_folder(path.parent)


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a temporary path, for somebody else to write; it becomes `path` at the end, all at once."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f"{HERE}{path.name}-{secrets.token_hex(4)}")
    try:
        os.close(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644))
        yield temporary
        _sync(temporary, os.O_RDWR)
        os.replace(temporary, path)
    finally:
        with contextlib.suppress(OSError):
            os.unlink(temporary)
    sync_folder(path.parent)


def append_lines(path: Path, lines: Iterable[bytes], *, sync: bool = False) -> None:
    """Append lines to a file, all together, whoever else appends; a last line that was cut off is ended first.

    With `sync` they are on the disk when this returns.
    """
    handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | getattr(os, "O_BINARY", 0), 0o644)
    try:
        with _alone(handle):
            size = os.fstat(handle).st_size
            torn = size > 0 and (os.lseek(handle, size - 1, os.SEEK_SET), os.read(handle, 1))[1] != b"\n"
            try:
                _write_all(handle, memoryview(b"\n" * torn + b"".join(lines)))
            except OSError:
                with contextlib.suppress(OSError):
                    os.ftruncate(handle, size)  # nothing half-written, and nothing twice when it is tried again
                raise
        if sync:
            os.fsync(handle)
    finally:
        os.close(handle)


@contextlib.contextmanager
def _alone(handle: int, *, waits: bool = True) -> Iterator[bool]:
    """While this is open, no other process holds the file, where the system can tell them; else False, if it `waits` not."""
    try:
        import fcntl
    except ImportError:  # Windows
        yield True
        return
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | (0 if waits else fcntl.LOCK_NB))
    except OSError as error:
        if error.errno not in (*NO_LOCKS, errno.EWOULDBLOCK):
            raise
        yield error.errno in NO_LOCKS
        return
    try:
        yield True
    finally:
        fcntl.flock(handle, fcntl.LOCK_UN)


@contextlib.contextmanager
def alone(path: Path) -> Iterator[bool]:
    """Hold a file that stands for something, and say whether nobody else does; a disk that takes no file has nobody else."""
    try:
        handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    except OSError:
        yield True
        return
    try:
        with _alone(handle, waits=False) as mine:
            yield mine
    finally:
        os.close(handle)


def sync_folder(folder: Path) -> None:
    """Bring the names in a folder to the disk, where the system can."""
    if os.name == "nt":
        return
    try:
        _sync(folder, os.O_RDONLY)
    except OSError as error:
        if error.errno not in NO_SYNC:
            raise


def _sync(path: Path, how: int) -> None:
    handle = os.open(path, how)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
