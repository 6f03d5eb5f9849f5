"""Every rule against someone else's truth: torch.optim, else optax, else the paper's formula, over 100 steps in float64.

A new rule is one line in `CASES`; formulas stand in `references.py`.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import numpy as np
import optax
import pytest
import torch

import references as r
import steepest
from references import train_reference, train_torch
from steepest.kernels import fused, matrix
from steepest.recipes import read
from steepest.rules.language import NEWTON_SCHULZ, Orthogonalize

TOLERANCE = {torch.float64: 1e-12}
SHAPES = [(3, 4), (7,), (1,), (), (0,), (5, 2, 3)]
UNDEFINED_WHEN_EMPTY = ("adafactor", "adafactor options")  # torch divides by the number of elements
MATRICES = [(6, 4), (4, 6), (5, 5), (1, 3)]

FALLING = steepest.inverse_time(0.2, steps=1)


def MATRICES_ONLY(params: Any) -> Any:  # noqa: N802
    """Optax's mask of what is no vector."""
    return [p.ndim > 1 for p in params]


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
    "adam without momentum": (lambda: steepest.adam(0.01, b1=0.0), lambda ps: o.Adam(ps, lr=0.01, betas=(0.0, 0.999))),
    "adam l2": (
        lambda: steepest.adam(0.01, b1=0.8, b2=0.95, eps=1e-3, weight_decay=0.1),
        lambda ps: o.Adam(ps, lr=0.01, betas=(0.8, 0.95), eps=1e-3, weight_decay=0.1),
    ),
    "adamw": (lambda: steepest.adamw(0.01, weight_decay=0.1), lambda ps: o.AdamW(ps, lr=0.01, weight_decay=0.1)),
    "amsgrad": (lambda: steepest.amsgrad(0.01), lambda ps: o.Adam(ps, lr=0.01, amsgrad=True)),
    "adamax": (
        lambda: steepest.adamax(0.01, weight_decay=0.1),
        lambda ps: o.Adamax(ps, lr=0.01, weight_decay=0.1),
    ),
    "nadam": (lambda: steepest.nadam(0.01, weight_decay=0.1), lambda ps: o.NAdam(ps, lr=0.01, weight_decay=0.1)),
    "radam": (lambda: steepest.radam(0.01, b2=0.99), lambda ps: o.RAdam(ps, lr=0.01, betas=(0.9, 0.99))),
    "lion": (lambda: steepest.lion(0.01), optax.lion(0.01, weight_decay=0.0)),
    "lion decay": (lambda: steepest.lion(0.01, weight_decay=0.1), optax.lion(0.01, weight_decay=0.1)),
    "adafactor": (lambda: steepest.adafactor(0.05), lambda ps: o.Adafactor(ps, lr=0.05)),
    "adafactor options": (
        lambda: steepest.adafactor(0.5, beta2_decay=-0.6, eps=(1e-4, 1e-2), d=1.5, weight_decay=0.1),
        lambda ps: o.Adafactor(ps, lr=0.5, beta2_decay=-0.6, eps=(1e-4, 1e-2), d=1.5, weight_decay=0.1),
    ),
    "clip value": (
        lambda: steepest.chain(steepest.clip_value(0.3), steepest.sgd(0.1)),
        optax.chain(optax.clip(0.3), optax.sgd(0.1)),
    ),
    "clip norm": (
        lambda: steepest.chain(steepest.clip_global_norm(0.5), steepest.adam(0.01)),
        lambda ps: o.Adam(ps, lr=0.01),
    ),
    "asgd": (
        lambda: steepest.asgd(0.1, lambd=0.01, t0=20, weight_decay=0.1),
        lambda ps: o.ASGD(ps, lr=0.1, lambd=0.01, t0=20, weight_decay=0.1),
    ),
    "rprop": (lambda: steepest.rprop(0.01), lambda ps: o.Rprop(ps, lr=0.01)),
    "rprop sizes": (
        lambda: steepest.rprop(0.1, etas=(0.7, 1.5), step_sizes=(0.5, 2.0)),
        lambda ps: o.Rprop(ps, lr=0.1, etas=(0.7, 1.5), step_sizes=(0.05, 0.2)),
    ),
    "maximize": (
        lambda: steepest.chain(steepest.maximize(), steepest.adam(0.01, weight_decay=0.3)),
        lambda ps: o.Adam(ps, lr=0.01, weight_decay=0.3, maximize=True),
    ),
    "adamw amsgrad": (
        lambda: steepest.adamw(0.01, amsgrad=True, weight_decay=0.1),
        lambda ps: o.AdamW(ps, lr=0.01, amsgrad=True, weight_decay=0.1),
    ),
    "nadam decoupled": (
        lambda: steepest.nadam(0.01, weight_decay=0.1, decoupled_weight_decay=True),
        lambda ps: o.NAdam(ps, lr=0.01, weight_decay=0.1, decoupled_weight_decay=True),
    ),
    "radam decoupled": (
        lambda: steepest.radam(0.01, b2=0.99, weight_decay=0.1, decoupled_weight_decay=True),
        lambda ps: o.RAdam(ps, lr=0.01, betas=(0.9, 0.99), weight_decay=0.1, decoupled_weight_decay=True),
    ),
    # conventions of optax and keras
    "adam eps inside": (lambda: steepest.adam(0.01, eps=1e-3, eps_mode="inside"), optax.adam(0.01, eps=0.0, eps_root=1e-3)),
    "adamw eps inside": (
        lambda: steepest.adamw(0.01, eps=1e-3, eps_mode="inside", weight_decay=0.1),
        optax.adamw(0.01, eps=0.0, eps_root=1e-3, weight_decay=0.1),
    ),
    "adam eps hat": (lambda: steepest.adam(0.01, eps=1e-3, eps_mode="hat"), r.keras_adam(0.01, 0.9, 0.999, 1e-3)),
    "amsgrad eps hat": (
        lambda: steepest.amsgrad(0.01, b2=0.9, eps=1e-3, eps_mode="hat"),
        r.keras_adam(0.01, 0.9, 0.9, 1e-3, amsgrad=True),
    ),
    "amsgrad corrected": (
        lambda: steepest.amsgrad(0.01, b2=0.9, eps=1e-3, max_of_corrected=True),
        optax.amsgrad(0.01, b2=0.9, eps=1e-3),
    ),
    "adamax eps outside": (
        lambda: steepest.adamax(0.01, eps=1e-3, eps_mode="outside"),
        r.keras_adamax(0.01, 0.9, 0.999, 1e-3),
    ),
    "nadam constant": (lambda: steepest.nadam(0.01, momentum_decay=None, eps=1e-3), optax.nadam(0.01, eps=1e-3)),
    "radam eps outside": (
        lambda: steepest.radam(0.01, b2=0.99, eps=1e-3, eps_mode="outside", threshold=8),
        optax.radam(0.01, b2=0.99, eps=1e-3, threshold=8),
    ),
    "adagrad eps inside": (
        lambda: steepest.adagrad(0.1, eps=1e-3, eps_mode="inside", initial_accumulator_value=0.1),
        optax.adagrad(0.1, eps=1e-3),
    ),
    "rmsprop eps inside": (
        lambda: steepest.rmsprop(0.01, alpha=0.9, eps=1e-3, eps_mode="inside", initial_accumulator_value=1.0),
        optax.rmsprop(0.01, eps=1e-3, initial_scale=1.0),
    ),
    "rmsprop lr inside": (
        lambda: steepest.rmsprop(
            0.01, alpha=0.9, eps=1e-3, eps_mode="inside", centered=True, momentum=0.5, lr_inside=True, schedule=FALLING
        ),
        optax.rmsprop(lambda t: 0.01 / (1 + 0.2 * t), eps=1e-3, centered=True, momentum=0.5),
    ),
    "rmsprop keras": (
        lambda: steepest.rmsprop(
            0.01, alpha=0.9, eps=1e-3, eps_mode="inside", centered=True, momentum=0.5, lr_inside=True, schedule=FALLING
        ),
        r.keras_rmsprop(lambda t: 0.01 / (1 + 0.2 * (t - 1)), 0.9, 0.5, 1e-3, centered=True),
    ),
    "momentum lr inside": (
        lambda: steepest.momentum(0.05, lr_inside=True, schedule=FALLING),
        r.keras_sgd(lambda t: 0.05 / (1 + 0.2 * (t - 1)), 0.9, nesterov=False),
    ),
    "nesterov lr inside": (
        lambda: steepest.nesterov(0.05, lr_inside=True, schedule=FALLING),
        r.keras_sgd(lambda t: 0.05 / (1 + 0.2 * (t - 1)), 0.9, nesterov=True),
    ),
    # what prepares gradients
    "centralize": (
        lambda: steepest.chain(steepest.centralize_gradients(), steepest.adam(0.01)),
        optax.chain(optax.centralize(), optax.adam(0.01)),
    ),
    "adaptive clip": (
        lambda: steepest.chain(steepest.adaptive_clip(0.1), steepest.sgd(0.1)),
        optax.chain(
            r.each(lambda n: optax.adaptive_grad_clip(0.1, axis=tuple(range(1, n)) if n > 1 else None)), optax.sgd(0.1)
        ),
    ),
    "noise": (
        lambda: steepest.chain(steepest.add_noise(0.3, seed=3), steepest.sgd(0.1)),
        r.noisy(0.1, 0.3, 0.55, seed=3),
    ),
    "mars": (lambda: steepest.mars(0.01, weight_decay=0.1), r.mars(0.01, 0.95, 0.99, 1e-8, 0.025, 0.1)),
    # whole tensors
    "lars": (
        lambda: steepest.lars(5.0, trust_coefficient=0.01, eps=1e-6, weight_decay=0.1, schedule=FALLING),
        optax.lars(lambda t: 5.0 / (1 + 0.2 * t), 0.1, trust_coefficient=0.01, eps=1e-6),
    ),
    "lars nesterov": (lambda: steepest.lars(2.0, nesterov=True), optax.lars(2.0, nesterov=True)),
    "lars matrices": (
        lambda: steepest.lars(0.1, trust_coefficient=0.1, weight_decay=0.1, exclude_vectors=True),
        optax.lars(0.1, 0.1, MATRICES_ONLY, trust_coefficient=0.1, trust_ratio_mask=MATRICES_ONLY),
    ),
    "lamb": (lambda: steepest.lamb(0.01, weight_decay=0.1), optax.lamb(0.01, weight_decay=0.1)),
    # step sizes of their own
    "prodigy": (lambda: steepest.prodigy(d0=1e-2, weight_decay=0.1), r.prodigy(1.0, 1e-2, decay=0.1)),
    "prodigy grows slowly": (
        lambda: steepest.prodigy(0.5, d0=1e-3, d_coef=2.0, growth_rate=1.02),
        r.prodigy(0.5, 1e-3, d_coef=2.0, growth=1.02),
    ),
    "prodigy corrected": (
        lambda: steepest.prodigy(d0=1e-2, bias_correction=True, safeguard_warmup=True, schedule=FALLING),
        optax.contrib.prodigy(lambda t: 1 / (1 + 0.2 * t), estim_lr0=1e-2, safeguard_warmup=True),
    ),
    "dadapt_adam": (
        lambda: steepest.dadapt_adam(0.5, d0=1e-2, growth_rate=1.1, weight_decay=0.1, schedule=FALLING),
        r.dadapt_adam(lambda t: 0.5 / (1 + 0.2 * (t - 1)), 1e-2, l2=0.1, growth=1.1),
    ),
    "dadapt_adam decoupled": (
        lambda: steepest.dadapt_adam(d0=1e-2, weight_decay=0.1, decoupled_weight_decay=True, bias_correction=True),
        optax.contrib.dadapt_adamw(1.0, estim_lr0=1e-2, weight_decay=0.1),
    ),
    "sophia": (
        lambda: steepest.sophia(0.01, bias_correction=True, weight_decay=0.1),
        optax.contrib.sophia(0.01, b1=0.96, eps=1e-12, weight_decay=0.1, hessian_diagonal_fn=r.no_curvature()),
    ),
    # after the step
    "proximal l1": (
        lambda: steepest.chain(steepest.proximal_l1(0.5), steepest.sgd(0.01)),
        r.after_sgd(0.01, lambda q: np.sign(q) * np.maximum(np.abs(q) - 0.005, 0)),
    ),
    "clamp weights": (
        lambda: steepest.chain(steepest.clamp_weights(-0.5, 0.25), steepest.sgd(0.01)),
        r.after_sgd(0.01, lambda q: np.clip(q, -0.5, 0.25)),
    ),
}


