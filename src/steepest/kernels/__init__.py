"""Kernels: how a rule's formula is executed. One formula, several executions; `eager` is the definition of all others."""

from . import eager, fused, native
from .block import Block
from .execution import Executor, choose, name_of

__all__ = ["Block", "Executor", "choose", "eager", "fused", "name_of", "native"]
