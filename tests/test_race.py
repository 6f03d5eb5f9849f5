"""Races run for real: determinism, workers, resuming, budgets, Ctrl-C."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import steepest
from steepest import index, records
from steepest.racing import runner
from steepest.racing.contenders import DEFAULT, contenders
from steepest.racing.pace import Pace
from steepest.racing.plan import FINALS, SCREENING, SEARCH
from steepest.racing.processes import LostError
from steepest.racing.ranges import RANGES, learning_rate, learning_rates
from steepest.racing.trials import Outcome
from steepest.racing.workers import available_cores
from steepest.recipes import Recipe
from steepest.rules import adam
from tests.interrupts import Interrupted
from tests.paces import equal_pace

# trials one by one, which are the same bit for bit whatever runs beside them; `test_lanes.py` races in lanes
SMALL: dict[str, Any] = {"seeds": 2, "epochs": 15, "processes": 1, "progress": False, "lanes": False}


@pytest.fixture(autouse=True)
def _equal_pace(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runner, "measure_pace", equal_pace)


def steps_of(race: steepest.Race) -> list[tuple[Any, ...]]:
    """What must be the same when a race is run twice: every trial's steps, and who was judged on them."""
    rows = {row.recipe: (row.lr, row.reached, row.seeds, row.steps_to_target, row.judged) for row in race.leaderboard().rows}
    trials = sorted((o.trial.stage, o.trial.contender, o.trial.recipe, o.trial.seed, str(o.reached_at)) for o in race.outcomes)
    return [tuple(sorted(rows.items())), *trials]


def test_a_race_tunes_screens_and_judges() -> None:
    race = steepest.race("iris", ["adam", "sgd(0.1)"], **SMALL)
    stages = {(o.trial.contender, o.trial.stage) for o in race.outcomes}
    assert stages >= {("adam", SEARCH), ("adam", SCREENING), ("sgd", SCREENING), ("momentum", SEARCH), ("momentum", FINALS)}
    assert ("sgd", SEARCH) not in stages  # it came with its learning rate
    board = race.leaderboard()
    assert {row.recipe for row in board.rows} == {"momentum", "adam", "sgd"}
    assert all(2 <= row.seeds <= 12 for row in board.rows if row.judged)
    assert isinstance(race.best, steepest.Recipe)
    assert "against momentum" in str(race)
    assert "<table>" in race._repr_html_()
    tuned = [o for o in race.outcomes if o.trial.contender == "adam" and o.trial.stage == SEARCH]
    assert len(tuned) == 5
    chosen = next(row.lr for row in board.rows if row.recipe == "adam")
    reached = {o.trial.lr: o.reached_at for o in tuned if o.reached_at is not None}
    assert reached[chosen] == min(reached.values())


def test_the_same_seed_gives_the_same_steps_whatever_the_processes() -> None:
    """With as many threads a trial, even the curves are the same bit for bit."""
    task = steepest.task("iris")
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    alone = steepest.race(task, ["adam", "nesterov"], **SMALL)
    again = steepest.race(task, ["adam", "nesterov"], **SMALL)
    torch.set_num_threads(threads)
    assert steps_of(alone) == steps_of(again)
    shared = steepest.race(task, ["adam", "nesterov"], **{**SMALL, "processes": max(2, available_cores())})
    assert steps_of(alone) == steps_of(shared)
    for race in (again, shared):
        curves = {runner.key_of(o.trial): o.curve for o in race.outcomes}
        assert curves == {runner.key_of(o.trial): o.curve for o in alone.outcomes}
    other = steepest.race(task, ["adam", "nesterov"], **{**SMALL, "seed": 1})
    assert steps_of(alone) != steps_of(other)


def test_contenders_share_initial_weights_and_order() -> None:
    """The same recipe under two names does exactly the same: what differs between contenders is the recipe alone."""
    race = steepest.race("iris", ["adam(0.01)", "adam(0.01)"], baseline="adam", **SMALL)
    one, two = ([o.curve for o in race.outcomes if o.trial.contender == name] for name in ("adam", "adam (2)"))
    assert one == two
    assert not any(row.verdict.startswith(("fast", "slow")) for row in race.leaderboard().rows)


