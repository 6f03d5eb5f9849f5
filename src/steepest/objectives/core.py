"""What every objective is: a loss of outputs and targets, and how outputs are read as predictions."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar

from ..errors import InputError, at_least
from ..values import printed_call

if TYPE_CHECKING:
    from torch import Tensor, nn

    from ..data import Data
    from ..data.targets import Targets

LossFunction = Callable[["Tensor", "Tensor"], "Tensor"]


@dataclass(frozen=True, repr=False)
class Objective:
    """A loss with its regularisers. Abstract: subclasses give `loss`.

    `l1` adds `l1 * sum |w|` and `l2` adds `l2 * sum w^2` over the weights (parameters of two or more dimensions; biases and
    norms are left alone), both >= 0.
    """

    l1: float = field(default=0.0, kw_only=True)
    l2: float = field(default=0.0, kw_only=True)

    scales_targets: ClassVar[bool] = True  # whether numbers are learned at mean 0 and deviation 1
    takes_mixtures: ClassVar[bool] = False  # whether a label may be shares of classes, (rows, classes), or a number between two
    reads_logits: ClassVar[bool] = False  # whether it makes probabilities of outputs itself
    quantiles: ClassVar[tuple[float, ...]] = ()  # what the outputs stand for, where one is a quantile of the answer

    def __post_init__(self) -> None:
        at_least("l1", self.l1, 0)
        at_least("l2", self.l2, 0)

    def loss(self, data: Data, device: Any = "cpu") -> LossFunction:
        """Return the function from (outputs, targets) to the mean loss of a batch, without regularisers."""
        raise NotImplementedError

    def written_out(self, outputs: Tensor, targets: Tensor) -> tuple[Tensor, Tensor] | None:
        """Return the mean loss and its gradient by the outputs, by their formulas; None: let torch find it."""
        return None

    def weigh(self, data: Data, device: Any = "cpu") -> Callable[[Tensor], Any] | None:
        """Return the function from targets to what their mean loss is divided by: their number, unless rows weigh unequally;
        None: the loss is a sum.
        """
        return len

    def num_outputs(self, targets: Targets) -> int:
        """Return how many numbers a network must give a row."""
        return targets.num_outputs

    def check(self, targets: Targets, num_outputs: int) -> None:
        """Raise unless objective, targets and the outputs of the network fit together."""
        expected = self.num_outputs(targets)
        if num_outputs == expected:
            return
        if targets.kind != "regression":
            raise InputError(f"the network gives {num_outputs} numbers a row; the label has {targets.num_classes} classes")
        if expected != targets.num_outputs:
            raise InputError(f"{self!r} needs {expected} numbers a row; the network gives {num_outputs}")
        raise InputError(
            f"the network gives {num_outputs} numbers a row, the label has {expected}; if the label holds classes, "
            "say so: steepest.arrays(X, y, kind='classification'), --kind classification"
        )

    def values(self, outputs: Tensor) -> Tensor:
        """Return the predicted numbers that outputs stand for, on the scale of the training targets."""
        return outputs

    def penalty(self, model: nn.Module) -> Tensor | float:
        """Return the regularisers of the model's weights now."""
        total: Any = 0.0
        for p in model.parameters() if self.l1 or self.l2 else ():
            if p.ndim >= 2:
                total = total + (self.l1 * p.abs().sum() if self.l1 else 0.0) + (self.l2 * p.square().sum() if self.l2 else 0.0)
        return total

    def __repr__(self) -> str:
        return printed_call(self)


def as_targets(outputs: Tensor, targets: Tensor) -> Tensor:
    """Drop the trailing dimension of one output, so that (rows, 1) meets (rows,)."""
    return outputs.squeeze(-1) if outputs.ndim == targets.ndim + 1 else outputs
