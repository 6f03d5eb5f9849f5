"""Does a training go on exactly where it was stopped? Tried out on a few steps of the user's own task."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..checkpoints import Checkpoints, Packed
from ..clock import parse_duration
from ..defaults import default_recipe
from ..errors import InputError
from ..gradient import GradientFunction
from ..plans import Plan, as_plan
from ..recipes import Recipe, as_recipe
from ..rules import Rule
from ..tasks import task
from .following import Follower
from .loop import StepEvent, steps
from .pilot import default_plan
from .setup import Training, prepare
from .snapshots import fingerprints, restore, state_of

MOST_STEPS = 60
PASSES = 3.5  # of the steps that are looked at: straight, and from each stop
Marks = dict[int, dict[str, str]]  # step -> the fingerprint of each item of the state after it


@dataclass(frozen=True)
class Stop:
    """What came of one stop: after which step it was, and what differed first from the training that went straight on."""

    step: int
    difference: str | None

    @property
    def exact(self) -> bool:
        return self.difference is None


@dataclass(frozen=True)
class ResumeReport:
    """Whether a training goes on exactly where it was stopped.

    Attributes:
        stops: one for each step that it was stopped after.
        num_steps: how many steps were compared, bit by bit.
        steps_per_epoch: of this task and recipe.
        seconds: what this took.
    """

    stops: tuple[Stop, ...]
    num_steps: int
    steps_per_epoch: int
    seconds: float

    @property
    def exact(self) -> bool:
        """Whether every state after every stop is the same, bit for bit."""
        return all(stop.exact for stop in self.stops)

    def __str__(self) -> str:
        found = [f"after step {stop.step}: {'exact' if stop.exact else stop.difference}" for stop in self.stops]
        epoch = "an epoch's end among them" if self.num_steps > self.steps_per_epoch else "all in the first epoch"
        said = f"resume {'is exact' if self.exact else 'is NOT exact'}: {self.num_steps} steps compared, {epoch}"
        return "\n".join([f"{said}, {self.seconds:.1f} s", *(f"  {line}" for line in found)])


def verify_resume(
    subject: Any,
    recipe: Recipe | Rule | str | None = None,
    *,
    seed: int = 0,
    device: Any = None,
    gradient: GradientFunction | None = None,
    plan: Plan | str | None = None,
    stops: Iterable[int] | None = None,
    budget: str | float = "30s",
) -> ResumeReport:
    """Train some steps straight on, and again with stops: written to disk, read back, and gone on with in a new training.

    After every step all weights, buffers, optimizer state, random states, losses and measured values are compared, bit by bit.
    Stops are after the first step, in the middle, at an evaluation, at the end of the first epoch where `budget` suffices, and
    before the last step.

    A network whose forward pass depends on more than weights, buffers and torch's random numbers (a counter in Python, NumPy's
    random numbers) is found out here.

    Args:
        subject: a Task, or anything `steepest.task` takes.
        recipe: how to learn, as `fit` takes it.
        seed: initial weights and the order of batches.
        device: where; None: CUDA when there is one.
        gradient: how a gradient is obtained; None: as the recipe says.
        plan: how it is carried out; None: as `fit` does without measuring.
        stops: the steps to stop after, in place of those above.
        budget: about how long this may take; with `stops`, all of them are made.

    Raises:
        InputError: what cannot be trained, or what no checkpoint can keep.

    >>> import steepest
    >>> steepest.verify_resume("iris", "adamw(0.01)").exact
    True
    """
    began, limit = time.perf_counter(), parse_duration("budget", budget)
    assert limit is not None
    job = task(subject)
    chosen = as_recipe(recipe) or default_recipe(job.data.form, job.data.size("train"), job.model)

    def fresh() -> tuple[Training, Follower]:
        t = prepare(job, chosen, seed=seed, device=device)
        t.follow(as_plan(plan) or default_plan(t))
        return t, Follower(t, None, stop_at_target=False)

    t, follower = fresh()
    if t.total_steps < 2:
        raise InputError(f"verify_resume needs a training of at least two steps (this recipe makes {t.total_steps})")
    num_steps = _affordable(fresh, gradient, limit) if stops is None else min(t.total_steps, MOST_STEPS)
    every = max(num_steps // 3, 1)
    usual = {1, num_steps // 2, every, t.steps_per_epoch, num_steps - 1} & set(range(1, num_steps))
    wanted = usual if stops is None else _given(stops, num_steps)
    with tempfile.TemporaryDirectory() as folder:
        stores = {step: Checkpoints(Path(folder) / str(step)) for step in sorted(wanted)}
        straight = _marks(t, follower, num_steps, every, gradient, stores)
        found = []
        for step, store in stores.items():
            checkpoint = store.newest()
            assert checkpoint is not None
            again, follower = fresh()
            restore(again, checkpoint.state, follower)
            found.append(Stop(step, _first_difference(straight, _marks(again, follower, num_steps, every, gradient, {}))))
    return ResumeReport(tuple(found), num_steps, t.steps_per_epoch, time.perf_counter() - began)


def _given(stops: Any, num_steps: int) -> set[int]:
    """Return the stops that were asked for; raise unless they lie within the steps that are made."""
    if not isinstance(stops, Iterable):
        raise InputError(f"stops are steps to stop after, such as [1, 10] (got {stops!r})")
    wanted = set(stops)
    if outside := [step for step in wanted if step not in range(1, num_steps)]:
        raise InputError(f"stops lie within the steps that are made, 1 to {num_steps - 1} (got {outside[0]!r})")
    return wanted


def _affordable(fresh: Callable[[], tuple[Training, Follower]], gradient: GradientFunction | None, limit: float) -> int:
    """Return how many steps can be looked at: past an epoch's end if that fits."""
    _marks(*fresh(), 2, 2, gradient, {})  # the first step of a process is its slowest
    t, follower = fresh()
    began = time.perf_counter()
    _marks(t, follower, 2, 2, gradient, {})
    a_step = (time.perf_counter() - began) / 2
    wanted = min(t.total_steps, max(MOST_STEPS, t.steps_per_epoch + 2))
    return max(min(wanted, int(limit / (PASSES * a_step))), 2)


def _marks(
    t: Training, follower: Follower, last: int, every: int, gradient: GradientFunction | None, stores: dict[int, Checkpoints]
) -> Marks:
    """Train to a step, and return the fingerprints after each; after those of `stores` the state is written there."""
    found: Marks = {}
    for event in steps(t.task, training=t, gradient=gradient, evaluate_every=every, max_steps=last):
        if not isinstance(event, StepEvent):
            follower.sees(event)
            continue
        follower.step = event.step
        follower.rows += event.result.weight
        packed = Packed.of(state_of(t, follower))
        if event.step in stores:
            stores[event.step].write(packed.copied(), event.step)
        found[event.step] = fingerprints(packed)
    return found


def _first_difference(straight: Marks, after: Marks) -> str | None:
    """Return what differs first between two trainings, at the earliest step that both made."""
    for step in sorted(after):
        one, other = straight[step], after[step]
        if one != other:
            return f"{next(name for name in one | other if one.get(name) != other.get(name))} differs at step {step}"
    return None
