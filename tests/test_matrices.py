"""Rules for whole matrices against their papers' formulas, in every execution; and whether they do what they are for."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import matrix_references
import steepest
from steepest.kernels import matrix
from steepest.rules.language import InverseRoot, Orthogonalize
from steepest.rules.matrices import POLAR_EXPRESS

STEPS = 100


def gradients(shape: tuple[int, ...], steps: int = STEPS) -> list[np.ndarray]:
    rng = np.random.default_rng(3)
    return [rng.standard_normal(shape) * 10.0 ** rng.integers(-1, 2) for _ in range(steps)]


def trained(rule: steepest.Rule, start: np.ndarray, grads: list[np.ndarray]) -> tuple[np.ndarray, dict[str, Tensor]]:
    p = torch.tensor(start, requires_grad=True)
    optimizer = steepest.Optimizer([p], rule)
    for g in grads:
        p.grad = torch.tensor(g) + 0.1 * p.detach()
        optimizer.step()
    return p.detach().numpy(), optimizer.state[p]


# -- orthogonalisation ------------------------------------------------------------------------------------------------


def asked(values: list[Tensor], coefficients: str, steps: int = 5) -> list[Tensor]:
    iteration = steepest.orthogonal(steps=steps, coefficients=coefficients)._iteration()
    return matrix.answers([Orthogonalize(value, **iteration, dtype="float32") for value in values])


SHAPES = [(6, 4), (4, 6), (12, 64), (64, 12), (90, 100), (40, 120), (120, 40), (1, 3), (3, 1)]


@pytest.mark.parametrize("steps", [1, 5, 7, 12])
@pytest.mark.parametrize("name", ["newton_schulz", "polar_express"])
def test_the_iteration_equals_its_polynomials_on_the_singular_values(name: str, steps: int) -> None:
    """On the matrix and on its Gram matrix, in one leg and in several."""
    torch.manual_seed(0)
    values = [torch.randn(shape) for shape in SHAPES]
    for value, found in zip(values, asked(values, name, steps), strict=True):
        expected = getattr(matrix_references, name)(value.double().numpy(), steps)
        assert matrix_references.worst(found, expected) < 2e-4, value.shape


@pytest.mark.parametrize("name", ["newton_schulz", "polar_express"])
@pytest.mark.parametrize("steps", [5, 10, 20])
def test_small_and_missing_singular_values_do_no_harm(name: str, steps: int) -> None:
    """Squared in the Gram matrix they drown in rounding; the result stays among the polynomial's values."""
    torch.manual_seed(0)
    u, v = torch.linalg.qr(torch.randn(40, 40))[0], torch.linalg.qr(torch.randn(160, 40))[0]
    for lowest in (-3, -8):
        singular = torch.logspace(0, lowest, 40)
        singular[-5:] *= lowest > -8  # the last five are missing
        found = asked([(u * singular) @ v.mT], name, steps)[0]
        assert torch.linalg.svdvals(found).max() < 1.3
    assert not asked([torch.zeros(8, 40)], name, steps)[0].any()


def test_polar_express_comes_to_the_polar_factor() -> None:
    torch.manual_seed(0)
    for shape in [(30, 50), (50, 30), (20, 80)]:
        value = torch.randn(shape)
        u, _, vt = torch.linalg.svd(value, full_matrices=False)
        assert (asked([value], "polar_express", 10)[0] - u @ vt).abs().max() < 1e-5
        five = {name: (asked([value], name)[0] - u @ vt).norm().item() for name in ("polar_express", "newton_schulz")}
        assert five["polar_express"] < five["newton_schulz"]
    assert POLAR_EXPRESS[0][0] == 8.28721201814563 / 1.01
    assert POLAR_EXPRESS[-1] == (1.875, -1.25, 0.375)


def test_matrices_asked_for_together_come_back_as_they_went_in() -> None:
    torch.manual_seed(0)
    values = [torch.randn(shape) for shape in [(4, 6), (6, 4), (4, 6), (3, 3), (4, 2, 3), (0, 3)]]
    together = asked(values, "newton_schulz")
    for value, found in zip(values, together, strict=True):
        assert found.shape == value.shape
        torch.testing.assert_close(found, asked([value], "newton_schulz")[0], rtol=0, atol=1e-6)


