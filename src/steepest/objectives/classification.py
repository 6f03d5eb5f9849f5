"""Objectives over classes: cross-entropy and its kin. Outputs are logits, one a class, or a single one for two classes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar

from ..errors import InputError, at_least, between
from .core import LossFunction, Objective, as_targets

if TYPE_CHECKING:
    from torch import Tensor

    from ..data import Data
    from ..data.targets import Targets

NOTHING = -100  # the class that torch's losses leave out: none of ours


@dataclass(frozen=True, repr=False)
class _OfClasses(Objective):
    """What objectives over classes share. Abstract."""

    class_weights: tuple[float, ...] | str | None = field(default=None, kw_only=True)
    reads_logits: ClassVar[bool] = True

    def __post_init__(self) -> None:
        super().__post_init__()
        _check_weights(self)

    def check(self, targets: Targets, num_outputs: int) -> None:
        if targets.kind == "regression":
            raise InputError(f"{self!r} is for classes, but the label is a number; use mse()")
        if targets.kind == "transcription":
            raise InputError(f"{self!r} is for one class a row, but the label is a transcript; use ctc()")
        super().check(targets, num_outputs)

    def weigh(self, data: Data, device: Any = "cpu") -> Callable[[Tensor], Any]:
        weight = _weights(self.class_weights, data, device)
        if weight is None:
            return len
        return lambda targets: (targets @ weight if targets.is_floating_point() else weight[targets]).sum()


@dataclass(frozen=True, repr=False)
class _Smoothed(_OfClasses):
    """What cross-entropies share. Abstract."""

    label_smoothing: float = 0.0
    takes_mixtures: ClassVar[bool] = True

    def __post_init__(self) -> None:
        super().__post_init__()
        between("label_smoothing", self.label_smoothing, 0, 1, open_end=True)


@dataclass(frozen=True, repr=False)
class CrossEntropy(_Smoothed):
    """Cross-entropy over classes: `-sum_k q_k log softmax(outputs)_k`.

    Args:
        label_smoothing: `q` gives this share, in [0, 1), evenly to all classes (Szegedy et al., 2016, arXiv:1512.00567).
        class_weights: a weight per class, or `"balanced"`: `rows / (classes * rows of the class)`.

    >>> cross_entropy(label_smoothing=0.1)
    cross_entropy(label_smoothing=0.1)
    """

    def num_outputs(self, targets: Targets) -> int:
        return targets.num_classes or targets.num_outputs

    def loss(self, data: Data, device: Any = "cpu") -> LossFunction:
        from torch.nn import functional as F

        weight, smoothing = _weights(self.class_weights, data, device), self.label_smoothing

        def mean_loss(outputs: Tensor, targets: Tensor) -> Tensor:
            rows = outputs.reshape(-1, outputs.shape[-1])  # of tokens, where every one has a next one
            if targets.is_floating_point() and weight is not None:  # torch would divide by rows here, by weights below
                total = F.cross_entropy(rows, targets, weight=weight, label_smoothing=smoothing, reduction="sum")
                return total / (targets @ weight).sum()
            if targets.is_floating_point():
                return F.cross_entropy(rows, targets, label_smoothing=smoothing)
            return F.cross_entropy(rows, targets.reshape(-1), weight=weight, label_smoothing=smoothing)

        return mean_loss

    @property
    def counts_alike(self) -> bool:
        """Whether it is the mean of `-log softmax(outputs)` at each row's class, and nothing else."""
        return self.class_weights is None and not self.label_smoothing

    def written_out(self, outputs: Tensor, targets: Tensor) -> tuple[Tensor, Tensor] | None:
        """`(softmax(outputs) - one_hot(targets)) / rows`, where classes count alike and are numbers."""
        import torch

        aten = torch.ops.aten
        if not self.counts_alike or outputs.ndim != targets.ndim + 1 or outputs.ndim != 2:
            return None
        log_p = torch.log_softmax(outputs, dim=1)
        loss, counted = aten.nll_loss_forward(log_p, targets, None, 1, NOTHING)
        back = aten.nll_loss_backward(torch.ones_like(loss), log_p, targets, None, 1, NOTHING, counted)  # -1 / rows, one a row
        return loss, back.add_(log_p.exp_(), alpha=1 / len(targets))


