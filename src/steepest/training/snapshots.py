"""The whole state of a training between two steps: taken, put back, and compared with what it should be."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from ..checkpoints import Packed, check_keys, leaves_of
from ..errors import InputError, first_line
from ..plans import as_plan
from .following import Follower
from .setup import Training

INSIDE = ("position", "scaler", "plan", "seconds", "waits", "batch", "seed", "recipe", "rows_sha256")
SECTIONS = ("model", "optimizer", "training", "follower", "inventory")


def state_of(t: Training, follower: Follower | None = None, *, rows: bool = False) -> dict[str, Any]:
    """Return all that a training's next steps depend on, beside task, recipe and seed.

    It holds the training's own tensors, for somebody who copies them before the next step. `inventory` names every item, so
    that one that is lost is missed. With `rows` it holds the fingerprint of the training part too.
    """
    state = {
        "model": _model_state(t.model),
        "optimizer": t.optimizer.state_to_copy(),
        "training": {
            "position": t.position.state(),
            "scaler": None if t.scaler is None else t.scaler.state_dict(),
            "plan": repr(t.plan),
            "seconds": dict(t.clock.seconds),
            "waits": t.waits,
            "batch": t.batch,
            "seed": t.seed,
            "recipe": repr(t.recipe),
            "rows_sha256": t.rows_sha256 if rows else None,
        },
        "follower": None if follower is None else follower.state(),
    }
    return state | {"inventory": [path for path, _ in leaves_of(state)]}


def taken(t: Training, follower: Follower | None = None, into: Packed | None = None, *, rows: bool = False) -> Packed:
    """Return a copy of the state, which later steps cannot change; `into` is an earlier one whose memory is used again."""
    return Packed.of(state_of(t, follower, rows=rows)).copied(into)


def restore(t: Training, state: Mapping[str, Any], follower: Follower | None = None, *, times: bool = True) -> None:
    """Have a training that was prepared alike go on from a state, whose tensors then are the training's own.

    With `times`, the seconds that were spent before are added to its own.

    Raises:
        InputError: an item of the state is missing, is one too many, or does not fit; the training is then not to be used.
    """
    check_keys("the state", state, SECTIONS)
    found = {path for path, _ in leaves_of({name: state[name] for name in SECTIONS[:-1]})}
    kept = set(map(str, state["inventory"] if isinstance(state["inventory"], list) else []))
    if found != kept:
        raise InputError(_differing(kept - found, found - kept))
    inside = state["training"]
    check_keys("the state of the training", inside, INSIDE)
    if (inside["seed"], inside["recipe"]) != (t.seed, repr(t.recipe)):
        raise InputError(f"the state is of another run: of {inside['recipe']}, seed {inside['seed']}")
    if inside["batch"] != t.batch or inside["rows_sha256"] not in (None, t.rows_sha256):
        raise InputError("the rows of the training part, or the batch, are not those that the training began with")
    if (plan := as_plan(inside["plan"])) != t.plan and plan is not None:
        t.follow(plan)
    _restore_model(t.model, state["model"])
    try:
        t.optimizer.take_state(state["optimizer"])
        if t.scaler is not None:
            t.scaler.load_state_dict(inside["scaler"])
    except (ValueError, KeyError, TypeError, RuntimeError) as error:
        raise InputError(f"the optimizer's state does not fit: {first_line(error)}") from None
    t.position.restore(inside["position"])
    if times:
        for stage, seconds in inside["seconds"].items():
            t.clock.seconds[stage] = t.clock.seconds.get(stage, 0.0) + seconds
        t.waits += inside["waits"]
    if follower is not None:
        follower.restore(state["follower"])


def is_good(t: Training) -> bool:
    """Return whether every weight is a finite number, and the last loss that is known."""
    return not t.position.is_broken and all(bool(p.isfinite().all()) for p in t.parameters)


def _differing(lost: set[str], extra: set[str]) -> str:
    if lost:
        return f"the state lacks {min(lost)!r}" + (f" and {len(lost) - 1} more items" if len(lost) > 1 else "")
    return f"the state holds {min(extra)!r}, which it did not when it was written"


def _model_state(model: nn.Module) -> dict[str, Any]:
    kept = dict(model.state_dict())
    return {"kept": kept, "buffers": {name: value for name, value in model.named_buffers() if name not in kept}}


def _restore_model(model: nn.Module, state: Mapping[str, Any]) -> None:
    now = _model_state(model)
    check_keys("the state of the network", state, now)
    check_keys("the network's buffers", state["buffers"], now["buffers"])
    for name, value in (now["kept"] | now["buffers"]).items():
        kept = state["kept"].get(name, state["buffers"].get(name))
        if isinstance(value, Tensor) and isinstance(kept, Tensor) and value.dtype != kept.dtype:
            raise InputError(f"the state is of another network: {name} was {kept.dtype}, and is {value.dtype} now")
    try:
        model.load_state_dict(state["kept"])
        with torch.no_grad():
            for name, value in now["buffers"].items():
                value.copy_(state["buffers"][name])
    except (RuntimeError, TypeError) as error:
        raise InputError(f"the state is of another network: {' '.join(str(error).split())[:200]}") from None


TIMES = ("training.seconds", "training.waits")  # of which no two trainings take the same


def fingerprints(packed: Packed) -> dict[str, str]:
    """Return the SHA-256 of each item that the next steps depend on, by its place in the state."""
    found = {name: _sha256(f"{tuple(tensor.shape)} {tensor.dtype}", tensor) for name, tensor in packed.tensors.items()}
    for path, value in leaves_of(packed.document):
        if not path.startswith((*TIMES, "inventory")):
            found.setdefault(path, _sha256(repr(value)))
    return found


def _sha256(told: str, tensor: Tensor | None = None) -> str:
    digest = hashlib.sha256(told.encode())
    if tensor is not None and tensor.numel():
        memory: Any = tensor.cpu().contiguous().reshape(-1).view(torch.uint8).numpy()
        digest.update(memory)
    return digest.hexdigest()
