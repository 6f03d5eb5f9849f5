"""How a gradient is obtained: a plain function from a `StepContext` to a `StepResult`, with `.grad` filled.

`plain` is one such function; `accumulated(parts)`, `sharpness_aware(rho)` and `selective(share)` make others. Private or
pipelined gradients are further functions of the same shape; the loop never learns which one it calls.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor, nn

from .backpropagation import Dense, loss_and_gradient
from .errors import InputError, between, first_line, positive, switch, whole
from .models.checkpoints import checkpointed
from .models.graphs import Graphed
from .models.modes import frozen_statistics
from .models.products import AttentionByProducts
from .objectives import LossFunction, Objective
from .plans import BFLOAT16, FLOAT16, FLOAT32


class LossScaler(torch.amp.GradScaler):
    """torch's factor for losses in float16, which knows whether it was asked since the last update."""

    asked = False

    def scale(self, outputs: Any) -> Any:
        self.asked = True
        return super().scale(outputs)

    def update_with(self, optimizer: torch.optim.Optimizer) -> None:
        """Divide the gradients by the factor and make an update, which is left out where one of them is not finite."""
        if not self.asked:
            raise InputError("a gradient function that is used in float16 calls context.backward(loss), not loss.backward()")
        self.step(optimizer)
        self.update()
        self.asked = False


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
    weigh: Callable[[Tensor], Any] | None = len  # what the mean loss of some targets is divided by; None: it is a sum
    dense: Dense | None = None  # the layers whose gradient is written out
    by_products: bool = False  # whether torch's attention is computed as products
    checkpointing: bool = False  # whether what lies inside the network's blocks is worked out again on the way back
    scaler: LossScaler | None = None  # of losses in float16

    def outputs(self, inputs: Tensor) -> Tensor:
        """Return what the network gives for these rows, in the plan's precision; the loss then is computed in float32."""
        if not self.checkpointing:
            return self._outputs(inputs)
        with checkpointed(self.model, self._attention):
            return self._outputs(inputs)

    def _outputs(self, inputs: Tensor) -> Tensor:
        if self.precision not in ROUNDED:
            return self.model(inputs)
        kept = not isinstance(self.model, Graphed)  # what a graph has rounded cannot be kept outside of it
        with torch.autocast(inputs.device.type, ROUNDED[self.precision], cache_enabled=kept), self._attention():
            return self.model(inputs).float()

    def _attention(self) -> AbstractContextManager[Any]:
        """Return what passes through the network are made in."""
        return AttentionByProducts() if self.by_products else nullcontext()

    def backward(self, loss: Tensor) -> None:
        """Add the gradient of a loss to `.grad`: in float16 that of the loss times a factor, which the loop divides by."""
        (loss if self.scaler is None else self.scaler.scale(loss)).backward()


@dataclass(slots=True)
class StepResult:
    """What it gives back: the mean loss of the batch (detached), its weight in rows, and the outputs."""

    loss: Tensor
    weight: int
    outputs: Tensor | None = field(default=None, repr=False)


ROUNDED = {BFLOAT16: torch.bfloat16, FLOAT16: torch.float16}  # precisions that are torch's autocast
GradientFunction = Callable[[StepContext], StepResult]


def check_result(result: Any) -> None:
    """Raise unless a gradient function gave back what the loop needs."""
    if not isinstance(result, StepResult):
        raise InputError(f"a gradient function returns a StepResult(loss, weight) (got {type(result).__name__})")
    if not isinstance(result.loss, Tensor) or result.loss.ndim or not result.weight > 0 or result.weight % 1:
        what = f"shape {tuple(result.loss.shape)}" if isinstance(result.loss, Tensor) else type(result.loss).__name__
        raise InputError(
            f"a StepResult holds the mean loss, one number as a tensor, and whole rows > 0 (got {what}, {result.weight})"
        )