def shapes_for(name: str) -> list[tuple[int, ...]]:
    return [shape for shape in SHAPES if 0 not in shape or name not in UNDEFINED_WHEN_EMPTY]


@functools.cache
def reference(name: str) -> list[np.ndarray]:
    return train_reference(CASES[name][1], shapes_for(name), clip=0.5 if name == "clip norm" else None)


def has_fused_form(name: str) -> bool:
    links = CASES[name][0]().links(steepest.rules.Parameter("w", (2, 2), "matrices"))
    return isinstance(fused.recognise(links), fused.Fused)


FUSED = [name for name in CASES if has_fused_form(name)]


@pytest.mark.parametrize(
    ("name", "execution"), [(name, way) for name in CASES for way in ("eager", "fused", "C") if way != "fused" or name in FUSED]
)
def test_a_rule_equals_its_reference(name: str, execution: str, force: Callable[[str], None]) -> None:
    recognised: list[Any] = []
    force(execution)

    def make(params: list[torch.Tensor]) -> torch.optim.Optimizer:
        optimizer = steepest.Optimizer(params, CASES[name][0]())
        recognised.append(optimizer.plan().rows[0]["execution"])
        return optimizer

    ours = train_torch(make, shapes_for(name))
    assert execution != "fused" or recognised[0].startswith("torch fused")
    if recognised == ["eager"]:
        assert steepest.Optimizer([torch.zeros(2, 2)], CASES[name][0]()).plan().rows[0]["reason"]
    for mine, theirs in zip(ours, reference(name), strict=True):
        np.testing.assert_allclose(mine, theirs, rtol=0, atol=TOLERANCE[torch.float64])


