"""Lanes: many small trainings of one network's shape, run as one batched computation.

A step of a small network is a few dozen calls of a few microseconds, and hardly any arithmetic. Lanes share the calls: the
parameters of N networks lie stacked, one forward and one backward pass serve all, and one launch of a compiled program updates
them. Each lane keeps its own recipe, schedule, state, order of batches and initial weights: those of its training alone.
"""

from __future__ import annotations

import numbers
import weakref
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from .. import evaluation
from .. import metrics as measures
from ..clock import Clock
from ..data.batches import batch_bounds, epoch_order
from ..errors import InputError, shown, whole
from ..machine import wait_for
from ..recipes import Recipe, as_recipe
from ..rules import Rule
from ..tasks import task
from .joint import Joint
from .loop import EvaluationEvent, watched
from .position import PlateauState
from .probing import difference
from .randomness import RandomStream
from .settings import KeptMemory
from .setup import Training, prepare
from .sharing import apart

TOGETHER = ("classification", "regression")  # the kinds of targets whose outputs are measured for all lanes at once


@dataclass
class Lane:
    """One training among the lanes: its place in the caller's list, and when it ends."""

    place: int
    training: Training
    last: int

    @property
    def plateau(self) -> PlateauState | None:
        return self.training.position.plateau


class Lanes:
    """Trainings that are made step by step together, each with its own recipe and seed.

    Iterating yields, at every evaluation, the events of all lanes that are still on: `{place: EvaluationEvent}`. Between two of
    them `leave` takes lanes out; the others go on as if nothing had been. Iterating once more goes on where it was. A lane's
    network and optimizer are those of its training, and hold what it has learned when it has left.

    Args:
        trainings: from `prepare_lanes`, none of them begun; `apart` says what they must share.
        evaluate_every: updates between two evaluations; None: once an epoch.
        max_steps: updates at most, for all or for each; None: each recipe's epochs.
        metrics: what to measure at an evaluation, besides the loss; None: the task's metrics.
        tried_out: whether `choose_lanes` was asked of these very trainings; else one step is tried on copies of them first.

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
        tried_out: bool = False,
    ) -> None:
        _check_trainings(trainings)
        if reason := apart(trainings):
            raise _refused(reason)
        first = trainings[0]
        self.every = first.steps_per_epoch if evaluate_every is None else evaluate_every
        whole("evaluate_every", self.every, 1)
        self.names = watched(first.task, metrics)
        ends = _lasts(trainings, max_steps)
        if not tried_out and (reason := difference(trainings)):
            raise _refused(reason)
        self.lanes = [Lane(i, t, last) for i, (t, last) in enumerate(zip(trainings, ends, strict=True))]
        self._places = len(self.lanes)
        self.clock = Clock("waiting")
        self.step = 0
        self._leaving: set[int] = set()
        self._kept = KeptMemory(first.device)
        self._orders: list[Tensor] = []  # of this epoch's rows, lane by lane
        self._random = RandomStream(first.seed, first.device)  # for what does not draw lane by lane
        self._since: list[tuple[Tensor, np.ndarray]] = []  # each lane's loss and rows, step by step since the last evaluation
        self._epoch = -1  # whose rows are dealt
        self._joint = Joint(trainings)
        for t in trainings:
            t.clock.count("waiting", 0.0)
            t.lanes = weakref.ref(self)

    def __repr__(self) -> str:
        return f"Lanes({len(self.lanes)} of {self._places} on, after {self.step} steps)"

    def leave(self, place: int) -> None:
        """Take a lane out; what it has learned stays in its training. One that has left already may be named again."""
        if isinstance(place, bool) or not isinstance(place, numbers.Integral) or place not in range(self._places):
            raise InputError(f"lanes have the places 0 to {self._places - 1} (got {place!r})")
        self._leaving.add(int(place))

    def __iter__(self) -> Iterator[dict[int, EvaluationEvent]]:
        with self._kept:
            self._settle()  # which a loop that was left at an evaluation has not done
            while self.lanes:
                due = self._advance()
                if due:
                    yield self._evaluate(due)
                    self._settle()

    def close(self) -> None:
        """Take all lanes out."""
        self._leaving |= {lane.place for lane in self.lanes}
        self._settle()

    def make_step(self, rows_NB: Tensor, epoch: int) -> Tensor:
        """Make one update of every lane from these rows of the training part; return each one's loss, shape (N,)."""
        return self._joint.step(rows_NB, epoch)

    @property
    def first(self) -> Training:
        return self.lanes[0].training

    def _advance(self) -> list[Lane]:
        """Make the next step of every lane; return those that are to be evaluated after it."""
        epoch, number = divmod(self.step, self.first.steps_per_epoch)
        self.clock.to("train")
        if epoch != self._epoch:
            self._open(epoch)
        begin, end = self._bounds[number]
        rows = np.array([len(order[begin:end]) for order in self._orders])
        with self._random:
            if rows.min() == rows.max():
                losses = self.make_step(self._rows_NR[:, begin:end], epoch)
            else:
                losses = self._joint.step_in_turn([order[begin:end] for order in self._orders], epoch)
        self.clock.to("waiting")
        self._since.append((losses, rows))
        self.step += 1
        return [lane for lane in self.lanes if self.step == lane.last or self.step % self.every == 0]

    def _open(self, epoch: int) -> None:
        """Lay the rows of an epoch out; the last batch is what is left, in each lane."""
        trainings = [lane.training for lane in self.lanes]
        self._orders = [epoch_order(len(t.train), t.seed, epoch).to(self.first.device) for t in trainings]
        begins = [begin for begin, _ in batch_bounds(len(self.first.train), self.first.batch)]
        self._bounds = list(zip(begins, [*begins[1:], None], strict=True))
        self._deal()
        self._epoch = epoch

    def _evaluate(self, due: list[Lane]) -> dict[int, EvaluationEvent]:
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
                events[lane.place] = EvaluationEvent(self.step, self._epoch, mean, found, factor, lane.training)
        self.clock.to("waiting")
        self._share_out()
        return events

    def _measured(self, due: list[Lane]) -> dict[int, dict[str, Any]]:
        """Return the metrics of these lanes, by place."""
        first, part = self.first, self.first.validation
        if part is None:
            return {lane.place: {} for lane in due}
        alike = all(lane.training.validation is part for lane in self.lanes)
        raw = self._joint.outputs(part.inputs) if alike and first.task.kind in TOGETHER else None
        found = {}
        for i, lane in enumerate(self.lanes):
            t = lane.training
            if lane in due:
                mine = (part, t.task.data) if raw is not None else (t.validation, t.task.data)
                args = (*mine, t.loss, t.objective)
                predicted = evaluation.predict(t.model, *args) if raw is None else evaluation.as_predictions(raw[i], *args)  # type: ignore[arg-type]
                found[lane.place] = measures.measure(t.task.measures(self.names), predicted)
        return found

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
        for i, lane in enumerate(self.lanes):
            if i not in on:
                lane.training.lanes = None
        self._joint.keep(on)
        self.lanes = [self.lanes[i] for i in on]
        self._orders = [order for i, order in enumerate(self._orders) if i in on]
        self._since = [(losses[on], rows[on]) for losses, rows in self._since]
        self._deal()

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
        if (recipe := as_recipe(each)) is None:
            raise InputError("recipes holds how each lane learns, such as 'adam(0.01)' (got None)")
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


