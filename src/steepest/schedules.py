"""Schedules: pure functions `step -> factor` that multiply the learning rate.

Every schedule is a closed form of the step (counted from 0, the first update), never a recursion: resuming in the middle or
composing two of them cannot go wrong. Durations come in one of three units: in steps (`steps=...`), in epochs
(`epochs=...`; then every duration of that schedule is in epochs), or, given neither, as shares of the whole run. The last
two are settled by `resolved`, which `fit` and `Optimizer(steps_per_epoch=...)` call.

>>> half = cosine(steps=100)
>>> half(0), half(50), half(100), half(1000)
(1.0, 0.5, 0.0, 0.0)
"""

from __future__ import annotations

import dataclasses
import math
from dataclasses import KW_ONLY, dataclass
from typing import ClassVar, Self

from .errors import InputError, at_least, between, positive
from .values import printed_call

__all__ = [
    "Schedule",
    "constant",
    "cosine",
    "exponential",
    "inverse_time",
    "linear",
    "one_cycle",
    "polynomial",
    "step_decay",
    "warmup_hold_cooldown",
]


@dataclass(frozen=True, repr=False)
class Schedule:
    """A pure function of the step. Abstract: subclasses give `factor` over durations in steps.

    `durations` names the fields that, like `steps`, are lengths of time.
    """

    durations: ClassVar[tuple[str, ...]] = ()
    is_constant: ClassVar[bool] = False

    def __post_init__(self) -> None:
        steps, epochs = self._length
        if steps is not None and epochs is not None:
            raise InputError(
                f"{type(self).__name__.lower()}: give steps or epochs, not both (got steps={steps}, epochs={epochs})"
            )
        for name, value in (("steps", steps), ("epochs", epochs)):
            if value is not None:
                positive(name, value)
        for name in self.durations:
            at_least(name, length := getattr(self, name), 0)
            if steps is not None and steps >= 1 and 0 < length < 1:
                raise InputError(f"{name} is in steps when steps= is given (got {length}); did you mean {length * steps:g}?")
        whole = steps if steps is not None else epochs if epochs is not None else 1.0
        if sum(getattr(self, name) for name in self.durations) > whole:
            parts = " + ".join(f"{name} {getattr(self, name)}" for name in self.durations)
            raise InputError(
                f"{parts} must fit into the whole schedule, {whole}"
                + (" (shares of the run)" if self._length == (None, None) else "")
            )

    @property
    def _length(self) -> tuple[float | None, float | None]:
        return getattr(self, "steps", None), getattr(self, "epochs", None)

    @property
    def is_resolved(self) -> bool:
        """Whether every duration is in steps."""
        return not hasattr(self, "steps") or self._length[0] is not None

    def resolved(self, steps_per_epoch: float | None, total_steps: float | None) -> Self:
        """Return this schedule with every duration in steps."""
        if self.is_resolved:
            return self
        epochs = self._length[1]
        unit = steps_per_epoch if epochs is not None else total_steps
        if unit is None:
            missing = "in epochs: pass steps_per_epoch=" if epochs is not None else "without a length: give steps="
            raise InputError(f"{self!r} is {missing}...")
        lengths = {name: length if (length := getattr(self, name) * unit) >= 1 else 0.0 for name in self.durations}
        whole = (epochs if epochs is not None else 1.0) * unit
        return dataclasses.replace(self, steps=whole, epochs=None, **lengths)

    def factor(self, t: float) -> float:
        """Return the factor at step `t`; the durations are in steps."""
        raise NotImplementedError

    def __call__(self, step: float) -> float:
        if not self.is_resolved:
            raise InputError(f"{self!r} has no length in steps here: give steps=..., or train with fit")
        return self.factor(step)

    def __repr__(self) -> str:
        return printed_call(self)


def _whole(schedule: Schedule) -> float:
    return schedule.steps  # type: ignore[attr-defined]


