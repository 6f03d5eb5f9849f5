"""Adam and its relatives: links that scale a running mean by a running size. Notation as in `transforms`."""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, ClassVar

from ..errors import InputError, at_least, between, one_of, switch
from .core import Slot, Transform
from .language import Formula, Symbol, absolute, lerp, maximum, sqrt, where

EPS_MODES = ("outside", "inside", "hat")
# the state that Adam and most of its relatives keep, under torch's names
MOMENTS: Mapping[str, float | Slot] = MappingProxyType({"exp_avg": 0.0, "exp_avg_sq": Slot(nonnegative=True)})


@dataclass(frozen=True, repr=False)
class Moments(Transform):
    """What Adam and its relatives share: how long two running averages remember, and what keeps a divisor from 0. Abstract.

    References differ in where `eps` stands, `v` being the running mean square and `c2 = 1 - b2^t`: `"outside"` the corrected
    root, `sqrt(v / c2) + eps` (torch, optax); `"inside"`, `sqrt(v / c2 + eps)` (optax's `eps_root`); `"hat"`, outside the root
    before it is corrected, `(sqrt(v) + eps) / sqrt(c2)` (keras; the last remark of section 2 of Adam's paper).
    """

    b1: float = 0.9
    b2: float = 0.999
    eps: float = 1e-8
    eps_mode: str = field(default="outside", kw_only=True)
    slots: ClassVar[Mapping[str, float | Slot]] = MOMENTS
    eps_modes: ClassVar[tuple[str, ...]] = EPS_MODES

    def __post_init__(self) -> None:
        between("b1", self.b1, 0, 1, open_end=True)
        between("b2", self.b2, 0, 1, open_end=True)
        at_least("eps", self.eps, 0)
        one_of("eps_mode", self.eps_mode, self.eps_modes)

    def _scalars(self, t: int, corrected: bool = True) -> dict[str, Any]:
        """Return the numbers of a step; what every element would be divided by is turned over here, once."""
        c1, c2 = (1 - self.b1**t, 1 - self.b2**t) if corrected else (1.0, 1.0)
        corrections = {
            "c2": c2,
            "root_c2": math.sqrt(c2),
            "over_c1": 1 / c1,
            "over_c2": 1 / c2,
            "over_root_c2": 1 / math.sqrt(c2),
        }
        return {"b1": self.b1, "b2": self.b2, "eps": self.eps, **corrections}

    def _observe(self, u: Symbol, s: Any, k: Any) -> None:
        """Take `u` into both averages."""
        s.exp_avg = lerp(s.exp_avg, u, 1 - k.b1)
        s.exp_avg_sq = k.b2 * s.exp_avg_sq + (1 - k.b2) * (u * u)

    def _over_corrected_root(self, mean: Symbol, square: Symbol, k: Any) -> Symbol:
        """Return a mean over the corrected root of a mean square, with eps where it stands."""
        if self.eps_mode == "inside":
            return mean / sqrt(square * k.over_c2 + k.eps)
        if self.eps_mode == "hat":
            return mean * (k.root_c2 / (sqrt(square) + k.eps))
        return mean / (sqrt(square) * k.over_root_c2 + k.eps)


@dataclass(frozen=True, repr=False)
class ScaleByAdam(Moments):
    """Divide a running mean by a running root mean square.

    `m <- b1 m + (1 - b1) u; v <- b2 v + (1 - b2) u^2; u <- (m / (1 - b1^t)) / (sqrt(v / (1 - b2^t)) + eps)`. Without
    `bias_correction` the two divisors `1 - b^t` are left out, as some articles print it. With `b1 = 0` no mean is kept.

    Source: Kingma, Ba, Adam: A Method for Stochastic Optimization, 2015, arXiv:1412.6980.

    >>> scale_by_adam(b2=0.95, eps_mode="hat")
    scale_by_adam(b2=0.95, eps_mode='hat')
    """

    bias_correction: bool = True

    def __post_init__(self) -> None:
        super().__post_init__()
        switch("bias_correction", self.bias_correction)

    def initial_state(self) -> Mapping[str, float | Slot]:
        return self.slots if self.b1 else {"exp_avg_sq": self.slots["exp_avg_sq"]}

    def scalars(self, t: int, lr: float) -> dict[str, Any]:
        return self._scalars(t, self.bias_correction)

    def formula(self, u: Symbol, p: Symbol, s: Any, k: Any) -> Formula:
        if not self.b1:
            s.exp_avg_sq = k.b2 * s.exp_avg_sq + (1 - k.b2) * (u * u)
            return self._over_corrected_root(u, s.exp_avg_sq, k)
        self._observe(u, s, k)
        return self._over_corrected_root(s.exp_avg * k.over_c1, s.exp_avg_sq, k)


