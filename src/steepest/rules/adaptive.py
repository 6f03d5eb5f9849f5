"""The links that scale each element by what its gradients have been. Notation as in `transforms`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from ..errors import at_least, between, positive, switch
from .core import Transform
from .language import Formula, Symbol, clamp, lerp, sign, sqrt
from .transforms import slots_from


@dataclass(frozen=True, repr=False)
class ScaleByAdagrad(Transform):
    """Divide by the root of the sum of squared gradients: `a <- a + u^2; u <- u / (sqrt(a) + eps)`.

    As in torch, `eps` stands outside the root and the sum starts at 0 (optax: inside, 0.1).

    Source: Duchi, Hazan, Singer, Adaptive Subgradient Methods for Online Learning and Stochastic Optimization, 2011.

    >>> scale_by_adagrad(eps=1e-8)
    scale_by_adagrad(eps=1e-08)
    """

    eps: float = 1e-10
    initial_accumulator_value: float = 0.0

    def __post_init__(self) -> None:
        at_least("eps", self.eps, 0)
        at_least("initial_accumulator_value", self.initial_accumulator_value, 0)

    def initial_state(self) -> Mapping[str, float]:
        return {"sum": self.initial_accumulator_value}

    def formula(self, u: Symbol, p: Symbol, s: Any, k: Any) -> Formula:
        s.sum = s.sum + u * u
        return u / (sqrt(s.sum) + k.eps)


@dataclass(frozen=True, repr=False)
class ScaleByAdadelta(Transform):
    """Divide by a running root mean square of gradients and multiply by that of past steps.

    `a <- rho a + (1 - rho) u^2; d = sqrt(D + eps) / sqrt(a + eps) * u; D <- rho D + (1 - rho) d^2; u <- d`: the numerator
    is the *old* `D`, so that the units of the step are those of the parameter.

    Source: Zeiler, ADADELTA: An Adaptive Learning Rate Method, 2012, arXiv:1212.5701.

    >>> scale_by_adadelta(rho=0.95)
    scale_by_adadelta(rho=0.95)
    """

    rho: float = 0.9
    eps: float = 1e-6
    slots: ClassVar[Mapping[str, float]] = slots_from(square_avg=0.0, acc_delta=0.0)

    def __post_init__(self) -> None:
        between("rho", self.rho, 0, 1, open_end=True)
        positive("eps", self.eps)

    def formula(self, u: Symbol, p: Symbol, s: Any, k: Any) -> Formula:
        s.square_avg = k.rho * s.square_avg + (1 - k.rho) * (u * u)
        step = sqrt(s.acc_delta + k.eps) / sqrt(s.square_avg + k.eps) * u
        s.acc_delta = k.rho * s.acc_delta + (1 - k.rho) * (step * step)
        return step


@dataclass(frozen=True, repr=False)
class ScaleByRms(Transform):
    """Divide by a running root mean square: `v <- alpha v + (1 - alpha) u^2; u <- u / (sqrt(v) + eps)`.

    With `centered`, the running mean is taken off first: `sqrt(v - m^2)`. Rounding can make `v - m^2` slightly negative,
    which gives NaN in torch; it counts as 0 here.

    Source: Tieleman, Hinton, lecture 6e of Neural Networks for Machine Learning, 2012; centered: Graves, Generating
    Sequences With Recurrent Neural Networks, 2013, arXiv:1308.0850.

    >>> scale_by_rms(alpha=0.9)
    scale_by_rms(alpha=0.9)
    """

    alpha: float = 0.99
    eps: float = 1e-8
    centered: bool = False

    def __post_init__(self) -> None:
        between("alpha", self.alpha, 0, 1, open_end=True)
        at_least("eps", self.eps, 0)
        switch("centered", self.centered)

    def initial_state(self) -> Mapping[str, float]:
        return {"square_avg": 0.0, "grad_avg": 0.0} if self.centered else {"square_avg": 0.0}

    def formula(self, u: Symbol, p: Symbol, s: Any, k: Any) -> Formula:
        s.square_avg = k.alpha * s.square_avg + (1 - k.alpha) * (u * u)
        if not self.centered:
            return u / (sqrt(s.square_avg) + k.eps)
        s.grad_avg = lerp(s.grad_avg, u, 1 - k.alpha)
        return u / (sqrt(clamp(s.square_avg - s.grad_avg * s.grad_avg, low=0.0)) + k.eps)


@dataclass(frozen=True, repr=False)
class ScaleByLion(Transform):
    """Keep only signs: `u' = sign(b1 m + (1 - b1) u); m <- b2 m + (1 - b2) u`; the sign uses the *old* `m`.

    Source: Chen et al., Symbolic Discovery of Optimization Algorithms, 2023, arXiv:2302.06675.

    >>> scale_by_lion()
    scale_by_lion()
    """

    b1: float = 0.9
    b2: float = 0.99
    slots: ClassVar[Mapping[str, float]] = slots_from(exp_avg=0.0)

    def __post_init__(self) -> None:
        between("b1", self.b1, 0, 1, open_end=True)
        between("b2", self.b2, 0, 1, open_end=True)

    def formula(self, u: Symbol, p: Symbol, s: Any, k: Any) -> Formula:
        step = sign(lerp(s.exp_avg, u, 1 - k.b1))
        s.exp_avg = lerp(s.exp_avg, u, 1 - k.b2)
        return step


scale_by_adagrad = ScaleByAdagrad
scale_by_adadelta = ScaleByAdadelta
scale_by_rms = ScaleByRms
scale_by_lion = ScaleByLion
