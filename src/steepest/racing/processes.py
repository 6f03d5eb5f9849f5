"""One worker process as its parent sees it: it is called, watched, and ended with all that it has started.

A call that does not come back is told apart: the process stood still, took more memory than it may, or was killed by somebody
else. Another call starts a fresh process.
"""

from __future__ import annotations

import contextlib
import os
import pickle
import signal
import subprocess
import sys
import threading
import time
from dataclasses import dataclass, field
from typing import Any

from .serving import BEAT, ERROR, read_frame, write_frame

START_S = 120.0  # that a process may take to start, at least
HUNG, KILLED, OUT_OF_MEMORY = "hung", "killed", "out of memory"


class LostError(RuntimeError):
    """A call did not come back: `kind` is `"hung"`, `"killed"` or `"out of memory"`, the text says how."""

    def __init__(self, kind: str, text: str) -> None:
        super().__init__(text)
        self.kind = kind


@dataclass(frozen=True)
class Limits:
    """What a worker process may take.

    Attributes:
        threads: of its computations.
        memory: bytes of its data; None: as much as there is.
        stall_s: seconds without a step after which it counts as hung.
    """

    threads: int
    memory: int | None
    stall_s: float


@dataclass
class Process:
    """A process that takes one call at a time, about the task in a file, computed on a device.

    One thread calls; another may `watch` and `end` meanwhile.
    """

    path: str
    device: Any
    limits: Limits
    _popen: subprocess.Popen[bytes] | None = None
    _heard: float | None = None  # when it last gave a sign of work; None: it has none
    _patience_s: float = 0.0
    _ended_for: tuple[str, str] | None = None
    _is_over: bool = False
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def begin(self) -> None:
        """Start the process, and wait until it is ready.

        Raises:
            LostError: it ended before it was ready.
        """
        code = f"import sys; sys.path[:] = {sys.path!r}; from steepest.racing.serving import serve; serve()"
        threads = str(self.limits.threads)
        with self._lock:
            if self._is_over:
                raise LostError(KILLED, "the race is over")
            self._ended_for = None
            self._popen = subprocess.Popen(
                [sys.executable, "-c", code],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                env={**os.environ, "OMP_NUM_THREADS": threads, "OMP_WAIT_POLICY": "passive"},
                start_new_session=True,  # Ctrl-C is the parent's business, and the whole session can be ended at once
            )
        try:
            start = pickle.dumps((self.path, self.limits.threads, self.device, self.limits.memory))
            self._exchange(start, max(START_S, self.limits.stall_s))
        except BaseException:
            self.close()
            raise

    def call(self, content: bytes) -> Any:
        """Make a call and return what it returns, or raise what it raises.

        Raises:
            LostError: it did not come back.
        """
        if self._popen is not None and self._popen.poll() is not None:
            self.close()  # it ended while nobody called, which is no fault of this call
        if self._popen is None:
            self.begin()
        return self._exchange(content, self.limits.stall_s)

    def _exchange(self, content: bytes, patience_s: float) -> Any:
        """Send a message and wait for its answer."""
        popen = self._popen
        assert popen is not None
        assert popen.stdin is not None
        assert popen.stdout is not None
        answer = None
        with self._lock:
            self._heard, self._patience_s, self._ended_for = time.monotonic(), patience_s, None
        try:
            write_frame(popen.stdin, content)
            while (answer := read_frame(popen.stdout))[:1] == BEAT:
                self._heard = time.monotonic()
        except (OSError, EOFError, ValueError):
            answer = None
        finally:
            with self._lock:
                self._heard = None
        if answer is None:
            raise self._lost(popen)
        if self._ended_for is not None:  # at the very moment of its answer
            self.close()
        found = pickle.loads(answer[1:])
        if answer[:1] == ERROR:
            raise found
        return found

    def watch(self) -> None:
        """End the process where it stands still, or has taken more memory than it may."""
        with self._lock:
            if self._heard is None or self._popen is None or self._ended_for is not None:
                return
            if time.monotonic() - self._heard > self._patience_s:
                self._ended_for = HUNG, f"no step in {self._patience_s:g} s"
            elif self.limits.memory is not None and _own_memory(self._popen.pid) > self.limits.memory:
                self._ended_for = OUT_OF_MEMORY, f"more than {self.limits.memory / 2**20:,.0f} MiB"
            else:
                return
            _end(self._popen)

    def end(self) -> None:
        """End the process and all that it has started, at once and for good."""
        with self._lock:
            self._is_over = True
            if self._popen is not None:
                _end(self._popen)

    def close(self) -> None:
        """End the process, and wait until it has ended; another call starts a fresh one."""
        with self._lock:
            popen, self._popen = self._popen, None
        if popen is None:
            return
        _end(popen)
        popen.wait()
        for stream in (popen.stdin, popen.stdout):
            if stream is not None:
                with contextlib.suppress(OSError):
                    stream.close()

    def _lost(self, popen: subprocess.Popen[bytes]) -> LostError:
        """Return why a call did not come back; the process is gone then."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            popen.wait(1.0)  # its end of the pipe is closed a moment before it has ended
        code, ended_for = popen.poll(), self._ended_for
        self.close()
        if ended_for is not None:
            return LostError(*ended_for)
        if code is not None and code < 0:
            return LostError(KILLED, signal.Signals(-code).name)
        return LostError(KILLED, f"it ended with exit code {code}")


def _end(popen: subprocess.Popen[bytes]) -> None:
    """End a process and its session at once; the pid is its own as long as nobody has waited for it."""
    with contextlib.suppress(OSError):
        if hasattr(os, "killpg"):
            os.killpg(popen.pid, signal.SIGKILL)
        else:
            popen.kill()


def _own_memory(pid: int) -> int:
    """Return the bytes of memory that a process holds, files that are mapped left out; 0 where the system does not tell."""
    try:
        with open(f"/proc/{pid}/status") as file:
            held = [line.split()[1] for line in file if line.startswith(("RssAnon:", "RssShmem:"))]
        return 1024 * sum(map(int, held))
    except (OSError, ValueError, IndexError):
        return 0
