"""The one visible loop: a generator of events that training, racing, progress bars and early stopping all pull from.

A user whose loop differs copies it: it is forty lines over the same public functions.
"""

from __future__ import annotations

from collections.abc import Generator, Iterable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any

import torch

from .. import evaluation
from ..data.batches import batch_bounds, epoch_order
from ..defaults import default_recipe
from ..errors import blaming, whole
from ..gradient import GradientFunction, StepResult
from ..machine import is_out_of_memory
from ..own import as_metrics
from ..plans import TF32, Plan, as_plan
from ..reach import Reach
from ..recipes import Recipe, as_recipe
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
    gradient: GradientFunction | None = None,
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
        gradient: how a gradient is obtained, see `steepest.gradient`; None: as the recipe says.
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
    return _train(training, names, every, last, gradient or training.gradient)


def watched(task: Task, metrics: Sequence[Any] | None) -> tuple[Any, ...]:
    """Return what is measured at an evaluation: what was asked for, else the task's metrics, and its target's, and the loss."""
    of_the_target = (task.goal.metric,) if task.goal else ()
    if metrics is not None:
        metrics = tuple(metrics) if isinstance(metrics, Iterable) and not isinstance(metrics, str) else (metrics,)
        as_metrics(task.measures(metrics), task.kind)  # raises where one is not for this task
    return tuple(dict.fromkeys((*(task.metric_names if metrics is None else metrics), *of_the_target, "loss")))


def _train(t: Training, names: tuple[Any, ...], every: int, last: int, gradient: GradientFunction) -> Events:
    """Pass the events on; meanwhile rows that lie on disk are read before their step, and memory is kept from step to step."""
    with KeptMemory(t.device), ExitStack() as reading:
        with RandomStream(t.seed, t.device):  # what a stream draws on its way to where the training stands is nobody's
            reading.enter_context(t.train.read_ahead(t.seed, t.batch, t.position.step, prefetch=t.plan.prefetch))
        yield from _epochs(t, names, every, last, gradient)


def _epochs(t: Training, names: tuple[Any, ...], every: int, last: int, gradient: GradientFunction) -> Events:
    clock, part, at = t.clock, t.train, t.position
    bounds = batch_bounds(len(part), t.batch)
    random, threads, tf32 = at.random, Threads(t.plan.threads), Tf32(t.plan.precision == TF32)
    t.model.train()
    t.optimizer.train()
    if at.is_due(every, last):  # it goes on from a checkpoint between a step and its evaluation
        yield from _evaluation(t, names, last)
    while at.step < last:
        epoch, made = divmod(at.step, len(bounds))
        order = epoch_order(len(part), t.seed, epoch).to(t.device)
        for begin, end in bounds[made:]:
            clock.to("train")
            with random, threads, blaming("training"), tf32:
                result = _stepped(t, gradient, order[begin:end], epoch)
            clock.to("waiting")
            at.step += 1
            at.losses.append((_kept(result.loss), result.weight))
            yield StepEvent(at.step, epoch, result, t)
            if at.is_due(every, last):
                yield from _evaluation(t, names, last)
            if at.step == last:
                return


def _stepped(t: Training, gradient: GradientFunction, rows: torch.Tensor, epoch: int) -> StepResult:
    """Make an update; where memory does not suffice, with half as many rows at once, whose gradients are added up."""
    while True:
        try:
            result = t.find_gradient(gradient, *t.batch_at(rows, epoch))
        except (MemoryError, RuntimeError) as error:
            if not is_out_of_memory(error) or not t.goes_in_smaller_pieces(len(rows)):
                raise
            t.position.random.rewind()
            continue
        t.update()
        return result


def _kept(loss: torch.Tensor) -> float | torch.Tensor:
    """Return a loss as it is kept until the next evaluation: on a CPU as a number; a device would be waited for.

    A tensor a step, kept where a batch had lain, made the memory of a process grow by up to 2 MiB a step.
    """
    return loss.item() if loss.device.type == "cpu" else loss


def _evaluation(t: Training, names: tuple[Any, ...], last: int) -> Events:
    """Yield what is measured now; after the last step the network keeps the weights for evaluation."""
    t.optimizer.eval()
    with t.position.random, Threads(t.plan.threads):
        event = _evaluate(t, names)
    yield event
    if event.step < last:
        t.optimizer.train()


def _evaluate(t: Training, names: tuple[Any, ...]) -> EvaluationEvent:
    """Measure the validation part, and lower the learning rate when a plateau asks for it."""
    t.settle()
    t.clock.to("evaluate")
    measured, at = {}, t.position
    if t.validation is not None:
        measured = evaluation.measure(t.model, t.validation, t.task.data, t.task.measures(names), t.loss, t.objective)
    train_loss = at.mean_loss()
    at.losses, at.evaluated = [], at.step
    if at.plateau is not None:
        at.plateau.lower(t.optimizer, measured, train_loss)
    t.clock.to("waiting")
    epoch = (at.step - 1) // t.steps_per_epoch
    return EvaluationEvent(at.step, epoch, train_loss, measured, 1.0 if at.plateau is None else at.plateau.factor, t)
