"""How a gradient is obtained: a plain function from a `StepContext` to a `StepResult`, with `.grad` filled.

`plain` is one such function; `accumulated(parts)` and `sharpness_aware(rho)` make others. Private or pipelined gradients are
further functions of the same shape; the loop never learns which one it calls.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from .backpropagation import Dense, loss_and_gradient
from .errors import positive, switch, whole
from .models.products import AttentionByProducts
from .objectives import LossFunction, Objective
from .plans import BFLOAT16, FLOAT32


@dataclass(slots=True)
class StepContext:
    """What a gradient function is given: the network, the loss and one batch, and how the plan has them worked on."""

    model: nn.Module
    parameters: list[Tensor]
    objective: Objective
    loss: LossFunction
    inputs: Tensor
    targets: Tensor
    precision: str = FLOAT32
    micro_batch: int | None = None
    weigh: Callable[[Tensor], Any] = len  # what the mean loss of some targets is divided by
    dense: Dense | None = None  # the layers whose gradient is written out
    by_products: bool = False  # whether torch's attention is computed as products

    def outputs(self, inputs: Tensor) -> Tensor:
        """Return what the network gives for these rows, in the plan's precision; the loss then is computed in float32."""
        if self.precision != BFLOAT16:
            return self.model(inputs)
        attention = AttentionByProducts() if self.by_products else nullcontext()
        with torch.autocast(inputs.device.type, torch.bfloat16), attention:
            return self.model(inputs).float()


@dataclass(slots=True)
class StepResult:
    """What it gives back: the mean loss of the batch (detached), its weight in rows, and the outputs."""

    loss: Tensor
    weight: int
    outputs: Tensor | None = None


GradientFunction = Callable[[StepContext], StepResult]


def plain(context: StepContext) -> StepResult:
    """One forward and one backward pass over the whole batch, or over as many rows at once as the plan allows."""
    if context.micro_batch is not None and context.micro_batch < len(context.targets):
        return _added(context, context.inputs.split(context.micro_batch), context.targets.split(context.micro_batch))
    if context.dense is not None and context.dense.serves(context.model, context.objective, context.loss):
        return _written_out(context, context.dense)
    for p in context.parameters:
        p.grad = None
    outputs = context.outputs(context.inputs)
    loss = context.loss(outputs, context.targets)
    if context.objective.l1 or context.objective.l2:
        loss = loss + context.objective.penalty(context.model)
    loss.backward()
    return StepResult(loss.detach(), len(context.targets), outputs.detach())


def _written_out(context: StepContext, dense: Dense) -> StepResult:
    """As `plain`, the way back through the dense layers at the end written out instead of recorded."""
    outputs = dense.outputs(context.inputs)
    loss, back = loss_and_gradient(context.objective, context.loss, outputs, context.targets)
    dense.backward(back)
    if context.objective.l1 or context.objective.l2:
        penalty: Any = context.objective.penalty(context.model)
        penalty.backward()
        loss = loss + penalty.detach()
    return StepResult(loss, len(context.targets), outputs)


def accumulated(parts: int) -> GradientFunction:
    """Return a function that takes the batch in `parts` pieces and adds their gradients up, each weighted by what it counts.

    The result equals `plain` up to rounding, also where pieces are unequal and where the loss weighs its rows (classes with
    weights, tokens that are left out); not where the network mixes rows (batch normalisation).

    >>> import steepest
    >>> run = steepest.fit("iris", "adamw(0.01)", gradient=accumulated(4), record=False)
    >>> run.metrics["accuracy"] > 0.8
    True
    """
    whole("parts", parts, 1)
    return Accumulated(parts)


@dataclass(frozen=True, repr=False)
class Accumulated:
    """What `accumulated` returns."""

    parts: int

    def __call__(self, context: StepContext) -> StepResult:
        return _added(context, context.inputs.chunk(self.parts), context.targets.chunk(self.parts))

    def __repr__(self) -> str:
        return f"accumulated({self.parts})"


