"""Workers: warm processes that run trials, each with its share of the cores."""

from __future__ import annotations

import contextlib
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import Future
from pathlib import Path
from typing import Any

from ..recipes import Recipe
from ..tasks import USER_MODULE, Task
from .trials import Outcome, Trial, run_trial

_task: Task | None = None  # the task of this worker process, loaded once when it starts
_device: Any = None

PACE_ROUNDS, PACE_STEPS, PACE_WARM_UP, PACE_LIMIT_S = 7, 12, 6, 20.0


def available_cores() -> int:
    """Return how many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _start(path: str, threads: int, device: Any) -> None:
    """Make a fresh process ready: its threads, its task; Ctrl-C is the parent's business."""
    import pickle
    import signal

    import torch

    global _task, _device
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    torch.set_num_threads(threads)
    _task, _device = pickle.loads(Path(path).read_bytes()), device


def trial(recipe: Recipe, job: Trial, until: float | None = None) -> Outcome | None:
    """Run one trial on this process's task; None when time ran out first."""
    assert _task is not None
    return run_trial(_task, recipe, job, _device, until)


def pace(recipes: Sequence[Recipe]) -> list[float]:
    """Return the seconds of one update of each recipe: the median over rounds in which they take turns.

    Taking turns, each slow spell of the machine falls on all of them alike.
    """
    from ..training.loop import StepEvent, steps
    from ..training.setup import prepare

    assert _task is not None
    began = time.perf_counter()
    loops, found = [], [[] for _ in recipes]
    for recipe in recipes:
        training = prepare(_task, recipe, seed=0, device=_device, fresh=True)
        training.total_steps = PACE_WARM_UP + PACE_ROUNDS * PACE_STEPS
        loops.append((training, steps(_task, training=training, evaluate_every=training.total_steps + 1)))
    for round_ in range(PACE_ROUNDS + 1):
        for (training, loop), seconds in zip(loops, found, strict=True):
            before = training.clock.seconds.get("train", 0.0)
            count = PACE_STEPS if round_ else PACE_WARM_UP
            done = sum(1 for _, event in zip(range(count), loop, strict=False) if isinstance(event, StepEvent))
            if round_ and done:
                seconds.append((training.clock.seconds["train"] - before) / done)
        if round_ > 1 and time.perf_counter() - began > PACE_LIMIT_S:
            break
    for _, loop in loops:
        loop.close()
    return [statistics.median(seconds) for seconds in found]


class Workers:
    """A pool of warm processes for one task; with one process, the calling process itself does the work.

    loky rather than the standard pool: its workers neither fork a process that already has threads nor import the caller's
    script again, so a race started from a plain script or a notebook just works.
    """

    def __init__(self, task: Task, processes: int, threads: int, device: Any = None) -> None:
        self.processes, self.threads = processes, threads
        self._pool: Any = None
        self._file: Path | None = None
        lean = task.with_data(task.data.only("train", "validation", by="race"))
        if processes == 1:
            global _task, _device
            _task, _device = lean, device
            return
        import cloudpickle
        import loky

        for name in [name for name in sys.modules if name.startswith(USER_MODULE)]:
            cloudpickle.register_pickle_by_value(sys.modules[name])  # a worker cannot import the user's file

        handle, name = tempfile.mkstemp(prefix="steepest-", suffix=".task")
        self._file = Path(name)
        with os.fdopen(handle, "wb") as file:
            cloudpickle.dump(lean, file)
        limits = {"OMP_NUM_THREADS": str(threads), "OMP_WAIT_POLICY": "passive"}
        self._pool = loky.ProcessPoolExecutor(processes, initializer=_start, initargs=(name, threads, device), env=limits)

    def submit(self, function: Any, *args: Any) -> Future[Any]:
        """Start a call; the future holds what it returns."""
        if self._pool is not None:
            return self._pool.submit(function, *args)
        future: Future[Any] = Future()
        try:
            future.set_result(function(*args))
        except Exception as error:
            future.set_exception(error)
        return future

    def close(self, kill: bool = False) -> None:
        """End the processes, at once with `kill`."""
        if self._pool is not None:
            self._pool.shutdown(wait=True, kill_workers=kill)
        if self._file is not None:
            with contextlib.suppress(OSError):
                self._file.unlink()
