"""What do 16 lanes cost, over their 16 trainings one by one? One thread, adam with 16 learning rates, in turns.

A round is one step of all lanes and one step of each training alone, in processor seconds of the thread (what else runs on
the machine then weighs less); the figure is the median over rounds of the ratio, with the lowest and the highest. "Seeds":
each lane has its own order of batches. "Recipes": all lanes share it, as in a race. "Alone" is `fit`, which writes the way
back through dense layers out; beside it, the same where autograd finds the way back. "Chosen" is what `choose_lanes` says.
Run: OMP_NUM_THREADS=1 python -m benchmarks.lanes
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

import steepest
from benchmarks import common
from steepest.data.batches import batch_bounds, epoch_order
from steepest.plans import Plan
from steepest.training.choosing import choose_lanes
from steepest.training.lanes import Lanes, prepare_lanes
from steepest.training.loop import Events, StepEvent, steps
from steepest.training.probing import difference
from steepest.training.settings import KeptMemory
from steepest.training.setup import Training
from steepest.training.sharing import apart

LANES, ROUNDS = 16, 15


@dataclass(frozen=True)
class Case:
    """A network on data, by the name that the table gives it; `data` is a folder of real data, or None."""

    name: str
    data: str | None
    make: Callable[[Path], steepest.Task]
    batch: int | None
    model: str | None


def numbers(_: Path) -> steepest.Task:
    """Return a regression over 8 columns, 2,000 rows."""
    draw = np.random.default_rng(0)
    X = draw.standard_normal((2000, 8)).astype(np.float32)
    y = np.sin(X[:, 0]) + X[:, 1] * X[:, 2] + 0.1 * draw.standard_normal(2000)
    return steepest.task(steepest.arrays(X, y.astype(np.float32)))


def images(folder: Path) -> steepest.Task:
    return steepest.task(folder)


def adult(folder: Path) -> steepest.Task:
    return steepest.task(folder / "adult-train.csv.gz", label=-1, header=False, test=folder / "adult-test.csv.gz")


def questions(folder: Path) -> steepest.Task:
    return steepest.task(folder / "TREC.train.all")


CASES = (
    Case("table 8-10-1, batch 32", None, numbers, 32, "mlp((10,))"),
    Case("MLP 784-64-64-10, batch 128", "fashion_mnist", images, 128, "mlp((64, 64))"),
    Case("adult, default network", "adult", adult, None, None),
    Case("residual CNN 8-16, batch 64", "fashion_mnist", images, 64, "residual_cnn(8, 2, 1)"),
    Case("transformer 32, 1 layer, batch 32", "text_classification", questions, 32, "transformer(32, 1)"),
)


def made(case: Case, task: steepest.Task, *, shared: bool) -> tuple[list[steepest.Recipe], list[int]]:
    """Return the recipes and seeds of 16 lanes."""
    rules = [steepest.adam(1e-4 * 1.3**i) for i in range(LANES)]
    recipes = [steepest.Recipe(rule, batch=case.batch, epochs=1000, model=case.model, augment=()) for rule in rules]
    return recipes, [0] * LANES if shared else list(range(LANES))


def ratios(task: steepest.Task, recipes: Sequence[steepest.Recipe], seeds: Sequence[int]) -> dict[str, list[float]]:
    """Return the cost of a step of all lanes over that of their steps one by one, round by round: by `fit`, and by autograd."""
    together = prepare_lanes(task, recipes, seeds)
    loops = {"fit": _alone(task, recipes, seeds, Plan()), "autograd": _alone(task, recipes, seeds, Plan(written_out=False))}
    batches, lanes = _batches(together), Lanes(together, tried_out=True)
    found: dict[str, list[float]] = {name: [] for name in loops}
    for round_ in range(ROUNDS + 2):
        rows = next(batches)
        began = time.thread_time()
        lanes.make_step(rows, 0)
        spent = time.thread_time() - began
        for name, alone in loops.items():
            began = time.thread_time()
            assert all(isinstance(next(loop), StepEvent) for loop in alone)
            if round_ > 1:  # the first compile, and settle what lies where
                found[name].append(spent / (time.thread_time() - began))
    return found


def _alone(task: steepest.Task, recipes: Sequence[steepest.Recipe], seeds: Sequence[int], plan: Plan) -> list[Events]:
    trainings = prepare_lanes(task, recipes, seeds)
    for t in trainings:
        t.follow(plan)
    return [steps(task, training=t, evaluate_every=2**60) for t in trainings]


def _batches(trainings: Sequence[Training]) -> Iterator[torch.Tensor]:
    first = trainings[0]
    orders = torch.stack([epoch_order(len(first.train), t.seed, 0) for t in trainings])
    return (orders[:, begin:end] for begin, end in itertools.cycle(batch_bounds(len(first.train), first.batch)))


def row(case: Case, task: steepest.Task, *, shared: bool) -> dict[str, Any]:
    """Return one line of the table."""
    recipes, seeds = made(case, task, shared=shared)
    told = {"network": case.name, "lanes": "recipes" if shared else "seeds"}
    trainings = prepare_lanes(task, recipes, seeds)
    reason = apart(trainings) or difference(trainings)
    with KeptMemory(torch.device("cpu")):
        measured = {} if reason else ratios(task, recipes, seeds)
    choice = choose_lanes(task, recipes, seeds)
    return {**told, "ratios": measured, "chosen": choice.chosen, "reason": reason or choice.reason}


def main() -> None:
    options = common.arguments(__doc__ or "", only=True)
    torch.set_num_threads(1)
    rows = []
    for case in CASES:
        if options.only and not any(name in case.name for name in options.only.split(";")):
            continue
        folder = common.data_folder(options, case.data) if case.data else Path()
        if folder is None:
            continue
        task = case.make(folder)
        for shared in (False, True):
            rows.append(row(case, task, shared=shared))
            print({name: value for name, value in rows[-1].items() if name != "ratios"}, flush=True)
    ways = ("fit", "autograd")
    spreads = [[common.spread(r["ratios"][way]) if r["ratios"] else "-" for way in ways] for r in rows]
    shown = [(r["network"], r["lanes"], *spread, r["chosen"], r["reason"]) for r, spread in zip(rows, spreads, strict=True)]
    common.show(("network", "lanes differ in", "16 lanes / 16 alone", "by autograd", "chosen", "why"), shown)
    common.write("lanes", options, rows=rows, rounds=ROUNDS)


if __name__ == "__main__":
    main()
