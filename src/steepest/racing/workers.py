"""Workers: warm processes that run trials, each with its share of the cores."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from multiprocessing import resource_tracker
from pathlib import Path
from typing import Any

import torch

from ..errors import InputError
from ..tasks import USER_MODULE, Task

_task: Task | None = None  # the task of a worker process, loaded once when it starts
_device: Any = None

ORPHAN_CHECK_S = 2.0


def available_cores() -> int:
    """Return how many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _start(path: str, threads: int, device: Any) -> None:
    """Make a fresh process ready: its threads, its task; Ctrl-C is the parent's business."""
    import pickle

    global _task, _device
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, args=(os.getppid(), path), daemon=True).start()
    torch.set_num_threads(threads)
    _task, _device = pickle.loads(Path(path).read_bytes()), device


def _end_with_parent(parent: int, path: str) -> None:
    """End this process when its parent was killed, and take the task's file along."""
    while os.getppid() == parent:
        time.sleep(ORPHAN_CHECK_S)
    Path(path).unlink(missing_ok=True)
    os._exit(1)


def _call(function: Callable[..., Any], *args: Any) -> Any:
    return function(_task, *args, device=_device)


def _ready() -> int:
    """Return which process this is, slowly enough that one alone does not answer for all."""
    time.sleep(0.02)
    return os.getpid()


@contextlib.contextmanager
def holding_back_interrupts() -> Iterator[None]:
    """Hold Ctrl-C back until the end of the block, where it then arrives; processes started inside never see it."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGTERM})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


class Workers:
    """A pool of warm processes for one task; with one process, the calling process itself does the work.

    A function that is submitted is called with the task first and `device=`. loky rather than the standard pool: its workers
    neither fork a process that already has threads nor import the caller's script again, so a race started from a plain
    script or a notebook just works.
    """

    def __init__(self, task: Task, processes: int, threads: int, device: Any = None) -> None:
        self.processes, self.device = processes, device
        self.task = task.with_data(task.data.only("train", "validation", by="race"))
        self._pool: Any = None
        self._file: Path | None = None
        self._threads = torch.get_num_threads()
        if processes == 1:
            torch.set_num_threads(threads)
            return
        import loky
        from loky.backend import resource_tracker as loky_tracker

        self._file = _written(self.task)
        limits = {"OMP_NUM_THREADS": str(threads), "OMP_WAIT_POLICY": "passive"}
        start = (str(self._file), threads, device)
        with holding_back_interrupts():
            resource_tracker.ensure_running()  # both let signals through again, so the processes wait for the next block
            loky_tracker.ensure_running()
        with holding_back_interrupts():
            self._pool = loky.ProcessPoolExecutor(processes, timeout=None, initializer=_start, initargs=start, env=limits)
            self._pool.submit(_ready)  # starts all processes

    def wait(self) -> None:
        """Wait until all processes have started, so that their start is not taken for work."""
        started: set[int] = set()
        while self._pool is not None and len(started) < self.processes:
            started |= {future.result() for future in [self._pool.submit(_ready) for _ in range(self.processes)]}

    def submit(self, function: Callable[..., Any], *args: Any) -> Future[Any]:
        """Start a call; the future holds what it returns."""
        if self._pool is not None:
            return self._pool.submit(_call, function, *args)
        future: Future[Any] = Future()
        try:
            future.set_result(function(self.task, *args, device=self.device))
        except Exception as error:
            future.set_exception(error)
        return future

    def call(self, function: Callable[..., Any], *args: Any) -> Any:
        """Make a call and wait for what it returns."""
        return self.submit(function, *args).result()

    def close(self, kill: bool = False) -> None:
        """End the processes, at once with `kill`; a second Ctrl-C waits until that is done."""
        with holding_back_interrupts():
            if self._pool is not None:
                self._pool.shutdown(wait=True, kill_workers=kill)
            if self._file is not None:
                self._file.unlink(missing_ok=True)
            torch.set_num_threads(self._threads)


def _written(task: Task) -> Path:
    """Write the task to a temporary file that worker processes read."""
    import cloudpickle

    for name in [name for name in sys.modules if name.startswith(USER_MODULE)]:
        cloudpickle.register_pickle_by_value(sys.modules[name])  # a worker cannot import the user's file
    try:
        content = cloudpickle.dumps(task)
    except Exception as error:
        raise InputError(f"the task cannot be sent to other processes ({error}); use processes=1") from error
    handle, name = tempfile.mkstemp(prefix="steepest-", suffix=".task")
    with os.fdopen(handle, "wb") as file:
        file.write(content)
    return Path(name)
