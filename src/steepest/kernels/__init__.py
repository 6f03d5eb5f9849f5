"""Kernels: how a rule's formula is executed. One formula, several executions; `eager` is the definition of all others."""

from . import eager, fused, gpu, native
from .block import Block, has_memory
from .dense import DenseInC, cross_entropy
from .execution import Executor, choose, name_of, scales
from .gpu import Outcome, Scaling
from .whereabouts import Contents, Whereabouts

__all__ = [
    "Block", "Contents", "DenseInC", "Executor", "Outcome", "Scaling", "Whereabouts", "choose", "cross_entropy", "eager",
    "fused", "gpu", "has_memory", "name_of", "native", "scales",
]  # fmt: skip
