"""Links that find the size of the step themselves: Prodigy and D-Adaptation. Notation as in `transforms`.

Both estimate `d`, how far the start is from the solution, from two sums over all tensors that the rule serves, and both expect
a learning rate of 1, times a schedule. Every parameter keeps `d` beside its other state, the same number for all of a param
group; one that joins later takes it over. In float16 what they keep, about `d0^2` at first, vanishes: use bfloat16.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ..errors import at_least, between, positive, switch
from .core import Slot, Transform, one_number
from .language import Formula, Symbol, absolute, clamp, maximum, sqrt, total, where
from .transforms import ScaleByLearningRate


def _one(initial: float) -> Slot:
    return Slot(initial, shape=one_number, shared=True)


def _check(rule: Any) -> None:
    """Check what both links have."""
    between("b1", rule.b1, 0, 1, open_end=True)
    between("b2", rule.b2, 0, 1, open_end=True)
    positive("eps", rule.eps)
    positive("d0", rule.d0)
    at_least("weight_decay", rule.weight_decay, 0)
    switch("bias_correction", rule.bias_correction)
    if rule.growth_rate != math.inf:
        at_least("growth_rate", rule.growth_rate, 1)


def _correction(rule: Any, t: int) -> float:
    return math.sqrt(1 - rule.b2**t) / (1 - rule.b1**t) if rule.bias_correction else 1.0


@dataclass(frozen=True, repr=False)
class ScaleByProdigy(Transform):
    """Adam times an estimate `d` of the distance to the solution, from a running sum of gradients that weighs recent ones more.

    With `c = lr d` (times `sqrt(1 - b2^t) / (1 - b1^t)` with `bias_correction`) and `b3 = sqrt(b2)` unless given:
    `n <- b3 n + (d / d0) c <u, p_0 - p>; s <- b3 s + (d / d0) c u; m <- b1 m + (1 - b1) d u; v <- b2 v + (1 - b2) d^2 u^2`;
    `d' = max(d, d_coef n / |s|_1)`, at most `growth_rate` times `d` once it has left `d0`; out goes
    `(c / lr) (m / (sqrt(v) + d' eps) + weight_decay p)`. `safeguard_warmup` leaves the learning rate out of `s`.

    Source: Mishchenko, Defazio, Prodigy: An Expeditiously Adaptive Parameter-Free Learner, 2023, arXiv:2306.06101; as in the
    authors' prodigyopt 1.1.

    >>> scale_by_prodigy(d_coef=0.5)
    scale_by_prodigy(d_coef=0.5)
    """

    b1: float = 0.9
    b2: float = 0.999
    b3: float | None = None
    eps: float = 1e-8
    d0: float = 1e-6
    d_coef: float = 1.0
    growth_rate: float = math.inf
    weight_decay: float = 0.0
    bias_correction: bool = False
    safeguard_warmup: bool = False

    def __post_init__(self) -> None:
        _check(self)
        if self.b3 is not None:
            between("b3", self.b3, 0, 1, open_end=True)
        positive("d_coef", self.d_coef)
        switch("safeguard_warmup", self.safeguard_warmup)

    def initial_state(self) -> Mapping[str, float | Slot]:
        numbers = {"d": _one(self.d0), "d_max": _one(self.d0), "d_numerator": _one(0.0)}
        tensors = {
            "p0": Slot("parameter", storage="parameter"),
            "s": Slot(),
            "exp_avg": Slot(),
            "exp_avg_sq": Slot(nonnegative=True),
        }
        return tensors | numbers

    def scalars(self, t: int, lr: float) -> dict[str, Any]:
        b3 = math.sqrt(self.b2) if self.b3 is None else self.b3
        return {**vars(self), "b3": b3, "correction": _correction(self, t), "lr": lr}

    def formula(self, u: Symbol, p: Symbol, s: Any, k: Any) -> Formula:
        step = s.d * k.correction
        weight = s.d / k.d0 * (k.lr * step)
        s.s = k.b3 * s.s + (s.d / k.d0 * s.d if self.safeguard_warmup else weight) * u
        along, size = yield total(weight * u * (s.p0 - p), absolute(s.s))
        s.exp_avg = k.b1 * s.exp_avg + (s.d * (1 - k.b1)) * u
        s.exp_avg_sq = k.b2 * s.exp_avg_sq + (s.d * s.d * (1 - k.b2)) * (u * u)
        s.d_numerator = k.b3 * s.d_numerator + along
        found = where(size > 0, k.d_coef * s.d_numerator / size, s.d)
        reached = where(s.d > k.d0, s.d, maximum(s.d, found))
        s.d_max = maximum(s.d_max, found)
        s.d = clamp(s.d_max, high=reached * k.growth_rate)
        return step * (s.exp_avg / (sqrt(s.exp_avg_sq) + s.d * k.eps) + k.weight_decay * p)


@dataclass(frozen=True, repr=False)
class ScaleByDadaptAdam(ScaleByLearningRate):
    """Adam times an estimate `d` of the distance to the solution. The learning rate is a factor inside the running mean.

    With `c = lr d` (times `sqrt(1 - b2^t) / (1 - b1^t)` with `bias_correction`) and `b3 = sqrt(b2)`:
    `n <- b3 n + (1 - b3) c <u, s / (sqrt(v) + eps)>; m <- b1 m + (1 - b1) c u; v <- b2 v + (1 - b2) u^2`;
    `s <- b3 s + (1 - b3) c u; d' = max(d, min(n / ((1 - b3) |s|_1), growth_rate d))`; out goes
    `m / (sqrt(v) + eps) + weight_decay c p`. This link stands in the place of `scale_by_learning_rate`.

    Source: Defazio, Mishchenko, Learning-Rate-Free Learning by D-Adaptation, 2023, arXiv:2301.07733; as in the authors'
    dadaptation 3.2.

    >>> scale_by_dadapt_adam(1.0, growth_rate=1.02)
    scale_by_dadapt_adam(1.0, growth_rate=1.02)
    """

    b1: float = 0.9
    b2: float = 0.999
    eps: float = 1e-8
    d0: float = 1e-6
    growth_rate: float = math.inf
    weight_decay: float = 0.0
    bias_correction: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        _check(self)

    def initial_state(self) -> Mapping[str, float | Slot]:
        tensors = {"s": Slot(), "exp_avg": Slot(), "exp_avg_sq": Slot(nonnegative=True)}
        return tensors | {"d": _one(self.d0), "d_numerator": _one(0.0)}

    def scalars(self, t: int, lr: float) -> dict[str, Any]:
        numbers = {name: value for name, value in vars(self).items() if name != "schedule"}
        return {**numbers, "lr": lr, "b3": math.sqrt(self.b2), "correction": _correction(self, t)}

    def formula(self, u: Symbol, p: Symbol, s: Any, k: Any) -> Formula:
        step = s.d * (k.lr * k.correction)
        along = step * u * s.s / (sqrt(s.exp_avg_sq) + k.eps)
        s.s = k.b3 * s.s + (step * (1 - k.b3)) * u
        along, size = yield total(along, absolute(s.s))
        s.exp_avg = k.b1 * s.exp_avg + (step * (1 - k.b1)) * u
        s.exp_avg_sq = k.b2 * s.exp_avg_sq + (1 - k.b2) * (u * u)
        s.d_numerator = k.b3 * s.d_numerator + (1 - k.b3) * along
        found = where(size > 0, s.d_numerator / ((1 - k.b3) * size), s.d)
        s.d = maximum(s.d, clamp(found, high=s.d * k.growth_rate))
        return s.exp_avg / (sqrt(s.exp_avg_sq) + k.eps) + k.weight_decay * step * p


scale_by_prodigy = ScaleByProdigy
scale_by_dadapt_adam = ScaleByDadaptAdam
