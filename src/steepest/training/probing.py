"""Whether lanes are right: one step of all of them, held against the step of each training alone, on copies."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

import torch
from torch import Tensor, nn

from .. import evaluation
from ..clock import Clock
from ..data.batches import epoch_order
from ..errors import first_line
from ..gradient import plain
from .joint import Joint
from .randomness import RandomStream
from .setup import Training

TOLERANCES = {torch.float64: 1e-9, torch.float32: 1e-4}  # of losses and outputs; 1e-2 in half precision
OF_GRADIENTS = {torch.float64: 1e-9}  # of their norm; 1e-2 in less, where one rectifier that rounding switches moves it by 1e-3
OF_CHANGES = {torch.float64: 1e-6}  # of what a step changes; 5e-2 in less, where Muon may multiply in half precision
ROUNDING = {torch.float64: 1e-12, torch.float32: 1e-6}  # of weights and statistics; 1e-2 in half precision


class _Tried(NamedTuple):
    """A lane after its step: its copy, its loss, and what the network said of the rows before and says after it."""

    training: Training
    loss: Tensor
    before: Tensor
    after: Tensor


def difference(trainings: Sequence[Training]) -> str | None:
    """Return how the first step of lanes differs from that of each training alone, or why they cannot make it.

    Both are made on copies: the trainings, and everybody's random numbers, are afterwards as they were.
    """
    device = trainings[0].device
    rows = torch.stack([epoch_order(len(t.train), t.seed, 0)[: t.batch] for t in trainings]).to(device)
    try:
        lanes = _as_lanes(trainings, rows)
        reasons = (_apart_from(lane, t, mine) for t, mine, lane in zip(trainings, rows, lanes, strict=True))
        return next((reason for reason in reasons if reason), None)
    except Exception as error:
        return f"the network cannot be many at once ({first_line(error).split('. ')[0]})"


def _as_lanes(trainings: Sequence[Training], rows: Tensor) -> list[_Tried]:
    """Return copies of the trainings after a step as lanes."""
    copies = [_copied(t) for t in trainings]
    joint = Joint(copies)
    before = joint.evaluated(rows)
    with RandomStream(copies[0].seed, copies[0].device):
        losses = joint.step(rows, 0)
    each = zip(copies, losses, before, rows, strict=True)
    return [_Tried(t, loss, said, _said(t, mine)) for t, loss, said, mine in each]


def _apart_from(lane: _Tried, original: Training, rows: Tensor) -> str | None:
    """Make the step of a training alone, on a copy of it; return how the lane's differs."""
    t, dtype = _copied(original), next(original.model.parameters()).dtype
    tolerance, start = TOLERANCES.get(dtype, 1e-2), [tensor.clone() for tensor in _held(t.model)]
    before = _said(t, rows)
    t.model.train()
    with RandomStream(t.seed, t.device):
        loss = plain(t.context(*t.batch_at(rows, 0))).loss
    if not _close(lane.loss, loss, tolerance):
        return "a step of lanes has another loss than the training alone (a module that draws random numbers?)"
    if not loss.isfinite():
        return None  # it tells nothing of what follows
    if not _close(lane.before, before, tolerance):
        return "evaluated as lanes the network gives other outputs than alone"
    if not _same_gradients(lane.training, t, OF_GRADIENTS.get(dtype, 1e-2)):
        return "a step of lanes has other gradients than the training alone"
    for p, q in zip(t.parameters, lane.training.parameters, strict=True):
        p.grad = q.grad  # so that rounding, which Adam makes large in a gradient of nearly 0, is no difference
    t.update()
    alike = _close(lane.after, _said(t, rows), tolerance, before)
    if not alike or not _same_changes(start, _held(lane.training.model), _held(t.model)):
        return "a step of lanes leaves other weights, buffers or attributes in the network than the training alone"
    return None


def _copied(t: Training) -> Training:
    """Return a training that nothing ties to this one but the rows it reads."""
    model, optimizer = copy.deepcopy((t.model, t.optimizer))
    return replace(t, model=model, optimizer=optimizer, clock=Clock("waiting"), dense=None, lanes=None)


def _said(t: Training, rows: Tensor) -> Tensor:
    """Return what a network by itself says of these rows, in evaluation."""
    inputs, _ = t.batch_at(rows, 0)
    with evaluation.evaluating(t.model):
        return t.model(inputs)


def _held(model: nn.Module) -> list[Tensor]:
    """Return what a network holds: parameters, buffers, and tensors and numbers that are plain attributes."""
    attributes = [value for module in model.modules() for value in vars(module).values()]
    numbers = [torch.as_tensor(value) for value in attributes if isinstance(value, int | float | Tensor)]
    return [tensor.detach() for tensor in (*model.parameters(), *model.buffers(), *numbers)]


def _same_gradients(one: Training, other: Training, tolerance: float) -> bool:
    """Return whether gradients agree, tensor by tensor: by its norm, and by the whole's where it is 0 but for rounding."""
    pairs = [(p.grad, q.grad) for p, q in zip(one.parameters, other.parameters, strict=True)]
    if any((g is None) != (h is None) for g, h in pairs):
        return False
    known = [(g.double(), h.double()) for g, h in pairs if g is not None and h is not None]
    whole = sum(float(h.square().sum()) for _, h in known) ** 0.5
    return all(float((g - h).norm()) <= tolerance * (float(h.norm()) + whole / 100) for g, h in known)


def _same_changes(start: list[Tensor], one: list[Tensor], other: list[Tensor]) -> bool:
    """Return whether a step has brought two networks from where they began to the same numbers."""
    return len(start) == len(one) == len(other) and all(map(_same_change, start, one, other))


def _same_change(start: Tensor, one: Tensor, other: Tensor) -> bool:
    if start.shape != other.shape or not other.is_floating_point():
        return torch.equal(one, other)
    return _close(one, other, ROUNDING.get(other.dtype, 1e-2), start)


def _close(one: Tensor, other: Tensor, tolerance: float, start: Tensor | None = None) -> bool:
    """Return whether tensors agree where the other is finite, measured by its largest number, and by how far it has come."""
    most = tolerance * max(_largest(other), 1)
    if start is not None:
        most += OF_CHANGES.get(other.dtype, 5e-2) * _largest(other - start)
    known = other.isfinite()
    return one.shape == other.shape and bool(((one - other).abs()[known] <= most).all())


def _largest(tensor: Tensor) -> float:
    """Return the largest absolute value among those that are finite, 0 of none."""
    finite = tensor[tensor.isfinite()]
    return float(finite.abs().max()) if len(finite) else 0.0
