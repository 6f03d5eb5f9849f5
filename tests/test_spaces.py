"""Spaces of recipes: how they are read, what is drawn from them, how they are searched."""

from __future__ import annotations

import math
import re
from pathlib import Path
from typing import Any

import optuna
import pytest

import steepest
from steepest.errors import InputError
from steepest.racing import runner, searching
from steepest.racing.contenders import contender
from steepest.racing.costs import StepCosts
from steepest.racing.kinds import kind_of
from steepest.racing.parking import Parking, ParkingLot
from steepest.racing.plan import FINALS, FIRST, SEARCH, Plan, best_recipe
from steepest.racing.ranges import learning_rate
from steepest.racing.samplers import Asked, _values
from steepest.racing.spaces import Space, distance, is_open
from steepest.racing.trials import DIVERGED, FINISHED, REACHED, Outcome, Trial, run_trial
from steepest.recipes import Recipe
from steepest.rules import adam
from tests.interrupts import Interrupted
from tests.paces import equal_pace

WIDE = "Recipe(one_of(adamw, momentum, muon), batch=one_of(16, 32, 64))"
SMALL: dict[str, Any] = {"seeds": 2, "epochs": 15, "processes": 1, "progress": False, "lanes": False}


# -- reading ----------------------------------------------------------------------------------------------------------


def test_a_space_is_a_recipe_with_open_places() -> None:
    space = Space("Recipe(adamw(between(1e-4, 1e-2), weight_decay=one_of(0.0, 0.1)), batch=between(16, 64), model=mlp((8,)))")
    low, high = space.draw((0, 0, 0)).recipe, space.draw((1, 1, 1)).recipe
    assert low == steepest.parse_recipe("Recipe(adamw(0.0001, weight_decay=0.0), batch=16, model=mlp((8,)))")
    assert high == steepest.parse_recipe("Recipe(adamw(0.01, weight_decay=0.1), batch=64, model=mlp((8,)))")
    assert space.middle.batch == 32  # evenly in logarithm, and whole
    assert Space("Recipe(adam(0.1), batch=between(10, 20, log=False))").middle.batch == 15
    assert repr(space) == f"Space({space.text!r})"


def test_rules_named_alone_take_the_same_share_of_their_own_ranges() -> None:
    space = Space(WIDE)
    assert space.dimensions == 3  # rule, its learning rate, batch
    lowest = [space.draw((rule, 0.0, 0.5)) for rule in (0.1, 0.5, 0.9)]
    assert [learning_rate(draw.recipe.rule) for draw in lowest] == [1e-4, 0.004, 0.002]
    assert [draw.recipe.batch for draw in lowest] == [32, 32, 32]
    assert [draw.settings[1] for draw in lowest] == [lowest[0].settings[1]] * 3


def test_what_is_open_is_told_from_what_is_not() -> None:
    assert is_open("split(matrices=muon, rest=adamw)")
    assert is_open("Recipe(adam(0.1), model=one_of(linear_model(), mlp((8,))))")
    assert not any(map(is_open, ("adamw", "adamw(0.1)", "Recipe(adamw(0.1))", "adamw(", "")))


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("adamw(0.1)", "a space needs an open place"),
        ("adamw(between(1, 0.1))", "expected between"),
        ("adamw(between(0, 0.1))", "must be > 0; say log=False"),
        ("adamw(between(between(1, 2), 3))", "expected between"),
        ("adamw(between(0.1))", "expected between"),
        ("adamw(between(0.1, inf))", "expected between"),
        (f"adamw(between(1, 1{'0' * 400}))", "expected between"),
        ("one_of(adamw, momentum", "expected Python"),
        (None, "a space is a recipe's text"),
        ("adamw(between(0.1, 1, base=2))", "expected between"),
        ("adamw(one_of(0.1))", "two things or more"),
        ("adamw(one_of(0.1, 0.2, log=True))", "two things or more"),
        ("adamw(one_of(-1.0, 0.1))", "lr must be"),
        ("mlp(one_of((8,), (16,)))", "a recipe is"),
        ("adamww(between(0.1, 1))", "unknown function 'adamww'; did you mean 'adamw'?"),
        ("Recipe(one_of(adamw, lamb(0.1)), bach=32)", "unknown argument of Recipe 'bach'"),
    ],
)
def test_bad_spaces_are_refused_in_one_line(text: Any, told: str) -> None:
    with pytest.raises(InputError, match=re.escape(told)) as caught:
        Space(text)
    assert "\n" not in str(caught.value)


