"""Rules with a second set of weights: against their formulas in NumPy, and that the two sets are never mixed up."""

from __future__ import annotations

import copy
import io
from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import nn

import steepest
from steepest.gradient import StepContext, plain

STEPS = 100
EXECUTIONS = ("eager", "C")


def gradients(seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((STEPS, 5))


def run(rule: steepest.Rule) -> tuple[np.ndarray, np.ndarray]:
    """Return the weights of the training and those for evaluation after STEPS steps."""
    p = torch.linspace(-1, 1, 5, dtype=torch.float64).requires_grad_()
    optimizer = steepest.Optimizer([p], rule)
    for g in gradients():
        p.grad = torch.tensor(g) + 0.1 * p.detach()
        optimizer.step()
    training = p.detach().numpy().copy()
    optimizer.eval()
    averaged = p.detach().numpy().copy()
    optimizer.train()
    assert np.array_equal(p.detach().numpy(), training)
    return training, averaged


@pytest.mark.parametrize("execution", EXECUTIONS)
def test_ema_weights(execution: str, force: Callable[[str], None]) -> None:
    force(execution)
    p = np.linspace(-1, 1, 5)
    ema = p.copy()
    for t, g in enumerate(gradients(), start=1):
        p = p - 0.1 * (g + 0.1 * p)
        decay = min(0.95, (1 + t) / (10 + t))
        ema = decay * ema + (1 - decay) * p
    training, averaged = run(steepest.chain(steepest.sgd(0.1), steepest.ema_weights(0.95)))
    np.testing.assert_allclose(training, p, rtol=0, atol=1e-12)
    np.testing.assert_allclose(averaged, ema, rtol=0, atol=1e-12)


@pytest.mark.parametrize("execution", EXECUTIONS)
def test_lookahead(execution: str, force: Callable[[str], None]) -> None:
    force(execution)
    p = np.linspace(-1, 1, 5)
    slow = p.copy()
    for t, g in enumerate(gradients(), start=1):
        p = p - 0.1 * (g + 0.1 * p)
        if t % 6 == 0:
            slow = slow + 0.4 * (p - slow)
            p = slow.copy()
    training, averaged = run(steepest.chain(steepest.sgd(0.1), steepest.lookahead(every=6, alpha=0.4)))
    np.testing.assert_allclose(training, p, rtol=0, atol=1e-12)
    np.testing.assert_allclose(averaged, slow, rtol=0, atol=1e-12)


@pytest.mark.parametrize("execution", EXECUTIONS)
@pytest.mark.parametrize("adam", [False, True])
def test_schedule_free(adam: bool, execution: str, force: Callable[[str], None]) -> None:
    """With x kept on its own, as the paper's algorithm prints it; a warm-up makes the weights of the average unequal."""
    force(execution)
    beta, b2, decay, warmup = 0.9, 0.99, 0.05, 20
    z = np.linspace(-1, 1, 5)
    x, y, v, weights, largest = z.copy(), z.copy(), np.zeros(5), 0.0, 0.0
    for t, noise in enumerate(gradients(), start=1):
        g, lr = noise + 0.1 * y, 0.1 * min(t / warmup, 1.0)
        v = b2 * v + (1 - b2) * g * g
        u = (g / (np.sqrt(v / (1 - b2**t)) + 1e-8) if adam else g) + decay * y
        largest = max(largest, lr)
        weights += largest**2
        z = z - lr * u
        c = largest**2 / weights
        x = (1 - c) * x + c * z
        y = (1 - beta) * z + beta * x
    schedule = steepest.warmup_hold_cooldown(10_000, warmup=warmup - 1)
    rule = (
        steepest.schedule_free_adamw(0.1, b1=beta, b2=b2, weight_decay=decay, schedule=schedule)
        if adam
        else steepest.schedule_free_sgd(0.1, momentum=beta, weight_decay=decay, schedule=schedule)
    )
    training, averaged = run(rule)
    np.testing.assert_allclose(training, y, rtol=0, atol=1e-12)
    np.testing.assert_allclose(averaged, x, rtol=0, atol=1e-12)


def a_step(model: nn.Module, optimizer: steepest.Optimizer) -> None:
    optimizer.zero_grad()
    model(torch.ones(2, 3)).square().sum().backward()
    optimizer.step()


def test_weights_cannot_be_mixed_up() -> None:
    torch.manual_seed(0)
    model = nn.Linear(3, 2)
    optimizer = steepest.Optimizer(model, steepest.schedule_free_sgd(0.1))
    for _ in range(3):
        a_step(model, optimizer)
    model.eval()
    with torch.no_grad(), pytest.raises(steepest.InputError, match=r"call optimizer.eval\(\) first"):
        model(torch.ones(1, 3))
    copied = copy.deepcopy(model)
    optimizer.eval()
    with torch.no_grad():
        assert not torch.equal(model(torch.ones(1, 3)), copied(torch.ones(1, 3)))
    model.train()
    with pytest.raises(steepest.InputError, match=r"call optimizer.train\(\) first"):
        model(torch.ones(1, 3))
    model.weight.grad = torch.ones_like(model.weight)
    with pytest.raises(steepest.InputError, match=r"call optimizer.train\(\) before the next step"):
        optimizer.step()
    optimizer.train()
    a_step(model, optimizer)
    torch.save(model, io.BytesIO())  # the watch does not stand in the way


def test_a_checkpoint_of_the_weights_for_evaluation_goes_on_with_those_of_the_training() -> None:
    finals = []
    for interrupted in (False, True):
        torch.manual_seed(0)
        model = nn.Linear(3, 2)
        optimizer = steepest.Optimizer(model, steepest.schedule_free_adamw(0.1))
        for i in range(6):
            if interrupted and i == 3:
                optimizer.eval()
                stored = io.BytesIO()
                torch.save([model.state_dict(), optimizer.state_dict()], stored)
                stored.seek(0)
                weights, state = torch.load(stored, weights_only=True)
                model = nn.Linear(3, 2)
                model.load_state_dict(weights)
                optimizer = steepest.Optimizer(model, steepest.schedule_free_adamw(0.1))
                optimizer.load_state_dict(state)
                assert optimizer.evaluating
                optimizer.train()
            a_step(model, optimizer)
        finals.append(model.weight.detach().clone())
    assert torch.equal(*finals)


@pytest.mark.parametrize(
    "recipe", ["schedule_free_adamw(0.01)", "chain(adamw(0.01), ema_weights(0.95))", "chain(sgd(0.1), lookahead())"]
)
def test_a_fit_evaluates_and_leaves_the_averaged_weights(recipe: str) -> None:
    run = steepest.fit("iris", recipe, record=False)
    assert run.metrics["accuracy"] > 0.8


def test_sharpness_aware_takes_the_gradient_uphill() -> None:
    """By hand for a quadratic loss: the gradient of p^2 / 2 at p + rho p / |p| is that point itself."""

    class Square(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.p = nn.Parameter(torch.tensor([3.0, 4.0], dtype=torch.float64))
            self.norm = nn.BatchNorm1d(2, dtype=torch.float64)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            self.norm(x)
            return self.p.square().sum() / 2

    model = Square()
    objective = steepest.mse()
    context = StepContext(model, [model.p], objective, lambda out, _: out, torch.ones(4, 2, dtype=torch.float64), torch.ones(4))
    result = steepest.sharpness_aware(0.5)(context)
    assert result.loss.item() == pytest.approx(12.5)
    np.testing.assert_allclose(model.p.grad, [3.3, 4.4], atol=1e-9)  # p + 0.5 p / 5
    np.testing.assert_allclose(model.p.detach(), [3.0, 4.0], atol=0)
    assert model.norm.num_batches_tracked == 1
    steepest.sharpness_aware(0.5, adaptive=True)(context)
    p = np.array([3.0, 4.0])
    np.testing.assert_allclose(model.p.grad, p + 0.5 * p**3 / np.linalg.norm(p * p), atol=1e-9)
    plain(context)
    np.testing.assert_allclose(model.p.grad, p)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: steepest.ema_weights(1.0), "ema_weights decay must be in [0, 1) (got 1.0)"),
        (lambda: steepest.lookahead(0), "lookahead every must be a whole number >= 1 (got 0)"),
        (lambda: steepest.schedule_free(0.0), "schedule_free beta must be in (0, 1) (got 0.0)"),
        (lambda: steepest.keep_state(steepest.sgd(), "4-bit"), "keep_state storage must be '8-bit', 'bfloat16', 'float16' or"),
        (lambda: steepest.keep_state(steepest.sgd(), "float64"), "'float16' or 'float32' (got 'float64')"),
        (lambda: steepest.stochastic_rounding(-1), "stochastic_rounding seed must be a whole number from 0 to 4294967295"),
        (lambda: steepest.keep_state("adam"), "keep_state takes a rule such as adamw(1e-3) (got 'adam')"),
        (lambda: steepest.sharpness_aware(-1), "rho must be > 0 (got -1); did you mean 1?"),
        (lambda: steepest.selective(0), "share must be in (0, 1] (got 0)"),
        (lambda: steepest.selective(1.5), "share must be in (0, 1] (got 1.5)"),
        (lambda: steepest.parse_recipe("Recipe(adam(), gradient=selective(2))"), "share must be in (0, 1] (got 2)"),
        (lambda: steepest.parse_recipe("Recipe(adam(), gradient=selective(part=2))"), "unexpected keyword argument 'part'"),
        (lambda: steepest.Recipe(steepest.adam(), gradient="selectiv()"), "did you mean 'selective'?"),
        (lambda: steepest.Recipe(steepest.adam(), gradient=0.5), "gradient takes a function such as sharpness_aware(0.05)"),
    ],
)
def test_wrong_numbers_are_told(make: Callable[[], object], message: str) -> None:
    with pytest.raises(steepest.InputError) as caught:
        make()
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("rule", "message"),
    [
        (steepest.chain(steepest.schedule_free(), steepest.sgd(0.1)), r"schedule_free\(\) stands last"),
        (steepest.chain(steepest.schedule_free_sgd(), steepest.clip_value(1.0)), r"put clip_value\(1.0\) before it"),
        (steepest.chain(steepest.schedule_free_sgd(), steepest.lookahead()), r"does not go with lookahead\(\)"),
        (steepest.chain(steepest.clamp_weights(0, 1), steepest.schedule_free_sgd()), "does not go with clamp_weights"),
        (steepest.chain(steepest.sgd(), steepest.ema_weights(), steepest.clamp_weights(0, 1)), "put it before that one"),
        (steepest.chain(steepest.stochastic_rounding(), steepest.sgd(), steepest.lookahead()), "put it before that one"),
        (steepest.chain(steepest.sgd(), steepest.compensated(), steepest.stochastic_rounding()), "keep one of them"),
    ],
    ids=str,
)
def test_links_that_undo_one_another_are_refused(rule: steepest.Rule, message: str) -> None:
    with pytest.raises(steepest.InputError, match=message):
        steepest.Optimizer(torch.nn.Linear(2, 1), rule)


