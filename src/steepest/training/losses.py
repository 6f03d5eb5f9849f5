"""The loss of every lane at once: an objective's mean over a batch, for N lanes of B rows."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from torch import Tensor
from torch.func import vmap
from torch.nn import functional as F

from ..objectives import LossFunction, Objective
from ..objectives.classification import BinaryCrossEntropy, CrossEntropy
from ..objectives.core import as_targets
from ..objectives.regression import Huber, Mse

LaneLosses = Callable[[Tensor, Tensor], Tensor]  # outputs (N, B, ...) and targets (N, B, ...) to (N,)


def losses_of(objective: Objective, loss: LossFunction) -> LaneLosses:
    """Return the function that gives each lane's mean loss, without regularisers.

    The mean over rows of the usual losses is written out; whatever else an objective does goes through `vmap`.
    """
    kind, weighted = type(objective), getattr(objective, "class_weights", None) is not None
    if kind is CrossEntropy and not weighted:
        return _of_classes(partial(_cross_entropy, smoothing=objective.label_smoothing), loss)  # type: ignore[attr-defined]
    if kind is BinaryCrossEntropy and not weighted:
        return _of_classes(partial(_binary_cross_entropy, smoothing=objective.label_smoothing), loss)  # type: ignore[attr-defined]
    if kind is Mse:
        return lambda raw, wanted: _mean(F.mse_loss(as_targets(raw, wanted), wanted, reduction="none"))
    if kind is Huber:
        delta = objective.delta  # type: ignore[attr-defined]
        return lambda raw, wanted: _mean(F.huber_loss(as_targets(raw, wanted), wanted, reduction="none", delta=delta))
    return vmap(loss)


def _of_classes(written_out: LaneLosses, loss: LossFunction) -> LaneLosses:
    """Return what is written out for class numbers; labels of mixed rows are shares of classes, which go through `vmap`."""
    shares = vmap(loss)
    return lambda raw, wanted: (shares if wanted.is_floating_point() else written_out)(raw, wanted)


def _mean(each_NB: Tensor) -> Tensor:
    return each_NB.flatten(1).mean(1)


def _cross_entropy(raw: Tensor, classes: Tensor, *, smoothing: float) -> Tensor:
    if raw.ndim == 3 and raw.transpose(1, 2).is_contiguous():  # as a linear layer of lanes gives it: rows lie side by side
        each = F.cross_entropy(raw.transpose(1, 2), classes, reduction="none", label_smoothing=smoothing)
        return each.mean(1)
    rows = raw.reshape(-1, raw.shape[-1])
    each = F.cross_entropy(rows, classes.reshape(-1), reduction="none", label_smoothing=smoothing)
    return each.view(len(raw), -1).mean(1)


def _binary_cross_entropy(raw: Tensor, classes: Tensor, *, smoothing: float) -> Tensor:
    wanted = classes.to(raw.dtype) * (1 - smoothing) + smoothing / 2
    return _mean(F.binary_cross_entropy_with_logits(as_targets(raw, classes), wanted, reduction="none"))
