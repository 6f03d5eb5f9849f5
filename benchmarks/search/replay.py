"""Searches replayed over stored curves: what each has spent when it first holds a recipe that is nearly the best there is."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from benchmarks.search.curves import Table
from steepest.racing.plan import SEARCH, best_recipe
from steepest.racing.searching import waves
from steepest.racing.spaces import Space
from steepest.racing.trials import Outcome, Trial

TRIES, NEAR = 64, 1.1
CONFIRMING = 3  # seeds that the recipe which was found is run with, the same for all


@dataclass
class Meter:
    """What one search has spent, and which recipe it held for the best, on how it went.

    Attributes:
        table: the curves.
        seed: of the table, that its trials run first.
        spent_s: seconds of training so far.
        held: seconds spent, and the recipe that was then the best that had been seen.
    """

    table: Table
    seed: int
    spent_s: float = 0.0
    held: list[tuple[float, int]] = field(default_factory=list)
    best_s: float = math.inf

    def pay(self, recipe: int, steps: int) -> None:
        self.spent_s += steps * float(self.table.cost[recipe])

    def see(self, recipe: int, seconds: float) -> None:
        """Take a time to the target that was seen."""
        if seconds < self.best_s:
            self.best_s = seconds
            self.held.append((self.spent_s, recipe))

    def regrets(self) -> list[tuple[float, float]]:
        """Return what was spent, and how much longer the recipe that was held then takes than the best."""
        best = self.table.truth.min()
        return [(spent, float(self.table.truth[recipe] / best - 1)) for spent, recipe in self.held]

    def found_s(self) -> float:
        """Return what was spent until a recipe within 10% of the best was held, and to confirm it; infinite where none was."""
        for spent, recipe in self.held:
            if self.table.truth[recipe] <= NEAR * self.table.truth.min():
                seconds = self.table.seconds[recipe]
                return spent + CONFIRMING * float(np.mean(seconds[np.isfinite(seconds)]))
        return math.inf


Player = Callable[[Table, int], Meter]


def steepest(table: Table, repetition: int) -> Meter:
    """Search as a race does."""
    order = list(_order(table, repetition))
    plan, meter = table.plan(order, TRIES), Meter(table, repetition % table.num_seeds)
    made: dict[tuple[int, int], int] = {}
    came: list[Outcome] = []

    def run(trial: Trial) -> Outcome:
        recipe, seed = order[trial.recipe], (trial.seed - plan.seed_of(SEARCH, 0) + repetition) % table.num_seeds
        outcome = table.outcome(recipe, seed, trial)
        key = recipe, seed
        meter.pay(recipe, outcome.steps - made.get(key, 0))  # one that was paused goes on
        made[key] = outcome.steps
        if outcome.reached_at is not None and trial.seed == plan.seed_of(SEARCH, 0):
            meter.see(recipe, outcome.reached_at * float(table.cost[recipe]))
        came.append(outcome)
        return outcome

    search = waves(plan, plan.contenders[0], lambda chosen: [float(table.cost[order[i]]) for i in chosen])
    wave = next(search)
    while True:
        try:
            wave = search.send([run(trial) for trial in wave])
        except StopIteration:
            break
    if (chosen := best_recipe(plan, came, "space")) is not None:  # after those with more seeds
        meter.held.append((meter.spent_s, order[chosen]))
    return meter


def _order(table: Table, seed: int) -> Iterator[int]:
    """Yield the recipes of the grid as a space yields its own: the middle first, then spread evenly."""
    case, seen = table.case, set[int]()
    sizes = len(case.rules), case.rates, len(case.batches)
    space = Space("Recipe(one_of(adam(between(0.1, 1)), sgd(between(0.1, 1))), batch=between(1, 2))")  # of three dimensions
    cells = {cell: i for i, cell in enumerate(case.cells())}
    for point in space.points(seed):
        cell = tuple(min(int(share * size), size - 1) for share, size in zip(point, sizes, strict=True))
        if (place := cells[cell]) not in seen:
            seen.add(place)
            yield place
        if len(seen) == len(cells):
            return


def with_optuna(sampler: str, *, hyperband: bool, capped: bool = False, trials: int = 3 * TRIES) -> Player:
    """Return a search by Optuna: define-by-run, the time to the target made small, evaluations reported to the pruner.

    `capped` ends a trial that has run as long as the best took, which somebody may write into the objective.
    """

    def search(table: Table, repetition: int) -> Meter:
        import optuna

        optuna.logging.set_verbosity(optuna.logging.ERROR)
        case, meter = table.case, Meter(table, repetition % table.num_seeds)
        count = table.values.shape[2]
        pruner = optuna.pruners.HyperbandPruner(min_resource=2, max_resource=count, reduction_factor=3) if hyperband else None
        study = optuna.create_study(
            sampler=getattr(optuna.samplers, sampler)(seed=repetition), pruner=pruner or optuna.pruners.NopPruner()
        )

        def objective(trial: Any) -> float:
            rule = case.rules.index(trial.suggest_categorical("rule", case.rules))
            cell = rule, trial.suggest_int("rate", 0, case.rates - 1), trial.suggest_int("batch", 0, len(case.batches) - 1)
            recipe = case.cells().index(cell)
            whole = Trial("", recipe, 0.0, 0, SEARCH, int(table.last[recipe]), int(table.every[recipe]))
            outcome, before = table.outcome(recipe, meter.seed, whole), 0
            sign = 1.0 if table.goal.larger_is_better else -1.0
            for place, (step, _, value) in enumerate(outcome.curve, 1):
                meter.pay(recipe, step - before)
                before = step
                if math.isnan(value):
                    raise optuna.TrialPruned
                trial.report(-sign * value, place)
                if hyperband and place < len(outcome.curve) and trial.should_prune():
                    raise optuna.TrialPruned
                if capped and step * table.cost[recipe] > meter.best_s and step < outcome.steps:
                    raise optuna.TrialPruned
            if outcome.reached_at is not None:
                seconds = outcome.reached_at * float(table.cost[recipe])
                meter.see(recipe, seconds)
                return seconds
            return float(table.last[recipe] * table.cost[recipe]) * (
                2 - sign * outcome.curve[-1][2]
            )  # nearer misses are better

        study.optimize(objective, n_trials=trials)
        return meter

    return search


PLAYERS: dict[str, Player] = {
    "steepest": steepest,
    "Optuna: TPE + Hyperband": with_optuna("TPESampler", hyperband=True),
    "Optuna: TPE + Hyperband, capped at the best": with_optuna("TPESampler", hyperband=True, capped=True),
    "Optuna: TPE": with_optuna("TPESampler", hyperband=False),
    "Optuna: TPE, capped at the best": with_optuna("TPESampler", hyperband=False, capped=True),
    "Optuna: random + Hyperband": with_optuna("RandomSampler", hyperband=True),
}