def _added(context: StepContext, inputs: Sequence[Tensor], targets: Sequence[Tensor]) -> StepResult:
    """Add up the gradients of the pieces of a batch: a mean over all is the means of the pieces, by what each is divided by."""
    for p in context.parameters:
        p.grad = None
    weights = [context.weigh(piece) for piece in targets]
    total, everything = torch.zeros((), device=context.targets.device), sum(weights)
    for rows, wanted, weight in zip(inputs, targets, weights, strict=True):
        if not weight:
            continue  # nothing there counts: the mean of the piece is 0 / 0
        loss = context.loss(context.outputs(rows), wanted) * (weight / everything)
        loss.backward()
        total += loss.detach()
    if context.objective.l1 or context.objective.l2:
        penalty = context.objective.penalty(context.model)
        if isinstance(penalty, Tensor):  # a network without matrices has none
            penalty.backward()
            total += penalty.detach()
    return StepResult(total, len(context.targets))


def sharpness_aware(rho: float = 0.05, *, adaptive: bool = False) -> GradientFunction:
    """Return a function that takes the gradient where the loss is worst nearby: at `p + rho g / |g|` (SAM).

    With `adaptive` (ASAM), the neighbourhood is scaled by the weights: at `p + rho p^2 g / ||p| g|`. Each step costs two
    forward and two backward passes. Running statistics of batch normalisation are those of the first pass. The loss that is
    reported is that of the first pass too.

    Args:
        rho: the radius, > 0; the papers take 0.05, and 0.5 to 2 with `adaptive`.
        adaptive: scale by the weights.

    Source: Foret, Kleiner, Mobahi, Neyshabur, Sharpness-Aware Minimization, 2021, arXiv:2010.01412; Kwon et al., ASAM, 2021,
    arXiv:2102.11600.

    >>> import steepest
    >>> run = steepest.fit("iris", "adamw(0.01)", gradient=sharpness_aware(0.05), record=False)
    >>> run.metrics["accuracy"] > 0.8
    True
    """
    positive("rho", rho)
    switch("adaptive", adaptive)
    return SharpnessAware(rho, adaptive)


@dataclass(frozen=True, repr=False)
class SharpnessAware:
    """What `sharpness_aware` returns."""

    rho: float
    adaptive: bool

    def __call__(self, context: StepContext) -> StepResult:
        first = plain(context)
        moved = [p for p in context.parameters if p.grad is not None]
        if not moved:
            return first
        with torch.no_grad():
            steps = _ascent(moved, self.rho, self.adaptive)
            before = [p.clone() for p in moved]
            torch._foreach_add_(moved, steps)
        try:
            with _frozen_statistics(context.model):
                plain(context)
        finally:
            with torch.no_grad():
                torch._foreach_copy_(moved, before)
        return first

    def __repr__(self) -> str:
        return f"sharpness_aware({self.rho:g}{', adaptive=True' * self.adaptive})"


def _ascent(params: list[Tensor], rho: float, adaptive: bool) -> list[Tensor]:
    """Return the step of length rho along the gradient, for each parameter."""
    grads = [p.grad for p in params if p.grad is not None]
    scaled = [p.abs() * g for p, g in zip(params, grads, strict=True)] if adaptive else grads
    norm = torch.stack([g.norm() for g in scaled]).norm()
    factor = rho / (norm + 1e-12)
    return [(p.abs() * g if adaptive else g) * factor for p, g in zip(params, scaled, strict=True)]


@contextmanager
def _frozen_statistics(model: nn.Module) -> Iterator[None]:
    """Keep batch normalisation from counting a second pass over the same rows."""
    norms = [m for m in model.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm) and m.track_running_stats]
    for m in norms:
        m.track_running_stats = False
    try:
        yield
    finally:
        for m in norms:
            m.track_running_stats = True
