"""The recipe that is taken where the caller says nothing, and the benchmark that sets it beside what others begin with."""

from __future__ import annotations

import json
import math
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import steepest
from benchmarks.default_recipe import cases, standing
from benchmarks.default_recipe.__main__ import RIVALS
from benchmarks.peers import environments, measuring
from benchmarks.peers.measuring import RIVALS_FOLDER, Conditions
from steepest.defaults import LARGEST_SIDE, default_recipe
from steepest.forms import Form

IMAGE, TABLE = Form("image", (1, 28, 28)), Form("table", (20,))


def of(form: Form, model: Any, rows: int = 20_000) -> str:
    return repr(default_recipe(form, rows, model))


def dense(width: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(20, width), nn.ReLU(), nn.Linear(width, width), nn.ReLU(), nn.Linear(width, 2))


def test_a_network_of_ones_own_is_trained_on_a_table_as_a_perceptron_is() -> None:
    for rows in (5_000, 20_000):
        assert of(TABLE, dense(64), rows) == of(TABLE, lambda: dense(64), rows) == of(TABLE, steepest.mlp((64, 64)), rows)
    assert of(TABLE, dense(64), 500).startswith("Recipe(adamw(0.001, weight_decay=0.3")
    assert of(TABLE, steepest.mlp((64, 64)), 500).startswith("Recipe(adamw(0.003, weight_decay=0.3")
    assert "patience" in of(TABLE, steepest.transformer(), 20_000)


def test_muon_leaves_matrices_alone_that_are_too_large_for_it() -> None:
    assert "matrices=muon" in of(TABLE, dense(LARGEST_SIDE))
    assert "muon" not in of(TABLE, dense(LARGEST_SIDE + 1))
    assert "muon" not in of(TABLE, steepest.mlp((1024, 1024)))
    filters = nn.Sequential(nn.Conv2d(1, 8, 3), nn.Flatten(), nn.Linear(8 * 26 * 26, 1024), nn.Linear(1024, 10))
    assert of(IMAGE, filters).startswith("Recipe(split(convolutions=muon")
    assert "matrices=muon" in of(IMAGE, None)


def test_to_look_at_a_network_changes_no_random_number_and_tells_no_error() -> None:
    torch.manual_seed(0)
    expected = torch.rand(3)
    torch.manual_seed(0)
    of(TABLE, lambda: dense(8))
    assert torch.equal(torch.rand(3), expected)

    def broken() -> nn.Module:
        raise ValueError("no such layer")

    assert "muon" in of(TABLE, broken)  # what is wrong with it is told where it is built
    task = steepest.Task(steepest.arrays(np.eye(40, 20), np.arange(40) % 2), model=broken)
    with pytest.raises(steepest.InputError, match="no such layer"):
        steepest.fit(task, record=False)


def test_no_network_is_built_for_a_rule_that_is_known() -> None:
    made = []

    def network() -> nn.Module:
        made.append(dense(8))
        return made[-1]

    X = np.random.default_rng(0).normal(size=(40, 20))
    task = steepest.Task(steepest.arrays(X, np.arange(40) % 2), model=network)
    steepest.fit(task, "Recipe(adam(0.01), epochs=1)", record=False)
    known = default_recipe(TABLE, 20_000, network, rule=steepest.adam(0.01))
    assert len(made) == 1
    assert known.batch == default_recipe(TABLE, 20_000, network).batch


def test_arrays_of_steps_are_learned_as_sounds_are() -> None:
    assert of(Form("array", (64, 40)), None, 2_700) == of(Form("sound", (64, 40)), None, 2_700)


CURVE = [(1.0, 0.7), (2.0, 0.9), (3.0, 0.8), (4.0, 0.85), (5.0, 0.86)]