def test_wide_matrices_are_iterated_as_published_where_products_are_rounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch, "get_float32_matmul_precision", lambda: "medium")
    monkeypatch.setattr(matrix, "_on_gram", None)
    (found,) = asked([torch.randn(4, 40)], "newton_schulz")
    assert torch.linalg.svdvals(found).min() > 0.5


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16, torch.float16], ids=str)
@pytest.mark.parametrize(
    "options", [{}, {"coefficients": "polar_express", "adjust": "match_rms_adamw", "nesterov": False}], ids=str
)
def test_compiled_muon_equals_the_definition(options: dict, dtype: torch.dtype, force: Callable[[str], None]) -> None:
    """Its elementwise part in C, with a norm behind it, a convolution in either layout, and a rule for vectors beside it."""
    shapes = [(6, 4), (4, 6), (4, 6), (5, 2, 3, 3), (5, 2, 3, 3), (0, 4), (70, 60), (9,)]
    rule = steepest.chain(
        steepest.split(
            matrices=steepest.chain(steepest.ema(0.9, nesterov=True), steepest.orthogonal(**_orthogonal_only(options))),
            convolutions=steepest.orthogonal(coefficients="polar_express"),
            rest=steepest.scale_by_adam(),
        ),
        steepest.clip_global_norm(3.0),
        steepest.decay_weights(0.1),
        steepest.scale_by_learning_rate(0.02),
    )
    for one in (rule, steepest.muon(0.02, **options)):
        results = []
        for execution in ("C", "eager"):
            force(execution)
            generator = torch.Generator().manual_seed(0)
            params = [torch.randn(shape, generator=generator).to(dtype) for shape in (shapes if one is rule else shapes[:-1])]
            params[4] = params[4].contiguous(memory_format=torch.channels_last)
            optimizer = steepest.Optimizer([p.requires_grad_() for p in params], one)
            for _ in range(3):
                for p in params:
                    p.grad = torch.randn(p.shape, generator=generator).to(dtype)
                optimizer.step()
            if "No C" not in str(optimizer.plan()):
                assert {row["execution"] for row in optimizer.plan().rows} <= {"eager", execution}
            results.append([p.detach() for p in params])
        for mine, theirs in zip(*results, strict=True):
            rounding = 4 * max(torch.finfo(dtype).eps, 2e-7)
            torch.testing.assert_close(mine, theirs, rtol=rounding, atol=rounding)


def _orthogonal_only(options: dict) -> dict:
    return {name: value for name, value in options.items() if name != "nesterov"}


# -- preconditioners --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("most", "sides"), [(1024, "both"), (5, "right"), (6, "both")])
@pytest.mark.parametrize("every", [1, 7])
def test_shampoo_is_its_papers_formula(every: int, most: int, sides: str) -> None:
    start = np.random.default_rng(0).standard_normal((6, 5))
    reference = matrix_references.Shampoo(start, 0.1, 1e-4, every, sides)
    for g in gradients((6, 5)):
        reference.step(g + 0.1 * reference.w)
    ours, state = trained(steepest.shampoo(0.1, every=every, max_dimension=most), start, gradients((6, 5)))
    assert matrix_references.worst(ours, reference.w) < 1e-10
    assert state["left"].shape == ((6, 6) if sides == "both" else (0, 0))


def test_shampoo_divides_vectors_by_the_root_of_their_squares() -> None:
    start, grads = np.random.default_rng(0).standard_normal(7), gradients((7,))
    w, squares = start.copy(), np.full(7, 1e-4)
    for g in grads:
        u = g + 0.1 * w
        squares += u**2
        w -= 0.1 * u / np.sqrt(squares)
    assert matrix_references.worst(trained(steepest.shampoo(0.1), start, grads)[0], w) < 1e-10


@pytest.mark.parametrize("graft", ["rms", "adam"])
def test_a_grafted_step_has_the_length_of_the_other_rules(graft: str) -> None:
    b1 = 0.9 if graft == "adam" else 0.0
    rng = np.random.default_rng(0)
    for shape in [(6, 5), (7,), (4, 2, 3)]:
        start, grads = rng.standard_normal(shape), gradients(shape, 5)
        moves = []
        for rule in (steepest.shampoo(0.1, beta=0.9, graft=graft), steepest.adam(0.1, b1=b1)):
            p = torch.tensor(start, requires_grad=True)
            optimizer = steepest.Optimizer([p], rule)
            for g in grads:
                before, p.grad = p.detach().clone(), torch.tensor(g)
                optimizer.step()
            moves.append(p.detach() - before)
        assert moves[0].norm().item() == pytest.approx(moves[1].norm().item(), rel=1e-12)
        assert torch.allclose(*moves) == (len(shape) == 1)


@pytest.mark.parametrize("shape", [(6, 6), (6, 5), (5, 6)])
def test_soap_is_its_papers_formula(shape: tuple[int, int]) -> None:
    """Signs of eigenvectors cancel out of the step. Where the first gradient leaves an eigenspace of several dimensions (the
    null space on the longer side), any basis of it is an eigenbasis: the reference then goes on from ours, once checked.
    """
    start, grads = np.random.default_rng(0).standard_normal(shape), gradients(shape)
    reference = matrix_references.Soap(start, 0.02, 0.9, 0.95, 1e-8, 10)
    reference.step(grads[0] + 0.1 * reference.w)
    ours, state = trained(steepest.soap(0.02, b1=0.9, weight_decay=0.0), start, grads[:1])
    assert matrix_references.worst(ours, start) == 0  # the first step only prepares
    for axis, side in enumerate(("left", "right")):
        basis = state[f"{side}_basis"].numpy()
        turned = basis.T @ getattr(reference, side) @ basis
        scale = np.abs(turned).max()
        assert matrix_references.worst(basis.T @ basis, np.eye(len(basis))) < 1e-12
        assert matrix_references.worst(turned, np.diag(np.sort(np.diag(turned))[::-1])) < 1e-12 * scale
        reference.bases[axis] = basis
    for g in grads[1:]:
        reference.step(g + 0.1 * reference.w)
    ours, state = trained(steepest.soap(0.02, b1=0.9, weight_decay=0.0), start, grads)
    assert matrix_references.worst(ours, reference.w) < 1e-10


