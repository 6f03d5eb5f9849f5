"""Transforms that use every word of the rule language, for the parity tests of the executions."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import steepest
from steepest.rules import Projection, Slot, Transform
from steepest.rules.core import one_number
from steepest.rules.language import absolute, clamp, lerp, maximum, mean, normal, sign, sqrt, stored, total, where


@dataclass(frozen=True, repr=False)
class Trust(Transform):
    """A ratio of norms for each tensor, as in LARS."""

    def formula(self, u: Any, p: Any, s: Any, k: Any) -> Any:
        pp, uu = yield total(p * p, u * u, over="tensor")
        ratio = sqrt(pp) / (sqrt(uu) + 1e-6)
        return u * where(pp > 0, where(uu > 0, clamp(ratio, high=2.0), 1.0), 1.0)


@dataclass(frozen=True, repr=False)
class UnitScale(Transform):
    """A scale for each unit, from two sums over it; what the first made is read again two phases later."""

    slots = {"moment": Slot(0.5)}  # noqa: RUF012

    def formula(self, u: Any, p: Any, s: Any, k: Any) -> Any:
        size = yield mean(u * u, over="unit")
        s.moment = lerp(s.moment, u / (sqrt(size) + 1e-3), 0.25)
        joint = yield total(s.moment * s.moment)
        largest = yield total(absolute(s.moment), over="unit")
        return s.moment / (largest + 1e-2) + 0.1 * u / (sqrt(size) + 1.0) + 0.01 * u / (sqrt(joint) + 1.0)


@dataclass(frozen=True, repr=False)
class Noise(Transform):
    seed: int = 3

    def formula(self, u: Any, p: Any, s: Any, k: Any) -> Any:
        first = yield normal(self.seed)
        second = yield normal(4)
        return u + 0.1 * first + 0.01 * second * second


@dataclass(frozen=True, repr=False)
class Distance(Transform):
    """Numbers of a whole tensor, one from a sum over all tensors, one over each; and the weights of the beginning."""

    slots = {  # noqa: RUF012
        "d": Slot(1e-2, one_number),
        "r": Slot(1.0, one_number),
        "first": Slot("parameter"),
    }

    def formula(self, u: Any, p: Any, s: Any, k: Any) -> Any:
        along, size = yield total(u * (s.first - p), absolute(u))
        s.d = maximum(s.d, along / (size + 1e-6)) + 1e-3
        s.r = 0.5 * s.r + 0.5 * sqrt((yield total(u * u, over="tensor")) + 1.0)
        return u * s.d / s.r


@dataclass(frozen=True, repr=False)
class Ball(Projection):
    """The parameter stays in a ball, and in a box."""

    def project(self, q: Any, p: Any, s: Any, k: Any) -> Any:
        norm = sqrt((yield total(q * q, over="tensor")))
        return clamp(q * clamp(3.0 / (norm + 1e-6), high=1.0), -1.5, 1.5)


@dataclass(frozen=True, repr=False)
class Compact(Transform):
    """State in 8 bits and in another dtype."""

    slots = {  # noqa: RUF012
        "m": Slot(storage="8-bit"),
        "v": Slot(0.25, nonnegative=True, storage="8-bit"),
        "slow": Slot(storage="float32"),
    }

    def formula(self, u: Any, p: Any, s: Any, k: Any) -> Any:
        s.m, s.v, s.slow = lerp(s.m, u, 0.1), lerp(s.v, u * u, 0.01), lerp(s.slow, u, 0.5)
        return s.m / (sqrt(s.v) + 0.1) + 0.1 * s.slow


@dataclass(frozen=True, repr=False)
class Kept(Transform):
    """What rounding took from the parameter is added at the next step, after a rounding at random."""

    slots = {"rest": Slot()}  # noqa: RUF012

    def formula(self, u: Any, p: Any, s: Any, k: Any) -> Any:
        kept = yield stored(s.rest + u)
        s.rest = s.rest + u - kept
        return (yield stored(kept * 1.01, seed=7))


@dataclass(frozen=True, repr=False)
class Odd(Transform):
    """Powers, signs, comparisons, and a number that is no tensor's."""

    def formula(self, u: Any, p: Any, s: Any, k: Any) -> Any:
        grown = (absolute(u) + 0.5) ** -0.5 + u**3 * 0.01
        bounded = maximum(u.minimum(p), -0.3 * absolute(p)) * (u > p) + sign(u) * (p <= 0.1)
        return where(u >= 0.2, grown, bounded) + 0.1 * -u


WORDS = {
    type(words[0]).__name__: steepest.chain(*words, steepest.scale_by_learning_rate(0.05))
    for words in (
        (Trust(),),
        (UnitScale(),),
        (Noise(),),
        (Distance(),),
        (Ball(), steepest.scale_by_adam(eps=1e-2)),
        (Compact(),),
        (Kept(),),
        (Odd(),),
    )
}
WORDS["everything"] = steepest.chain(
    UnitScale(), Noise(), steepest.clip_global_norm(0.5), Trust(), Ball(), Distance(), Odd(), steepest.sgd(0.05)
)
WORDS["compact, clipped"] = steepest.chain(
    steepest.clip_global_norm(0.5), Compact(), steepest.clip_global_norm(0.3), steepest.sgd(0.1)
)