def plain(context: StepContext) -> StepResult:
    """One forward and one backward pass over the whole batch, or over as many rows at once as the plan allows."""
    if context.micro_batch is not None and context.micro_batch < len(context.targets):
        return _added(context, math.ceil(len(context.targets) / context.micro_batch))
    if context.dense is not None and context.dense.serves(context.model, context.objective, context.loss):
        return _written_out(context, context.dense)
    for p in context.parameters:
        p.grad = None
    outputs = context.outputs(context.inputs)
    loss = context.loss(outputs, context.targets)
    if context.objective.l1 or context.objective.l2:
        loss = loss + context.objective.penalty(context.model)
    context.backward(loss)
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

    A batch of fewer than `2 * parts` rows is taken in fewer pieces, so that each has two rows or more. The result equals
    `plain` up to rounding, also where pieces are unequal, where the loss weighs its rows (classes with weights, tokens that are
    left out), and where it is a sum; not where the network mixes rows (batch normalisation).

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
        most = max(len(context.targets) // 2, 1)  # a single row cannot be normalised over
        return _added(context, min(self.parts, most))

    def __repr__(self) -> str:
        return f"accumulated({self.parts})"


def _added(context: StepContext, pieces: int) -> StepResult:
    """Add up the gradients of so many pieces of a batch, of equal size: none has a single row, if that can be."""
    for p in context.parameters:
        p.grad = None
    inputs, targets = context.inputs.tensor_split(pieces), context.targets.tensor_split(pieces)
    total = torch.zeros((), device=context.targets.device)
    for rows, wanted, share in zip(inputs, targets, _shares(context.weigh, targets), strict=True):
        if not share:
            continue  # nothing there counts: the mean of the piece is 0 / 0
        loss = context.loss(context.outputs(rows), wanted) * share
        context.backward(loss)
        total += loss.detach()
    if context.objective.l1 or context.objective.l2:
        penalty = context.objective.penalty(context.model)
        if isinstance(penalty, Tensor):  # a network without matrices has none
            context.backward(penalty)
            total += penalty.detach()
    return StepResult(total, len(context.targets))


def _shares(weigh: Callable[[Tensor], Any] | None, pieces: Sequence[Tensor]) -> list[Any]:
    """Return what the loss of each piece counts: its share of what a mean over all is divided by, and all of it in a sum."""
    if weigh is None:
        return [1.0] * len(pieces)
    weights = [weigh(piece) for piece in pieces]
    everything = sum(weights)
    return [weight / everything if weight else 0.0 for weight in weights]


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
            with frozen_statistics(context.model):
                plain(context)
        finally:
            with torch.no_grad():
                torch._foreach_copy_(moved, before)
        return first

    def __repr__(self) -> str:
        return f"sharpness_aware({self.rho:g}{', adaptive=True' * self.adaptive})"


def selective(share: float = 0.5) -> GradientFunction:
    """Return a function that learns only from the rows of a batch that are hardest now: the `share` with the largest losses.

    All rows pass forward without being recorded; the gradient is the mean over the hardest `ceil(share * rows)`, at least two.
    Where the way back takes twice as long as the way forward, a step costs `(1 + 3 share) / 3` of a whole one: 0.83 at a half,
    0.58 at a quarter. It is the limit of Selective-Backprop, which keeps a row with probability `P(loss <= its own) ** beta`, a
    share of `1 / (beta + 1)` on average; the paper claims the same error up to 3.5 times sooner on SVHN and 1.5 times on
    CIFAR-10. The gradient is not that of the mean loss: rows with wrong labels are the hardest of all. The loss that is
    reported is that of all rows, as `plain` reports it.

    Args:
        share: of the rows, in (0, 1].

    Source: Jiang et al., Accelerating Deep Learning by Focusing on the Biggest Losers, 2019, arXiv:1910.00762.

    >>> import steepest
    >>> run = steepest.fit("iris", "adamw(0.01)", gradient=selective(0.5), record=False)
    >>> run.metrics["accuracy"] > 0.8
    True
    """
    between("share", share, 0, 1, open_start=True)
    return Selective(share)


@dataclass(frozen=True, repr=False)
class Selective:
    """What `selective` returns."""

    share: float

    def __call__(self, context: StepContext) -> StepResult:
        with torch.no_grad(), frozen_statistics(context.model):
            outputs = context.outputs(context.inputs)
            losses_B, loss = _row_losses(context, outputs), context.loss(outputs, context.targets)
            if context.objective.l1 or context.objective.l2:
                loss = loss + context.objective.penalty(context.model)
        count = max(math.ceil(self.share * len(losses_B) - 1e-9), min(2, len(losses_B)))  # one row cannot be normalised over
        hard = losses_B.topk(count).indices.sort().values
        chosen = replace(context, inputs=context.inputs[hard], targets=context.targets[hard], dense=None)
        plain(chosen)
        return StepResult(loss, len(losses_B))

    def __repr__(self) -> str:
        return f"selective({self.share:g})"


def _row_losses(context: StepContext, outputs: Tensor) -> Tensor:
    """Return the loss of each row by itself, shape (B,)."""
    try:
        losses = torch.vmap(lambda out, target: context.loss(out[None], target[None]))(outputs, context.targets)
        if context.weigh not in (None, len):  # a row by itself has divided its weight away
            losses = losses * torch.vmap(lambda target: context.weigh(target[None]))(context.targets)  # type: ignore[misc]
    except (RuntimeError, ValueError) as error:
        raise InputError(f"selective needs the loss of each row, and this objective gives none: {first_line(error)}") from None
    if losses.ndim != 1:
        raise InputError(f"selective needs one loss a row (got the shape {tuple(losses.shape)})")
    return losses


def _ascent(params: list[Tensor], rho: float, adaptive: bool) -> list[Tensor]:
    """Return the step of length rho along the gradient, for each parameter."""
    grads = [p.grad for p in params if p.grad is not None]
    scaled = [p.abs() * g for p, g in zip(params, grads, strict=True)] if adaptive else grads
    norm = torch.stack([g.norm() for g in scaled]).norm()
    factor = rho / (norm + 1e-12)
    return [(p.abs() * g if adaptive else g) * factor for p, g in zip(params, scaled, strict=True)]
