"""Someone else's truth, and how both sides are trained: torch.optim, optax, or a paper's formula written out in NumPy here.

A formula is a function `(params, grads, state, t) -> params` over lists of arrays, `t` from 1, `state` a dict of its own.
Keras' forms are those of keras 3; MARS, Prodigy and D-Adaptation follow the authors' published code.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import optax
import torch

from steepest.kernels.random import key_of, standard_normal

STEPS = 100
Arrays = list[np.ndarray]
Shapes = list[tuple[int, ...]]


# -- training ---------------------------------------------------------------------------------------------------------


def gradients(shapes: Shapes, seed: int = 0) -> list[Arrays]:
    """The same pseudo-random gradients for both sides; some exactly zero, sizes over four decades."""
    rng = np.random.default_rng(seed)
    return [
        [rng.standard_normal(shape) * 10.0 ** rng.integers(-2, 2) * (rng.random(shape) > 0.1) for shape in shapes]
        for _ in range(STEPS)
    ]


def start(shapes: Shapes) -> Arrays:
    rng = np.random.default_rng(1)
    return [rng.standard_normal(shape) for shape in shapes]


@contextmanager
def in_double() -> Iterator[None]:
    """Have torch keep what it keeps in its default dtype, numbers of ASGD and NAdam, in double precision."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(before)


def train_torch(
    make: Callable[[list[torch.Tensor]], torch.optim.Optimizer],
    shapes: Shapes,
    clip: float | None = None,
) -> Arrays:
    params = [torch.tensor(p, requires_grad=True) for p in start(shapes)]
    optimizer = make(params)
    for grads in gradients(shapes):
        for p, g in zip(params, grads, strict=True):
            p.grad = torch.tensor(g) + 0.1 * p.detach()  # the parameter feeds back, so that errors would grow
        if clip is not None:
            torch.nn.utils.clip_grad_norm_(params, clip)
        optimizer.step()
    return [p.detach().numpy() for p in params]


def train_optax(transformation: optax.GradientTransformation, shapes: Shapes) -> Arrays:
    import jax

    jax.config.update("jax_enable_x64", True)
    params = [jax.numpy.asarray(p) for p in start(shapes)]
    state = transformation.init(params)
    update = jax.jit(transformation.update)
    for grads in gradients(shapes):
        updates, state = update([g + 0.1 * p for g, p in zip(grads, params, strict=True)], state, params)
        params = optax.apply_updates(params, updates)
    return [np.asarray(p) for p in params]


@dataclass(frozen=True)
class Formula:
    """A reference written in NumPy."""

    update: Callable[[Arrays, Arrays, dict[str, Any], int], Arrays]


def train_numpy(formula: Formula, shapes: Shapes) -> Arrays:
    params, state = start(shapes), {}
    for t, grads in enumerate(gradients(shapes), 1):
        fed = [g + 0.1 * p for g, p in zip(grads, params, strict=True)]
        params = formula.update(params, fed, state, t)
    return params


def train_reference(other: Any, shapes: Shapes, clip: float | None = None) -> Arrays:
    """Train a torch optimizer (a function of the parameters), an optax transformation or a formula."""
    if isinstance(other, Formula):
        return train_numpy(other, shapes)
    if isinstance(other, tuple):
        return train_optax(other, shapes)
    with in_double():
        return train_torch(other, shapes, clip)


# -- formulas ---------------------------------------------------------------------------------------------------------


def elementwise(step: Callable[..., np.ndarray]) -> Formula:
    """Return the formula of a rule that takes tensor by tensor: `step(p, g, state, t) -> p`."""

    def update(params: Arrays, grads: Arrays, state: dict[str, Any], t: int) -> Arrays:
        states = state.setdefault("of each", [{} for _ in params])
        return [step(p, g, own, t) for p, g, own in zip(params, grads, states, strict=True)]

    return Formula(update)


