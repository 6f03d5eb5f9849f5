"""How a gradient is obtained: a plain function from a `StepContext` to a `StepResult`, with `.grad` filled.

`plain` is one such function, `accumulated(parts)` makes another. Sharpness-aware, private or pipelined gradients are
further functions of the same shape; the loop never learns which one it calls.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from .errors import whole
from .objectives import LossFunction, Objective


@dataclass(slots=True)
class StepContext:
    """What a gradient function is given: the network, the loss and one batch."""

    model: nn.Module
    parameters: list[Tensor]
    objective: Objective
    loss: LossFunction
    inputs: Tensor
    targets: Tensor


@dataclass(slots=True)
class StepResult:
    """What it gives back: the mean loss of the batch (detached), its weight in rows, and the outputs."""

    loss: Tensor
    weight: int
    outputs: Tensor | None = None


GradientFunction = Callable[[StepContext], StepResult]


def plain(context: StepContext) -> StepResult:
    """One forward and one backward pass over the whole batch."""
    for p in context.parameters:
        p.grad = None
    outputs = context.model(context.inputs)
    loss = context.loss(outputs, context.targets)
    if context.objective.l1 or context.objective.l2:
        loss = loss + context.objective.penalty(context.model)
    loss.backward()
    return StepResult(loss.detach(), len(context.targets), outputs.detach())


def accumulated(parts: int) -> GradientFunction:
    """Return a function that takes the batch in `parts` pieces and adds their gradients up, weighted by rows.

    The result equals `plain` up to rounding, unless the network mixes rows (batch normalisation) or the loss weighs them.
    """
    whole("parts", parts, 1)

    def gradient(context: StepContext) -> StepResult:
        for p in context.parameters:
            p.grad = None
        rows = len(context.targets)
        total = torch.zeros((), device=context.targets.device)
        for inputs, targets in zip(context.inputs.chunk(parts), context.targets.chunk(parts), strict=True):
            loss = context.loss(context.model(inputs), targets) * (len(targets) / rows)
            loss.backward()
            total += loss.detach()
        if context.objective.l1 or context.objective.l2:
            penalty = context.objective.penalty(context.model)
            if isinstance(penalty, Tensor):  # a network without matrices has none
                penalty.backward()
                total += penalty.detach()
        return StepResult(total, rows)

    return gradient