def test_draws_differ_begin_in_the_middle_and_follow_the_seed() -> None:
    space = Space(WIDE)
    draws = space.draws(100)
    assert len({repr(draw.recipe) for draw in draws}) == 100
    assert draws[0].recipe == space.middle
    assert draws == space.draws(100)
    assert draws != space.draws(100, seed=1)
    rules = [repr(draw.recipe.rule).split("(")[0] for draw in draws]
    assert all(25 <= rules.count(name) <= 45 for name in set(rules))
    assert len(Space("Recipe(adam(0.1), batch=one_of(1, 2, 3))").draws(100)) == 3


def test_distance_is_small_where_settings_are_alike() -> None:
    space = Space(WIDE)
    here = space.draw((0.1, 0.5, 0.1)).settings
    assert distance(here, here) == 0
    assert distance(here, space.draw((0.1, 0.6, 0.1)).settings) == pytest.approx(0.1)
    assert distance(here, space.draw((0.1, 0.5, 0.5)).settings) == pytest.approx(0.5)  # numbers have an order
    assert distance(here, space.draw((0.9, 0.5, 0.1)).settings) == pytest.approx(1 / 3)  # rules have none
    half = Space("Recipe(one_of(adamw(between(1e-4, 1e-2)), adam(0.1)))")
    assert distance(half.draw((0.1, 0.2)).settings, half.draw((0.9, 0.2)).settings) > 1 / 3


# -- searching, on curves that are drawn by a formula -----------------------------------------------------------------


def planned(text: str, *, tries: int = 64, epochs: float = 40) -> Plan:
    frame = Recipe(adam(), batch=32, epochs=epochs)
    one = contender(Space(text), frame).lasting(960, 5, frame, 0)
    return Plan((one,), one.name, "accuracy >= 0.9", 5, tries=tries)


def half_life(recipe: Recipe) -> float:
    """How many steps a recipe takes, by a formula: least at a learning rate of 0.003, and for adamw."""
    rate = math.log10(learning_rate(recipe.rule) / 0.003)
    return 30 * math.exp(2 * rate**2) * (1.0 if "adamw" in repr(recipe.rule) else 2.0)


def outcome_of(plan: Plan, trial: Trial) -> Outcome:
    life, curve, reached = half_life(plan.contenders[0].recipes[trial.recipe]), [], None
    for step in range(trial.evaluate_every, trial.max_steps + 1, trial.evaluate_every):
        curve.append((step, 1.0, 1 - 0.5 ** (step / life)))
        if len(curve) > 1 and curve[-2][2] >= 0.9:
            reached = curve[-2][0]
            break
    steps, status = curve[-1][0], FINISHED if reached is None else REACHED
    return Outcome(trial, reached, steps, 0.0, 0.0, curve[-1][2], curve, status)


def in_waves(plan: Plan, costs: Any = None, outcome: Any = outcome_of) -> list[list[Outcome]]:
    """Run a search to its end on curves by formula; return what came back, wave by wave."""
    found: list[list[Outcome]] = []
    one = plan.contenders[0]
    search = searching.waves(plan, one, costs or (lambda chosen: [1.0] * len(chosen)))
    wave = next(search)
    while True:
        found.append([outcome(plan, trial) for trial in wave])
        try:
            wave = search.send(found[-1])
        except StopIteration:
            return found


def searched(plan: Plan, costs: Any = None, outcome: Any = outcome_of) -> list[Outcome]:
    return [o for wave in in_waves(plan, costs, outcome) for o in wave]