def averages(s: dict[str, Any], g: np.ndarray, b1: float, b2: float) -> tuple[np.ndarray, np.ndarray]:
    """Take a gradient into Adam's two running averages."""
    s["m"] = b1 * s.get("m", 0 * g) + (1 - b1) * g
    s["v"] = b2 * s.get("v", 0 * g) + (1 - b2) * g * g
    return s["m"], s["v"]


def keras_adam(lr: float, b1: float, b2: float, eps: float, amsgrad: bool = False) -> Formula:
    def step(p: np.ndarray, g: np.ndarray, s: dict[str, Any], t: int) -> np.ndarray:
        m, v = averages(s, g, b1, b2)
        s["x"] = v if not amsgrad else np.maximum(s.get("x", 0 * g), v)
        return p - lr * math.sqrt(1 - b2**t) / (1 - b1**t) * m / (np.sqrt(s["x"]) + eps)

    return elementwise(step)


def keras_adamax(lr: float, b1: float, b2: float, eps: float) -> Formula:
    def step(p: np.ndarray, g: np.ndarray, s: dict[str, Any], t: int) -> np.ndarray:
        m, _ = averages(s, g, b1, b2)
        s["x"] = np.maximum(b2 * s.get("x", 0 * g), np.abs(g))
        return p - lr / (1 - b1**t) * m / (s["x"] + eps)

    return elementwise(step)


def keras_sgd(lr: Callable[[int], float], momentum: float, nesterov: bool) -> Formula:
    def step(p: np.ndarray, g: np.ndarray, s: dict[str, Any], t: int) -> np.ndarray:
        s["v"] = momentum * s.get("v", 0 * g) - lr(t) * g
        return p + (momentum * s["v"] - lr(t) * g if nesterov else s["v"])

    return elementwise(step)


def keras_rmsprop(lr: Callable[[int], float], rho: float, momentum: float, eps: float, centered: bool) -> Formula:
    def step(p: np.ndarray, g: np.ndarray, s: dict[str, Any], t: int) -> np.ndarray:
        s["v"] = rho * s.get("v", 0 * g) + (1 - rho) * g * g
        s["a"] = rho * s.get("a", 0 * g) + (1 - rho) * g
        s["B"] = momentum * s.get("B", 0 * g) + lr(t) * g / np.sqrt(s["v"] - centered * s["a"] ** 2 + eps)
        return p - s["B"]

    return elementwise(step)


def noisy(lr: float, eta: float, gamma: float, seed: int) -> Formula:
    """Gradient noise, with the numbers that the project draws."""

    def update(params: Arrays, grads: Arrays, state: dict[str, Any], t: int) -> Arrays:
        keys = [key_of(seed, place, t) for place in range(len(params))]
        draws = [standard_normal(torch.empty(p.shape), key, torch.float64).numpy() for p, key in zip(params, keys, strict=True)]
        deviation = math.sqrt(eta / (1 + (t - 1)) ** gamma)
        return [p - lr * (g + deviation * n) for p, g, n in zip(params, grads, draws, strict=True)]

    return Formula(update)


def mars(lr: float, b1: float, b2: float, eps: float, gamma: float, decay: float) -> Formula:
    def step(p: np.ndarray, g: np.ndarray, s: dict[str, Any], t: int) -> np.ndarray:
        c = g + gamma * b1 / (1 - b1) * (g - s.get("last", 0 * g))
        s["last"] = g
        m, v = averages(s, c / max(1.0, float(np.sqrt((c * c).sum()))), b1, b2)
        return p - lr * (decay * p + m / (1 - b1**t) / (np.sqrt(v / (1 - b2**t)) + eps))

    return elementwise(step)


