"""A function of the caller's own as an objective: `function(outputs, targets) -> mean loss of the batch`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ..errors import InputError, blaming
from ..reach import REGRESSION
from ..values import name_of
from .core import LossFunction, Objective

if TYPE_CHECKING:
    from torch import Tensor

    from ..data import Data
    from ..data.targets import Targets


@dataclass(frozen=True, repr=False)
class OwnObjective(Objective):
    """A function `(outputs, targets) -> mean loss of the batch` as an objective; prints as its name.

    `outputs` is what the network gives, (rows, outputs), or (rows,) where it gives one number and the label is one; `targets`
    holds class numbers, (rows,), or numbers scaled to mean 0 and deviation 1. The attribute `num_outputs` of the function, if
    it has one, says how many numbers a network is to give.
    """

    function: Callable[..., Any]

    def num_outputs(self, targets: Targets) -> int:
        return int(getattr(self.function, "num_outputs", None) or targets.num_outputs)

    def check(self, targets: Targets, num_outputs: int) -> None:
        if targets.kind == REGRESSION or hasattr(self.function, "num_outputs"):
            super().check(targets, num_outputs)

    def loss(self, data: Data, device: Any = "cpu") -> LossFunction:
        return lambda outputs, targets: self.function(meeting(outputs, targets), targets)

    def try_out(self, loss: LossFunction, outputs: Tensor, targets: Tensor) -> None:
        """Call it once, on a few rows, so that one that cannot be trained on is told before anything starts."""
        import torch

        with blaming(f"the objective {self!r}"), torch.enable_grad():
            found: Any = loss(outputs.detach().clone().requires_grad_(), targets)
        if not isinstance(found, torch.Tensor) or found.ndim or not found.is_floating_point():
            got = f"{found.dtype}, shape {tuple(found.shape)}" if isinstance(found, torch.Tensor) else type(found).__name__
            raise InputError(f"the objective {self!r} must return one real number, as a tensor (got {got}); take .mean()")
        if not found.requires_grad:
            raise InputError(f"the objective {self!r} has no gradient; compute it with torch, from the outputs")

    def __repr__(self) -> str:
        return name_of(self.function)


def meeting(outputs: Tensor, targets: Tensor) -> Tensor:
    """Return one output a row as targets of one number a row have it: (rows, 1) beside (rows,) would be a square of errors."""
    return outputs.squeeze(-1) if outputs.ndim == targets.ndim + 1 and outputs.shape[-1] == 1 else outputs
