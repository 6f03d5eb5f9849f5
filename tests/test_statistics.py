"""The statistics of a race: against what they promise, and on thousands of simulated races with the noise of real training.

The seeds' noise is what ten classic rules showed on digits: the logarithm of steps-to-target deviates by 0.24 to 0.45 between
seeds, and about a third of its variance is shared by rules that run the same seed (docs/racing.md).
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from benchmarks.statistics import Noise, drawn, plan_of, simulate, wins, with_finals
from steepest.racing.contenders import Contender
from steepest.racing.finals import next_block
from steepest.racing.leaderboard import leaderboard
from steepest.racing.pace import Pace
from steepest.racing.plan import FINALS, SCREENING, SEARCH, Plan, finalists, middle_out
from steepest.racing.statistics import (
    anytime_p,
    compare,
    in_sequence,
    log_evidence,
    log_ratios,
    median_interval,
    ratio_interval,
    seeds_needed,
    weighed_p,
)
from steepest.racing.trials import Outcome, Trial
from steepest.recipes import Recipe
from steepest.rules import sgd

INF = float("inf")
RACES = 1000
NOISE = Noise(deviation=0.32, shared=0.28)  # of log steps between seeds; the share of the variance common to a seed


def in_any_order(tree: np.ndarray) -> np.ndarray:
    """Return every way to give signs to these sizes: (2^n, n)."""
    return np.array(np.meshgrid(*[[1, -1]] * len(tree))).reshape(len(tree), -1).T * tree


@pytest.mark.parametrize("n", [1, 2, 5, 8])
@pytest.mark.parametrize("seed", range(3))
def test_fair_bets_win_nothing_on_average(n: int, seed: int) -> None:
    """Over all signs of whatever sizes the evidence is 1 on average, after every difference."""
    sizes = np.abs(np.random.default_rng(seed).normal(0, 0.4, n))
    evidence = np.exp([log_evidence(d) for d in in_any_order(sizes)])
    assert evidence.mean(axis=0) == pytest.approx(np.ones(n))


@pytest.mark.parametrize("draw", ["normal", "cauchy", "ties", "one size", "misses"])
def test_who_watches_all_the_time_is_wrong_in_at_most_4_5_percent(draw: str) -> None:
    """Ville's inequality, on noise of every shape, looked at after each of a hundred differences."""
    rng = np.random.default_rng(0)
    draws = {
        "normal": lambda: rng.normal(0, 0.4, 100),
        "cauchy": lambda: rng.standard_cauchy(100),
        "ties": lambda: np.round(rng.normal(0, 1, 100)),
        "one size": lambda: rng.choice([-0.1, 0.1], 100),
        "misses": lambda: rng.choice([-INF, -0.3, 0.0, 0.3, INF], 100),
    }
    claims = [weighed_p(draws[draw]()) <= 0.05 for _ in range(RACES)]
    assert np.mean(claims) <= 0.05


def test_evidence_agrees_with_an_unbiased_coin() -> None:
    """Large differences are tosses: the evidence is that of betting 0.95 on heads each time (Waudby-Smith, Ramdas, 2024)."""
    signs = np.array([1, 1, -1, 1, 1, 1, -1, 1])
    expected = np.cumsum(np.log1p(0.95 * signs))
    assert log_evidence(100.0 * signs) == pytest.approx(expected)
    assert log_evidence(INF * signs) == pytest.approx(expected)


def test_a_miss_is_the_largest_difference() -> None:
    assert anytime_p([INF] * 10) == pytest.approx(1 / 1.95**10)
    assert weighed_p([-INF] + [0.1] * 19) > weighed_p([-0.05] + [0.1] * 19)
    assert log_ratios([INF, 100, INF], [INF, INF, 100]).tolist() == [0.0, -INF, INF]
    both_ways = compare([100, INF, 100, 100, 100, 100], [INF, 100, 90, 90, 90, 90])
    low, high = both_ways.interval
    assert low <= both_ways.ratio <= high


