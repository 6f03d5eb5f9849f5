"""A run that was stopped goes on exactly where it was; faults end with a trained model, or with what went wrong."""

from __future__ import annotations

import json
import logging
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import steepest
from steepest import index, records
from steepest.checkpoints import Checkpoints
from steepest.cli import main
from steepest.gradient import StepContext, StepResult, plain
from steepest.training.keeping import Every
from steepest.training.position import Position
from steepest.training.randomness import RandomStream
from tests.faults import cost, disk, sweep, work

OF_TIME = ("id", "seconds", "samples_per_second", "stages", "checkpoints", "resumed", "command")


def like_plain(function: Callable[[int, StepContext], StepResult]) -> Any:
    """Return a gradient function that counts its calls, and is told apart from `plain` by nothing."""

    def gradient(context: StepContext) -> StepResult:
        gradient.calls += 1  # type: ignore[attr-defined]
        return function(gradient.calls, context)  # type: ignore[attr-defined]

    gradient.calls, gradient.__name__ = 0, "plain"  # type: ignore[attr-defined]
    return gradient


def stopping_at(step: int, with_signal: signal.Signals = signal.SIGTERM) -> Any:
    def at(call: int, context: StepContext) -> StepResult:
        if call == step:
            signal.raise_signal(with_signal)
        return plain(context)

    return like_plain(at)


def undisturbed() -> Any:
    """Return a gradient function of the caller's own: what is written out for `plain` differs in the last digits."""
    return stopping_at(10**9)


def lasting(run: steepest.Run) -> dict[str, Any]:
    return {name: value for name, value in run.facts.items() if name not in OF_TIME}


