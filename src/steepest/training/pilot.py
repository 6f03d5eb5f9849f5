"""The pilot: which plan a training is to be carried out by - from what is known where it is short, from measured steps else.

A candidate is timed on the training's own first batches, with a copy of its network and its optimizer; candidates take
turns, so that a slow spell of the machine falls on all alike. One whose losses leave those of float32 is out.
"""

from __future__ import annotations

import copy
import math
import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from itertools import cycle, islice
from typing import Any

import torch
from torch import Tensor, nn

from ..data.archives import free_memory
from ..data.batches import batch_bounds, epoch_order
from ..data.gathering import Mapped, reading_ahead
from ..errors import InputError, cut, first_line
from ..gradient import GradientFunction, plain
from ..machine import has_bfloat16, lacks_cores
from ..optimizer import Optimizer
from ..plans import BFLOAT16, FLOAT16, FLOAT32, TF32, Plan
from .known import default_plan, flops_of, has, longest_s, may_round, runs_in_c
from .randomness import RandomStream
from .remembered import keep, key_of, recall
from .settings import Tf32, Threads
from .setup import Training

SHORT_S = 60.0  # below, nothing is measured
BUDGET_S, BUDGET_SHARE = 5.0, 0.03  # what measuring may take, of what the training is expected to
ROUNDS, MOST_STEPS = 5, 64  # of each candidate that is still in; steps of a round
SLOWER = 1.25  # than the best so far: out after one round
UNSEEN = 2.0  # times as long as the slowest step so far a candidate's first may take
NO_TIME = "no time was left"
WORTH, WORTH_ROUNDING = 1.03, 1.1  # gains below which nothing is changed, and products are not rounded
CHECKED, TOLERANCE = 3, 0.02  # steps whose losses are compared with float32's, and how far apart they may lie, relatively
FEW_ROUNDS, FEW_STEPS = 2, 5  # of several threads and of one, where a training is short
FRAGILE_FLOPS, HINDERS = 5e8, 1.15  # of a step; how much slower several threads must be, because the digits change with them
COMPILE_S = 40.0  # that torch.compile takes, at most, on the networks of docs/plans.md


@dataclass
class Timing:
    """A candidate: its plan, the seconds of its steps, and why it is out."""

    plan: Plan
    seconds: list[float] = field(default_factory=list)
    losses: list[float] = field(default_factory=list)  # of its first steps, from the weights that all begin with
    out: str | None = None

    @property
    def step_s(self) -> float:
        return statistics.median(self.seconds) if self.seconds else math.inf


@dataclass(frozen=True)
class Choice:
    """The plan that was taken, and what it rests on.

    Attributes:
        plan: what the training is carried out by.
        source: "given", "default" (from what is known), "measured", or "measured before" on this machine.
        timings: all candidates, the first one float32 as it stands.
        spent_s: what measuring took.
        budget_s: what it was allowed to take.
    """

    plan: Plan
    source: str
    timings: tuple[Timing, ...] = ()
    spent_s: float = 0.0
    budget_s: float = 0.0

    @property
    def gain(self) -> float:
        """How many times as fast the plan is as the first candidate; 1 where nothing was measured."""
        chosen = next((timing for timing in self.timings if timing.plan == self.plan), None)
        return self.timings[0].step_s / chosen.step_s if chosen and self.timings[0].seconds else 1.0

    def to_dict(self) -> dict[str, Any]:
        timings = [{"plan": repr(t.plan), "step_s": t.seconds, "losses": t.losses, "out": t.out} for t in self.timings]
        told = {"plan": repr(self.plan), "source": self.source, "gain": self.gain, "timings": timings}
        return told | {"spent_s": self.spent_s, "budget_s": self.budget_s}

    def __str__(self) -> str:
        if self.source != "measured":
            return f"plan: {self.plan} ({self.source})"
        return f"plan: {self.plan} ({self.gain:.2f}x; {len(self.timings)} measured in {self.spent_s:.1f} s)"


