"""What tensors are like and where they lie, asked at every step: what lets an optimizer keep its tables.

Hundreds of parameters, gradients and state tensors are asked. In C that takes a third of the time (`asking.py`); where there is
no compiler, or torch cannot be asked in C, Python asks.
"""

from __future__ import annotations

import operator
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from .asking import loops
from .block import PLAIN


class Whereabouts:
    """What some tensors are like (type, dtype, device, shape, strides), not what they hold; and where they lie now.

    The first `same` of them are known in person: another tensor in the place of one is not the same, however like it is.
    `pointers` are the addresses found when they were last asked.
    """

    def __init__(self, tensors: Sequence[Tensor], same: int = 0) -> None:
        self._same = list(tensors[:same])
        self._single = [i for i, t in enumerate(tensors) if i >= same and t.numel() == 1]
        self.pointers = np.zeros(len(tensors), dtype=np.int64)
        objects, like = np.zeros_like(self.pointers), np.zeros(sum(3 + 2 * t.ndim for t in tensors), dtype=np.int64)
        self._arrays = objects, self.pointers, like
        self._addresses = [array.ctypes.data for array in self._arrays]
        self._known: list[object] = []
        self._loops = loops()
        if self._loops is not None and not self._ask(list(tensors), known=False):
            self._loops = None  # a tensor without a memory of its own
        if self._loops is None:
            self._known = _described(tensors)
            self.pointers[:] = [_lies_at(t) for t in tensors]

    def hold(self, tensors: list[Any]) -> bool:
        """Return whether these tensors are like the known ones, one by one; None is like nothing."""
        if len(tensors) != len(self.pointers):
            return False
        if self._loops is not None:
            alike = self._ask(tensors, known=True)
        else:
            alike = all(map(operator.is_, self._same, tensors)) and _described(tensors) == self._known
            if alike:
                self.pointers[:] = [_lies_at(t) for t in tensors]
        # a view of negated numbers has strides of its own, except when it is of one
        return alike and not any(tensors[i].is_neg() for i in self._single)

    def _ask(self, tensors: list[Any], *, known: bool) -> bool:
        assert self._loops is not None
        return bool(self._loops.ask(self._loops.ways, tensors, len(tensors), len(self._same), known, *self._addresses))


class Contents:
    """Which tensors a dict of dicts holds, and where they lie; what numbers are written to them is not looked at."""

    def __init__(self, whole: Mapping[Any, dict[str, Any]]) -> None:
        self._objects = _objects(whole)
        self._ids = np.array([id(one) for one in self._objects], dtype=np.int64)
        self._tensors = list({id(one): one for one in self._objects if isinstance(one, Tensor)}.values())
        self._whereabouts = Whereabouts(self._tensors, same=len(self._tensors))
        self._lie_at = self._whereabouts.pointers.copy()
        self._loops = loops()

    def hold(self, whole: Mapping[Any, dict[str, Any]]) -> bool:
        """Return whether these are the very things it held, and its tensors lie where they did."""
        if self._loops is not None:
            same = bool(self._loops.walk(self._loops.ways, whole, len(self._ids), self._ids.ctypes.data))
        else:
            now = _objects(whole)
            same = len(now) == len(self._objects) and all(map(operator.is_, now, self._objects))
        return same and self._whereabouts.hold(self._tensors) and bool((self._whereabouts.pointers == self._lie_at).all())


def _objects(whole: Mapping[Any, dict[str, Any]]) -> list[Any]:
    """Return the dicts of a dict, each followed by its values."""
    return [one for part in whole.values() for one in (part, *part.values())]


def _described(tensors: Sequence[Any]) -> list[object]:
    """Return what tensors are like, in Python."""
    return [
        (type(t), t.dtype, t.device, t.shape, t.layout, t.stride() if t.layout == torch.strided else None)
        if isinstance(t, Tensor)
        else None
        for t in tensors
    ]


def _lies_at(t: Tensor) -> int:
    """Return the address of a tensor, 0 for one without a memory of its own."""
    return t.data_ptr() if type(t) in PLAIN and t.layout == torch.strided and not t.is_meta else 0
