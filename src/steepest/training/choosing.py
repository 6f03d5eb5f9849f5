"""Whether lanes are worth it: a step of lanes and the steps of the trainings alone, timed in turns, where lanes are right."""

from __future__ import annotations

import itertools
import statistics
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import Any

import torch

from ..data.batches import batch_bounds, epoch_order
from ..errors import at_least
from ..plans import AS_IT_STANDS, Plan
from ..recipes import Recipe
from ..rules import Rule
from ..tasks import task
from .joint import Joint
from .lanes import check_pairs, prepare_lanes
from .loop import steps
from .probing import difference
from .randomness import RandomStream
from .settings import KeptMemory
from .setup import Training
from .sharing import apart

Maker = Callable[[Sequence[int]], list[Training]]  # places among the lanes to their trainings, none of them begun

BUDGET_S = 0.5
LARGEST = 2**20  # numbers of a network
WORTH = 0.9  # of the time one by one: what must be saved at least
MOST_ROUNDS, LEAST_ROUNDS = 15, 3
SAMPLED = 4  # trainings that are timed one by one, for all of them


@dataclass(frozen=True)
class LaneChoice:
    """Whether trainings run as lanes, why (not), and the median seconds of one step of all: as lanes, and one by one."""

    chosen: bool
    reason: str
    num_lanes: int
    lanes_s: float | None = None
    alone_s: float | None = None

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


def choose_lanes(
    subject: Any,
    recipes: Sequence[Recipe | Rule | str],
    seeds: Sequence[int],
    *,
    device: Any = None,
    budget_s: float = BUDGET_S,
) -> LaneChoice:
    """Return whether these trainings may, and should, run as lanes.

    They should where a step of lanes takes at most 0.9 of the steps one by one, in the median of rounds in which both take
    turns, and less in three rounds of four. Nothing of the trainings that this takes is kept.

    Args:
        subject: a Task, or anything `steepest.task` takes.
        recipes: how to learn, one a lane.
        seeds: initial weights and order of batches, one a lane.
        device: where; None: CUDA when there is one.
        budget_s: seconds to spend on timing, beside the preparation.

    >>> import steepest
    >>> recipe = steepest.Recipe(steepest.adam(0.01), batch=32, model="mlp((8,))")
    >>> choose_lanes("iris", [recipe] * 8, range(8)).num_lanes
    8
    """
    check_pairs(recipes, seeds)
    at_least("budget_s", budget_s, 0)
    job = task(subject)

    def some(places: Sequence[int]) -> list[Training]:
        return prepare_lanes(job, [recipes[i] for i in places], [seeds[i] for i in places], device=device)

    return choose_among(some, len(recipes), budget_s)


def choose_among(some: Maker, num_lanes: int, budget_s: float = BUDGET_S, *, alone: Plan = AS_IT_STANDS) -> LaneChoice:
    """As `choose_lanes`, of the trainings that `some(places)` sets up, anew at each call; alone by that plan."""
    if num_lanes < 2:
        return LaneChoice(False, "one training has nothing to share", num_lanes)
    first = some([0])
    if reason := apart(first) or _too_large(first[0], num_lanes, budget_s):
        return LaneChoice(False, reason, num_lanes)
    trainings = some(range(num_lanes))
    with _slow_is_an_error():
        reason = apart(trainings) or difference(trainings)
    if reason:
        return LaneChoice(False, reason, num_lanes)
    with KeptMemory(trainings[0].device):
        sample = some(range(min(SAMPLED, num_lanes)))
        for t in sample:
            t.follow(alone)
        lanes_s, alone_s = _timed(trainings, sample, budget_s)
    ratios = sorted(one / other for one, other in zip(lanes_s, alone_s, strict=True))
    if len(ratios) < LEAST_ROUNDS:
        return LaneChoice(False, "the recipes make too few steps for lanes to be measured", num_lanes)
    ratio = statistics.median(ratios)
    chosen = ratio <= WORTH and ratios[3 * (len(ratios) - 1) // 4] < 1
    reason = f"a step of {num_lanes} lanes took {ratio:.2f} of the time of their steps one by one"
    return LaneChoice(chosen, reason, num_lanes, statistics.median(lanes_s), statistics.median(alone_s))


def _too_large(t: Training, num_lanes: int, budget_s: float) -> str | None:
    """Return why lanes need not be tried: they save calls, and a large network's step is arithmetic."""
    size = sum(p.numel() for p in t.parameters)
    if size > LARGEST:
        return f"a network of {size:,} numbers spends its time in arithmetic, and lanes save calls"
    cost, loop = _clock(t), steps(t.task, training=t, evaluate_every=2**60)
    next(loop)  # compiles
    began = cost()
    if next(loop, None) is None:
        return None
    t.settle()
    step_s = cost() - began
    loop.close()
    if step_s * num_lanes > budget_s:
        return f"a step takes {1000 * step_s:.0f} ms alone: arithmetic, and lanes save calls"
    return None


def _clock(t: Training) -> Callable[[], float]:
    """Return what steps are timed by: one thread's own seconds, so that what else runs on the machine changes no choice."""
    return time.thread_time if t.device.type == "cpu" and torch.get_num_threads() == 1 else time.perf_counter


@contextmanager
def _slow_is_an_error() -> Iterator[None]:
    """Take what torch warns of, an operation that it does lane after lane, as a reason not to."""
    with warnings.catch_warnings():
        warnings.filterwarnings("error", message="There is a performance drop")
        yield


def _timed(trainings: Sequence[Training], some: Sequence[Training], budget_s: float) -> tuple[list[float], list[float]]:
    """Return the seconds of one step of all trainings, round by round: as lanes, and one by one (of `some`, for all)."""
    first, clock, cost = trainings[0], time.perf_counter, _clock(trainings[0])
    rows = min(len(t.train) for t in trainings)
    bounds = itertools.cycle(batch_bounds(rows, first.batch))
    orders = torch.stack([epoch_order(len(t.train), t.seed, 0)[:rows] for t in trainings]).to(first.device)
    loops = [steps(t.task, training=t, evaluate_every=2**60, max_steps=t.total_steps) for t in some]
    lanes = Joint(trainings)
    found: list[tuple[float, float]] = []
    began = clock()
    while len(found) <= MOST_ROUNDS and (len(found) <= LEAST_ROUNDS or clock() - began < budget_s):
        begin, end = next(bounds)
        times = [cost()]
        with RandomStream(first.seed, first.device):
            lanes.step(orders[:, begin:end], 0)
        first.settle()
        times.append(cost())
        if sum(next(loop, None) is None for loop in loops):
            break  # the recipes' epochs are over
        some[0].settle()
        times.append(cost())
        found.append((times[1] - times[0], (times[2] - times[1]) * len(trainings) / len(some)))
        if len(found) == 1:
            began = clock()  # the first round compiles, and is not counted
    for loop in loops:
        loop.close()
    return [one for one, _ in found[1:]], [other for _, other in found[1:]]
