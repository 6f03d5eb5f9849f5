"""The one visible loop: a generator of events that training, racing, progress bars and early stopping all pull from.

A user whose loop differs copies it: it is forty lines over the same public functions.
"""

from __future__ import annotations

from collections.abc import Generator, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch

from .. import evaluation
from ..data.batches import batch_bounds, epoch_order
from ..defaults import default_recipe
from ..errors import blaming, whole
from ..gradient import GradientFunction, StepResult, plain
from ..optimizer import Optimizer
from ..own import as_metrics
from ..plans import TF32, Plan, as_plan
from ..reach import Reach, metric
from ..recipes import Plateau, Recipe, as_recipe
from ..rules import Rule
from ..tasks import Task
from ..tasks import task as as_task
from .known import default_plan
from .randomness import RandomStream
from .settings import KeptMemory, Tf32, Threads
from .setup import Training, prepare


@dataclass(slots=True)
class StepEvent:
    """One update was made."""

    step: int
    epoch: int
    result: StepResult
    training: Training = field(repr=False)


@dataclass(slots=True)
class EvaluationEvent:
    """The validation part was measured after `step` updates. `train_loss` is the mean since the evaluation before."""

    step: int
    epoch: int
    train_loss: float
    metrics: dict[str, float]
    lr_factor: float
    training: Training = field(repr=False)


Event = StepEvent | EvaluationEvent
Events = Generator[Event, None, None]


@dataclass
class PlateauState:
    """The state of reduce-on-plateau: best value so far, evaluations since, factor reached. Kept in the Run's events."""

    plateau: Plateau
    best: float | None = None
    waited: int = 0
    factor: float = 1.0

    def see(self, value: float) -> float:
        """Take one value; return what the learning rate is to be multiplied by now (1.0: leave it)."""
        larger = metric(self.plateau.metric).larger_is_better
        bound = None if self.best is None else self.best * (1 + self.plateau.threshold * (1 if larger else -1))
        if bound is None or (value > bound if larger else value < bound):
            self.best, self.waited = value, 0
            return 1.0
        self.waited += 1
        if self.waited <= self.plateau.patience:
            return 1.0
        self.waited = 0
        lowered = max(self.factor * self.plateau.factor, self.plateau.min_factor)
        change, self.factor = lowered / self.factor, lowered
        return change

    def lower(self, optimizer: Optimizer, measured: dict[str, Any], train_loss: float) -> None:
        """Lower the learning rate of every group, if what was measured has come to rest."""
        change = self.see(measured.get(self.plateau.metric, train_loss))
        for group in optimizer.param_groups:
            group["lr"] = group["lr"] * change


@dataclass
class Hits:
    """Counts evaluations that meet a target: it is reached at the first of `consecutive` in a row."""

    reach: Reach
    consecutive: int = 2
    first: int | None = None
    row: int = field(default=0)

    def see(self, step: int, value: float) -> bool:
        """Take the value after `step` updates; return whether the target is reached now."""
        if not self.reach.met(value):
            self.row, self.first = 0, None
            return False
        if self.row == 0:
            self.first = step
        self.row += 1
        return self.row >= self.consecutive


def steps(
    task: Any,
    recipe: Recipe | Rule | str | None = None,
    *,
    seed: int = 0,
    device: Any = None,
    evaluate_every: int | None = None,
    max_steps: int | None = None,
    metrics: Sequence[Any] | None = None,
    gradient: GradientFunction = plain,
    plan: Plan | str | None = None,
    training: Training | None = None,
) -> Events:
    """Train, yielding an event after every update and every evaluation of the validation part; stop by leaving the loop.

    Args:
        task: what to learn: a Task, or anything `steepest.task` takes.
        recipe: how, as `fit` takes it; None: the default for this kind of data.
        seed: initial weights and the order of batches follow from it.
        device: where; None: CUDA when there is one.
        evaluate_every: updates between two evaluations; None: once an epoch.
        max_steps: updates at most; None: the recipe's epochs.
        metrics: what to measure at an evaluation, besides the loss, as `Task` takes it; None: the task's metrics.
        gradient: how a gradient is obtained, see `steepest.gradient`.
        plan: how it is carried out; None: what is known to suit the machine, nothing is measured.
        training: a prepared training instead of one made from the arguments before.

    Returns:
        An iterator of `StepEvent` and `EvaluationEvent`. Threads, tf32 and random numbers of the process are its own while it
        makes a step or measures, and the caller's in between.

    Raises:
        InputError: what cannot be trained, in one line.

    >>> import steepest
    >>> task = steepest.task("iris")
    >>> losses = [e.metrics["loss"] for e in steps(task, evaluate_every=30, max_steps=60) if hasattr(e, "metrics")]
    >>> len(losses), losses[1] < losses[0]
    (2, True)
    """
    if training is None:
        task = as_task(task)
        recipe = as_recipe(recipe) or default_recipe(task.data.form, task.data.size("train"), task.model)
        training = prepare(task, recipe, seed=seed, device=device)
        training.follow(as_plan(plan) or default_plan(training))
    for name, value in (("evaluate_every", evaluate_every), ("max_steps", max_steps)):
        if value is not None:
            whole(name, value, 1)
    names = watched(task, metrics)
    last = min(training.total_steps, max_steps or training.total_steps)
    every = evaluate_every or training.steps_per_epoch
    return _train(training, names, every, last, gradient)