@pytest.mark.parametrize("shape", MATRICES)
@pytest.mark.parametrize("adjust", ["original", "match_rms_adamw"])
@pytest.mark.parametrize("nesterov", [True, False])
def test_muon_equals_torch_in_its_own_precision(shape: tuple[int, ...], adjust: str, nesterov: bool) -> None:
    rule = steepest.muon(0.02, adjust=adjust, nesterov=nesterov, dtype="bfloat16")
    ours = train_torch(lambda ps: steepest.Optimizer(ps, rule), [shape])
    theirs = train_torch(lambda ps: o.Muon(ps, lr=0.02, weight_decay=0.1, adjust_lr_fn=adjust, nesterov=nesterov), [shape])
    np.testing.assert_allclose(ours[0], theirs[0], rtol=0, atol=1e-12)


def test_muon_orthogonalizes_convolutions_as_matrices() -> None:
    torch.manual_seed(0)
    conv = torch.randn(8, 3, 3, 3, requires_grad=True)
    conv.grad = torch.randn_like(conv)
    flat = conv.detach().reshape(8, -1).clone().requires_grad_()
    flat.grad = conv.grad.reshape(8, -1).clone()
    for p in (conv, flat):
        steepest.Optimizer([p], steepest.muon(0.1)).step()
    torch.testing.assert_close(conv.detach().reshape(8, -1), flat.detach(), rtol=0, atol=0)


