"""What a training keeps in memory: checkpoints, rows that fit, and pages that stay with the process."""

from __future__ import annotations

import math
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import steepest
from steepest.data import archives
from steepest.errors import InputError
from steepest.models.checkpoints import blocks, can_be_checkpointed, checkpointed, segments
from steepest.plans import Plan
from steepest.training import footprint
from steepest.training.known import default_plan
from steepest.training.pilot import candidates
from steepest.training.settings import KeptMemory
from steepest.training.setup import Training, prepare

RECIPE = steepest.Recipe(steepest.adamw(0.01), batch=32, epochs=1)


def plain_row() -> nn.Module:
    layers = [layer for _ in range(4) for layer in (nn.Linear(12, 12), nn.Tanh(), nn.Dropout(0.3))]
    return nn.Sequential(*layers, nn.Linear(12, 3))


def with_norms() -> nn.Module:
    def block() -> nn.Module:
        return nn.Sequential(nn.Sequential(nn.Linear(12, 12), nn.BatchNorm1d(12), nn.ReLU()), nn.Dropout(0.2))

    return nn.Sequential(block(), block(), block(), nn.Linear(12, 3))


def with_spectral_norms() -> nn.Module:
    def block() -> nn.Module:
        linear = nn.utils.parametrizations.spectral_norm(nn.Linear(12, 12))
        norm = nn.InstanceNorm1d(3, track_running_stats=True)
        return nn.Sequential(nn.Sequential(linear, nn.Unflatten(1, (3, 4)), norm, nn.Flatten(), nn.Tanh()), nn.Dropout(0.2))

    return nn.Sequential(block(), block(), block(), nn.Linear(12, 3))


