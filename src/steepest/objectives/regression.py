"""Objectives over numbers: what they make small decides what the network answers - mean, median, quantiles or a rate."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from ..errors import InputError, between, positive
from .core import LossFunction, Objective, as_targets

if TYPE_CHECKING:
    from torch import Tensor

    from ..data import Data
    from ..data.targets import Targets


@dataclass(frozen=True, repr=False)
class _OfNumbers(Objective):
    """What objectives over numbers share. Abstract."""

    def check(self, targets: Targets, num_outputs: int) -> None:
        if targets.kind == "transcription":
            raise InputError(f"{self!r} is for numbers, but the label is a transcript; use ctc()")
        if targets.kind != "regression":
            raise InputError(f"{self!r} is for numbers, but the label has classes; use cross_entropy(), or kind='regression'")
        super().check(targets, num_outputs)


@dataclass(frozen=True, repr=False)
class Mse(_OfNumbers):
    """The mean squared error `mean (output - target)^2`, over targets scaled to mean 0 and deviation 1: answers the mean.

    >>> mse(l2=1e-4)
    mse(l2=0.0001)
    """

    takes_mixtures: ClassVar[bool] = True

    def loss(self, data: Data, device: Any = "cpu") -> LossFunction:
        from torch.nn import functional as F

        return lambda outputs, targets: F.mse_loss(as_targets(outputs, targets), targets)


@dataclass(frozen=True, repr=False)
class Huber(_OfNumbers):
    """The Huber loss, which outliers pull at no more than `delta`: of the error `e`, `e^2 / 2`, or `delta (|e| - delta / 2)`
    where `|e| > delta`.

    Args:
        delta: where the parabola becomes a line, > 0, in deviations of the targets (which are scaled to mean 0, deviation 1).

    Source: Huber, Robust Estimation of a Location Parameter, 1964, https://doi.org/10.1214/aoms/1177703732.

    >>> huber(delta=0.5)
    huber(delta=0.5)
    """

    takes_mixtures: ClassVar[bool] = True

    delta: float = 1.0

    def __post_init__(self) -> None:
        super().__post_init__()
        positive("delta", self.delta)

    def loss(self, data: Data, device: Any = "cpu") -> LossFunction:
        from torch.nn import functional as F

        return lambda outputs, targets: F.huber_loss(as_targets(outputs, targets), targets, delta=self.delta)


@dataclass(frozen=True, repr=False)
class Poisson(_OfNumbers):
    """The Poisson loss of counts: `exp(z) - y z`, where the output `z` is the logarithm of the expected count.

    Targets are counts (or rates) >= 0 and stay as they are; predictions are expected counts, `exp(z)`.

    Source: McCullagh, Nelder, Generalized Linear Models, 1989, https://doi.org/10.1007/978-1-4899-3242-6.

    >>> poisson()
    poisson()
    """

    scales_targets: ClassVar[bool] = False
    takes_mixtures: ClassVar[bool] = True

    def check(self, targets: Targets, num_outputs: int) -> None:
        super().check(targets, num_outputs)
        if (low := targets.values.min()) < 0:
            raise InputError(f"poisson() is for counts >= 0, but the label holds {low:g}; use mse() or huber()")

    def loss(self, data: Data, device: Any = "cpu") -> LossFunction:
        from torch.nn import functional as F

        return lambda outputs, targets: F.poisson_nll_loss(as_targets(outputs, targets), targets)

    def values(self, outputs: Tensor) -> Tensor:
        return outputs.exp()


@dataclass(frozen=True, repr=False)
class Pinball(_OfNumbers):
    """The pinball loss, which teaches one output a quantile: of the error `e = y - f`, `max(q e, (q - 1) e)`.

    It is smallest where a share `q` of the truth lies below the output. The loss is the mean over rows and quantiles. The
    quantile nearest to 0.5 is the prediction; `run.predict_quantiles` gives all of them.

    Args:
        quantiles: growing, each in (0, 1).

    Source: Koenker, Bassett, Regression Quantiles, 1978, https://doi.org/10.2307/1913643.

    >>> pinball(quantiles=(0.05, 0.5, 0.95))
    pinball(quantiles=(0.05, 0.5, 0.95))
    """

    quantiles: tuple[float, ...] = (0.1, 0.5, 0.9)  # pyright: ignore[reportIncompatibleVariableOverride]

    def __post_init__(self) -> None:
        super().__post_init__()
        if not isinstance(self.quantiles, Sequence) or isinstance(self.quantiles, str) or not self.quantiles:
            raise InputError(f"quantiles must be a tuple such as (0.1, 0.5, 0.9) (got {self.quantiles!r})")
        for quantile in self.quantiles:
            between("quantiles", quantile, 0, 1, open_start=True, open_end=True)
        if list(self.quantiles) != sorted(set(self.quantiles)):
            raise InputError(f"quantiles must grow from one to the next (got {self.quantiles!r})")
        object.__setattr__(self, "quantiles", tuple(self.quantiles))

    def num_outputs(self, targets: Targets) -> int:
        return targets.num_outputs * len(self.quantiles)

    def loss(self, data: Data, device: Any = "cpu") -> LossFunction:
        import torch

        levels = torch.tensor(self.quantiles, dtype=torch.float32, device=device)

        def mean_loss(outputs: Tensor, targets: Tensor) -> Tensor:
            error = targets[..., None] - outputs.reshape(*targets.shape, len(levels))
            return torch.maximum(levels * error, (levels - 1) * error).mean()

        return mean_loss

    def values(self, outputs: Tensor) -> Tensor:
        middle = min(range(len(self.quantiles)), key=lambda i: abs(self.quantiles[i] - 0.5))
        found = outputs.reshape(len(outputs), -1, len(self.quantiles))[..., middle]
        return found[:, 0] if found.shape[1] == 1 else found


mse = Mse
huber = Huber
poisson = Poisson
pinball = Pinball
