"""Trying a plan out on two rows and a copy of the network, before a training is carried out so."""

from __future__ import annotations

import copy
from dataclasses import replace
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from ..errors import InputError, blaming
from ..plans import FLOAT32, Plan
from .randomness import RandomStream

if TYPE_CHECKING:
    from .setup import Training


def can_follow(training: Training, plan: Plan) -> bool:
    """Return whether a copy of the network gets through a pass and back as a plan says.

    A network that takes `x.view(len(x), -1)` does not where channels lie innermost; one that writes into a tensor of its own,
    or asks NumPy, may not in bfloat16.
    """
    if (plan.precision, plan.channels_last, plan.checkpointing) == (FLOAT32, False, False):
        return True
    try:
        gradient_of_copy(training, plan)
        if plan.checkpointing:
            check_checkpointing(training, plan)
    except Exception:
        return False
    return True


def check_checkpointing(training: Training, plan: Plan) -> None:
    """Raise where a network's blocks work something else out when they are asked again, or cannot be."""
    once = gradient_of_copy(training, replace(plan, checkpointing=False))
    with blaming("checkpointing"):
        again = gradient_of_copy(training, plan)
    if not all(torch.allclose(a.float(), b.float(), rtol=1e-3, atol=1e-5) for a, b in zip(once, again, strict=True)):
        raise InputError("checkpointing gives this network another gradient: asked again, its blocks answer differently")


def gradient_of_copy(training: Training, plan: Plan) -> list[Tensor]:
    """Return the gradients of two rows, and the buffers after them, of a copy of the network that is carried out so."""
    model = copy.deepcopy(training.model).train()
    if plan.channels_last:
        model.to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
    of_copy = replace(training, model=model, plan=plan, network=None, dense=None, scaler=None)
    with RandomStream(training.seed, training.device):
        context = of_copy.context(*of_copy.batch_at(training.first_rows, 0))
        context.loss(context.outputs(context.inputs), context.targets).backward()
    return [p.grad for p in model.parameters() if p.grad is not None] + list(model.buffers())
