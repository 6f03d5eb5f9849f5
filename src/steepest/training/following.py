"""Who follows a training: keeps its curve, and says when it is over."""

from __future__ import annotations

import copy
import math
from dataclasses import dataclass, field
from typing import Any

import torch

from ..checkpoints import check_keys
from ..records import Record
from .loop import EvaluationEvent, Hits
from .setup import Training

FINISHED, TARGET, EARLY, DIVERGED, INTERRUPTED, FAILED = (
    "finished",
    "target reached",
    "stopped early",
    "diverged",
    "interrupted",
    "failed",
)
DONE = (FINISHED, TARGET, EARLY, DIVERGED)  # nothing is left to go on with


def copied(value: Any) -> Any:
    """Return a copy of an item of a network's state."""
    return value.detach().clone() if isinstance(value, torch.Tensor) else copy.deepcopy(value)


@dataclass
class Best:
    """Early stopping: the weights of the lowest validation loss so far, and how long ago that was."""

    patience: int
    loss: float = math.inf
    step: int = 0
    waited: int = 0
    weights: dict[str, Any] | None = None

    def see(self, event: EvaluationEvent) -> bool:
        """Take one evaluation; return whether it is time to stop."""
        now = event.metrics.get("loss", event.train_loss)
        if now < self.loss:
            self.loss, self.step, self.waited = now, event.step, 0
            self.weights = {name: copied(value) for name, value in event.training.model.state_dict().items()}
            return False
        self.waited += 1
        return self.waited >= self.patience

    def state(self) -> dict[str, Any]:
        """Return what a checkpoint keeps of it."""
        return {"loss": self.loss, "step": self.step, "waited": self.waited, "weights": self.weights}

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from what a checkpoint has kept."""
        check_keys("the state of early stopping", state, self.state())
        self.loss, self.step, self.waited, self.weights = (state[name] for name in self.state())


@dataclass
class Follower:
    """Reads the events of one training: keeps the curve, watches target, early stopping and divergence."""

    training: Training
    book: Record | None
    stop_at_target: bool
    status: str = FINISHED
    step: int = 0
    rows: int = 0
    reached_at: int | None = None
    curve: list[dict[str, Any]] = field(default_factory=list)
    resumed: list[int] = field(default_factory=list)  # the steps after which it was gone on with
    stepped_back: list[dict[str, Any]] = field(default_factory=list)  # see `Recovery`

    def __post_init__(self) -> None:
        goal, patience = self.training.task.goal, self.training.recipe.patience
        self.hits = Hits(goal) if goal is not None and self.training.validation is not None else None
        self.best = Best(patience) if patience else None

    def sees(self, event: EvaluationEvent) -> bool:
        """Take an evaluation; return whether the training ends with it."""
        self.step = event.step
        self._keep(event)
        return self._is_over(event)

    def end(self) -> None:
        """Give the network its best weights, where it waited for better ones."""
        if self.best is not None and self.best.weights is not None and self.status in (FINISHED, EARLY):
            self.training.model.load_state_dict(self.best.weights)

    def state(self) -> dict[str, Any]:
        """Return what a checkpoint keeps of it."""
        return {
            "step": self.step,
            "rows": self.rows,
            "reached_at": self.reached_at,
            "curve": self.curve,
            "resumed": self.resumed,
            "stepped_back": self.stepped_back,
            "hits": None if self.hits is None else {"first": self.hits.first, "row": self.hits.row},
            "best": None if self.best is None else self.best.state(),
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from what a checkpoint has kept."""
        check_keys("the state of who follows the training", state, self.state())
        self.step, self.rows, self.reached_at = state["step"], state["rows"], state["reached_at"]
        self.curve, self.resumed = list(state["curve"]), list(state["resumed"])
        self.stepped_back = list(state["stepped_back"])
        if self.hits is not None:
            check_keys("the state of the target", state["hits"], ["first", "row"])
            self.hits.first, self.hits.row = state["hits"]["first"], state["hits"]["row"]
        if self.best is not None:
            self.best.restore(state["best"])

    def _keep(self, event: EvaluationEvent) -> None:
        point = {"step": event.step, "epoch": event.epoch, "train_loss": event.train_loss, **event.metrics}
        if self.training.recipe.plateau is not None:
            point["lr_factor"] = event.lr_factor
        self.curve.append(point)
        if self.book is not None:
            self.book.note("evaluation", **point)

    def _is_over(self, event: EvaluationEvent) -> bool:
        """Settle the status that this evaluation brings, and return whether training ends with it."""
        if not math.isfinite(event.train_loss):
            self.status = DIVERGED
        elif self._reaches(event) and self.stop_at_target:
            self.status = TARGET
        elif self.best is not None and self.best.see(event):
            self.status = EARLY
        return self.status != FINISHED

    def _reaches(self, event: EvaluationEvent) -> bool:
        """Return whether the target is reached at this evaluation for the first time."""
        if self.hits is None or self.reached_at is not None:
            return False
        if not self.hits.see(event.step, event.metrics[self.hits.reach.metric]):
            return False
        self.reached_at = self.hits.first
        return True
