"""Candidates of a space's search: recipes that are tried, and how their progress compares with the best one's."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from .plan import INF
from .trials import FINISHED, REACHED, Outcome

SEEDS_VARY, EARLY_VARIES = (
    0.1,
    0.6,
)  # deviation of the logarithm of a time: of one seed, and what a forecast from the start adds
SLOWEST = 2.0  # logarithm of how many times as long as the best anybody is said to take


@dataclass
class Candidate:
    """A recipe that is tried: what a step of it costs, how long it may run, and what came of it so far."""

    recipe: int
    cost: float
    every: int
    last: int
    falls: bool
    outcome: Outcome | None = None

    @property
    def reached_s(self) -> float:
        """What it cost to reach the target; infinite where it has not."""
        steps = None if self.outcome is None else self.outcome.reached_at
        return INF if steps is None else steps * self.cost

    @property
    def steps(self) -> int:
        return 0 if self.outcome is None else self.outcome.steps

    @property
    def spent_s(self) -> float:
        return self.steps * self.cost

    @property
    def is_open(self) -> bool:
        """Whether it can be gone on with."""
        return self.outcome is None or (self.outcome.status == FINISHED and self.steps < self.last)

    @property
    def is_broken(self) -> bool:
        return self.outcome is not None and self.outcome.status not in (FINISHED, REACHED)

    def steps_in(self, seconds: float) -> int:
        """Return how many steps, up to an evaluation, it makes in a time; one evaluation at the least."""
        if not math.isfinite(seconds):
            return self.last
        return min(self.last, self.every * max(1, math.ceil(seconds / (self.cost * self.every) - 1e-9)))

    def value_at(self, steps: int) -> float:
        """Return what was measured at the last evaluation up to a step, NaN where nothing was."""
        curve = [] if self.outcome is None else self.outcome.curve
        return next((value for step, _, value in reversed(curve) if step <= steps), math.nan)

    def best_values(self, sign: float) -> tuple[np.ndarray, np.ndarray]:
        """Return when it was measured, in seconds, and the best value up to then, the larger the better."""
        curve = [] if self.outcome is None else self.outcome.curve
        seen = [(step * self.cost, sign * value) for step, _, value in curve if math.isfinite(value)]
        times, values = np.array(seen, dtype=float).reshape(-1, 2).T
        return times, np.maximum.accumulate(values) if len(values) else values


@dataclass(frozen=True)
class Forecast:
    """The logarithm of the seconds in which a candidate reaches the target, and how far off that may be (one deviation)."""

    log_s: float
    deviation: float


def forecast(one: Candidate, best: Candidate, sign: float) -> Forecast:
    """Return when a candidate should reach the target, as its progress compares with that of the best so far.

    What it had after a time t, the best had after t'; it is said to need t / t' times as long (the median over the later half
    of its evaluations). The further it has run, the less that may be off.
    """
    log_best = math.log(best.reached_s)
    if one.reached_s < INF:
        return Forecast(math.log(one.reached_s), SEEDS_VARY)
    times, values = one.best_values(sign)
    if one.is_broken or not len(times):
        return Forecast(log_best + SLOWEST, SEEDS_VARY)
    half = max(1, len(times) // 2)
    slower = np.log(times[-half:] / _when(best, values[-half:], sign))
    log_s = max(log_best + min(float(np.median(slower)), SLOWEST), math.log(times[-1]))  # it has run so long without
    ahead = max(0.0, 1 - times[-1] / best.reached_s)
    return Forecast(log_s, SEEDS_VARY + EARLY_VARIES * ahead)


def _when(best: Candidate, values: np.ndarray, sign: float) -> np.ndarray:
    """Return after which times the best so far first had some values, between evaluations by a straight line."""
    times, reached = best.best_values(sign)
    whole = times <= best.reached_s * (1 + 1e-9)
    steps, first = np.unique(reached[whole], return_index=True)
    return np.interp(values, steps, times[first], left=times[0] / 2)