def test_newton_schulz_makes_singular_values_nearly_one() -> None:
    torch.manual_seed(0)
    (u,) = matrix.answers([Orthogonalize(torch.randn(20, 30), (NEWTON_SCHULZ,) * 8, dtype="float32")])
    singular = torch.linalg.svdvals(u)
    assert singular.min() > 0.5
    assert singular.max() < 1.3


def test_adam_without_bias_correction_is_the_uncorrected_formula() -> None:
    p, m, v = 1.0, 0.0, 0.0
    tensor = torch.tensor([p], dtype=torch.float64, requires_grad=True)
    optimizer = steepest.Optimizer([tensor], steepest.adam(0.1, bias_correction=False))
    for g in (0.5, -2.0, 3.0):
        m, v = 0.9 * m + 0.1 * g, 0.999 * v + 0.001 * g * g
        p -= 0.1 * m / (v**0.5 + 1e-8)
        tensor.grad = torch.tensor([g], dtype=torch.float64)
        optimizer.step()
    assert abs(tensor.item() - p) < 1e-12


def test_ema_and_heavy_ball_differ_by_one_minus_momentum() -> None:
    """Under a constant gradient both settle, at steps whose ratio is 1 - momentum."""
    steps = {}
    for name, rule in {"ball": steepest.momentum(0.01), "ema": steepest.ema_momentum(0.01)}.items():
        p = torch.zeros(1, dtype=torch.float64, requires_grad=True)
        optimizer = steepest.Optimizer([p], rule)
        for _ in range(400):
            before = p.item()
            p.grad = torch.ones(1, dtype=torch.float64)
            optimizer.step()
        steps[name] = before - p.item()
    assert abs(steps["ema"] / steps["ball"] - 0.1) < 1e-12