def test_few_pairs_can_decide_nothing() -> None:
    assert weighed_p([1.0] * 4) > 0.05
    assert weighed_p([9.0] * 5) == pytest.approx(1 / 1.95**5 / 0.9)
    assert weighed_p([9.0] * 5) <= 0.05
    assert weighed_p([-9.0] * 7) > 0.05
    assert weighed_p([-9.0] * 8) == pytest.approx(1 / 1.95**8 / 0.1)
    assert weighed_p([-9.0] * 8) <= 0.05
    assert weighed_p([]) == 1.0
    assert weighed_p([0.0] * 8) == 1.0


def test_both_directions_together_err_in_at_most_5_percent() -> None:
    """Over all signs of twelve differences, always watched: "faster" in at most 4.5% of them, "slower" in at most 0.5%."""
    signs = in_any_order(np.linspace(0.1, 1.2, 12))
    faster = [anytime_p(d) <= 0.045 for d in signs]
    slower = [anytime_p(-d) <= 0.005 for d in signs]
    assert 0.01 < np.mean(faster) <= 0.045
    assert np.mean(slower) <= 0.005


def test_intervals_cover_what_they_promise() -> None:
    """Of a ratio, at every one of thirty looks; of a median, at one."""
    rng = np.random.default_rng(0)
    ratios = medians = 0
    for _ in range(1500):
        d = rng.normal(0.4, 0.3, 30)
        ratios += weighed_p(d - 0.4) > 0.05  # which is what the interval holds, see below
        low, high = median_interval(np.exp(rng.normal(0, 0.3, 10)))[1:]
        medians += low <= 1 <= high
    assert ratios / 1500 >= 0.95
    assert 0.95 <= medians / 1500 <= 1.0


def test_the_interval_agrees_with_the_test() -> None:
    rng = np.random.default_rng(1)
    for _ in range(100):
        d = rng.normal(0.2, 0.3, 10)
        _, low, high = ratio_interval(d)
        assert (low <= 1 <= high) == (weighed_p(d) > 0.05)
        at = np.log(low) if low > 0 else -9.0
        assert anytime_p(d - at - 1e-6) > 0.045 or at == -9.0
        assert anytime_p(d - at + 1e-6) <= 0.045 or at == -9.0


def test_seeds_needed_falls_with_the_effect_and_gives_up() -> None:
    rng = np.random.default_rng(0)
    noise = rng.normal(0, 0.3, 10)
    noise -= noise.mean()
    few, many = seeds_needed(noise + 0.4), seeds_needed(noise + 0.1)
    assert few < 15 < many < 200
    assert seeds_needed(noise + 0.001) > 200
    assert seeds_needed(noise - 0.1) > 200  # it points the other way
    assert seeds_needed([0.1]) == INF
    assert compare([100.0] * 4, [99.9] * 4).more_seeds is None


def test_a_sequence_stops_at_the_first_that_cannot_be_told() -> None:
    assert in_sequence([0.01, 0.2, 0.001]) == [0.01, 0.2, 0.2]
    assert in_sequence([]) == []


def test_learning_rates_are_tried_from_the_middle() -> None:
    assert middle_out(5) == [2, 3, 1, 4, 0]
    assert sorted(middle_out(4)) == [0, 1, 2, 3]


# -- whole races, simulated -------------------------------------------------------------------------------------------


def outcomes_of(plan: Plan, stage: str, names: list[str], speed: dict[str, float], rng: np.random.Generator) -> list[Outcome]:
    return drawn(plan, stage, names, speed, rng, NOISE)


def raced(plan: Plan, speed: dict[str, float], pace: Pace, rng: np.random.Generator) -> list[Outcome]:
    """Return the outcomes of a race from its screening on."""
    screened = outcomes_of(plan, SCREENING, plan.names, speed, rng)
    return with_finals(plan, screened, pace, outcomes_of(plan, FINALS, plan.names, speed, rng))


