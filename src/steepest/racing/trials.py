"""A trial: one recipe, one seed, trained until the target is reached or the steps run out. What workers run."""

from __future__ import annotations

import math
import time
from contextlib import closing
from dataclasses import asdict, dataclass, field
from typing import Any

from ..recipes import Recipe
from ..tasks import Task
from ..training.loop import EvaluationEvent, Hits, steps
from ..training.setup import prepare

FINISHED, REACHED, DIVERGED = "finished", "reached", "diverged"


@dataclass(frozen=True)
class Trial:
    """What is to be run: which contender, as which of its recipes, with which seed, for at most how many steps."""

    contender: str
    recipe: int
    lr: float
    seed: int
    stage: str  # "search", "screening" or "finals"
    max_steps: int
    evaluate_every: int


@dataclass
class Outcome:
    """What came of it. `reached_at` is the first of two consecutive evaluations that met the target, or None."""

    trial: Trial
    reached_at: int | None
    steps: int
    train_seconds: float
    seconds: float
    best: float
    curve: list[tuple[int, float, float]] = field(default_factory=list)  # step, training loss, watched metric
    status: str = FINISHED

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_dict(cls, value: dict[str, Any]) -> Outcome:
        curve = [(int(step), _number(loss), _number(metric)) for step, loss, metric in value["curve"]]
        fields = {name: value[name] for name in ("reached_at", "steps", "train_seconds", "seconds", "status")}
        return cls(Trial(**value["trial"]), best=_number(value["best"]), curve=curve, **fields)


def _number(value: Any) -> float:
    return math.nan if value is None else float(value)


def run_trial(task: Task, recipe: Recipe, trial: Trial, until: float | None = None, *, device: Any = None) -> Outcome | None:
    """Train until the target is met at two evaluations in a row, the steps run out, or the loss is no longer finite.

    Returns None when the clock (`time.time()`) passes `until` first: half a trial says nothing.
    """
    began = time.perf_counter()
    goal = task.goal
    assert goal is not None
    training = prepare(task, recipe, seed=trial.seed, device=device)
    every, last = trial.evaluate_every, trial.max_steps
    loop = steps(task, training=training, evaluate_every=every, max_steps=last, metrics=(goal.metric,))
    hits, curve, status, step = Hits(goal), [], FINISHED, 0
    with closing(loop):
        for event in loop:
            step = event.step
            if not isinstance(event, EvaluationEvent):
                continue
            if until is not None and time.time() > until:
                return None
            value = event.metrics[goal.metric]
            curve.append((event.step, event.train_loss, value))
            if not math.isfinite(event.train_loss):
                status = DIVERGED
            elif hits.see(event.step, value):
                status = REACHED
            if status != FINISHED:
                break
    values = [value for _, _, value in curve if math.isfinite(value)]
    best = (max if goal.larger_is_better else min)(values, default=math.nan)
    train, whole = training.clock.stop().get("train", 0.0), time.perf_counter() - began
    return Outcome(trial, hits.first if status == REACHED else None, step, train, whole, best, curve, status)