def choose(training: Training, plan: Plan | None, num_steps: int, gradient: GradientFunction) -> Choice:
    """Return the plan to take: the one given, that of what is known below a minute, else the fastest that was measured."""
    if plan is not None:
        return Choice(plan, "given")
    known = default_plan(training)
    if longest_s(training, num_steps) < SHORT_S:
        return _alone_where_others_hinder(training, known, num_steps, gradient)
    key = key_of(training, gradient)
    if (before := recall(key, num_steps)) is not None:
        return Choice(_within(known, before), "measured before")
    training.clock.to("pilot")
    try:
        choice = _looked_at(Bench(training, gradient), num_steps, known)
    except Exception:  # a network of the caller's that cannot be copied, say; what fails in training is told there
        choice = Choice(known, "default")
    training.clock.to("data")
    if choice.source == "measured":
        keep(key, choice.to_dict(), num_steps)
    return choice


def _alone_where_others_hinder(training: Training, known: Plan, num_steps: int, gradient: GradientFunction) -> Choice:
    """Return what is known, but one thread where others hinder.

    In steps of half a millisecond threads wait for one another whenever another process takes the core of one. A few steps of
    both kinds tell, and the system does: rare, long waits do not show in a few steps.
    """
    made = 2 * FEW_ROUNDS * FEW_STEPS
    is_asked = known.threads is None and torch.get_num_threads() > 1 and training.device.type == "cpu" and gradient is plain
    if not is_asked or made > BUDGET_SHARE * num_steps or not runs_in_c(training) or flops_of(training) > FRAGILE_FLOPS:
        return Choice(known, "default")
    training.clock.to("pilot")
    began, bench = time.perf_counter(), Bench(training, gradient)
    bench.steps = FEW_STEPS
    together, alone = timings = Timing(known), Timing(replace(known, threads=1))
    busy = True  # at every one of these moments
    for timing in timings * FEW_ROUNDS:
        bench.run(timing)
        busy = busy and lacks_cores(torch.get_num_threads())
    training.clock.to("data")
    found = {"timings": timings, "spent_s": time.perf_counter() - began, "budget_s": BUDGET_SHARE * num_steps * together.step_s}
    if busy or together.step_s > HINDERS * alone.step_s:
        return Choice(alone.plan, "measured", **found)
    return Choice(known, "default", **found)


def _within(known: Plan, kept: Plan) -> Plan:
    """Return a plan kept from another time with what fits into memory now; what does not go with that is left out."""
    in_pieces = known.micro_batch is not None or known.checkpointing
    compiles, graphs = kept.compile and not known.checkpointing, kept.graphs and not in_pieces
    fits = {"micro_batch": known.micro_batch, "checkpointing": known.checkpointing}
    return replace(kept, **fits, compile=compiles, graphs=graphs)


def _looked_at(bench: Bench, num_steps: int, known: Plan) -> Choice:
    """Return what is known, if one step shows that all of them take less than a minute, else what is measured.

    The first step is a training's slowest: it makes room in memory that the others find made.
    """
    began, first = time.perf_counter(), Timing(known)
    bench.attempt(first, first, 1)
    bench.copies.clear()  # all candidates begin with the same weights
    spent_s = time.perf_counter() - began
    if first.out is None and num_steps * first.step_s < SHORT_S:
        return Choice(known, "default", spent_s=spent_s)
    return measured(bench, num_steps, known, began=began)


def candidates(training: Training, known: Plan) -> list[Plan]:
    """Return what is worth timing for a network on a device: float32 as it stands, then the most promising first.

    All of them put as many rows through the network at once as what is `known` does: more do not fit into memory.
    """
    device = training.device
    rounded = [BFLOAT16] if has_bfloat16(device) else [FLOAT16] if device.type == "cuda" else []
    precisions = rounded + ([TF32] if device.type == "cuda" else [])
    layouts = (True, False) if has(training.model, nn.Conv2d) else (False,)
    usable = [*precisions, FLOAT32] if may_round(training) else [FLOAT32]
    first = Plan(micro_batch=known.micro_batch, checkpointing=known.checkpointing)
    others = (replace(first, precision=one, channels_last=layout) for one in usable for layout in layouts)
    return list(dict.fromkeys([first, known, *others]))