@pytest.mark.parametrize("step", [1, 5, 6, 9, 17])
@pytest.mark.parametrize("with_signal", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.usefixtures("interruptible")
def test_a_stopped_run_goes_on_to_the_same_end(step: int, with_signal: signal.Signals) -> None:
    recipe = "Recipe(adamw(0.01, schedule=one_cycle()), batch=16, epochs=3, patience=3)"
    calm = steepest.fit("iris", recipe=recipe, evaluate_every=9, seed=4, gradient=undisturbed())
    with pytest.raises(steepest.Interrupted, match=f"stopped after {step} steps; go on with") as stopped:
        steepest.fit("iris", recipe=recipe, evaluate_every=9, seed=4, gradient=stopping_at(step, with_signal))
    assert stopped.value.resumable
    again = steepest.fit(resume="last", gradient=undisturbed())
    assert again.facts["resumed"] == [step]
    assert lasting(again) == lasting(calm)
    assert steepest.load_run("last").facts["weights_sha256"] == calm.facts["weights_sha256"]
    assert not Checkpoints(Path(".steepest/runs") / str(again.id) / "checkpoints")
    with pytest.raises(steepest.InputError, match=r"is complete \(finished after 18 steps\): nothing to go on with"):
        steepest.fit(resume="last")


def test_a_run_stopped_again_and_again() -> None:
    calm = steepest.fit(work.task(), recipe=work.recipe(), record=False, gradient=undisturbed())
    with pytest.raises(steepest.Interrupted):
        steepest.fit(work.task(), recipe=work.recipe(), gradient=stopping_at(13))
    for _ in range(2):
        with pytest.raises(steepest.Interrupted):
            steepest.fit(work.task(), resume="last", gradient=stopping_at(13))
    run = steepest.fit(work.task(), resume="last", gradient=undisturbed())
    assert run.facts["resumed"] == [13, 26, 39]
    assert run.facts["weights_sha256"] == calm.facts["weights_sha256"]


def test_what_is_gone_on_with_must_be_the_same() -> None:
    with pytest.raises(steepest.Interrupted):
        steepest.fit(work.task(), recipe=work.recipe(), gradient=stopping_at(13))
    data, y = work.images()
    for wrong, message in (
        ({"seed": 3}, r"leave out seed \(got 3\)"),
        ({"epochs": 3}, r"leave out epochs \(got 3\)"),
        ({"recipe": "adam(0.1)"}, r"began with other recipe: Recipe\(.*, now Recipe\(adam"),
        ({"gradient": steepest.accumulated(2)}, r"was trained with the gradient function plain \(this is accumulated\(2\)\)"),
        ({"checkpoint_every": 0}, "checkpoint_every must be a whole number >= 1"),
    ):
        with pytest.raises(steepest.InputError, match=message):
            steepest.fit(work.task(), resume="last", **wrong)
    other = steepest.Task(steepest.arrays(data + 1, y, parts=(0.7, 0.15, 0.15, 0)), model=work.network, name="faults")
    with pytest.raises(steepest.InputError, match="the rows of the training part, or the batch, are not those"):
        steepest.fit(other, resume="last")
    fewer = steepest.Task(steepest.arrays(data[:400], y[:400], parts=(0.7, 0.15, 0.15, 0)), model=work.network)
    with pytest.raises(steepest.InputError, match=r"run f\w+ began with other rows: \w+, now \w+"):
        steepest.fit(fewer, resume="last")
    with pytest.raises(steepest.InputError, match=r"needs what it was given, .*: fit\(task, resume='f\w+'\)"):
        steepest.fit(resume="last")
    with pytest.raises(steepest.InputError, match=r"no run 'f0000' in \.steepest"):
        steepest.fit(resume="f0000")
    wider = steepest.Task(work.task().data, model=lambda: nn.Sequential(nn.Flatten(), nn.Linear(192, 4)), name="faults")
    with pytest.raises(steepest.InputError, match="began with other layers"):
        steepest.fit(wider, resume="last")
    assert steepest.fit(work.task(), resume="last").facts["steps"] == work.STEPS  # nothing was lost meanwhile


def test_without_a_checkpoint_it_begins_anew_from_the_same_weights(caplog: pytest.LogCaptureFixture) -> None:
    def give_up(call: int, context: StepContext) -> StepResult:
        if call == 15:
            raise KeyError("gone")  # as a process that is killed: nothing more is written
        return plain(context)

    calm = steepest.fit(work.task(), recipe=work.recipe(), record=False, gradient=undisturbed())
    with pytest.raises(steepest.InputError, match=r"training failed: KeyError: .gone"):
        steepest.fit(work.task(), recipe=work.recipe(), gradient=like_plain(give_up), checkpoint_every=False)
    with caplog.at_level(logging.WARNING):
        again = steepest.fit(work.task(), resume="last", gradient=undisturbed())
    assert "has no checkpoint yet: it begins from its first step" in caplog.text
    assert again.facts["weights_sha256"] == calm.facts["weights_sha256"]


def test_a_network_in_place_and_arrays_go_on() -> None:
    X, y = np.random.default_rng(0).normal(size=(200, 3)).astype(np.float32), np.arange(200) % 2
    nets = [nn.Sequential(nn.Linear(3, 8), nn.ReLU(), nn.Linear(8, 2)) for _ in range(3)]
    for net in nets[1:]:
        net.load_state_dict(nets[0].state_dict())
    calm = steepest.fit(nets[0], X, y, recipe="adam(0.01)", epochs=4, gradient=undisturbed())
    with pytest.raises(steepest.Interrupted):
        steepest.fit(nets[1], X, y, recipe="adam(0.01)", epochs=4, gradient=stopping_at(5))
    again = steepest.fit(nets[2], X, y, resume="last", gradient=undisturbed())
    assert again.facts["weights_sha256"] == calm.facts["weights_sha256"]
    assert again.model is nets[2]


def test_a_damaged_checkpoint_is_passed_over(caplog: pytest.LogCaptureFixture) -> None:
    calm = steepest.fit(work.task(), recipe=work.recipe(), record=False, gradient=undisturbed())
    with pytest.raises(steepest.Interrupted):
        steepest.fit(work.task(), recipe=work.recipe(), gradient=stopping_at(31), checkpoint_every=10)
    newest = max(Path(".steepest/runs").glob("*/checkpoints/0*"))
    content = bytearray((newest / "optimizer.safetensors").read_bytes())
    content[1000] ^= 4
    (newest / "optimizer.safetensors").write_bytes(content)
    with caplog.at_level(logging.WARNING):
        again = steepest.fit(work.task(), resume="last", gradient=undisturbed())
    assert "a newer checkpoint is passed over: " in caplog.text
    assert "optimizer.safetensors is damaged: its SHA-256" in caplog.text
    assert 10 <= again.facts["resumed"][0] < 31
    assert again.facts["weights_sha256"] == calm.facts["weights_sha256"]


def test_what_rounds_differently_is_told(caplog: pytest.LogCaptureFixture) -> None:
    with pytest.raises(steepest.Interrupted):
        steepest.fit("iris", recipe="adam(0.01)", epochs=4, gradient=stopping_at(5))
    path = next(Path(".steepest/runs").glob("*/record.jsonl"))
    path.write_text(path.read_text().replace(f'"torch": "{torch.__version__}"', '"torch": "1.0"'))
    with caplog.at_level(logging.WARNING):
        steepest.fit(resume="last")
    assert f"goes on with other torch 1.0 -> {torch.__version__}: sums may round differently" in caplog.text


def test_a_stream_goes_on_where_it_was() -> None:
    def points() -> Any:
        rng = np.random.default_rng(0)
        while True:
            label = int(rng.integers(3))
            noise = torch.randn(3).numpy()  # of torch's, which the training draws from too
            yield (np.eye(3)[label] * 2 + noise).astype(np.float32), label

    how: dict[str, Any] = {"recipe": "Recipe(adam(0.01), batch=32, epochs=4)"}

    def data() -> steepest.Task:
        torch.manual_seed(0)  # the rows that are looked at first come from the caller's random numbers
        return steepest.task(steepest.stream(points, rows=320, held_out=100, fitted_on=100), model=work_table())

    calm = steepest.fit(data(), record=False, gradient=undisturbed(), **how)
    with pytest.raises(steepest.Interrupted):
        steepest.fit(data(), gradient=stopping_at(17), **how)
    again = steepest.fit(data(), resume="last", gradient=undisturbed())
    assert again.facts["weights_sha256"] == calm.facts["weights_sha256"]


def work_table() -> Any:
    return steepest.mlp((8,), dropout=0.2)


def test_a_run_is_trained_by_one_process_at_a_time() -> None:
    with pytest.raises(steepest.Interrupted):
        steepest.fit("iris", recipe="adam(0.01)", epochs=4, gradient=stopping_at(5))
    record = records.find("last")
    with (
        steepest.records.holding(record),
        pytest.raises(steepest.InputError, match="is being written by another process; stop that one first"),
    ):
        steepest.fit(resume="last", gradient=undisturbed())
    done = steepest.fit("wine", recipe="adam(0.01)", epochs=1)
    again = steepest.fit(resume="last", gradient=undisturbed())  # the newest that is not complete
    assert again.id == record.id
    assert again.id != done.id


@pytest.mark.usefixtures("interruptible")
def test_a_stop_while_the_validation_part_is_measured() -> None:
    class Listens(nn.Module):
        stop_at = 0  # the pass in evaluation that a signal comes in

        def __init__(self) -> None:
            super().__init__()
            self.linear, self.calls = nn.Linear(4, 3), 0

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            if not self.training:
                self.calls += 1
                if self.calls == Listens.stop_at:
                    signal.raise_signal(signal.SIGINT)
            return self.linear(x)

    task, recipe = steepest.task("iris", model=Listens), "Recipe(adam(0.01), batch=16, epochs=3)"
    calls = steepest.fit(task, recipe).model.calls  # the last four: after each epoch, and of the test part
    for before, message in ((3, "stopped after 6 steps; go on with"), (1, "was complete: steepest ev"), (0, "was complete")):
        Listens.stop_at = calls - before
        with pytest.raises(steepest.Interrupted, match=message):
            steepest.fit(task, recipe)


def test_a_recipe_with_a_network_is_given_again() -> None:
    net = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 3))
    recipe = steepest.Recipe(steepest.adam(0.01), epochs=4, model=net)
    calm = steepest.fit("iris", recipe, gradient=undisturbed())
    with pytest.raises(steepest.Interrupted):
        steepest.fit("iris", recipe, gradient=stopping_at(3))
    with pytest.raises(steepest.InputError, match="needs "):
        steepest.fit("iris", resume="last", gradient=undisturbed())
    again = steepest.fit("iris", recipe, resume="last", gradient=undisturbed())
    assert again.facts["weights_sha256"] == calm.facts["weights_sha256"]


