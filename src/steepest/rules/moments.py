"""Adam and its relatives: links that scale a running mean by a running size. Notation as in `transforms`."""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from ..errors import at_least, between, switch
from .core import Transform
from .language import Formula, Symbol, absolute, lerp, maximum, sqrt, where
from .transforms import slots_from


@dataclass(frozen=True, repr=False)
class Moments(Transform):
    """What Adam and its relatives share: how long two running averages remember, and what keeps a divisor from 0. Abstract."""

    b1: float = 0.9
    b2: float = 0.999
    eps: float = 1e-8

    def __post_init__(self) -> None:
        between("b1", self.b1, 0, 1, open_end=True)
        between("b2", self.b2, 0, 1, open_end=True)
        at_least("eps", self.eps, 0)


@dataclass(frozen=True, repr=False)
class ScaleByAdam(Moments):
    """Divide a running mean by a running root mean square.

    `m <- b1 m + (1 - b1) u; v <- b2 v + (1 - b2) u^2; u <- (m / (1 - b1^t)) / (sqrt(v / (1 - b2^t)) + eps)`. Without
    `bias_correction` the two divisors `1 - b^t` are left out, as some articles print it.

    Source: Kingma, Ba, Adam: A Method for Stochastic Optimization, 2015, arXiv:1412.6980.

    >>> scale_by_adam(b2=0.95)
    scale_by_adam(b2=0.95)
    """

    bias_correction: bool = True
    slots: ClassVar[Mapping[str, float]] = slots_from(exp_avg=0.0, exp_avg_sq=0.0)

    def __post_init__(self) -> None:
        super().__post_init__()
        switch("bias_correction", self.bias_correction)

    def scalars(self, t: int, lr: float) -> dict[str, Any]:
        corrected = self.bias_correction
        c1, c2 = (1 - self.b1**t, 1 - self.b2**t) if corrected else (1.0, 1.0)
        return {"b1": self.b1, "b2": self.b2, "eps": self.eps, "c1": c1, "root_c2": math.sqrt(c2)}

    def formula(self, u: Symbol, p: Symbol, s: Any, k: Any) -> Formula:
        s.exp_avg = lerp(s.exp_avg, u, 1 - k.b1)
        s.exp_avg_sq = k.b2 * s.exp_avg_sq + (1 - k.b2) * (u * u)
        return (s.exp_avg / k.c1) / (sqrt(s.exp_avg_sq) / k.root_c2 + k.eps)


@dataclass(frozen=True, repr=False)
class ScaleByAmsgrad(Moments):
    """Adam that never forgets a large gradient: divides by the largest running mean square so far.

    `m <- b1 m + (1 - b1) u; v <- b2 v + (1 - b2) u^2; x <- max(x, v); u <- (m / (1 - b1^t)) / (sqrt(x / (1 - b2^t)) + eps)`.
    As in torch, the maximum is that of the raw `v`, corrected afterwards; optax takes it of the corrected one.

    Source: Reddi, Kale, Kumar, On the Convergence of Adam and Beyond, 2018, arXiv:1904.09237.

    >>> scale_by_amsgrad(b2=0.99)
    scale_by_amsgrad(b2=0.99)
    """

    slots: ClassVar[Mapping[str, float]] = slots_from(exp_avg=0.0, exp_avg_sq=0.0, max_exp_avg_sq=0.0)

    def scalars(self, t: int, lr: float) -> dict[str, Any]:
        return {"b1": self.b1, "b2": self.b2, "eps": self.eps, "c1": 1 - self.b1**t, "root_c2": math.sqrt(1 - self.b2**t)}

    def formula(self, u: Symbol, p: Symbol, s: Any, k: Any) -> Formula:
        s.exp_avg = lerp(s.exp_avg, u, 1 - k.b1)
        s.exp_avg_sq = k.b2 * s.exp_avg_sq + (1 - k.b2) * (u * u)
        s.max_exp_avg_sq = maximum(s.max_exp_avg_sq, s.exp_avg_sq)
        return (s.exp_avg / k.c1) / (sqrt(s.max_exp_avg_sq) / k.root_c2 + k.eps)


@dataclass(frozen=True, repr=False)
class ScaleByAdamax(Moments):
    """Adam with the largest instead of the mean square gradient: `x <- max(b2 x, |u| + eps); u <- (m / (1 - b1^t)) / x`.

    Source: Kingma, Ba, Adam: A Method for Stochastic Optimization, 2015, arXiv:1412.6980, section 7.

    >>> scale_by_adamax()
    scale_by_adamax()
    """

    slots: ClassVar[Mapping[str, float]] = slots_from(exp_avg=0.0, exp_inf=0.0)

    def scalars(self, t: int, lr: float) -> dict[str, Any]:
        return {"b1": self.b1, "b2": self.b2, "eps": self.eps, "c1": 1 - self.b1**t}

    def formula(self, u: Symbol, p: Symbol, s: Any, k: Any) -> Formula:
        s.exp_avg = lerp(s.exp_avg, u, 1 - k.b1)
        s.exp_inf = maximum(k.b2 * s.exp_inf, absolute(u) + k.eps)
        return (s.exp_avg / k.c1) / s.exp_inf


