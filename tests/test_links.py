"""What single links promise beside their formula: curvature observed, noise that dies away, exact bounds, what is left out."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import optax
import pytest
import torch

import references as r
import steepest

SHAPES = [(3, 4), (7,), (1,), (), (0,), (5, 2, 3)]


@pytest.mark.parametrize("estimator", ["gauss_newton", "hutchinson"])
def test_sophia_observes_the_curvature_as_optax_does(estimator: str) -> None:
    """Every tenth step an estimate is taken in after the step; here one made of the step's own gradient."""
    squared, scale = estimator == "gauss_newton", 3.0 if estimator == "gauss_newton" else 1.0
    rule = steepest.sophia(0.01, gamma=0.5, estimator=estimator, bias_correction=True, weight_decay=0.1)

    def observing(params: list[torch.Tensor]) -> torch.optim.Optimizer:
        optimizer = steepest.Optimizer(params, rule)
        steps = iter(range(r.STEPS))

        def after(*args: Any) -> None:
            if next(steps) % 10 == 0:
                optimizer.update_hessian(scale)

        optimizer.register_step_post_hook(after)
        return optimizer

    given = optax.GradientTransformation(
        lambda params: optax.EmptyState(), lambda u, s, p=None: ([scale * g * g if squared else g for g in u], s)
    )
    theirs = optax.contrib.sophia(
        0.01, b1=0.96, gamma=0.5, eps=1e-12, weight_decay=0.1, update_interval=10, hessian_diagonal_fn=given
    )
    for mine, other in zip(r.train_torch(observing, SHAPES), r.train_optax(theirs, SHAPES), strict=True):
        np.testing.assert_allclose(mine, other, rtol=0, atol=1e-12)


def test_curvature_is_for_rules_that_take_it_in() -> None:
    optimizer = steepest.Optimizer([torch.zeros(2, requires_grad=True)], steepest.adam(0.1))
    with pytest.raises(steepest.InputError, match="scale_by_sophia does"):
        optimizer.update_hessian()


def test_noise_dies_away_as_it_should() -> None:
    p = torch.zeros(100_000, requires_grad=True)
    optimizer = steepest.Optimizer([p], steepest.chain(steepest.add_noise(0.3, seed=1), steepest.sgd(1.0)))
    for t in range(1, 11):
        before, p.grad = p.detach().clone(), torch.zeros_like(p)
        optimizer.step()
        noise = before - p.detach()
        assert noise.var().item() == pytest.approx(0.3 / t**0.55, rel=0.03)
        assert noise.mean().abs().item() < 0.01


