"""Pace: what a step of each contender costs. Measured in turns, and never trusted beyond its own error."""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ..recipes import Recipe
from ..tasks import Task
from ..training.loop import StepEvent, steps
from ..training.setup import prepare
from .serving import beat
from .statistics import median_interval

TOLERANCE = 0.1
ROUNDS, STEPS, LIMIT_S = 9, 12, 20.0


@dataclass(frozen=True)
class Pace:
    """The seconds of one update, by contender and round; round i of all was measured side by side."""

    rounds: Mapping[str, tuple[float, ...]]

    @classmethod
    def of(cls, seconds: Mapping[str, float]) -> Pace:
        """Return the pace of costs that are known exactly."""
        return cls({name: (value,) for name, value in seconds.items()})

    @classmethod
    def from_dict(cls, rounds: Mapping[str, Sequence[float]]) -> Pace:
        """Return the pace that a record tells."""
        return cls({name: tuple(map(float, seconds)) for name, seconds in rounds.items()})

    def __contains__(self, name: object) -> bool:
        return name in self.rounds

    def seconds(self, name: str) -> float:
        """Return the median over rounds, NaN for a contender that was not measured."""
        return statistics.median(self.rounds[name]) if name in self.rounds else math.nan

    def ratio(self, name: str, other: str) -> float:
        """Return what a step costs compared with another contender's, drawn towards 1 by what the measurement may be wrong.

        Two measurements of the very same step differ by a few percent, and that difference meets every seed alike: taken at
        face value, it alone would make one of two equal recipes "faster" with certainty. So a ratio is drawn towards 1 by
        10%, or by half the interval of its median over the rounds where that is wider.

        >>> pace = Pace.of({"a": 1.05, "b": 1.0, "c": 2.2})
        >>> pace.ratio("a", "b"), round(pace.ratio("c", "b"), 6)
        (1.0, 2.0)
        """
        logs = [math.log(a / b) for a, b in zip(self.rounds[name], self.rounds[other], strict=True)]
        middle, low, high = median_interval(logs)
        error = max(math.log(1 + TOLERANCE), (high - low) / 2)
        return math.exp(math.copysign(max(0.0, abs(middle) - error), middle))


def warm_up(each: int) -> int:
    """Return how many steps come before rounds of so many, and are not timed."""
    return max(2, each // 2)


def steps_measured(rounds: int, each: int) -> int:
    """Return how many steps a measurement takes of each recipe.

    >>> steps_measured(ROUNDS, STEPS)
    114
    """
    return warm_up(each) + rounds * each


def measure_pace(
    task: Task, recipes: Sequence[Recipe], rounds: int = ROUNDS, each: int = STEPS, *, device: Any = None
) -> list[tuple[float, ...]]:
    """Return the seconds of one update of each recipe, round by round of `each` steps; the recipes take turns.

    Taking turns, each slow spell of the machine falls on all of them alike.
    """
    began = time.perf_counter()
    loops: list[Any] = []
    found: list[list[float]] = [[] for _ in recipes]
    for recipe in recipes:
        training = prepare(task, recipe, seed=0, device=device)
        training.total_steps = steps_measured(rounds, each)
        loops.append((training, steps(task, training=training, evaluate_every=training.total_steps + 1)))
    for round_ in range(rounds + 1):
        for (training, loop), seconds in zip(loops, found, strict=True):
            training.settle()
            before = training.clock.seconds.get("train", 0.0)
            count = each if round_ else warm_up(each)
            done = 0
            for _, event in zip(range(count), loop, strict=False):
                done += isinstance(event, StepEvent)
                beat()
            training.settle()
            if round_ and done:
                seconds.append((training.clock.seconds["train"] - before) / done)
        if round_ > 1 and time.perf_counter() - began > LIMIT_S:
            break
    for _, loop in loops:
        loop.close()
    return [tuple(seconds) for seconds in found]
