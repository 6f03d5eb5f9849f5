"""Learning curves of every recipe of a grid, on real tasks: what searches are replayed over, so that thirty of each are cheap.

A grid holds each rule at evenly spread learning rates of its published range, with each batch. All recipes run all their
epochs, with a few seeds, as trials of a race do (`run_lanes` where that pays); what a step costs is measured in turns.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import torch

import steepest
from benchmarks import common
from steepest.racing.contenders import Contender, Pool
from steepest.racing.kinds import kind_of
from steepest.racing.pace import measure_pace
from steepest.racing.plan import Plan
from steepest.racing.ranges import RANGES
from steepest.racing.spaces import Setting, Settings, Space
from steepest.racing.statistics import centre
from steepest.racing.trials import DIVERGED, FINISHED, REACHED, Outcome, Trial, run_lanes, run_trial
from steepest.racing.workers import Workers, available_cores
from steepest.recipes import Recipe
from steepest.tasks import Task
from steepest.training.loop import Hits

RULES = ("sgd", "momentum", "adagrad", "rmsprop", "adam", "adamw", "lion", "muon")
SEEDS, MOST_LANES = 3, 16
FOLDER = common.RESULTS / "curves"


@dataclass(frozen=True)
class Case:
    """A task, and the grid of recipes that is searched on it."""

    name: str
    title: str
    data: str  # its folder
    options: dict[str, Any]  # of `steepest.task`
    metric: str
    model: str
    batches: tuple[int, ...]
    rates: int
    epochs: float
    evaluations: int  # an epoch
    reach: str
    lanes: bool = True
    rules: tuple[str, ...] = RULES
    others: tuple[str, ...] = ()  # targets on which none of the search's own numbers was chosen

    def task(self, folder: Path) -> Task:
        options = dict(self.options)
        source = folder / options.pop("file", ".")
        if "test" in options:
            options["test"] = str(folder / options["test"])
        return steepest.task(str(source), reach=f"{self.metric} >= 1", **options)

    def cells(self) -> list[tuple[int, int, int]]:
        """Return rule, learning rate and batch of every recipe, as places on their lists."""
        return list(product(range(len(self.rules)), range(self.rates), range(len(self.batches))))

    def recipe(self, cell: tuple[int, int, int]) -> Recipe:
        rule, rate, batch = cell
        range_ = RANGES[self.rules[rule]]
        made = range_.make(range_.at(rate / (self.rates - 1)))
        return Recipe(made, batch=self.batches[batch], epochs=self.epochs, model=self.model, augment=())

    def settings(self, cell: tuple[int, int, int]) -> Settings:
        rule, rate, batch = cell
        return (
            Setting("rule", rule / (len(self.rules) - 1), False),
            Setting("learning rate", rate / (self.rates - 1), True),
            Setting("batch", batch / (len(self.batches) - 1), True),
        )


ADULT = {"file": "adult-train.csv.gz", "label": -1, "header": False, "test": "adult-test.csv.gz"}
SPOKEN = {"file": "fsdd_int16_8khz.npz", "label": "digit", "test_where": "index<5"}
CASES = (
    Case("fmnist", "Fashion-MNIST, MLP 64-64", "fashion_mnist", {}, "accuracy", "mlp((64, 64))", (32, 64, 128, 256), 9, 8, 8,
         "accuracy >= 0.875", others=("accuracy >= 0.86", "accuracy >= 0.88")),
    Case("adult", "adult, MLP 128-128", "adult", ADULT, "auc", "mlp((128, 128))", (32, 64, 128, 256), 9, 5, 8, "auc >= 0.91",
         others=("auc >= 0.9", "auc >= 0.912")),
    Case("spoken", "spoken digits, CNN", "fsdd", SPOKEN, "accuracy", "residual_cnn(width=4, stages=3)", (16, 64), 6, 6, 3,
         "accuracy >= 0.9", lanes=False, rules=("sgd", "momentum", "adam", "adamw", "lion", "muon"),
         others=("accuracy >= 0.8",)),
)  # fmt: skip


@dataclass(frozen=True)
class Table:
    """What was measured of a case.

    Attributes:
        case: whose.
        every: steps between evaluations, by recipe.
        last: steps of all epochs, by recipe.
        cost: seconds of a step, by recipe.
        values: the metric at each evaluation, shape (recipes, seeds, evaluations); NaN after a trial has diverged.
    """

    case: Case
    every: np.ndarray
    last: np.ndarray
    cost: np.ndarray
    values: np.ndarray

    @property
    def num_seeds(self) -> int:
        return self.values.shape[1]

    @cached_property
    def goal(self) -> Any:
        return steepest.Reach.parse(self.case.reach)

    def outcome(self, recipe: int, seed: int, trial: Trial) -> Outcome:
        """Return what a trial of a recipe would have come to."""
        every, last = int(self.every[recipe]), min(int(self.last[recipe]), trial.max_steps)
        curve: list[tuple[int, float, float]] = []
        hits, status = Hits(self.goal), FINISHED
        for place, value in enumerate(self.values[recipe, seed]):
            step = min(every * (place + 1), int(self.last[recipe]))
            if step > last or (curve and step == curve[-1][0]):  # what follows fills the table up
                break
            curve.append((step, 0.0, float(value)))
            if np.isnan(value):
                status = DIVERGED
                break
            if hits.see(step, float(value)):
                status = REACHED
                break
        reached = hits.first if status == REACHED else None
        return Outcome(trial, reached, curve[-1][0], 0.0, 0.0, 0.0, curve, status)

    @cached_property
    def seconds(self) -> np.ndarray:
        """Seconds to the target of every recipe and seed, shape (recipes, seeds); infinite where it is missed."""
        found = np.full(self.values.shape[:2], np.inf)
        for i, seed in product(*map(range, found.shape)):
            trial = Trial("", i, 0.0, seed, "search", int(self.last[i]), int(self.every[i]))
            if (steps := self.outcome(i, seed, trial).reached_at) is not None:
                found[i, seed] = steps * self.cost[i]
        return found

    @cached_property
    def truth(self) -> np.ndarray:
        """The typical seconds to the target of every recipe, over all seeds."""
        return np.array([centre(row.tolist()) for row in self.seconds])

    def plan(self, order: list[int], tries: int, seed: int) -> Plan:
        """Return the plan of a race that searches the grid, its recipes drawn in this order."""
        cells = [self.case.cells()[i] for i in order]
        at = [tuple(map(int, values[order])) for values in (self.last, self.every)]
        pool = Pool(Space("one_of(adam, sgd)"), tuple(map(self.case.settings, cells)), *at)
        one = Contender("space", tuple(map(self.case.recipe, cells)), at[0][0], pool)
        return Plan((one,), "space", self.case.reach, at[1][0], seed=seed, tries=tries)


def measured(case: Case, folder: Path, *, quick: bool = False) -> Table:
    """Train every recipe of a case; on as many processes as there are cores, with one thread each."""
    task, cells = case.task(folder), case.cells()
    recipes, rows = [case.recipe(cell) for cell in cells], task.data.size("train")
    if quick:
        recipes = [replace(recipe, epochs=0.5) for recipe in recipes]
    every = np.array([max(1, round(rows / recipe.batch_size(rows) / case.evaluations)) for recipe in recipes])
    last = np.array([recipe.num_steps(rows) for recipe in recipes])
    seeds, pool = range(1 if quick else SEEDS), Workers(task, available_cores(), 1, "cpu")
    values = np.full((len(recipes), len(seeds), -(-int(max(last // every)) - 1)), np.nan, dtype=np.float32)
    trials = [Trial(str(i), i, 0.0, seed, "search", int(last[i]), int(every[i])) for seed in seeds for i in range(len(recipes))]
    pool.start()
    try:
        kinds = {kind_of(recipe): recipe for recipe in recipes}
        rounds = pool.call(measure_pace, [*kinds.values()])
        cost = {kind: float(np.median(found)) for kind, found in zip(kinds, rounds, strict=True)}
        bundles = list(_bundles(trials, recipes, MOST_LANES if case.lanes else 1))
        waiting = [pool.submit(_run, [recipes[t.recipe] for t in bundle], bundle) for bundle in bundles]
        for number, future in enumerate(waiting, 1):
            for outcome in future.result():
                curve = [value for _, _, value in outcome.curve]
                if outcome.status == "reached":  # the best value there is, twice
                    curve += [curve[-1]] * (values.shape[2] - len(curve))
                values[outcome.trial.recipe, outcome.trial.seed, : len(curve)] = curve
            print(f"  {case.title}: {number} of {len(bundles)} bundles", flush=True)
    finally:
        pool.close()
    return Table(case, every, last, np.array([cost[kind_of(recipe)] for recipe in recipes]), values)


def _bundles(trials: list[Trial], recipes: list[Recipe], most: int) -> Iterator[list[Trial]]:
    """Yield trials that share a batch, so many at once."""
    for batch in dict.fromkeys(recipe.batch for recipe in recipes):
        alike = [trial for trial in trials if recipes[trial.recipe].batch == batch]
        yield from (alike[i : i + most] for i in range(0, len(alike), most))


def _run(task: Task, recipes: list[Recipe], trials: list[Trial], *, device: Any = None) -> list[Outcome]:
    """Run trials, in a worker process."""
    if len(trials) == 1:
        found = [run_trial(task, recipes[0], trials[0], device=device)]
    else:
        found = run_lanes(task, recipes, trials, device=device)
    return [outcome for outcome in found if outcome is not None]


def stored(case: Case) -> Table | None:
    """Return the table of a case that was measured before."""
    path = FOLDER / f"{case.name}.npz"
    if not path.is_file():
        return None
    with np.load(path) as found:
        return Table(case, found["every"], found["last"], found["cost"], found["values"].astype(np.float32))


def store(table: Table) -> None:
    """Keep a table, its metric to four digits."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    values = np.round(table.values, 4)
    np.savez_compressed(FOLDER / f"{table.case.name}.npz", every=table.every, last=table.last, cost=table.cost, values=values)


def main() -> None:
    options = common.arguments(__doc__ or "", only=True)
    torch.set_num_threads(1)
    for case in CASES:
        folder = common.data_folder(options, case.data)
        if folder is None or (options.only and case.name not in options.only.split(";")):
            continue
        table = measured(case, folder, quick=options.quick)
        print(f"{case.title}: {len(table.cost)} recipes, values to {np.nanmax(table.values):.4f}", flush=True)
        if not options.quick:
            store(table)


if __name__ == "__main__":
    main()
