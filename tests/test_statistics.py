"""The statistics of a race: against SciPy, and on thousands of simulated races with the noise of real training.

The seeds' noise is what ten classic rules showed on digits: the logarithm of steps-to-target deviates by 0.24 to 0.45 between
seeds, and about a third of its variance is shared by rules that run the same seed (docs/racing.md).
"""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from steepest.racing.contenders import Contender
from steepest.racing.leaderboard import FASTER, FASTEST, leaderboard
from steepest.racing.pace import Pace
from steepest.racing.plan import FINALS, SCREENING, SEARCH, Plan, finalists, middle_out
from steepest.racing.statistics import (
    compare,
    in_sequence,
    log_ratios,
    median_interval,
    ratio_interval,
    seeds_needed,
    signed_rank_tails,
    weighed_p,
)
from steepest.racing.trials import Outcome, Trial
from steepest.recipes import Recipe
from steepest.rules import sgd

INF = float("inf")
RACES = 1000
DEVIATION, SHARED = 0.32, 0.28  # of log steps between seeds; the share of the variance common to a seed
MEDIAN_STEPS, EVALUATE_EVERY = 80, 5


@pytest.mark.parametrize("n", [1, 2, 5, 6, 10, 15])
@pytest.mark.parametrize("seed", range(4))
def test_the_signed_rank_test_equals_scipys(n: int, seed: int) -> None:
    d = np.random.default_rng(seed).normal(0.3, 1, n)
    for tail, name in zip(signed_rank_tails(d), ("greater", "less"), strict=True):
        assert tail == pytest.approx(stats.wilcoxon(d, method="exact", alternative=name).pvalue)


@pytest.mark.parametrize("seed", range(4))
def test_ties_and_zeros_are_exact(seed: int) -> None:
    d = np.round(np.random.default_rng(seed).normal(0.4, 1, 9))
    ranks = stats.rankdata(np.abs(d))
    observed = (np.sign(d) * ranks).sum()
    signs = np.array(np.meshgrid(*[[1, -1]] * 9)).reshape(9, -1).T
    sums = (signs * ranks * (d != 0)).sum(axis=1)
    assert signed_rank_tails(d) == pytest.approx(((sums >= observed - 1e-9).mean(), (sums <= observed + 1e-9).mean()))


def test_a_miss_is_the_largest_difference() -> None:
    assert signed_rank_tails([INF] * 10)[0] == pytest.approx(1 / 2**10)
    assert weighed_p([0.1] * 9 + [-INF]) > weighed_p([0.1] * 9 + [-0.05])
    assert log_ratios([INF, 100, INF], [INF, INF, 100]).tolist() == [0.0, -INF, INF]
    both_ways = compare([100, INF, 100, 100, 100, 100], [INF, 100, 90, 90, 90, 90])
    assert both_ways.low <= both_ways.ratio <= both_ways.high


def test_few_pairs_can_decide_nothing() -> None:
    assert weighed_p([1.0] * 4) > 0.05
    assert weighed_p([1.0] * 5) == pytest.approx(1 / 2**5 / 0.9)
    assert weighed_p([-1.0] * 7) > 0.05
    assert weighed_p([-1.0] * 8) == pytest.approx(1 / 2**8 / 0.1)
    assert weighed_p([]) == 1.0
    assert weighed_p([0.0] * 8) == 1.0


def test_both_directions_together_err_in_at_most_5_percent() -> None:
    """Over all signs of ten differences: "faster" in at most 4.5% of them, "slower" in at most 0.5%."""
    signs = np.array(np.meshgrid(*[[1, -1]] * 10)).reshape(10, -1).T * np.arange(1, 11)
    faster = [weighed_p(d) <= 0.05 and d.sum() > 0 for d in signs]
    slower = [weighed_p(d) <= 0.05 and d.sum() < 0 for d in signs]
    assert np.mean(faster) <= 0.045
    assert np.mean(slower) <= 0.005
    assert np.mean(faster) > 0.03


def test_intervals_cover_what_they_promise() -> None:
    rng = np.random.default_rng(0)
    ratios = medians = 0
    for _ in range(1500):
        low, high = ratio_interval(rng.normal(0.4, 0.3, 10))[1:]
        ratios += low <= np.exp(0.4) <= high
        low, high = median_interval(np.exp(rng.normal(0, 0.3, 10)))[1:]
        medians += low <= 1 <= high
    assert 0.93 <= ratios / 1500 <= 0.97
    assert 0.95 <= medians / 1500 <= 1.0


