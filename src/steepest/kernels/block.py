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
    places of the parameters in their optimizer: what random numbers are drawn by. `pointers` are the addresses of parameters,
    and then those of their gradients, where they have been asked for this step.
    """

    links: tuple[Link, ...]
    params: list[Tensor]
    slots: list[dict[str, list[Tensor]]]
    grads: list[Tensor]
    t: int
    lr: float
    chosen: Any = None  # the compiled program, or torch's operation, that is to run it; None: eagerly
    places: list[int] = field(default_factory=list)
    pointers: np.ndarray | None = None

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


def are_plain(params: Sequence[Tensor]) -> bool:
    """Return whether compiled code can walk these: plain tensors of one dtype on one device, lying in memory without gaps."""
    first = params[0]
    return all(
        type(p) in PLAIN
        and p.dtype == first.dtype
        and p.device == first.device
        and p.layout == torch.strided
        and not p.is_neg()
        and (p.is_contiguous() or (p.ndim == 4 and p.is_contiguous(memory_format=torch.channels_last)))
        for p in params
    )
