"""Where a training stands between two steps: what its loop carries from one to the next, beside network and optimizer."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from ..checkpoints import check_keys
from ..optimizer import Optimizer
from ..reach import metric
from ..recipes import Plateau
from .randomness import RandomStream


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

    def state(self) -> dict[str, Any]:
        """Return what a checkpoint keeps of it."""
        return {"best": self.best, "waited": self.waited, "factor": self.factor}

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from what a checkpoint has kept."""
        check_keys("the state of the plateau", state, self.state())
        self.best, self.waited, self.factor = state["best"], state["waited"], state["factor"]


@dataclass
class Position:
    """Where a training stands.

    Attributes:
        random: its random numbers.
        plateau: the state of reduce-on-plateau, where the recipe has one.
        step: updates made.
        evaluated: the step after which the validation part was measured last.
        losses: mean loss and rows of each step since then.
    """

    random: RandomStream
    plateau: PlateauState | None = None
    step: int = 0
    evaluated: int = 0
    losses: list[tuple[float | Tensor, int]] = field(default_factory=list)

    def is_due(self, every: int, last: int) -> bool:
        """Return whether the validation part is to be measured before the next step."""
        return self.evaluated < self.step and (self.step % every == 0 or self.step == last)

    @property
    def is_broken(self) -> bool:
        """Whether the loss of the last step is known to be no number: on a device it would have to be waited for."""
        return bool(self.losses) and isinstance(self.losses[-1][0], float) and not math.isfinite(self.losses[-1][0])

    def mean_loss(self) -> float:
        """Return the mean loss of a row since the last evaluation."""
        losses, rows = self._as_tensors()
        return float((losses * rows).sum() / rows.sum())

    def _as_tensors(self) -> tuple[Tensor, Tensor]:
        kept = [loss for loss, _ in self.losses]
        tensors = [loss for loss in kept if isinstance(loss, Tensor)]  # on a device; what was gone on with is numbers
        numbers = [loss for loss in kept if not isinstance(loss, Tensor)]
        losses = torch.tensor(numbers, dtype=torch.float64)
        if tensors:
            losses = torch.cat([losses, torch.stack(tensors).double().cpu()])
        return losses, torch.tensor([rows for _, rows in self.losses], dtype=torch.int64)

    def state(self) -> dict[str, Any]:
        """Return what a checkpoint keeps of it."""
        losses, rows = self._as_tensors()
        return {
            "step": self.step,
            "evaluated": self.evaluated,
            "losses": losses,
            "rows": rows,
            "random": self.random.states(),
            "plateau": None if self.plateau is None else self.plateau.state(),
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from what a checkpoint has kept."""
        check_keys("the position", state, self.state())
        self.step, self.evaluated = state["step"], state["evaluated"]
        self.losses = list(zip(state["losses"].tolist(), state["rows"].tolist(), strict=True))
        self.random.restore(state["random"])
        if self.plateau is not None:
            self.plateau.restore(state["plateau"])