def test_threads_are_those_of_before() -> None:
    seen = []

    def threads(call: int, context: StepContext) -> StepResult:
        seen.append(torch.get_num_threads())
        if call == 5 and len(seen) == 5:
            signal.raise_signal(signal.SIGTERM)
        return plain(context)

    before = torch.get_num_threads()
    with pytest.raises(steepest.Interrupted):
        steepest.fit("iris", recipe="adam(0.01)", epochs=4, gradient=like_plain(threads), plan=steepest.Plan())
    torch.set_num_threads(before + 1)
    try:
        steepest.fit(resume="last", gradient=like_plain(threads))
    finally:
        torch.set_num_threads(before)
    assert set(seen) == {before}


def test_state_in_8_bits_of_images_with_channels_innermost_is_kept() -> None:
    net = lambda: nn.Sequential(  # noqa: E731
        nn.Conv2d(3, 32, 3), nn.ReLU(), nn.Conv2d(32, 64, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(64, 4)
    )
    task = steepest.Task(work.task().data, model=net)
    rule = steepest.keep_state(steepest.adamw(0.003))
    report = steepest.verify_resume(
        task, steepest.Recipe(rule, batch=48, epochs=2), plan=steepest.Plan(channels_last=True, threads=1), stops=[3, 7]
    )
    assert report.exact, str(report)


def test_what_cannot_be_kept_is_no_reason_not_to_train(caplog: pytest.LogCaptureFixture) -> None:
    class Sparse(nn.Sequential):
        def __init__(self) -> None:
            super().__init__(nn.Linear(4, 3))
            self.register_buffer("eye", torch.eye(3).to_sparse(), persistent=False)

    with caplog.at_level(logging.WARNING):
        steepest.fit(steepest.task("iris", model=Sparse()), "adam(0.01)", record=False)
    assert not caplog.text


def test_verify_resume_stops_within_the_steps() -> None:
    with pytest.raises(steepest.InputError, match=r"stops lie within the steps that are made, 1 to \d+ \(got 5000\)"):
        steepest.verify_resume("iris", "adam(0.01)", stops=[5000])


def test_losses_of_a_device_follow_those_that_were_kept() -> None:
    position = Position(RandomStream(0, torch.device("cpu")), losses=[(0.5, 10), (1.0, 30)])
    position.losses += [(torch.tensor(2.0), 40)]
    assert position.mean_loss() == pytest.approx((5 + 30 + 80) / 80)
    assert position.state()["losses"].tolist() == [0.5, 1.0, 2.0]


def test_after_a_step_back_the_newest_checkpoint_has_the_lower_rate() -> None:
    def breaks_then_stops(call: int, context: StepContext) -> StepResult:
        result = plain(context)
        if call == 12:
            result.loss = result.loss * float("nan")
        if call == 14:
            signal.raise_signal(signal.SIGTERM)
        return result

    recipe = "Recipe(adam(0.01), batch=16, epochs=3)"
    with pytest.raises(steepest.Interrupted):
        steepest.fit("iris", recipe=recipe, gradient=like_plain(breaks_then_stops), checkpoint_every=5)
    run = steepest.fit(resume="last", gradient=undisturbed())
    assert run.facts["stepped_back"] == [{"at": 12, "to": 6, "lr": [0.005]}]
    assert run.facts["resumed"] == [8]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda net: net.__setitem__(1, nn.Tanh()), "began with other layers"),
        (lambda net: net[0].weight.requires_grad_(False), "began with other layers"),
    ],
    ids=["a layer", "frozen"],
)
def test_another_network_is_refused(change: Callable[[nn.Sequential], Any], message: str) -> None:
    X, y = np.random.default_rng(0).normal(size=(200, 3)), np.arange(200) % 2

    def net() -> nn.Sequential:
        torch.manual_seed(0)
        return nn.Sequential(nn.Linear(3, 8), nn.ReLU(), nn.Linear(8, 2))

    with pytest.raises(steepest.Interrupted):
        steepest.fit(net(), X, y, recipe="adam(0.01)", epochs=4, gradient=stopping_at(5))
    other = net()
    change(other)
    with pytest.raises(steepest.InputError, match=message):
        steepest.fit(other, X, y, resume="last", gradient=undisturbed())


