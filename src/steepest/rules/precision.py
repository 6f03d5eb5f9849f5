"""Rules for little memory: what the parameter loses by rounding is carried on, or rounded at random; state in fewer bits.

In bfloat16 a parameter just below 1 changes by 1/256 at least, one just above by 1/128: smaller steps are lost when they are
rounded to the nearest. Two remedies keep them. `compensated` writes down what was lost and adds it to the next step;
`stochastic_rounding` rounds up or down at random, so that small steps arrive on average.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, ClassVar

from ..errors import InputError, check_seed, one_of, whole
from .core import Link, Parameter, Projection, Rule, Slot, Transform
from .language import Formula, Symbol, stored

STORAGES = ("8-bit", "bfloat16", "float16", "float32")
SMALLEST = {"8-bit": 4096}  # below, scales and the loss of digits are not worth the bytes


@dataclass(frozen=True, repr=False)
class Compensated(Projection):
    """Carry what rounding the parameter lost to the next step: `y = q + c; p <- round(y); c <- y - p`.

    This is Kahan's compensated sum. Stands last. The parameter and its compensation together are as exact as twice the bits.

    Source: Kahan, Further remarks on reducing truncation errors, 1965; Zamirai et al., Revisiting BFloat16 Training, 2020,
    arXiv:2010.06192.

    >>> from steepest import adamw, chain
    >>> chain(adamw(0.001), compensated())
    chain(adamw(0.001), compensated())
    """

    takes_last: ClassVar[bool] = True
    slots: ClassVar[Mapping[str, float | Slot]] = MappingProxyType({"compensation": Slot(0.0, storage="parameter")})

    def project(self, q: Symbol, p: Symbol, s: Any, k: Any) -> Formula:
        y = q + s.compensation
        rounded = yield stored(y)
        s.compensation = y - rounded
        return rounded


@dataclass(frozen=True, repr=False)
class StochasticRounding(Projection):
    """Round bfloat16 parameters up or down at random, so that the mean of the rounding is exact. Stands last.

    16 random bits are added to what will be cut off. They depend on the seed, the parameter's place, the element and the step
    alone. Other dtypes are rounded to the nearest.

    Source: Gupta et al., Deep Learning with Limited Numerical Precision, 2015, arXiv:1502.02551; Zamirai et al., 2020,
    arXiv:2010.06192.

    >>> from steepest import adamw, chain
    >>> chain(adamw(0.001), stochastic_rounding(seed=1))
    chain(adamw(0.001), stochastic_rounding(seed=1))
    """

    takes_last: ClassVar[bool] = True
    seed: int = 0

    def __post_init__(self) -> None:
        check_seed(self.seed, "stochastic_rounding seed")

    def project(self, q: Symbol, p: Symbol, s: Any, k: Any) -> Formula:
        return (yield stored(q, self.seed))


@dataclass(frozen=True, repr=False)
class KeptState(Rule):
    """A rule whose state is kept in another format; see `keep_state`."""

    rule: Rule
    storage: str
    min_size: int

    def __post_init__(self) -> None:
        if not isinstance(self.rule, Rule):
            raise InputError(f"keep_state takes a rule such as adamw(1e-3) (got {self.rule!r})")
        one_of("keep_state storage", self.storage, STORAGES)
        whole("min_size", self.min_size, 0)

    def links(self, parameter: Parameter, path: str = "") -> tuple[Link, ...]:
        links = self.rule.links(parameter, path)
        if math.prod(parameter.shape) < self.min_size:
            return links
        return tuple(link._replace(storage=link.storage or self.storage) for link in links)

    def transforms(self) -> tuple[Transform, ...]:
        return self.rule.transforms()

    def __repr__(self) -> str:
        size = "" if self.min_size == SMALLEST.get(self.storage, 0) else f", min_size={self.min_size}"
        return f"keep_state({self.rule!r}, {self.storage!r}{size})"


def keep_state(rule: Rule, storage: str = "8-bit", *, min_size: int | None = None) -> KeptState:
    """Keep the state of a rule in `"8-bit"` blocks, or in a floating dtype of its own, whatever the parameter's is.

    In 8 bits, every 256 numbers share a scale; a number takes 1 + 4/256 bytes. Parameters of fewer than `min_size` numbers
    (4,096 in 8 bits, none otherwise) keep theirs as they are. Copies of the weights (averages, Schedule-Free's `z`) stay whole,
    and so do means of squares in `"bfloat16"` and `"float16"`, which lose them.

    Source: Dettmers, Lewis, Shleifer, Zettlemoyer, 8-bit Optimizers via Block-wise Quantization, 2022, arXiv:2110.02861;
    their table of 256 values is a power law here.

    >>> from steepest import adamw
    >>> keep_state(adamw(0.001))
    keep_state(adamw(0.001), '8-bit')
    """
    return KeptState(rule, storage, SMALLEST.get(storage, 0) if min_size is None else min_size)


compensated = Compensated
stochastic_rounding = StochasticRounding
