"""Finding a learning rate: train briefly while it grows, and look at where the loss falls fastest."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from ..data.batches import batch_bounds, epoch_order
from ..defaults import default_recipe
from ..errors import InputError, positive, whole
from ..recipes import Recipe, as_recipe
from ..rules import Rule
from ..tasks import Task, task
from .randomness import RandomStream
from .setup import Training, prepare

SMOOTHING = 0.9
GIVE_UP = 4.0  # stop when the smoothed loss is this many times the lowest
BARS = " ▁▂▃▄▅▆▇█"


@dataclass(frozen=True)
class LearningRateCurve:
    """Loss against learning rate. `suggestion` is where it falls fastest; `str` draws the curve."""

    lrs: tuple[float, ...]
    losses: tuple[float, ...]
    suggestion: float

    def to_dict(self) -> dict[str, Any]:
        return {"lrs": list(self.lrs), "losses": list(self.losses), "suggestion": self.suggestion}

    def __str__(self) -> str:
        top, bottom = max(self.losses), min(self.losses)
        height = 8
        levels = [(loss - bottom) / ((top - bottom) or 1) * height for loss in self.losses]
        lines = [f"loss  {top:.3g}"]
        for row in range(height - 1, -1, -1):
            lines.append("      " + "".join(BARS[min(max(round((level - row) * 8), 0), 8)] for level in levels).rstrip())
        at = min(range(len(self.lrs)), key=lambda i: abs(math.log(self.lrs[i] / self.suggestion)))
        lines.append("      " + " " * at + "^")
        ends = f"{self.lrs[0]:.0e}", f"{self.lrs[-1]:.0e}"
        lines.append("lr    " + ends[0] + " " * max(1, len(self.lrs) - len(ends[0]) - len(ends[1])) + ends[1])
        return "\n".join([*lines, f"loss falls fastest at lr = {self.suggestion:.2g}"])


def find_lr(
    subject: Any,
    recipe: Recipe | Rule | str | None = None,
    *,
    low: float = 1e-5,
    high: float = 10.0,
    num_steps: int = 100,
    seed: int = 0,
    device: Any = None,
) -> LearningRateCurve:
    """Train while the learning rate grows from `low` to `high` by the same factor every step, and return the curve.

    Nothing of this training is kept, and a module of the caller's is not touched. The loss is smoothed with a
    (bias-corrected) running mean; the search stops once it is four times the lowest seen.

    Args:
        subject: a Task, or anything `steepest.task` takes.
        recipe: whose rule and batch to try; its schedule is left out. None: the default for this kind of data.
        low: first learning rate, > 0.
        high: last learning rate, > low.
        num_steps: updates at most, >= 10.
        seed: initial weights and order of batches.
        device: where; None: CUDA when there is one.

    Source: Smith, Cyclical Learning Rates for Training Neural Networks, 2017, arXiv:1506.01186.

    >>> 1e-4 < find_lr("iris", "adam(1e-3)").suggestion < 1
    True
    """
    positive("low", low)
    positive("high", high)
    whole("num_steps", num_steps, 10)
    if not high > low:
        raise InputError(f"find_lr needs high > low (got {high} and {low})")
    job: Task = task(subject)
    recipe = as_recipe(recipe) or default_recipe(job.data.form, job.data.size("train"), job.model)
    training = prepare(job, recipe, seed=seed, device=device)
    lrs = [low * (high / low) ** (i / (num_steps - 1)) for i in range(num_steps)]
    with RandomStream(seed, training.device), training.train.read_ahead(seed, training.batch):
        losses = _sweep(training, lrs)
    return LearningRateCurve(tuple(lrs[: len(losses)]), tuple(losses), _steepest(lrs, losses))


def _sweep(t: Training, lrs: list[float]) -> list[float]:
    """Return the smoothed loss at each learning rate, as far as it was worth going."""
    groups = t.optimizer.param_groups
    first = groups[0]["lr"]
    shares = [group["lr"] / first for group in groups]  # a split keeps the proportions of its branches
    t.optimizer.ignore_schedules()
    mean, losses = 0.0, []
    t.model.train()
    epoch = 0
    while len(losses) < len(lrs):
        order = epoch_order(len(t.train), t.seed, epoch).to(t.device)
        for begin, end in batch_bounds(len(t.train), t.batch):
            step = len(losses)
            for group, share in zip(groups, shares, strict=True):
                group["lr"] = lrs[step] * share
            inputs, targets = t.batch_at(order[begin:end], epoch)
            loss = t.step(t.gradient, inputs, targets).loss.item()
            mean = SMOOTHING * mean + (1 - SMOOTHING) * loss
            smooth = mean / (1 - SMOOTHING ** (step + 1))
            if not math.isfinite(smooth) or (step > 10 and smooth > GIVE_UP * min(losses)):
                return losses
            losses.append(smooth)
            if len(losses) == len(lrs):
                return losses
        epoch += 1
    return losses


def _steepest(lrs: list[float], losses: list[float]) -> float:
    """Return the learning rate at which the loss falls fastest per factor, before its lowest point."""
    if len(losses) < 4:
        raise InputError("the loss is not finite even at the lowest learning rates; check the data, or lower `low`")
    lowest = max(losses.index(min(losses)), 3)
    slopes = [losses[i + 1] - losses[i - 1] for i in range(1, min(lowest, len(losses) - 1))]
    return lrs[1 + slopes.index(min(slopes))]