def test_a_checkpoint_of_another_run_is_refused() -> None:
    for lr in (0.01, 0.5):
        with pytest.raises(steepest.Interrupted):
            steepest.fit("iris", recipe=f"adam({lr})", epochs=4, gradient=stopping_at(5))
    mine, theirs = sorted(Path(".steepest/runs").glob("*/checkpoints"), key=lambda path: path.stat().st_mtime)
    shutil.rmtree(mine)
    shutil.copytree(theirs, mine)
    with pytest.raises(steepest.InputError, match=r"the state is of another run: of Recipe\(adam\(0.5\)"):
        steepest.fit(resume=mine.parent.name, gradient=undisturbed())


def test_other_metrics_are_refused() -> None:
    task = steepest.task("iris", metrics=("accuracy",))
    with pytest.raises(steepest.Interrupted):
        steepest.fit(task, "adam(0.01)", gradient=stopping_at(5))
    with pytest.raises(steepest.InputError, match=r"began with other metrics: \['accuracy'\], now \['f1'\]"):
        steepest.fit(steepest.task("iris", metrics=("f1",)), resume="last", gradient=undisturbed())


@pytest.mark.parametrize(
    "change", [{"call": None}, {"call": {"more": 1}}, {"versions": None}, {"versions": {"threads": "abc"}}, {"objective": 3}]
)
def test_a_record_that_was_edited_is_one_line(change: dict[str, Any], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(steepest.Interrupted):
        steepest.fit("iris", recipe="adam(0.01)", epochs=4, gradient=stopping_at(5))
    path = next(Path(".steepest/runs").glob("*/record.jsonl"))
    first, *others = path.read_text().splitlines()
    path.write_text("\n".join([json.dumps(json.loads(first) | change), *others]) + "\n")
    assert main(["fit", "--resume", "last"]) == 2
    assert len(capsys.readouterr().err.strip().splitlines()) == 1


def test_warnings_are_printed_where_nobody_logs(tmp_path: Path) -> None:
    code = """if True:
        import logging, steepest
        logging.getLogger("steepest").warning("told %d", 1)
        logging.basicConfig(format="root: %(message)s")
        logging.getLogger("steepest").warning("told %d", 2)
    """
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stderr == "steepest: told 1\nroot: told 2\n"


def test_nothing_to_train() -> None:
    with pytest.raises(steepest.InputError, match="nothing to train was given"):
        steepest.fit()
    with pytest.raises(steepest.InputError, match=r"resume is the id of a run, or 'last' \(got \[1\]\)"):
        steepest.fit(resume=[1])  # type: ignore[arg-type]
    with pytest.raises(steepest.InputError, match=r"stops are steps to stop after, such as \[1, 10\] \(got 5\)"):
        steepest.verify_resume("iris", "adam(0.01)", stops=5)  # type: ignore[arg-type]


# -- the command line -------------------------------------------------------------------------------------------------

ONE = "Plan(threads=1)"  # two would wait for each other where the machine is busy
SLOW = """
import time
import steepest
from steepest.gradient import plain


def make():
    task = steepest.task("digits", model=steepest.mlp((32,)))
    print("made", flush=True)
    return task
"""


@pytest.mark.parametrize("sent", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.usefixtures("interruptible")
def test_the_line_that_is_printed_goes_on(sent: signal.Signals, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "slow.py").write_text(SLOW)
    begun = [sys.executable, "-c", "from steepest.cli import entry; entry()"]
    told = ["fit", "slow.py:make", "--recipe", "adam(0.001)", "--epochs", "150", "--checkpoint-every", "50", "--plan", ONE]
    pipes: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True, "cwd": tmp_path}
    quiet = subprocess.run([*begun, *told, "--json", "--quiet"], capture_output=True, text=True, cwd=tmp_path, check=True)
    calm = json.loads(quiet.stdout[quiet.stdout.index("{") :])
    with subprocess.Popen([*begun, *told], **pipes) as process:
        limit = time.monotonic() + 60
        while not list(tmp_path.glob(".steepest/runs/*/checkpoints/latest")) and time.monotonic() < limit:
            time.sleep(0.01)
        process.send_signal(sent)
        _, err = process.communicate(timeout=60)
    assert process.returncode == 75, err
    line = re.search(r"steepest: stopped after (\d+) steps; go on with: (steepest fit --resume f\w+)$", err.strip())
    assert line is not None, err
    assert main(["runs"]) == 0
    assert ("stopped" if sent == signal.SIGTERM else "interrupted") in capfd.readouterr().out
    assert main([*line[2].split()[1:], "--json", "--quiet"]) == 0
    out = capfd.readouterr().out
    found = json.loads(out[out.index("{") :])
    assert found["resumed"] == [int(line[1])]
    assert {k: v for k, v in found.items() if k not in OF_TIME} == {k: v for k, v in calm.items() if k not in OF_TIME}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--resume", "f0000"], "no run 'f0000' in .steepest"),
        (["--resume", "last", "--epochs", "3"], "--resume goes on as the run began; leave out --epochs"),
        (["--resume", "last", "--label", "x"], "--resume goes on as the run began; leave out --label"),
        (["--checkpoint-every", "often", "iris"], "checkpoint_every must be a time such as 90s, 5m or 2h (got 'often')"),
        (["--checkpoint-every", "0", "iris"], "checkpoint_every must be a whole number >= 1 (got 0)"),
        ([], "Missing argument 'TASK' (see steepest fit --help)"),
    ],
)
def test_wrong_ways_to_go_on(arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["fit", *arguments]) == 2
    err = capsys.readouterr().err
    assert message in err
    assert len(err.strip().splitlines()) == 1