def variants(bench: Bench, best: Plan) -> list[Plan]:
    """Return what else is worth timing of the best plan: fewer threads on a CPU, in float32 too, CUDA graphs, rows on disk not
    read ahead.

    Rows are read ahead in any case where memory does not hold the file: the steps that are timed would not show it.
    """
    where, rows, found = bench.training.device.type, bench.training.train.inputs, []
    if where == "cpu":
        have = torch.get_num_threads()
        fewer = sorted({1, have // 2} - {0, have}, reverse=True)
        found += [replace(best, threads=n, precision=p) for n in fewer for p in dict.fromkeys((best.precision, FLOAT32))]
    elif where == "cuda" and best.micro_batch is None and not best.checkpointing and bench.gradient is plain:
        found += [replace(best, graphs=True)]
    if isinstance(rows, Mapped) and rows.lines.nbytes < HELD_SHARE * free_memory():
        found += [replace(best, prefetch=False)]
    return found


HELD_SHARE = 0.5  # of the free memory: so large a file the system holds


def measured(bench: Bench, num_steps: int, known: Plan, *, even_if_short: bool = False, began: float | None = None) -> Choice:
    """Time candidates within the budget, then numbers of threads for the best of them, and return the choice.

    The budget counts from when it `began`, or from now.
    """
    began = time.perf_counter() if began is None else began
    timings = [Timing(plan) for plan in candidates(bench.training, known)]
    bench.run(timings[0])
    expected_s = num_steps * timings[0].step_s
    budget_s = BUDGET_S if even_if_short else min(BUDGET_S, BUDGET_SHARE * expected_s)
    if expected_s < SHORT_S and not even_if_short:
        return Choice(known, "default", tuple(timings[:1]), time.perf_counter() - began, budget_s)
    bench.steps = min(max(2, int(0.7 * budget_s / (ROUNDS * len(timings) * timings[0].step_s))), MOST_STEPS)
    bench.tournament(timings, began + 0.7 * budget_s)
    if any(timing.plan == known and timing.out == NO_TIME for timing in timings):
        return Choice(known, "default", tuple(timings), time.perf_counter() - began, budget_s)
    best = _best(timings, timings[0])
    known_of = {timing.plan for timing in timings}  # their copies have been trained
    others = [Timing(plan) for plan in variants(bench, best.plan) if plan not in known_of]
    bench.tournament([best, *others], began + budget_s)
    best = _best([best, *others], best)
    compiled = _compiled(bench, best, timings[0], num_steps)
    best = _best([best, *compiled], best)
    return Choice(best.plan, "measured", (*timings, *others, *compiled), time.perf_counter() - began, budget_s)


def _compiled(bench: Bench, best: Timing, first: Timing, num_steps: int) -> list[Timing]:
    """Time the best plan compiled, where `BUDGET_SHARE` of the training is long enough for torch to compile; else nothing.

    It is out unless the steps to come repay what compiling took.
    """
    if BUDGET_SHARE * num_steps * best.step_s < COMPILE_S or best.plan.checkpointing:
        return []
    timing, began = Timing(replace(best.plan, compile=True, graphs=False)), time.perf_counter()
    bench.attempt(timing, first)
    if timing.out is None:
        compiling_s = time.perf_counter() - began - bench.steps * timing.step_s
        bench.tournament([best, timing], time.perf_counter() + BUDGET_S)
        if timing.out is None and num_steps * (best.step_s - timing.step_s) < compiling_s:
            timing.out = f"compiling took {compiling_s:.0f} s, which its steps do not repay"
    return [timing]


def _best(timings: Sequence[Timing], first: Timing) -> Timing:
    """Return the fastest candidate that is not out, of those that gain enough over the first; one that rounds its products only
    if it gains enough over those that do not.
    """

    def gains(timing: Timing) -> bool:
        return first.step_s > (WORTH if timing.plan.precision == first.plan.precision else WORTH_ROUNDING) * timing.step_s

    found = [timing for timing in timings if timing.out is None and gains(timing)]
    best = min(found, key=lambda timing: timing.step_s, default=first)
    exact = [timing for timing in found if timing.plan.precision == FLOAT32]
    if best.plan.precision == FLOAT32 or not exact:
        return best
    fastest = min(exact, key=lambda timing: timing.step_s)
    return best if fastest.step_s > WORTH_ROUNDING * best.step_s else fastest


class Bench:
    """Copies of a training that make its first steps as candidates would have them made; the training itself is not touched."""

    def __init__(self, training: Training, gradient: GradientFunction) -> None:
        self.training, self.gradient = training, gradient
        order = epoch_order(len(training.train), training.seed, 0).to(training.device)
        bounds = batch_bounds(len(training.train), training.batch)[:MOST_STEPS]
        self.batches = [order[begin:end] for begin, end in bounds]
        self.steps = CHECKED  # of a round, the first of which warms up
        self.slowest_s = 0.0  # the longest step so far
        self.copies: dict[Plan, Training] = {}

    def run(self, timing: Timing, steps: int | None = None, ends: float = math.inf) -> None:
        """Make a few steps of a candidate while there is time, and count the seconds of each but the first, which warms up."""
        if timing.plan not in self.copies:
            self.copies[timing.plan] = self._copy(timing.plan)
        t = self.copies[timing.plan]
        batches = list(islice(cycle(self.batches), steps or self.steps))
        with Threads(timing.plan.threads), reading_ahead(t.train.inputs, batches if timing.plan.prefetch else ()):
            made = [self._step(t, batches[0])]
            for rows in batches[1:]:
                if time.perf_counter() + made[-1][0] > ends:
                    break
                made.append(self._step(t, rows))
        self.slowest_s = max(self.slowest_s, *(seconds for seconds, _ in made))
        timing.seconds += [seconds for seconds, _ in made[len(batches) > 1 :]]
        timing.losses = timing.losses or [loss for _, loss in made[:CHECKED]]

    def tournament(self, timings: Sequence[Timing], ends: float) -> None:
        """Run candidates in turns until the time is up; who is far behind the best after a round is out."""
        for round_ in range(ROUNDS):
            for timing in timings:
                if timing.out or (timing.seconds and not round_):  # who was timed before waits for the others
                    continue
                expected_s = self.steps * timing.step_s if timing.seconds else UNSEEN * self.slowest_s
                if time.perf_counter() + expected_s < ends:
                    self.attempt(timing, timings[0], ends=ends)
            best = min((timing.step_s for timing in timings if timing.out is None), default=math.inf)
            for timing in timings[1:]:
                if timing.out is None and timing.step_s > SLOWER * best:
                    timing.out = "slower" if timing.seconds else NO_TIME

    def attempt(self, timing: Timing, first: Timing, steps: int | None = None, ends: float = math.inf) -> None:
        """Run a candidate; who fails, or strays from the losses of the first, is out."""
        try:
            self.run(timing, steps, ends)
        except (RuntimeError, InputError) as error:  # what this precision, or layout, lacks; too little memory
            timing.out = cut(first_line(error))
            return
        timing.out = None if timing is first else _strays(timing, first)

    def _copy(self, plan: Plan) -> Training:
        model, whole = copy.deepcopy(self.training.model), self.training
        lengths = {"steps_per_epoch": whole.steps_per_epoch, "total_steps": whole.total_steps}
        made = replace(whole, model=model, optimizer=Optimizer(model, whole.recipe.rule, **lengths))
        made.follow(plan)
        return made

    def _step(self, t: Training, rows: Tensor) -> tuple[float, float]:
        """Return the seconds of one step, and its loss."""
        began = time.perf_counter()
        with RandomStream(t.seed, t.device):
            inputs, targets = t.batch_at(rows, 0)
            with Tf32(t.plan.precision == TF32):
                loss = t.step(self.gradient, inputs, targets).loss
        value = loss.item()  # waits for a device
        return time.perf_counter() - began, value


def _strays(timing: Timing, first: Timing) -> str | None:
    """Return why the losses of a candidate are not those of float32, or None."""
    for mine, theirs in zip(timing.losses, first.losses, strict=False):
        if not abs(mine - theirs) <= TOLERANCE * max(1.0, abs(theirs)):
            return f"a loss of {mine:.4g} where float32 has {theirs:.4g}"
    return None
