"""Every rule against someone else's truth: torch.optim, or optax where torch has none, over 100 steps in float64.

A new rule is one line in `CASES`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import optax
import pytest
import torch

import steepest
from steepest.kernels import fused

STEPS = 100
TOLERANCE = {torch.float64: 1e-12}
SHAPES = [(3, 4), (7,), (1,), (), (0,), (5, 2, 3)]
MATRICES = [(6, 4), (4, 6), (5, 5), (1, 3)]

o = torch.optim
# name -> our rule, its reference
CASES: dict[str, tuple[Callable[[], steepest.Rule], Any]] = {
    "sgd": (lambda: steepest.sgd(0.1), lambda ps: o.SGD(ps, lr=0.1)),
    "sgd l2": (lambda: steepest.sgd(0.1, weight_decay=0.03), lambda ps: o.SGD(ps, lr=0.1, weight_decay=0.03)),
    "momentum": (lambda: steepest.momentum(0.05), lambda ps: o.SGD(ps, lr=0.05, momentum=0.9)),
    "momentum damped": (
        lambda: steepest.momentum(0.05, momentum=0.8, dampening=0.3, weight_decay=0.01),
        lambda ps: o.SGD(ps, lr=0.05, momentum=0.8, dampening=0.3, weight_decay=0.01),
    ),
    "nesterov": (lambda: steepest.nesterov(0.05), lambda ps: o.SGD(ps, lr=0.05, momentum=0.9, nesterov=True)),
    "ema_momentum": (lambda: steepest.ema_momentum(0.1), optax.chain(optax.ema(0.9, debias=False), optax.scale(-0.1))),
    "adagrad": (lambda: steepest.adagrad(0.1), lambda ps: o.Adagrad(ps, lr=0.1)),
    "adagrad options": (
        lambda: steepest.adagrad(0.1, initial_accumulator_value=0.1, eps=1e-6, weight_decay=0.01),
        lambda ps: o.Adagrad(ps, lr=0.1, initial_accumulator_value=0.1, eps=1e-6, weight_decay=0.01),
    ),
    "adagrad lr_decay": (
        lambda: steepest.adagrad(0.1, schedule=steepest.inverse_time(0.2, steps=1)),
        lambda ps: o.Adagrad(ps, lr=0.1, lr_decay=0.2),
    ),
    "adadelta": (steepest.adadelta, o.Adadelta),
    "adadelta rho": (
        lambda: steepest.adadelta(0.5, rho=0.95, weight_decay=0.1),
        lambda ps: o.Adadelta(ps, lr=0.5, rho=0.95, weight_decay=0.1),
    ),
    "rmsprop": (lambda: steepest.rmsprop(0.01), lambda ps: o.RMSprop(ps, lr=0.01)),
    "rmsprop centered": (
        lambda: steepest.rmsprop(0.01, centered=True),
        lambda ps: o.RMSprop(ps, lr=0.01, centered=True),
    ),
    "rmsprop momentum": (
        lambda: steepest.rmsprop(0.01, alpha=0.9, momentum=0.5, weight_decay=0.1),
        lambda ps: o.RMSprop(ps, lr=0.01, alpha=0.9, momentum=0.5, weight_decay=0.1),
    ),
    "adam": (lambda: steepest.adam(0.01), lambda ps: o.Adam(ps, lr=0.01)),
    "adam l2": (
        lambda: steepest.adam(0.01, b1=0.8, b2=0.95, eps=1e-3, weight_decay=0.1),
        lambda ps: o.Adam(ps, lr=0.01, betas=(0.8, 0.95), eps=1e-3, weight_decay=0.1),
    ),
    "adamw": (lambda: steepest.adamw(0.01, weight_decay=0.1), lambda ps: o.AdamW(ps, lr=0.01, weight_decay=0.1)),
    "lion": (lambda: steepest.lion(0.01), optax.lion(0.01, weight_decay=0.0)),
    "lion decay": (lambda: steepest.lion(0.01, weight_decay=0.1), optax.lion(0.01, weight_decay=0.1)),
    "clip value": (
        lambda: steepest.chain(steepest.clip_value(0.3), steepest.sgd(0.1)),
        optax.chain(optax.clip(0.3), optax.sgd(0.1)),
    ),
    "clip norm": (lambda: steepest.chain(steepest.clip_global_norm(0.5), steepest.adam(0.01)), None),
}


def gradients(shapes: list[tuple[int, ...]], seed: int = 0) -> list[list[np.ndarray]]:
    """The same pseudo-random gradients for both sides; some exactly zero, sizes over four decades."""
    rng = np.random.default_rng(seed)
    return [
        [rng.standard_normal(shape) * 10.0 ** rng.integers(-2, 2) * (rng.random(shape) > 0.1) for shape in shapes]
        for _ in range(STEPS)
    ]


def start(shapes: list[tuple[int, ...]]) -> list[np.ndarray]:
    rng = np.random.default_rng(1)
    return [rng.standard_normal(shape) for shape in shapes]


def train_torch(
    make: Callable[[list[torch.Tensor]], torch.optim.Optimizer],
    shapes: list[tuple[int, ...]],
    clip: float | None = None,
) -> list[np.ndarray]:
    params = [torch.tensor(p, requires_grad=True) for p in start(shapes)]
    optimizer = make(params)
    for grads in gradients(shapes):
        for p, g in zip(params, grads, strict=True):
            p.grad = torch.tensor(g) + 0.1 * p.detach()  # the parameter feeds back, so that errors would grow
        if clip is not None:
            torch.nn.utils.clip_grad_norm_(params, clip)
        optimizer.step()
    return [p.detach().numpy() for p in params]


def train_optax(transformation: optax.GradientTransformation, shapes: list[tuple[int, ...]]) -> list[np.ndarray]:
    import jax

    jax.config.update("jax_enable_x64", True)
    params = [jax.numpy.asarray(p) for p in start(shapes)]
    state = transformation.init(params)
    update = jax.jit(transformation.update)
    for grads in gradients(shapes):
        updates, state = update([g + 0.1 * p for g, p in zip(grads, params, strict=True)], state, params)
        params = optax.apply_updates(params, updates)
    return [np.asarray(p) for p in params]


def reference(name: str, shapes: list[tuple[int, ...]]) -> list[np.ndarray]:
    other = CASES[name][1]
    if name == "clip norm":
        return train_torch(lambda ps: o.Adam(ps, lr=0.01), shapes, clip=0.5)
    return train_torch(other, shapes) if callable(other) and not isinstance(other, tuple) else train_optax(other, shapes)


@pytest.mark.parametrize("execution", ["eager", "fused"])
@pytest.mark.parametrize("name", CASES)
def test_a_rule_equals_its_reference(name: str, execution: str, monkeypatch: pytest.MonkeyPatch) -> None:
    recognised: list[Any] = []
    if execution == "eager":
        monkeypatch.setattr(fused, "recognise", lambda links: "turned off")

    def make(params: list[torch.Tensor]) -> torch.optim.Optimizer:
        optimizer = steepest.Optimizer(params, CASES[name][0]())
        recognised.append(optimizer.plan().rows[0]["execution"])
        return optimizer

    ours = train_torch(make, SHAPES)
    if execution == "fused" and recognised == ["eager"]:
        assert steepest.Optimizer([torch.zeros(1)], CASES[name][0]()).plan().rows[0]["reason"]
    for mine, theirs in zip(ours, reference(name, SHAPES), strict=True):
        np.testing.assert_allclose(mine, theirs, rtol=0, atol=TOLERANCE[torch.float64])