def test_a_search_finds_what_is_nearly_best_for_the_price_of_a_few_trainings() -> None:
    plan = planned(WIDE)
    found, recipes = searched(plan), plan.contenders[0].recipes
    chosen = best_recipe(plan, found, "space")
    assert chosen is not None
    best = min(map(half_life, recipes))
    assert half_life(recipes[chosen]) <= 1.1 * best
    longest: dict[tuple[int, int], int] = {}
    for o in found:
        key = o.trial.recipe, o.trial.seed
        assert o.steps > longest.get(key, 0)  # one that is paused goes on
        longest[key] = o.steps
    tried = {recipe for recipe, _ in longest}
    assert FIRST < len(tried) <= 64
    assert sum(longest.values()) < 0.2 * len(tried) * plan.contenders[0].max_steps
    assert found == searched(plan)


def test_nobody_runs_longer_than_it_can_win() -> None:
    plan = planned(WIDE)
    best = math.inf
    for wave in in_waves(plan):
        first_seed = [o for o in wave if o.trial.seed == plan.seed_of(SEARCH, 0)]
        assert all(o.trial.max_steps <= best + o.trial.evaluate_every for o in first_seed)
        best = min([best, *(o.reached_at for o in first_seed if o.reached_at is not None)])


def test_the_best_are_run_with_more_seeds_and_one_that_was_lucky_is_not_taken() -> None:
    plan = planned(WIDE)
    lucky = searched(plan)
    first = best_recipe(plan, [o for o in lucky if o.trial.seed == plan.seed_of(SEARCH, 0)], "space")

    def unlucky(plan: Plan, trial: Trial) -> Outcome:
        found = outcome_of(plan, trial)
        if trial.recipe == first and trial.seed != plan.seed_of(SEARCH, 0):
            return Outcome(trial, None, trial.max_steps, 0.0, 0.0, 0.1)
        return found

    seeds = {o.trial.seed for o in lucky}
    assert seeds == {plan.seed_of(SEARCH, i) for i in range(3)}
    assert best_recipe(plan, searched(plan, outcome=unlucky), "space") != first


def test_recipes_whose_rate_falls_are_not_paused() -> None:
    plan = planned("Recipe(adamw(between(1e-4, 1e-1), schedule=one_of(constant(), cosine(), constant(0.5))))")
    recipes, found = plan.contenders[0].recipes, searched(plan)
    falling = [i for i, recipe in enumerate(recipes) if "cosine" in repr(recipe.rule)]
    assert all(searching.falls_late(recipes[i], 1200) == (i in falling) for i in range(len(recipes)))
    first_seed = [o.trial.recipe for o in found if o.trial.seed == plan.seed_of(SEARCH, 0)]
    assert all(first_seed.count(i) == 1 for i in falling if i in first_seed)
    assert any(first_seed.count(i) > 1 for i in first_seed)


def test_steps_of_other_batches_are_weighed_by_their_cost() -> None:
    plan = planned("Recipe(adamw(between(1e-3, 1e-2)), batch=one_of(16, 64))")
    one = plan.contenders[0]
    assert one.pool is not None
    assert {(r.batch, every) for r, every in zip(one.recipes, one.pool.every, strict=True)} == {(16, 10), (64, 2)}

    def costs(chosen: Any) -> list[float]:
        return [1.0 if one.recipes[i].batch == 64 else 0.2 for i in chosen]

    chosen = best_recipe(plan, searched(plan, costs), one.name)
    assert chosen is not None
    assert one.recipes[chosen].batch == 16


def test_nobody_reaches_the_target_and_who_diverges_is_left() -> None:
    plan = planned(WIDE, tries=20, epochs=2)

    def hopeless(_: Plan, trial: Trial) -> Outcome:
        status = DIVERGED if trial.recipe % 2 else FINISHED
        steps = 5 if trial.recipe % 2 else trial.max_steps
        curve = [] if trial.recipe % 2 else [(trial.max_steps, 1.0, math.nan if trial.recipe % 4 else 0.3)]
        return Outcome(trial, None, steps, 0.0, 0.0, 0.1, curve, status)

    found = searched(plan, outcome=hopeless)
    assert best_recipe(plan, found, "space") is None
    assert len({o.trial.recipe for o in found}) == 20
    assert not [o for o in found if o.trial.recipe % 2 and o.trial.max_steps > 20]