def test_the_interval_agrees_with_the_test() -> None:
    rng = np.random.default_rng(1)
    for _ in range(300):
        d = rng.normal(0.2, 0.3, 10)
        _, low, high = ratio_interval(d)
        assert (low <= 1 <= high) == (weighed_p(d) > 0.05)


def test_seeds_needed_falls_with_the_effect_and_gives_up() -> None:
    rng = np.random.default_rng(0)
    noise = rng.normal(0, 0.3, 10)
    noise -= noise.mean()
    few, many = seeds_needed(noise + 0.4), seeds_needed(noise + 0.1)
    assert few is not None
    assert many is not None
    assert few < 10 < many < 200
    assert seeds_needed(noise + 0.001) is None
    assert seeds_needed([0.1]) is None


def test_a_sequence_stops_at_the_first_that_cannot_be_told() -> None:
    assert in_sequence([0.01, 0.2, 0.001]) == [0.01, 0.2, 0.2]
    assert in_sequence([]) == []


def test_learning_rates_are_tried_from_the_middle() -> None:
    assert middle_out(5) == [2, 3, 1, 4, 0]
    assert sorted(middle_out(4)) == [0, 1, 2, 3]


# -- whole races, simulated -------------------------------------------------------------------------------------------


def simulated_plan(num_contenders: int, seeds: int = 5) -> Plan:
    recipe = Recipe(sgd(0.1))
    names = ["momentum", *(f"rule {i}" for i in range(1, num_contenders))]
    return Plan(tuple(Contender(name, (recipe,), 10_000) for name in names), "momentum", "accuracy >= 0.9", 5, seeds=seeds)


def outcomes_of(plan: Plan, stage: str, names: list[str], speed: dict[str, float], rng: np.random.Generator) -> list[Outcome]:
    """Draw steps to the target: log-normal, part of the noise common to a seed, rounded to the evaluation interval."""
    count = plan.final_seeds if stage == FINALS else plan.seeds
    shared = rng.normal(0, DEVIATION * np.sqrt(SHARED), count)
    found = []
    for name in names:
        own = rng.normal(0, DEVIATION * np.sqrt(1 - SHARED), count)
        steps = MEDIAN_STEPS / speed.get(name, 1.0) * np.exp(shared + own)
        for i, value in enumerate(np.maximum(EVALUATE_EVERY, np.rint(steps / EVALUATE_EVERY) * EVALUATE_EVERY)):
            found.append(Outcome(plan.trial(stage, name, 0, i), int(value), int(value) + EVALUATE_EVERY, 1.0, 1.0, 1.0))
    return found


def simulate(num_contenders: int, speed: dict[str, float], seed: int) -> dict[str, str]:
    """Run one race through the very functions that plan and judge real ones; return the verdicts."""
    rng = np.random.default_rng(seed)
    plan = simulated_plan(num_contenders)
    pace = Pace.of(dict.fromkeys(plan.names, 0.001))
    outcomes = outcomes_of(plan, SCREENING, plan.names, speed, rng)
    outcomes += outcomes_of(plan, FINALS, finalists(plan, outcomes, pace), speed, rng)
    return {row.recipe: row.verdict for row in leaderboard(plan, outcomes, pace).rows}


def wins(verdict: str) -> bool:
    return verdict.startswith((FASTER, FASTEST))


@pytest.mark.parametrize("num_contenders", [2, 10])
def test_a_recipe_against_itself_wins_in_at_most_5_percent(num_contenders: int) -> None:
    winners = sum(any(wins(verdict) for verdict in simulate(num_contenders, {}, seed).values()) for seed in range(RACES))
    assert winners / RACES <= 0.05


@pytest.mark.parametrize("num_contenders", [2, 10])
def test_a_true_1_5_is_found_in_at_least_80_percent(num_contenders: int) -> None:
    found = sum(wins(simulate(num_contenders, {"rule 1": 1.5}, 10_000 + seed)["rule 1"]) for seed in range(RACES))
    assert found / RACES >= 0.8