@dataclass(frozen=True, repr=False)
class ScaleByNadam(Moments):
    """Adam with Nesterov's look ahead and a momentum that warms up: `mu_t = b1 (1 - 0.96^(t decay) / 2)`.

    `u <- [mu_{t+1} m / (1 - mu_1 ... mu_{t+1}) + (1 - mu_t) u / (1 - mu_1 ... mu_t)] / (sqrt(v / (1 - b2^t)) + eps)`.

    Source: Dozat, Incorporating Nesterov Momentum into Adam, 2016. As in torch; optax keeps `mu_t = b1`.

    >>> scale_by_nadam(momentum_decay=0.01)
    scale_by_nadam(momentum_decay=0.01)
    """

    momentum_decay: float = 4e-3
    slots: ClassVar[Mapping[str, float]] = slots_from(exp_avg=0.0, exp_avg_sq=0.0)

    def __post_init__(self) -> None:
        super().__post_init__()
        at_least("momentum_decay", self.momentum_decay, 0)

    def scalars(self, t: int, lr: float) -> dict[str, Any]:
        now, product = _warming(self.b1, self.momentum_decay, t)
        after = self.b1 * (1 - 0.5 * 0.96 ** ((t + 1) * self.momentum_decay))
        weights = {"of_mean": after / (1 - product * after), "of_gradient": (1 - now) / (1 - product)}
        return {"b1": self.b1, "b2": self.b2, "eps": self.eps, "c2": 1 - self.b2**t, **weights}

    def formula(self, u: Symbol, p: Symbol, s: Any, k: Any) -> Formula:
        s.exp_avg = lerp(s.exp_avg, u, 1 - k.b1)
        s.exp_avg_sq = k.b2 * s.exp_avg_sq + (1 - k.b2) * (u * u)
        return (k.of_mean * s.exp_avg + k.of_gradient * u) / (sqrt(s.exp_avg_sq / k.c2) + k.eps)


@functools.lru_cache(maxsize=64)
def _products(b1: float, decay: float) -> list[float]:
    return [1.0]


def _warming(b1: float, decay: float, t: int) -> tuple[float, float]:
    """Return `mu_t` and `mu_1 mu_2 ... mu_t`; the products so far are kept, so that a step costs one more factor."""
    products = _products(b1, decay)
    while len(products) <= t:
        products.append(products[-1] * b1 * (1 - 0.5 * 0.96 ** (len(products) * decay)))
    return b1 * (1 - 0.5 * 0.96 ** (t * decay)), products[t]


@dataclass(frozen=True, repr=False)
class ScaleByRadam(Moments):
    """Adam that waits until the variance of its second moment is known: before that, a plain running mean.

    `rho_t = rho - 2 t b2^t / (1 - b2^t)` with `rho = 2 / (1 - b2) - 1`; where `rho_t > 5`, `u <- r m / (1 - b1^t) *
    sqrt(1 - b2^t) / (sqrt(v) + eps)` with `r^2 = (rho_t - 4)(rho_t - 2) rho / ((rho - 4)(rho - 2) rho_t)`, else
    `u <- m / (1 - b1^t)`. As in torch, `eps` is not corrected.

    Source: Liu et al., On the Variance of the Adaptive Learning Rate and Beyond, 2020, arXiv:1908.03265.

    >>> scale_by_radam()
    scale_by_radam()
    """

    slots: ClassVar[Mapping[str, float]] = slots_from(exp_avg=0.0, exp_avg_sq=0.0)

    def scalars(self, t: int, lr: float) -> dict[str, Any]:
        c2, limit = 1 - self.b2**t, 2 / (1 - self.b2) - 1
        known = limit - 2 * t * self.b2**t / c2
        rectified = known > 5
        factor = math.sqrt((known - 4) * (known - 2) * limit / ((limit - 4) * (limit - 2) * known) * c2) if rectified else 1.0
        return {"b1": self.b1, "b2": self.b2, "eps": self.eps, "c1": 1 - self.b1**t, "known": known, "factor": factor}

    def formula(self, u: Symbol, p: Symbol, s: Any, k: Any) -> Formula:
        s.exp_avg = lerp(s.exp_avg, u, 1 - k.b1)
        s.exp_avg_sq = k.b2 * s.exp_avg_sq + (1 - k.b2) * (u * u)
        mean = s.exp_avg / k.c1
        return where(k.known > 5, mean * (k.factor / (sqrt(s.exp_avg_sq) + k.eps)), mean)


scale_by_adam = ScaleByAdam
scale_by_amsgrad = ScaleByAmsgrad
scale_by_adamax = ScaleByAdamax
scale_by_nadam = ScaleByNadam
scale_by_radam = ScaleByRadam