def test_soap_is_adam_for_vectors_and_long_sides() -> None:
    for shape, most in [((7,), 10), ((6, 5), 4)]:
        start, grads = np.random.default_rng(0).standard_normal(shape), gradients(shape)
        ours, _ = trained(steepest.soap(0.02, b1=0.9, b2=0.99, eps=0.0, max_dimension=most, weight_decay=0.0), start, grads)
        theirs, _ = trained(steepest.adam(0.02, b1=0.9, b2=0.99, eps=0.0), start, grads[1:])
        assert matrix_references.worst(ours, theirs) < 1e-12


def test_preconditioners_work_on_convolutions_as_matrices() -> None:
    rng, grads = np.random.default_rng(0), gradients((4, 2, 3, 3), 12)
    start = rng.standard_normal((4, 2, 3, 3))
    for rule in (steepest.shampoo(0.1, beta=0.9), steepest.soap(0.01)):
        folded = trained(rule, start.reshape(4, 18), [g.reshape(4, 18) for g in grads])[0]
        assert matrix_references.worst(trained(rule, start, grads)[0].reshape(4, 18), folded) < 1e-8


@pytest.mark.parametrize("rule", [steepest.shampoo(0.1), steepest.soap(0.1), steepest.adafactor(0.1)], ids=str)
def test_a_gradient_that_is_not_finite_raises_nothing(rule: steepest.Rule) -> None:
    p = torch.ones(3, 4, requires_grad=True)
    optimizer = steepest.Optimizer([p], rule)
    for value in (1.0, float("nan"), 1.0):
        p.grad = torch.full((3, 4), value)
        optimizer.step()
    assert p.isnan().any()


@pytest.mark.parametrize("rule", [steepest.shampoo(0.1), steepest.soap(0.1), steepest.adafactor(0.1)], ids=str)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_state_of_other_shapes_is_saved_and_loaded(rule: steepest.Rule, dtype: torch.dtype) -> None:
    """Two steps, then one more by the same optimizer and by one that took its state over; state of other shapes is float32."""
    ends = []
    for hand_over in (False, True):
        torch.manual_seed(0)
        params = [torch.randn(shape).to(dtype).requires_grad_() for shape in [(4, 3), (5,), (2, 3, 2), (), (0, 3)]]
        optimizer = steepest.Optimizer(params, rule)
        for step in range(3):
            if step == 2 and hand_over:
                saved = optimizer.state_dict()
                optimizer = steepest.Optimizer(params, rule)
                optimizer.load_state_dict(saved)
            for p in params:
                p.grad = torch.randn(p.shape).to(dtype)
            optimizer.step()
        assert "whole matrices" in optimizer.plan().rows[0]["reason"]
        named = [state[name] for state in optimizer.state.values() for name in ("left", "row_var") if name in state]
        assert all(value.dtype == torch.float32 for value in named)
        ends.append([p.detach() for p in params])
    for kept, handed in zip(*ends, strict=True):
        assert torch.equal(kept, handed)


def test_inverse_root() -> None:
    torch.manual_seed(0)
    values = [torch.randn(n, n, dtype=torch.float64) for n in (3, 5, 3)]
    values = [value @ value.mT for value in values]
    for value, root in zip(values, matrix.answers([InverseRoot(value, 4, 0.1) for value in values]), strict=True):
        inverse = torch.linalg.inv(value + 0.1 * torch.eye(len(value), dtype=torch.float64))
        torch.testing.assert_close(torch.linalg.matrix_power(root, 4), inverse, rtol=0, atol=1e-10)


def steps_to(rule: steepest.Rule, target: float) -> int:
    """Return how many full-batch steps bring the error of a small network on digits below a target."""
    from sklearn.datasets import load_digits

    digits = load_digits()
    x, y = torch.tensor(digits.data / 16, dtype=torch.float32), torch.tensor(digits.target)
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(64, 32), nn.Tanh(), nn.Linear(32, 10))
    optimizer = steepest.Optimizer(net, rule)
    for step in range(1, 301):
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(net(x), y)
        if loss.item() < target:
            return step
        loss.backward()
        optimizer.step()
    return 301


def test_preconditioners_need_fewer_steps_than_adam() -> None:
    """At the best learning rate of a grid, each."""
    best = {
        name: min(steps_to(rule(lr), 0.05) for lr in (0.003, 0.01, 0.03, 0.1))
        for name, rule in {
            "adam": steepest.adam,
            "shampoo": lambda lr: steepest.shampoo(lr, beta=0.95, graft="adam", eps=1e-8),
            "soap": lambda lr: steepest.soap(lr, weight_decay=0.0),
        }.items()
    }
    assert best["shampoo"] <= best["adam"], best
    assert best["soap"] <= best["adam"], best