def test_the_order_of_the_screening_never_reads_the_finals() -> None:
    plan = simulated_plan(6)
    rng = np.random.default_rng(0)
    pace = Pace.of(dict.fromkeys(plan.names, 0.001))
    screened = outcomes_of(plan, SCREENING, plan.names, {}, rng)
    chosen = finalists(plan, screened, pace)
    assert finalists(plan, [*screened, *outcomes_of(plan, FINALS, chosen, {"rule 5": 9.0}, rng)], pace) == chosen


def test_misses_are_counted_never_dropped() -> None:
    plan = simulated_plan(3)
    pace = Pace.of(dict.fromkeys(plan.names, 0.001))
    rng = np.random.default_rng(0)
    outcomes = outcomes_of(plan, SCREENING, plan.names, {}, rng)
    outcomes += outcomes_of(plan, FINALS, plan.names, {"rule 1": 3.0}, rng)
    for outcome in outcomes:
        if outcome.trial.contender == "rule 2" and outcome.trial.stage == FINALS:
            outcome.reached_at = None
    board = leaderboard(plan, outcomes, pace)
    rows = {row.recipe: row for row in board.rows}
    assert rows["rule 2"].reached == 0
    assert rows["rule 2"].steps_to_target == INF
    assert rows["rule 2"].verdict.startswith("slower")
    assert "missed the target in 10 of 10" in rows["rule 2"].verdict
    assert rows["rule 1"].verdict.startswith("fastest")
    assert board.winner == "rule 1"
    assert "missed" in str(board)


def test_a_race_stopped_half_way_is_still_judged_fairly() -> None:
    plan = simulated_plan(4)
    rng = np.random.default_rng(0)
    pace = Pace.of(dict.fromkeys(plan.names, 0.001))
    outcomes = outcomes_of(plan, SCREENING, plan.names, {}, rng)
    assert "not run" not in str(leaderboard(plan, outcomes, pace))
    assert leaderboard(plan, outcomes, pace).winner is None
    assert "not run" in str(leaderboard(plan, [], Pace({})))
    chosen = finalists(plan, outcomes, pace)
    final = outcomes_of(plan, FINALS, chosen, {}, rng)
    part = [o for o in final if not (o.trial.contender == chosen[0] and o.trial.seed % 2)]  # unequal seeds
    rows = {row.recipe: row for row in leaderboard(plan, [*outcomes, *part], pace).rows}
    assert all(rows[name].seeds == 5 for name in chosen)  # only the seeds that all of them ran
    versus = rows[chosen[0]].versus_baseline if chosen[0] != plan.baseline else rows[chosen[1]].versus_baseline
    assert versus is not None
    assert versus.pairs == 5
    some = [o for o in outcomes if o.trial.contender != "rule 1"]  # time ran out before rule 1 ran any seed
    searched = [Outcome(plan.trial(SEARCH, name, 0, 0), 50, 50, 1.0, 1.0, 1.0) for name in plan.names]
    assert leaderboard(plan, [*searched, *some], pace).winner is None


def tuned_plan(names: list[str]) -> Plan:
    recipes = (Recipe(sgd(0.1)), Recipe(sgd(0.2)))
    listed = tuple(Contender(name, recipes, 10_000) for name in names)
    return Plan(listed, names[0], "accuracy >= 0.9", 5)


def searched(plan: Plan, name: str, reached_at: int | None) -> list[Outcome]:
    return [Outcome(plan.trial(SEARCH, name, i, 0), reached_at, 100, 1.0, 1.0, 0.5) for i in range(2)]


def test_a_baseline_that_never_reached_the_target_is_beaten_by_whoever_did() -> None:
    plan = tuned_plan(["momentum", "rule 1", "rule 2"])
    rng, others = np.random.default_rng(0), ["rule 1", "rule 2"]
    pace = Pace.of(dict.fromkeys(others, 0.001))
    outcomes = searched(plan, "momentum", None) + searched(plan, "rule 1", 50) + searched(plan, "rule 2", 50)
    for stage in (SCREENING, FINALS):
        outcomes += outcomes_of(plan, stage, others, {"rule 1": 3.0}, rng)
    board = leaderboard(plan, outcomes, pace)
    rows = {row.recipe: row for row in board.rows}
    assert board.winner == "rule 1"
    assert rows["rule 1"].verdict.startswith("fastest (p = ")
    assert rows["rule 2"].verdict == "faster: momentum never reached the target"
    assert rows["momentum"].verdict == "missed the target at every learning rate"
    assert np.isnan(rows["momentum"].lr)


