"""Checkpoints of a training while it goes on: when they are written, by whom, and what happens when the disk takes none."""

from __future__ import annotations

import logging
import threading
import time
from dataclasses import dataclass, field
from typing import Any

from ..checkpoints import Checkpoints, Packed
from ..clock import parse_duration
from ..errors import InputError, reason_of, whole
from .following import Follower
from .setup import Training
from .snapshots import is_good, taken

log = logging.getLogger("steepest")

DEFAULT_S = 60.0
SHARE = 0.01  # of the time, which a training waits for its checkpoints at the most, where they are a matter of time
AT_ONCE_S, AT_ONCE_BYTES = 0.005, 2**20  # what is written so fast, or is so small at first, needs no thread
MOST_TIMES = 5  # as long as asked for may lie between two, where waiting for them takes more than its share
LEAD = 1.5  # times what writing took last time


@dataclass(frozen=True)
class Every:
    """How often checkpoints are written: after so many steps, or so many seconds; neither: never."""

    steps: int | None = None
    seconds: float | None = None

    def __bool__(self) -> bool:
        return self.steps is not None or self.seconds is not None

    @classmethod
    def read(cls, value: Any) -> Every:
        """Return what `checkpoint_every` says.

        >>> Every.read(100), Every.read("5m")
        (Every(steps=100, seconds=None), Every(steps=None, seconds=300.0))
        """
        if value is None:
            return cls(seconds=DEFAULT_S)
        if value is False or value == "never":
            return cls()
        if isinstance(value, str) and not value.isdecimal():
            return cls(seconds=parse_duration("checkpoint_every", value))
        if isinstance(value, float):
            raise InputError(f"checkpoint_every takes steps (100) or a time ('30s', '5m') (got {value!r})")
        steps = int(value) if isinstance(value, str) else value
        whole("checkpoint_every", steps, 1)
        return cls(steps=steps)


@dataclass
class Keeper:
    """Writes the checkpoints of one training.

    A copy of the state is made between two steps, which is all that the training waits for; a thread brings it to the disk. It
    begins so early that the training never is further ahead of what lies on the disk than `every` says; where it would be, it
    waits. A disk that takes none is told once; the newest copy then stays in memory, and is tried again whenever one is due,
    and at the end.
    """

    store: Checkpoints
    every: Every
    written: int = 0
    stalls: list[float] = field(default_factory=list)  # seconds that the training waited
    nbytes: int = 0
    unwritten: tuple[Packed, int] | None = None  # the newest state and its step, while the disk has not taken it
    _thread: threading.Thread | None = None
    _spare: Packed | None = None
    _write_s: float = 0.0  # what the last one took on its way to the disk
    _told: bool = False

    def __post_init__(self) -> None:
        self._safe = self._newest = (0, time.perf_counter())  # step and time of what is on the disk, and of the last copy

    def see(self, t: Training, follower: Follower) -> None:
        """After a step: take a checkpoint if one is due, and wait where the disk is too far behind."""
        if not self.every:
            return
        step = t.position.step
        if self.is_writing:
            if self._ahead(step) >= 1:
                began = time.perf_counter()
                self.wait()
                self.stalls.append(time.perf_counter() - began)
            return
        self.wait()
        if self._ahead(step, self._lead_s()) >= 1:
            self.keep(t, follower)

    def _ahead(self, step: int, lead_s: float = 0.0) -> float:
        """Return how far the training will be ahead of the disk in so many seconds, as a share of what is allowed."""
        then, (safe_step, safe_time), (copy_step, copy_time) = time.perf_counter() + lead_s, self._safe, self._newest
        if self.every.seconds is not None:
            return (then - safe_time) / max(self.every.seconds, self._fewest_s())
        assert self.every.steps is not None
        a_step = (then - lead_s - copy_time) / max(step - copy_step, 1)
        return (step + int(lead_s / max(a_step, 1e-9)) - safe_step) / self.every.steps

    def _lead_s(self) -> float:
        """Return how long before it is needed a checkpoint is begun; one that is quickly written is not."""
        return 0.0 if self._is_quick() else LEAD * self._write_s

    def _fewest_s(self) -> float:
        """Return how many seconds lie between two checkpoints at least, so that waiting for them takes a small share; at most
        some times what was asked for.
        """
        assert self.every.seconds is not None
        return min(self.stalls[-1] / SHARE, MOST_TIMES * self.every.seconds) if self.stalls else 0.0

    def _is_quick(self) -> bool:
        return self._write_s < AT_ONCE_S if self.written else self.nbytes < AT_ONCE_BYTES

    @property
    def is_writing(self) -> bool:
        """Whether the checkpoint before is still on its way to the disk."""
        return self._thread is not None and self._thread.is_alive()

    def keep(self, t: Training, follower: Follower, *, at_once: bool = False) -> None:
        """Take a checkpoint now; `at_once`: have it on the disk when this returns."""
        began = time.perf_counter()
        self.wait()
        t.settle()
        if not is_good(t):  # what would be gone on with is broken
            return
        packed, step = taken(t, follower, self._spare, rows=True), t.position.step
        self._spare, self.nbytes = None, packed.nbytes
        self.unwritten, self._newest = (packed, step), (step, time.perf_counter())
        if at_once or self._is_quick():
            self._write()
        else:
            self._thread = threading.Thread(target=self._write, name="steepest-checkpoint", daemon=True)
            self._thread.start()
            if self.every and self._ahead(step) >= 1:
                self.wait()
        self.stalls.append(time.perf_counter() - began)

    def _write(self) -> None:
        assert self.unwritten is not None
        (packed, step), began = self.unwritten, time.perf_counter()
        try:
            self.store.write(packed, step)
        except Exception as error:
            self._tell(error)
        else:
            self._write_s = time.perf_counter() - began
            self.written += 1
            self._spare, self.unwritten = packed, None
        self._safe = self._newest  # also where it failed: it is tried again when the next one is due

    def _tell(self, error: Exception) -> None:
        """Say once that the disk takes no checkpoints."""
        if not self._told:
            self._told = True
            said = "no checkpoint could be written to %s (%s): training goes on, its newest state waits in memory"
            log.warning(said, self.store.folder, reason_of(error))

    def wait(self) -> None:
        """Wait until the checkpoint before is on the disk."""
        if self._thread is not None:
            self._thread.join()
            self._thread = None

    def close(self) -> None:
        """Wait for what is on its way, and try once more what the disk has not taken."""
        self.wait()
        if self.unwritten is not None:
            self._write()

    def forget(self) -> None:
        """Let all checkpoints go: the training has ended, and there is nothing to go on with."""
        self.wait()
        self.unwritten = None
        self.store.delete()

    def begin_at(self, step: int) -> None:
        """Count from a step that lies on the disk."""
        self._safe = self._newest = (step, time.perf_counter())

    def to_dict(self) -> dict[str, Any]:
        """Return what a record keeps of it."""
        return {"written": self.written, "bytes": self.nbytes, "waited_s": sum(self.stalls)}