def test_sharpness_aware_lets_a_network_without_gradients_be() -> None:
    net = nn.Linear(3, 2).requires_grad_(False)
    inputs = torch.ones(5, 3, requires_grad=True)
    context = StepContext(
        net, list(net.parameters()), steepest.mse(), lambda a, b: (a - b).square().mean(), inputs, inputs[:, :2]
    )
    assert steepest.sharpness_aware()(context).weight == 5


def _context(net: nn.Module, rows: int) -> StepContext:
    X, y = torch.randn(rows, 3, generator=torch.Generator().manual_seed(1)), torch.arange(rows) % 2
    return StepContext(net, list(net.parameters()), steepest.cross_entropy(), nn.functional.cross_entropy, X, y)


def test_selective_learns_from_the_hardest_rows_alone() -> None:
    net = nn.Linear(3, 2)
    context = _context(net, 10)
    losses = nn.functional.cross_entropy(net(context.inputs), context.targets, reduction="none")
    result = steepest.selective(0.3)(context)
    found = [p.grad.clone() for p in net.parameters() if p.grad is not None]
    hard = losses.topk(3).indices
    wanted = torch.autograd.grad(losses[hard].mean(), list(net.parameters()))
    for mine, theirs in zip(found, wanted, strict=True):
        torch.testing.assert_close(mine, theirs)
    assert result.weight == 10
    assert result.loss.item() == pytest.approx(losses.mean().item())
    steepest.selective(1.0)(context)
    whole = [p.grad.clone() for p in net.parameters() if p.grad is not None]
    plain(context)
    for mine, p in zip(whole, net.parameters(), strict=True):
        torch.testing.assert_close(mine, p.grad)