@dataclass(frozen=True, repr=False)
class ScaleByAmsgrad(Moments):
    """Adam that never forgets a large gradient: divides by the largest running mean square so far.

    `m <- b1 m + (1 - b1) u; v <- b2 v + (1 - b2) u^2; x <- max(x, v); u <- (m / (1 - b1^t)) / (sqrt(x / (1 - b2^t)) + eps)`.
    As in torch and keras, the maximum is that of the raw `v`, corrected afterwards; `max_of_corrected` takes it of
    `v / (1 - b2^t)`, as optax does.

    Source: Reddi, Kale, Kumar, On the Convergence of Adam and Beyond, 2018, arXiv:1904.09237.

    >>> scale_by_amsgrad(b2=0.99)
    scale_by_amsgrad(b2=0.99)
    """

    bias_correction: bool = True
    max_of_corrected: bool = False
    slots: ClassVar[Mapping[str, float | Slot]] = MappingProxyType({**MOMENTS, "max_exp_avg_sq": Slot(nonnegative=True)})

    def __post_init__(self) -> None:
        super().__post_init__()
        switch("bias_correction", self.bias_correction)
        switch("max_of_corrected", self.max_of_corrected)
        if self.max_of_corrected and self.eps_mode == "hat":
            raise InputError("eps_mode='hat' adds eps before the correction, and max_of_corrected corrects before; take one")

    def scalars(self, t: int, lr: float) -> dict[str, Any]:
        numbers = self._scalars(t, self.bias_correction)
        return numbers | (
            {"over_c2": 1.0, "over_root_c2": 1.0, "over_early": numbers["over_c2"]} if self.max_of_corrected else {}
        )

    def formula(self, u: Symbol, p: Symbol, s: Any, k: Any) -> Formula:
        self._observe(u, s, k)
        square = s.exp_avg_sq * k.over_early if self.max_of_corrected else s.exp_avg_sq
        s.max_exp_avg_sq = maximum(s.max_exp_avg_sq, square)
        return self._over_corrected_root(s.exp_avg * k.over_c1, s.max_exp_avg_sq, k)


@dataclass(frozen=True, repr=False)
class ScaleByAdamax(Moments):
    """Adam with the largest instead of the mean square gradient: `x <- max(b2 x, |u| + eps); u <- (m / (1 - b1^t)) / x`.

    As in torch and optax, `eps` is added inside the maximum; `eps_mode="outside"` divides by `x + eps`, as keras does.

    Source: Kingma, Ba, Adam: A Method for Stochastic Optimization, 2015, arXiv:1412.6980, section 7.

    >>> scale_by_adamax()
    scale_by_adamax()
    """

    eps_mode: str = field(default="inside", kw_only=True)
    slots: ClassVar[Mapping[str, float | Slot]] = MappingProxyType({"exp_avg": 0.0, "exp_inf": Slot(nonnegative=True)})
    eps_modes: ClassVar[tuple[str, ...]] = ("inside", "outside")

    def scalars(self, t: int, lr: float) -> dict[str, Any]:
        return {"b1": self.b1, "b2": self.b2, "eps": self.eps, "over_c1": 1 / (1 - self.b1**t)}

    def formula(self, u: Symbol, p: Symbol, s: Any, k: Any) -> Formula:
        s.exp_avg = lerp(s.exp_avg, u, 1 - k.b1)
        inside = self.eps_mode == "inside"
        s.exp_inf = maximum(k.b2 * s.exp_inf, absolute(u) + k.eps if inside else absolute(u))
        return (s.exp_avg * k.over_c1) / (s.exp_inf if inside else s.exp_inf + k.eps)