def test_centered_rmsprop_survives_rounding() -> None:
    """A constant gradient makes v - m^2 zero or slightly negative in float32, where torch gives NaN."""
    p = torch.zeros(1, requires_grad=True)
    optimizer = steepest.Optimizer([p], steepest.rmsprop(1e-3, alpha=0.5, centered=True, eps=1e-3))
    for _ in range(200):
        p.grad = torch.full((1,), 0.1)
        optimizer.step()
    assert torch.isfinite(p).all()


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("name", FUSED)
def test_fused_equals_eager_in_lower_precision(name: str, dtype: torch.dtype, force: Callable[[str], None]) -> None:
    """What is compared is how far the parameters moved, against the rounding of ten steps."""
    moves = []
    for execution in ("fused", "eager"):
        force(execution)
        torch.manual_seed(0)
        start = torch.randn(50).to(dtype)
        p = start.clone().requires_grad_()
        optimizer = steepest.Optimizer([p], CASES[name][0]())
        for _ in range(10):
            p.grad = torch.randn(50).to(dtype)
            optimizer.step()
        moves.append(p.detach().float() - start.float())
    unit = torch.finfo(dtype).eps * start.float().abs().clamp(min=0.1)  # one rounding of a parameter
    assert ((moves[0] - moves[1]).abs() <= 10 * unit).all()
    assert moves[0].abs().mean() > 2 * (moves[0] - moves[1]).abs().mean()  # an optimizer that does nothing fails


@pytest.mark.parametrize("scale", [300.0, 1e-4])
def test_half_precision_gradients_are_clipped_by_their_true_norm(scale: float) -> None:
    """Squared in float16, 300 overflows and 1e-4 vanishes."""
    p = torch.zeros(64, dtype=torch.float16, requires_grad=True)
    optimizer = steepest.Optimizer([p], steepest.chain(steepest.clip_global_norm(4e-4), steepest.scale_by_learning_rate(1.0)))
    p.grad = torch.full((64,), scale, dtype=torch.float16)
    optimizer.step()
    assert p.detach().float().norm().item() == pytest.approx(4e-4, rel=1e-2)


@pytest.mark.parametrize("branch", [steepest.clip_global_norm(1e9), steepest.orthogonal()])
def test_a_norm_after_a_split_runs_over_all_branches(branch: steepest.Rule) -> None:
    """The branches ask unequally often; the norm that follows them must still wait for all."""
    first, second = torch.zeros(2, 2, requires_grad=True), torch.zeros(2, requires_grad=True)
    rule = steepest.chain(
        steepest.split(matrices=branch, rest=steepest.ema(0.0)),
        steepest.clip_global_norm(1.0),
        steepest.scale_by_learning_rate(1.0),
    )
    optimizer = steepest.Optimizer([first, second], rule)
    first.grad, second.grad = torch.full((2, 2), 3.0), torch.full((2,), 3.0)
    optimizer.step()
    norm = torch.cat([first.detach().flatten(), second.detach()]).norm().item()
    assert norm == pytest.approx(1.0, rel=1e-4)