def test_selective_reports_what_plain_reports_and_normalises_over_two_rows() -> None:
    net = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Linear(4, 2))
    context = _context(net, 2)
    context.objective = steepest.cross_entropy(l2=0.1)
    reported = steepest.selective(0.5)(context).loss.item()
    assert reported == pytest.approx(plain(context).loss.item(), rel=1e-5)


def test_selective_counts_a_batch_once_where_it_is_normalised() -> None:
    net = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Linear(4, 2))
    steepest.selective(0.5)(_context(net, 8))
    norm = net[1]
    assert isinstance(norm, nn.BatchNorm1d)
    assert norm.num_batches_tracked == 1


def test_selective_weighs_classes_as_the_objective_does() -> None:
    weighed = "objective=cross_entropy(class_weights=(0.001, 1.0, 1.0)), model=linear_model()"
    bare, whole = (
        steepest.fit("iris", steepest.parse_recipe(f"Recipe(sgd(0.05), batch=16, epochs=4.0, {weighed}{more})"), record=False)
        for more in ("", ", gradient=selective(1.0)")
    )
    assert whole.curve[-1]["train_loss"] == pytest.approx(bare.curve[-1]["train_loss"], rel=0.05)


def test_an_objective_without_losses_of_rows_is_refused() -> None:
    context = _context(nn.Linear(3, 2), 4)
    context.loss = lambda out, _: torch.linalg.matrix_norm(out @ out.mT) if out.sum().item() > 1e9 else out.sum()
    with pytest.raises(steepest.InputError, match="selective needs the loss of each row"):
        steepest.selective(0.5)(context)


