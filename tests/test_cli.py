"""The command line: verbs, documents, exit codes, and the time until the first word."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import steepest
from steepest.cli import main

QUICK_RACE = ["race", "iris", "--recipes", "sgd(0.1),momentum(0.05)", "--seeds", "1", "--epochs", "10", "--processes", "1"]


def run(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> tuple[int, str, str]:
    code = main(arguments)
    out, err = capsys.readouterr()
    return code, out, err


def document(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    code, out, _ = run([*arguments, "--json", "--quiet"], capsys)
    assert code == 0
    return json.loads(out)


def test_race_trains_the_winner_and_writes_the_report(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = run(QUICK_RACE, capsys)
    assert code == 0
    lines = out.splitlines()
    assert lines[0].startswith("iris   150 rows x 4 columns, 3 classes   reach accuracy >= 0.9")
    assert "clock:" in out
    assert "test part (22 rows): accuracy" in out
    assert lines[-1].startswith("next: steepest evaluate f")
    report = Path(lines[-1].split("report: ")[1])
    assert report.stat().st_size > 1_000_000
    race_id = report.stem
    assert "not proven fastest" in out
    assert document(["fit", "iris", "--recipe", race_id], capsys)["label"] in ("sgd", "momentum")


def test_race_json_is_one_document(capsys: pytest.CaptureFixture[str]) -> None:
    found = document(QUICK_RACE, capsys)
    assert {"id", "leaderboard", "best", "run", "report", "stages"} <= set(found)
    assert found["run"]["metrics"]["accuracy"] > 0.5


def test_race_on_the_users_own_file(churn: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["race", str(churn), "--label", "churned", "--reach", "auc>=0.8", *QUICK_RACE[2:]]
    code, out, _ = run(arguments, capsys)
    assert code == 0
    assert "reach auc >= 0.8" in out
    assert "auc" in out.splitlines()[-2]


def test_a_target_that_was_not_reached_exits_with_3(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = run([*QUICK_RACE, "--reach", "loss<=0.000001"], capsys)
    assert code == 3
    assert "no recipe reached loss <= 1e-06 (the nearest was" in out
    assert run(["fit", "iris", "--reach", "loss<=0.000001", "--epochs", "1"], capsys)[0] == 3
    assert run(["fit", "iris", "--reach", "accuracy>=0.5", "--stop-at-target"], capsys)[0] == 0


def test_fit_json_has_the_keys_people_rely_on(capsys: pytest.CaptureFixture[str]) -> None:
    found = document(["fit", "iris", "--epochs", "3", "--seed", "2"], capsys)
    keys = {"id", "reached", "steps", "seconds", "samples_per_second", "metrics", "stages", "plan", "weights_sha256"}
    assert keys <= set(found)
    assert {"loss", "accuracy"} <= set(found["metrics"])
    assert (found["seed"], found["steps"]) == (2, 9)
    assert "epochs=3," in found["recipe"]
    assert "start" in found["stages"]


def test_fit_prints_what_is_worth_telling(capsys: pytest.CaptureFixture[str]) -> None:
    Path("my.py").write_text(
        "import steepest\nfrom torch import nn\n\n"
        "def task():\n    return steepest.Task('iris', model=nn.Sequential(nn.Linear(4, 3), nn.Softmax(dim=1)))\n"
    )
    code, out, err = run(["fit", "my.py:task", "--epochs", "1", "--quiet"], capsys)
    assert (code, err) == (0, "")
    assert "\n  the network ends in Softmax, and cross_entropy() makes probabilities of its outputs itself" in out


def test_fit_takes_recipes_models_and_options(capsys: pytest.CaptureFixture[str]) -> None:
    found = document(
        [
            "fit",
            "iris",
            "--recipe",
            "lion(1e-3, schedule=cosine())",
            "--model",
            "mlp((8,))",
            "--batch",
            "full",
            "--patience",
            "2",
        ],
        capsys,
    )
    assert "lion(0.001, schedule=cosine())" in found["recipe"]
    assert "batch='full'" in found["recipe"]
    code, out, _ = run(["fit", "iris", "--epochs", "1", "--find-lr"], capsys)
    assert code == 0
    assert "loss falls fastest at lr" in out


def test_objective_and_metrics_are_named_and_kept(churn: Path, capsys: pytest.CaptureFixture[str]) -> None:
    loss = 'binary_cross_entropy(class_weights="balanced")'
    named = ["--objective", loss, "--metrics", "f1,recall", "--model", "mlp((8,))"]
    found = document(["fit", str(churn), "--label", "churned", "--epochs", "2", *named], capsys)
    assert found["objective"] == "binary_cross_entropy(class_weights='balanced')"
    assert list(found["metrics"]) == ["f1", "recall", "loss"]
    assert set(document(["evaluate", "last"], capsys)["metrics"]) == {"f1", "recall"}
    again = steepest.load_run(found["id"]).task
    assert again is not None
    assert (repr(again.objective), repr(again.model)) == (found["objective"], "mlp(hidden=(8,))")
    raced = document([*QUICK_RACE, "--objective", "focal", "--metrics", "accuracy"], capsys)["run"]
    assert raced["objective"] == "focal()"
    assert set(raced["metrics"]) == {"accuracy", "loss"}


def test_evaluate_runs_and_report(capsys: pytest.CaptureFixture[str]) -> None:
    name = document(["fit", "wine", "--epochs", "3"], capsys)["id"]
    assert document(["evaluate", name], capsys)["rows"] == 26
    assert "validation part" in run(["evaluate", "last", "--part", "validation"], capsys)[1]
    assert document(["evaluate", name, "--folds", "3"], capsys)["folds"]
    assert document(["runs"], capsys)["records"][0]["id"] == name
    assert name in run(["runs"], capsys)[1]
    assert document(["report", name, "--out", "page.html"], capsys)["report"] == "page.html"
    assert Path("page.html").exists()
    assert run(["report", name, "--out", "."], capsys)[0] == 2


def test_a_run_is_measured_on_a_new_file(churn: Path, capsys: pytest.CaptureFixture[str]) -> None:
    name = document(["fit", str(churn), "--label", "churned", "--epochs", "3", "--metrics", "auc"], capsys)["id"]
    lines = churn.read_text().splitlines()
    Path("new.csv").write_text("\n".join([lines[0], *lines[1:51]]))
    found = document(["evaluate", name, "--on", "new.csv"], capsys)
    assert (found["rows"], list(found["metrics"])) == (50, ["auc"])
    yes = [line for line in lines if line.endswith("yes")]  # of one class alone
    Path("new.csv").write_text("\n".join([lines[0], *yes[:20]]))
    found = document(["evaluate", name, "--on", "new.csv"], capsys)
    share = sum(steepest.load_run(name).predict("new.csv") == "yes") / 20
    assert [sum(line) for line in found["confusion"]] == [0, 20]
    assert found["confusion"][1][1] / 20 == share
    for arguments, expected in (
        (["--on", "newcsv"], "no such file or folder: newcsv; did you mean new.csv?"),
        (["--on", "new.csv", "--folds", "3"], "--on is another file"),
    ):
        code, _, err = run(["evaluate", name, *arguments], capsys)
        assert (code, err.count("\n")) == (2, 1)
        assert expected in err


def test_an_empty_home_lists_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = run(["runs", "--home", "nowhere"], capsys)
    assert (code, out.strip()) == (0, "no runs in nowhere yet; try: steepest fit digits")
    assert not Path("nowhere").exists()


def test_pima_as_published(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = [f"{i % 9},{0 if i % 5 == 0 else 80 + i % 60},{i % 2}" for i in range(120)]
    (tmp_path / "pima.csv").write_text("\n".join(rows))
    arguments = [
        "fit",
        "pima.csv",
        "--no-header",
        "--label",
        "-1",
        "--missing",
        "c2=0",
        "--model",
        "mlp((10,))",
        "--batch",
        "32",
    ]
    found = document([*arguments, "--epochs", "2"], capsys)
    assert any(f["what"] == "missing cells" and f["count"] == 24 for f in found["data"]["cleaning"]["findings"])


def test_the_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["--version"], capsys)[1] == f"steepest {steepest.__version__}\n"


def imported(arguments: list[str]) -> str:
    """Return which large packages a command has imported, as a list prints."""
    check = (
        "import sys\nfrom steepest.cli import main\n"
        f"assert main({arguments!r}) in (0, 2)\n"
        "print([name for name in ('torch', 'sklearn', 'polars', 'plotly') if name in sys.modules], file=sys.stderr)"
    )
    result = subprocess.run([sys.executable, "-c", check], capture_output=True, text=True, check=False)
    return result.stderr.strip().splitlines()[-1]


@pytest.mark.parametrize(
    "arguments",
    [["--help"], ["race", "--help"], ["fit", "nofile.csv"], ["fit", "iris", "--nope"], ["race", "iris", "--recipes", "adamm"]],
    ids=" ".join,
)
def test_help_and_complaints_come_without_torch(arguments: list[str]) -> None:
    assert imported(arguments) == "[]"


def test_a_wrong_label_is_told_before_torch_is_imported(churn: Path) -> None:
    assert imported(["fit", churn.name]) == "[]"  # nor is the file read
    assert imported(["race", churn.name, "--label", "x", "--reach", "auc>=0.8"]) == "['polars']"  # which reads it


# -- damaged records --------------------------------------------------------------------------------------------------


def damaged(content: bytes, path: Path) -> None:
    path.write_bytes(path.read_bytes() + content)


def test_an_event_after_a_torn_line_is_not_lost() -> None:
    from steepest import records

    book = records.create("run")
    book.append("start", task="x")
    damaged(b'{"event": "trial", "n": ', book.path)
    book.append("trial", n=1)
    assert [(event["event"], event.get("n")) for event in book.events()] == [("start", None), ("trial", 1)]


@pytest.mark.parametrize("content", [b"\xff\xfe junk\n", b"[1, 2]\n", b'{"at": 1}\n', b'{"event": 5}\n', b"{" * 5000 + b"\n"])
def test_junk_in_one_record_spoils_nothing(content: bytes, capsys: pytest.CaptureFixture[str]) -> None:
    name = document(["fit", "iris", "--epochs", "1"], capsys)["id"]
    damaged(content, Path(".steepest/runs") / name / "record.jsonl")
    assert document(["runs"], capsys)["records"][0]["status"] == "finished"
    assert document(["evaluate", name], capsys)["id"] == name


@pytest.mark.parametrize(
    ("line", "verb"),
    [
        (b'{"event": "start", "at": "yesterday", "task": ["a"], "label": 5}\n', ["runs"]),
        (b'{"event": "end", "status": "finished", "versions": {}}\n', ["report", "ID"]),
        (b'{"event": "end"}\n', ["report", "ID"]),
    ],
)
def test_records_with_odd_fields(line: bytes, verb: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    name = document(["fit", "iris", "--epochs", "1"], capsys)["id"]
    path = Path(".steepest/runs") / name / "record.jsonl"
    if verb == ["runs"]:
        path.write_bytes(line)
        assert run(verb, capsys)[0] == 0
        return
    damaged(line, path)
    code, _, err = run([name if word == "ID" else word for word in verb], capsys)
    assert code == 2
    assert len(err.strip().splitlines()) == 1


@pytest.mark.parametrize("weights", [b"", b"\x00" * 200, b"junk"])
def test_damaged_weights(weights: bytes, capsys: pytest.CaptureFixture[str]) -> None:
    name = document(["fit", "iris", "--epochs", "1"], capsys)["id"]
    (Path(".steepest/runs") / name / "weights.safetensors").write_bytes(weights)
    code, _, err = run(["evaluate", name], capsys)
    assert code == 2
    assert f"the weights of run {name} are damaged or do not fit" in err


def test_the_newest_run_is_found_behind_a_newer_race(capsys: pytest.CaptureFixture[str]) -> None:
    document(["fit", "iris", "--epochs", "1"], capsys)
    steepest.race("iris", ["sgd(0.1)", "momentum(0.05)"], seeds=1, epochs=5, processes=1)
    assert steepest.load_run("last").facts["task"] == "iris"
    assert run(["evaluate", "last"], capsys)[0] == 0


def test_a_task_function_that_fails_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "t.py"
    for body in ("raise ValueError('my own bug')", "import sys; sys.exit(7)", "1 / 0"):
        path.write_text(f"def make():\n    {body}\n")
        code, _, err = run(["fit", f"{path}:make"], capsys)
        assert code == 2
        assert len(err.strip().splitlines()) == 1
        assert "failed: " in err


def test_steepest_alone_prints_its_help(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = run([], capsys)
    assert code == 0
    assert err == ""
    assert len(out.splitlines()) > 10


@pytest.mark.parametrize("lines", [3, 9_000], ids=["all in one write", "more than a pipe holds"])
def test_a_reader_that_goes_away_is_no_error(lines: int, capsys: pytest.CaptureFixture[str]) -> None:
    name = document(["fit", "iris", "--epochs", "1"], capsys)["id"]
    head = "sepal length (cm),sepal width (cm),petal length (cm),petal width (cm)"
    Path("rows.csv").write_text("\n".join([head, *["5,3,4,1"] * lines]))
    command = [sys.executable, "-m", "steepest", "predict", name, "rows.csv"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        if lines > 3:
            assert process.stdout.readline().startswith(b"prediction,")
        process.stdout.close()
        assert process.stderr.read() == b""
    assert process.returncode == 0


def test_a_full_disk_is_one_line(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    from steepest.records import Record

    def full(self: Record, event: str, **content: Any) -> None:
        raise OSError(28, "No space left on device", str(self.path))

    monkeypatch.setattr(Record, "append", full)
    code, _, err = run(["fit", "iris", "--epochs", "1"], capsys)
    assert code == 2
    assert "cannot write (No space left on device" in err
    assert len(err.strip().splitlines()) == 1


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="there are no pipes with names here")
def test_a_pipe_is_not_waited_for(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    os.mkfifo(tmp_path / "rows.csv")
    code, _, err = run(["fit", str(tmp_path / "rows.csv")], capsys)
    assert code == 2
    assert "rows.csv is a pipe or a device; save what comes from it in a file, and name that" in err


@pytest.mark.parametrize(("sent", "code"), [(signal.SIGTERM, 75), (signal.SIGINT, 130)])
def test_a_stop_before_training_is_told(sent: signal.Signals, code: int, tmp_path: Path) -> None:
    slow = "import os, time, steepest\n\n\ndef make():\n    print('here', flush=True)\n    time.sleep(60)\n"
    (tmp_path / "slow.py").write_text(slow)
    begun = [sys.executable, "-c", "from steepest.cli import entry; entry()", "fit", "slow.py:make"]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    with subprocess.Popen(begun, cwd=tmp_path, **pipes) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "here\n"
        process.send_signal(sent)
        _, err = process.communicate(timeout=60)
    assert process.returncode == code
    assert err == "steepest: stopped; nothing of it was kept\n"


def test_what_metrics_are_seen_beside(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    values = np.cumsum(np.random.default_rng(0).normal(size=200))
    (tmp_path / "walk.csv").write_text("price\n" + "".join(f"{value}\n" for value in values))
    code, out, _ = run(["fit", str(tmp_path / "walk.csv"), "--label", "price", "--horizon", "4", "--epochs", "1"], capsys)
    assert code == 0
    assert out.startswith("walk   200 steps, in ")
    assert "  last value: mae " in out
    code, out, _ = run(
        ["fit", str(tmp_path / "walk.csv"), "--label", "price", "--horizon", "20", "--epochs", "1", "--metrics", "r2"], capsys
    )
    assert code == 0
    assert "  last value: r2 " in out
    assert "no better than" not in out  # which errors would tell
    assert "windows say little\n" in out  # there are no folds of a series
    code, out, _ = run(["fit", "iris", "--epochs", "1", "--reach", "accuracy>=1"], capsys)
    assert code == 3
    assert "target accuracy >= 1: not reached: 0." in out
    assert "  so few rows say little: steepest evaluate f" in out