@dataclass(frozen=True, repr=False)
class ScaleByNadam(Moments):
    """Adam with Nesterov's look ahead and a momentum that warms up: `mu_t = b1 (1 - 0.96^(t decay) / 2)`.

    `u <- [mu_{t+1} m / (1 - mu_1 ... mu_{t+1}) + (1 - mu_t) u / (1 - mu_1 ... mu_t)] / (sqrt(v / (1 - b2^t)) + eps)`.
    `momentum_decay` None keeps `mu_t = b1`, as optax does; torch's is 0.004, that of the paper and of keras 1.

    Source: Dozat, Incorporating Nesterov Momentum into Adam, 2016.

    >>> scale_by_nadam(momentum_decay=0.01)
    scale_by_nadam(momentum_decay=0.01)
    """

    momentum_decay: float | None = 4e-3

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.momentum_decay is not None:
            at_least("momentum_decay", self.momentum_decay, 0)

    def scalars(self, t: int, lr: float) -> dict[str, Any]:
        if self.momentum_decay is None:
            now, product, after = self.b1, self.b1**t, self.b1
        else:
            now, product = _warming(self.b1, self.momentum_decay, t)
            after = self.b1 * (1 - 0.5 * 0.96 ** ((t + 1) * self.momentum_decay))
        return self._scalars(t) | {"of_mean": after / (1 - product * after), "of_gradient": (1 - now) / (1 - product)}

    def formula(self, u: Symbol, p: Symbol, s: Any, k: Any) -> Formula:
        self._observe(u, s, k)
        return self._over_corrected_root(k.of_mean * s.exp_avg + k.of_gradient * u, s.exp_avg_sq, k)


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

    `rho_t = rho - 2 t b2^t / (1 - b2^t)` with `rho = 2 / (1 - b2) - 1`; where `rho_t > threshold`, `u <- r m / (1 - b1^t) *
    sqrt(1 - b2^t) / (sqrt(v) + eps)` with `r^2 = (rho_t - 4)(rho_t - 2) rho / ((rho - 4)(rho - 2) rho_t)`, else
    `u <- m / (1 - b1^t)`. As in torch, `eps` is not corrected; `eps_mode="outside"` adds it to the corrected root, as optax.

    Source: Liu et al., On the Variance of the Adaptive Learning Rate and Beyond, 2020, arXiv:1908.03265.

    >>> scale_by_radam()
    scale_by_radam()
    """

    threshold: float = 5.0
    eps_mode: str = field(default="hat", kw_only=True)

    def __post_init__(self) -> None:
        super().__post_init__()
        at_least("threshold", self.threshold, 4)

    def scalars(self, t: int, lr: float) -> dict[str, Any]:
        numbers, limit = self._scalars(t), 2 / (1 - self.b2) - 1
        known = limit - 2 * t * self.b2**t / numbers["c2"]
        rectified = known > self.threshold
        factor = math.sqrt((known - 4) * (known - 2) * limit / ((limit - 4) * (limit - 2) * known)) if rectified else 1.0
        return numbers | {"known": known, "threshold": self.threshold, "factor": factor}

    def formula(self, u: Symbol, p: Symbol, s: Any, k: Any) -> Formula:
        self._observe(u, s, k)
        mean = s.exp_avg * k.over_c1
        return where(k.known > k.threshold, self._over_corrected_root(k.factor * mean, s.exp_avg_sq, k), mean)


scale_by_adam = ScaleByAdam
scale_by_amsgrad = ScaleByAmsgrad
scale_by_adamax = ScaleByAdamax
scale_by_nadam = ScaleByNadam
scale_by_radam = ScaleByRadam
