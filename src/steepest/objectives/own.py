"""A function of the caller's own as an objective, `function(outputs, targets) -> mean loss of the batch`; and torch's losses
over classes, which say by their kind what they take.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar

from ..errors import InputError, blaming, listed
from ..reach import CLASSIFICATION, REGRESSION, TRANSCRIPTION
from ..values import name_of
from .core import LossFunction, Objective

if TYPE_CHECKING:
    from torch import Tensor

    from ..data import Data
    from ..data.targets import Targets


@dataclass(frozen=True, repr=False)
class OwnObjective(Objective):
    """What objectives made of a function share; they print as its name. Abstract: subclasses give `loss`."""

    function: Callable[..., Any]

    def __post_init__(self) -> None:
        super().__post_init__()
        inner = self.function.func if isinstance(self.function, partial) else self.function
        free = [name for name, p in getattr(inner, "named_parameters", dict)() if p.requires_grad]
        if free:
            raise InputError(
                f"the objective {self!r} has parameters that would not be trained ({listed(free, 3)}); put them into the "
                "network"
            )

    def setting(self, name: str, default: Any = None) -> Any:
        """Return what the function, a module or a `partial`, was given by this name."""
        if isinstance(self.function, partial):
            return self.function.keywords.get(name, getattr(self.function.func, name, default))
        return getattr(self.function, name, default)

    def weigh(self, data: Data, device: Any = "cpu") -> Callable[[Tensor], Any] | None:
        return None if self.setting("reduction") == "sum" else len

    def placed(self, device: Any) -> Callable[..., Any]:
        """Return the function, with a module's numbers (the weights of classes, say) where the outputs are."""
        held = getattr(self.function, "state_dict", dict)()
        return copy.deepcopy(self.function).to(device) if held else self.function  # type: ignore[attr-defined]

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


@dataclass(frozen=True, repr=False)
class OwnFunction(OwnObjective):
    """A function `(outputs, targets) -> mean loss of the batch` as an objective.

    `outputs` is what the network gives, (rows, outputs), or (rows,) where it gives one number and the label is one; `targets`
    holds class numbers, (rows,), or numbers scaled to mean 0 and deviation 1. The attribute `num_outputs` of the function, if
    it has one, says how many numbers a network is to give.
    """

    def num_outputs(self, targets: Targets) -> int:
        return int(getattr(self.function, "num_outputs", None) or targets.num_outputs)

    def check(self, targets: Targets, num_outputs: int) -> None:
        if targets.kind == REGRESSION or hasattr(self.function, "num_outputs"):
            super().check(targets, num_outputs)

    def loss(self, data: Data, device: Any = "cpu") -> LossFunction:
        function = self.placed(device)
        return lambda outputs, targets: function(meeting(outputs, targets), targets)


@dataclass(frozen=True, repr=False)
class ClassLogits(OwnObjective):
    """torch's cross-entropy: a logit a class, also where there are two, and class numbers; `NLLLoss` of its log-softmax."""

    reads_logits: ClassVar[bool] = True

    def num_outputs(self, targets: Targets) -> int:
        return targets.num_classes or targets.num_outputs

    def check(self, targets: Targets, num_outputs: int) -> None:
        _check_classes(self, targets)
        if num_outputs == 1:
            raise InputError(
                f"{self!r} needs a number a class, and the network gives 1 a row; let it give {targets.num_classes}"
                + (", or use nn.BCEWithLogitsLoss()" if targets.num_classes == 2 else "")
            )
        super().check(targets, num_outputs)

    def loss(self, data: Data, device: Any = "cpu") -> LossFunction:
        function = self.placed(device)
        return lambda outputs, targets: function(outputs.reshape(-1, outputs.shape[-1]), targets.reshape(-1))

    def weigh(self, data: Data, device: Any = "cpu") -> Callable[[Tensor], Any] | None:
        """Return what torch's mean is divided by: the weights of the classes of all targets that are not ignored."""
        weight, ignored = self.setting("weight"), self.setting("ignore_index", -100)
        weight = None if weight is None else weight.to(device)

        def counted(targets: Tensor) -> Tensor:
            kept = targets[targets != ignored]
            return kept.new_tensor(len(kept)) if weight is None else weight[kept].sum()

        return super().weigh(data, device) and counted

    def try_out(self, loss: LossFunction, outputs: Tensor, targets: Tensor) -> None:
        if _name_in_torch(self.function) in _OF_LOG_SOFTMAX and bool((outputs.logsumexp(dim=-1).abs() > 1e-3).any()):
            raise InputError(
                f"{self!r} takes log-probabilities, and the network gives none; use nn.CrossEntropyLoss(), or end the network "
                "with nn.LogSoftmax(dim=-1)"
            )
        super().try_out(loss, outputs, targets)


