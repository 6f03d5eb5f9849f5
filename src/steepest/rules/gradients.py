"""Links that prepare a gradient before a rule takes it: clipping, centring, noise, the sign. Notation as in `transforms`."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from ..errors import at_least, between, check_seed, positive
from .core import Parameter, Transform
from .language import Formula, Symbol, clamp, mean, normal, sqrt, total, where
from .transforms import slots_from


@dataclass(frozen=True, repr=False)
class Maximize(Transform):
    """Climb instead of descending: `u <- -u`. At the head of a chain: torch's `maximize=True`.

    >>> maximize()
    maximize()
    """

    def formula(self, u: Symbol, p: Symbol, s: Any, k: Any) -> Formula:
        return -u


@dataclass(frozen=True, repr=False)
class ClipValue(Transform):
    """Clamp each element: `u <- min(max(u, -limit), limit)`, `limit > 0`.

    Source: Mikolov, Statistical Language Models Based on Neural Networks (thesis), 2012. torch: `clip_grad_value_`.

    >>> clip_value(0.5)
    clip_value(0.5)
    """

    limit: float

    def __post_init__(self) -> None:
        positive("clip_value limit", self.limit)

    def formula(self, u: Symbol, p: Symbol, s: Any, k: Any) -> Formula:
        return clamp(u, -k.limit, k.limit)


@dataclass(frozen=True, repr=False)
class ClipGlobalNorm(Transform):
    """Scale all gradients together so that their joint norm is at most `max_norm`.

    `u <- u * min(1, max_norm / (|u| + 1e-6))`, where `|u|` runs over every tensor that the rule serves (all parameter
    groups, or one branch of a split). torch: `clip_grad_norm_`, whose 1e-6 this keeps.

    Source: Pascanu, Mikolov, Bengio, On the difficulty of training recurrent neural networks, 2013, arXiv:1211.5063.

    >>> clip_global_norm(1.0)
    clip_global_norm(1.0)
    """

    max_norm: float

    def __post_init__(self) -> None:
        positive("clip_global_norm max_norm", self.max_norm)

    def formula(self, u: Symbol, p: Symbol, s: Any, k: Any) -> Formula:
        norm = sqrt((yield total(u * u)))
        return u * clamp(k.max_norm / (norm + 1e-6), high=1.0)


@dataclass(frozen=True, repr=False)
class AdaptiveClip(Transform):
    """Clip each unit by the size of its weights: `u <- u min(1, clipping max(|p|, eps) / |u|)`, norms over a unit.

    A unit is all that enters one output of a layer; a bias is one unit. `eps` lets weights that begin at 0 move. The authors
    leave the last layer out: `split({"head.*": ...}, rest=chain(adaptive_clip(), ...))`.

    Source: Brock, De, Smith, Simonyan, High-Performance Large-Scale Image Recognition Without Normalization, 2021,
    arXiv:2102.06171.

    >>> adaptive_clip(0.02)
    adaptive_clip(clipping=0.02)
    """

    clipping: float = 0.01
    eps: float = 1e-3

    def __post_init__(self) -> None:
        positive("adaptive_clip clipping", self.clipping)
        positive("adaptive_clip eps", self.eps)

    def formula(self, u: Symbol, p: Symbol, s: Any, k: Any) -> Formula:
        of_p, of_u = yield total(p * p, u * u, over="unit")
        size, limit = sqrt(of_u), k.clipping * clamp(sqrt(of_p), low=k.eps)
        return u * where(size > limit, limit / size, 1.0)


@dataclass(frozen=True, repr=False)
class CentralizeGradients(Transform):
    """Take the mean off each unit: `u <- u - mean(u)` over all that enters one output. Vectors stay as they are.

    Source: Yong, Huang, Hua, Zhang, Gradient Centralization: A New Optimization Technique for Deep Neural Networks, 2020,
    arXiv:2004.01461.

    >>> centralize_gradients()
    centralize_gradients()
    """

    def serves(self, parameter: Parameter) -> bool:
        return math.prod(parameter.shape[1:]) > 1  # the mean of one number is that number: it would never move

    def formula(self, u: Symbol, p: Symbol, s: Any, k: Any) -> Formula:
        return u - (yield mean(u, over="unit"))


@dataclass(frozen=True, repr=False)
class AddNoise(Transform):
    """Add normal noise that dies away: `u <- u + N(0, eta / t^gamma)`, `t` the step from 1.

    The numbers depend on the seed, the tensor, the element and the step alone: the same on every device and after a resume.

    Source: Neelakantan et al., Adding Gradient Noise Improves Learning for Very Deep Networks, 2015, arXiv:1511.06807, which
    counts steps from 0: `eta / (1 + t)^gamma`, with `eta` 0.01, 0.3 or 1.

    >>> add_noise(0.3)
    add_noise(0.3)
    """

    eta: float
    gamma: float = 0.55
    seed: int = 0

    def __post_init__(self) -> None:
        at_least("add_noise eta", self.eta, 0)
        at_least("add_noise gamma", self.gamma, 0)
        check_seed(self.seed, "add_noise seed")

    def scalars(self, t: int, lr: float) -> dict[str, Any]:
        return {"deviation": math.sqrt(self.eta / t**self.gamma)}

    def formula(self, u: Symbol, p: Symbol, s: Any, k: Any) -> Formula:
        return u + k.deviation * (yield normal(self.seed))


@dataclass(frozen=True, repr=False)
class ReduceVariance(Transform):
    """Lean on how the gradient changed: `c = u + gamma b1 / (1 - b1) (u - u_before); u <- c / max(1, |c|)`, a norm a tensor.

    With `b1` that of the Adam that follows, this is MARS (see `mars`). As in the authors' code the gradient before the first
    is 0; in the paper's algorithm the first `c` is `u` itself, and timm does not clip that one either.

    Source: Yuan, Liu, Wu, Zhou, Gu, MARS: Unleashing the Power of Variance Reduction for Training Large Models, 2024,
    arXiv:2411.10438 (MARS-approx, which takes both gradients from their own batches).

    >>> reduce_variance(gamma=0.05)
    reduce_variance(gamma=0.05)
    """

    gamma: float = 0.025
    b1: float = 0.95
    slots: ClassVar[Mapping[str, float]] = slots_from(last_grad=0.0)

    def __post_init__(self) -> None:
        at_least("gamma", self.gamma, 0)
        between("b1", self.b1, 0, 1, open_end=True)

    def scalars(self, t: int, lr: float) -> dict[str, Any]:
        return {"change": self.gamma * self.b1 / (1 - self.b1)}

    def formula(self, u: Symbol, p: Symbol, s: Any, k: Any) -> Formula:
        corrected = u + k.change * (u - s.last_grad)
        s.last_grad = u
        norm = sqrt((yield total(corrected * corrected, over="tensor")))
        return corrected / clamp(norm, low=1.0)


maximize = Maximize
clip_value = ClipValue
clip_global_norm = ClipGlobalNorm
adaptive_clip = AdaptiveClip
centralize_gradients = CentralizeGradients
add_noise = AddNoise
reduce_variance = ReduceVariance
