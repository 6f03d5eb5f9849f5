"""From C source to a loaded library: the system's compiler, and a cache that only its owner can write to.

A library is named after everything it depends on - source, compiler, flags, processor - and appears under its name all at once
(a rename), so that any number of processes may start together. Nothing is ever loaded from a folder that others can write to.
"""

from __future__ import annotations

import ctypes
import functools
import hashlib
import logging
import os
import platform
import shlex
import shutil
import stat
import subprocess
import tempfile
from pathlib import Path

log = logging.getLogger("steepest")
FLAGS = ("-O3", "-march=native", "-fno-math-errno", "-fno-trapping-math", "-ffp-contract=off", "-fopenmp-simd")
LINK = ("-shared", "-fPIC", "-lm")
TIME_LIMIT_S = 60
DIGEST = ".sha256"  # beside a library: the fingerprint of what was written


class CannotCompileError(Exception):
    """Why there is no compiled code: no compiler, no folder to keep it in, or a complaint of the compiler's."""


@functools.cache
def say_once(reason: str) -> None:
    """Warn that rules run without compiled code, once a process for each reason."""
    log.warning("rules run without compiled code, which is slower: %s", reason)


def load(source: str) -> ctypes.CDLL:
    """Return the loaded library of a C source."""
    path = library(source)
    try:
        return ctypes.CDLL(str(path))
    except OSError as error:  # a folder on a disk that nothing may be run from
        raise CannotCompileError(f"{path.parent} does not let libraries be loaded ({error})") from None


def library(source: str) -> Path:
    """Return the file of a C source's library, compiled now or on an earlier day."""
    folder = cache_folder()
    path = folder / f"{_key(source)}.so"
    if not _is_whole(path):
        try:
            _compile(source, path)
        except OSError as error:  # a folder that is read-only, a disk that is full
            raise CannotCompileError(f"{folder} cannot be written to ({error}); name another with STEEPEST_CACHE") from None
    return path


def _is_whole(path: Path) -> bool:
    """Return whether a library is there, the user's own, and as it was written: loading half a file kills the process."""
    try:
        written = path.with_suffix(DIGEST).read_bytes()
        return path.stat().st_uid == os.getuid() and written == hashlib.sha256(path.read_bytes()).digest()
    except OSError:
        return False


def cache_folder() -> Path:
    """Return the folder of compiled code: `STEEPEST_CACHE`, else `~/.cache/steepest`; it must be the user's alone."""
    base = os.environ.get("STEEPEST_CACHE") or Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "steepest"
    folder = Path(base) / "kernels"
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        found = folder.stat()
        if found.st_uid != os.getuid():
            raise CannotCompileError(f"{folder} belongs to somebody else; name another folder with STEEPEST_CACHE")
        if found.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
            folder.chmod(0o700)
    except (OSError, RuntimeError) as error:
        raise CannotCompileError(f"no folder to keep compiled code in ({error}); name one with STEEPEST_CACHE") from None
    return folder


@functools.cache
def compiler() -> tuple[tuple[str, ...], str]:
    """Return the command of the C compiler (`CC`, else cc, gcc or clang), and what tells it from others.

    Its file's place, size and time do: to ask it for its version would take a process at every start.
    """
    try:
        given = shlex.split(os.environ.get("CC", ""))
    except ValueError as error:
        raise CannotCompileError(f"CC is not a command ({error}; got {os.environ['CC']!r})") from None
    name = given[0] if given else next((name for name in ("cc", "gcc", "clang") if shutil.which(name)), None)
    path = shutil.which(name) if name else None
    if path is None:
        raise CannotCompileError(f"no C compiler was found ({f'CC={name}' if name else 'cc, gcc or clang'})")
    real = Path(path).resolve()
    found = real.stat()
    return (path, *given[1:]), f"{real} {found.st_size} {found.st_mtime_ns}"


@functools.cache
def _processor() -> str:
    """Return what `-march=native` depends on."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return "\n".join(sorted({line for line in lines if line.startswith(("model name", "flags", "Features"))}))
    except OSError:
        return platform.processor() or platform.machine()


def _key(source: str) -> str:
    """Return the name of a library: a fingerprint of all it depends on."""
    whole = "\0".join((source, *compiler()[0], compiler()[1], *FLAGS, *LINK, _processor(), platform.machine()))
    return hashlib.sha256(whole.encode()).hexdigest()[:32]


def _compile(source: str, path: Path) -> None:
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=".building-") as folder:
        code, made = Path(folder) / "code.c", Path(folder) / "code.so"
        code.write_text(source)
        command = [*compiler()[0], *FLAGS, "-o", str(made), str(code), *LINK]
        try:
            result = subprocess.run(
                command, capture_output=True, text=True, errors="replace", timeout=TIME_LIMIT_S, check=False
            )
        except (OSError, subprocess.SubprocessError) as error:
            raise CannotCompileError(f"{command[0]} failed ({error})") from None
        if result.returncode:
            lines = [line for line in result.stderr.splitlines() if line.strip()]
            complaint = next((line for line in lines if "error" in line), (lines or [f"status {result.returncode}"])[0])
            raise CannotCompileError(f"{command[0]} refused the code ({complaint.strip()[:200]})")
        if not made.exists():
            raise CannotCompileError(f"{command[0]} made nothing of the code")
        made.chmod(0o700)
        digest = made.with_suffix(DIGEST)
        digest.write_bytes(hashlib.sha256(made.read_bytes()).digest())
        made.replace(path)
        digest.replace(path.with_suffix(DIGEST))
