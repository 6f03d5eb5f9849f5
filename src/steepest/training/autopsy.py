"""Where a training broke: made again from its last good state, with an eye on every gradient."""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor, nn

from ..data.batches import batch_bounds, epoch_order
from ..gradient import GradientFunction, StepContext, StepResult
from .setup import Training

SHOWN_ROWS, SHOWN_NORMS = 5, 5


@dataclass
class Watch:
    """A gradient function that looks at what another one gives, until something is no finite number.

    Attributes:
        found: what that was, in words; None: nothing so far.
        norms: of the whole gradient, at the last few steps.
    """

    gradient: GradientFunction
    model: nn.Module
    found: str | None = None
    norms: deque[float] = field(default_factory=lambda: deque(maxlen=SHOWN_NORMS))

    def __call__(self, context: StepContext) -> StepResult:
        result = self.gradient(context)
        if self.found is None:
            named = [(name, float(p.grad.norm())) for name, p in self.model.named_parameters() if p.grad is not None]
            self.norms.append(math.sqrt(sum(norm * norm for _, norm in named)))
            if not math.isfinite(float(result.loss)):
                self.found = where_it_breaks(self.model, context)
            elif broken := [name for name, norm in named if not math.isfinite(norm)]:
                self.found = f"the gradient of {broken[-1]} is the first on the way back that is no finite number"
        return result


def where_it_breaks(model: nn.Module, context: StepContext) -> str:
    """Return what is the first on the way through the network that is no finite number: a batch, a weight, an output."""
    if not _is_finite(context.inputs):
        return "the batch holds inputs that are no finite numbers"
    if context.targets.is_floating_point() and not _is_finite(context.targets):
        return "the batch holds targets that are no finite numbers"
    if broken := next((name for name, p in model.named_parameters() if not _is_finite(p)), None):
        return f"the weights {broken} are no finite numbers"
    seen: list[str] = []

    def look(name: str, module: nn.Module, output: Any) -> None:
        if isinstance(output, Tensor) and not _is_finite(output):
            seen.append(f"the output of {name or 'the network'} ({type(module).__name__})")

    def hook_of(name: str) -> Any:
        return lambda module, _, output: look(name, module, output)

    hooks = [module.register_forward_hook(hook_of(name)) for name, module in model.named_modules()]
    try:
        with torch.no_grad():
            context.outputs(context.inputs)
    finally:
        for hook in hooks:
            hook.remove()
    return f"{seen[0]} is the first that is no finite number" if seen else "the loss of finite outputs is no finite number"


def _is_finite(tensor: Tensor) -> bool:
    return not tensor.is_floating_point() or bool(tensor.isfinite().all())


def without_shortcuts(t: Training) -> None:
    """Have a training carried out so that every module is called, and hooks see what goes through."""
    t.follow(replace(t.plan, compile=False, graphs=False, written_out=False))


def told(t: Training, watch: Watch) -> dict[str, Any]:
    """Return what was found at the training's last step."""
    step = t.position.step
    epoch, place = divmod(max(step - 1, 0), t.steps_per_epoch)
    begin, end = batch_bounds(len(t.train), t.batch)[place]
    rows = epoch_order(len(t.train), t.seed, epoch)[begin:end].tolist()
    return {
        "step": step,
        "epoch": epoch,
        "rows": rows,
        "found": watch.found or "made again, it went on",
        "gradient_norms": list(watch.norms),
        "lr": [float(group["lr"]) for group in t.optimizer.param_groups],
    }


def in_words(diagnosis: dict[str, Any]) -> str:
    """Return a diagnosis in one line."""
    rows = diagnosis["rows"]
    some = ", ".join(map(str, rows[:SHOWN_ROWS])) + (", ..." if len(rows) > SHOWN_ROWS else "")
    norms = ", ".join(f"{norm:.3g}" for norm in diagnosis["gradient_norms"])
    return (
        f"diverged at step {diagnosis['step']} (epoch {diagnosis['epoch']}, {len(rows)} rows of the training part: {some}): "
        f"{diagnosis['found']}; gradient norms of the last steps {norms}; lower the learning rate (now "
        f"{max(diagnosis['lr']):.3g}), or clip the gradient"
    )
