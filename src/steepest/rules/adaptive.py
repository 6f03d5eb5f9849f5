"""The links that scale each element by what its gradients have been. Notation as in `transforms`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, ClassVar

from ..errors import InputError, at_least, between, one_of, positive, switch
from .core import Slot, Transform
from .language import Formula, Symbol, clamp, lerp, sign, sqrt, where
from .transforms import slots_from

PLACES = ("outside", "inside")


def _over_root(u: Symbol, square: Symbol, eps: Symbol, mode: str) -> Symbol:
    """Return `u / (sqrt(square) + eps)`, or `u / sqrt(square + eps)` where eps stands inside."""
    return u / (sqrt(square + eps) if mode == "inside" else sqrt(square) + eps)


@dataclass(frozen=True, repr=False)
class ScaleByAdagrad(Transform):
    """Divide by the root of the sum of squared gradients: `a <- a + u^2; u <- u / (sqrt(a) + eps)`.

    As in torch, `eps` stands outside the root and the sum starts at 0; in optax and keras it stands inside
    (`eps_mode="inside"`, 1e-7), and the sum starts at 0.1.

    Source: Duchi, Hazan, Singer, Adaptive Subgradient Methods for Online Learning and Stochastic Optimization, 2011.

    >>> scale_by_adagrad(eps=1e-8)
    scale_by_adagrad(eps=1e-08)
    """

    eps: float = 1e-10
    initial_accumulator_value: float = 0.0
    eps_mode: str = "outside"

    def __post_init__(self) -> None:
        at_least("eps", self.eps, 0)
        at_least("initial_accumulator_value", self.initial_accumulator_value, 0)
        one_of("eps_mode", self.eps_mode, PLACES)

    def initial_state(self) -> Mapping[str, float | Slot]:
        return {"sum": Slot(self.initial_accumulator_value, nonnegative=True)}

    def formula(self, u: Symbol, p: Symbol, s: Any, k: Any) -> Formula:
        s.sum = s.sum + u * u
        return _over_root(u, s.sum, k.eps, self.eps_mode)


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
    slots: ClassVar[Mapping[str, float | Slot]] = MappingProxyType(
        {"square_avg": Slot(nonnegative=True), "acc_delta": Slot(nonnegative=True)}
    )

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
    which gives NaN in torch; it counts as 0 here. As in torch, `eps` stands outside the root; in optax and keras, inside.

    Source: Tieleman, Hinton, lecture 6e of Neural Networks for Machine Learning, 2012; centered: Graves, Generating
    Sequences With Recurrent Neural Networks, 2013, arXiv:1308.0850.

    >>> scale_by_rms(alpha=0.9)
    scale_by_rms(alpha=0.9)
    """

    alpha: float = 0.99
    eps: float = 1e-8
    centered: bool = False
    initial_accumulator_value: float = 0.0
    eps_mode: str = "outside"

    def __post_init__(self) -> None:
        between("alpha", self.alpha, 0, 1, open_end=True)
        at_least("eps", self.eps, 0)
        switch("centered", self.centered)
        at_least("initial_accumulator_value", self.initial_accumulator_value, 0)
        one_of("eps_mode", self.eps_mode, PLACES)

    def initial_state(self) -> Mapping[str, float | Slot]:
        square = {"square_avg": Slot(self.initial_accumulator_value, nonnegative=True)}
        return square | {"grad_avg": Slot()} if self.centered else square

    def formula(self, u: Symbol, p: Symbol, s: Any, k: Any) -> Formula:
        s.square_avg = k.alpha * s.square_avg + (1 - k.alpha) * (u * u)
        if not self.centered:
            return _over_root(u, s.square_avg, k.eps, self.eps_mode)
        s.grad_avg = lerp(s.grad_avg, u, 1 - k.alpha)
        return _over_root(u, clamp(s.square_avg - s.grad_avg * s.grad_avg, low=0.0), k.eps, self.eps_mode)


@dataclass(frozen=True, repr=False)
class ScaleByRprop(Transform):
    """Keep signs alone, each with a size of its own: larger where the sign holds, smaller and one step at rest where it turns.

    `a = u u_before; size <- clamp(size * (plus if a > 0, minus if a < 0, else 1)); u <- 0 if a < 0; out goes size sign(u)`.
    Sizes are in units of the learning rate and begin at 1: torch's `step_sizes=(1e-6, 50)` are these at its learning rate 0.01.
    For full batches: the sign of a mini-batch's gradient turns by chance.

    Source: Riedmiller, Braun, A direct adaptive method for faster backpropagation learning: the RPROP algorithm, 1993.

    >>> scale_by_rprop(etas=(0.6, 1.1))
    scale_by_rprop(etas=(0.6, 1.1))
    """

    etas: tuple[float, float] = (0.5, 1.2)
    step_sizes: tuple[float, float] = (1e-4, 5e3)
    slots: ClassVar[Mapping[str, float | Slot]] = MappingProxyType({"prev": 0.0, "step_size": Slot(1.0, nonnegative=True)})

    def __post_init__(self) -> None:
        for name, pair in (("etas", self.etas), ("step_sizes", self.step_sizes)):
            if not (isinstance(pair, tuple) and len(pair) == 2):
                raise InputError(f"rprop {name} must be two numbers such as (0.5, 1.2) (got {pair!r})")
            at_least(f"rprop {name}", pair[0], 0)
        between("rprop etas[0]", self.etas[0], 0, 1)
        at_least("rprop etas[1]", self.etas[1], 1)
        at_least("rprop step_sizes[1]", self.step_sizes[1], self.step_sizes[0])

    def scalars(self, t: int, lr: float) -> dict[str, Any]:
        return {"minus": self.etas[0], "plus": self.etas[1], "least": self.step_sizes[0], "most": self.step_sizes[1]}

    def formula(self, u: Symbol, p: Symbol, s: Any, k: Any) -> Formula:
        agreed, size = u * s.prev, s.step_size
        grown = where(agreed > 0, k.plus * size, where(agreed < 0, k.minus * size, size))
        s.step_size = clamp(grown, k.least, k.most)
        s.prev = where(agreed < 0, 0.0 * size, u)
        return s.step_size * sign(s.prev)


@dataclass(frozen=True, repr=False)
class ScaleByLion(Transform):
    """Keep only signs: `u' = sign(b1 m + (1 - b1) u); m <- b2 m + (1 - b2) u`; the sign uses the *old* `m`.

    Source: Chen et al., Symbolic Discovery of Optimization Algorithms, 2023, arXiv:2302.06675.

    >>> scale_by_lion()
    scale_by_lion()
    """

    b1: float = 0.9
    b2: float = 0.99
    slots: ClassVar[Mapping[str, float]] = slots_from(exp_avg=0.0)

    def __post_init__(self) -> None:
        between("b1", self.b1, 0, 1, open_end=True)
        between("b2", self.b2, 0, 1, open_end=True)

    def formula(self, u: Symbol, p: Symbol, s: Any, k: Any) -> Formula:
        step = sign(lerp(s.exp_avg, u, 1 - k.b1))
        s.exp_avg = lerp(s.exp_avg, u, 1 - k.b2)
        return step


scale_by_adagrad = ScaleByAdagrad
scale_by_adadelta = ScaleByAdadelta
scale_by_rms = ScaleByRms
scale_by_rprop = ScaleByRprop
scale_by_lion = ScaleByLion
