"""What keeps trainings from being lanes of one computation, as far as that can be seen from outside."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from torch import Tensor, nn

from ..averages import Watch
from ..data.feeds import StreamPart
from ..gradient import plain
from ..models.modes import HOOKS, hears_of, hears_of_all, is_replaced
from ..plans import AS_IT_STANDS
from .setup import Training


def apart(trainings: Sequence[Training]) -> str | None:
    """Return what keeps these trainings from being lanes of one computation, or None where nothing does."""
    if not trainings:
        return "there are none"
    first = trainings[0]
    for t in trainings[1:]:
        for what, one, other in zip(SHARED, _shared(first), _shared(t), strict=True):
            if one != other:
                return f"they differ in {what}"
        weighted = getattr(t.objective, "class_weights", None) is not None
        if t.task.data is not first.task.data and weighted:
            return "their classes are weighted by different data"
    if any(isinstance(t.train, StreamPart) for t in trainings):
        return "what comes from a stream comes once, to one training"
    if max(Counter(id(tensor) for t in trainings for tensor in _tensors(t.model)).values()) > 1:
        return "two of them train the same network, or a part of it"
    if any(t.lanes is not None and t.lanes() is not None for t in trainings):
        return "one of them is a lane already"
    if any(t.optimizer.begun for t in trainings):
        return "one of them has begun"
    if any(replace(t.plan, written_out=True) != AS_IT_STANDS or t.gradient is not plain for t in trainings):
        return "one of them is carried out otherwise than as it stands, by its plan or its way to the gradient"
    if len({len(t.train) for t in trainings}) > 1 and first.device.type not in ("cpu", "cuda"):
        return f"they differ in the rows of the training part, and random numbers of {first.device.type} cannot be set aside"
    if hears_of_all():
        return "torch calls hooks of somebody's in every module"
    return next((reason for t in trainings if (reason := _unfit(t.model))), None)


SHARED = (
    "the device",
    "the batch",
    "the steps of an epoch",
    "the objective",
    "the kind of label",
    "the network",
    "which parameters require gradients",
)


def _shared(t: Training) -> tuple[Any, ...]:
    tensors = [(name, tuple(x.shape), x.dtype) for name, x in (*t.model.named_parameters(), *t.model.named_buffers())]
    objective = (repr(t.objective), t.validation is None)
    learns = [p.requires_grad for p in t.model.parameters()]
    return t.device, t.batch, t.steps_per_epoch, objective, t.task.kind, (repr(t.spec), str(t.model), tensors), learns


def _tensors(model: nn.Module) -> set[Tensor]:
    return {*model.parameters(), *model.buffers()}


def _unfit(model: nn.Module) -> str | None:
    """Return which module of a network cannot be one of many, where that can be seen from outside."""
    for name, module in model.named_modules():
        where = f"{type(module).__name__}{f' ({name})' if name else ''}"
        if isinstance(module, nn.RNNBase):
            return f"{where} reads its steps in a call of its own, which takes one network at a time"
        if hasattr(module, "_orig_mod"):
            return f"{where} is compiled by torch"
        if is_replaced(module):
            return f"{where} has a forward of its own, set from outside"
        hooks = [hook for kind in HOOKS for hook in getattr(module, kind).values()]
        if any(not isinstance(hook, Watch) for hook in hooks):
            return f"{where} has hooks of its own"
    for name, p in model.named_parameters():
        if hears_of(p):
            return f"the parameter {name} has hooks of its own"
    return None
