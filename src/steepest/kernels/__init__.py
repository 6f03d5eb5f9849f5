"""Kernels: how a rule's formula is executed. One formula, several executions; `eager` is the definition of all others."""

from . import eager, fused
from .block import Block

__all__ = ["Block", "eager", "fused"]
