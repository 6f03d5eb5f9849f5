"""The plain links that chains are made of: decay, the learning rate, momentum. Each a formula with its source.

Notation: `u` comes in (the gradient `g` at the head of a chain) and goes out; `p` is the parameter; `s` its state; `k` the
scalars of this step; `t` the step, counted from 1. State slots carry torch's names, so that a checkpoint reads alike on
both sides. Each class is also offered under its function-style name: `scale_by_adam(b1=0.9)`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, ClassVar

from ..errors import InputError, at_least, between, positive, switch
from ..schedules import Schedule, constant
from .core import Parameter, Rule, Transform
from .language import Formula, Symbol, lerp

ALWAYS = constant()


def slots_from(**initial: float) -> Mapping[str, float]:
    """Return state slots with their first values, read-only."""
    return MappingProxyType(initial)


@dataclass(frozen=True, repr=False)
class DecayWeights(Transform):
    """Pull the parameter towards zero: `u <- u + weight_decay * p`.

    Before an adaptive rule this is the L2 penalty (torch's `Adam(weight_decay)`); after it, decoupled weight decay
    (`AdamW`): `p <- p - lr (u + weight_decay p)`. With `exclude_vectors`, biases and the scales of norms are left alone.

    Source: Loshchilov, Hutter, Decoupled Weight Decay Regularization, 2019, arXiv:1711.05101.

    >>> decay_weights(0.01)
    decay_weights(0.01)
    """

    weight_decay: float
    exclude_vectors: bool = False

    def __post_init__(self) -> None:
        at_least("weight_decay", self.weight_decay, 0)
        switch("exclude_vectors", self.exclude_vectors)

    def serves(self, parameter: Parameter) -> bool:
        return not (self.exclude_vectors and parameter.kind == "vectors")

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
    slots: ClassVar[Mapping[str, float]] = slots_from(momentum_buffer=0.0)

    def __post_init__(self) -> None:
        between("momentum", self.momentum, 0, 1, open_end=True)
        between("dampening", self.dampening, 0, 1)
        switch("nesterov", self.nesterov)
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
    slots: ClassVar[Mapping[str, float]] = slots_from(momentum_buffer=0.0)

    def __post_init__(self) -> None:
        between("ema beta", self.beta, 0, 1, open_end=True)
        switch("nesterov", self.nesterov)

    def formula(self, u: Symbol, p: Symbol, s: Any, k: Any) -> Formula:
        s.momentum_buffer = lerp(s.momentum_buffer, u, 1 - k.beta)
        return lerp(u, s.momentum_buffer, k.beta) if self.nesterov else s.momentum_buffer


decay_weights = DecayWeights
scale_by_learning_rate = ScaleByLearningRate
heavy_ball = HeavyBall
ema = Ema


def decaying(weight_decay: float, exclude_vectors: bool = False) -> tuple[Rule, ...]:
    """Return the link that decays weights, or none for 0."""
    at_least("weight_decay", weight_decay, 0)
    return (decay_weights(weight_decay, exclude_vectors),) if weight_decay else ()