def test_rules_print_as_the_python_that_makes_them() -> None:
    for rule in (
        steepest.adamw(3e-4, weight_decay=0.1, schedule=steepest.cosine(steps=100, warmup=10)),
        steepest.chain(steepest.clip_global_norm(1.0), steepest.scale_by_adam(b2=0.95), steepest.scale_by_learning_rate(0.1)),
        steepest.split({"head.*": steepest.sgd(0.1)}, matrices=steepest.muon(0.02), rest=steepest.adamw(1e-3)),
        steepest.rmsprop(0.01, centered=True, momentum=0.9),
        steepest.muon(0.01, coefficients="polar_express", adjust="match_rms_adamw"),
        steepest.shampoo(0.1, beta=0.95, every=10, graft="adam", max_dimension=512),
        steepest.soap(0.1, every=5),
        steepest.adafactor(0.1, eps=(1e-4, 1e-2)),
        steepest.split({(None, 1000): steepest.sgd(0.1), (5,): steepest.sgd(), "a.*": steepest.adam()}, rest=steepest.mars()),
        steepest.rprop(0.01, etas=(0.6, 1.3)),
        steepest.chain(steepest.proximal_l1(1e-4), steepest.clamp_weights(-1.0, None), steepest.prodigy(d_coef=2.0)),
        steepest.scale_by_dadapt_adam(1.0, schedule=steepest.cosine(steps=10), growth_rate=1.02),
        steepest.amsgrad(0.01, max_of_corrected=True, eps_mode="inside"),
    ):
        assert repr(read(repr(rule))) == repr(rule)
        assert read(repr(rule)) == rule


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: steepest.adamw(-0.1), "lr must be > 0 (got -0.1); did you mean 0.1?"),
        (lambda: steepest.adamw(float("nan")), "lr must be > 0 (got nan)"),
        (lambda: steepest.adam(0.1, b1=1.0), "b1 must be in [0, 1) (got 1.0)"),
        (lambda: steepest.momentum(0.1, momentum=-1), "momentum must be in [0, 1) (got -1)"),
        (lambda: steepest.adamw(0.1, weight_decay=-1), "weight_decay must be >= 0 (got -1)"),
        (steepest.chain, "chain needs at least one rule (got none)"),
        (lambda: steepest.chain(0.1), "chain takes rules such as adamw(1e-3) (got 0.1)"),
        (lambda: steepest.split(matrix=steepest.sgd()), "did you mean 'matrices'?"),
        (lambda: steepest.clip_global_norm(0), "clip_global_norm max_norm must be > 0 (got 0)"),
        (lambda: steepest.muon(0.1, adjust="x"), "orthogonal adjust must be 'original' or 'match_rms_adamw' (got 'x')"),
        (lambda: steepest.muon(0.1, coefficients="x"), "coefficients must be 'newton_schulz' or 'polar_express' (got 'x')"),
        (lambda: steepest.shampoo(0.1, graft="sgd"), "graft must be None, 'rms' or 'adam' (got 'sgd')"),
        (lambda: steepest.shampoo(0.1, every=0), "every must be a whole number >= 1 (got 0)"),
        (lambda: steepest.soap(0.1, max_dimension=-1), "max_dimension must be a whole number >= 0 (got -1)"),
        (lambda: steepest.adafactor(0.1, eps=1e-3), "eps must be two numbers"),
        (lambda: steepest.scale_by_learning_rate(0.1, 0.5), "schedule must be a schedule"),
        (lambda: steepest.heavy_ball(nesterov=True, momentum=0.0), "nesterov needs momentum > 0"),
        (
            lambda: steepest.adam(0.1, eps_mode="insid"),
            "eps_mode must be 'outside', 'inside' or 'hat' (got 'insid'); did you mean 'inside'?",
        ),
        (lambda: steepest.adagrad(0.1, eps_mode="hat"), "eps_mode must be 'outside' or 'inside' (got 'hat')"),
        (lambda: steepest.amsgrad(0.1, eps_mode="hat", max_of_corrected=True), "eps_mode='hat' adds eps before the correction"),
        (lambda: steepest.adam(0.1, amsgrad=1), "amsgrad must be True or False (got 1)"),
        (lambda: steepest.nadam(0.1, decoupled_weight_decay="yes"), "decoupled_weight_decay must be True or False (got 'yes')"),
        (lambda: steepest.momentum(0.1, lr_inside=1), "lr_inside must be True or False (got 1)"),
        (lambda: steepest.radam(0.1, threshold=3), "threshold must be >= 4 (got 3)"),
        (lambda: steepest.rprop(0.1, etas=(1.2, 0.5)), "rprop etas[0] must be in [0, 1] (got 1.2)"),
        (lambda: steepest.rprop(0.1, step_sizes=0.5), "rprop step_sizes must be two numbers such as (0.5, 1.2) (got 0.5)"),
        (lambda: steepest.adaptive_clip(-1), "adaptive_clip clipping must be > 0 (got -1); did you mean 1?"),
        (lambda: steepest.add_noise(0.3, seed=-1), "add_noise seed must be a whole number from 0 to 4294967295 (got -1)"),
        (lambda: steepest.lars(1.0, trust_coefficient=0), "trust ratio coefficient must be > 0 (got 0)"),
        (lambda: steepest.prodigy(d0=0), "d0 must be > 0 (got 0)"),
        (lambda: steepest.dadapt_adam(growth_rate=0.5), "growth_rate must be >= 1 (got 0.5)"),
        (lambda: steepest.sophia(estimator="gnb"), "estimator must be 'gauss_newton' or 'hutchinson' (got 'gnb')"),
        (lambda: steepest.clamp_weights(1.0, 0.0), "clamp_weights low must be at most high (got 1.0 and 0.0)"),
        (lambda: steepest.clamp_weights(None, None), "clamp_weights needs a bound: low, high or both"),
        (
            lambda: steepest.split({3: steepest.sgd()}),
            "split's keys are name patterns ('head.*') or shapes",
        ),
        (
            lambda: steepest.split({(None, -1): steepest.sgd()}),
            "whole numbers >= 0, or None for any (got -1",
        ),
    ],
)
def test_wrong_numbers_are_told_in_one_line(make: Callable[[], Any], message: str) -> None:
    with pytest.raises(steepest.InputError) as caught:
        make()
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)
