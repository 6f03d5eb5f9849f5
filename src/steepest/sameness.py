"""Whether tensors are still what they were: the check that lets an optimizer keep its tables from step to step.

It runs at every step over every parameter and gradient. torch has it in C++ for its compiler's guards: 0.08 microseconds a
tensor, where asking in Python for dtype, device, size and layout took 0.4.
"""

from __future__ import annotations

import operator
from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor

try:
    from torch._C._dynamo.guards import TensorGuards  # pyright: ignore[reportMissingImports]
except ImportError:  # a private name of torch's: where it is gone, Python asks
    TensorGuards = None

_KIND = operator.attrgetter("dtype", "device", "layout", "shape")


class Sameness:
    """What tensors are like: type, dtype, device, size and layout; not what they hold, nor where they lie."""

    def __init__(self, tensors: Sequence[Tensor]) -> None:
        self._guards = TensorGuards(*tensors, dynamic_dims_sizes=None, dynamic_dims_strides=None) if TensorGuards else None
        self._known = None if self._guards else _described(tensors)

    def holds(self, tensors: Sequence[Tensor | None]) -> bool:
        """Return whether these tensors, one by one, are like the known ones; None is like nothing."""
        if self._guards is not None:
            return self._guards.check(*tensors)
        return all(t is not None for t in tensors) and _described(tensors) == self._known  # type: ignore[arg-type]


class SameState:
    """Which tensors an optimizer's state is made of: others put in their place are seen, numbers written to them are not."""

    def __init__(self, state: Mapping[Tensor, dict[str, Any]]) -> None:
        self._states = list(state.values())
        self._copies = [dict(one) for one in self._states]
        self._lie_at = self._ends()

    def holds(self, state: Mapping[Tensor, dict[str, Any]]) -> bool:
        """Return whether the state is made of the very tensors it was; one whose memory was exchanged is seen at the ends."""
        if len(state) != len(self._states) or not all(map(operator.is_, state.values(), self._states)):
            return False
        try:
            same = self._states == self._copies  # compares by identity first: a tenth of a microsecond a parameter
        except RuntimeError:  # two tensors of many numbers are neither equal nor unequal: there is another one
            return False
        return same and self._lie_at == self._ends()

    def _ends(self) -> list[int]:
        ends = [value for one in (self._states[:1] + self._states[-1:]) for value in one.values()]
        return [value.data_ptr() for value in ends if type(value) is Tensor]


def _described(tensors: Sequence[Tensor]) -> list[object]:
    strides = [t.stride() if t.layout.__repr__() == "torch.strided" else None for t in tensors]
    return [*map(type, tensors), *map(_KIND, tensors), *strides]