@dataclass(frozen=True, repr=False)
class BinaryCrossEntropy(_Smoothed):
    """Cross-entropy of two classes with one output `z`: `-q log s(z) - (1 - q) log(1 - s(z))`, `s` the logistic function.

    Args:
        label_smoothing: moves `q` from 0 and 1 by half this share, in [0, 1).
        class_weights: a weight per class (first, second), or `"balanced"`.

    >>> binary_cross_entropy(class_weights="balanced")
    binary_cross_entropy(class_weights='balanced')
    """

    def check(self, targets: Targets, num_outputs: int) -> None:
        if targets.kind not in ("regression", "transcription") and (targets.num_classes != 2 or num_outputs != 1):
            raise InputError(
                f"binary_cross_entropy needs two classes and one output "
                f"(got {targets.num_classes} classes and {num_outputs} outputs)"
            )
        super().check(targets, num_outputs)

    def loss(self, data: Data, device: Any = "cpu") -> LossFunction:
        from torch.nn import functional as F

        weight, smoothing = _weights(self.class_weights, data, device), self.label_smoothing

        def mean_loss(outputs: Tensor, targets: Tensor) -> Tensor:
            second = targets[:, 1] if targets.is_floating_point() else targets  # of two classes
            wanted = second.to(outputs.dtype) * (1 - smoothing) + smoothing / 2
            logits = as_targets(outputs, second)
            if weight is None:
                return F.binary_cross_entropy_with_logits(logits, wanted)
            if targets.is_floating_point():
                return _weighted(logits, targets * weight, smoothing)
            each = F.binary_cross_entropy_with_logits(logits, wanted, reduction="none")
            chosen = weight[targets]
            return (each * chosen).sum() / chosen.sum()

        return mean_loss


def _weighted(logits_B: Tensor, counted_B2: Tensor, smoothing: float) -> Tensor:
    """Return the mean over rows and classes, each counted so much, of what the row would lose if it were of that class."""
    from torch.nn import functional as F

    wanted = logits_B.new_tensor([smoothing / 2, 1 - smoothing / 2]).expand(len(logits_B), 2)
    each = F.binary_cross_entropy_with_logits(logits_B[:, None].expand(-1, 2), wanted, reduction="none")
    return (each * counted_B2).sum() / counted_B2.sum()


@dataclass(frozen=True, repr=False)
class Focal(_OfClasses):
    """Cross-entropy that turns away from rows already learned: `-(1 - p)^gamma log p`, `p` the probability of the true class.

    Works over any number of classes, also with one output for two of them.

    Args:
        gamma: how fast easy rows fade, >= 0; 0 is cross-entropy.
        class_weights: a weight per class, or `"balanced"`: `rows / (classes * rows of the class)`.

    Source: Lin et al., Focal Loss for Dense Object Detection, 2017, arXiv:1708.02002.

    >>> focal(gamma=1.0)
    focal(gamma=1.0)
    """

    gamma: float = 2.0

    def __post_init__(self) -> None:
        super().__post_init__()
        at_least("gamma", self.gamma, 0)

    def check(self, targets: Targets, num_outputs: int) -> None:
        if targets.kind == "transcription" or targets.num_classes != 2 or num_outputs != targets.num_classes:
            super().check(targets, num_outputs)

    def loss(self, data: Data, device: Any = "cpu") -> LossFunction:
        import torch
        from torch.nn import functional as F

        weight, gamma = _weights(self.class_weights, data, device), self.gamma

        def mean_loss(outputs: Tensor, targets: Tensor) -> Tensor:
            classes = targets.reshape(-1)
            if outputs.numel() == targets.numel():  # one output for two classes: a row is right by s(z) or s(-z)
                log_p = F.logsigmoid(outputs.reshape(-1) * (2 * classes - 1))
            else:
                log_p = -F.cross_entropy(outputs.reshape(-1, outputs.shape[-1]), classes, reduction="none")
            wrong = (-torch.expm1(log_p)).clamp(min=1e-12)  # the power's slope at 0 is infinite below gamma 1
            each = -(wrong**gamma) * log_p
            return each.mean() if weight is None else (each * weight[classes]).sum() / weight[classes].sum()

        return mean_loss


cross_entropy = CrossEntropy
binary_cross_entropy = BinaryCrossEntropy
focal = Focal


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