class Named(nn.Module):
    """A block that is called by the name of what it takes."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(12, 24), nn.GELU(), nn.Dropout(0.3), nn.Linear(24, 12))

    def forward(self, *, states: Tensor) -> Tensor:
        return states + self.layers(states)


class Layers(nn.Module):
    """A network of one's own with its blocks in a list."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.ModuleList(nn.TransformerEncoderLayer(12, 2, 24, batch_first=True) for _ in range(3))
        self.answer = nn.Linear(12, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = x[:, None]
        for layer in self.layers:
            x = layer(x)
        return self.answer(x[:, 0])


class OfNamed(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layers, self.answer = nn.ModuleList(Named() for _ in range(3)), nn.Linear(12, 3)

    def forward(self, x: Tensor) -> Tensor:
        for layer in self.layers:
            x = layer(states=x)
        return self.answer(x)


NETWORKS: dict[str, Callable[[], Any]] = {
    "a row of layers": plain_row,
    "norms": with_norms,
    "spectral and instance norms": with_spectral_norms,
    "a list": Layers,
    "called by name": OfNamed,
    "transformer": lambda: steepest.transformer(width=16, layers=3, dropout=0.1),
    "cnn": lambda: steepest.residual_cnn(8, 2, 1),
}


def training(model: Any, rows: int = 64) -> Training:
    rng = np.random.default_rng(0)
    if isinstance(model, steepest.models.ModelSpec) and "cnn" in repr(model):
        data = steepest.arrays(rng.integers(0, 255, (rows, 12, 12), dtype=np.uint8), np.arange(rows) % 3, images=True)
    elif isinstance(model, steepest.models.ModelSpec):
        data = steepest.arrays(rng.normal(size=(rows, 10, 5)), np.arange(rows) % 3, images=False)
    else:
        data = steepest.arrays(rng.normal(size=(rows, 12)), np.arange(rows) % 3, scaling="none")
    return prepare(steepest.Task(data, model=model), RECIPE)


def saved_bytes(t: Training, inputs: Tensor, targets: Tensor) -> int:
    """Return what a forward pass keeps for the way back."""
    found: dict[int, int] = {}

    def pack(tensor: Tensor) -> Tensor:
        found[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    context = t.context(inputs, targets)
    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        context.outputs(inputs).sum()
    weights = {p.untyped_storage().data_ptr() for p in t.model.parameters()}
    return sum(size for place, size in found.items() if place not in weights)


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@pytest.mark.parametrize("name", NETWORKS)
def test_checkpointing_gives_the_same_gradient_and_keeps_less(name: str, precision: str) -> None:
    results, kept = [], []
    for checkpointing in (False, True):
        torch.manual_seed(0)
        t = training(NETWORKS[name]())
        t.follow(Plan(precision, checkpointing=checkpointing, written_out=False))
        t.model.train()
        batch = t.batch_at(torch.arange(32), 0)
        kept.append(saved_bytes(t, *batch))
        torch.manual_seed(5)
        loss = steepest.gradient.plain(t.context(*batch)).loss
        grads = [p.grad for p in t.model.parameters() if p.grad is not None]
        results.append((loss, grads, dict(t.model.named_buffers())))
        assert not any("forward" in module.__dict__ for module in t.model.modules())
    (loss, grads, buffers), (again, others, others_buffers) = results
    assert torch.equal(loss, again)
    assert all(torch.equal(a, b) for a, b in zip(grads, others, strict=True))
    assert all(torch.equal(value, others_buffers[key]) for key, value in buffers.items())
    assert kept[1] < 0.7 * kept[0], kept


def test_blocks_are_the_innermost_rows() -> None:
    assert len(blocks(Layers())) == 3
    assert len(blocks(with_norms())) == 3
    stages = nn.Sequential(nn.Sequential(with_norms(), with_norms()), nn.Linear(3, 3))
    assert len(blocks(stages)) == 6
    assert blocks(plain_row()) == []
    assert can_be_checkpointed(plain_row())
    assert not can_be_checkpointed(nn.Linear(3, 3))


def test_a_row_is_blocks_and_the_runs_between_them() -> None:
    row = plain_row()
    assert isinstance(row, nn.Sequential)
    assert [len(part) for part in segments(row) if isinstance(part, nn.Sequential)] == [4, 4, 4]
    mixed = nn.Sequential(nn.Linear(2, 2), nn.ReLU(), with_norms(), with_norms(), nn.ReLU())
    assert [type(part).__name__ for part in segments(mixed)] == ["Sequential", "Sequential", "Sequential", "ReLU"]
    assert segments(mixed)[1] is mixed[2]


def test_a_forward_pass_of_ones_own_comes_back() -> None:
    net = with_norms()
    block = blocks(net)[0]
    own = block.forward
    block.forward = own  # type: ignore[method-assign]
    with checkpointed(net):
        assert block.forward is not own
    assert block.__dict__["forward"] is own


def test_a_network_without_blocks_is_told() -> None:
    with pytest.raises(InputError, match=r"checkpointing needs blocks in .*, which Linear lacks"):
        training(nn.Linear(12, 3)).follow(Plan(checkpointing=True))
    with pytest.raises(InputError, match="checkpointing or compile, not both"):
        Plan(checkpointing=True, compile=True)


def test_a_training_with_checkpoints_is_the_training_without() -> None:
    runs = [
        steepest.fit("digits", "adamw(0.003)", epochs=1, plan=Plan(checkpointing=on, written_out=False), record=False)
        for on in (False, True)
    ]
    assert runs[0].facts["weights_sha256"] == runs[1].facts["weights_sha256"]


def test_rows_that_do_not_fit_go_through_in_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    t = training(Layers())
    row = footprint.bytes_kept(t)
    assert row > 3 * 12 * 4  # the inputs of its blocks at the least
    assert default_plan(t).micro_batch is None
    monkeypatch.setattr(footprint, "free_memory", lambda: int(9 * row * footprint.BESIDE / footprint.SHARE))
    plan = default_plan(t)
    assert plan.micro_batch == 8
    assert {candidate.micro_batch for candidate in candidates(t, plan)} == {8}


def test_a_loss_of_ones_own_is_not_put_into_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    def contrast(outputs: Tensor, targets: Tensor) -> Tensor:
        return (outputs @ outputs.T).logsumexp(1).mean() + 0 * targets.sum()

    data = steepest.arrays(np.random.default_rng(0).normal(size=(64, 12)), np.arange(64) % 3, scaling="none")
    t = prepare(steepest.Task(data, model=plain_row, objective=contrast), RECIPE)
    monkeypatch.setattr(footprint, "free_memory", lambda: 100)
    assert default_plan(t).micro_batch is None


def test_a_pass_that_memory_does_not_hold_goes_row_by_row(monkeypatch: pytest.MonkeyPatch) -> None:
    t = training(Layers())

    def too_much(*_: Any) -> int:
        raise torch.OutOfMemoryError

    monkeypatch.setattr(footprint, "_kept_by", too_much)
    assert default_plan(t).micro_batch == 1


def test_a_container_leaves_what_its_limit_leaves(tmp_path: Path) -> None:
    for name, value in {"memory.max": "1000", "memory.current": "700", "memory.stat": "anon 600\ninactive_file 50\n"}.items():
        (tmp_path / name).write_text(value)
    assert archives._left_in(tmp_path) == 350
    (tmp_path / "memory.max").write_text("max")
    assert archives._left_in(tmp_path) == math.inf
    assert archives._left_in(tmp_path / "nothing") == math.inf


def test_a_network_that_mixes_rows_is_checkpointed_instead(monkeypatch: pytest.MonkeyPatch) -> None:
    t = training(with_norms())
    monkeypatch.setattr(footprint, "free_memory", lambda: 100)
    assert default_plan(t).checkpointing
    assert default_plan(t).micro_batch is None


def test_pieces_are_of_equal_size() -> None:
    t = training(with_norms())
    t.follow(Plan(micro_batch=16))
    seen: list[int] = []
    t.model.register_forward_hook(lambda module, inputs, outputs: seen.append(len(outputs)))
    t.model.train()
    steepest.gradient.plain(t.context(*t.batch_at(torch.arange(17), 0)))  # sixteen and one would be a norm over one row
    assert seen == [9, 8]


FRESH = """
import resource, torch
from steepest.training.settings import KeptMemory

def step():
    pieces = [torch.ones(2**21) for _ in range(8)]  # of 8 MiB

def pages():
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt

def resident():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1])

kept = KeptMemory(torch.device("cpu"))
with kept, KeptMemory(torch.device("cpu")):
    for _ in range(3):
        step()
    before = pages()
    for _ in range(5):
        step()
    made, held = pages() - before, resident()
print(kept.libc is not None, made, held - resident())
"""


@pytest.mark.skipif(sys.platform != "linux", reason="the memory of a process is glibc's on Linux")
def test_what_a_step_frees_is_kept_for_the_next_and_given_back_afterwards() -> None:
    """In a process of its own: one whose heap is full of holes needs more steps until all of them have been touched."""
    told = subprocess.run([sys.executable, "-c", FRESH], capture_output=True, text=True, check=True).stdout.split()
    if told[0] != "True":
        pytest.skip("this system's C library is not glibc")
    made, given_back = map(int, told[1:])
    assert made < 1000  # of 80,000 that were used
    assert given_back > 10_000


@pytest.mark.parametrize("name", ["MALLOC_TRIM_THRESHOLD_", "GLIBC_TUNABLES"])
def test_thresholds_set_from_outside_stay(name: str) -> None:
    value = "glibc.malloc.trim_threshold=1000000" if name == "GLIBC_TUNABLES" else "1000000"
    told = subprocess.run(
        [sys.executable, "-c", FRESH], capture_output=True, text=True, check=True, env={**os.environ, name: value}
    ).stdout
    assert told.startswith("False")


def test_memory_of_other_devices_is_left_to_torch() -> None:
    assert KeptMemory(torch.device("cuda")).libc is None
