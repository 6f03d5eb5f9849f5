"""Resume after every step of a run, and with every single item of the state left out."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import steepest
from steepest.checkpoints import Packed
from steepest.errors import InputError
from steepest.training.following import Follower
from steepest.training.setup import Training, prepare
from steepest.training.snapshots import restore, taken

from . import work

ROWS_FROM = ("memory", "disk", "disk, read ahead by a thread")


def every_step(rows_from: str, folder: Path, every: int = 1) -> steepest.ResumeReport:
    """Stop and go on after every step (or each `every`-th), and compare all that follow bit by bit."""
    job = work.task(None if rows_from == "memory" else folder)
    plan = steepest.Plan(threads=1, prefetch=rows_from.endswith("thread"))
    return steepest.verify_resume(job, work.recipe(), plan=plan, stops=range(1, work.STEPS, every))


def begun() -> tuple[Training, Follower]:
    t = prepare(work.task(), work.recipe())
    return t, Follower(t, None, stop_at_target=False)


def state() -> tuple[Any, dict[str, Any]]:
    """Return what JSON and what tensors hold of a state in the middle of the run."""
    t, follower = begun()
    for event in steepest.steps(t.task, training=t, max_steps=10):
        if isinstance(event, steepest.EvaluationEvent):
            follower.sees(event)
        elif event.step == 9:
            packed = taken(t, follower)
            return packed.document, dict(packed.tensors)
    raise AssertionError("the training is too short")


def places(document: Any, at: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Return the way to every item of a document, those that hold others among them."""
    items = list(document.items() if isinstance(document, dict) else enumerate(document) if isinstance(document, list) else ())
    return [found for key, value in items for found in [(*at, key), *places(value, (*at, key))]]


def without(document: Any, place: tuple[Any, ...]) -> Any:
    """Return a copy of a document that lacks the item at a place."""
    lessened = copy.deepcopy(document)
    holder = lessened
    for key in place[:-1]:
        holder = holder[key]
    del holder[place[-1]]
    return lessened


def each_item_left_out(every: int = 1) -> tuple[int, list[str]]:
    """Leave out one item after another; return how many that were, and those that nobody missed."""
    document, tensors = state()
    tries = [(place, document, place) for place in places(document)][::every]
    missed = []
    for place, whole, _ in tries:
        if not _is_refused(without(whole, place), tensors):
            missed.append(".".join(map(str, place)))
    for name in list(tensors)[::every]:
        if not _is_refused(document, {key: value for key, value in tensors.items() if key != name}):
            missed.append(name)
    return len(tries) + len(list(tensors)[::every]), missed


def _is_refused(document: Any, tensors: dict[str, Any]) -> bool:
    t, follower = begun()
    try:
        restore(t, Packed(document, tensors).copied().unpacked(), follower)
    except InputError:
        return True
    return False
