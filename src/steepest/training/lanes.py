"""Lanes: many small trainings of one network's shape, run as one batched computation.

A step of a small network is a few dozen calls of a few microseconds, and hardly any arithmetic. Lanes share the calls: the
parameters of N networks lie stacked, one forward and one backward pass serve all, and one launch of a compiled program updates
them. Each lane keeps its own recipe, schedule, state, order of batches and initial weights: those of its training alone.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from .. import evaluation
from .. import metrics as measures
from ..clock import Clock
from ..data.batches import batch_bounds, epoch_order
from ..data.parts import pieces
from ..errors import InputError, blaming, whole
from ..gradient import plain
from ..machine import wait_for
from ..recipes import Recipe, as_recipe
from ..rules import Rule
from ..tasks import task
from ..together import Together
from .loop import EvaluationEvent, PlateauState, watched
from .losses import losses_of
from .randomness import RandomStream, drawing_from
from .settings import KeptMemory
from .setup import Training, prepare
from .sharing import apart
from .stacked import Stacked

ROWS, PART = "rows", "part"  # what lanes share: the very rows of each step, or the part that these are taken from
TOGETHER = ("classification", "regression")  # the kinds of targets whose outputs are measured for all lanes at once


@dataclass
class Lane:
    """One training among the lanes: its place in the caller's list, and when it ends."""

    place: int
    training: Training
    last: int
    plateau: PlateauState | None


