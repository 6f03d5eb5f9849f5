"""The state of a parameter: what a rule keeps for it, created when it is first updated, and taken along when it moves.

It lies in `optimizer.state[p]` under torch's names. State in 8 bits lies there as its codes, in the parameter's shape, and its
scales, under the slot's name followed by `_scale`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor

from .errors import InputError
from .kernels import storage
from .kernels.eager import read, wide, write
from .rules import Link
from .rules.core import Slot, one_number

SCALE = "_scale"
TRAINING = "training_weights"  # where the weights of the training wait while the parameter holds those for evaluation


def names_of(links: Iterable[Link]) -> list[dict[str, str]]:
    """Return each link's slots with their key in `optimizer.state`: torch's name, numbered where two links share one."""
    seen: dict[str, int] = {}
    names = []
    for link in links:
        mine = {}
        for slot in link.slots():
            seen[slot] = seen.get(slot, 0) + 1
            mine[slot] = slot if seen[slot] == 1 else f"{slot}_{seen[slot]}"
        names.append(mine)
    return names


def fill(state: dict[str, Any], p: Tensor, links: Sequence[Link], names: Sequence[dict[str, str]]) -> None:
    """Create what is missing of a parameter's state, and bring along what a moved parameter left behind."""
    check(state, p, links, names)  # compiled code would write past the end
    for link, keys in zip(links, names, strict=True):
        for slot, spec in link.slots().items():
            key = keys[slot]
            if state.get(key) is None:  # torch's SGD keeps None where it has no buffer yet
                _begin(state, p, key, spec)
                continue
            held, dtype = state[key], _dtype(p, spec)
            if spec.shape is None and (held.dtype, held.device, held.stride()) != (dtype, p.device, p.stride()):
                _move(state, p, key, spec)
            elif (held.dtype, held.device) != (dtype, p.device):
                state[key] = held.to(device=p.device, dtype=dtype)
            if key + SCALE in state:
                state[key + SCALE] = state[key + SCALE].to(device=p.device, dtype=torch.float32)


def take_over(states: list[dict[str, Any]], others: list[dict[str, Any]], shared: Iterable[str]) -> None:
    """Give parameters what the whole group shares, from the one that was updated most often."""
    for key in shared:
        known = [state for state in others if key in state]
        if known:
            latest = max(known, key=lambda state: int(state.get("step", 0)))[key]
            for state in states:
                if state[key] is not latest:
                    state[key].copy_(latest)


def check(state: dict[str, Any], p: Tensor, links: Iterable[Link], names: Iterable[dict[str, str]]) -> None:
    """Refuse state of a parameter of another shape."""
    for link, keys in zip(links, names, strict=True):
        for slot, spec in link.slots().items():
            shape = tuple(p.shape) if spec.shape is None else spec.shape(tuple(p.shape))
            expected = {keys[slot]: shape}
            if spec.shape is None:
                expected[keys[slot] + SCALE] = (storage.blocks_of(p.numel()),)
            for key, size in expected.items():
                held = state.get(key)
                if held is not None and tuple(held.shape) != size:
                    raise InputError(f"state {key!r} has shape {tuple(held.shape)}, its parameter {tuple(p.shape)}")


def held(state: dict[str, Any], link: Link, keys: dict[str, str]) -> dict[str, Any]:
    """Return the slots of one link for one parameter, as they are kept."""
    return {slot: column([state], keys[slot], spec)[0] for slot, spec in link.slots().items()}


def column(states: Iterable[dict[str, Any]], key: str, spec: Slot) -> list[Any]:
    """Return one slot of several parameters."""
    if spec.storage == storage.EIGHT_BIT:
        return [storage.EightBit(state[key], state[key + SCALE]) for state in states]
    return [state[key] for state in states]


def _dtype(p: Tensor, spec: Slot) -> torch.dtype:
    """Return the dtype that a slot is kept in."""
    if spec.shape is not None:
        return torch.float64 if spec.shape is one_number and p.device.type != "mps" else wide(p.dtype)
    if spec.storage == storage.EIGHT_BIT:
        return torch.uint8 if spec.nonnegative else torch.int8
    if spec.storage == "wide":
        return wide(p.dtype)
    return p.dtype if spec.storage in (None, "parameter") else getattr(torch, spec.storage)


def _begin(state: dict[str, Any], p: Tensor, key: str, spec: Slot) -> None:
    """Create a slot with its first value."""
    dtype = _dtype(p, spec)
    if spec.shape is not None:
        state[key] = torch.full(spec.shape(tuple(p.shape)), float(spec.initial), dtype=dtype, device=p.device)
    else:
        state[key] = torch.zeros_like(p, dtype=dtype, memory_format=torch.preserve_format)
        if spec.storage == storage.EIGHT_BIT:
            if hasattr(p, "full_tensor"):
                raise InputError(
                    "8-bit state needs plain parameters (got a DTensor); keep_state(..., 'bfloat16') goes with both"
                )
            state[key + SCALE] = _no_scales(p)
        if spec.initial != 0:
            wide_p = p.detach().to(wide(p.dtype))
            first = wide_p if spec.initial == "parameter" else torch.full_like(wide_p, float(spec.initial))
            write(column([state], key, spec)[0], first)


def _no_scales(p: Tensor) -> Tensor:
    return torch.zeros(storage.blocks_of(p.numel()), dtype=torch.float32, device=p.device)


def _move(state: dict[str, Any], p: Tensor, key: str, spec: Slot) -> None:
    """Bring a slot to its parameter's device and layout, and to its format; codes go by way of the numbers they stand for."""
    held, scales = state[key], state.pop(key + SCALE, None)
    if scales is not None:
        held = storage.read(storage.EightBit(held, scales.to(held.device)), wide(p.dtype))
    state[key] = torch.empty_like(p, dtype=_dtype(p, spec), memory_format=torch.preserve_format)
    if spec.storage == storage.EIGHT_BIT:
        state[key + SCALE] = _no_scales(p)
        held = held.to(p.device, wide(p.dtype))
    write(column([state], key, spec)[0], held)


def unshared(state: Any) -> Any:
    """Return a parameter's state with a count of its own, as torch's optimizers have it: they add 1 for each parameter."""
    if isinstance(state, dict) and isinstance(state.get("step"), Tensor):
        return {**state, "step": state["step"].clone()}
    return state


def uncast(saved: dict[str, Any], p: Tensor) -> dict[str, Any]:
    """Return what torch has cast to the parameter's dtype on loading, as it was saved."""
    slots = ((slot, value) for slot, value in saved.items() if isinstance(value, Tensor) and slot != "step")
    return {slot: value.detach().clone().to(p.device) for slot, value in slots if value.dtype != p.dtype}


def observe(p: Tensor, state: dict[str, Any], links: Sequence[Link], names: Sequence[dict[str, str]], scale: float) -> None:
    """Have the links that take the curvature in see a parameter's gradient."""
    fill(state, p, links, names)
    state.setdefault("step", torch.tensor(0.0, dtype=torch.float32, device="cpu"))
    for link, keys in zip(links, names, strict=True):
        if hasattr(link.transform, "observe"):
            slots = held(state, link, keys)
            seen = SimpleNamespace(**{slot: read(value, wide(p.dtype)) for slot, value in slots.items()})
            scalars = SimpleNamespace(**link.transform.scalars(1, 1.0), scale=scale)
            assert p.grad is not None
            link.transform.observe(p.grad.to(wide(p.dtype)), seen, scalars)  # type: ignore[attr-defined]
            for slot, target in slots.items():
                write(target, getattr(seen, slot))