def test_networks_and_objectives_race_too() -> None:
    entries = [
        Recipe(adam(0.01), model=steepest.mlp((8,)), epochs=15, batch=32, name="narrow"),
        Recipe(adam(0.01), model=steepest.mlp((64,)), epochs=15, batch=32, name="wide"),
        Recipe(adam(0.01), objective=steepest.cross_entropy(label_smoothing=0.1), epochs=15, batch=32, name="smooth"),
    ]
    race = steepest.race("iris", entries, baseline="narrow", **SMALL)
    assert {row.recipe for row in race.leaderboard().rows} == {"narrow", "wide", "smooth", "linear"}


def test_warm_processes_run_lambdas_and_files(tmp_path: Path) -> None:
    task = steepest.Task("iris", model=lambda: nn.Sequential(nn.Linear(4, 16), nn.Tanh(), nn.Linear(16, 3)))
    race = steepest.race(task, ["sgd(0.1)", "momentum(0.05)"], **{**SMALL, "processes": 2, "seeds": 1})
    assert race.facts["processes"] == 2
    (tmp_path / "mine.py").write_text(
        "import steepest\nfrom torch import nn\n\n"
        "def net():\n    return nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 3))\n\n"
        "def make():\n    return steepest.Task('iris', model=net)\n"
    )
    same = steepest.race("mine.py:make", ["sgd(0.1)", "momentum(0.05)"], **{**SMALL, "processes": 2, "seeds": 1})
    assert len(same.outcomes) == len(race.outcomes)