class Lanes:
    """Trainings that are made step by step together, each with its own recipe and seed.

    Iterating yields, at every evaluation, the events of all lanes that are still on: `{place: EvaluationEvent}`. Between two of
    them `leave` takes lanes out; the others go on as if nothing had been. A lane's network and optimizer are those of its
    training, and hold what it has learned when it has left.

    Args:
        trainings: from `prepare_lanes`, none of them begun; `apart` says what they must share.
        evaluate_every: updates between two evaluations; None: once an epoch.
        max_steps: updates at most, for all or for each; None: each recipe's epochs.
        metrics: what to measure at an evaluation, besides the loss; None: the task's metrics.

    Raises:
        InputError: the trainings cannot be lanes of one computation, and why.

    >>> import steepest
    >>> recipes = [steepest.Recipe(steepest.adam(lr), batch=32, epochs=5) for lr in (0.1, 0.01, 0.001)]
    >>> for events in Lanes(prepare_lanes("iris", recipes, seeds=[3, 3, 3])):
    ...     best = min(events, key=lambda place: events[place].metrics["loss"])
    >>> recipes[best].rule
    adam(0.1)
    """

    def __init__(
        self,
        trainings: Sequence[Training],
        *,
        evaluate_every: int | None = None,
        max_steps: int | Sequence[int] | None = None,
        metrics: Sequence[Any] | None = None,
    ) -> None:
        if reason := apart(trainings):
            raise InputError(f"these trainings cannot be lanes: {reason}; train them one by one")
        first = trainings[0]
        self.every = first.steps_per_epoch if evaluate_every is None else evaluate_every
        whole("evaluate_every", self.every, 1)
        self.names = watched(first.task, metrics)
        ends = _lasts(trainings, max_steps)
        self.lanes = [Lane(i, t, last, _plateau(t)) for i, (t, last) in enumerate(zip(trainings, ends, strict=True))]
        self._places = len(self.lanes)
        self.clock = Clock("waiting")
        self.step = 0
        self._leaving: set[int] = set()
        self._kept = KeptMemory(first.device)
        self._orders: list[Tensor] = []  # of this epoch's rows, lane by lane
        self._losses = losses_of(first.objective, first.loss)
        self._random = RandomStream(first.seed, first.device)  # for what does not draw lane by lane
        self._since: list[tuple[Tensor, np.ndarray]] = []  # each lane's loss and rows, step by step since the last evaluation
        for t in trainings:
            t.model.train()
            t.clock.count("waiting", 0.0)
        self._stacked = Stacked([t.model for t in trainings], [t.seed for t in trainings])
        self._begin()

    def __repr__(self) -> str:
        return f"Lanes({len(self.lanes)} of {self._places} on, after {self.step} steps)"

    def leave(self, place: int) -> None:
        """Take a lane out; what it has learned stays in its training. One that has left already may be named again."""
        if place not in range(self._places):
            raise InputError(f"lanes have the places 0 to {self._places - 1} (got {place!r})")
        self._leaving.add(place)

    def __iter__(self) -> Iterator[dict[int, EvaluationEvent]]:
        epoch = 0
        with self._kept:
            while self.lanes:
                yield from self._epoch(epoch)
                epoch += 1

    def close(self) -> None:
        """Take all lanes out."""
        self._leaving |= {lane.place for lane in self.lanes}
        self._settle()

    def make_step(self, rows_NB: Tensor, epoch: int) -> Tensor:
        """Make one update of every lane from these rows of the training part; return each one's loss, shape (N,)."""
        with blaming("training"):
            inputs, targets = self._batch(rows_NB, epoch)
            losses = self._losses(self._stacked(inputs), targets)
            objective = self.first.objective
            if objective.l1 or objective.l2:
                losses = losses + self._stacked.penalty(objective.l1, objective.l2)
            self._stacked.backward(losses.sum())
            self._together.step()
        return losses.detach()

    def _step_alone(self, rows: Sequence[Tensor], epoch: int) -> Tensor:
        """Make an update of one lane after the other, from rows of which each has another number; return each one's loss."""
        losses = []
        for lane, generator, mine in zip(self.lanes, self._stacked.generators, rows, strict=True):
            t = lane.training
            with blaming("training"), drawing_from(generator):
                result = plain(replace(t.context(*t.batch_at(mine, epoch)), dense=None))
                t.update()
            losses.append(result.loss)
        self._stacked.forget_gradients()
        return torch.stack(losses)

    def evaluated(self, rows_NB: Tensor) -> Tensor:
        """Return what each lane's network gives for these rows of the training part, as in evaluation."""
        inputs, _ = self._batch(rows_NB, 0)
        with evaluation.evaluating(self.first.model):
            return self._stacked(inputs)

    @property
    def first(self) -> Training:
        return self.lanes[0].training

    def _epoch(self, epoch: int) -> Iterator[dict[int, EvaluationEvent]]:
        trainings = [lane.training for lane in self.lanes]
        self._orders = [epoch_order(len(t.train), t.seed, epoch).to(self.first.device) for t in trainings]
        self._deal()
        begins = [begin for begin, _ in batch_bounds(len(self.first.train), self.first.batch)]
        for begin, end in zip(begins, [*begins[1:], None], strict=True):  # the last batch is what is left, in each lane
            self.clock.to("train")
            rows = np.array([len(order[begin:end]) for order in self._orders])
            with self._random:
                if rows.min() == rows.max():
                    losses = self.make_step(self._rows_NR[:, begin:end], epoch)
                else:
                    losses = self._step_alone([order[begin:end] for order in self._orders], epoch)
            self.clock.to("waiting")
            self._since.append((losses, rows))
            self.step += 1
            due = [lane for lane in self.lanes if self.step == lane.last or self.step % self.every == 0]
            if due:
                yield self._evaluate(due, epoch)
                self._settle()
            if not self.lanes:
                return

    def _batch(self, rows_NB: Tensor, epoch: int) -> tuple[Tensor, Tensor]:
        """Return inputs and targets of each lane, (N, B, ...); of rows that all share, expanded."""
        N = len(rows_NB)
        if self._share == ROWS:
            return tuple(found.expand(N, *found.shape) for found in self.first.train.take(rows_NB[0]))  # type: ignore[return-value]
        if self._share == PART:
            return tuple(found.unflatten(0, rows_NB.shape) for found in self.first.train.take(rows_NB.flatten()))  # type: ignore[return-value]
        found = [lane.training.batch_at(rows, epoch) for lane, rows in zip(self.lanes, rows_NB, strict=True)]
        return torch.stack([inputs for inputs, _ in found]), torch.stack([targets for _, targets in found])

    def _evaluate(self, due: list[Lane], epoch: int) -> dict[int, EvaluationEvent]:
        """Measure the validation part for these lanes, and lower learning rates where a plateau asks for it."""
        self.clock.to("train")
        waited = wait_for(self.first.device)
        self.clock.to("evaluate")
        for lane in self.lanes:
            lane.training.waits += waited
        for lane in due:
            lane.training.optimizer.eval()
        measured = self._measured(due)
        losses = torch.stack([losses for losses, _ in self._since]).double().cpu().numpy()
        means = np.average(losses, axis=0, weights=np.stack([rows for _, rows in self._since]))
        if self.step % self.every == 0:
            self._since = []
        events = {}
        for i, lane in enumerate(self.lanes):
            if lane in due:
                found, mean = measured[lane.place], float(means[i])
                factor = _lowered(lane, found, mean)
                events[lane.place] = EvaluationEvent(self.step, epoch, mean, found, factor, lane.training)
        self.clock.to("waiting")
        self._share_out()
        return events

    def _measured(self, due: list[Lane]) -> dict[int, dict[str, Any]]:
        """Return the metrics of these lanes, by place."""
        first, part = self.first, self.first.validation
        if part is None:
            return {lane.place: {} for lane in due}
        alike = all(lane.training.validation is part for lane in self.lanes)
        raw = self._outputs() if alike and first.task.kind in TOGETHER else None
        found = {}
        for i, lane in enumerate(self.lanes):
            t = lane.training
            if lane in due:
                mine = (part, t.task.data) if raw is not None else (t.validation, t.task.data)
                args = (*mine, t.loss, t.objective)
                predicted = evaluation.predict(t.model, *args) if raw is None else evaluation.as_predictions(raw[i], *args)  # type: ignore[arg-type]
                found[lane.place] = measures.measure(t.task.measures(self.names), predicted)
        return found

    def _outputs(self) -> Tensor:
        """Return what each lane's network gives for the validation part, shape (N, rows, ...)."""
        first, N = self.first, len(self.lanes)
        assert first.validation is not None
        size = max(evaluation.rows_at_once(first.task.data.form) // N, 64)
        with evaluation.evaluating(first.model):
            found = [self._stacked(rows.expand(N, *rows.shape)) for rows in pieces(first.validation.inputs, size)]
            return torch.cat(found, dim=1)

    def _share_out(self) -> None:
        """Give every lane its share of the seconds since this was last done."""
        for stage in ("train", "evaluate"):
            share = self.clock.seconds.pop(stage, 0.0) / len(self.lanes)
            for lane in self.lanes:
                lane.training.clock.count(stage, share)

    def _settle(self) -> None:
        """Let go who leaves, or has made its last step, and have the others' parameters hold the weights of the training."""
        on = [i for i, lane in enumerate(self.lanes) if lane.place not in self._leaving and self.step < lane.last]
        for i in on:
            self.lanes[i].training.optimizer.train()
        if len(on) == len(self.lanes):
            return
        self._stacked.keep(on)
        self.lanes = [self.lanes[i] for i in on]
        self._orders = [self._orders[i] for i in on]
        self._since = [(losses[on], rows[on]) for losses, rows in self._since]
        self._begin()
        self._deal()

    def _begin(self) -> None:
        """Settle what follows from which lanes are on."""
        self._together = Together([lane.training.optimizer for lane in self.lanes])
        trainings = [lane.training for lane in self.lanes]
        self._share = ""
        if trainings and all(t.train is trainings[0].train and not t.recipe.changes for t in trainings):
            self._share = ROWS if len({t.seed for t in trainings}) == 1 else PART

    def _deal(self) -> None:
        """Lay the rows of this epoch together, as many as the shortest order holds; folds differ in the last batch."""
        shortest = min(map(len, self._orders), default=0)
        self._rows_NR = torch.stack([order[:shortest] for order in self._orders]) if self._orders else torch.empty(0, 0)


def prepare_lanes(
    subject: Any, recipes: Sequence[Recipe | Rule | str], seeds: Sequence[int], *, device: Any = None
) -> list[Training]:
    """Set trainings up, one a recipe and seed, as `prepare` does each.

    Args:
        subject: a Task, or anything `steepest.task` takes.
        recipes: how to learn, one a lane, as `fit` takes it.
        seeds: initial weights and order of batches, one a lane.
        device: where; None: CUDA when there is one.
    """
    check_pairs(recipes, seeds)
    job, found = task(subject), []
    for each, seed in zip(recipes, seeds, strict=True):
        recipe = as_recipe(each)
        assert recipe is not None
        found.append(prepare(job, recipe, seed=seed, device=device))
        found[-1].clock.to("waiting")
    return found


def check_pairs(recipes: Any, seeds: Any) -> None:
    """Raise unless there is one seed a recipe."""
    for name, value in (("recipes", recipes), ("seeds", seeds)):
        if isinstance(value, str) or not hasattr(value, "__len__"):
            raise InputError(f"{name} is a list, with one for each lane (got {value!r})")
    if len(recipes) != len(seeds):
        raise InputError(f"lanes take one seed a recipe (got {len(recipes)} recipes and {len(seeds)} seeds)")


def _plateau(t: Training) -> PlateauState | None:
    return PlateauState(t.recipe.plateau) if t.recipe.plateau else None


def _lowered(lane: Lane, measured: dict[str, Any], train_loss: float) -> float:
    """Lower a lane's learning rate where its plateau asks for it; return the factor that it has come to."""
    if lane.plateau is None:
        return 1.0
    lane.plateau.lower(lane.training.optimizer, measured, train_loss)
    return lane.plateau.factor


def _lasts(trainings: Sequence[Training], max_steps: int | Sequence[int] | None) -> list[int]:
    """Return each lane's last step."""
    asked = max_steps if isinstance(max_steps, Sequence) else [max_steps] * len(trainings)
    for value in asked:
        if value is not None:
            whole("max_steps", value, 1)
    return [min(t.total_steps, most or t.total_steps) for t, most in zip(trainings, asked, strict=True)]
