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
    """Where some tensors lie, and what they are like (type, dtype, device, shape, strides), not what they hold.

    The tensors are known in person: another in the place of one is not the same, however like it is. With `gradients`, those
    they have are asked as well, and any that is like the known one will do. `addresses` are those found when all were last
    asked, first of the tensors; 0 where one has no memory of its own.
    """

    def __init__(self, tensors: Sequence[Tensor], *, gradients: bool = False) -> None:
        grads = [t.grad for t in tensors] if gradients else []
        everyone: list[Any] = [*tensors, *grads]
        self._tensors, self._gradients = list(tensors), gradients
        self._types = set(map(type, everyone))  # kept, or others could come to lie there
        self._single = [i for i, g in enumerate(grads) if g is not None and g.numel() == 1]
        self.addresses = np.zeros(len(everyone), dtype=np.int64)
        ids = np.array(list(map(id, tensors)), dtype=np.int64)
        numbers = np.zeros(sum(3 + 2 * t.ndim for t in everyone if t is not None), dtype=np.int64)
        self._arrays = ids, numbers, self.addresses
        self._before, self._after = (len(ids), ids.ctypes.data), (numbers.ctypes.data, len(numbers), self.addresses.ctypes.data)
        self._known: list[object] = []
        self._loops = loops()
        if self._loops is not None and self._asked_in_c(self._tensors, known=False) is None:
            self._loops = None  # a tensor without a memory of its own
        if self._loops is None:
            self._known = _described(everyone)
            self.addresses[:] = list(map(_address, everyone))

    def ask(self, tensors: list[Any]) -> list[Tensor] | None:
        """Return the gradients (none, where they are not asked), or None where anything is not as it is known.

        A view of negated numbers has strides of its own, except when it is of one number, or made by `torch._neg_view`.
        """
        if len(tensors) != len(self._tensors):
            return None
        grads = (self._asked_in_python if self._loops is None else self._asked_in_c)(tensors)
        return None if grads is None or any(grads[i].is_neg() for i in self._single) else grads

    def _asked_in_c(self, tensors: list[Any], *, known: bool = True) -> list[Any] | None:
        assert self._loops is not None
        grads: list[Any] = [None] * len(tensors) if self._gradients else []
        alike = self._loops.ask(self._loops.api, tensors, *self._before, "grad", grads, len(grads), known, *self._after)
        return grads if alike else None

    def _asked_in_python(self, tensors: list[Any]) -> list[Any] | None:
        if not all(map(operator.is_, self._tensors, tensors)):
            return None
        grads = [t.grad for t in tensors] if self._gradients else []
        if _described([*tensors, *grads]) != self._known:
            return None
        self.addresses[:] = list(map(_address, [*tensors, *grads]))
        return grads


class Contents:
    """Which tensors a dict of dicts holds, and where they lie; what numbers are written to them is not looked at."""

    def __init__(self, whole: Mapping[Any, dict[str, Any]]) -> None:
        self._objects = _objects(whole)
        self._ids = np.array(list(map(id, self._objects)), dtype=np.int64)
        self._tensors = list({id(one): one for one in self._objects if isinstance(one, Tensor) and one not in whole}.values())
        self._whereabouts = Whereabouts(self._tensors)
        self._addresses = self._whereabouts.addresses.copy()
        self._loops = loops()

    def match(self, whole: Mapping[Any, dict[str, Any]]) -> bool:
        """Return whether these are the very things it held, and its tensors lie where they did."""
        if self._loops is not None:
            same = bool(self._loops.same_contents(self._loops.api, whole, len(self._ids), self._ids.ctypes.data))
        else:
            now = _objects(whole)
            same = len(now) == len(self._objects) and all(map(operator.is_, now, self._objects))
        if not same or self._whereabouts.ask(self._tensors) is None:
            return False
        return np.array_equal(self._whereabouts.addresses, self._addresses)


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


def _address(t: Any) -> int:
    return t.data_ptr() if isinstance(t, Tensor) and has_memory(t) else 0
