"""The doctor: what the machine is, where a step's time goes, what would save some of it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from torch import nn

import steepest
from steepest.cli import main
from steepest.diagnosis import PHASES
from steepest.errors import InputError
from steepest.machine import ceilings


def test_ceilings_are_rates() -> None:
    found = ceilings()
    assert found.float32_flops > 1e8
    assert found.memory_bytes_s > 1e8
    assert found.threads == torch.get_num_threads()


def test_a_task_is_taken_apart() -> None:
    found = steepest.doctor("iris", "adamw(0.01)")
    assert found.step_ms is not None
    assert tuple(found.step_ms) == PHASES
    assert all(ms >= 0 for ms in found.step_ms.values())
    assert found.flops_s is not None
    assert found.choice is not None
    assert found.choice.timings[0].seconds
    told = str(found)
    assert "ceilings" in told
    assert "iris: a step takes" in told
    assert json.loads(json.dumps(found.to_dict()))["step_ms"] == found.step_ms


def test_a_step_of_ones_own_is_timed() -> None:
    net, X, y = nn.Linear(20, 3), torch.randn(64, 20), torch.randint(0, 3, (64,))
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1)

    def step() -> None:
        optimizer.zero_grad()
        nn.functional.cross_entropy(net(X), y).backward()
        optimizer.step()

    threads = torch.get_num_threads()
    found = steepest.doctor(step)
    assert found.task == "step"
    assert found.step_ms is not None
    assert set(found.step_ms) == {"data", "forward", "backward", "optimizer"}
    assert found.step_ms["backward"] > 0
    assert found.step_ms["optimizer"] > 0
    assert torch.get_num_threads() == threads


def test_a_step_that_fails_is_one_line() -> None:
    def step() -> None:
        raise KeyError("weights")

    with pytest.raises(InputError, match="your step"):
        steepest.doctor(step)


@pytest.mark.parametrize(
    ("arguments", "code", "told"),
    [
        (["doctor", "nowhere.csv"], 2, "nowhere.csv"),
        (["doctor", "--label", "y"], 2, "--label is of a task"),
        (["doctor", "iris", "--recipe", "adamm"], 2, "did you mean 'adam'"),
    ],
)
def test_wrong_calls_are_one_line(arguments: list[str], code: int, told: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(arguments) == code
    assert told in capsys.readouterr().err


def test_the_command_line_looks_at_files_of_steps(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "mine.py"
    path.write_text(
        "import torch\n"
        "def make():\n"
        "    p = torch.zeros(3, requires_grad=True)\n"
        "    def step():\n"
        "        p.grad = None\n"
        "        p.square().sum().backward()\n"
        "    return step\n"
        "def wrong():\n"
        "    return 3\n"
    )
    assert main(["doctor", f"{path}:make", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["task"] == "step"
    assert main(["doctor", f"{path}:wrong"]) == 2
    assert "must return a Task" in capsys.readouterr().err