def _lowered(lane: Lane, measured: dict[str, Any], train_loss: float) -> float:
    """Lower a lane's learning rate where its plateau asks for it; return the factor that it has come to."""
    if lane.plateau is None:
        return 1.0
    lane.plateau.lower(lane.training.optimizer, measured, train_loss)
    return lane.plateau.factor


def _lasts(trainings: Sequence[Training], max_steps: int | Sequence[int] | None) -> list[int]:
    """Return each lane's last step."""
    several = hasattr(max_steps, "__len__") and not isinstance(max_steps, str)
    asked: list[Any] = list(max_steps) if several else [max_steps] * len(trainings)  # type: ignore[arg-type]
    if len(asked) != len(trainings):
        raise InputError(f"max_steps is one number, or one for each lane (got {len(asked)} for {len(trainings)} lanes)")
    for value in asked:
        if value is not None:
            whole("max_steps", value, 1)
    return [min(t.total_steps, int(most or t.total_steps)) for t, most in zip(trainings, asked, strict=True)]


def _check_trainings(trainings: Any) -> None:
    """Raise unless these are trainings."""
    if not isinstance(trainings, Sequence) or not all(isinstance(t, Training) for t in trainings):
        raise InputError(f"Lanes takes a list of trainings, which prepare_lanes makes (got {shown(trainings)})")


def _refused(reason: str) -> InputError:
    return InputError(f"these trainings cannot be lanes: {reason}; train them one by one")