def test_a_target_counts_at_the_first_of_two_evaluations_that_meet_it() -> None:
    assert standing.comes_to(CURVE, "accuracy") == 0.86  # the last counts alone
    assert standing.seconds_to(CURVE, "accuracy", 0.8) == 2.0
    assert standing.seconds_to(CURVE, "accuracy", 0.85) == 4.0
    assert math.isinf(standing.seconds_to(CURVE, "accuracy", 0.9))
    assert standing.comes_to(CURVE, "rmse") == 0.85
    assert standing.seconds_to(CURVE, "rmse", 0.8) == math.inf


def case(ours: float, *theirs: float) -> dict[str, Any]:
    """Everyone comes to a value after one second for each tenth that it has."""
    rivals = {"steepest": ours} | {f"rival {i}": value for i, value in enumerate(theirs)}
    runs = {
        name: {"title": name, "runs": [{"curve": [(float(k), k / 10) for k in range(1, round(10 * value) + 1)]}]}
        for name, value in rivals.items()
    }
    return {"title": "A case", "metric": "accuracy", "rivals": runs}


def test_the_target_is_what_the_second_best_of_the_others_comes_to() -> None:
    assert standing.target_of(case(0.1, 0.5, 0.9, 0.7, 0.3)) == 0.7
    times = standing.ratios(case(0.9, 0.5, 0.9, 0.7, 0.3))
    assert times == {"rival 0": math.inf, "rival 1": 1.0, "rival 2": 1.0, "rival 3": math.inf, "soonest": 1.0}
    lost = standing.ratios(case(0.4, 0.5, 0.9, 0.7, 0.3))
    assert lost["rival 1"] == lost["soonest"] == 0.0
    assert math.isnan(lost["rival 0"])  # neither
    text = standing.markdown([case(0.4, 0.5, 0.9, 0.7, 0.3)])
    assert "| never | never (-) | 7 s (0x) |" in text
    assert text.splitlines()[-1].startswith("| median |")


def test_auc_is_that_of_the_library(monkeypatch: pytest.MonkeyPatch) -> None:
    from sklearn.metrics import roc_auc_score

    monkeypatch.syspath_prepend(RIVALS_FOLDER)
    for name in ("common", "curves"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    from curves import auc, judged

    rng = np.random.default_rng(0)
    chances, truth = rng.integers(0, 20, 300) / 20, rng.integers(0, 2, 300)
    assert auc(chances, truth) == pytest.approx(roc_auc_score(truth, chances))
    assert judged("rmse", np.array([[1.0], [3.0]]), np.array([0.0, 1.0])) == pytest.approx(math.sqrt(2.5))
    for name in ("common", "curves"):
        monkeypatch.delitem(sys.modules, name)


def test_rivals_in_torch_tell_a_curve(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(environments.Environment, "python", lambda self, folder: Path(sys.executable))
    X = np.random.default_rng(0).normal(size=(400, 12)).astype(np.float32)
    y = (X[:, :2].sum(axis=1) > 0).astype(np.int64)
    arrays = {"X_train": X[:320], "y_train": y[:320], "X_test": X[320:], "y_test": y[320:]}

    def prepared(case: cases.Case, source: Path) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
        return arrays, {"widths": (12, 16, 2), "classes": 2}

    rows = cases.Case("rows", "Rows", "dense", "auc", prepared, epochs=6)
    under = Conditions(tmp_path, rows.write(tmp_path, tmp_path), 1)
    assert json.loads((tmp_path / "facts.json").read_text())["metric"] == "auc"
    assert all((RIVALS_FOLDER / rival.script).is_file() for rival in RIVALS)
    for name, epochs in (("steepest", 25), ("one-cycle", 5)):
        rival = next(rival for rival in RIVALS if rival.name == name)
        run = measuring.run(rival, under, seed=0, settings={"began": time.time()})
        seconds, values = zip(*run["curve"], strict=True)
        assert len(values) == epochs
        assert 0 < seconds[0] < seconds[-1] < run["process_seconds"] + 0.1
        assert values[-1] > (0.9 if name == "steepest" else 0.5)