def _cosine(share: float, start: float, end: float) -> float:
    """Half a cosine from `start` (share 0) to `end` (share 1)."""
    return end + (start - end) * 0.5 * (1 + math.cos(math.pi * min(share, 1.0)))


@dataclass(frozen=True, repr=False)
class Constant(Schedule):
    """Always the same factor, `value`.

    >>> constant()(1000)
    1.0
    """

    is_constant: ClassVar[bool] = True
    value: float = 1.0

    def __post_init__(self) -> None:
        positive("constant value", self.value)

    def factor(self, t: float) -> float:
        return self.value


@dataclass(frozen=True, repr=False)
class Exponential(Schedule):
    """`gamma ** (t / steps)`: multiplied by `gamma` (in (0, 1]) every `steps` steps, smoothly.

    >>> exponential(0.5, steps=10)(20)
    0.25
    """

    gamma: float
    steps: float | None = None
    _: KW_ONLY
    epochs: float | None = None

    def __post_init__(self) -> None:
        positive("gamma", self.gamma)
        between("gamma", self.gamma, 0, 1)
        super().__post_init__()

    def factor(self, t: float) -> float:
        return self.gamma ** (t / _whole(self))


@dataclass(frozen=True, repr=False)
class Polynomial(Schedule):
    """`(1 - end) (1 - t / steps) ** power + end`, held at `end` afterwards.

    >>> polynomial(2, steps=10)(5)
    0.25
    """

    power: float
    steps: float | None = None
    _: KW_ONLY
    epochs: float | None = None
    end: float = 0.0
    warmup: float = 0.0
    durations: ClassVar[tuple[str, ...]] = ("warmup",)

    def __post_init__(self) -> None:
        positive("power", self.power)
        at_least("end", self.end, 0)
        super().__post_init__()

    def factor(self, t: float) -> float:
        if t < self.warmup:
            return _ramp(t, self.warmup)
        left = 1 - min((t - self.warmup) / max(_whole(self) - self.warmup, 1e-9), 1.0)
        return (1 - self.end) * left**self.power + self.end


def _ramp(t: float, warmup: float) -> float:
    """Linear warm-up: the first step already moves, `(t + 1) / (warmup + 1)`, and 1 is reached at step `warmup`."""
    return (t + 1) / (warmup + 1)


@dataclass(frozen=True, repr=False)
class InverseTime(Schedule):
    """`1 / (1 + rate * t / steps)`.

    >>> inverse_time(1.0, steps=10)(10)
    0.5
    """

    rate: float
    steps: float | None = None
    _: KW_ONLY
    epochs: float | None = None

    def __post_init__(self) -> None:
        positive("rate", self.rate)
        super().__post_init__()

    def factor(self, t: float) -> float:
        return 1 / (1 + self.rate * t / _whole(self))


@dataclass(frozen=True, repr=False)
class StepDecay(Schedule):
    """`gamma ** floor(t / steps)`: multiplied by `gamma` every `steps` steps, at once. Give `steps` or `epochs`.

    >>> step_decay(0.1, steps=30)(59)
    0.1
    """

    gamma: float
    steps: float | None = None
    _: KW_ONLY
    epochs: float | None = None

    def __post_init__(self) -> None:
        positive("gamma", self.gamma)
        super().__post_init__()
        if self._length == (None, None):
            raise InputError("step_decay needs steps=... or epochs=... between two drops")

    def factor(self, t: float) -> float:
        return self.gamma ** math.floor(t / _whole(self))


@dataclass(frozen=True, repr=False)
class Cosine(Schedule):
    """`end + (1 - end) (1 + cos(pi t / steps)) / 2` after a linear `warmup`, held at `end` afterwards.

    Source: Loshchilov, Hutter, SGDR, 2017, arXiv:1608.03983 (without restarts).

    >>> cosine(steps=110, warmup=10)(60)
    0.5
    """

    steps: float | None = None
    _: KW_ONLY
    epochs: float | None = None
    warmup: float = 0.0
    end: float = 0.0
    durations: ClassVar[tuple[str, ...]] = ("warmup",)

    def __post_init__(self) -> None:
        at_least("end", self.end, 0)
        super().__post_init__()

    def factor(self, t: float) -> float:
        if t < self.warmup:
            return _ramp(t, self.warmup)
        return _cosine((t - self.warmup) / max(_whole(self) - self.warmup, 1e-9), 1.0, self.end)


