"""Links that keep a second set of weights: averages to evaluate with, slow weights that fast ones return to, Schedule-Free.

Where the weights to evaluate with are not those of the training, `optimizer.eval()` puts them into the parameters and
`optimizer.train()` takes them out again; a step in between is refused. Notation as in `transforms`; `q` is the parameter after
the step.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, ClassVar

from ..errors import at_least, between, switch, whole
from ..schedules import Schedule
from .core import Chain, Projection, Slot, Transform, chain, named, one_number
from .language import Formula, Symbol, lerp, maximum, where
from .moments import scale_by_adam
from .transforms import ALWAYS, decaying, scale_by_learning_rate

WEIGHTS = Slot("parameter", storage="wide")


@dataclass(frozen=True, repr=False)
class EmaWeights(Projection):
    """Average the weights, to evaluate with: `e <- d e + (1 - d) q`, `e` starting at the first weights.

    With `warmup`, `d` is at most `(1 + t) / (10 + t)`, so that the first weights are soon forgotten. The training is unchanged.

    Source: Polyak, Juditsky, Acceleration of Stochastic Approximation by Averaging, 1992; exponential, with this warm-up:
    TensorFlow's ExponentialMovingAverage.

    >>> from steepest import adamw, chain
    >>> chain(adamw(0.001), ema_weights(0.99))
    chain(adamw(0.001), ema_weights(decay=0.99))
    """

    decay: float = 0.999
    warmup: bool = True
    slots: ClassVar[Mapping[str, float | Slot]] = MappingProxyType({"ema": WEIGHTS})

    def __post_init__(self) -> None:
        between("ema_weights decay", self.decay, 0, 1, open_end=True)
        switch("warmup", self.warmup)

    def scalars(self, t: int, lr: float) -> dict[str, Any]:
        return {"decay": min(self.decay, (1 + t) / (10 + t)) if self.warmup else self.decay}

    def project(self, q: Symbol, p: Symbol, s: Any, k: Any) -> Symbol:
        s.ema = lerp(s.ema, q, 1 - k.decay)
        return q

    def evaluated(self, p: Symbol, s: Any, k: Any) -> Symbol | None:
        return s.ema


@dataclass(frozen=True, repr=False)
class Lookahead(Projection):
    """Every `every` steps, go from slow weights part of the way to the fast ones, and start again from there.

    `slow <- slow + alpha (q - slow); q <- slow`. The slow weights are those to evaluate with.

    Source: Zhang, Lucas, Hinton, Ba, Lookahead Optimizer: k steps forward, 1 step back, 2019, arXiv:1907.08610.

    >>> from steepest import adamw, chain
    >>> chain(adamw(0.001), lookahead(every=6))
    chain(adamw(0.001), lookahead(every=6))
    """

    moves_weights: ClassVar[bool] = True
    every: int = 5
    alpha: float = 0.5
    slots: ClassVar[Mapping[str, float | Slot]] = MappingProxyType({"slow": WEIGHTS})

    def __post_init__(self) -> None:
        whole("lookahead every", self.every, 1)
        between("lookahead alpha", self.alpha, 0, 1)

    def scalars(self, t: int, lr: float) -> dict[str, Any]:
        return {"alpha": self.alpha, "due": 1.0 if t % self.every == 0 else 0.0}

    def project(self, q: Symbol, p: Symbol, s: Any, k: Any) -> Symbol:
        s.slow = where(k.due > 0, lerp(s.slow, q, k.alpha), s.slow)
        return where(k.due > 0, s.slow, q)

    def evaluated(self, p: Symbol, s: Any, k: Any) -> Symbol | None:
        return s.slow


@dataclass(frozen=True, repr=False)
class ScheduleFree(Transform):
    """Take steps so that an average of the weights needs no schedule: stands last, after the learning rate.

    The gradient is taken at `y = (1 - beta) z + beta x`, which the parameter holds; `z <- z - u` are plain steps; and
    `x <- (1 - c) x + c z`, with `c = w / sum(w)` and `w = t^r (largest learning rate so far)^power`, is the average to evaluate
    with. Only `z` is kept: `x` follows from `y` and `z`.

    Source: Defazio et al., The Road Less Scheduled, 2024, arXiv:2405.15682.

    >>> schedule_free(0.95)
    schedule_free(beta=0.95)
    """

    beta: float = 0.9
    r: float = 0.0
    power: float = 2.0
    must_be_averaged: ClassVar[bool] = True
    slots: ClassVar[Mapping[str, float | Slot]] = MappingProxyType(
        {"z": WEIGHTS, "weight_sum": Slot(0.0, one_number), "lr_max": Slot(0.0, one_number)}
    )

    def __post_init__(self) -> None:
        between("schedule_free beta", self.beta, 0, 1, open_start=True, open_end=True)
        at_least("schedule_free r", self.r, 0)
        at_least("schedule_free power", self.power, 0)

    def scalars(self, t: int, lr: float) -> dict[str, Any]:
        return {"beta": self.beta, "lr": lr, "age": float(t) ** self.r, "power": self.power}

    def formula(self, u: Symbol, p: Symbol, s: Any, k: Any) -> Formula:
        s.lr_max = maximum(s.lr_max, k.lr)
        weight = k.age * s.lr_max**k.power
        s.weight_sum = s.weight_sum + weight
        c = where(s.weight_sum > 0, weight / s.weight_sum, 0.0)
        y = p + c * (s.z - p) + (k.beta * (1 - c) - 1) * u
        s.z = s.z - u
        return p - y

    def evaluated(self, p: Symbol, s: Any, k: Any) -> Symbol | None:
        return p + (1 - 1 / k.beta) * (s.z - p)


ema_weights = EmaWeights
lookahead = Lookahead
schedule_free = ScheduleFree


@named
def schedule_free_adamw(
    lr: float = 2.5e-3,
    *,
    b1: float = 0.9,
    b2: float = 0.999,
    eps: float = 1e-8,
    weight_decay: float = 0.0,
    exclude_vectors: bool = False,
    schedule: Schedule = ALWAYS,
) -> Chain:
    """AdamW without a schedule: Adam's second moment, Schedule-Free in the place of its first (Defazio et al., 2024).

    The authors advise a learning rate 1 to 10 times AdamW's, and a warm-up.

    >>> schedule_free_adamw(0.0025)
    schedule_free_adamw(0.0025)
    """
    return chain(
        scale_by_adam(0.0, b2, eps),
        *decaying(weight_decay, exclude_vectors),
        scale_by_learning_rate(lr, schedule),
        schedule_free(b1),
    )


@named
def schedule_free_sgd(
    lr: float = 1.0,
    *,
    momentum: float = 0.9,
    weight_decay: float = 0.0,
    exclude_vectors: bool = False,
    schedule: Schedule = ALWAYS,
) -> Chain:
    """SGD without a schedule, averaged instead of accelerated (Defazio et al., 2024, arXiv:2405.15682).

    >>> schedule_free_sgd(0.5)
    schedule_free_sgd(0.5)
    """
    return chain(*decaying(weight_decay, exclude_vectors), scale_by_learning_rate(lr, schedule), schedule_free(momentum))