@pytest.mark.parametrize("execution", ["eager", "C"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_projections_hold_exactly_after_the_step(dtype: torch.dtype, execution: str, force: Callable[[str], None]) -> None:
    force(execution)
    torch.manual_seed(0)
    rule = steepest.chain(steepest.proximal_l1(0.5), steepest.clamp_weights(-0.25, None), steepest.adam(0.01))
    p = torch.randn(1000).to(dtype).requires_grad_()
    optimizer = steepest.Optimizer([p], rule)
    for _ in range(50):
        p.grad = p.detach() - (p.detach() > 0.5).to(dtype)
        optimizer.step()
    assert (p == 0).float().mean() > 0.1
    assert p.min() >= -0.25
    assert p.max() > 0.5


def test_averaged_descent_evaluates_the_average() -> None:
    p = torch.zeros(3, dtype=torch.float64, requires_grad=True)
    other = p.detach().clone().requires_grad_()
    ours, theirs = steepest.Optimizer([p], steepest.asgd(0.1, t0=5)), torch.optim.ASGD([other], lr=0.1, t0=5)
    for t in range(20):
        for one, optimizer in ((p, ours), (other, theirs)):
            one.grad = torch.full((3,), float(t), dtype=torch.float64)
            optimizer.step()
    last = p.detach().clone()
    ours.eval()
    torch.testing.assert_close(p.detach(), theirs.state[other]["ax"], rtol=0, atol=1e-6)  # torch keeps its steps in float32
    assert not torch.equal(p.detach(), last)
    ours.train()
    assert torch.equal(p.detach(), last)


@pytest.mark.parametrize("execution", ["eager", "C"])
def test_a_number_of_state_does_not_change_the_precision_of_a_scalar_parameter(
    execution: str, force: Callable[[str], None]
) -> None:
    force(execution)
    p = torch.ones((), requires_grad=True)
    optimizer = steepest.Optimizer([p], steepest.chain(steepest.scale_by_prodigy(), steepest.ema(), steepest.sgd(1.0)))
    for _ in range(3):
        p.grad = torch.ones(())
        optimizer.step()
    assert p.dtype == optimizer.state[p]["momentum_buffer"].dtype == torch.float32
    assert optimizer.state[p]["d"].dtype == torch.float64
    assert p.item() < 1


@pytest.mark.parametrize("rule", [steepest.prodigy(), steepest.dadapt_adam()], ids=str)
@pytest.mark.parametrize("execution", ["eager", "C"])
def test_a_parameter_that_joins_late_takes_over_the_step_size(
    rule: steepest.Rule, execution: str, force: Callable[[str], None]
) -> None:
    """Noise, and the authors' `d0`: on its own the late one would stay at 1e-6 of a step for good."""
    force(execution)
    generator = torch.Generator().manual_seed(0)
    first, late = (torch.zeros(20, dtype=torch.float64, requires_grad=True) for _ in range(2))
    optimizer = steepest.Optimizer([first, late], rule)
    for t in range(1200):
        noise = torch.randn(2, 20, generator=generator, dtype=torch.float64)
        first.grad = first.detach() - 30 + noise[0]
        late.grad = late.detach() - 30 + noise[1] if t >= 300 else None
        optimizer.step()
    assert optimizer.state[late]["d"] == pytest.approx(optimizer.state[first]["d"].item(), rel=0.2)
    assert (late - 30).abs().mean() < 2 * (first - 30).abs().mean() + 1


def test_two_draws_of_one_chain_differ() -> None:
    """With a sign between them, noise drawn alike would add up to nothing."""
    p = torch.zeros(50, requires_grad=True)
    noise = steepest.add_noise(1.0)
    optimizer = steepest.Optimizer([p], steepest.chain(noise, steepest.maximize(), noise, steepest.sgd(1.0)))
    p.grad = torch.zeros(50)
    optimizer.step()
    assert p.std() > 0.5


def test_fit_refuses_a_rule_whose_curvature_nobody_observes() -> None:
    with pytest.raises(steepest.InputError, match="needs its curvature observed"):
        steepest.fit("iris", steepest.sophia(0.01), record=False)


def test_vectors_are_left_out_where_asked() -> None:
    matrix, bias = torch.ones(2, 2, requires_grad=True), torch.ones(2, requires_grad=True)
    rule = steepest.chain(steepest.centralize_gradients(), steepest.decay_weights(0.5, exclude_vectors=True), steepest.sgd(1.0))
    optimizer = steepest.Optimizer([matrix, bias], rule)
    matrix.grad, bias.grad = torch.tensor([[1.0, 3.0], [0.0, 2.0]]), torch.tensor([1.0, 3.0])
    optimizer.step()
    assert matrix.tolist() == [[1.5, -0.5], [1.5, -0.5]]
    assert bias.tolist() == [0.0, -2.0]


def test_a_split_by_shape_takes_the_first_that_matches() -> None:
    net = torch.nn.Sequential(torch.nn.Linear(4, 10), torch.nn.Linear(10, 10), torch.nn.LayerNorm(10))
    rule = steepest.split(
        {(10, None): steepest.sgd(0.1), "1.*": steepest.sgd(0.2), (10,): steepest.sgd(0.3)}, rest=steepest.adamw()
    )
    groups = steepest.Optimizer(net, rule).param_groups
    assert [(group["lr"], group["param_names"]) for group in groups] == [
        (0.1, ["0.weight", "1.weight"]),
        (0.3, ["0.bias", "2.weight", "2.bias"]),
        (0.2, ["1.bias"]),
    ]
    by_shape = steepest.split({(None, 4): steepest.sgd(0.1), (): steepest.sgd(0.2)}, vectors=steepest.sgd(0.3))
    tensors = [torch.zeros(2, 4, requires_grad=True), torch.zeros((), requires_grad=True), torch.zeros(4, requires_grad=True)]
    assert [group["lr"] for group in steepest.Optimizer(tensors, by_shape).param_groups] == [0.1, 0.2, 0.3]
    with pytest.raises(
        steepest.InputError, match=r"nothing takes an unnamed parameter \(one of the matrices, shape \(4, 2\)\)"
    ):
        steepest.Optimizer([torch.zeros(4, 2, requires_grad=True)], by_shape)
