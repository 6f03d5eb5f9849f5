"""The honest clock: every second of a run belongs to a stage, and all stages are shown."""

from __future__ import annotations

import math
import os
import time
from pathlib import Path

from .errors import InputError

STAGES = ("start", "data", "pilot", "compile", "train", "evaluate", "waiting")


class Clock:
    """Adds up seconds by stage; exactly one stage runs at a time.

    >>> clock = Clock("data")
    >>> clock.to("train")
    >>> sorted(clock.stop())
    ['data', 'train']
    """

    def __init__(self, stage: str) -> None:
        self.seconds: dict[str, float] = {}
        self._stage = stage
        self._since = time.perf_counter()

    def to(self, stage: str) -> None:
        """Close the running stage and begin another."""
        now = time.perf_counter()
        self.seconds[self._stage] = self.seconds.get(self._stage, 0.0) + now - self._since
        self._stage, self._since = stage, now

    def count(self, stage: str, seconds: float) -> None:
        """Add seconds that were measured elsewhere, in the place of those since the running stage began or this was called."""
        self.seconds[stage] = self.seconds.get(stage, 0.0) + seconds
        self._since = time.perf_counter()

    def stop(self) -> dict[str, float]:
        """Close the running stage and return all of them, in the order of `STAGES`."""
        self.to(self._stage)
        return {name: self.seconds[name] for name in (*STAGES, *self.seconds) if name in self.seconds}


def process_age_s() -> float:
    """Return the seconds since this process began, interpreter start included (Linux; elsewhere since its CPU clock began)."""
    try:
        ticks = float(Path("/proc/self/stat").read_text().rsplit(")", 1)[1].split()[19])
        return time.clock_gettime(time.CLOCK_BOOTTIME) - ticks / os.sysconf("SC_CLK_TCK")
    except (OSError, AttributeError, ValueError, IndexError):
        return time.process_time()


def parse_duration(name: str, text: str | float | None) -> float | None:
    """Return seconds from `"90s"`, `"5m"`, `"2h"` or a number.

    >>> parse_duration("budget", "5m")
    300.0
    """
    if text is None:
        return None
    unit = {"s": 1, "m": 60, "h": 3600}.get(str(text)[-1:])
    try:
        seconds = float(str(text)[:-1]) * unit if unit else float(text)
    except (ValueError, TypeError):
        raise InputError(f"{name} must be a time such as 90s, 5m or 2h (got {text!r})") from None
    if isinstance(text, bool) or not 0 < seconds < math.inf:
        raise InputError(f"{name} must be > 0 (got {text!r})")
    return seconds
