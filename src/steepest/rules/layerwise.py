"""Links that scale a whole tensor's step by the size of its weights: for very large batches. Notation as in `transforms`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ..errors import at_least, positive, switch
from .core import Parameter, Transform
from .language import Formula, Symbol, sqrt, total, where


@dataclass(frozen=True, repr=False)
class ScaleByTrustRatio(Transform):
    """Give each tensor a step in proportion to its weights: `u <- u coefficient |p| / (|u| + eps)`, norms over a tensor.

    Where either norm is 0, `u` stays as it is. With `exclude_vectors`, biases and the scales of norms stay as they are too, as
    is commonly done.

    Source: You, Gitman, Ginsburg, Large Batch Training of Convolutional Networks, 2017, arXiv:1708.03888.

    >>> scale_by_trust_ratio(0.001)
    scale_by_trust_ratio(coefficient=0.001)
    """

    coefficient: float = 1.0
    eps: float = 0.0
    exclude_vectors: bool = False

    def __post_init__(self) -> None:
        positive("trust ratio coefficient", self.coefficient)
        at_least("eps", self.eps, 0)
        switch("exclude_vectors", self.exclude_vectors)

    def serves(self, parameter: Parameter) -> bool:
        return not (self.exclude_vectors and parameter.kind == "vectors")

    def formula(self, u: Symbol, p: Symbol, s: Any, k: Any) -> Formula:
        of_p, of_u = yield total(p * p, u * u, over="tensor")
        ratio = k.coefficient * sqrt(of_p) / (sqrt(of_u) + k.eps)
        return u * where(of_p > 0, where(of_u > 0, ratio, 1.0), 1.0)


scale_by_trust_ratio = ScaleByTrustRatio