def test_costs_are_measured_once_for_each_kind_and_rounded() -> None:
    recipes = [draw.recipe for draw in Space(WIDE).draws(40)]
    asked: list[int] = []

    def measure(chosen: Any) -> list[tuple[float, ...]]:
        asked.append(len(chosen))
        return [(0.001 * (recipe.batch or 0),) * 3 for recipe in chosen]

    costs = StepCosts(recipes, {}, measure)
    found = costs(range(20))
    assert len(asked) == 1
    assert asked[0] == len({kind_of(recipe) for recipe in recipes[:20]})
    assert all(
        abs(math.log2(cost / (0.001 * int(recipe.batch or 0)))) <= 1 / 8 + 1e-9
        for cost, recipe in zip(found, recipes, strict=False)
    )
    again = StepCosts(recipes, dict(costs.of), measure)
    assert again(range(20)) == found
    assert len(asked) == 1
    assert StepCosts(recipes[:1] * 3, {}, measure)([0, 1]) == [1.0, 1.0]


def test_a_kind_that_cannot_be_measured_costs_what_others_do() -> None:
    recipes = [Recipe(adam(), batch=n) for n in (2, 1, 4)]

    def measure(chosen: Any) -> list[tuple[float, ...]]:
        if any(recipe.batch == 2 for recipe in chosen):
            raise RuntimeError("no")
        return [(2.0**-10,)] * len(chosen)

    assert StepCosts(recipes, {}, measure)([0, 1, 2]) == [2.0**-10] * 3


def test_a_search_without_a_hit_goes_on_to_its_last_try() -> None:
    plan = planned(WIDE, tries=50, epochs=1)
    found = searched(plan)
    assert not [o for o in found if o.reached_at is not None]
    assert len({o.trial.recipe for o in found}) == 50


def test_of_recipes_that_all_missed_once_the_faster_is_taken() -> None:
    plan = planned(WIDE)
    found = [
        Outcome(plan.trial(SEARCH, "space", recipe, seed), None if seed == 1 else steps, 99, 0.0, 0.0, 0.0)
        for recipe, steps in ((3, 50), (5, 40), (7, 60))
        for seed in range(3)
    ]
    assert best_recipe(plan, found, "space") == 5


def test_narrow_ranges_are_told_apart() -> None:
    draws = Space("momentum(0.1, momentum=between(0.99, 0.9999))").draws(100)
    assert len(draws) == 100
    assert all(0.99 <= float(repr(draw.recipe.rule).split("momentum=")[1].rstrip(")")) <= 0.9999 for draw in draws)


def test_rank_correlation() -> None:
    assert searching.spearman([1, 2, 3, 4], [1, 3, 2, 4]) == pytest.approx(0.8)
    assert searching.spearman([1, 1, 2], [3, 3, 1]) == -1
    assert math.isnan(searching.spearman([1, 1], [1, 2]))
    plan = planned(WIDE)
    trials = [plan.trial(SEARCH, "space", i, 0) for i in range(30)]
    told = searching.rank_correlation(plan, [outcome_of(plan, trial) for trial in trials], "space")
    assert told is not None
    assert told[0] > 0.9
    assert told[1] == 30
    assert searching.rank_correlation(plan, [], "space") is None


# -- Optuna's samplers ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["TPESampler", "RandomSampler"])
def test_a_sampler_is_asked_what_to_try(name: str) -> None:
    plan = planned(WIDE)
    one = plan.contenders[0]

    def run() -> list[Outcome]:
        search = searching.waves(plan, one, lambda chosen: [1.0] * len(chosen), Asked(getattr(optuna.samplers, name)(seed=1)))
        found, wave = [], next(search)
        while True:
            found.append([outcome_of(plan, trial) for trial in wave])
            try:
                wave = search.send(found[-1])
            except StopIteration:
                return [o for wave in found for o in wave]

    found = run()
    tried = {o.trial.recipe for o in found}
    assert FIRST < len(tried) <= 64
    chosen = best_recipe(plan, found, "space")
    assert chosen is not None
    assert half_life(one.recipes[chosen]) <= 1.5 * min(map(half_life, one.recipes))
    assert found == run()