@dataclass(frozen=True, repr=False)
class OneCycle(Schedule):
    """Up to the learning rate and down far below where it began, both along half a cosine, in `steps` updates.

    From `1 / div` up to 1 over the share `up` of the steps, then down to `1 / (div * final_div)` at the last one. The first
    is step 0 and the last is `steps - 1`, as in torch's `OneCycleLR`, whose defaults these are.

    Source: Smith, Topin, Super-Convergence, 2018, arXiv:1708.07120.

    >>> one_cycle(steps=100)(29)
    1.0
    """

    steps: float | None = None
    _: KW_ONLY
    epochs: float | None = None
    up: float = 0.3
    div: float = 25.0
    final_div: float = 1e4

    def __post_init__(self) -> None:
        between("up", self.up, 0, 1)
        positive("div", self.div)
        positive("final_div", self.final_div)
        super().__post_init__()

    def factor(self, t: float) -> float:
        low, last = 1 / self.div, _whole(self) - 1
        peak = self.up * _whole(self) - 1
        if t <= peak:
            return _cosine(t / peak if peak > 0 else 1.0, low, 1.0)
        return _cosine((t - peak) / max(last - peak, 1e-9), 1.0, low / self.final_div)


@dataclass(frozen=True, repr=False)
class WarmupHoldCooldown(Schedule):
    """Linear warm-up, a plateau at 1, then a cool-down to `end`: also called WSD, or trapezoid.

    `shape` of the cool-down: `"linear"`, `1 - x`, or `"sqrt"`, `1 - sqrt(x)`, with `x` the share of it that has passed.

    Source: Hägele et al., Scaling Laws and Compute-Optimal Training Beyond Fixed Training Durations, 2024, arXiv:2405.18392.

    >>> plan = warmup_hold_cooldown(steps=100, warmup=10, cooldown=20)
    >>> plan(10), plan(79), plan(90), plan(100)
    (1.0, 1.0, 0.5, 0.0)
    """

    steps: float | None = None
    _: KW_ONLY
    epochs: float | None = None
    warmup: float = 0.0
    cooldown: float = 0.0
    shape: str = "linear"
    end: float = 0.0
    durations: ClassVar[tuple[str, ...]] = ("warmup", "cooldown")

    def __post_init__(self) -> None:
        at_least("end", self.end, 0)
        if self.shape not in ("linear", "sqrt"):
            raise InputError(f"shape must be 'linear' or 'sqrt' (got {self.shape!r})")
        super().__post_init__()

    def factor(self, t: float) -> float:
        if t < self.warmup:
            return _ramp(t, self.warmup)
        begin = _whole(self) - self.cooldown
        if t < begin or not self.cooldown:
            return 1.0
        passed = min((t - begin) / self.cooldown, 1.0)
        return self.end + (1 - self.end) * (1 - (math.sqrt(passed) if self.shape == "sqrt" else passed))


constant = Constant
exponential = Exponential
polynomial = Polynomial
inverse_time = InverseTime
step_decay = StepDecay
cosine = Cosine
one_cycle = OneCycle
warmup_hold_cooldown = WarmupHoldCooldown


def linear(steps: float | None = None, *, epochs: float | None = None, end: float = 0.0, warmup: float = 0.0) -> Polynomial:
    """`(1 - end) (1 - t / steps) + end`: the polynomial of power 1.

    >>> linear(steps=10)(4)
    0.6
    """
    return Polynomial(1, steps, epochs=epochs, end=end, warmup=warmup)
