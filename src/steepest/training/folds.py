"""Trainings on several divisions of the same rows, folds: as lanes where that is measured to pay, else one after another."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from ..plans import AS_IT_STANDS
from ..progress import Progress
from ..recipes import Recipe
from ..tasks import Task
from .choosing import LaneChoice, Maker, choose_among
from .finishing import held_out
from .fitting import fit, warn_of
from .following import Follower
from .known import default_plan
from .lanes import Lanes
from .setup import Training, prepare

Fold = tuple[Task, Recipe]  # what is learned, on which rows, and how


def measure_folds(
    make: Callable[[int], Fold], num_folds: int, bar: Progress, *, seed: int, device: Any = None, lanes: bool = True
) -> tuple[list[dict[str, float]], LaneChoice]:
    """Train on each fold as `fit` does, and return what was measured on the rows it held out, and whether lanes did it.

    `make` makes the fold of a number anew each time: one after another, the rows of one fold are in memory.
    """

    def some(places: Sequence[int]) -> list[Training]:
        return [prepare(*make(i), seed=seed, device=device) for i in places]

    choice = _choice(some, num_folds) if lanes else LaneChoice(False, "they were not wanted", num_folds)
    if choice.chosen:
        return _as_lanes(some(range(num_folds)), bar), choice
    found = []
    for i in range(num_folds):
        found.append(fit(*make(i), seed=seed, device=device, record=False, progress=False).metrics)
        bar.update(i + 1)
    return found, choice


def _choice(some: Maker, num_folds: int) -> LaneChoice:
    """Return whether lanes pay, which carry everything out as it stands: not where a network is better trained otherwise."""
    alone = default_plan(some([0])[0])
    if replace(alone, threads=None) != AS_IT_STANDS:
        return LaneChoice(False, f"alone they are trained otherwise ({alone})", num_folds)
    return choose_among(some, num_folds, alone=alone)


def _as_lanes(trainings: Sequence[Training], bar: Progress) -> list[dict[str, float]]:
    """Train all of them at once, each until it is over, and measure each."""
    for t in trainings:
        warn_of(t)
    followers = [Follower(t, None, stop_at_target=False) for t in trainings]
    lanes, last = Lanes(trainings, tried_out=True), max(t.total_steps for t in trainings)
    for events in lanes:
        for place, event in events.items():
            if followers[place].sees(event):
                lanes.leave(place)
        bar.update(len(trainings) * lanes.step // last)
    for follower in followers:
        follower.end()
    return [held_out(t).measured for t in trainings]
