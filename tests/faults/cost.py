"""What a checkpoint costs: how long a training with a state of 100 MB waits for it, and how large its files are."""

from __future__ import annotations

import statistics
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

import steepest
from steepest.checkpoints import Checkpoints
from steepest.training.following import Follower
from steepest.training.keeping import AT_ONCE_BYTES, Every, Keeper
from steepest.training.settings import KeptMemory
from steepest.training.setup import prepare

WIDTH, ROUNDS = 2038, 8  # two square layers of it: 33.3 MB of weights, and twice that of moments


@dataclass(frozen=True)
class Cost:
    """Measured: how long a training stood still for each checkpoint, and the bytes of state and files."""

    stalls_s: tuple[float, ...]
    written_s: float
    state_bytes: int
    file_bytes: int

    def __str__(self) -> str:
        later = self.stalls_s[1:]
        return (
            f"state {self.state_bytes / 1e6:.1f} MB, files {self.file_bytes / self.state_bytes - 1:+.3%}; stalls "
            f"{1e3 * statistics.median(later):.0f} ms (first {1e3 * self.stalls_s[0]:.0f}, most later {1e3 * max(later):.0f}), "
            f"on the disk after {self.written_s:.2f} s"
        )


def measured(folder: Path, rounds: int = ROUNDS) -> Cost:
    """Train a wide network, and take a checkpoint every few steps."""
    rng = np.random.default_rng(0)
    data = steepest.arrays(rng.normal(size=(256, 16)).astype(np.float32), rng.integers(0, 2, 256))
    layers = [
        torch.nn.Linear(16, WIDTH),
        torch.nn.Linear(WIDTH, WIDTH),
        torch.nn.Linear(WIDTH, WIDTH),
        torch.nn.Linear(WIDTH, 2),
    ]
    recipe = steepest.Recipe(steepest.adam(1e-4), batch=64, epochs=1000)
    t = prepare(steepest.Task(data, model=torch.nn.Sequential(*layers)), recipe)
    follower, keeper = Follower(t, None, stop_at_target=False), Keeper(Checkpoints(folder / "checkpoints"), Every(steps=10**9))
    keeper.nbytes = AT_ONCE_BYTES  # a thread from the first one on
    stalls, began = [], 0.0
    with KeptMemory(t.device):
        for event in steepest.steps(t.task, training=t, max_steps=4 * rounds + 1):
            if isinstance(event, steepest.StepEvent) and event.step % 4 == 0:
                keeper.wait()  # not counted: the next one is not due before the last is on the disk
                began = time.perf_counter()
                keeper.keep(t, follower)
                stalls.append(time.perf_counter() - began)
        keeper.wait()
    files = max(keeper.store.folder.glob("0*"))
    size = sum(path.stat().st_size for path in files.iterdir())
    return Cost(tuple(stalls), time.perf_counter() - began, keeper.nbytes, size)