def test_a_sampler_is_told_the_order_of_what_was_tried() -> None:
    reached = [searching.Candidate(i, 1.0, 5, 100, falls=False) for i in range(4)]
    for one, steps in zip(reached, (20, 50, None, None), strict=True):
        one.outcome = Outcome(Trial("x", one.recipe, 0.1, 0, SEARCH, 100, 5), steps, 100, 0.0, 0.0, 0.0)
    values = _values(reached)
    assert values == sorted(values)
    assert _values(reached[2:]) == sorted(_values(reached[2:]))


def test_what_is_no_sampler_is_refused() -> None:
    with pytest.raises(InputError, match="sampler takes one of Optuna's"):
        steepest.race("iris", WIDE, sampler="tpe")


# -- pausing ----------------------------------------------------------------------------------------------------------

PAUSED = [
    "adam(0.01)", "schedule_free_adamw(0.01)", "Recipe(momentum(0.1), batch=16, model=mlp((16,), dropout=0.3))",
    "Recipe(adamw(0.01, schedule=cosine()), batch=16, plateau=plateau(patience=1))",
]  # fmt: skip


def trial_of(recipe: Recipe, steps: int, seed: int = 3) -> Trial:
    return Trial("x", 0, learning_rate(recipe.rule), seed, SEARCH, steps, 5)


@pytest.mark.parametrize("text", PAUSED)
def test_a_paused_trial_goes_on_exactly_where_it_was(text: str, tmp_path: Path) -> None:
    task = steepest.task("iris", reach="accuracy >= 0.999")
    recipe = steepest.parse_recipe(text).filled(Recipe(adam(), batch=16, epochs=20.0))
    whole, place = run_trial(task, recipe, trial_of(recipe, 60)), Parking(tmp_path)
    pieces = [run_trial(task, recipe, trial_of(recipe, steps), None, place) for steps in (10, 20, 20, 60)]
    assert whole is not None
    assert all(piece is not None for piece in pieces)
    assert [len(piece.curve) for piece in pieces if piece] == [2, 4, 4, len(whole.curve)]
    assert pieces[-1] is not None
    assert pieces[-1].curve == whole.curve
    assert (pieces[-1].steps, pieces[-1].reached_at) == (whole.steps, whole.reached_at)


def test_a_trial_that_is_run_again_leaves_what_waits_where_it_is(tmp_path: Path) -> None:
    task, recipe = steepest.task("iris", reach="accuracy >= 0.999"), Recipe(adam(0.01), batch=16, epochs=20.0)
    place = Parking(tmp_path)
    for _ in range(2):  # a race that was killed before it had written the first down
        run_trial(task, recipe, trial_of(recipe, 20), None, place)
        assert [path.name for path in tmp_path.glob("*-step-*")] == ["000001-step-20"]


def test_what_was_left_damaged_or_further_on_is_begun_anew(tmp_path: Path) -> None:
    task, recipe = steepest.task("iris", reach="accuracy >= 0.999"), Recipe(adam(0.01), batch=16, epochs=20.0)
    place = Parking(tmp_path)
    whole = run_trial(task, recipe, trial_of(recipe, 40))
    assert whole is not None
    run_trial(task, recipe, trial_of(recipe, 20), None, place)
    for file in tmp_path.rglob("*.safetensors"):
        file.write_bytes(b"no")
    broken = run_trial(task, recipe, trial_of(recipe, 40), None, place)
    assert broken is not None
    assert broken.curve == whole.curve
    other = run_trial(task, recipe, trial_of(recipe, 40, seed=4), None, place)  # the place of another seed
    alone = run_trial(task, recipe, trial_of(recipe, 40, seed=4))
    assert other is not None
    assert alone is not None
    assert other.curve == alone.curve
    short = run_trial(task, recipe, trial_of(recipe, 10), None, place)
    assert short is not None
    assert short.curve == whole.curve[:2]
    ParkingLot(tmp_path).clear()
    assert not tmp_path.exists()