@dataclass(frozen=True, repr=False)
class OneLogit(OwnObjective):
    """torch's binary cross-entropy: one logit for two classes, whose numbers it takes as real ones."""

    reads_logits: ClassVar[bool] = True

    def num_outputs(self, targets: Targets) -> int:
        return 1

    def check(self, targets: Targets, num_outputs: int) -> None:
        _check_classes(self, targets)
        if targets.kind != CLASSIFICATION or targets.num_classes != 2 or num_outputs != 1:
            raise InputError(
                f"{self!r} needs two classes and one output (got {targets.num_classes} classes and {num_outputs} outputs); "
                "use nn.CrossEntropyLoss()"
            )

    def loss(self, data: Data, device: Any = "cpu") -> LossFunction:
        function = self.placed(device)
        return lambda outputs, targets: function(meeting(outputs, targets), targets.to(outputs.dtype))


def _check_classes(objective: Objective, targets: Targets) -> None:
    if targets.kind == REGRESSION:
        raise InputError(f"{objective!r} is for classes, but the label is a number; use nn.MSELoss()")
    if targets.kind == TRANSCRIPTION:
        raise InputError(f"{objective!r} is for one class a row, but the label is a transcript; use ctc()")


def meeting(outputs: Tensor, targets: Tensor) -> Tensor:
    """Return one output a row as targets of one number a row have it: (rows, 1) beside (rows,) would be a square of errors."""
    return outputs.squeeze(-1) if outputs.ndim == targets.ndim + 1 and outputs.shape[-1] == 1 else outputs


# torch's losses over classes, modules and functions
_OF_LOG_SOFTMAX = ("NLLLoss", "nll_loss")  # which is its own log-softmax: predictions are right
_KINDS: dict[str, type[OwnObjective]] = {
    **dict.fromkeys(("CrossEntropyLoss", "cross_entropy", *_OF_LOG_SOFTMAX), ClassLogits),
    **dict.fromkeys(("BCEWithLogitsLoss", "binary_cross_entropy_with_logits"), OneLogit),
}
_OF_PROBABILITIES = ("BCELoss", "binary_cross_entropy")  # which a network's outputs are not read as


def own_objective(function: Callable[..., Any]) -> OwnObjective:
    """Return a function of the caller's, or a loss of torch's, as an objective."""
    name = _name_in_torch(function)
    if name in _OF_PROBABILITIES:
        raise InputError(
            f"{name} takes probabilities, and outputs are read as logits; use nn.BCEWithLogitsLoss(), and a network without "
            "Sigmoid at its end"
        )
    return _KINDS.get(name, OwnFunction)(function)


def _name_in_torch(function: Any) -> str:
    """Return the name of a loss of torch's, also where a `partial` calls it or a class is made of it; else ""."""
    inner = getattr(function, "func", function)
    for one in (inner, *type(inner).__mro__):
        if getattr(one, "__module__", "") in ("torch.nn.modules.loss", "torch.nn.functional") and hasattr(one, "__name__"):
            return one.__name__
    return ""
