"""The links that chains are made of: each a formula of a few lines, with its source.

Notation: `u` comes in (the gradient `g` at the head of a chain) and goes out; `p` is the parameter; `s` its state; `k` the
scalars of this step; `t` the step, counted from 1. State slots carry torch's names, so that a checkpoint reads alike on
both sides. Each class is also offered under its function-style name: `scale_by_adam(b1=0.9)`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, ClassVar

from ..errors import InputError, at_least, between, positive
from ..schedules import Schedule, constant
from .core import Parameter, Transform
from .language import NEWTON_SCHULZ, Formula, Symbol, clamp, lerp, orthogonalize, sign, sqrt, total

ALWAYS = constant()


def _slots(**initial: float) -> Mapping[str, float]:
    return MappingProxyType(initial)


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
class DecayWeights(Transform):
    """Pull the parameter towards zero: `u <- u + weight_decay * p`.

    Before an adaptive rule this is the L2 penalty (torch's `Adam(weight_decay)`); after it, decoupled weight decay
    (`AdamW`): `p <- p - lr (u + weight_decay p)`.

    Source: Loshchilov, Hutter, Decoupled Weight Decay Regularization, 2019, arXiv:1711.05101.

    >>> decay_weights(0.01)
    decay_weights(0.01)
    """

    weight_decay: float

    def __post_init__(self) -> None:
        at_least("weight_decay", self.weight_decay, 0)

    def formula(self, u: Symbol, p: Symbol, s: Any, k: Any) -> Formula:
        return u + k.weight_decay * p


@dataclass(frozen=True, repr=False)
class ScaleByLearningRate(Transform):
    """Multiply by the learning rate: `u <- lr * schedule(step) * u`.

    The optimizer shows `lr` as `group["lr"]`, the only learning rate there is; the schedule multiplies it.

    >>> scale_by_learning_rate(0.1)
    scale_by_learning_rate(0.1)
    """

    lr: float
    schedule: Schedule = ALWAYS

    def __post_init__(self) -> None:
        positive("lr", self.lr)
        if not isinstance(self.schedule, Schedule):
            raise InputError(f"schedule must be a schedule such as cosine(steps=1000) (got {self.schedule!r})")

    def scalars(self, t: int, lr: float) -> dict[str, Any]:
        del t
        return {"lr": lr}

    def formula(self, u: Symbol, p: Symbol, s: Any, k: Any) -> Formula:
        return k.lr * u


@dataclass(frozen=True, repr=False)
class HeavyBall(Transform):
    """Accumulate gradients: `B <- momentum * B + (1 - dampening) u`; out goes `B`, or `u + momentum * B` with `nesterov`.

    As in torch the first step takes `u` undamped. The buffer grows to `u / (1 - momentum)` under a constant gradient, so
    its learning rate is `1 - momentum` times that of `ema`.

    Source: Polyak, Some methods of speeding up the convergence of iteration methods, 1964; Nesterov's form as in
    Sutskever, Martens, Dahl, Hinton, On the importance of initialization and momentum in deep learning, 2013.

    >>> heavy_ball(nesterov=True)
    heavy_ball(nesterov=True)
    """

    momentum: float = 0.9
    dampening: float = 0.0
    nesterov: bool = False
    slots: ClassVar[Mapping[str, float]] = _slots(momentum_buffer=0.0)

    def __post_init__(self) -> None:
        between("momentum", self.momentum, 0, 1, open_end=True)
        between("dampening", self.dampening, 0, 1)
        if self.nesterov and (self.momentum == 0 or self.dampening != 0):
            raise InputError(f"nesterov needs momentum > 0 and dampening = 0 (got {self.momentum} and {self.dampening})")

    def scalars(self, t: int, lr: float) -> dict[str, Any]:
        return {"momentum": self.momentum, "intake": 1.0 if t == 1 else 1.0 - self.dampening}

    def formula(self, u: Symbol, p: Symbol, s: Any, k: Any) -> Formula:
        s.momentum_buffer = k.momentum * s.momentum_buffer + k.intake * u
        return u + k.momentum * s.momentum_buffer if self.nesterov else s.momentum_buffer


@dataclass(frozen=True, repr=False)
class Ema(Transform):
    """Average gradients: `B <- beta * B + (1 - beta) u`; out goes `B`, or `beta * B + (1 - beta) u` with `nesterov`.

    Under a constant gradient the buffer tends to `u` itself: the effective step is `1 - beta` times that of `heavy_ball`.

    >>> ema(0.95, nesterov=True)
    ema(beta=0.95, nesterov=True)
    """

    beta: float = 0.9
    nesterov: bool = False
    slots: ClassVar[Mapping[str, float]] = _slots(momentum_buffer=0.0)

    def __post_init__(self) -> None:
        between("momentum", self.beta, 0, 1, open_end=True)

    def formula(self, u: Symbol, p: Symbol, s: Any, k: Any) -> Formula:
        s.momentum_buffer = lerp(s.momentum_buffer, u, 1 - k.beta)
        return lerp(u, s.momentum_buffer, k.beta) if self.nesterov else s.momentum_buffer


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
    slots: ClassVar[Mapping[str, float]] = _slots(square_avg=0.0, acc_delta=0.0)

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

    def initial_state(self) -> Mapping[str, float]:
        return {"square_avg": 0.0, "grad_avg": 0.0} if self.centered else {"square_avg": 0.0}

    def formula(self, u: Symbol, p: Symbol, s: Any, k: Any) -> Formula:
        s.square_avg = k.alpha * s.square_avg + (1 - k.alpha) * (u * u)
        if not self.centered:
            return u / (sqrt(s.square_avg) + k.eps)
        s.grad_avg = lerp(s.grad_avg, u, 1 - k.alpha)
        return u / (sqrt(clamp(s.square_avg - s.grad_avg * s.grad_avg, low=0.0)) + k.eps)


@dataclass(frozen=True, repr=False)
class ScaleByAdam(Transform):
    """Divide a running mean by a running root mean square.

    `m <- b1 m + (1 - b1) u; v <- b2 v + (1 - b2) u^2; u <- (m / (1 - b1^t)) / (sqrt(v / (1 - b2^t)) + eps)`. Without
    `bias_correction` the two divisors `1 - b^t` are left out, as some articles print it.

    Source: Kingma, Ba, Adam: A Method for Stochastic Optimization, 2015, arXiv:1412.6980.

    >>> scale_by_adam(b2=0.95)
    scale_by_adam(b2=0.95)
    """

    b1: float = 0.9
    b2: float = 0.999
    eps: float = 1e-8
    bias_correction: bool = True
    slots: ClassVar[Mapping[str, float]] = _slots(exp_avg=0.0, exp_avg_sq=0.0)

    def __post_init__(self) -> None:
        between("b1", self.b1, 0, 1, open_end=True)
        between("b2", self.b2, 0, 1, open_end=True)
        at_least("eps", self.eps, 0)

    def scalars(self, t: int, lr: float) -> dict[str, Any]:
        corrected = self.bias_correction
        c1, c2 = (1 - self.b1**t, 1 - self.b2**t) if corrected else (1.0, 1.0)
        return {"b1": self.b1, "b2": self.b2, "eps": self.eps, "c1": c1, "root_c2": math.sqrt(c2)}

    def formula(self, u: Symbol, p: Symbol, s: Any, k: Any) -> Formula:
        s.exp_avg = lerp(s.exp_avg, u, 1 - k.b1)
        s.exp_avg_sq = k.b2 * s.exp_avg_sq + (1 - k.b2) * (u * u)
        return (s.exp_avg / k.c1) / (sqrt(s.exp_avg_sq) / k.root_c2 + k.eps)


@dataclass(frozen=True, repr=False)
class ScaleByLion(Transform):
    """Keep only signs: `u' = sign(b1 m + (1 - b1) u); m <- b2 m + (1 - b2) u`; the sign uses the *old* `m`.

    Source: Chen et al., Symbolic Discovery of Optimization Algorithms, 2023, arXiv:2302.06675.

    >>> scale_by_lion()
    scale_by_lion()
    """

    b1: float = 0.9
    b2: float = 0.99
    slots: ClassVar[Mapping[str, float]] = _slots(exp_avg=0.0)

    def __post_init__(self) -> None:
        between("b1", self.b1, 0, 1, open_end=True)
        between("b2", self.b2, 0, 1, open_end=True)

    def formula(self, u: Symbol, p: Symbol, s: Any, k: Any) -> Formula:
        step = sign(lerp(s.exp_avg, u, 1 - k.b1))
        s.exp_avg = lerp(s.exp_avg, u, 1 - k.b2)
        return step


@dataclass(frozen=True, repr=False)
class Orthogonal(Transform):
    """Replace a matrix by (nearly) its orthogonal polar factor `U V^T`, scaled by its shape.

    `adjust="original"` multiplies by `sqrt(max(1, rows / columns))`, `"match_rms_adamw"` by `0.2 sqrt(max(rows, columns))`,
    which lets AdamW's learning rates be kept. Trailing dimensions (of a convolution) count as columns. `dtype` None takes
    bfloat16 where the device multiplies it fast and float32 elsewhere; name one to fix it.

    Source: Jordan et al., Muon, 2024, https://kellerjordan.github.io/posts/muon/; Liu et al., Muon is Scalable for LLM
    Training, 2025, arXiv:2502.16982.

    >>> orthogonal(steps=6)
    orthogonal(steps=6)
    """

    steps: int = 5
    adjust: str = "original"
    coefficients: tuple[float, float, float] = NEWTON_SCHULZ
    eps: float = 1e-7
    dtype: str | None = None

    def __post_init__(self) -> None:
        if not 1 <= self.steps < 100:
            raise InputError(f"orthogonal steps must be in [1, 99] (got {self.steps!r})")
        if self.adjust not in ("original", "match_rms_adamw"):
            raise InputError(f"orthogonal adjust must be 'original' or 'match_rms_adamw' (got {self.adjust!r})")
        if self.dtype not in (None, "bfloat16", "float32"):
            raise InputError(f"orthogonal dtype must be None, 'bfloat16' or 'float32' (got {self.dtype!r})")

    def refusal(self, parameter: Parameter) -> str | None:
        if len(parameter.shape) >= 2:
            return None
        return (
            f"muon takes matrices (got {parameter}); use split(matrices=muon(0.02), convolutions=muon(0.02), rest=adamw(3e-4))"
        )

    def formula(self, u: Symbol, p: Symbol, s: Any, k: Any) -> Formula:
        rows, columns = u.shape[0], math.prod(u.shape[1:])
        larger = max(rows, columns)
        factor = 0.2 * math.sqrt(larger) if self.adjust == "match_rms_adamw" else math.sqrt(max(1.0, rows / max(columns, 1)))
        return factor * (
            yield orthogonalize(u, steps=self.steps, coefficients=self.coefficients, eps=self.eps, dtype=self.dtype)
        )


clip_value = ClipValue
clip_global_norm = ClipGlobalNorm
decay_weights = DecayWeights
scale_by_learning_rate = ScaleByLearningRate
heavy_ball = HeavyBall
ema = Ema
scale_by_adagrad = ScaleByAdagrad
scale_by_adadelta = ScaleByAdadelta
scale_by_rms = ScaleByRms
scale_by_adam = ScaleByAdam
scale_by_lion = ScaleByLion
orthogonal = Orthogonal