def test_a_place_that_cannot_be_written_stops_nobody(tmp_path: Path) -> None:
    task, recipe = steepest.task("iris", reach="accuracy >= 0.999"), Recipe(adam(0.01), batch=16, epochs=20.0)
    (tmp_path / "file").write_text("in the way")
    outcome = run_trial(task, recipe, trial_of(recipe, 20), None, Parking(tmp_path / "file"))
    assert outcome is not None
    assert len(outcome.curve) == 4


# -- races ------------------------------------------------------------------------------------------------------------


@pytest.fixture
def _equal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runner, "measure_pace", equal_pace)


@pytest.mark.usefixtures("_equal")
def test_a_race_searches_a_space_and_judges_what_it_finds(tmp_path: Path) -> None:
    race = steepest.race("iris", [WIDE, "adamw(0.001)"], tries=20, home=tmp_path, **SMALL)
    board = race.leaderboard()
    assert {row.recipe for row in board.rows} == {"space", "adamw", "momentum"}
    row = next(row for row in board.rows if row.recipe == "space")
    assert row.judged
    chosen = best_recipe(race.plan, race.outcomes, "space")
    assert chosen is not None
    assert row.lr == learning_rate(race.plan.contender("space").recipes[chosen].rule)
    assert len({o.trial.recipe for o in race.outcomes if o.trial.contender == "space"}) <= 20
    assert {o.trial.recipe for o in race.outcomes if o.trial.contender == "space" and o.trial.stage == FINALS} == {chosen}
    assert "the best of" in str(race)
    assert race.to_dict()["found"] == race.found()
    assert not list(tmp_path.rglob("paused"))
    assert steepest.parse_recipe(repr(race.best)) == race.best


