"""Worker processes: what they return and raise; one that hangs, is killed or eats memory costs its own call alone."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import steepest
from steepest.racing.processes import HUNG, KILLED, OUT_OF_MEMORY, LostError
from steepest.racing.serving import beat
from steepest.racing.trials import DIVERGED, FAILED, LOST
from steepest.racing.workers import LEAST_MEMORY, Workers
from steepest.recipes import Recipe
from steepest.rules import adam

GIB = 2**30


@pytest.fixture(scope="module")
def pool() -> Iterator[Workers]:
    workers = Workers(steepest.task("iris"), 2, 1, torch.device("cpu"), memory=2 * GIB, stall_s=2.0)
    workers.start()
    yield workers
    workers.close()


def told(task: steepest.Task, *args: Any, device: Any) -> tuple[Any, ...]:
    return (task.name, *args, str(device), torch.get_num_threads(), os.getpid())


def raises(task: steepest.Task, device: Any) -> None:
    raise steepest.InputError("no")


def prints(task: steepest.Task, device: Any) -> str:
    print("what a network prints is no answer")
    os.write(1, b"neither is this\n")
    return "answer"


def hangs(task: steepest.Task, device: Any) -> None:
    time.sleep(60)


def works_slowly(task: steepest.Task, device: Any) -> str:
    for _ in range(30):
        time.sleep(0.1)
        beat()
    return "done"


def killed(task: steepest.Task, device: Any) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def ends(task: steepest.Task, device: Any) -> None:
    os._exit(3)


def eats_at_once(task: steepest.Task, device: Any) -> None:
    torch.ones(4 * GIB, dtype=torch.uint8)


def eats_through_files(task: steepest.Task, device: Any) -> None:
    """Take memory that the limit on data does not count."""
    import mmap

    held = []
    while True:
        held.append(mmap.mmap(-1, 2**27))  # shared, so no data of this process
        held[-1].write(b"x" * 2**27)
        beat()


def leaves_a_child(task: steepest.Task, file: str, device: Any) -> None:
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(120)"])
    Path(file).write_text(str(child.pid))
    time.sleep(60)


def is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_a_call_returns_what_its_function_returns(pool: Workers) -> None:
    found = [pool.submit(told, i, {"k": i}) for i in range(8)]
    answers = [future.result(60) for future in found]
    assert [answer[:4] for answer in answers] == [("iris", i, {"k": i}, "cpu") for i in range(8)]
    assert {answer[4] for answer in answers} == {1}
    assert os.getpid() not in {answer[5] for answer in answers}


def test_a_call_raises_what_its_function_raises(pool: Workers) -> None:
    with pytest.raises(steepest.InputError, match="no"):
        pool.call(raises)
    with pytest.raises(ZeroDivisionError):
        pool.call(lambda task, device: 1 / 0)
    assert pool.call(prints) == "answer"


@pytest.mark.parametrize(
    ("function", "kind", "words"),
    [(hangs, HUNG, "no step in 2 s"), (killed, KILLED, "SIGKILL"), (ends, KILLED, "exit code 3")],
)
def test_a_call_that_does_not_come_back_is_told_apart(pool: Workers, function: Any, kind: str, words: str) -> None:
    others = [pool.submit(told, i) for i in range(4)]
    with pytest.raises(LostError, match=words) as lost:
        pool.call(function)
    assert lost.value.kind == kind
    assert [future.result(60)[1] for future in others] == [0, 1, 2, 3]
    assert pool.call(told, "again")[1] == "again"


def test_who_makes_steps_does_not_hang(pool: Workers) -> None:
    assert pool.call(works_slowly) == "done"


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere the system does not keep to a limit")
def test_memory_has_a_limit(pool: Workers) -> None:
    with pytest.raises(RuntimeError, match="DefaultCPUAllocator"):
        pool.call(eats_at_once)
    with pytest.raises(LostError, match="more than 2,048 MiB") as lost:
        pool.call(eats_through_files)
    assert lost.value.kind == OUT_OF_MEMORY


@pytest.mark.skipif(sys.platform != "linux", reason="looks at /proc")
def test_what_a_process_has_started_ends_with_it(pool: Workers, tmp_path: Path) -> None:
    file = tmp_path / "pid"
    with pytest.raises(LostError):
        pool.call(leaves_a_child, str(file))
    child = int(file.read_text())
    deadline = time.monotonic() + 5
    while is_alive(child) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not is_alive(child)


def test_a_pool_that_is_closed_leaves_nothing() -> None:
    workers = Workers(steepest.task("iris"), 2, 1, torch.device("cpu"))
    workers.start()
    pids = {workers.submit(told).result(60)[-1] for _ in range(4)}
    file = workers._file
    workers.submit(hangs)
    began = time.monotonic()
    workers.close()
    assert time.monotonic() - began < 10
    assert file is not None
    assert not file.exists()
    assert not any(is_alive(pid) for pid in pids)


def test_a_task_that_cannot_be_sent_is_told() -> None:
    lock = threading.Lock()
    task = steepest.Task("iris", model=lambda: nn.Linear(4, 3) if lock else None)
    with pytest.raises(steepest.InputError, match="cannot be sent to other processes"):
        Workers(task, 2, 1)


def test_limits_that_allow_no_work_are_refused() -> None:
    with pytest.raises(steepest.InputError, match="at least 512MiB"):
        steepest.race("iris", ["adam"], memory="100MB", record=False)
    with pytest.raises(steepest.InputError, match="must be a size such as"):
        steepest.race("iris", ["adam"], memory="much", record=False)
    with pytest.raises(steepest.InputError, match="stall must be > 0"):
        steepest.race("iris", ["adam"], stall=-1, record=False)
    assert LEAST_MEMORY == 2**29


# -- races with recipes that do harm ----------------------------------------------------------------------------------


class Harmful(nn.Module):
    """A linear network that does harm once it trains: where its gradient is asked for."""

    def __init__(self, harm: str) -> None:
        super().__init__()
        self.linear, self.harm = nn.Linear(4, 3), harm

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if self.training and torch.is_grad_enabled() and self.harm:
            HARMS[self.harm]()
        return self.linear(x)


def fails() -> None:
    raise ValueError("shapes do not fit")


HARMS: dict[str, Any] = {
    "hang": lambda: time.sleep(600),
    "killed": lambda: os.kill(os.getpid(), signal.SIGKILL),
    "memory": lambda: torch.ones(8 * GIB, dtype=torch.uint8),
    "error": fails,
}


def test_a_race_with_recipes_that_do_harm_ends_and_tells_them_apart() -> None:
    entries = [
        Recipe(adam(0.05), name="good"),
        *(Recipe(adam(0.05), model=lambda harm=harm: Harmful(harm), name=harm) for harm in HARMS),
        Recipe(steepest.sgd(1e30), name="diverges"),
    ]
    race = steepest.race(
        "iris", entries, baseline="good", seeds=2, epochs=15, processes=2, memory="4GiB", stall="3s", progress=False
    )
    assert race.status == "finished"
    assert race.leaderboard().winner == "good"
    verdicts = {row.recipe: row.verdict for row in race.leaderboard().rows}
    assert "; hung in 2 (no step in 3 s)" in verdicts["hang"]
    assert "; killed in 2 (SIGKILL)" in verdicts["killed"]
    assert "; out of memory in 2 (" in verdicts["memory"]
    assert "; failed in 2 (" in verdicts["error"]
    assert "shapes do not fit" in verdicts["error"]
    assert verdicts["diverges"] == "missed the target in 2 of 2; diverged in 2"
    kinds = {outcome.status for outcome in race.outcomes}
    assert {*LOST, DIVERGED} <= kinds
    assert steepest.load_run  # the race is over, and the process lives


def test_what_fails_everywhere_ends_the_race() -> None:
    task = steepest.Task("iris", model=lambda: Harmful("error"))
    with pytest.raises(steepest.InputError, match=r"every trial failed: .*shapes do not fit"):
        steepest.race(task, ["adam(0.01)", "sgd(0.1)"], baseline="adam", seeds=2, epochs=5, processes=2, progress=False)
    assert not list(Path(".steepest/races").glob("*/record.jsonl"))
    assert FAILED in LOST
