"""Trains through Hugging Face Accelerate: prepare, accumulate, clip_grad_norm_, its scheduler, saved states, two processes."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.optimizer import AcceleratedOptimizer
from accelerate.scheduler import AcceleratedScheduler
from accelerate.utils import set_seed
from common import ADAMW, BATCH, PAIRS, STEPS, Checks, Make, Training, digits, main, network, weights
from torch import nn
from torch.optim.lr_scheduler import CosineAnnealingLR, LambdaLR
from torch.utils.data import DataLoader, TensorDataset

import steepest

SCHEDULE = steepest.cosine(steps=STEPS, warmup=5)


class Loop:
    """A training loop that Accelerate has prepared."""

    def __init__(self, make: Make, schedule: Callable[[Any], Any] | None = None, accumulate: int = 1) -> None:
        set_seed(0)
        self.accelerator = Accelerator(cpu=True, gradient_accumulation_steps=accumulate)
        model, loader = network(), DataLoader(TensorDataset(*digits()), batch_size=BATCH)
        optimizer = make(model.parameters())
        self.model, self.optimizer, self.loader = self.accelerator.prepare(model, optimizer, loader)
        assert isinstance(self.optimizer, AcceleratedOptimizer)
        self.scheduler = None
        if schedule is not None:
            self.scheduler = self.accelerator.prepare(schedule(optimizer))
            assert isinstance(self.scheduler, AcceleratedScheduler)
        self.training = Training()

    def train(self, first: int = 0, last: int = STEPS) -> Training:
        loader = self.accelerator.skip_first_batches(self.loader, first) if first else self.loader
        for number, (pixels, labels) in enumerate(loader, start=first):
            if number == last:
                break
            with self.accelerator.accumulate(self.model):
                loss = nn.functional.cross_entropy(self.model(pixels), labels)
                self.accelerator.backward(loss)
                if self.accelerator.sync_gradients:
                    self.accelerator.clip_grad_norm_(self.model.parameters(), 0.5)
                self.optimizer.step()
                if self.scheduler is not None:
                    self.scheduler.step()
                self.optimizer.zero_grad()
            assert not self.optimizer.step_was_skipped
            self.training.losses.append(self.accelerator.gather(loss.detach().reshape(1)).mean().item())
            self.training.rates.append(float(self.optimizer.param_groups[0]["lr"]))
        self.training.weights = weights(self.accelerator.unwrap_model(self.model))
        return self.training


def cosine(optimizer: torch.optim.Optimizer) -> Any:
    return CosineAnnealingLR(optimizer, T_max=STEPS)


def check_prepared(checks: Checks) -> None:
    """With and without a scheduler, with and without accumulation."""
    for pair in PAIRS:
        for schedule in (None, cosine):
            for accumulate in (1, 3):  # 40 steps are not a multiple of 3: the last one comes early, at the end of the data
                got = Loop(pair.steepest, schedule, accumulate).train()
                shown = f"{pair.name}, {'AcceleratedScheduler, ' * (schedule is not None)}accumulate {accumulate}"
                checks.equal(shown, got, Loop(pair.torch, schedule, accumulate).train())


def check_states(checks: Checks) -> None:
    """save_state in the middle, load_state into new objects, and on."""
    folder = Path("state")
    for pair in PAIRS:
        expected = Loop(pair.torch, cosine).train()
        first = Loop(pair.steepest, cosine)
        first.train(0, STEPS // 2)
        first.accelerator.save_state(str(folder))
        second = Loop(pair.steepest, cosine)
        second.accelerator.load_state(str(folder))
        second.training = first.training
        checks.equal(f"{pair.name}, save_state and load_state", second.train(STEPS // 2), expected)


def check_the_rules_own_schedule(checks: Checks) -> None:
    """A rule that brings its schedule needs no scheduler; it counts updates, not batches."""

    def steepest_adamw(params: Any) -> torch.optim.Optimizer:
        return steepest.Optimizer(params, steepest.adamw(3e-3, schedule=SCHEDULE))

    def torch_adamw(params: Any) -> torch.optim.Optimizer:
        return torch.optim.AdamW(params, lr=3e-3)

    for accumulate in (1, 4):
        got = Loop(steepest_adamw, None, accumulate).train()
        expected = Loop(torch_adamw, lambda o: LambdaLR(o, SCHEDULE), accumulate).train()
        got.rates = expected.rates = []
        checks.equal(f"the rule's own schedule, accumulate {accumulate}", got, expected)


def check_two_processes(checks: Checks) -> None:
    """The same in two processes, whose gradients are averaged: each sees half of the batches."""
    command = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    dtype = str(torch.get_default_dtype()).removeprefix("torch.")
    done = subprocess.run([sys.executable, *command, __file__, dtype], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    got, expected = (Training(**parts) for parts in torch.load("two.pt", weights_only=True))
    checks.equal("two processes", got, expected)


def train_in_a_process(dtype: str) -> None:
    """Be one of the two processes; the first keeps what came out."""
    torch.set_default_dtype(getattr(torch, dtype))
    loops = [Loop(make, cosine, accumulate=2) for make in (ADAMW.steepest, ADAMW.torch)]
    found = [vars(loop.train()) for loop in loops]
    accelerator = loops[0].accelerator
    assert accelerator.num_processes == 2
    assert len(found[0]["losses"]) == STEPS // 2
    if accelerator.is_main_process:
        torch.save(found, "two.pt")
    accelerator.end_training()


if __name__ == "__main__":
    if len(sys.argv) > 1:
        train_in_a_process(sys.argv[1])
    else:
        main(check_prepared, check_states, check_the_rules_own_schedule, check_two_processes)
