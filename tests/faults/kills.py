"""SIGKILL at random moments, most of them in the middle of a save: every run goes on, and ends as if nothing had been.

Each training runs in a process forked from this one (which has torch imported and never used), and tells through a pipe when a
save begins and which step it is at.
"""

from __future__ import annotations

import os
import random
import select
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, NamedTuple

import torch

import steepest
import steepest.training.fitting
from steepest.checkpoints import Checkpoints
from steepest.records import Record
from steepest.training.keeping import Keeper

from . import work

EVERY = 4  # steps between checkpoints
MOST_S = 120.0


@dataclass
class Tally:
    """What became of the kills."""

    kills: int = 0
    in_saves: int = 0
    before_the_first: int = 0  # kills that left no checkpoint
    most_lost: int = 0  # steps
    runs: int = 0
    different: int = 0  # runs that did not end as the one that nobody disturbed

    def __str__(self) -> str:
        return (
            f"{self.kills} kills ({self.in_saves} in the middle of a save, {self.before_the_first} before the first) "
            f"in {self.runs} runs: at most {self.most_lost} steps lost of {EVERY}, {self.different} runs differ"
        )


def _train(home: Path, resume: str | None, pipe: int) -> None:
    """Train, or go on, and tell the pipe what happens."""
    torch.set_num_threads(1)
    see, write = Keeper.see, Checkpoints.write

    def seen(self: Keeper, t: Any, follower: Any) -> None:
        os.write(pipe, f"step {t.position.step}\n".encode())
        see(self, t, follower)

    def written(self: Checkpoints, packed: Any, step: int) -> Path:
        os.write(pipe, b"save\n")
        found = write(self, packed, step)
        os.write(pipe, b"saved\n")
        return found

    Keeper.see, Checkpoints.write = seen, written  # type: ignore[method-assign]
    how: dict[str, Any] = {"recipe": work.recipe(), "checkpoint_every": EVERY, "home": home, "progress": False}
    steepest.fit(work.task(), resume=resume, **how)


class Child(NamedTuple):
    """A forked process, the reading end of its pipe, and what it says on stderr: warnings, or why it failed."""

    process: int
    pipe: int
    said: IO[str]

    def last_words(self) -> str:
        self.said.seek(0)
        return self.said.read()[-2000:]


def forked(work_of_child: Callable[[int], None]) -> Child:
    """Have a forked process do some work, which may write into a pipe."""
    reading, writing = os.pipe()
    said = tempfile.TemporaryFile("w+")  # noqa: SIM115  (closed with the child)
    process = os.fork()
    if process:
        os.close(writing)
        return Child(process, reading, said)
    code = 1
    try:
        os.close(reading)
        sys.stderr = said
        work_of_child(writing)
        code = 0
    except BaseException:
        traceback.print_exc(file=sys.stderr)
    finally:
        sys.stderr.flush()
        os._exit(code)


def _watch(child: Child, until: Callable[[list[str], float], bool]) -> tuple[list[str], bool]:
    """Read what a training tells until it ends, or `until` says to kill it; return that, and whether it was killed."""
    process, pipe = child.process, child.pipe
    began, told, rest = time.monotonic(), [], b""
    try:
        while time.monotonic() - began < MOST_S:
            ready, _, _ = select.select([pipe], [], [], 0.0005)
            if ready:
                if not (came := os.read(pipe, 4096)):
                    break
                *lines, rest = (rest + came).split(b"\n")
                told += [line.decode() for line in lines]
            if until(told, time.monotonic() - began):
                os.kill(process, signal.SIGKILL)
                break
        else:
            os.kill(process, signal.SIGKILL)
            raise TimeoutError("a training took too long")
    finally:
        os.close(pipe)
    _, status = os.waitpid(process, 0)
    if not os.WIFSIGNALED(status) and os.WEXITSTATUS(status):
        raise AssertionError(f"a training failed: {child.last_words()}")
    child.said.close()
    return told, os.WIFSIGNALED(status)


def _moment(rng: random.Random, save_s: float, run_s: float) -> Callable[[list[str], float], bool]:
    """Return when to kill: three times in four while some save is under way, else at any time."""
    if rng.random() < 0.25:
        at = rng.uniform(0, run_s)
        return lambda told, passed: passed > at
    number, into = rng.randint(1, 6), rng.uniform(0, save_s)
    begun: list[float] = []

    def now(told: list[str], passed: float) -> bool:
        if told.count("save") >= number and not begun:
            begun.append(passed)
        return bool(begun) and passed - begun[0] >= into

    return now


def _last_step(told: list[str]) -> int | None:
    return next((int(line.split()[1]) for line in reversed(told) if line.startswith("step")), None)


def _record(home: Path) -> Record | None:
    """Return the record of the one run in a home, if it has begun."""
    found = [Record("run", path.parent.name, path.parent) for path in home.glob("runs/*/record.jsonl")]
    return next((record for record in found if record.first("start") is not None), None)


def _told(home: Path) -> Any:
    """Return what the record says in the end: weights, curve and what was measured; None before that."""
    record = _record(home)
    end = None if record is None else record.last("end")
    return None if end is None else [end["weights_sha256"], end["curve"], end["metrics"]]


def kill(kills: int, folder: Path, seed: int = 0) -> Tally:
    """Kill trainings so many times, each until it has ended, and compare each with one that nobody disturbed."""
    rng, tally = random.Random(seed), Tally()
    calm = folder / "calm"
    calm.mkdir()
    began = time.monotonic()
    _watch(forked(lambda pipe: _train(calm, None, pipe)), lambda told, passed: False)
    run_s, save_s = time.monotonic() - began, 0.02
    expected = _told(calm)
    while tally.kills < kills:
        home, resume = folder / str(tally.runs), None
        home.mkdir()
        while _told(home) is None:
            child = forked(lambda pipe, home=home, resume=resume: _train(home, resume, pipe))
            enough = tally.kills >= kills
            told, killed = _watch(child, (lambda told, passed: False) if enough else _moment(rng, save_s, run_s))
            record = _record(home)
            resume = None if record is None else record.id
            if killed:
                tally.kills += 1
                tally.in_saves += told.count("save") > told.count("saved")
                if _told(home) is not None:
                    continue  # killed behind its end, its checkpoints half removed: nothing of it is needed any more
                step, kept = _last_step(told), None if record is None else Checkpoints(record.folder / "checkpoints").newest()
                tally.before_the_first += kept is None
                if step is not None:
                    tally.most_lost = max(tally.most_lost, step - (kept.step if kept is not None else 0))
        tally.runs += 1
        tally.different += _told(home) != expected
    return tally
