"""The links that work on whole matrices: orthogonalisation, factored second moments. Notation as in `transforms`."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import chain, repeat
from typing import Any, ClassVar

from ..errors import InputError, at_least, between, one_of, whole
from .core import Parameter, Slot, Transform
from .language import (
    NEWTON_SCHULZ,
    Formula,
    Symbol,
    clamp,
    lerp,
    maximum,
    mean,
    mean_along,
    orthogonalize,
    precision,
    sides,
    sqrt,
)

# Each step's polynomial (Amsel et al., 2025, algorithm 1), shrunk by the margin of safety but for the last, which repeats.
MARGIN = 1.01
_POLAR_EXPRESS = (
    (8.28721201814563, -23.595886519098837, 17.300387312530933),
    (4.107059111542203, -2.9478499167379106, 0.5448431082926601),
    (3.9486908534822946, -2.908902115962949, 0.5518191394370137),
    (3.3184196573706015, -2.488488024314874, 0.51004894012372),
    (2.300652019954817, -1.6689039845747493, 0.4188073119525673),
    (1.891301407787398, -1.2679958271945868, 0.37680408948524835),
    (1.8750014808534479, -1.2500016453999487, 0.3750001645474248),
)
POLAR_EXPRESS = (*((a / MARGIN, b / MARGIN**3, c / MARGIN**5) for a, b, c in _POLAR_EXPRESS), (1.875, -1.25, 0.375))


@dataclass(frozen=True, repr=False)
class Orthogonal(Transform):
    """Replace a matrix by (nearly) its orthogonal polar factor `U V^T`, scaled by its shape.

    Args:
        steps: of the iteration; both tables are published with 5.
        adjust: `"original"` multiplies by `sqrt(max(1, rows / columns))`, `"match_rms_adamw"` by
            `0.2 sqrt(max(rows, columns))`, which lets AdamW's learning rates be kept.
        coefficients: `"newton_schulz"` (or its three numbers): the same polynomial at every step, which leaves singular values
            between about 0.7 and 1.2; `"polar_express"`: at each step the best one for what the step before has left, which
            brings them nearer to 1.
        dtype: None takes bfloat16 where the device multiplies it fast and float32 elsewhere; name one to fix it.

    Source: Jordan et al., Muon, 2024, https://kellerjordan.github.io/posts/muon/; Liu et al., Muon is Scalable for LLM
    Training, 2025, arXiv:2502.16982; Amsel, Persson, Musco, Gower, The Polar Express, 2025, arXiv:2505.16932.

    >>> orthogonal(steps=6)
    orthogonal(steps=6)
    """

    steps: int = 5
    adjust: str = "original"
    coefficients: str | tuple[float, float, float] = "newton_schulz"
    eps: float = 1e-7
    dtype: str | None = None

    def __post_init__(self) -> None:
        whole("orthogonal steps", self.steps, 1, 99)
        one_of("orthogonal adjust", self.adjust, ("original", "match_rms_adamw"))
        one_of("orthogonal dtype", self.dtype, (None, "bfloat16", "float32"))
        if not (isinstance(self.coefficients, tuple) and len(self.coefficients) == 3):
            one_of("orthogonal coefficients", self.coefficients, ("newton_schulz", "polar_express"))

    def refusal(self, parameter: Parameter) -> str | None:
        if len(parameter.shape) >= 2:
            return None
        return (
            f"muon takes matrices (got {parameter}); use split(matrices=muon(0.02), convolutions=muon(0.02), rest=adamw(3e-4))"
        )

    def formula(self, u: Symbol, p: Symbol, s: Any, k: Any) -> Formula:
        rows, columns = yield sides()
        if self.adjust == "match_rms_adamw":
            factor = 0.2 * sqrt(maximum(rows, columns))
        else:
            factor = sqrt(clamp(rows / clamp(columns, low=1.0), low=1.0))
        return factor * (yield orthogonalize(u, **self._iteration(), eps=self.eps, dtype=self.dtype))

    def _iteration(self) -> dict[str, Any]:
        if self.coefficients == "polar_express":
            table = chain(POLAR_EXPRESS, repeat(POLAR_EXPRESS[-1]))
            return {"coefficients": tuple(next(table) for _ in range(self.steps)), "margin": MARGIN}
        same = NEWTON_SCHULZ if isinstance(self.coefficients, str) else self.coefficients
        return {"coefficients": (same,) * self.steps}


@dataclass(frozen=True, repr=False)
class ScaleByAdafactor(Transform):
    """Scale by second moments kept as a row and a column: `R C / mean(R)` in the place of `V`.

    `R <- R + t^beta2_decay (mean over columns of u^2 - R)`, `C` likewise over rows (of the last two dimensions);
    `w = u / sqrt(max(R C / max(mean(R), eps1), eps1^2))`; `u <- w / max(1, rms(w) / d)`, times `max(eps2, rms(p))` and
    `min(lr, 1 / sqrt(t))`, of which the learning rate's link brings `lr`. A vector keeps its squares whole.

    Args:
        eps: `eps1`, None for the distance from 1 to the next number in the precision computed in, and `eps2`.
        d: the largest root mean square of a step before it is scaled by that of its parameter.

    Source: Shazeer, Stern, Adafactor: Adaptive Learning Rates with Sublinear Memory Cost, 2018, arXiv:1804.04235; as in torch,
    which puts `eps1` where it divides.

    >>> scale_by_adafactor(d=2.0)
    scale_by_adafactor(d=2.0)
    """

    beta2_decay: float = -0.8
    eps: tuple[float | None, float] = (None, 1e-3)
    d: float = 1.0
    slots: ClassVar[Mapping[str, float | Slot]] = {
        "row_var": Slot(shape=lambda shape: (*shape[:-1], 1) if len(shape) > 1 else (0,), nonnegative=True),
        "col_var": Slot(shape=lambda shape: (*shape[:-2], 1, shape[-1]) if len(shape) > 1 else (0,), nonnegative=True),
        "variance": Slot(shape=lambda shape: shape if len(shape) <= 1 else (0,), nonnegative=True),
    }

    def __post_init__(self) -> None:
        between("beta2_decay", self.beta2_decay, -float("inf"), 0)
        if not (isinstance(self.eps, tuple) and len(self.eps) == 2):
            raise InputError(f"eps must be two numbers, the first None for the precision's own (got {self.eps!r})")
        if self.eps[0] is not None:
            at_least("eps[0]", self.eps[0], 0)
        at_least("eps[1]", self.eps[1], 0)
        at_least("d", self.d, 1)

    def scalars(self, t: int, lr: float) -> dict[str, Any]:
        relative = min(lr, 1 / math.sqrt(t)) / lr if lr else 1.0
        return {"d": self.d, "eps2": self.eps[1], "taken": t**self.beta2_decay, "relative": relative}

    def formula(self, u: Symbol, p: Symbol, s: Any, k: Any) -> Formula:
        eps1 = precision(u) if self.eps[0] is None else self.eps[0]
        if u.ndim > 1:
            s.row_var = lerp(s.row_var, mean_along(u * u, -1), k.taken)
            s.col_var = lerp(s.col_var, mean_along(u * u, -2), k.taken)
            variance = s.row_var @ s.col_var / clamp(mean_along(s.row_var, -2), low=eps1)
        else:
            variance = s.variance = lerp(s.variance, u * u, k.taken)
        step = u / sqrt(clamp(variance, low=eps1 * eps1))
        of_step, of_parameter = yield mean(step * step, p * p)
        size = clamp(sqrt(of_parameter), low=k.eps2) * k.relative
        return step * (size / clamp(sqrt(of_step) / k.d, low=1.0))


orthogonal = Orthogonal
scale_by_adafactor = ScaleByAdafactor
