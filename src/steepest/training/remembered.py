"""Plans measured on this machine before, kept by machine and task: a training repeated takes its plan and needs no pilot."""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from pathlib import Path
from typing import Any

import torch

from ..errors import InputError
from ..gradient import GradientFunction
from ..plans import Plan, as_plan
from ..records import jsonable
from ..sources import cache_folder
from .identity import versions
from .setup import Training

FOLDER = "plans"


def key_of(training: Training, gradient: GradientFunction) -> str | None:
    """Return what a plan depends on, as a digest: processor, threads, torch, the network, a batch, and how it is learned.

    None where the gradient function has no name by which it could be known again.
    """
    called = _told(gradient)
    if "<" in called:  # a lambda, or an object that says no more than where it lies
        return None
    inputs, targets = training.train.take(training.first_rows)
    known = versions(training.device)
    told = {name: known[name] for name in ("device", "threads", "torch", "steepest")}
    told["network"] = repr(training.spec) if training.spec is not None else str(training.model)
    told["batch"] = f"{training.batch} {tuple(inputs.shape[1:])} {inputs.dtype} {tuple(targets.shape[1:])}"
    told["learned"] = f"{training.objective!r} {training.recipe.rule!r} {training.recipe.changes!r} {called}"
    return hashlib.sha256(json.dumps(told).encode()).hexdigest()[:24]


def _told(gradient: GradientFunction) -> str:
    """Return what a gradient function is called."""
    return getattr(gradient, "__qualname__", None) or repr(gradient)


def recall(key: str | None, num_steps: int) -> Plan | None:
    """Return the plan kept under a key, or None: a file that cannot be read is as none, as is compiling for fewer steps."""
    try:
        kept = json.loads((_folder() / f"{key}.json").read_text())
        plan, steps = as_plan(kept["plan"]), int(kept["num_steps"])
    except (OSError, ValueError, KeyError, TypeError, RecursionError, InputError):
        return None
    return None if plan is not None and plan.compile and num_steps < steps else plan


def keep(key: str | None, choice: dict[str, Any], num_steps: int) -> None:
    """Keep a choice under its key, all at once; where nothing can be written, or there is no key, nothing is kept."""
    if key is None:
        return
    try:
        folder = _folder()
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile("w", dir=folder, suffix=".part", delete=False) as file:
            try:
                json.dump(jsonable(choice | {"torch": torch.__version__, "num_steps": num_steps}), file, indent=1)
                file.close()
                os.replace(file.name, folder / f"{key}.json")
            except OSError:  # a full disk
                os.unlink(file.name)
    except (OSError, InputError):
        return


def _folder() -> Path:
    return cache_folder(FOLDER)
