"""Sinks are told what the record is told; one that fails, hangs or changes what it is told stops and changes nothing."""

from __future__ import annotations

import json
import logging
import signal
import struct
import sys
import threading
import time
import types
from pathlib import Path
from typing import Any

import pytest

import steepest
from steepest import sinks
from steepest.cli import main
from steepest.gradient import plain

RECIPE = "Recipe(adamw(0.01), batch=16, epochs=3)"


def fitted(**options: Any) -> steepest.Run:
    return steepest.fit("iris", recipe=RECIPE, **options)


def test_a_sink_is_told_what_the_record_is_told() -> None:
    told: list[dict[str, Any]] = []
    run = fitted(sinks=told.append)
    lines = [json.loads(line) for line in Path(".steepest", "runs", str(run.id), "record.jsonl").read_text().splitlines()]
    assert told == [{"run": run.id} | line for line in lines]
    assert [event["event"] for event in told] == ["start", "evaluation", "evaluation", "evaluation", "end"]


@pytest.mark.parametrize("error", [ValueError("no room"), SystemExit(3), KeyboardInterrupt()])
def test_a_sink_that_fails_changes_nothing(error: BaseException, caplog: pytest.LogCaptureFixture) -> None:
    def failing(event: dict[str, Any]) -> None:
        event.clear()
        raise error

    told: list[dict[str, Any]] = []
    run = fitted(sinks=[failing, told.append])
    assert run.facts["weights_sha256"] == fitted().facts["weights_sha256"]
    assert len(told) == 5
    said = [record.getMessage() for record in caplog.records]
    assert said[0].startswith(f"the sink failing failed ({type(error).__name__}: ")
    assert said[1:] == ["the sink failing failed at 5 of 5 events"]


