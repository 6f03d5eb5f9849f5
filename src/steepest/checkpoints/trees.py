"""State as JSON and tensors: a tree of dicts, lists and tuples taken apart, and put together again exactly as it was."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import torch
from torch import Tensor

from ..errors import InputError, shown

MARK = "$"  # in a dict of the document: this is not a dict but what the mark says
Tensors = dict[str, Tensor]


def take_apart(tree: Any) -> tuple[Any, Tensors]:
    """Return a document that JSON holds exactly, and the tensors it names; one that stands at two places is named twice.

    Raises:
        InputError: a value that could not be put together again as it was, and where it stands.

    >>> document, tensors = take_apart({"w": torch.ones(2), "at": (3, None)})
    >>> document
    {'w': {'$': 'tensor', 'at': 'w'}, 'at': {'$': 'tuple', 'of': [3, None]}}
    >>> list(tensors)
    ['w']
    """
    tensors: Tensors = {}
    seen: dict[tuple[Any, ...], str] = {}
    return _apart(tree, "", tensors, seen), tensors


def _apart(value: Any, at: str, tensors: Tensors, seen: dict[tuple[Any, ...], str]) -> Any:
    if isinstance(value, Tensor):
        if value.layout != torch.strided:
            raise InputError(f"{at} is a tensor of {value.layout}, which a checkpoint cannot keep; make it dense")
        key = (value.data_ptr(), value.shape, value.stride(), value.dtype, value.device)
        if key not in seen or not value.numel():
            seen[key] = at if at not in tensors else f"{at}#{len(tensors)}"  # {"a.b": ...} beside {"a": {"b": ...}}
            tensors[seen[key]] = value.detach()
        return {MARK: "tensor", "at": seen[key]} | _order(value)
    if isinstance(value, Mapping):
        pairs = [(key, _apart(item, f"{at}.{key}" if at else str(key), tensors, seen)) for key, item in value.items()]
        if MARK not in value and all(type(key) is str for key in value):
            return dict(pairs)
        return {MARK: "dict", "of": [[_apart(key, at, tensors, seen), item] for key, item in pairs]}
    if type(value) in (list, tuple):
        items = [_apart(item, f"{at}.{i}", tensors, seen) for i, item in enumerate(value)]
        return items if type(value) is list else {MARK: "tuple", "of": items}
    if isinstance(value, float) and not isinstance(value, bool):
        return float(value) if math.isfinite(value) else {MARK: "float", "is": str(float(value))}
    if value is None or type(value) in (bool, int, str):
        return value
    raise InputError(
        f"{at or 'the state'} is {_a(value)}, which a checkpoint cannot keep; expected tensors, numbers, text, lists or dicts"
    )


def _order(tensor: Tensor) -> dict[str, list[int]]:
    """Return the strides of a tensor that fills its memory in another order than that of its axes; blocks of memory mean it."""
    if tensor.is_contiguous() or torch.empty_like(tensor).stride() != tensor.stride():
        return {}
    return {"strides": list(tensor.stride())}


def _a(value: Any) -> str:
    return f"a {type(value).__name__} ({shown(value)})"


def put_together(document: Any, tensors: Mapping[str, Tensor]) -> Any:
    """Return the tree of a document and the tensors it names; every one of them must be named.

    Raises:
        InputError: a tensor that is missing or that nothing names, or a document that was not made by `take_apart`.
    """
    wanted: set[str] = set()
    tree = _together(document, tensors, wanted)
    if extra := sorted(set(tensors) - wanted):
        raise InputError(f"the state holds the tensor {extra[0]!r}, which nothing in it names")
    return tree


def _together(value: Any, tensors: Mapping[str, Tensor], wanted: set[str]) -> Any:
    if isinstance(value, list):
        return [_together(item, tensors, wanted) for item in value]
    if not isinstance(value, dict):
        return value
    kind = value.get(MARK)
    if MARK not in value:
        return {key: _together(item, tensors, wanted) for key, item in value.items()}
    if kind == "tensor" and isinstance(name := value.get("at"), str):
        if name not in tensors:
            raise InputError(f"the state lacks the tensor {name!r}")
        wanted.add(name)
        return _in_order(tensors[name], value.get("strides"))
    if kind == "tuple" and isinstance(items := value.get("of"), list):
        return tuple(_together(item, tensors, wanted) for item in items)
    if kind == "dict" and isinstance(pairs := value.get("of"), list) and all(_is_pair(pair) for pair in pairs):
        return {_together(key, tensors, wanted): _together(item, tensors, wanted) for key, item in pairs}
    if kind == "float" and value.get("is") in ("nan", "inf", "-inf"):
        return float(value["is"])
    raise InputError(f"the state holds {shown(value)}, which no checkpoint writes")


def _in_order(tensor: Tensor, strides: Any) -> Tensor:
    """Return a tensor that lies in memory as it did."""
    if strides is None or list(tensor.stride()) == strides:
        return tensor
    order = sorted(range(tensor.ndim), key=lambda axis: -strides[axis]) if _are_sizes(strides, tensor.ndim) else []
    made = tensor.permute(order).contiguous().permute([order.index(axis) for axis in range(tensor.ndim)]) if order else tensor
    if list(made.stride()) != strides:
        raise InputError(f"the state holds strides {shown(strides)} that do not fit a tensor of shape {tuple(tensor.shape)}")
    return made


def _are_sizes(value: Any, count: int) -> bool:
    return isinstance(value, list) and len(value) == count and all(type(item) is int and item >= 0 for item in value)


def _is_pair(pair: Any) -> bool:
    return isinstance(pair, list) and len(pair) == 2 and isinstance(pair[0], str | int | float)


def copied(tensors: Mapping[str, Tensor], into: Tensors | None = None) -> Tensors:
    """Return copies on the CPU that later training cannot change; `into` is memory of an earlier copy to use again."""
    spare = into or {}
    made = {}
    for name, tensor in tensors.items():
        room = spare.get(name)
        if room is None or (room.shape, room.dtype, room.stride()) != (tensor.shape, tensor.dtype, tensor.stride()):
            room = torch.empty_like(tensor, device="cpu")
        made[name] = room.copy_(tensor)
    return made


def leaves_of(tree: Any, at: str = "") -> Iterator[tuple[str, Any]]:
    """Yield everything that stands in a tree, and where: a path and a value for each leaf.

    >>> dict(leaves_of({"step": 3, "losses": [0.5, 0.25], "best": {}}))
    {'step': 3, 'losses.0': 0.5, 'losses.1': 0.25, 'best': {}}
    """
    pairs: Iterable[Any] = ()
    if isinstance(tree, Mapping):
        pairs = tree.items()
    elif isinstance(tree, list | tuple):
        pairs = enumerate(tree)
    empty = True
    for key, item in pairs:
        empty = False
        yield from leaves_of(item, f"{at}.{key}" if at else str(key))
    if empty:
        yield at, tree


def check_keys(what: str, found: Mapping[str, Any] | Any, expected: Iterable[str]) -> None:
    """Raise unless a dict has exactly these keys: state that is missing or extra is never passed over.

    >>> check_keys("the state", {"step": 1}, ["step", "losses"])
    Traceback (most recent call last):
    steepest.errors.InputError: the state lacks 'losses'
    """
    if not isinstance(found, Mapping):
        raise InputError(f"{what} is {_a(found)}, expected a dict")
    wanted = set(expected)
    if lacking := sorted(wanted - set(found)):
        raise InputError(f"{what} lacks {lacking[0]!r}")
    if extra := sorted(set(map(str, found)) - wanted):
        raise InputError(f"{what} holds {extra[0]!r}, which is unknown here")
