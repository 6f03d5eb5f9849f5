"""Trainings on several divisions of the same rows, folds: as lanes where that is measured to pay, else one after another."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ..plans import FLOAT32
from ..progress import Progress
from ..recipes import Recipe
from ..tasks import Task
from .choosing import LaneChoice, choose_among
from .fitting import fit, held_out, warn_of
from .following import Follower
from .lanes import Lanes
from .pilot import default_plan
from .setup import Training, prepare

Fold = tuple[Task, Recipe]  # what is learned, on which rows, and how


def measure_folds(
    folds: Sequence[Fold], bar: Progress, *, seed: int, device: Any = None, lanes: bool = True
) -> tuple[list[dict[str, float]], LaneChoice]:
    """Train on each fold as `fit` does, and return what was measured on the rows it held out, and whether lanes did it."""

    def some(places: Sequence[int]) -> list[Training]:
        return [prepare(*folds[i], seed=seed, device=device) for i in places]

    choice = _choice(some, len(folds)) if lanes else LaneChoice(False, "they were not wanted", len(folds))
    if choice.chosen:
        return _as_lanes(some(range(len(folds))), bar), choice
    found = []
    for i, (job, recipe) in enumerate(folds):
        found.append(fit(job, recipe, seed=seed, device=device, record=False, progress=False).metrics)
        bar.update(i + 1)
    return found, choice


def _choice(some: Any, num_folds: int) -> LaneChoice:
    """Return whether lanes pay; they work in float32, so not where a network is better trained in less."""
    if default_plan(some([0])[0]).precision != FLOAT32:
        return LaneChoice(False, "alone they are trained in less than float32, which is faster", num_folds)
    return choose_among(some, num_folds)


def _as_lanes(trainings: Sequence[Training], bar: Progress) -> list[dict[str, float]]:
    """Train all of them at once, each until it is over, and measure each."""
    for t in trainings:
        warn_of(t)
    followers = [Follower(t, None, stop_at_target=False) for t in trainings]
    lanes, last = Lanes(trainings), max(t.total_steps for t in trainings)
    for events in lanes:
        for place, event in events.items():
            if followers[place].sees(event):
                lanes.leave(place)
        bar.update(len(trainings) * lanes.step // last)
    for follower in followers:
        follower.end()
    return [held_out(t).measured for t in trainings]
