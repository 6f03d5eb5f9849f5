"""What a search expects of recipes: forecasts from their progress, and the model of how well they do."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from benchmarks.search.curves import CASES, Table
from benchmarks.search.replay import PLAYERS, steepest
from steepest.racing.candidates import EARLY_VARIES, SEEDS_VARY, SLOWEST, Candidate, forecast
from steepest.racing.spaces import UNLIKE, Space, distance
from steepest.racing.surrogate import Likeness, Surrogate, most_promising
from steepest.racing.trials import DIVERGED, FINISHED, REACHED, Outcome, Trial

WIDE = Space("Recipe(one_of(adamw(between(1e-4, 1e-2)), adam(between(1e-4, 1e-2))), batch=one_of(16, 32, 64))")


def candidate(values: list[float], *, reached: int | None = None, status: str = FINISHED, cost: float = 1.0) -> Candidate:
    """A recipe that was measured every ten steps."""
    trial = Trial("", 0, cost, 0, "search", 200, 10)
    curve = [(10 * (k + 1), 0.0, value) for k, value in enumerate(values)]
    outcome = Outcome(trial, reached, curve[-1][0] if curve else 0, 0.0, 0.0, 0.0, curve, REACHED if reached else status)
    return Candidate(0, cost, 10, 200, falls=False, outcome=outcome)


BEST = candidate([0.2, 0.4, 0.6, 0.8, 0.9], reached=40)


def test_who_reached_the_target_needs_no_forecast() -> None:
    found = forecast(candidate([0.5, 0.9, 0.9], reached=20), BEST, 1.0)
    assert (found.log_s, found.deviation) == (pytest.approx(math.log(20)), SEEDS_VARY)


@pytest.mark.parametrize(("values", "seconds"), [([0.1, 0.2], 80.0), ([0.2, 0.4], 40.0), ([0.3, 0.6], 80 / 3)])
def test_who_is_so_many_times_slower_so_far_is_expected_to_be_in_the_end(values: list[float], seconds: float) -> None:
    found = forecast(candidate(values), BEST, 1.0)
    assert found.log_s == pytest.approx(math.log(seconds))
    assert found.deviation == pytest.approx(SEEDS_VARY + EARLY_VARIES / 2)  # it has run for half of the best time


def test_smaller_may_be_better_and_steps_may_cost_more() -> None:
    best = candidate([0.8, 0.6, 0.4, 0.2], reached=40)
    assert forecast(candidate([0.8, 0.6], cost=2.0), best, -1.0).log_s == pytest.approx(math.log(80))


def test_a_loss_without_bounds_is_not_measured() -> None:
    best = candidate([math.inf, 0.6, 0.4, 0.2], reached=40)
    assert forecast(candidate([math.inf, 0.6]), best, -1.0).log_s == pytest.approx(math.log(40))


def test_nobody_is_expected_sooner_than_it_has_run_nor_later_than_is_said() -> None:
    assert forecast(candidate([0.2, 0.4, 0.6, 0.85, 0.85, 0.85]), BEST, 1.0).log_s >= math.log(60)
    for lost in (candidate([0.1, math.nan], status=DIVERGED), candidate([], status="failed"), candidate([0.0] * 20)):
        assert forecast(lost, BEST, 1.0).log_s == pytest.approx(max(math.log(40) + SLOWEST, 0), abs=1e-9)


def test_likeness_is_of_numbers_and_of_things() -> None:
    settings = tuple(WIDE.draw(point).settings for point in [(0, 0.5, 0), (0, 0.75, 0), (0.9, 0.5, 0), (0, 0.5, 0.9)])
    alike = Likeness(settings).between([0], [0, 1, 2, 3], 0.25, 0.5)[0]
    assert alike == pytest.approx([1.0, math.exp(-0.5), 0.5, math.exp(-8.0)])


def test_likeness_and_distance_are_of_the_same_differences() -> None:
    settings = tuple(draw.settings for draw in WIDE.draws(12))
    likeness = Likeness(settings)
    for i, one in enumerate(settings):
        for k, other in enumerate(settings):
            expected = likeness.squares[i, k] + UNLIKE**2 * likeness.unlike[i, k]
            assert distance(one, other) ** 2 == pytest.approx(expected)


def test_the_most_promising_lies_where_the_best_lie_and_is_not_tried_twice() -> None:
    settings = tuple(draw.settings for draw in WIDE.draws(60))
    rates = np.array([0.0 if one[1] is None else one[1].at for one in settings])
    values = ((rates - 0.7) ** 2 * 10).tolist()
    tried = list(range(20))
    known = Surrogate(Likeness(settings), list(tried), values[:20], [0.01] * 20)
    chosen = most_promising(known, range(20, 60), min(values[:20]), 6)
    assert len(set(chosen)) == 6
    assert np.mean(np.abs(rates[chosen] - 0.7)) < np.mean(np.abs(rates[20:] - 0.7)) / 2


# -- searches over stored curves --------------------------------------------------------------------------------------


def table() -> Table:
    """A small grid whose curves follow a formula: best at the third of five rates, for the last rule, with the larger batch."""
    case = replace(CASES[0], rules=("sgd", "adam", "adamw"), rates=5, batches=(32, 64), reach="accuracy >= 0.9")
    every, count = 10, 20
    lives = np.array([2.0 * math.exp(abs(rate - 2) / 2) * (3 - rule / 2) / (1 + batch) for rule, rate, batch in case.cells()])
    at = np.arange(1, count + 1)
    values = 1 - 0.5 ** (at / lives[:, None, None]) + np.zeros((1, 3, 1))
    many = len(case.cells())
    return Table(case, np.full(many, every), np.full(many, every * count), np.full(many, 0.001), values.astype(np.float32))


@pytest.mark.parametrize("name", ["steepest", "Optuna: TPE + Hyperband", "Optuna: TPE, capped at the best"])
def test_searches_over_stored_curves_find_the_best_and_pay_for_it(name: str) -> None:
    if name != "steepest":
        pytest.importorskip("optuna")
    grid = table()
    meter = PLAYERS[name](grid, 0)
    assert meter.regrets()[-1][1] < 0.5
    assert 0 < meter.held[0][0] <= meter.spent_s
    assert meter.spent_s < float((grid.last * grid.cost).sum())


def test_a_replayed_search_is_the_same_twice() -> None:
    assert steepest(table(), 3).held == steepest(table(), 3).held


def test_a_stored_curve_is_an_outcome() -> None:
    grid = table()
    best = int(np.argmin(grid.truth))
    trial = Trial("", best, 0.0, 0, "search", 200, 10)
    outcome = grid.outcome(best, 0, trial)
    assert outcome.status == REACHED
    assert outcome.reached_at is not None
    assert outcome.reached_at * 0.001 == pytest.approx(grid.truth[best])
    short = grid.outcome(best, 0, Trial("", best, 0.0, 0, "search", 10, 10))
    assert (short.steps, short.reached_at, short.status) == (10, None, FINISHED)