def prodigy(lr: float, d0: float, *, decay: float = 0.0, growth: float = math.inf, d_coef: float = 1.0) -> Formula:
    b1, b2, b3, eps = 0.9, 0.999, math.sqrt(0.999), 1e-8

    def update(params: Arrays, grads: Arrays, s: dict[str, Any], t: int) -> Arrays:
        zeros = [0 * p for p in params]
        d, start, sums = s.get("d", d0), s.setdefault("start", params), s.get("sums", zeros)
        means, squares = s.get("m", zeros), s.get("v", zeros)
        inner = sum(float((g * (p0 - p)).sum()) for g, p0, p in zip(grads, start, params, strict=True))
        s["n"] = b3 * s.get("n", 0.0) + d / d0 * d * lr * inner
        s["m"] = [b1 * m + d * (1 - b1) * g for m, g in zip(means, grads, strict=True)]
        s["v"] = [b2 * v + d * d * (1 - b2) * g * g for v, g in zip(squares, grads, strict=True)]
        s["sums"] = [b3 * a + d / d0 * d * lr * g for a, g in zip(sums, grads, strict=True)]
        found = d_coef * s["n"] / sum(float(np.abs(a).sum()) for a in s["sums"])
        reached = max(d, found) if d == d0 else d
        s["most"] = max(s.get("most", d0), found)
        s["d"] = min(s["most"], reached * growth)
        return [
            p - decay * d * lr * p - d * lr * m / (np.sqrt(v) + s["d"] * eps)
            for p, m, v in zip(params, s["m"], s["v"], strict=True)
        ]

    return Formula(update)


def dadapt_adam(lr: Callable[[int], float], d0: float, *, l2: float = 0.0, growth: float = math.inf) -> Formula:
    b1, b2, b3, eps = 0.9, 0.999, math.sqrt(0.999), 1e-8

    def update(params: Arrays, grads: Arrays, s: dict[str, Any], t: int) -> Arrays:
        grads = [g + l2 * p for g, p in zip(grads, params, strict=True)]
        zeros = [0 * p for p in params]
        d, sums, means, squares = s.get("d", d0), s.get("sums", zeros), s.get("m", zeros), s.get("v", zeros)
        c = d * lr(t)
        inner = sum(float((g * a / (np.sqrt(v) + eps)).sum()) for g, a, v in zip(grads, sums, squares, strict=True))
        s["n"] = b3 * s.get("n", 0.0) + (1 - b3) * c * inner
        s["m"] = [b1 * m + c * (1 - b1) * g for m, g in zip(means, grads, strict=True)]
        s["v"] = [b2 * v + (1 - b2) * g * g for v, g in zip(squares, grads, strict=True)]
        s["sums"] = [b3 * a + c * (1 - b3) * g for a, g in zip(sums, grads, strict=True)]
        found = s["n"] / ((1 - b3) * sum(float(np.abs(a).sum()) for a in s["sums"]))
        s["d"] = max(d, min(found, d * growth))
        return [p - m / (np.sqrt(v) + eps) for p, m, v in zip(params, s["m"], s["v"], strict=True)]

    return Formula(update)


def after_sgd(lr: float, project: Callable[[np.ndarray], np.ndarray]) -> Formula:
    return elementwise(lambda p, g, s, t: project(p - lr * g))


def each(make: Callable[[int], optax.GradientTransformation]) -> optax.GradientTransformation:
    """Return the optax transformation that serves each tensor with the one made for its number of dimensions."""

    def init(params: Any) -> Any:
        return [make(p.ndim).init(p) for p in params]

    def update(updates: Any, state: Any, params: Any) -> Any:
        pairs = [make(p.ndim).update(u, s, p) for u, s, p in zip(updates, state, params, strict=True)]
        return [pair[0] for pair in pairs], [pair[1] for pair in pairs]

    return optax.GradientTransformation(init, update)


def no_curvature() -> optax.GradientTransformation:
    """Return what tells optax's Sophia that every curvature is 0."""
    import jax

    zeros = lambda u, s, p=None: (jax.tree.map(jax.numpy.zeros_like, u), s)  # noqa: E731
    return optax.GradientTransformation(lambda params: optax.EmptyState(), zeros)
