"""Sizes: of networks that race, how many numbers each learns, and how long it takes for one row."""

from __future__ import annotations

import re
import statistics
import time
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

import torch

from ..errors import InputError
from ..machine import wait_for
from ..models import linear_model
from ..models.modes import as_in_evaluation
from ..recipes import Recipe
from ..tasks import Task
from ..training.setup import prepare
from .contenders import Contender, contender
from .serving import beat

LINEAR = "linear"
ROUNDS, PASSES = 7, 10
IN_TRAINING = re.compile(r", (dropout|norm)=[^,)]+")  # arguments that leave a network as large as it is, or nearly


@dataclass(frozen=True)
class Size:
    """What a network costs who uses it: numbers learned, and seconds of one row by itself (the median of rounds of passes)."""

    num_parameters: int
    latency_s: float

    @property
    def cells(self) -> list[str]:
        """Numbers and milliseconds, as tables print them."""
        return [f"{self.num_parameters:,}", f"{1e3 * self.latency_s:.2g}"]


def networks_race(contenders: Iterable[Contender]) -> bool:
    """Return whether not all recipes have the same network, whatever is dropped out of it and normalised in it."""
    return len({IN_TRAINING.sub("", repr(recipe.model)) for one in contenders for recipe in one.recipes}) > 1


def linear_contender(task: Task, frame: Recipe, others: Iterable[Contender]) -> list[Contender]:
    """Return the linear model that networks are compared with, tuned; nothing where it races already, or cannot read the
    data.
    """
    model, others = linear_model(), list(others)
    if any(one.name == LINEAR or recipe.model == model for one in others for recipe in one.recipes):
        return []
    try:
        model.build(task.data.form, 1)
    except InputError:
        return []
    tuned = contender("adam", frame)
    return [replace(tuned, name=LINEAR, recipes=tuple(replace(one, model=model, name=LINEAR) for one in tuned.recipes))]


def measure_size(task: Task, recipe: Recipe, *, device: Any = None) -> Size:
    """Return the size of a recipe's network."""
    training, seconds = prepare(task, recipe, seed=0, device=device), []
    model, row = training.model, training.longest_rows()[:1]
    with torch.inference_mode(), as_in_evaluation(model):
        for _ in range(1 + ROUNDS):
            began = time.perf_counter()
            for _ in range(PASSES):
                model(row)
            wait_for(row.device)
            seconds.append((time.perf_counter() - began) / PASSES)
            beat()
    return Size(sum(p.numel() for p in model.parameters()), statistics.median(seconds[1:]))  # the first warms up
