"""Diagnosis: where the time of a step goes, what would save some of it, and what this machine can do at all."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import asdict, dataclass
from itertools import islice
from typing import Any

import torch

from .backpropagation import loss_and_gradient
from .defaults import default_recipe
from .errors import InputError, blaming
from .gradient import StepContext
from .machine import Ceilings, ceilings, cpu_flags, has_bfloat16, memory_bytes, name_of_device, wait_for
from .plans import FLOAT32, TF32, Plan
from .recipes import as_recipe
from .tasks import Task, called, task
from .training.building import choose_device
from .training.known import default_plan, flops_of
from .training.loop import StepEvent, steps
from .training.pilot import WORTH, Bench, Choice, measured
from .training.randomness import RandomStream
from .training.settings import KeptMemory, Tf32, Threads
from .training.setup import Training, prepare
from .values import si

STEPS, WARM_UP = 20, 3
PHASES = ("data", "forward", "backward", "optimizer", "loop")
AS_IT_IS = "as it is"
UNITS = ("avx2", "avx512f", "avx512_bf16", "avx512_vnni", "amx_bf16", "amx_int8")


@dataclass(frozen=True)
class Machine:
    """What there is: processor and its units, cores, memory, torch, and measured ceilings of the device."""

    device: str
    cores: int
    units: tuple[str, ...]
    memory_bytes: int | None
    torch: str
    ceilings: Ceilings

    def __str__(self) -> str:
        found = self.ceilings
        memory = "" if self.memory_bytes is None else f"   {self.memory_bytes / 2**30:.0f} GiB"
        half = "" if found.bfloat16_flops is None else f", bfloat16 {si(found.bfloat16_flops)}FLOP/s"
        threads = f"{found.threads} thread{'s' * (found.threads > 1)}"
        return (
            f"{self.device}   {self.cores} cores{memory}   {' '.join(self.units)}   torch {self.torch}\n"
            f"ceilings, {threads}: products in float32 {si(found.float32_flops)}FLOP/s{half}, "
            f"memory {si(found.memory_bytes_s)}B/s"
        )


@dataclass(frozen=True)
class Diagnosis:
    """What was found: the machine; of a step the milliseconds of each phase, its arithmetic, and the plans that were timed.

    Attributes:
        machine: see `Machine`.
        task: what was looked at, None for the machine alone.
        step_ms: phase -> milliseconds of a step, as things are (`"loop"` is what is left of it).
        flops_s: arithmetic of the step over its time, None where the network cannot be counted.
        choice: the plans that were timed, of a task.
        gains: what could be changed -> how many times as fast a step then was, best first.
    """

    machine: Machine
    task: str | None = None
    step_ms: dict[str, float] | None = None
    flops_s: float | None = None
    choice: Choice | None = None
    gains: dict[str, float] | None = None

    def to_dict(self) -> dict[str, Any]:
        told = asdict(self) | {"choice": None if self.choice is None else self.choice.to_dict()}
        return told | {"machine": asdict(self.machine)}

    def __str__(self) -> str:
        lines = [str(self.machine)]
        if self.step_ms is not None:
            whole = sum(self.step_ms.values())
            shares = "  ".join(f"{name} {ms:.2f} ({ms / whole:.0%})" for name, ms in self.step_ms.items())
            lines += [f"{self.task}: a step takes {whole:.2f} ms: {shares}"]
        if self.flops_s is not None:
            share = self.flops_s / self.machine.ceilings.float32_flops
            lines += [f"its arithmetic runs at {si(self.flops_s)}FLOP/s, {share:.0%} of this machine's products in float32"]
        for what, gain in (self.gains or {}).items():
            lines += [f"  {what}: {gain:.2f}x"]
        return "\n".join(lines + self._advice())

    def _advice(self) -> list[str]:
        if self.step_ms is None:
            return []
        best, gain = next(iter((self.gains or {}).items()), ("", 1.0))
        if self.choice is not None:  # which takes more than the fastest into account
            best, gain = f"fit(..., plan={self.choice.plan!r})", self.choice.gain
        if gain > WORTH:
            return [f"best: {best}, {gain:.2f}x"]
        heaviest = max(self.step_ms, key=lambda name: self.step_ms[name])  # type: ignore[index]
        return [f"nothing that was timed is faster; most of a step is {heaviest}"]


def doctor(subject: Any = None, recipe: Any = None, *, seed: int = 0, device: Any = None) -> Diagnosis:
    """Look at the machine, and at a step of a training on it.

    Args:
        subject: a Task or anything `steepest.task` takes; a function without arguments that makes one training step of your
            own (dozens are made, and what it trains is trained), or returns such a function; `"file.py:function"`, which
            returns a task or a step; None: the machine alone.
        recipe: how to learn, as `fit` takes it.
        seed: of weights and batches.
        device: where; None: CUDA when there is one.

    Raises:
        InputError: what cannot be trained, in one line.

    >>> found = doctor("iris", "adamw(0.01)")
    >>> sorted(found.step_ms)
    ['backward', 'data', 'forward', 'loop', 'optimizer']
    """
    where = choose_device(device)
    known = cpu_flags()
    machine = Machine(
        name_of_device(where), len(_cores()),
        tuple(unit for unit in UNITS if unit in known), memory_bytes(), torch.__version__, ceilings(where),
    )  # fmt: skip
    if isinstance(subject, str) and ".py:" in subject:
        subject = called(subject)
        if not isinstance(subject, Task) and not callable(subject):
            raise InputError(f"the function must return a Task, or a function that makes one step (got {subject!r})")
    if subject is None:
        return Diagnosis(machine)
    if callable(subject) and not isinstance(subject, type | torch.nn.Module):
        return _of_step(machine, subject, where)
    return _of_task(machine, task(subject), recipe, seed, where)


def _cores() -> Any:
    import os

    return os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else range(os.cpu_count() or 1)


# -- of a task --------------------------------------------------------------------------------------------------------


def _of_task(machine: Machine, job: Task, recipe: Any, seed: int, device: torch.device) -> Diagnosis:
    recipe = as_recipe(recipe) or default_recipe(job.data.form, job.data.size("train"), job.model)
    training, apart = (prepare(job, recipe, seed=seed, device=device) for _ in range(2))
    with KeptMemory(device):
        choice = measured(Bench(training, training.gradient), training.total_steps, default_plan(training), even_if_short=True)
        for each in (training, apart):
            each.follow(choice.plan)
        with Threads(choice.plan.threads):
            phases = _phases(apart)
        step_s = max(_loop_s(training), sum(phases.values()))
    step_ms = {name: 1e3 * seconds for name, seconds in (phases | {"loop": step_s - sum(phases.values())}).items()}
    flops_s = None if training.cost is None else flops_of(training) / step_s
    first = choice.timings[0]
    gains = {str(t.plan): first.step_s / t.step_s for t in choice.timings[1:] if t.seconds and t.out in (None, "slower")}
    return Diagnosis(machine, job.name, step_ms, flops_s, choice, _by_gain(gains))


def _loop_s(training: Training) -> float:
    """Return the seconds of a step in the loop as `fit` runs it."""
    training.total_steps = WARM_UP + STEPS
    with closing(steps(training.task, training=training, evaluate_every=WARM_UP + STEPS + 1)) as loop:
        events = (event for event in loop if isinstance(event, StepEvent))
        for _ in islice(events, WARM_UP):
            pass
        began = time.perf_counter()
        made = sum(1 for _ in islice(events, STEPS - 1))
        wait_for(training.device)
        return (time.perf_counter() - began) / max(1, made)


def _phases(t: Training) -> dict[str, float]:
    """Return the mean seconds of each phase of a step, each waited for; of a step in pieces, of one times their number."""
    spent = dict.fromkeys(PHASES[:-1], 0.0)
    size = min(t.batch, len(t.train))
    piece = min(size, t.plan.micro_batch or size)
    rows, pieces = torch.arange(piece, device=t.device), math.ceil(size / piece)
    t.model.train()
    for i in range(WARM_UP + STEPS):
        marks = [time.perf_counter()]

        def mark(marks: list[float] = marks) -> None:
            wait_for(t.device)
            marks.append(time.perf_counter())

        with RandomStream(t.seed, t.device):
            context = t.context(*t.batch_at(rows, i))
            mark()
            back = _forward(context)
            mark()
            back()
            mark()
            t.update()
            mark()
        for name, begin, end in zip(spent, marks, marks[1:], strict=False):
            spent[name] += (end - begin) * (1 if name == "optimizer" else pieces) if i >= WARM_UP else 0.0
    return {name: seconds / STEPS for name, seconds in spent.items()}


def _forward(context: StepContext) -> Callable[[], Any]:
    """Do the forward pass and the loss of a step as `plain` does, all rows at once, and return its backward pass."""
    dense = context.dense
    if dense is not None and dense.serves(context.model, context.objective, context.loss):
        outputs = dense.outputs(context.inputs)
        gradient = loss_and_gradient(context.objective, context.loss, outputs, context.targets)[1]
        return lambda: dense.backward(gradient)
    for p in context.parameters:
        p.grad = None
    with Tf32(context.precision == TF32):
        loss = context.loss(context.outputs(context.inputs), context.targets)
        if context.objective.l1 or context.objective.l2:
            loss = loss + context.objective.penalty(context.model)
    return lambda: context.backward(loss)


# -- of a function that makes a step ----------------------------------------------------------------------------------


def _of_step(machine: Machine, step: Callable[[], Any], device: torch.device) -> Diagnosis:
    """Time a step of the caller's own as it is, with one thread and under autocast; the profiler says where its time goes.

    A function that returns such a step is called for it.
    """
    with blaming("your step"):
        made = step()
    if callable(made) and not isinstance(made, torch.nn.Module):
        step = made
    ways: dict[str, Plan] = {AS_IT_IS: Plan()}
    if device.type == "cpu" and torch.get_num_threads() > 1:
        ways["torch.set_num_threads(1)"] = Plan(threads=1)
    if has_bfloat16(device):
        ways[f"torch.autocast({device.type!r}, torch.bfloat16)"] = Plan(precision="bfloat16")
    found: dict[str, list[float]] = {name: [] for name in ways}
    for round_ in range(WARM_UP + STEPS // 2):
        for name in tuple(found):
            try:
                seconds = _step_s(step, ways[name], device)
            except InputError:
                if name == AS_IT_IS:
                    raise
                del found[name]  # what autocast does not allow is no fault of the step
                continue
            found[name] += [seconds] if round_ >= WARM_UP else []
    middle = {name: sorted(seconds)[len(seconds) // 2] for name, seconds in found.items()}
    gains = {name: middle[AS_IT_IS] / seconds for name, seconds in middle.items() if name != AS_IT_IS}
    shares = _profiled(step, device)
    step_ms = {name: 1e3 * middle[AS_IT_IS] * share for name, share in shares.items()}
    return Diagnosis(machine, getattr(step, "__name__", "your step"), step_ms, None, None, _by_gain(gains))


def _step_s(step: Callable[[], Any], plan: Plan, device: torch.device) -> float:
    half = torch.autocast(device.type, torch.bfloat16, enabled=plan.precision != FLOAT32)
    with Threads(plan.threads), half, blaming("your step"):
        began = time.perf_counter()
        step()
        wait_for(device)
        return time.perf_counter() - began


RANGES = {"Optimizer.step": "optimizer", "autograd::engine::evaluate_function": "backward", "enumerate(DataLoader)": "data"}


def _profiled(step: Callable[[], Any], device: torch.device) -> dict[str, float]:
    """Return the share of each phase by torch's profiler; what is in no range that it names is the forward pass."""
    from torch.profiler import ProfilerActivity, profile

    with profile(activities=[ProfilerActivity.CPU]) as seen:
        began = time.perf_counter()
        for _ in range(WARM_UP):
            with blaming("your step"):
                step()
        wait_for(device)
        whole = time.perf_counter() - began
    spent: dict[str, float] = dict.fromkeys(("data", "forward", "backward", "optimizer"), 0.0)
    for event in seen.key_averages():
        name = next((phase for begins, phase in RANGES.items() if event.key.startswith(begins)), None)
        if name is not None:
            spent[name] += event.cpu_time_total / 1e6
    whole = max(whole, sum(spent.values()))
    spent["forward"] = whole - sum(spent.values())
    return {name: seconds / whole for name, seconds in spent.items()}


def _by_gain(gains: dict[str, float]) -> dict[str, float]:
    return dict(sorted(gains.items(), key=lambda item: -item[1]))
