"""Downloading data sets with the standard library: resumed where it broke off, checked, then moved into place.

What arrives is written beside its place, under the name with `.part`. A file has its own name only once every byte of it has
been checked against the SHA-256 that is written in `sources.py`, so that neither a broken line nor a false server leaves
anything behind that would be learned from.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import http.client
import os
import shutil
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from .errors import InputError, Interrupted, reason_of, unknown
from .progress import Progress
from .sources import DOWNLOADS, Remote, download_folder

AT_ONCE = 2**16
TRIES = 3  # in a row that bring less than this, at one address
ENOUGH = 2**15
WAIT_S = 0.5  # before going on; twice as long after each try that brought little
TIMEOUT_S = 30.0
SLOWEST = 100  # bytes a second, over TIMEOUT_S; below, the line counts as broken
PASSING = (408, 425, 429, 500, 502, 503, 504)  # answers that another try may change


class _BrokenError(Exception):
    """The line broke, or the server was busy: worth another try."""


class _UselessError(Exception):
    """This address does not have the file."""


def download(name: str, *, to: str | Path | None = None, progress: bool | None = None, lines: bool = False) -> Path:
    """Download a data set and return its folder; what is there already is kept, what broke off is gone on with.

    Args:
        name: `"mnist"`, `"fashion-mnist"` or `"cifar-10"`.
        to: the folder; None: where `steepest.task(name)` looks, `~/.cache/steepest/data` (or `data` in `STEEPEST_CACHE`).
        progress: show a bar; None: where somebody watches.
        lines: in place of a bar, a line every ten seconds.

    Raises:
        InputError: no network, a full disk, a file that is not the published one; in one line.
        Interrupted: Ctrl-C; what came is kept.
    """
    if name not in DOWNLOADS:
        raise unknown("data set to download", name, DOWNLOADS)
    folder = Path(to).expanduser() if to is not None else download_folder(name)
    remotes = DOWNLOADS[name]
    with _told(folder, name):
        folder.mkdir(parents=True, exist_ok=True)
        total = sum(remote.size for remote in remotes)
        with Progress(total, f"download {name} (bytes)", progress, lines=lines) as bar:
            done = 0
            for remote in remotes:
                _fetch(remote, folder, bar, done)
                done += remote.size
                bar.update(done)
    return folder


@contextlib.contextmanager
def _told(folder: Path, name: str) -> Iterator[None]:
    """Turn what the disk says, or Ctrl-C, into one line."""
    try:
        yield
    except KeyboardInterrupt:
        raise Interrupted(f"stopped; what came is kept in {folder}: repeat to go on") from None
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise InputError(f"no space left in {folder} for {name}; make room, or name another folder: --to FOLDER") from None
        raise InputError(f"{folder} cannot be written to ({reason_of(error)}); name another: --to FOLDER") from None


def _fetch(remote: Remote, folder: Path, bar: Progress, before: int) -> None:
    """Bring one file into a folder, unless it is there."""
    final, part = folder / remote.name, folder / f"{remote.name}.part"
    if _is_there(final, remote):
        return
    with _held(part) as file:
        if _is_there(final, remote):  # another process has just brought it
            part.unlink(missing_ok=True)
            return
        if shutil.disk_usage(folder).free + _size(file) < remote.size:
            raise OSError(errno.ENOSPC, "too little space")
        complaints = []
        for address in remote.addresses:
            try:
                _arrive(address, remote, file, bar, before)
                os.fsync(file.fileno())
                part.replace(final)
                return
            except (_BrokenError, _UselessError) as error:
                complaints.append(f"{address}: {error}")
            except OSError:
                part.unlink(missing_ok=True)  # on a full disk, half a file would only keep it full
                raise
        kept = _size(file)
        if not kept:
            part.unlink()
        hint = f"what came, {kept:,} bytes, is kept; repeat to go on" if kept else "check the network, then repeat"
        raise InputError(f"{remote.name} could not be downloaded ({'; '.join(complaints)}); {hint}")


def _is_there(final: Path, remote: Remote) -> bool:
    if not final.exists():
        return False
    if _digest(final) != remote.sha256:
        raise InputError(f"{final} is there, but not the published file (its SHA-256 differs); move it away, then repeat")
    return True


def _size(file: IO[bytes]) -> int:
    return os.fstat(file.fileno()).st_size


@contextlib.contextmanager
def _held(part: Path) -> Iterator[IO[bytes]]:
    """Open the file that takes what arrives, for one process at a time."""
    with part.open("ab") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise InputError(f"{part}: another process is downloading it; wait for that one") from None
        except OSError:  # a file system without locks: the checksum tells what two writers make of a file
            pass
        yield file


def _arrive(address: str, remote: Remote, file: IO[bytes], bar: Progress, before: int) -> None:
    """Let a file arrive whole from one address, or raise what stopped it; whole and wrong is thrown away."""
    resumed = _size(file) > 0
    while True:
        _all_bytes(address, remote, file, bar, before)
        if (found := _digest(Path(file.name))) == remote.sha256:
            return
        file.truncate(0)
        if not resumed:
            raise _UselessError(f"not the published file: expected SHA-256 {remote.sha256[:12]}..., got {found[:12]}...")
        resumed = False  # what an earlier download left may have been wrong: once more, from the beginning


def _all_bytes(address: str, remote: Remote, file: IO[bytes], bar: Progress, before: int) -> None:
    tries = 0
    while (had := _size(file)) < remote.size:
        try:
            _go_on(address, remote, file, bar, before)
        except _BrokenError:
            tries = 0 if _size(file) >= had + ENOUGH else tries + 1
            if tries == TRIES:
                raise
            time.sleep(WAIT_S * 2**tries)
    if had > remote.size:
        file.truncate(0)
        _all_bytes(address, remote, file, bar, before)


def _go_on(address: str, remote: Remote, file: IO[bytes], bar: Progress, before: int) -> None:
    """Ask for the bytes that are not here yet, and write what comes."""
    had = _size(file)
    with _asked(address, had) as answer:
        if answer.status != 206:  # all of it, from its beginning
            file.truncate(0)
            had = 0
        elif not answer.headers.get("Content-Range", "").startswith(f"bytes {had}-"):
            raise _UselessError("it answers with another range than was asked for")
        offered = answer.headers.get("Content-Length", "")
        if offered.isdecimal() and had + int(offered) != remote.size:
            raise _UselessError(f"it offers {had + int(offered):,} bytes; the published file has {remote.size:,}")
        try:
            for piece in _pieces(answer):
                had += len(piece)
                if had > remote.size:
                    file.truncate(0)
                    raise _UselessError(f"it sends more than the {remote.size:,} bytes of the published file")
                file.write(piece)
                bar.update(before + had)
        finally:
            file.flush()
    if had < remote.size:
        raise _BrokenError(f"the line broke after {had:,} of {remote.size:,} bytes")


def _asked(address: str, had: int) -> http.client.HTTPResponse:
    """Return a server's answer to a request for the bytes from `had` on."""
    request = urllib.request.Request(address, headers={"User-Agent": "steepest", "Accept-Encoding": "identity"})
    if had:
        request.add_header("Range", f"bytes={had}-")
    try:
        return urllib.request.urlopen(request, timeout=TIMEOUT_S)
    except urllib.error.HTTPError as error:
        error.close()
        kind = _BrokenError if error.code in PASSING else _UselessError
        raise kind(f"HTTP {error.code} {error.reason}") from None
    except TimeoutError:
        raise _BrokenError(f"no answer for {TIMEOUT_S:g} s") from None
    except (OSError, http.client.HTTPException) as error:
        reason = getattr(error, "reason", error)  # of what urllib wraps
        raise _BrokenError(getattr(reason, "strerror", None) or str(reason) or type(reason).__name__) from None


def _pieces(answer: http.client.HTTPResponse) -> Iterator[bytes]:
    """Yield what a server sends as it comes; one that stops, or nearly stops, counts as a broken line."""
    since, came = time.monotonic(), 0
    while True:
        try:
            piece = answer.read1(AT_ONCE)
        except TimeoutError:
            raise _BrokenError(f"nothing came for {TIMEOUT_S:g} s") from None
        except (OSError, http.client.HTTPException) as error:
            raise _BrokenError(str(error) or type(error).__name__) from None
        if not piece:
            return
        came += len(piece)
        if (passed := time.monotonic() - since) > TIMEOUT_S:
            if came < SLOWEST * passed:
                raise _BrokenError(f"only {came:,} bytes came in {passed:.0f} s")
            since, came = time.monotonic(), 0
        yield piece


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
