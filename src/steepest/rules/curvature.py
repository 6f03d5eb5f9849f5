"""Links that divide by an estimate of the curvature, taken now and then from other gradients. Notation as in `transforms`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, ClassVar

from ..errors import between, one_of, positive, switch
from .core import Slot, Transform
from .language import Formula, Symbol, clamp, lerp

ESTIMATORS = ("gauss_newton", "hutchinson")


@dataclass(frozen=True, repr=False)
class ScaleBySophia(Transform):
    """Divide a running mean by a running estimate `h` of the Hessian's diagonal, and clip: no element moves further than 1.

    `m <- b1 m + (1 - b1) u; u <- clip(m / max(gamma h, eps), -1, 1)`, with `m / (1 - b1^t)` for `m` with `bias_correction`, as
    in optax. Until `h` is first observed it is 0, and the step a sign.

    `optimizer.update_hessian(scale)` takes an estimate into `h` every 10 steps or so: `h <- b2 h + (1 - b2) estimate`. It reads
    the gradients of the parameters, which the caller fills for it between two steps, depending on `estimator`:

    - `"gauss_newton"` (Gauss-Newton-Bartlett, for a cross-entropy): the gradient of the mean loss over a batch whose labels are
      drawn from the network's own predictions. The estimate is `scale g^2`, `scale` the number of rows (or tokens) of the mean.
    - `"hutchinson"`: `v * (H v)` with random signs or normal numbers `v`, from a product of the Hessian with a vector. The
      estimate is `scale g`, `scale` 1.

    No step is made or counted. How large `gamma` should
    be is told by the share of elements that are not clipped: 10% to 50%.

    Source: Liu, Li, Hall, Liang, Ma, Sophia: A Scalable Stochastic Second-order Optimizer for Language Model Pre-training,
    2023, arXiv:2305.14342: `gamma` 0.05 for Gauss-Newton-Bartlett, 0.01 for Hutchinson.

    >>> scale_by_sophia(gamma=0.01, estimator="hutchinson")
    scale_by_sophia(gamma=0.01, estimator='hutchinson')
    """

    b1: float = 0.96
    b2: float = 0.99
    gamma: float = 0.05
    eps: float = 1e-12
    estimator: str = "gauss_newton"
    bias_correction: bool = False
    slots: ClassVar[Mapping[str, float | Slot]] = MappingProxyType({"exp_avg": 0.0, "hessian": 0.0})

    def __post_init__(self) -> None:
        between("b1", self.b1, 0, 1, open_end=True)
        between("b2", self.b2, 0, 1, open_end=True)
        positive("gamma", self.gamma)
        positive("eps", self.eps)
        switch("bias_correction", self.bias_correction)
        one_of("estimator", self.estimator, ESTIMATORS)

    def scalars(self, t: int, lr: float) -> dict[str, Any]:
        over_c1 = 1 / (1 - self.b1**t) if self.bias_correction else 1.0
        return {"b1": self.b1, "b2": self.b2, "gamma": self.gamma, "eps": self.eps, "over_c1": over_c1}

    def formula(self, u: Symbol, p: Symbol, s: Any, k: Any) -> Formula:
        s.exp_avg = lerp(s.exp_avg, u, 1 - k.b1)
        return clamp(s.exp_avg * k.over_c1 / clamp(k.gamma * s.hessian, low=k.eps), -1.0, 1.0)

    def observe(self, g: Symbol, s: Any, k: Any) -> None:
        """Take one estimate of the Hessian's diagonal into the running one."""
        estimate = k.scale * (g * g if self.estimator == "gauss_newton" else g)
        s.hessian = lerp(s.hessian, estimate, 1 - k.b2)


scale_by_sophia = ScaleBySophia