def test_a_race_from_a_plain_script_needs_no_main_guard(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(
        "import steepest\n"
        "race = steepest.race('iris', ['sgd(0.1)', 'momentum(0.05)'], seeds=1, epochs=20, processes=2, record=False)\n"
        "print(race.status)\n"
    )
    result = subprocess.run([sys.executable, script], capture_output=True, text=True, timeout=120, check=True, cwd=tmp_path)
    assert result.stdout.strip() == "finished"


def test_a_resumed_race_runs_only_what_is_missing_and_ends_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = steepest.race("iris", ["adam", "nesterov"], **SMALL)
    run = runner.run_trial
    monkeypatch.setattr(runner, "run_trial", Interrupted(run, 9))
    with pytest.raises(steepest.Interrupted, match=r"8 of about \d+ trials are kept as r\w+; go on with: race\(..., resume="):
        steepest.race("iris", ["adam", "nesterov"], **SMALL)
    name = index.listing()[0]["id"]
    counted = Interrupted(run)
    monkeypatch.setattr(runner, "run_trial", counted)
    resumed = steepest.race("iris", ["adam", "nesterov"], resume=name, **SMALL)
    assert counted.calls == len(whole.outcomes) - 8
    assert steps_of(resumed) == steps_of(whole)
    with pytest.raises(steepest.InputError, match="was a race with other contenders; repeat its command"):
        steepest.race("iris", ["adam", "sgd"], resume=name, **SMALL)
    with pytest.raises(steepest.InputError, match="was a race with other data, model;"):
        steepest.race(steepest.task("iris", seed=1, model=steepest.mlp((4,))), ["adam", "nesterov"], resume=name, **SMALL)


def test_a_budget_ends_the_race_and_says_so() -> None:
    race = steepest.race("digits", ["sgd(1e-6)", "momentum(1e-6)"], budget="1s", seeds=3, epochs=400, processes=1)
    assert race.status == "out of time"
    with pytest.raises(steepest.InputError, match="no recipe reached accuracy"):
        _ = race.best
    assert race.to_dict()["best"] is None


def test_time_that_ends_after_the_search_is_told_apart_from_a_target_nobody_reached(monkeypatch: pytest.MonkeyPatch) -> None:
    def end(self: runner.Runner) -> bool:
        if self.result.pace.rounds:
            self.result.status = "out of time"
        return self.result.status == "out of time"

    monkeypatch.setattr(runner.Runner, "_time_is_up", end)
    race = steepest.race("iris", ["adam"], **SMALL)
    assert race.leaderboard().winner is None
    with pytest.raises(steepest.InputError, match=r"out of time before anyone was judged; the first to reach accuracy >= 0.9"):
        _ = race.best


def test_rules_that_cannot_work_are_told_before_anything_is_recorded() -> None:
    for rules in (["adam", "muon(0.02)"], ["adam", "chain(clip_value(1.0))"]):
        with pytest.raises(steepest.InputError):
            steepest.race("iris", rules, **SMALL)
    assert not index.listing()


def test_a_trial_that_fails_is_an_outcome_and_the_race_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    run, calls = runner.run_trial, 0

    def trial(*args: Any, **options: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == 3:
            raise steepest.InputError("training failed: RuntimeError: no")
        return run(*args, **options)

    monkeypatch.setattr(runner, "run_trial", trial)
    race = steepest.race("iris", ["adam"], **SMALL)
    assert [(o.status, o.error) for o in race.outcomes if o.error] == [("failed", "training failed: RuntimeError: no")]
    assert race.leaderboard().winner is not None
    assert index.listing()[0]["status"] == "finished"


def test_a_recipe_that_does_not_say_takes_what_the_race_gives_everyone() -> None:
    race = steepest.race("iris", [Recipe(adam(0.01), name="mine"), "adam(0.01)"], baseline="adam", **SMALL)
    assert {one.recipes[0].batch for one in race.plan.contenders} == {32}
    assert {one.max_steps for one in race.plan.contenders} == {45}  # 15 epochs of 3 steps, and evaluations on the grid
    one, two = ([o.curve for o in race.outcomes if o.trial.contender == name] for name in ("mine", "adam"))
    assert one == two


def test_nobody_reaches_an_impossible_target() -> None:
    race = steepest.race("iris", ["adam", "sgd"], reach="loss <= 0", **{**SMALL, "epochs": 2})
    assert race.leaderboard().winner is None
    assert {o.trial.stage for o in race.outcomes} == {SEARCH}  # no learning rate reached it: seeds would be wasted
    assert all("missed the target at every learning rate" in row.verdict for row in race.leaderboard().rows)


def test_ranges_are_spread_evenly_and_have_a_source() -> None:
    assert len(DEFAULT) == 10
    for name in (*DEFAULT, "ema_momentum"):
        space = RANGES[name]
        rates = learning_rates(space)
        assert len(rates) == 5
        ratios = np.diff(np.log(rates))
        assert ratios == pytest.approx(ratios.mean(), rel=0.1)
        assert space.source
        assert learning_rate(space.make(rates[0])) == rates[0]


def test_names_are_made_unique_and_frames_are_shared() -> None:
    frame = Recipe(adam(), batch=17, epochs=3)
    found = contenders("adam, adam, muon, Recipe(sgd(0.1), batch=5)", frame)
    assert [one.name for one in found] == ["adam", "adam (2)", "muon", "sgd"]
    assert found[0].recipes[0].batch == 17
    assert found[3].recipes[0].batch == 5


def test_the_document_has_the_keys_people_rely_on() -> None:
    race = steepest.race("iris", ["adam(0.01)"], **SMALL)
    document = json.loads(json.dumps(records.jsonable(race.to_dict())))
    assert {"id", "task", "reach", "leaderboard", "best", "search_seconds", "total_seconds", "stages"} <= set(document)
    keys = {"recipe", "rule", "lr", "reached", "seeds", "steps_to_target", "seconds_to_target", "interval_s"}
    assert keys | {"versus_baseline", "verdict", "p_value"} <= set(document["leaderboard"][0])
    assert document["total_seconds"] == pytest.approx(sum(document["stages"].values()))
    reads = {(read["part"], read["by"]) for read in document["data"]["reads"]}
    assert not {part for part, _ in reads} & {"test", "certificate"}


def endless_race(folder: Path) -> subprocess.Popen[str]:
    """Start a race that reaches nothing, in a session of its own as a terminal does."""
    arguments = ["race", "digits", "--recipes", "sgd(1e-7),momentum(1e-7)", "--epochs", "60"]
    return subprocess.Popen(
        [sys.executable, "-m", "steepest", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=folder,
        start_new_session=True,
    )


@pytest.mark.slow
@pytest.mark.usefixtures("interruptible")
def test_ctrl_c_on_the_command_line_keeps_trials_and_says_how_to_go_on(tmp_path: Path) -> None:
    process = endless_race(tmp_path)
    record: list[Path] = []
    deadline = time.monotonic() + 90
    while time.monotonic() < deadline and not (record and '"event": "trial"' in record[0].read_text()):
        time.sleep(0.2)
        record = list(tmp_path.glob(".steepest/races/*/record.jsonl"))
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does: parent and workers alike
    out, err = process.communicate(timeout=60)
    assert process.returncode == 75
    assert out == ""
    last = err.strip().splitlines()[-1]
    assert "trials are kept as r" in last
    assert f"--resume {record[0].parent.name}" in last
    assert "Traceback" not in err


def test_a_process_that_is_lost_where_steps_are_measured_leaves_the_finished_trials(monkeypatch: pytest.MonkeyPatch) -> None:
    def lost(*args: Any, **options: Any) -> Any:
        raise LostError("killed", "SIGKILL")

    monkeypatch.setattr(runner, "measure_pace", lost)
    with pytest.raises(steepest.InputError, match=r"a worker process was lost \(SIGKILL\).* trials are kept as r"):
        steepest.race("iris", ["sgd(0.1)", "momentum(0.05)"], **SMALL)
    assert index.listing()[0]["status"] == "a worker process died"


def test_a_race_that_goes_on_is_judged_by_what_was_measured_before(monkeypatch: pytest.MonkeyPatch) -> None:
    """Killed in its finals, it asks for the same seeds again, whatever a step costs by then."""
    slow = Pace.of({"adam": 0.001, "momentum": 0.003})
    monkeypatch.setattr(runner, "measure_pace", lambda task, recipes, device=None: [slow.rounds[r.label] for r in recipes])
    run, calls = runner.run_trial, 0

    def stop_in_finals(task: Any, recipe: Any, trial: Any, *args: Any, **options: Any) -> Any:
        nonlocal calls
        calls += trial.stage == FINALS
        if calls == 3:
            raise KeyboardInterrupt
        return run(task, recipe, trial, *args, **options)

    whole = steepest.race("iris", ["adam"], **SMALL)
    monkeypatch.setattr(runner, "run_trial", stop_in_finals)
    with pytest.raises(steepest.Interrupted):
        steepest.race("iris", ["adam"], **SMALL)
    monkeypatch.setattr(runner, "run_trial", run)
    monkeypatch.setattr(runner, "measure_pace", None)  # not measured again
    resumed = steepest.race("iris", ["adam"], resume="last", **SMALL)
    assert steps_of(resumed) == steps_of(whole)
    assert resumed.leaderboard() == whole.leaderboard()


def test_a_search_that_was_cut_short_says_so() -> None:
    race = steepest.race("iris", ["adam", "sgd"], **SMALL)
    searched = [o for o in race.outcomes if o.trial.stage == SEARCH]
    from steepest.racing.leaderboard import leaderboard

    board = leaderboard(race.plan, searched, Pace({}))
    assert {row.verdict for row in board.rows} <= {"only searched", "missed the target at every learning rate"}
    assert "only searched" in str(board)
    assert board.winner is None


@pytest.mark.slow
@pytest.mark.usefixtures("interruptible")
@pytest.mark.parametrize("presses", [(0.4,), (3.0, 0.1), (3.0, 0.02, 0.02)])
def test_every_press_of_ctrl_c_ends_in_one_clean_line(tmp_path: Path, presses: tuple[float, ...]) -> None:
    """The first press falls into the start of the processes, or into the trials; more follow at once."""
    process = endless_race(tmp_path)
    deadline = time.monotonic() + 90
    while time.monotonic() < deadline and not list(tmp_path.glob(".steepest/races/*/record.jsonl")):
        time.sleep(0.05)
    for pause in presses:
        time.sleep(pause)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 75
    assert out == ""
    assert "Traceback" not in err
    assert err.strip().splitlines()[-1].startswith("steepest: stopped; ")


@pytest.mark.slow
def test_workers_end_when_their_race_is_killed(tmp_path: Path) -> None:
    script = "import steepest; steepest.race('digits', ['sgd(1e-7)', 'momentum(1e-7)'], epochs=400, processes=2)"
    process = subprocess.Popen([sys.executable, "-c", script], cwd=tmp_path, env={**os.environ, "TMPDIR": str(tmp_path)})
    deadline = time.monotonic() + 90
    while time.monotonic() < deadline and not list(tmp_path.glob("steepest-*.task")):
        time.sleep(0.1)
    time.sleep(8)
    process.kill()
    process.wait()
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline and list(tmp_path.glob("steepest-*.task")):
        time.sleep(0.2)
    assert not list(tmp_path.glob("steepest-*.task"))


@pytest.mark.slow
def test_a_race_that_is_killed_again_and_again_ends_as_one_that_is_not(tmp_path: Path) -> None:
    """SIGKILL at any moment costs what was under way; every trial comes out the same, and no process is left behind."""
    arguments = ["race", "digits", "--recipes", "adam,nesterov", "--seeds", "2", "--processes", "2", "--json", "--quiet"]
    environment = {**os.environ, "TMPDIR": str(tmp_path)}
    rng, name, kills = np.random.default_rng(0), None, 0

    def finished() -> int:
        """Return how many trials lie in the record."""
        return sum(path.read_text().count('"event": "trial"') for path in tmp_path.glob(".steepest/races/*/record.jsonl"))

    while True:
        more, enough = [] if name is None else ["--resume", name], finished() + rng.integers(1, 6)
        command = [sys.executable, "-m", "steepest", *arguments, *more]
        with (tmp_path / "document.json").open("w") as document:
            process = subprocess.Popen(command, cwd=tmp_path, env=environment, stdout=document)
        while process.poll() is None and (finished() < enough or kills == 4):
            time.sleep(0.02)
        if process.poll() is not None:
            break
        process.kill()
        process.wait()
        kills += 1
        name = next((row["id"] for row in index.listing(tmp_path / ".steepest") if row["id"].startswith("r")), None)
    assert process.returncode == 0
    assert kills > 1
    whole = steepest.race("digits", ["adam", "nesterov"], seeds=2, progress=False, processes=2, lanes=False)
    trials = {runner.key_of(o.trial): o.reached_at for o in whole.outcomes}
    record = next(tmp_path.glob(".steepest/races/*/record.jsonl"))
    events = [json.loads(line) for line in record.read_text().splitlines() if line.endswith("}")]
    again = {
        runner.key_of(o.trial): o.reached_at for o in (Outcome.from_dict(e["outcome"]) for e in events if e["event"] == "trial")
    }
    shared = trials.keys() & again.keys()
    assert len(shared) >= 0.8 * len(trials)  # how many seeds the finals take depends on what a step was measured to cost
    assert {key: trials[key] for key in shared} == {key: again[key] for key in shared}
    assert json.loads((tmp_path / "document.json").read_text())["status"] == "finished"
    assert not list(tmp_path.glob("steepest-*.task"))  # processes whose race was killed have ended, and taken it along


def test_two_races_at_once_lose_nothing(tmp_path: Path) -> None:
    """Both keep their trials, their winners and their place in the index of one folder."""
    command = [sys.executable, "-m", "steepest", "race", "iris", "--recipes", "adam,sgd", "--reach", "accuracy >= 0.9",
               "--seeds", "2", "--epochs", "10", "--processes", "1", "--json", "--quiet"]  # fmt: skip
    both = [subprocess.Popen([*command, "--seed", str(i)], cwd=tmp_path, stdout=subprocess.PIPE, text=True) for i in range(2)]
    documents = [json.loads(process.communicate(timeout=120)[0]) for process in both]
    assert [process.returncode for process in both] == [0, 0]
    home = tmp_path / ".steepest"
    listed = {row["id"]: row for row in index.listing(home)}
    assert {document["id"] for document in documents} <= set(listed)
    for document in documents:
        events = list(records.find(document["id"], home).events())
        kept = [event for event in events if event["event"] == "trial"]
        assert {event["outcome"]["trial"]["contender"] for event in kept} >= {"adam", "sgd"}
    assert sum(1 for name in listed if not name.startswith("r")) == 2  # the trainings with the winners


def test_a_race_that_another_process_runs_is_not_gone_on_with(tmp_path: Path) -> None:
    race = steepest.race("iris", ["adam(0.05)", "sgd(0.1)"], reach="accuracy >= 0.5", home=tmp_path, **SMALL)
    record = records.find(race.id, tmp_path)
    before = record.path.read_bytes()
    with (
        records.holding(record),
        pytest.raises(steepest.InputError, match="is being written by another process; stop that one"),
    ):
        steepest.race("iris", ["adam(0.05)", "sgd(0.1)"], reach="accuracy >= 0.5", home=tmp_path, resume=race.id, **SMALL)
    assert record.path.read_bytes() == before