def test_every_how_often_is_read() -> None:
    assert Every.read("30s") == Every(seconds=30)
    assert Every.read("25") == Every.read(25) == Every(steps=25)
    assert not Every.read(False)
    assert not Every.read("never")
    with pytest.raises(steepest.InputError, match=r"takes steps \(100\) or a time \('30s', '5m'\) \(got 2.5\)"):
        Every.read(2.5)


# -- faults -----------------------------------------------------------------------------------------------------------


def test_a_loss_that_is_no_number_is_stepped_back_from(caplog: pytest.LogCaptureFixture) -> None:
    def once(call: int, context: StepContext) -> StepResult:
        result = plain(context)
        if call == 12:
            result.loss = result.loss * float("nan")
            for p in context.parameters:
                p.grad = torch.full_like(p, float("nan"))
        return result

    with caplog.at_level(logging.WARNING):
        run = steepest.fit("iris", recipe="Recipe(adam(0.01), batch=16, epochs=3)", gradient=like_plain(once))
    assert run.status == "finished"
    assert run.facts["stepped_back"] == [{"at": 12, "to": 6, "lr": [0.005]}]
    assert "the loss at step 12 is no finite number: back to step 6, at half the learning rate" in caplog.text
    assert run.metrics["accuracy"] > 0.5
    assert [event["at"] for event in records.find(str(run.id)).events() if event["event"] == "stepped back"]


