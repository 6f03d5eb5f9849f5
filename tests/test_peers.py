"""The benchmark of peers: what its table and picture make of runs, and what a rival's process tells; none is installed."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest
import torch

import steepest
from benchmarks.peers import environments, measuring, picture, table
from benchmarks.peers.measuring import RIVALS, RIVALS_FOLDER, Conditions, Rival
from benchmarks.peers.works import WORKS, Work, cut

WORK = {"name": "mlp", "title": "A work", "rows": 1_000, "batch": 10, "epochs": 2, "measured": "accuracy"}


def ran(rate: float, process: float, accuracy: float, **more: float) -> dict[str, Any]:
    told = {"rows_per_second": rate, "process_seconds": process, "train_seconds": process / 2, "megabytes": 100.0}
    return told | {"accuracy": accuracy, "parameters": 100} | more


def results(theirs: tuple[float, float] = (0.80, 0.82)) -> dict[str, Any]:
    ours = [ran(100, 2.0, 0.80), ran(200, 4.0, 0.82)]
    other = [ran(50, 6.0, theirs[0], first_step_seconds=0.5), ran(50, 8.0, theirs[1], first_step_seconds=0.7)]
    rivals = {
        "steepest": {"title": "steepest.fit", "settings": {}, "runs": ours},
        "expert": {"title": "expert", "settings": {"threads": 1}, "runs": other},
        "skorch": {"title": "skorch", "settings": {}, "runs": [], "failed": "pip: no such thing <here>"},
    }
    return {"work": WORK, "rivals": rivals}


def test_ratios_are_taken_round_by_round() -> None:
    work = results()
    ours, other = work["rivals"]["steepest"], work["rivals"]["expert"]
    assert table.ratios(other, ours, "rows_per_second") == [2.0, 4.0]
    assert table.ratios(other, ours, "process_seconds") == [3.0, 2.0]


def test_the_table_has_steepest_first_and_who_failed_last_with_the_reason() -> None:
    ours, expert, skorch = table.lines(results())
    assert ours[0] == "steepest.fit"
    assert ours[2] == ours[5] == ""
    assert expert[2:6] == ["3 [2, 4]", "0.6", "7 [6, 8]", "2.5 [2, 3]"]
    assert expert[-1] == "accuracy 0.8100"
    assert skorch[1] == "left out: pip: no such thing <here>"
    assert table.markdown([results()]).count("\n| ") == 5


def test_results_that_seeds_do_not_explain_are_marked() -> None:
    assert table.noise(results(), "accuracy") == pytest.approx(np.std([0.80, 0.82], ddof=1))
    assert "DIFFERS" not in table.lines(results((0.82, 0.84)))[1][-1]
    assert "DIFFERS" in table.lines(results((0.90, 0.92)))[1][-1]


def test_another_network_is_told() -> None:
    work = results()
    work["rivals"]["expert"]["runs"] = [ran(50, 6.0, 0.8, parameters=99), ran(50, 8.0, 0.8, parameters=99)]
    assert table.lines(work)[1][-1] == "accuracy 0.8000, of 99 parameters"


def test_the_picture_is_xml_with_a_panel_of_bars() -> None:
    drawn = ElementTree.fromstring(picture.svg([results(), results()]))
    bars = [box for box in drawn.iter("{http://www.w3.org/2000/svg}rect") if box.get("fill") != "white"]
    assert len(bars) == 2 * 2 * 2  # works, rivals that ran, parts
    assert float(bars[2].get("width", 0)) > float(bars[3].get("width", 0)) > 0  # the whole, and its training


def test_a_first_step_that_compiles_is_not_charged() -> None:
    told = {"rows": 1_000, "train_seconds": 5.0}
    assert measuring.speed(told) == 200
    assert measuring.speed(told | {"first_step_seconds": 1.0, "first_rows": 200}) == 200


def test_works_are_whole_batches_and_quick_ones_too() -> None:
    for work in (*WORKS, *(work.quick() for work in WORKS)):
        assert work.rows % work.batch == 0
        assert work.steps * work.batch == work.rows * work.epochs
    assert all((RIVALS_FOLDER / rival.script).is_file() for rival in RIVALS)
    assert {rival.environment for rival in RIVALS} == set(environments.ENVIRONMENTS)


def test_scores_are_those_of_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(RIVALS_FOLDER)
    monkeypatch.delitem(sys.modules, "common", raising=False)
    from common import scores

    monkeypatch.delitem(sys.modules, "common")
    logits, truth = torch.randn(6, 5, 4, generator=torch.Generator().manual_seed(0)), torch.arange(30).view(6, 5) % 4
    found = scores(logits.numpy(), truth.numpy())
    assert found["loss"] == pytest.approx(torch.nn.functional.cross_entropy(logits.flatten(0, 1), truth.flatten()).item())
    assert found["accuracy"] == (logits.argmax(-1) == truth).double().mean().item()


def this_python(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(environments.Environment, "python", lambda self, folder: Path(sys.executable))


def test_steepest_and_the_hand_written_loop_train_alike(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    this_python(monkeypatch)
    X = np.random.default_rng(0).normal(size=(400, 12))
    work = Work("rows", "Rows", "none", "table", 320, 80, 16, 10, 1e-2)
    y = X[:, :2].sum(axis=1) > 0
    for name, values in cut(work, X[:320], y[:320], X[320:], y[320:]).items():
        np.save(tmp_path / f"{name}.npy", values)
    (tmp_path / "facts.json").write_text(json.dumps(asdict(work) | {"shape": [12], "classes": 2}))
    both = [rival for rival in RIVALS if rival.name in ("steepest", "float32")]
    found = measuring.in_turns(both, Conditions(tmp_path, tmp_path, 1), rounds=1, warm=0, settings={})
    runs = [kept["runs"][0] for kept in found.values()]
    assert all(run["accuracy"] > 0.9 and 0 < run["train_seconds"] < run["process_seconds"] for run in runs)
    assert runs[0]["parameters"] == runs[1]["parameters"] == 12 * 128 + 128 + 128 * 128 + 128 + 128 * 2 + 2
    assert runs[0]["steepest"] == steepest.__version__


def test_a_rival_that_fails_is_left_out_with_its_last_words(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    this_python(monkeypatch)
    lacking = Rival("x", "X", "torch", "none.py")
    found = measuring.in_turns([lacking], Conditions(tmp_path, tmp_path), rounds=2, warm=1, settings={})
    assert "none.py" in found["x"]["failed"]
    assert found["x"]["runs"] == []