def watched(task: Task, metrics: Sequence[Any] | None) -> tuple[Any, ...]:
    """Return what is measured at an evaluation: what was asked for, else the task's metrics, and its target's, and the loss."""
    of_the_target = (task.goal.metric,) if task.goal else ()
    if metrics is not None:
        metrics = tuple(metrics) if isinstance(metrics, Iterable) and not isinstance(metrics, str) else (metrics,)
        as_metrics(task.measures(metrics), task.kind)  # raises where one is not for this task
    return tuple(dict.fromkeys((*(task.metric_names if metrics is None else metrics), *of_the_target, "loss")))


def _train(t: Training, names: tuple[Any, ...], every: int, last: int, gradient: GradientFunction) -> Events:
    """Pass the events on; meanwhile rows that lie on disk are read before their step, and memory is kept from step to step."""
    with KeptMemory(t.device), t.train.read_ahead(t.seed, t.batch, prefetch=t.plan.prefetch):
        yield from _epochs(t, names, every, last, gradient)


def _epochs(t: Training, names: tuple[Any, ...], every: int, last: int, gradient: GradientFunction) -> Events:
    clock, optimizer, part = t.clock, t.optimizer, t.train
    plateau = PlateauState(t.recipe.plateau) if t.recipe.plateau else None
    bounds = batch_bounds(len(part), t.batch)
    random, threads, tf32 = RandomStream(t.seed, t.device), Threads(t.plan.threads), Tf32(t.plan.precision == TF32)
    t.model.train()
    step, epoch, results = 0, 0, []
    while step < last:
        order = epoch_order(len(part), t.seed, epoch).to(t.device)
        for begin, end in bounds:
            clock.to("train")
            with random, threads, blaming("training"):
                inputs, targets = t.batch_at(order[begin:end], epoch)
                with tf32:
                    result = t.step(gradient, inputs, targets)
            clock.to("waiting")
            step += 1
            results.append((_kept(result.loss), result.weight))
            yield StepEvent(step, epoch, result, t)
            if step % every == 0 or step == last:
                optimizer.eval()
                with random, threads:
                    evaluation_event = _evaluate(t, names, plateau, step, epoch, results)
                yield evaluation_event
                results = []
            if step == last:
                return  # the network keeps the weights for evaluation
            optimizer.train()
        epoch += 1


def _kept(loss: torch.Tensor) -> float | torch.Tensor:
    """Return a loss as it is kept until the next evaluation: on a CPU as a number; a device would be waited for.

    A tensor a step, kept where a batch had lain, made the memory of a process grow by up to 2 MiB a step.
    """
    return loss.item() if loss.device.type == "cpu" else loss


def _evaluate(
    t: Training,
    names: tuple[Any, ...],
    plateau: PlateauState | None,
    step: int,
    epoch: int,
    results: list[tuple[float | torch.Tensor, int]],
) -> EvaluationEvent:
    """Measure the validation part, and lower the learning rate when a plateau asks for it."""
    t.settle()
    t.clock.to("evaluate")
    measured = {}
    if t.validation is not None:
        measured = evaluation.measure(t.model, t.validation, t.task.data, t.task.measures(names), t.loss, t.objective)
    losses, weights = zip(*results, strict=True)
    tensors = [loss for loss in losses if isinstance(loss, torch.Tensor)]
    values = torch.stack(tensors).double().cpu().numpy() if tensors else np.array(losses)
    train_loss = float(np.average(values, weights=weights))
    if plateau is not None:
        plateau.lower(t.optimizer, measured, train_loss)
    t.clock.to("waiting")
    return EvaluationEvent(step, epoch, train_loss, measured, 1.0 if plateau is None else plateau.factor, t)