@pytest.mark.parametrize("text", ["sharpness_aware(0.1)", "selective(0.5)", "accumulated(2)"])
def test_a_recipe_says_how_its_gradient_is_obtained(text: str) -> None:
    recipe = steepest.parse_recipe(f"Recipe(adamw(0.01), batch=16, epochs=3.0, gradient={text})")
    assert repr(recipe) == f"Recipe(adamw(0.01), batch=16, epochs=3.0, gradient={text})"
    assert steepest.parse_recipe(repr(recipe)) == recipe
    said = steepest.fit("iris", recipe, record=False)
    bare = steepest.parse_recipe("Recipe(adamw(0.01), batch=16, epochs=3.0)")
    given = steepest.fit("iris", bare, gradient=recipe.gradient or plain, record=False)
    assert [point["loss"] for point in said.curve] == [point["loss"] for point in given.curve]
    other = steepest.fit("iris", bare, record=False)
    assert text.startswith("accumulated") or [p["loss"] for p in other.curve] != [p["loss"] for p in said.curve]


def test_trainings_whose_gradient_is_obtained_otherwise_are_no_lanes() -> None:
    recipes = [steepest.parse_recipe(f"Recipe(adamw({lr}), batch=16, gradient=selective(0.5))") for lr in (0.1, 0.01)]
    with pytest.raises(steepest.InputError, match="its way to the gradient"):
        steepest.Lanes(steepest.prepare_lanes("iris", recipes, seeds=[0, 0]))
