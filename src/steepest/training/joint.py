"""The one computation that trainings of a network's shape share: their steps, and what their networks answer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from .. import evaluation
from ..data.gathering import Rows
from ..data.parts import pieces
from ..errors import blaming
from ..gradient import plain
from ..together import Together
from .losses import losses_of
from .randomness import drawing_from
from .setup import Training
from .stacked import Stacked

ROWS, PART = "rows", "part"  # what lanes share: the very rows of each step, or the part that these are taken from


class Joint:
    """Trainings whose steps are made as one computation; which steps, and for how long, is up to who holds it.

    Args:
        trainings: N of them, alike in what `apart` looks at; their networks are taken to memories that lie together.
    """

    def __init__(self, trainings: Sequence[Training]) -> None:
        self.trainings = list(trainings)
        self._losses = losses_of(self.first.objective, self.first.loss)
        for t in trainings:
            t.model.train()
        self._stacked = Stacked([t.model for t in trainings], [t.seed for t in trainings])
        self._begin()

    @property
    def first(self) -> Training:
        return self.trainings[0]

    def step(self, rows_NB: Tensor, epoch: int) -> Tensor:
        """Make one update of every training from these rows of the training part; return each one's loss, shape (N,)."""
        with blaming("training"):
            inputs, targets = self._batch(rows_NB, epoch)
            losses = self._losses(self._stacked(inputs), targets)
            objective = self.first.objective
            if objective.l1 or objective.l2:
                losses = losses + self._stacked.penalty(objective.l1, objective.l2)
            self._stacked.backward(losses.sum())
            self._together.step()
        return losses.detach()

    def step_in_turn(self, rows: Sequence[Tensor], epoch: int) -> Tensor:
        """Make an update of one training after the other, from rows that differ in number; return each one's loss."""
        losses = []
        for t, generator, mine in zip(self.trainings, self._stacked.generators, rows, strict=True):
            with blaming("training"), drawing_from(generator):
                result = plain(replace(t.context(*t.batch_at(mine, epoch)), dense=None))
                t.update()
            losses.append(result.loss)
        self._stacked.forget_gradients()
        return torch.stack(losses)

    def evaluated(self, rows_NB: Tensor) -> Tensor:
        """Return what each network gives for these rows of the training part, as in evaluation."""
        inputs, _ = self._batch(rows_NB, 0)
        with evaluation.evaluating(self.first.model):
            return self._stacked(inputs)

    def outputs(self, inputs: Rows) -> Tensor:
        """Return what each network gives for inputs that all share, as in evaluation, shape (N, rows, ...)."""
        N = len(self.trainings)
        size = max(evaluation.rows_at_once(self.first.task.data.form) // N, 64)
        with evaluation.evaluating(self.first.model):
            found = [self._stacked(rows.expand(N, *rows.shape)) for rows in pieces(inputs, size)]
            return torch.cat(found, dim=1)

    def keep(self, on: Sequence[int]) -> None:
        """Go on with these trainings only; the others' networks get memories of their own."""
        self._stacked.keep(on)
        self.trainings = [self.trainings[i] for i in on]
        self._begin()

    def _batch(self, rows_NB: Tensor, epoch: int) -> tuple[Tensor, Tensor]:
        """Return inputs and targets of each training, (N, B, ...); of rows that all share, expanded."""
        N = len(rows_NB)
        if self._share == ROWS:
            return tuple(found.expand(N, *found.shape) for found in self.first.train.take(rows_NB[0]))  # type: ignore[return-value]
        if self._share == PART:
            return tuple(found.unflatten(0, rows_NB.shape) for found in self.first.train.take(rows_NB.flatten()))  # type: ignore[return-value]
        found = [t.batch_at(rows, epoch) for t, rows in zip(self.trainings, rows_NB, strict=True)]
        return torch.stack([inputs for inputs, _ in found]), torch.stack([targets for _, targets in found])

    def _begin(self) -> None:
        """Settle what follows from which trainings there are."""
        trainings = self.trainings
        self._together = Together([t.optimizer for t in trainings])
        self._share = ""
        if trainings and all(t.train is self.first.train and not t.recipe.changes for t in trainings):
            self._share = ROWS if len({t.seed for t in trainings}) == 1 else PART