def test_a_rate_that_is_a_thousand_times_too_high_is_diagnosed(caplog: pytest.LogCaptureFixture) -> None:
    model = nn.Sequential(nn.Linear(4, 16), nn.ReLU(), nn.Linear(16, 16), nn.ReLU(), nn.Linear(16, 3))
    with caplog.at_level(logging.WARNING):
        run = steepest.fit(steepest.task("iris", model=model), recipe="Recipe(momentum(1e8), batch=16, epochs=5)")
    assert run.status == "diverged"
    assert len(run.facts["stepped_back"]) == 3
    found = run.facts["diverged"]
    assert found["found"].endswith(("no finite number", "no finite numbers"))
    assert re.search(r"\d", found["found"])
    assert len(found["gradient_norms"]) >= 1
    assert len(found["rows"]) == 16 or found["rows"]
    assert "lower the learning rate" in caplog.text
    assert all(bool(p.isfinite().all()) for p in run.model.parameters())


def test_a_diagnosis_names_the_layer_and_the_batch(caplog: pytest.LogCaptureFixture) -> None:
    class Root(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x.sqrt()

    X = np.abs(np.random.default_rng(0).normal(size=(64, 3))).astype(np.float32)
    X[40] = -1.0
    data = steepest.arrays(X, np.arange(64) % 2, scaling="none", parts=(1, 0, 0, 0))
    model = nn.Sequential(nn.Identity(), Root(), nn.Linear(3, 2))
    run = steepest.fit(steepest.Task(data, model=model), recipe="Recipe(sgd(0.01), batch=8, epochs=2)")
    assert run.status == "diverged"
    assert run.facts["diverged"]["found"] == "the output of 1 (Root) is the first that is no finite number"
    assert 40 in run.facts["diverged"]["rows"]


@pytest.mark.parametrize("error", [torch.OutOfMemoryError("CUDA out of memory"), MemoryError()], ids=["device", "host"])
def test_memory_that_does_not_suffice_once(error: Exception, caplog: pytest.LogCaptureFixture) -> None:
    def once(call: int, context: StepContext) -> StepResult:
        if call == 5:
            raise error
        return plain(context)

    recipe = "Recipe(adam(0.01), batch=16, epochs=3)"
    calm = steepest.fit(steepest.task("iris", model=steepest.mlp((16,))), recipe=recipe, record=False)
    with caplog.at_level(logging.WARNING):
        run = steepest.fit(steepest.task("iris", model=steepest.mlp((16,))), recipe=recipe, gradient=like_plain(once))
    assert "memory did not suffice for 16 rows at once: from here on 8" in caplog.text
    for mine, theirs in zip(run.model.parameters(), calm.model.parameters(), strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-4, atol=1e-5)


def test_memory_that_never_suffices_is_told() -> None:
    def never(call: int, context: StepContext) -> StepResult:
        raise MemoryError("no memory")

    with pytest.raises(steepest.InputError, match="training failed: MemoryError: no memory"):
        steepest.fit("iris", recipe="adam(0.01)", gradient=like_plain(never))
    assert not index.listing()


def test_another_threads_training_leaves_signals_alone() -> None:
    import threading

    before = signal.getsignal(signal.SIGTERM)
    thread = threading.Thread(target=lambda: steepest.fit("iris", recipe="adam(0.01)", record=False))
    thread.start()
    thread.join()
    assert signal.getsignal(signal.SIGTERM) is before


# -- the short forms of `python -m tests.faults` ----------------------------------------------------------------------


@pytest.mark.parametrize("rows_from", sweep.ROWS_FROM)
def test_resume_at_some_steps_is_exact(rows_from: str, tmp_path: Path) -> None:
    report = sweep.every_step(rows_from, tmp_path, every=7)
    assert report.exact, str(report)
    assert len(report.stops) == 9


def test_each_item_of_the_state_is_missed() -> None:
    tries, missed = sweep.each_item_left_out(every=11)
    assert tries > 40
    assert not missed


def in_a_process_of_its_own(code: str, folder: Path) -> str:
    """Run code that forks, which a process with other libraries' threads must not."""
    root = Path(__file__).parents[1]
    call = [
        sys.executable,
        "-c",
        f"import sys\nfrom pathlib import Path\nfrom tests.faults import disk, kills\n{code}",
        str(folder),
    ]
    done = subprocess.run(call, capture_output=True, text=True, cwd=root, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout.strip()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
def test_killed_runs_go_on(tmp_path: Path) -> None:
    code = "t = kills.kill(5, Path(sys.argv[1]))\nprint(t.kills, t.different, t.most_lost <= kills.EVERY)"
    assert in_a_process_of_its_own(code, tmp_path) == "5 0 True"


def test_a_disk_that_fails_at_a_write(tmp_path: Path) -> None:
    tries, wrong = disk.every_write(tmp_path, every=41)
    assert tries > 20
    assert not wrong


def test_a_full_file_system(tmp_path: Path) -> None:
    found = disk.full_file_system(tmp_path)
    if found is None:
        pytest.skip("no file system may be mounted here")
    assert found == ""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
def test_files_that_must_stay_short(tmp_path: Path) -> None:
    assert in_a_process_of_its_own("print(disk.limited_files(Path(sys.argv[1])))", tmp_path) == ""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
def test_many_writers_lose_nothing(tmp_path: Path) -> None:
    code = "print(disk.many_writers(Path(sys.argv[1]), writers=8, rows=60))"
    assert in_a_process_of_its_own(code, tmp_path) == ""


def test_a_record_torn_at_any_byte(tmp_path: Path) -> None:
    assert disk.torn_everywhere(tmp_path, every=3) == ""


def test_files_take_no_more_than_the_state(tmp_path: Path) -> None:
    found = cost.measured(tmp_path, rounds=2)
    assert found.file_bytes == pytest.approx(found.state_bytes, rel=0.01)