@pytest.mark.usefixtures("_equal")
def test_an_interrupted_search_goes_on_and_ends_alike(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = runner.run_trial
    expected = steepest.race("iris", [WIDE], tries=20, home=tmp_path / "whole", **SMALL)
    monkeypatch.setattr(runner, "run_trial", Interrupted(run, 30))
    with pytest.raises(steepest.Interrupted, match="resume"):
        steepest.race("iris", [WIDE], tries=20, home=tmp_path, **SMALL)
    left = len(list((tmp_path / "races").glob("*/paused/*")))
    assert left > 0
    name = next((tmp_path / "races").iterdir()).name
    monkeypatch.setattr(runner, "run_trial", run)
    resumed = steepest.race("iris", [WIDE], tries=20, home=tmp_path, resume=name, **SMALL)

    def told(race: steepest.Race) -> list[Any]:
        return [(o.trial, o.reached_at, o.curve) for o in race.outcomes]

    assert sorted(map(repr, told(resumed))) == sorted(map(repr, told(expected)))
    assert repr(resumed.best) == repr(expected.best)


@pytest.mark.usefixtures("_equal")
def test_a_recipe_of_a_space_that_fails_costs_that_one_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    run = runner.run_trial

    def trial(task: Any, recipe: Recipe, *args: Any, **options: Any) -> Any:
        if recipe.batch == 64:
            raise RuntimeError("no room for so many")
        return run(task, recipe, *args, **options)

    monkeypatch.setattr(runner, "run_trial", trial)
    race = steepest.race("iris", [WIDE], tries=16, record=False, **SMALL)
    assert race.best.batch != 64
    failed = [o for o in race.outcomes if o.status == "failed"]
    assert len(failed) > 2
    assert not [o for o in race.outcomes if o.status == "not tried again"]


@pytest.mark.usefixtures("_equal")
def test_where_networks_race_a_linear_model_does_too() -> None:
    networks = "Recipe(adam(0.01), model=one_of(mlp((4,)), mlp((16,))))"
    race = steepest.race("iris", [networks, "Recipe(adam(0.01), model=mlp((8,)), name='eight')"], record=False, **SMALL)
    rows = {row.recipe: row for row in race.leaderboard().rows}
    assert set(rows) == {"space", "eight", "momentum", "linear"}
    sizes = {name: row.size for name, row in rows.items()}
    assert sizes["linear"] is not None
    assert sizes["eight"] is not None
    assert sizes["linear"].num_parameters == 4 * 3 + 3
    assert sizes["eight"].num_parameters == 4 * 8 + 8 + 8 * 3 + 3
    assert all(size is None or 0 < size.latency_s < 1 for size in sizes.values())
    assert "parameters" in str(race.leaderboard()).splitlines()[0]
    assert "smallest network that reached the target with every seed" in race.found()[-1]
    document = {row["recipe"]: row["num_parameters"] for row in race.to_dict()["leaderboard"]}
    assert document["linear"] == 15


@pytest.mark.usefixtures("_equal")
def test_no_sizes_where_all_networks_are_the_same() -> None:
    race = steepest.race("iris", ["adam(0.01)"], record=False, **SMALL)
    assert {row.recipe for row in race.leaderboard().rows} == {"adam", "momentum"}
    assert "parameters" not in str(race.leaderboard())


@pytest.mark.usefixtures("_equal")
def test_a_race_may_begin_with_the_winner_of_another(tmp_path: Path) -> None:
    before = steepest.race("iris", ["adamw(0.0123)"], baseline="adamw", home=tmp_path, **SMALL)
    space = "Recipe(one_of(adamw, momentum), batch=one_of(16, 32))"
    race = steepest.race("iris", space, tries=16, start_from=before.id or "", home=tmp_path, **SMALL)
    first = race.plan.contender("space").recipes[0]
    assert (repr(first.rule), first.batch, first.epochs) == ("adamw(0.0123)", 32, 15)
    trials = [o.trial for o in race.outcomes if o.trial.contender == "space"]
    assert trials[0].recipe == 0
    with pytest.raises(InputError, match="lies in none of the spaces"):
        steepest.race("iris", "one_of(adam, momentum)", start_from=[before.id or ""], home=tmp_path, **SMALL)
    with pytest.raises(InputError, match="lies in none of the spaces"):
        steepest.race("iris", "adam", start_from=before.id or "", home=tmp_path, **SMALL)


@pytest.mark.usefixtures("_equal")
def test_two_spaces_in_two_processes(tmp_path: Path) -> None:
    entries = ["Recipe(adamw, batch=one_of(16, 32), name='a')", "Recipe(momentum, batch=one_of(16, 32), name='m')"]
    race = steepest.race("iris", entries, tries=16, home=tmp_path, **{**SMALL, "processes": 2})
    assert {row.recipe for row in race.leaderboard().rows} == {"a", "m", "momentum"}
    assert len(race.found()) == 2
    assert {name: len(costs) > 0 for name, costs in race.facts["step_costs"].items()} == {"a": True, "m": True}
    assert not list(tmp_path.rglob("paused"))


@pytest.mark.parametrize("value", [3, [3], {"a": 1}])
def test_where_to_start_from_is_told_in_a_line(value: Any) -> None:
    with pytest.raises(InputError, match="start_from takes the id of a race"):
        steepest.race("iris", WIDE, start_from=value, **SMALL)


def test_open_places_are_for_races() -> None:
    with pytest.raises(InputError, match="which only a race searches"):
        steepest.fit("iris", "one_of(adamw, momentum)", record=False)


@pytest.mark.usefixtures("_equal")
def test_options_that_fail_are_told_and_one_recipe_is_no_search() -> None:
    space = "Recipe(adamw(0.05), augment=one_of(flip(), None), batch=one_of(16, 32))"
    race = steepest.race("iris", [space, "one_of(sgd(0.1), sgd(0.1))"], record=False, **SMALL)
    assert len(race.found()) == 1
    assert "failed in 2 (flip() changes images" in race.found()[0]


@pytest.mark.usefixtures("_equal")
def test_networks_of_texts_have_sizes_too(tmp_path: Path) -> None:
    words = [("good fine nice", "pos"), ("bad poor sad", "neg")]
    lines = [f"{label} {' '.join(text.split()[i % 3 :])} {i}" for i in range(60) for text, label in words]
    (tmp_path / "reviews.txt").write_text("\n".join(lines) + "\n")
    task = steepest.task(str(tmp_path / "reviews.txt"), reach="accuracy >= 0.6")
    race = steepest.race(task, "Recipe(adamw(0.01), model=gru(8))", record=False, **{**SMALL, "epochs": 3, "seeds": 1})
    assert all(row.size is not None for row in race.leaderboard().rows)
