"""Links that act on the parameter after the step, wherever they stand in a chain: bounds, exact zeros, averages.

`q` is where the step leads, `p` where the parameter was; the rest of the notation is that of `transforms`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, ClassVar

from ..errors import InputError, at_least
from .core import Projection, Slot
from .language import Formula, Symbol, clamp, lerp


@dataclass(frozen=True, repr=False)
class ProximalL1(Projection):
    """Pull each weight towards zero by `lr strength`, and stop there: `p <- sign(q) max(|q| - lr strength, 0)`.

    This is the exact step of an L1 penalty of that strength, and makes exact zeros; the penalty in the loss does not.

    Source: Daubechies, Defrise, De Mol, An iterative thresholding algorithm for linear inverse problems with a sparsity
    constraint, 2004, arXiv:math/0307152; Parikh, Boyd, Proximal Algorithms, 2014.

    >>> proximal_l1(1e-4)
    proximal_l1(0.0001)
    """

    moves_weights: ClassVar[bool] = True
    strength: float

    def __post_init__(self) -> None:
        at_least("proximal_l1 strength", self.strength, 0)

    def scalars(self, t: int, lr: float) -> dict[str, Any]:
        return {"threshold": lr * self.strength}

    def project(self, q: Symbol, p: Symbol, s: Any, k: Any) -> Symbol:
        return q - clamp(q, -k.threshold, k.threshold)


@dataclass(frozen=True, repr=False)
class ClampWeights(Projection):
    """Keep each weight in bounds: `p <- min(max(q, low), high)`; None is no bound.

    Source: projected gradient descent (Goldstein, 1964; Levitin, Polyak, 1966).

    >>> clamp_weights(0.0, None)
    clamp_weights(0.0, None)
    """

    moves_weights: ClassVar[bool] = True
    low: float | None
    high: float | None

    def __post_init__(self) -> None:
        for name, bound in (("low", self.low), ("high", self.high)):
            if bound is not None:
                at_least(f"clamp_weights {name}", bound, -float("inf"))
        if self.low is None and self.high is None:
            raise InputError("clamp_weights needs a bound: low, high or both (got None and None)")
        if self.low is not None and self.high is not None and self.low > self.high:
            raise InputError(f"clamp_weights low must be at most high (got {self.low} and {self.high})")

    def project(self, q: Symbol, p: Symbol, s: Any, k: Any) -> Symbol:
        return clamp(q, k.low, k.high)


@dataclass(frozen=True, repr=False)
class ScaleByAsgd(Projection):
    """Let the step shrink, decay the weights, and average them from step `t0` on.

    `u <- (u + lambd p) / (1 + lambd lr (t - 1))^alpha`; after the step `ax <- ax + (q - ax) / max(1, t - 1 - t0)`. The average
    is what `optimizer.eval()` puts in place of the parameter.

    Source: Polyak, Juditsky, Acceleration of stochastic approximation by averaging, 1992; in the form that torch has.

    >>> scale_by_asgd(t0=1000)
    scale_by_asgd(t0=1000)
    """

    lambd: float = 1e-4
    alpha: float = 0.75
    t0: float = 1e6
    slots: ClassVar[Mapping[str, Slot]] = MappingProxyType({"ax": Slot(storage="wide")})

    def __post_init__(self) -> None:
        at_least("lambd", self.lambd, 0)
        at_least("alpha", self.alpha, 0)
        at_least("t0", self.t0, 0)

    def scalars(self, t: int, lr: float) -> dict[str, Any]:
        shrunk = (1 + self.lambd * lr * (t - 1)) ** -self.alpha
        return {"lambd": self.lambd, "shrunk": shrunk, "share": 1 / max(1.0, t - 1 - self.t0)}

    def formula(self, u: Symbol, p: Symbol, s: Any, k: Any) -> Formula:
        return k.shrunk * (u + k.lambd * p)

    def project(self, q: Symbol, p: Symbol, s: Any, k: Any) -> Symbol:
        s.ax = lerp(s.ax, q, k.share)
        return q

    def evaluated(self, p: Symbol, s: Any, k: Any) -> Symbol | None:
        return s.ax


proximal_l1 = ProximalL1
clamp_weights = ClampWeights
scale_by_asgd = ScaleByAsgd
