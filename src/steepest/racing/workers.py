"""Workers: warm processes that run trials, each with its share of the cores, watched and replaced where one is lost."""

from __future__ import annotations

import contextlib
import os
import queue
import signal
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import torch

from ..data.archives import free_memory
from ..errors import InputError, first_line
from ..machine import parse_bytes
from ..tasks import USER_MODULE, Task
from .processes import Limits, Process

WATCH_EVERY_S = 0.2
STALL_S = 300.0
MEMORY_SHARE = 0.9  # of what is free, for all processes together
LEAST_MEMORY = 2**29  # of a process; PyTorch itself takes most of it


def available_cores() -> int:
    """Return how many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def process_memory(text: str | int | None) -> int | None:
    """Return the bytes that a process may take."""
    found = parse_bytes("memory", text)
    if found is not None and found < LEAST_MEMORY:
        raise InputError(
            f"memory must be at least {LEAST_MEMORY // 2**20}MiB, most of which PyTorch itself takes (got {text!r})"
        )
    return found


@contextlib.contextmanager
def holding_back_interrupts() -> Iterator[None]:
    """Hold Ctrl-C back until the end of the block, where it then arrives; processes started inside never see it."""
    if threading.current_thread() is not threading.main_thread() or not hasattr(signal, "pthread_sigmask"):
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGTERM})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


class Workers:
    """A pool of warm processes for one task; with one process, the calling process itself does the work.

    A function that is submitted is called with the task first and `device=`. The processes neither fork one that already has
    threads nor import the caller's script again, so a race started from a plain script or a notebook just works. A call that
    does not come back raises `LostError`, and costs that call alone: the next one has a fresh process.

    Args:
        task: what the calls are about.
        processes: how many.
        threads: of each.
        device: where they compute.
        memory: bytes that each may take; None: its share of nine tenths of what is free now.
        stall_s: seconds without a step after which a process is ended.
    """

    def __init__(
        self,
        task: Task,
        processes: int,
        threads: int,
        device: Any = None,
        *,
        memory: int | None = None,
        stall_s: float = STALL_S,
    ) -> None:
        self.processes, self.device = processes, device
        self.task = task.with_data(task.data.only("train", "validation", by="race"))
        self._file: Path | None = None
        self._threads = torch.get_num_threads()
        self._calls: queue.SimpleQueue[tuple[Future[Any], bytes] | None] = queue.SimpleQueue()
        self._members: list[Process] = []
        self._runners: list[threading.Thread] = []
        self._closed = threading.Event()
        if processes == 1:
            torch.set_num_threads(threads)
            return
        if memory is None and torch.device(device or "cpu").type == "cpu":
            memory = max(LEAST_MEMORY, int(MEMORY_SHARE * free_memory() / processes))
        self._file = _written(self.task)
        limits = Limits(threads, memory, stall_s)
        self._members = [Process(str(self._file), device, limits) for _ in range(processes)]

    def start(self) -> None:
        """Start all processes and wait until they are ready, so that their start is not taken for work.

        Raises:
            InputError: the task cannot be read there, or they end before they are ready.
        """
        if not self._members:
            return
        started: list[Future[None]] = [Future() for _ in self._members]
        with holding_back_interrupts():
            for member, future in zip(self._members, started, strict=True):
                self._runners.append(threading.Thread(target=self._run, args=(member, future), daemon=True))
            self._runners.append(threading.Thread(target=self._watch, daemon=True))
            for thread in self._runners:
                thread.start()
        for future in started:
            try:
                future.result()
            except Exception as error:
                reason = f"{type(error).__name__}: {first_line(error)}"
                raise InputError(f"a worker process does not start ({reason}); use processes=1") from error

    def submit(self, function: Callable[..., Any], *args: Any) -> Future[Any]:
        """Start a call; the future holds what it returns."""
        future: Future[Any] = Future()
        try:
            if self._members:
                self._calls.put((future, _packed((function, args))))
            else:
                future.set_result(function(self.task, *args, device=self.device))
        except Exception as error:
            future.set_exception(error)
        return future

    def call(self, function: Callable[..., Any], *args: Any) -> Any:
        """Make a call and wait for what it returns."""
        return self.submit(function, *args).result()

    def close(self) -> None:
        """End the processes and all that they have started; a second Ctrl-C waits until that is done."""
        with holding_back_interrupts():
            self._closed.set()
            for _ in self._members:
                self._calls.put(None)
            for member in self._members:
                member.end()
            for thread in self._runners:
                thread.join()
            for member in self._members:
                member.close()
            if self._file is not None:
                self._file.unlink(missing_ok=True)
            torch.set_num_threads(self._threads)

    def _run(self, member: Process, started: Future[None]) -> None:
        """Bring calls to one process, until the pool is closed."""
        try:
            member.begin()
            started.set_result(None)
        except BaseException as error:
            started.set_exception(error)
        while (taken := self._calls.get()) is not None:
            future, content = taken
            try:
                future.set_result(member.call(content))
            except BaseException as error:
                future.set_exception(error)

    def _watch(self) -> None:
        while not self._closed.wait(WATCH_EVERY_S):
            for member in self._members:
                member.watch()


def _packed(value: Any) -> bytes:
    """Return a value as another process reads it."""
    import cloudpickle

    for name in [name for name in sys.modules if name.startswith(USER_MODULE)]:
        cloudpickle.register_pickle_by_value(sys.modules[name])  # a worker cannot import the user's file
    return cloudpickle.dumps(value)


def _written(task: Task) -> Path:
    """Write the task to a temporary file that worker processes read."""
    try:
        content = _packed(task)
    except Exception as error:
        raise InputError(f"the task cannot be sent to other processes ({error}); use processes=1") from error
    handle, name = tempfile.mkstemp(prefix="steepest-", suffix=".task")
    with os.fdopen(handle, "wb") as file:
        file.write(content)
    return Path(name)
