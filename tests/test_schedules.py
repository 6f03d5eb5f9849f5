"""Every schedule against torch's schedulers or its closed form."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch

import steepest
from steepest.recipes import read

T = 40
s = torch.optim.lr_scheduler

# name -> our schedule, torch's scheduler or the closed form, over the first T steps
CASES: dict[str, tuple[steepest.Schedule, Any]] = {
    "constant": (steepest.constant(), lambda t: 1.0),
    "exponential": (steepest.exponential(0.9, steps=1), lambda opt: s.ExponentialLR(opt, 0.9)),
    "exponential slow": (steepest.exponential(0.5, steps=10), lambda t: 0.5 ** (t / 10)),
    "linear": (steepest.linear(steps=T), lambda opt: s.PolynomialLR(opt, T, power=1.0)),
    "linear end": (steepest.linear(steps=20, end=0.1), lambda opt: s.LinearLR(opt, 1.0, 0.1, 20)),
    "polynomial": (steepest.polynomial(2.5, steps=T), lambda opt: s.PolynomialLR(opt, T, power=2.5)),
    "inverse time": (steepest.inverse_time(0.5, steps=4), lambda opt: s.LambdaLR(opt, lambda t: 1 / (1 + 0.5 * t / 4))),
    "step": (steepest.step_decay(0.3, steps=7), lambda opt: s.StepLR(opt, 7, 0.3)),
    "cosine": (steepest.cosine(steps=T), lambda opt: s.CosineAnnealingLR(opt, T)),
    "cosine end": (steepest.cosine(steps=T, end=0.2), lambda opt: s.CosineAnnealingLR(opt, T, eta_min=0.2)),
    "one cycle": (steepest.one_cycle(steps=T), lambda opt: s.OneCycleLR(opt, 1.0, T, cycle_momentum=False)),
    "one cycle options": (
        steepest.one_cycle(steps=T, up=0.5, div=10, final_div=100),
        lambda opt: s.OneCycleLR(opt, 1.0, T, pct_start=0.5, div_factor=10, final_div_factor=100, cycle_momentum=False),
    ),
    "warm-up": (steepest.warmup_hold_cooldown(steps=T, warmup=9), lambda t: min((t + 1) / 10, 1.0)),
    "trapezoid": (
        steepest.warmup_hold_cooldown(steps=T, warmup=4, cooldown=10),
        lambda t: (t + 1) / 5 if t < 4 else 1.0 if t < 30 else 1 - (t - 30) / 10,
    ),
    "sqrt cool-down": (
        steepest.warmup_hold_cooldown(steps=T, cooldown=16, shape="sqrt", end=0.1),
        lambda t: 1.0 if t < 24 else 0.1 + 0.9 * (1 - math.sqrt((t - 24) / 16)),
    ),
    "cosine after warm-up": (
        steepest.cosine(steps=T, warmup=10),
        lambda t: (t + 1) / 11 if t < 10 else 0.5 * (1 + math.cos(math.pi * (t - 10) / 30)),
    ),
}


def reference(other: Callable[[Any], Any]) -> list[float]:
    optimizer = torch.optim.SGD([torch.zeros(1)], lr=1.0)
    made = other(optimizer) if "opt" in other.__code__.co_varnames else None
    if made is None:
        return [other(t) for t in range(T)]
    factors = []
    for t in range(T):
        factors.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        if t < T - 1:
            made.step()
    return factors


@pytest.mark.parametrize("name", CASES)
def test_a_schedule_equals_its_reference(name: str) -> None:
    schedule, other = CASES[name]
    assert [schedule(t) for t in range(T)] == pytest.approx(reference(other), abs=1e-12)


@pytest.mark.parametrize("name", CASES)
def test_a_schedule_is_a_pure_function_of_the_step(name: str) -> None:
    schedule = CASES[name][0]
    forward = [schedule(t) for t in range(2 * T)]
    assert [schedule(t) for t in reversed(range(2 * T))] == forward[::-1]
    assert all(math.isfinite(factor) and factor >= 0 for factor in forward)
    assert read(repr(schedule)) == schedule


def test_durations_in_steps_epochs_and_shares_agree() -> None:
    in_steps = steepest.cosine(steps=100, warmup=10)
    in_epochs = steepest.cosine(epochs=10, warmup=1).resolved(10, None)
    in_shares = steepest.cosine(warmup=0.1).resolved(None, 100)
    for t in range(0, 120, 7):
        assert in_steps(t) == pytest.approx(in_epochs(t)) == pytest.approx(in_shares(t))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: steepest.cosine(steps=10, epochs=1), "give steps or epochs, not both"),
        (lambda: steepest.cosine(steps=0), "steps must be > 0 (got 0)"),
        (lambda: steepest.cosine(steps=10, warmup=11), "must fit into the whole schedule, 10"),
        (lambda: steepest.cosine(warmup=2), "(shares of the run)"),
        (lambda: steepest.step_decay(0.1), "needs steps=... or epochs=..."),
        (lambda: steepest.exponential(-1), "gamma must be > 0 (got -1)"),
        (lambda: steepest.warmup_hold_cooldown(steps=5, shape="x"), "shape must be 'linear' or 'sqrt'"),
        (lambda: steepest.cosine()(3), "has no length in steps here"),
        (lambda: steepest.one_cycle(steps=10, up=2), "up must be in [0, 1] (got 2)"),
    ],
)
def test_wrong_durations_are_told_in_one_line(make: Callable[[], Any], message: str) -> None:
    with pytest.raises(steepest.InputError) as caught:
        make()
    assert message in str(caught.value)