def test_a_sink_that_hangs_is_not_waited_for(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    monkeypatch.setattr(sinks, "PATIENCE_S", 0.1)
    released = threading.Event()
    run = fitted(sinks=lambda _: released.wait(60.0) and None)
    released.set()
    assert run.status == "finished"
    assert [record.getMessage() for record in caplog.records] == [
        "the sink <lambda> is 5 events behind, and is not waited for"  # four, and the end
    ]


def test_a_slow_sink_does_not_slow_the_training_down() -> None:
    took: list[float] = []

    def slow(event: dict[str, Any]) -> None:
        took.append(event["at"])
        time.sleep(0.3)

    run = fitted(sinks=slow)
    assert len(took) == 5
    assert took[-1] - took[0] < 0.3 * 4  # the last event happened before the first ones were taken
    assert run.status == "finished"


def test_a_disk_that_takes_nothing_does_not_keep_events_from_sinks(monkeypatch: pytest.MonkeyPatch) -> None:
    from steepest import records

    def full(*_: Any, **__: Any) -> None:
        raise OSError(28, "No space left on device")

    told: list[dict[str, Any]] = []

    def sink(event: dict[str, Any]) -> None:
        told.append(event)

    def gradient(context: Any) -> Any:
        monkeypatch.setattr(records, "append_lines", full)
        return plain(context)

    logging.getLogger("steepest").setLevel(logging.ERROR)
    try:
        fitted(sinks=sink, gradient=gradient)
    finally:
        logging.getLogger("steepest").setLevel(logging.NOTSET)
    assert [event["event"] for event in told] == ["start", "evaluation", "evaluation", "evaluation", "end"]


def scalars(folder: Path) -> dict[tuple[str, int], float]:
    """Return what TensorBoard would show of a run: the last value of each name and step that is not purged."""
    from tensorboardX.proto.event_pb2 import Event

    found: dict[tuple[str, int], float] = {}
    for file in sorted(folder.glob("events.out.tfevents.*"), key=lambda path: path.name):
        content, at = file.read_bytes(), 0
        while at < len(content):
            (size,) = struct.unpack_from("<Q", content, at)
            event = Event.FromString(content[at + 12 : at + 12 + size])
            at += 12 + size + 4
            if event.session_log.status == 1:  # a writer that begins anew at this step
                found = {key: value for key, value in found.items() if key[1] < event.step}
            for value in event.summary.value:
                if value.HasField("simple_value"):
                    found[value.tag, event.step] = value.simple_value
    return found


def test_tensorboard_shows_the_curve(tmp_path: Path) -> None:
    run = fitted(sinks=f"tensorboard:{tmp_path}")
    shown = scalars(tmp_path / str(run.id))
    for point in run.facts["curve"]:
        assert shown["train/loss", point["step"]] == pytest.approx(point["train_loss"])
        assert shown["validation/accuracy", point["step"]] == pytest.approx(point["accuracy"])
    assert shown["test/accuracy", run.facts["steps"]] == pytest.approx(run.metrics["accuracy"])


@pytest.mark.usefixtures("interruptible")
def test_tensorboard_goes_on_where_a_run_goes_on(tmp_path: Path) -> None:
    calls = 0

    def gradient(context: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == 14:
            signal.raise_signal(signal.SIGTERM)
        return plain(context)

    with pytest.raises(steepest.Interrupted):
        fitted(sinks=f"tensorboard:{tmp_path}", gradient=gradient)
    run = steepest.fit(resume="last", sinks=f"tensorboard:{tmp_path}", gradient=gradient)
    steps = [step for name, step in scalars(tmp_path / str(run.id)) if name == "train/loss"]
    assert steps == [point["step"] for point in run.facts["curve"]]


class Client:
    """Stands in for MLflow's client: keeps what it is told."""

    def __init__(self, uri: str | None = None) -> None:
        self.uri, self.runs, self.told, self.status = uri, {}, [], []  # type: ignore[var-annotated]

    def get_experiment_by_name(self, name: str) -> Any:
        return None

    def create_experiment(self, name: str) -> str:
        return f"id of {name}"

    def search_runs(self, experiments: list[str], filter_string: str) -> list[Any]:
        return [run for run in self.runs.values() if filter_string == f"tags.steepest = '{run.name}'"]

    def create_run(self, experiment: str, run_name: str, tags: dict[str, str]) -> Any:
        assert tags == {"steepest": run_name}
        run = types.SimpleNamespace(name=run_name, info=types.SimpleNamespace(run_id=f"{experiment}/{run_name}"))
        self.runs[run_name] = run
        return run

    def log_batch(self, run_id: str, metrics: list[Any], params: list[Any]) -> None:
        self.told += [(name, value, step) for name, value, _, step in metrics] + params

    def set_terminated(self, run_id: str, status: str) -> None:
        self.status.append(status)

    def update_run(self, run_id: str, status: str) -> None:
        self.status.append(status)


def test_mlflow_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """With the real one: `make test-hosts HOSTS=mlflow`."""
    client = Client()
    module: Any = types.ModuleType("mlflow")
    module.MlflowClient = lambda uri: client
    module.entities = types.SimpleNamespace(Metric=lambda *told: told, Param=lambda *told: told)
    monkeypatch.setitem(sys.modules, "mlflow", module)
    run = fitted(sinks=["mlflow:http://localhost:1"])
    assert list(client.runs) == [run.id]
    assert ("recipe", run.facts["recipe"]) in client.told
    for point in run.facts["curve"]:
        assert ("train/loss", point["train_loss"], point["step"]) in client.told
    assert ("test/accuracy", run.metrics["accuracy"], run.facts["steps"]) in client.told
    assert client.status == ["FINISHED"]


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ("tensorbord:runs", "unknown sink 'tensorbord'; did you mean 'tensorboard'?"),
        ("tensorboard", "needs a folder: tensorboard:runs"),
        (3, "sinks are functions of one event"),
        ([3], "a sink must be a function of one event"),
        ([dict], "is a class"),
    ],
)
def test_what_is_no_sink_is_refused_before_anything_is_trained(given: Any, words: str) -> None:
    with pytest.raises(steepest.InputError, match=words.replace("?", r"\?")):
        fitted(sinks=given)
    assert not Path(".steepest").exists()


def test_a_sink_needs_a_record() -> None:
    with pytest.raises(steepest.InputError, match="leave out record=False"):
        fitted(sinks=print, record=False)


def test_what_is_not_installed_is_said(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setitem(sys.modules, "mlflow", None)
    assert main(["fit", "iris", "--sink", "mlflow"]) == 2
    assert "pip install 'steepest[mlflow]'" in capsys.readouterr().err


def test_the_command_line_takes_sinks(tmp_path: Path) -> None:
    folder = tmp_path / "board"
    assert main(["fit", "iris", "--epochs", "1", "--sink", f"tensorboard:{folder}", "--quiet"]) == 0
    assert [path.name[0] for path in folder.iterdir()] == ["f"]
