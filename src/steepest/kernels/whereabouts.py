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
from .block import has_memory


class Whereabouts:
    """What some tensors are like (type, dtype, device, shape, strides), not what they hold; and where they lie now.

    The first `same` of them are known in person: another tensor in the place of one is not the same, however like it is.
    `addresses` are those found when they were last asked, 0 for a tensor without a memory of its own.
    """

    def __init__(self, tensors: Sequence[Tensor], same: int = 0) -> None:
        self._same, self._types = list(tensors[:same]), set(map(type, tensors))  # kept, or others could come to lie there
        self._single = [i for i, t in enumerate(tensors) if i >= same and t.numel() == 1]
        self.addresses = np.zeros(len(tensors), dtype=np.int64)
        ids = np.array(list(map(id, self._same)), dtype=np.int64)
        numbers = np.zeros(sum(3 + 2 * t.ndim for t in tensors), dtype=np.int64)
        self._arrays = ids, numbers, self.addresses
        self._before, self._after = (ids.ctypes.data, same), (numbers.ctypes.data, len(numbers), self.addresses.ctypes.data)
        self._known: list[object] = []
        self._loops = loops()
        if self._loops is not None and not self._ask(list(tensors), known=False):
            self._loops = None  # a tensor without a memory of its own
        if self._loops is None:
            self._known = _described(tensors)
            self.addresses[:] = list(map(_address, tensors))

    def match(self, tensors: list[Any]) -> bool:
        """Return whether these tensors are like the known ones, one by one; None is like nothing.

        A view of negated numbers has strides of its own, except when it is of one number, or made by `torch._neg_view`.
        """
        if len(tensors) != len(self.addresses):
            return False
        if self._loops is not None:
            alike = self._ask(tensors, known=True)
        else:
            alike = all(map(operator.is_, self._same, tensors)) and _described(tensors) == self._known
            if alike:
                self.addresses[:] = list(map(_address, tensors))
        return alike and not any(tensors[i].is_neg() for i in self._single)

    def _ask(self, tensors: list[Any], *, known: bool) -> bool:
        assert self._loops is not None
        return bool(self._loops.ask(self._loops.api, tensors, len(tensors), *self._before, known, *self._after))


class Contents:
    """Which tensors a dict of dicts holds, and where they lie; what numbers are written to them is not looked at."""

    def __init__(self, whole: Mapping[Any, dict[str, Any]]) -> None:
        self._objects = _objects(whole)
        self._ids = np.array(list(map(id, self._objects)), dtype=np.int64)
        self._tensors = list({id(one): one for one in self._objects if isinstance(one, Tensor) and one not in whole}.values())
        self._whereabouts = Whereabouts(self._tensors, same=len(self._tensors))
        self._addresses = self._whereabouts.addresses.copy()
        self._loops = loops()

    def match(self, whole: Mapping[Any, dict[str, Any]]) -> bool:
        """Return whether these are the very things it held, and its tensors lie where they did."""
        if self._loops is not None:
            same = bool(self._loops.same_contents(self._loops.api, whole, len(self._ids), self._ids.ctypes.data))
        else:
            now = _objects(whole)
            same = len(now) == len(self._objects) and all(map(operator.is_, now, self._objects))
        return same and self._whereabouts.match(self._tensors) and np.array_equal(self._whereabouts.addresses, self._addresses)


def _objects(whole: Mapping[Any, dict[str, Any]]) -> list[Any]:
    """Return the keys and dicts of a dict, and after each its own keys and values."""
    found: list[Any] = []
    for key, part in whole.items():
        found += (key, part)
        for pair in part.items() if isinstance(part, dict) else ():
            found += pair
    return found


def _described(tensors: Sequence[Any]) -> list[object]:
    """Return what tensors are like, in Python."""
    return [
        (type(t), t.dtype, t.device, t.shape, t.layout, t.stride() if t.layout == torch.strided else None, has_memory(t))
        if isinstance(t, Tensor)
        else None
        for t in tensors
    ]


def _address(t: Tensor) -> int:
    return t.data_ptr() if has_memory(t) else 0
