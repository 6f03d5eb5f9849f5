"""Objectives: what training makes small. A loss per row, averaged over the batch, plus regularisers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from .errors import InputError, at_least, between
from .values import printed_call

if TYPE_CHECKING:
    from torch import Tensor, nn

    from .data import Data

LossFunction = Callable[["Tensor", "Tensor"], "Tensor"]


@dataclass(frozen=True, repr=False)
class Objective:
    """A loss with its regularisers. Abstract: subclasses give `loss`.

    `l1` adds `l1 * sum |w|` and `l2` adds `l2 * sum w^2` over the weights (parameters of two or more dimensions; biases and
    norms are left alone), both >= 0.
    """

    l1: float = 0.0
    l2: float = 0.0

    def __post_init__(self) -> None:
        at_least("l1", self.l1, 0)
        at_least("l2", self.l2, 0)

    def loss(self, data: Data, device: Any = "cpu") -> LossFunction:
        """Return the function from (outputs, targets) to the mean loss of a batch, without regularisers."""
        raise NotImplementedError

    def penalty(self, model: nn.Module) -> Tensor | float:
        """Return the regularisers of the model's weights now."""
        total: Any = 0.0
        for p in model.parameters() if self.l1 or self.l2 else ():
            if p.ndim >= 2:
                total = total + (self.l1 * p.abs().sum() if self.l1 else 0.0) + (self.l2 * p.square().sum() if self.l2 else 0.0)
        return total

    def __repr__(self) -> str:
        return printed_call(self)


@dataclass(frozen=True, repr=False)
class Mse(Objective):
    """The mean squared error `mean (output - target)^2`, over targets scaled to mean 0 and deviation 1.

    >>> mse(l2=1e-4)
    mse(l2=0.0001)
    """

    def loss(self, data: Data, device: Any = "cpu") -> LossFunction:
        from torch.nn import functional as F

        return lambda outputs, targets: F.mse_loss(_as_targets(outputs, targets), targets)


@dataclass(frozen=True, repr=False)
class _OfClasses(Objective):
    """What objectives over classes share. Abstract."""

    label_smoothing: float = 0.0
    class_weights: tuple[float, ...] | str | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        between("label_smoothing", self.label_smoothing, 0, 1, open_end=True)
        _check_weights(self)


@dataclass(frozen=True, repr=False)
class CrossEntropy(_OfClasses):
    """Cross-entropy over classes: `-sum_k q_k log softmax(outputs)_k`.

    Args:
        label_smoothing: `q` gives this share, in [0, 1), evenly to all classes (Szegedy et al., 2016, arXiv:1512.00567).
        class_weights: a weight per class, or `"balanced"`: `rows / (classes * rows of the class)`.

    >>> cross_entropy(label_smoothing=0.1)
    cross_entropy(label_smoothing=0.1)
    """

    def loss(self, data: Data, device: Any = "cpu") -> LossFunction:
        from torch.nn import functional as F

        weight, smoothing = _weights(self.class_weights, data, device), self.label_smoothing

        def mean_loss(outputs: Tensor, targets: Tensor) -> Tensor:
            rows = outputs.reshape(-1, outputs.shape[-1])  # of tokens, where every one has a next one
            return F.cross_entropy(rows, targets.reshape(-1), weight=weight, label_smoothing=smoothing)

        return mean_loss


@dataclass(frozen=True, repr=False)
class BinaryCrossEntropy(_OfClasses):
    """Cross-entropy of two classes with one output `z`: `-q log s(z) - (1 - q) log(1 - s(z))`, `s` the logistic function.

    Args:
        label_smoothing: moves `q` from 0 and 1 by half this share, in [0, 1).
        class_weights: a weight per class (first, second), or `"balanced"`.

    >>> binary_cross_entropy(class_weights="balanced")
    binary_cross_entropy(class_weights='balanced')
    """

    def loss(self, data: Data, device: Any = "cpu") -> LossFunction:
        from torch.nn import functional as F

        weight, smoothing = _weights(self.class_weights, data, device), self.label_smoothing

        def mean_loss(outputs: Tensor, targets: Tensor) -> Tensor:
            wanted = targets.to(outputs.dtype) * (1 - smoothing) + smoothing / 2
            logits = _as_targets(outputs, targets)
            if weight is None:
                return F.binary_cross_entropy_with_logits(logits, wanted)
            each = F.binary_cross_entropy_with_logits(logits, wanted, reduction="none")
            chosen = weight[targets]
            return (each * chosen).sum() / chosen.sum()

        return mean_loss


mse = Mse
cross_entropy = CrossEntropy
binary_cross_entropy = BinaryCrossEntropy


def _check_weights(objective: _OfClasses) -> None:
    weights = objective.class_weights
    if isinstance(weights, str) and weights != "balanced":
        raise InputError(f"class_weights must be 'balanced' or a weight per class (got {weights!r})")
    if weights is None or isinstance(weights, str):
        return
    if not isinstance(weights, Sequence):
        raise InputError(f"class_weights must be 'balanced' or a weight per class, in their order (got {weights!r})")
    for weight in weights:
        at_least("class_weights", weight, 0)
    if not any(weights):
        raise InputError("class_weights are all 0; at least one class must count")
    object.__setattr__(objective, "class_weights", tuple(weights))


def _weights(weights: tuple[float, ...] | str | None, data: Data, device: Any) -> Tensor | None:
    import torch

    if weights is None:
        return None
    values = data.class_weights if isinstance(weights, str) else weights
    if len(values) != data.targets.num_classes:
        raise InputError(f"class_weights has {len(values)} weights for {data.targets.num_classes} classes")
    return torch.as_tensor(values, dtype=torch.float32, device=device)


def _as_targets(outputs: Tensor, targets: Tensor) -> Tensor:
    """Drop the trailing dimension of one output, so that (rows, 1) meets (rows,)."""
    return outputs.squeeze(-1) if outputs.ndim == targets.ndim + 1 else outputs


def default_objective(kind: str, num_outputs: int) -> Objective:
    """Return mean squared error for numbers, binary cross-entropy for one output, cross-entropy for more."""
    if kind == "regression":
        return mse()
    return binary_cross_entropy() if kind == "classification" and num_outputs == 1 else cross_entropy()
