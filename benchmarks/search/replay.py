"""Searches replayed over stored curves: what each has spent when it first holds a recipe that is nearly the best there is."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from benchmarks.search.curves import Table
from steepest.racing.costs import ROUNDS, STEPS, StepCosts
from steepest.racing.pace import steps_measured
from steepest.racing.plan import SEARCH, best_recipe
from steepest.racing.searching import waves
from steepest.racing.spaces import Space
from steepest.racing.trials import Outcome, Trial
from steepest.recipes import Recipe

TRIES, NEAR = 64, 1.1
MOST_ASKED = 8  # times as many suggestions as different recipes
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
    plan, meter = table.plan(order, TRIES, repetition), Meter(table, repetition % table.num_seeds)
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

    def measured(recipes: Sequence[Recipe]) -> list[tuple[float, ...]]:
        """Return what a step of each costs, and pay for measuring it."""
        places = [order[plan.contenders[0].recipes.index(recipe)] for recipe in recipes]
        for place in places:
            meter.pay(place, steps_measured(ROUNDS, STEPS))
        return [(float(table.cost[place]),) for place in places]

    search = waves(plan, plan.contenders[0], StepCosts(plan.contenders[0].recipes, {}, measured))
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


def with_optuna(sampler: str, *, hyperband: bool, capped: bool = False) -> Player:
    """Return a search by Optuna: define-by-run, the time to the target made small, evaluations reported to the pruner.

    It begins in the middle of the grid, as ours does, and tries as many different recipes; one that it asks for again is looked
    up and costs nothing. `capped` ends a trial that has run as long as the best took, which somebody may write into the
    objective.
    """

    def search(table: Table, repetition: int) -> Meter:
        import optuna

        optuna.logging.set_verbosity(optuna.logging.ERROR)
        case, meter, seen = table.case, Meter(table, repetition % table.num_seeds), dict[int, float | None]()
        count = table.values.shape[2]
        pruner = optuna.pruners.HyperbandPruner(min_resource=2, max_resource=count, reduction_factor=3)
        study = optuna.create_study(
            sampler=getattr(optuna.samplers, sampler)(seed=repetition), pruner=pruner if hyperband else
            optuna.pruners.NopPruner(), study_name=f"{case.name} {repetition}",
        )  # fmt: skip
        rule, rate, batch = case.cells()[next(_order(table, repetition))]
        study.enqueue_trial({"rule": case.rules[rule], "rate": rate, "batch": batch})

        def objective(trial: Any) -> float:
            rule = case.rules.index(trial.suggest_categorical("rule", case.rules))
            cell = rule, trial.suggest_int("rate", 0, case.rates - 1), trial.suggest_int("batch", 0, len(case.batches) - 1)
            recipe = case.cells().index(cell)
            if recipe not in seen:
                if len(seen) == TRIES:
                    study.stop()
                    raise optuna.TrialPruned
                seen[recipe] = _run(table, recipe, meter, trial, hyperband=hyperband, capped=capped)
            if (value := seen[recipe]) is None:
                raise optuna.TrialPruned
            return value

        study.optimize(objective, n_trials=MOST_ASKED * TRIES)
        return meter

    return search


def _run(table: Table, recipe: int, meter: Meter, trial: Any, *, hyperband: bool, capped: bool) -> float | None:
    """Return what an objective returns for a recipe: seconds to the target, more where it was missed; None where it was
    pruned.
    """
    whole = Trial("", recipe, 0.0, 0, SEARCH, int(table.last[recipe]), int(table.every[recipe]))
    outcome, before, cost = table.outcome(recipe, meter.seed, whole), 0, float(table.cost[recipe])
    sign = 1.0 if table.goal.larger_is_better else -1.0
    for place, (step, _, value) in enumerate(outcome.curve, 1):
        meter.pay(recipe, step - before)
        before = step
        if math.isnan(value):
            return None
        trial.report(-sign * value, place)
        too_long = capped and step * cost > meter.best_s
        if place < len(outcome.curve) and (too_long or (hyperband and trial.should_prune())):
            return None
    if outcome.reached_at is None:
        return float(table.last[recipe]) * cost * (2 - sign * outcome.curve[-1][2])  # nearer misses are better
    meter.see(recipe, outcome.reached_at * cost)
    return outcome.reached_at * cost


PLAYERS: dict[str, Player] = {
    "steepest": steepest,
    "Optuna: TPE + Hyperband": with_optuna("TPESampler", hyperband=True),
    "Optuna: TPE + Hyperband, capped at the best": with_optuna("TPESampler", hyperband=True, capped=True),
    "Optuna: TPE": with_optuna("TPESampler", hyperband=False),
    "Optuna: TPE, capped at the best": with_optuna("TPESampler", hyperband=False, capped=True),
    "Optuna: random + Hyperband": with_optuna("RandomSampler", hyperband=True),
}
