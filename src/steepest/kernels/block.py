"""A block: the tensors that one sequence of transforms serves in one step, in columns."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..errors import InputError
from ..rules import Link

PLAIN = (Tensor, torch.nn.Parameter)  # nothing else is behind these


@dataclass(eq=False)
class Block:
    """Parameters that share their links, their step count `t` (from 1) and their learning rate.

    `slots[i]` holds the state of link `i`: slot name -> one tensor per parameter, in the order of `params`. `places` are the
    places of the parameters in their optimizer: what random numbers are drawn by. `addresses` are those of the parameters, and
    then of their gradients, where they have been asked for this step.
    """

    links: tuple[Link, ...]
    params: list[Tensor]
    slots: list[dict[str, list[Tensor]]]
    grads: list[Tensor]
    t: int
    lr: float
    chosen: Any = None  # the compiled program, or torch's operation, that is to run it; None: eagerly
    places: list[int] = field(default_factory=list)
    addresses: np.ndarray | None = None

    def scalars(self) -> list[SimpleNamespace]:
        """Return the run-time scalars of each link for this step."""
        return [SimpleNamespace(**link.transform.scalars(self.t, self.lr)) for link in self.links]


def check_all_gradients_are_there() -> None:
    """Refuse a sum over all tensors inside the backward pass, where an optimizer for each parameter sees one of them alone."""
    if torch._C._current_graph_task_id() != -1:
        raise InputError(
            "a norm or sum over all gradients cannot be taken inside the backward pass (optimizer in backward): "
            "step after backward() has ended, or leave clip_global_norm and its like out of the rule"
        )


def has_memory(t: Tensor) -> bool:
    """Return whether an address says where a tensor's numbers are: one of torch's own, dense, with a memory, read as it is."""
    if type(t) not in PLAIN or t.layout != torch.strided or t.device.type == "meta" or t.is_neg() or t._is_zerotensor():
        return False
    return t.data_ptr() != 0 or t.numel() == 0


def are_plain(params: Sequence[Tensor]) -> bool:
    """Return whether compiled code can walk these: tensors with a memory, of one dtype on one device, without gaps."""
    first = params[0]
    return all(
        has_memory(p)
        and p.dtype == first.dtype
        and p.device == first.device
        and (p.is_contiguous() or (p.ndim == 4 and p.is_contiguous(memory_format=torch.channels_last)))
        for p in params
    )
