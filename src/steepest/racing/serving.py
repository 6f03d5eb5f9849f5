"""What runs in a worker process: it takes calls on its standard input, and answers on what was its standard output.

An answer is a letter and what belongs to it: `r` what the call returns, `e` what it raises, `b` a beat - a step was made, so
that who waits can tell work from a standstill.
"""

from __future__ import annotations

import contextlib
import os
import pickle
import signal
import struct
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any

RESULT, ERROR, BEAT = b"r", b"e", b"b"
BEAT_EVERY_S = 0.5
ORPHAN_CHECK_S = 2.0
LENGTH = struct.Struct("<Q")


def read_frame(stream: IO[bytes]) -> bytes:
    """Return the next message; EOFError where the other side is gone."""
    (length,) = LENGTH.unpack(_exactly(stream, LENGTH.size))
    return _exactly(stream, length)


def write_frame(stream: IO[bytes], content: bytes) -> None:
    """Send a message."""
    stream.write(LENGTH.pack(len(content)))
    stream.write(content)
    stream.flush()


def _exactly(stream: IO[bytes], length: int) -> bytes:
    found = stream.read(length)
    if len(found) < length:
        raise EOFError
    return found


_ears: list[Callable[[], None]] = []  # who hears that work goes on: nobody, but in a worker process


def beat() -> None:
    """Say that work goes on; cheap enough to be called at every step."""
    for heard in _ears:
        heard()


def serve() -> None:
    """Answer calls until the parent closes its end."""
    calls, answers = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.dup2(2, 1)  # what a network prints is no answer
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's business
    if hasattr(signal, "pthread_sigmask"):
        signal.pthread_sigmask(signal.SIG_SETMASK, ())  # the parent held signals back when it started this
    start = pickle.loads(read_frame(calls))
    try:
        held = answered(answers, _begin, *start)
        _beat_on(answers)
        while held is not None:
            answered(answers, _call, held, read_frame(calls))
    except (EOFError, OSError):  # the parent is gone: it ends its processes before it closes their pipes
        _clear_away(start[0])


def answered(answers: IO[bytes], function: Callable[..., Any], *args: Any) -> Any:
    """Make a call, send what came of it, and return that; None where it raised."""
    import cloudpickle

    try:
        found = function(*args)
        kind, content = RESULT, cloudpickle.dumps(None if function is _begin else found)
    except Exception as error:
        found, kind = None, ERROR
        try:
            content = cloudpickle.dumps(error)
            pickle.loads(content)  # which some errors with arguments of their own refuse
        except Exception:
            content = cloudpickle.dumps(RuntimeError(f"{type(error).__name__}: {error}"))
    write_frame(answers, kind + content)
    return found


def _begin(path: str, threads: int, device: Any, memory: int | None) -> tuple[Any, Any]:
    """Make a fresh process ready: its threads, its memory, its task."""
    import torch

    threading.Thread(target=_end_with_parent, args=(os.getppid(), path), daemon=True).start()
    torch.set_num_threads(threads)
    with open(path, "rb") as file:
        task = pickle.load(file)
    if memory is not None and sys.platform == "linux":  # elsewhere the system does not keep to it
        import resource

        _, most = resource.getrlimit(resource.RLIMIT_DATA)
        least = memory if most == resource.RLIM_INFINITY else min(memory, most)
        resource.setrlimit(resource.RLIMIT_DATA, (least, most))
    return task, device


def _call(held: tuple[Any, Any], content: bytes) -> Any:
    """Do what a message asks for."""
    task, device = held
    function, args = pickle.loads(content)
    return function(task, *args, device=device)


def _beat_on(answers: IO[bytes]) -> None:
    """From here on `beat` is heard."""
    last = 0.0

    def heard() -> None:
        nonlocal last
        now = time.monotonic()
        if now - last > BEAT_EVERY_S:
            last = now
            with contextlib.suppress(OSError):  # that the parent is gone shows when the call is over, or before
                write_frame(answers, BEAT)

    _ears.append(heard)


def _end_with_parent(parent: int, path: str) -> None:
    """End this process, and what it has started, when its parent was killed."""
    while os.getppid() == parent:
        time.sleep(ORPHAN_CHECK_S)
    _clear_away(path)


def _clear_away(path: str) -> None:
    """Take the task's file along, and end this process with all that it has started."""
    Path(path).unlink(missing_ok=True)
    with contextlib.suppress(OSError, AttributeError):
        os.killpg(os.getpgid(0), signal.SIGKILL)
    os._exit(1)