def test_without_the_baselines_finals_nothing_is_claimed() -> None:
    plan = tuned_plan(["momentum", "rule 1", "rule 2"])
    rng, pace = np.random.default_rng(0), Pace.of(dict.fromkeys(plan.names, 0.001))
    outcomes = [outcome for name in plan.names for outcome in searched(plan, name, 50)]
    outcomes += outcomes_of(plan, SCREENING, plan.names, {"rule 1": 3.0}, rng)
    outcomes += outcomes_of(plan, FINALS, ["rule 1", "rule 2"], {"rule 1": 3.0}, rng)
    board = leaderboard(plan, outcomes, pace)
    assert board.winner == "rule 1"
    assert {row.verdict for row in board.rows if row.judged} == {"not compared"}


def test_a_measured_cost_is_not_trusted_beyond_its_error() -> None:
    """Two equal recipes, both twice as expensive as the baseline, whose costs were measured 8% apart."""
    plan = simulated_plan(3)
    pace = Pace.of({"momentum": 0.001, "rule 1": 0.00200, "rule 2": 0.00216})
    assert pace.ratio("rule 1", "rule 2") == 1.0
    assert pace.ratio("rule 1", "momentum") == pytest.approx(2.0 / 1.1)
    noisy = Pace({"a": (0.001, 0.001, 0.002), "b": (0.001, 0.002, 0.001)})
    assert noisy.ratio("a", "b") == 1.0
    steps = outcomes_of(plan, SCREENING, plan.names, {}, np.random.default_rng(0))
    for name in plan.names:  # the same steps for all: only the cost could tell them apart
        steps += [Outcome(plan.trial(FINALS, name, 0, i), 50 + i, 60 + i, 1.0, 1.0, 1.0) for i in range(plan.final_seeds)]
    rows = {row.recipe: row for row in leaderboard(plan, steps, pace).rows}
    assert not any(row.verdict.startswith("fastest") for row in rows.values() if row.recipe != "momentum")
    assert rows["rule 1"].step_seconds == 0.002  # what is shown is what was measured


@pytest.mark.parametrize("error", [0.05, 0.1])
def test_a_noisy_pace_makes_no_winners(error: float) -> None:
    """Equal rivals, four times cheaper than the baseline in seconds, each cost measured with this error in nine rounds."""
    wrong = 0
    for seed in range(RACES // 4):
        rng = np.random.default_rng(seed)
        plan = simulated_plan(3)
        true = {"momentum": 0.004, "rule 1": 0.001, "rule 2": 0.001}
        rounds = {name: tuple(cost * np.exp(rng.normal(0, error, 9))) for name, cost in true.items()}
        outcomes = outcomes_of(plan, SCREENING, plan.names, {}, rng)
        outcomes += outcomes_of(plan, FINALS, plan.names, {}, rng)
        rows = leaderboard(plan, outcomes, Pace(rounds)).rows
        wrong += any(row.verdict.startswith("fastest") for row in rows)
    assert wrong / (RACES // 4) <= 0.08  # 5%, and what 250 races can be off by chance


def test_a_step_that_costs_three_times_as_much_weighs_in_the_ranking() -> None:
    plan = simulated_plan(5)
    rng = np.random.default_rng(0)
    seconds = dict.fromkeys(plan.names, 0.001)
    outcomes = outcomes_of(plan, SCREENING, plan.names, {"rule 1": 2.0}, rng)
    assert "rule 1" not in finalists(plan, outcomes, Pace.of(seconds | {"rule 1": 0.0045}))
    assert "rule 1" in finalists(plan, outcomes, Pace.of(seconds | {"rule 1": 0.0025}))


def test_a_trial_survives_json() -> None:
    import json

    from steepest.records import jsonable

    trial = Trial("adam", 2, 0.01, 7, SEARCH, 100, 5)
    outcome = Outcome(trial, None, 100, 1.5, 2.0, float("nan"), [(5, float("inf"), 0.5), (10, float("nan"), 0.6)], "diverged")
    again = Outcome.from_dict(json.loads(json.dumps(jsonable(outcome.to_dict()))))
    assert again.trial == trial
    assert again.reached_at is None
    assert again.curve[0][1] == float("inf")