@pytest.mark.parametrize("num_contenders", [2, 10])
def test_a_recipe_against_itself_wins_in_at_most_5_percent(num_contenders: int) -> None:
    winners = sum(
        any(wins(verdict) for verdict in simulate(num_contenders, {}, NOISE, seed)[0].values()) for seed in range(RACES)
    )
    assert winners / RACES <= 0.05


@pytest.mark.parametrize("num_contenders", [2, 10])
def test_a_true_1_5_is_found_in_at_least_80_percent(num_contenders: int) -> None:
    found = sum(wins(simulate(num_contenders, {"rule 1": 1.5}, NOISE, 10_000 + seed)[0]["rule 1"]) for seed in range(RACES))
    assert found / RACES >= 0.8


def test_the_order_of_the_screening_never_reads_the_finals() -> None:
    plan = plan_of(6)
    rng = np.random.default_rng(0)
    pace = Pace.of(dict.fromkeys(plan.names, 0.001))
    screened = outcomes_of(plan, SCREENING, plan.names, {}, rng)
    chosen = finalists(plan, screened, pace)
    assert finalists(plan, [*screened, *outcomes_of(plan, FINALS, chosen, {"rule 5": 9.0}, rng)], pace) == chosen


def test_seeds_are_run_where_they_can_change_the_answer() -> None:
    """Of three that are clearly apart, the second look suffices; two equals run until it is hopeless."""
    plan = plan_of(3)
    pace = Pace.of(dict.fromkeys(plan.names, 0.001))

    def seeds(speed: dict[str, float], seed: int) -> dict[str, int]:
        rng = np.random.default_rng(seed)
        found = raced(plan, speed, pace, rng)
        return {name: sum(o.trial.contender == name and o.trial.stage == FINALS for o in found) for name in plan.names}

    clear = [seeds({"rule 1": 6.0, "rule 2": 0.2}, seed) for seed in range(20)]
    assert all(max(counts.values()) == 7 for counts in clear)  # two rivals: at 2.5% each, six that agree, and the block of one
    equal = [seeds({"rule 1": 4.0, "rule 2": 4.0}, seed) for seed in range(20)]
    assert all(counts["momentum"] <= 10 for counts in equal)  # beaten by both, it need not go on
    assert np.mean([counts["rule 1"] for counts in equal]) > np.mean([counts["momentum"] for counts in equal])
    assert max(max(counts.values()) for counts in equal) <= plan.most_seeds


def test_a_race_that_is_judged_anew_asks_for_the_same_seeds() -> None:
    """What was run is what a race that goes on asks for, whatever the order in which it came back."""
    plan = plan_of(5)
    pace = Pace.of(dict.fromkeys(plan.names, 0.001))
    for seed in range(10):
        rng = np.random.default_rng(seed)
        found = raced(plan, {"rule 1": 1.5}, pace, rng)
        shuffled = [found[i] for i in rng.permutation(len(found))]
        assert next_block(plan, shuffled, pace) == []
        assert leaderboard(plan, shuffled, pace) == leaderboard(plan, found, pace)


def test_misses_are_counted_never_dropped() -> None:
    plan = plan_of(3)
    pace = Pace.of(dict.fromkeys(plan.names, 0.001))
    rng = np.random.default_rng(0)
    outcomes = outcomes_of(plan, SCREENING, plan.names, {"rule 1": 5.0, "rule 2": 0.3}, rng)
    drawn = outcomes_of(plan, FINALS, plan.names, {"rule 1": 3.0}, rng)
    outcomes += [replace(o, reached_at=None) if o.trial.contender == "rule 2" else o for o in drawn]
    board = leaderboard(plan, outcomes, pace)
    rows = {row.recipe: row for row in board.rows}
    assert rows["rule 2"].reached == 0
    assert rows["rule 2"].steps_to_target == INF
    assert "missed the target in 7 of 7" in rows["rule 2"].verdict  # and by then it was clear who is fastest
    assert rows["rule 1"].verdict.startswith("fastest")
    assert board.winner == "rule 1"
    assert "missed" in str(board)


