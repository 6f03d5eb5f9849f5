"""Who follows a training: keeps its curve, and says when it is over."""

from __future__ import annotations

import logging
import math
from dataclasses import dataclass, field
from typing import Any

import torch

from ..progress import Progress
from ..records import Record
from .loop import EvaluationEvent, Events, Hits
from .setup import Training

log = logging.getLogger("steepest")

FINISHED, TARGET, EARLY, DIVERGED, INTERRUPTED, FAILED = (
    "finished",
    "target reached",
    "stopped early",
    "diverged",
    "interrupted",
    "failed",
)


@dataclass
class Best:
    """Early stopping: the weights of the lowest validation loss so far, and how long ago that was."""

    patience: int
    loss: float = math.inf
    step: int = 0
    waited: int = 0
    weights: dict[str, torch.Tensor] | None = None

    def see(self, event: EvaluationEvent) -> bool:
        """Take one evaluation; return whether it is time to stop."""
        now = event.metrics.get("loss", event.train_loss)
        if now < self.loss:
            self.loss, self.step, self.waited = now, event.step, 0
            self.weights = {name: value.detach().clone() for name, value in event.training.model.state_dict().items()}
            return False
        self.waited += 1
        return self.waited >= self.patience


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

    def __post_init__(self) -> None:
        goal, patience = self.training.task.goal, self.training.recipe.patience
        self.hits = Hits(goal) if goal is not None and self.training.validation is not None else None
        self.best = Best(patience) if patience else None

    def follow(self, loop: Events, bar: Progress) -> None:
        """Pull events until the end, the target, early stopping, divergence or Ctrl-C."""
        try:
            for event in loop:
                if isinstance(event, EvaluationEvent):
                    bar.update(event.step, _glance(event))
                    if self.sees(event):
                        break
                else:
                    self.step = event.step
                    self.rows += event.result.weight
                    bar.update(event.step)
        except KeyboardInterrupt:
            self.status = INTERRUPTED
        finally:
            loop.close()
        self.end()

    def sees(self, event: EvaluationEvent) -> bool:
        """Take an evaluation; return whether the training ends with it."""
        self.step = event.step
        self._keep(event)
        return self._is_over(event)

    def end(self) -> None:
        """Give the network its best weights, where it waited for better ones."""
        if self.best is not None and self.best.weights is not None and self.status in (FINISHED, EARLY):
            self.training.model.load_state_dict(self.best.weights)

    def give_up(self, error: Exception) -> None:
        """Close the record of a training that failed: nothing is left of one that never began."""
        if self.book is not None and self.curve:
            self.book.append("end", status=FAILED, error=str(error), steps=self.step)
        elif self.book is not None:
            self.book.delete()

    def _keep(self, event: EvaluationEvent) -> None:
        point = {"step": event.step, "epoch": event.epoch, "train_loss": event.train_loss, **event.metrics}
        if self.training.recipe.plateau is not None:
            point["lr_factor"] = event.lr_factor
        self.curve.append(point)
        if self.book is not None:
            self.book.append("evaluation", **point)

    def _is_over(self, event: EvaluationEvent) -> bool:
        """Settle the status that this evaluation brings, and return whether training ends with it."""
        if not math.isfinite(event.train_loss):
            self.status = DIVERGED
            log.warning("diverged at step %d: the loss is not finite; try a lower learning rate", event.step)
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


def _glance(event: EvaluationEvent) -> str:
    shown = [f"loss {event.train_loss:.4g}"]
    shown += [f"{name} {value:.4g}" for name, value in list(event.metrics.items())[:1]]
    return "  ".join(shown)
