"""A trial: one recipe, one seed, trained until the target is reached or the steps run out. What workers run."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from contextlib import closing
from dataclasses import asdict, dataclass, field
from functools import partial
from typing import Any

from ..errors import InputError, cut, first_line
from ..machine import is_out_of_memory
from ..reach import Reach
from ..recipes import Recipe
from ..tasks import Task
from ..training.lanes import Lanes, prepare_lanes
from ..training.loop import EvaluationEvent, Hits, steps
from ..training.setup import prepare
from ..training.snapshots import taken
from .parking import Curve, Parking
from .processes import HUNG, KILLED, OUT_OF_MEMORY, LostError
from .serving import beat

FINISHED, REACHED, DIVERGED = "finished", "reached", "diverged"
FAILED = "failed"
LOST = (HUNG, KILLED, OUT_OF_MEMORY, FAILED)  # it did not come to an end of its own
GIVEN_UP = "not tried again"  # because others of its contender were lost


@dataclass(frozen=True)
class Trial:
    """What is to be run: which contender, as which of its recipes, with which seed, for at most how many steps.

    `cost` is what the search of a space takes a step of it to cost, compared with others of the space.
    """

    contender: str
    recipe: int
    lr: float
    seed: int
    stage: str  # "search", "screening" or "finals"
    max_steps: int
    evaluate_every: int
    cost: float = 1.0


@dataclass
class Outcome:
    """What came of it. `reached_at` is the first of two consecutive evaluations that met the target, or None.

    `status` says how it ended, `error` what went wrong where it is one of `LOST`.
    """

    trial: Trial
    reached_at: int | None
    steps: int
    train_seconds: float
    seconds: float
    best: float
    curve: Curve = field(default_factory=list)
    status: str = FINISHED
    error: str | None = None

    @classmethod
    def given_up(cls, trial: Trial) -> Outcome:
        """Return the outcome of a trial that is not run."""
        return cls(trial, None, 0, 0.0, 0.0, math.nan, status=GIVEN_UP)

    @classmethod
    def lost(cls, trial: Trial, error: BaseException) -> Outcome:
        """Return the outcome of a trial that ended in an error, or of which nothing came back."""
        said = any(word in str(error) for word in ("MemoryError", "bad_alloc"))  # as the loop tells of what it has met
        too_large = said or is_out_of_memory(error) or is_out_of_memory(RuntimeError(str(error)))
        kind = error.kind if isinstance(error, LostError) else OUT_OF_MEMORY if too_large else FAILED
        return cls(trial, None, 0, 0.0, 0.0, math.nan, status=kind, error=cut(first_line(error), 200))

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_dict(cls, value: dict[str, Any]) -> Outcome:
        curve = [(int(step), _number(loss), _number(metric)) for step, loss, metric in value["curve"]]
        fields = {name: value[name] for name in ("reached_at", "steps", "train_seconds", "seconds", "status")}
        error = value.get("error")  # earlier records have none
        return cls(Trial(**value["trial"]), best=_number(value["best"]), curve=curve, error=error, **fields)


def _number(value: Any) -> float:
    return math.nan if value is None else float(value)


def run_trial(
    task: Task,
    recipe: Recipe,
    trial: Trial,
    until: float | None = None,
    parking: Parking | None = None,
    *,
    device: Any = None,
) -> Outcome | None:
    """Train until the target is met at two evaluations in a row, the steps run out, or the loss is no longer finite.

    With a `parking`, a training that was paused there goes on, and one whose steps run out is left there. Returns None when the
    clock (`time.time()`) passes `until` first: half a trial says nothing.
    """
    began = time.perf_counter()
    judge = Judge(trial, _goal(task))
    prepared = partial(prepare, task, recipe, seed=trial.seed, device=device)
    training, curve = (prepared(), []) if parking is None else parking.take_up(prepared, trial.max_steps)
    judge.go_on(curve, training.position.step)
    every, last = trial.evaluate_every, trial.max_steps
    pauses, state = parking is not None and last < training.total_steps, None
    loop = steps(task, training=training, evaluate_every=every, max_steps=last, metrics=(judge.goal.metric,))
    with closing(loop):
        for event in loop:
            judge.step = event.step
            beat()
            if not isinstance(event, EvaluationEvent):
                state = taken(training) if pauses and event.step == last else None
            elif until is not None and time.time() > until:
                return None
            elif judge.see(event):
                break
    if parking is not None and not (pauses and judge.status == FINISHED):
        parking.empty()
    elif parking is not None and state is not None:  # None: it was left at this very step before
        parking.leave(state, judge.curve, last)
    return judge.outcome(training.clock.stop().get("train", 0.0), time.perf_counter() - began)


def run_lanes(
    task: Task, recipes: Sequence[Recipe], trials: Sequence[Trial], until: float | None = None, *, device: Any = None
) -> list[Outcome | None]:
    """Run trials as lanes of one computation; each leaves it when it is over, and is charged its share of the seconds.

    Where networks that the caller's own function makes turn out to be none of one computation, each runs alone. Returns None
    for those that are not over when the clock passes `until`.
    """
    judges = [Judge(trial, _goal(task)) for trial in trials]
    found: list[Outcome | None] = [None] * len(trials)
    trainings = prepare_lanes(task, recipes, [trial.seed for trial in trials], device=device)
    last = [min(t.total_steps, trial.max_steps) for t, trial in zip(trainings, trials, strict=True)]
    metrics = (judges[0].goal.metric,)
    tried = all(t.spec is not None for t in trainings)  # bundles of this kind were; what a function makes may differ by seed
    how: dict[str, Any] = {"evaluate_every": trials[0].evaluate_every, "max_steps": last, "metrics": metrics}
    try:
        lanes = Lanes(trainings, tried_out=tried, **how)
    except InputError:
        return [run_trial(task, *pair, until, device=device) for pair in zip(recipes, trials, strict=True)]
    for events in lanes:
        beat()
        if until is not None and time.time() > until:
            break
        for place, event in events.items():
            judge, training = judges[place], event.training
            judge.step = event.step
            if judge.see(event) or event.step == last[place]:
                lanes.leave(place)
                stages = training.clock.stop()
                found[place] = judge.outcome(stages.get("train", 0.0), sum(stages.values()))
    lanes.close()
    return found


def _goal(task: Task) -> Reach:
    assert task.goal is not None
    return task.goal


@dataclass
class Judge:
    """Reads the evaluations of one trial: keeps the curve, and says when it is over."""

    trial: Trial
    goal: Reach
    step: int = 0
    status: str = FINISHED
    curve: Curve = field(default_factory=list)

    def __post_init__(self) -> None:
        self.hits = Hits(self.goal)

    def go_on(self, curve: Curve, step: int) -> None:
        """Take what was seen before the trial was paused after a step."""
        self.curve, self.step = list(curve), step
        for at, _, value in curve:
            self.hits.see(at, value)

    def see(self, event: EvaluationEvent) -> bool:
        """Take an evaluation; return whether the trial ends with it."""
        if self.curve and event.step <= self.curve[-1][0]:  # made again by one that goes on
            return False
        value = event.metrics[self.goal.metric]
        self.curve.append((event.step, event.train_loss, value))
        if not math.isfinite(event.train_loss):
            self.status = DIVERGED
        elif self.hits.see(event.step, value):
            self.status = REACHED
        return self.status != FINISHED

    def outcome(self, train_s: float, whole_s: float) -> Outcome:
        """Return what came of the trial."""
        values = [value for _, _, value in self.curve if math.isfinite(value)]
        best = (max if self.goal.larger_is_better else min)(values, default=math.nan)
        reached = self.hits.first if self.status == REACHED else None
        return Outcome(self.trial, reached, self.step, train_s, whole_s, best, self.curve, self.status)