def test_a_race_stopped_half_way_is_still_judged_fairly() -> None:
    plan = plan_of(4)
    rng = np.random.default_rng(0)
    pace = Pace.of(dict.fromkeys(plan.names, 0.001))
    outcomes = outcomes_of(plan, SCREENING, plan.names, {}, rng)
    assert "not run" not in str(leaderboard(plan, outcomes, pace))
    assert leaderboard(plan, outcomes, pace).winner is None
    assert "not run" in str(leaderboard(plan, [], Pace({})))
    chosen = finalists(plan, outcomes, pace)
    final = outcomes_of(plan, FINALS, chosen, {}, rng)
    part = [o for o in final if not (o.trial.contender == chosen[0] and o.trial.seed % 1000 == 3)]  # its fourth is missing
    rows = {row.recipe: row for row in leaderboard(plan, [*outcomes, *part], pace).rows}
    assert all(rows[name].seeds == 3 for name in chosen)  # only the seeds that all of them ran
    versus = rows[chosen[0]].versus_baseline if chosen[0] != plan.baseline else rows[chosen[1]].versus_baseline
    assert versus is not None
    assert versus.pairs == 3
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
    assert board.winner is None
    assert not any(row.judged or row.verdict.startswith(("fast", "slow")) for row in board.rows)


def test_a_measured_cost_is_not_trusted_beyond_its_error() -> None:
    """Two equal recipes, both twice as expensive as the baseline, whose costs were measured 8% apart."""
    plan = plan_of(3)
    pace = Pace.of({"momentum": 0.001, "rule 1": 0.00200, "rule 2": 0.00216})
    assert pace.ratio("rule 1", "rule 2") == 1.0
    assert pace.ratio("rule 1", "momentum") == pytest.approx(2.0 / 1.1)
    noisy = Pace({"a": (0.001, 0.001, 0.002), "b": (0.001, 0.002, 0.001)})
    assert noisy.ratio("a", "b") == 1.0
    steps = outcomes_of(plan, SCREENING, plan.names, {}, np.random.default_rng(0))
    for name in plan.names:  # the same steps for all: only the cost could tell them apart
        steps += [Outcome(plan.trial(FINALS, name, 0, i), 50 + i, 60 + i, 1.0, 1.0, 1.0) for i in range(plan.most_seeds)]
    rows = {row.recipe: row for row in leaderboard(plan, steps, pace).rows}
    assert not any(row.verdict.startswith("fastest") for row in rows.values() if row.recipe != "momentum")
    assert rows["rule 1"].step_seconds == 0.002  # what is shown is what was measured


@pytest.mark.parametrize("error", [0.05, 0.1])
def test_a_noisy_pace_makes_no_winners(error: float) -> None:
    """Equal rivals, four times cheaper than the baseline in seconds, each cost measured with this error in nine rounds."""
    wrong = 0
    for seed in range(RACES // 4):
        rng = np.random.default_rng(seed)
        plan = plan_of(3)
        true = {"momentum": 0.004, "rule 1": 0.001, "rule 2": 0.001}
        rounds = {name: tuple(cost * np.exp(rng.normal(0, error, 9))) for name, cost in true.items()}
        rows = leaderboard(plan, raced(plan, {}, Pace(rounds), rng), Pace(rounds)).rows
        wrong += any(row.verdict.startswith("fastest") for row in rows)
    assert wrong / (RACES // 4) <= 0.08  # 5%, and what 250 races can be off by chance


def test_a_step_that_costs_three_times_as_much_weighs_in_the_ranking() -> None:
    plan = plan_of(5)
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
