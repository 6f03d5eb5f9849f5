"""Rules for little memory: what rounding loses is not lost, 8-bit state stays near, and the bytes are those promised."""

from __future__ import annotations

import io
from collections.abc import Callable

import pytest
import torch

import steepest
from steepest.kernels import storage
from steepest.kernels.random import bits, key_of, standard_normal, stochastic_bfloat16

EXECUTIONS = ("eager", "C")
WITHOUT_COMPILER = ("eager", "fused", "C")


def small_steps(rule: steepest.Rule, steps: int = 1000) -> torch.Tensor:
    """Take 1,000 steps of 1e-5 from 1.0 in bfloat16, where the smallest change is 1/256 downwards."""
    p = torch.ones(1000, dtype=torch.bfloat16, requires_grad=True)
    optimizer = steepest.Optimizer([p], rule)
    p.grad = torch.ones_like(p)
    for _ in range(steps):
        optimizer.step()
    return p.detach().float()


@pytest.mark.parametrize("execution", EXECUTIONS)
def test_small_steps_arrive(execution: str, force: Callable[[str], None]) -> None:
    force(execution)
    step = steepest.sgd(1e-5)
    assert (small_steps(step) == 1.0).all()  # lost, as in any optimizer that rounds to the nearest
    compensated = small_steps(steepest.chain(step, steepest.compensated()))
    assert (compensated - 0.99).abs().max() <= 1 / 256
    at_random = small_steps(steepest.chain(step, steepest.stochastic_rounding()))
    assert abs(at_random.mean().item() - 0.99) < 5e-4
    assert at_random.unique().numel() > 2


def test_stochastic_rounding_is_right_on_average_and_exact_where_it_can_be() -> None:
    x = torch.full((200_000,), 1.0 + 0.3 / 128)
    found = stochastic_bfloat16(x, x, key_of(0, 0, 1))
    assert set(found.tolist()) == {1.0, 1.0 + 1 / 128}
    assert abs((found > 1).double().mean().item() - 0.3) < 0.005
    for value in (2.5, 0.0, -1.0, float("inf"), -float("inf")):
        assert stochastic_bfloat16(torch.tensor([value]), torch.zeros(1), 5).item() == value
    assert stochastic_bfloat16(torch.tensor([float("nan")]), torch.zeros(1), 5).isnan().all()


def test_random_numbers_are_even_normal_and_depend_on_everything() -> None:
    drawn = bits(1_000_000, key_of(0, 0, 1), torch.device("cpu"))
    assert abs(drawn.double().mean() / 2**32 - 0.5) < 1e-3
    for bit in range(32):
        assert abs(((drawn >> bit) & 1).double().mean() - 0.5) < 3e-3
    z = standard_normal(torch.zeros(1_000_000), key_of(0, 0, 1), torch.float64)
    assert abs(z.mean()) < 4e-3
    assert abs(z.var() - 1) < 6e-3
    assert abs((z**4).mean() - 3) < 0.05
    assert abs((z[1:] * z[:-1]).mean()) < 4e-3
    keys = {key_of(seed, place, t) for seed in range(3) for place in range(3) for t in range(3)}
    assert len(keys) == 27
    other = standard_normal(torch.zeros(1_000_000), key_of(0, 0, 2), torch.float64)
    assert abs((z * other).mean()) < 4e-3


@pytest.mark.parametrize("signed", [True, False])
def test_eight_bits_keep_three_decades_and_never_make_a_size_zero(signed: bool) -> None:
    torch.manual_seed(0)
    x = torch.randn(5000) * 10 ** torch.empty(5000).uniform_(-3, 0)
    x = x if signed else x.square()
    state = storage.EightBit(
        torch.zeros(5000, dtype=torch.int8 if signed else torch.uint8), torch.zeros(storage.blocks_of(5000))
    )
    storage.write(state, x)
    found = storage.read(state, torch.float32)
    peak = torch.nn.functional.pad(x.abs(), (0, 120)).view(-1, 256).amax(1).repeat_interleave(256)[:5000]
    step = 2 * (x.abs() / peak).sqrt() / 127 + 1 / 127**2 if signed else 4 * (x / peak) ** 0.75 / 255 + 2 / 255**2
    assert ((found - x).abs() <= 0.6 * step * peak + 1e-12).all()
    assert signed or (found[x > 0] > 0).all()
    storage.write(state, found)
    torch.testing.assert_close(storage.read(state, torch.float32), found)  # what was read is kept as it is


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_block_that_is_not_finite_is_lost_alone(value: float) -> None:
    x = torch.ones(600)
    x[300] = value
    state = storage.EightBit(torch.zeros(600, dtype=torch.int8), torch.zeros(3))
    storage.write(state, x)
    found = storage.read(state, torch.float32)
    assert found[256:512].isnan().all()
    assert torch.equal(found[:256], torch.ones(256))


RULES = {
    "adam": (steepest.adam(1e-3), 2),
    "adamw": (steepest.adamw(1e-3), 2),
    "momentum": (steepest.momentum(1e-2), 1),
    "lion": (steepest.lion(1e-4), 1),
}


@pytest.mark.parametrize("execution", EXECUTIONS)
@pytest.mark.parametrize("name", RULES)
def test_eight_bit_state_takes_the_bytes_it_says_and_steps_alike(
    name: str, execution: str, force: Callable[[str], None]
) -> None:
    force(execution)
    rule, slots = RULES[name]
    finals = []
    for kept in (rule, steepest.keep_state(rule)):
        generator = torch.Generator().manual_seed(0)
        params = [torch.randn(64, 100, generator=generator).requires_grad_(), torch.zeros(100, requires_grad=True)]
        optimizer = steepest.Optimizer(params, kept)
        target = torch.randn(64, 100, generator=generator)
        for _ in range(50):
            params[0].grad = params[0].detach() - target + 0.1 * torch.randn(64, 100, generator=generator)
            params[1].grad = torch.ones(100)
            optimizer.step()
        assert optimizer.plan().rows[0]["execution"] == execution
        finals.append([p.detach().clone() for p in params])
    large = {key: value for key, value in optimizer.state[params[0]].items() if key != "step"}
    assert sum(value.numel() * value.element_size() for value in large.values()) == slots * 6400 * (1 + 4 / 256)
    assert "exp_avg" not in optimizer.state[params[1]] or optimizer.state[params[1]]["exp_avg"].dtype == torch.float32
    start = torch.randn(64, 100, generator=torch.Generator().manual_seed(0))
    moved = (finals[0][0] - start).norm()
    assert (finals[1][0] - finals[0][0]).norm() < 0.1 * moved
    assert torch.equal(finals[0][1], finals[1][1])  # small parameters keep theirs in full


def test_compiled_eight_bit_state_is_that_of_the_definition_to_one_code(force: Callable[[str], None]) -> None:
    found = []
    for execution in EXECUTIONS:
        force(execution)
        generator = torch.Generator().manual_seed(0)
        p = torch.randn(33, 70, generator=generator).requires_grad_()
        optimizer = steepest.Optimizer([p], steepest.keep_state(steepest.adamw(1e-3), min_size=0))
        for _ in range(20):
            p.grad = torch.randn(33, 70, generator=generator)
            optimizer.step()
        found.append((p.detach().clone(), optimizer.state[p]))
    for slot in ("exp_avg", "exp_avg_sq"):
        apart = (found[0][1][slot].int() - found[1][1][slot].int()).abs()
        assert apart.max() <= 1
        assert (apart > 0).double().mean() < 1e-3
    torch.testing.assert_close(found[0][0], found[1][0], rtol=1e-4, atol=1e-4)


def test_eight_bit_state_is_saved_and_loaded_as_it_is() -> None:
    torch.manual_seed(0)
    rule = steepest.keep_state(steepest.adamw(1e-3), min_size=0)
    p = torch.randn(1000, requires_grad=True)
    optimizer = steepest.Optimizer([p], rule)
    grads = [torch.randn(1000) for _ in range(6)]
    for g in grads[:3]:
        p.grad = g
        optimizer.step()
    stored = io.BytesIO()
    torch.save([p.detach(), optimizer.state_dict()], stored)
    stored.seek(0)
    weights, state = torch.load(stored, weights_only=True)
    q = weights.clone().requires_grad_()
    other = steepest.Optimizer([q], rule)
    other.load_state_dict(state)
    assert other.state[q]["exp_avg"].dtype == torch.int8
    for g in grads[3:]:
        p.grad = q.grad = g
        optimizer.step()
        other.step()
    assert torch.equal(p, q)


def test_float32_state_of_bfloat16_parameters_is_not_recast() -> None:
    p = torch.ones(10, dtype=torch.bfloat16, requires_grad=True)
    optimizer = steepest.Optimizer([p], steepest.keep_state(steepest.adamw(1e-3), "float32"))
    p.grad = torch.full_like(p, 0.3)
    optimizer.step()
    other = steepest.Optimizer([p], optimizer.rule)
    other.load_state_dict(optimizer.state_dict())
    assert other.state[p]["exp_avg"].dtype == torch.float32
    assert torch.equal(other.state[p]["exp_avg"], optimizer.state[p]["exp_avg"])


@pytest.mark.parametrize("execution", WITHOUT_COMPILER)
@pytest.mark.parametrize("storage", ["8-bit", "float32", "bfloat16", "float16"])
def test_state_in_another_format_steps_in_every_execution(storage: str, execution: str, force: Callable[[str], None]) -> None:
    force(execution)
    for rule in (steepest.adamw(1e-2), steepest.momentum(1e-2)):
        p = torch.ones(300, dtype=torch.bfloat16, requires_grad=True)
        optimizer = steepest.Optimizer([p], steepest.keep_state(rule, storage, min_size=0))
        for _ in range(3):
            p.grad = torch.full_like(p, 1e-4)
            optimizer.step()
        assert torch.isfinite(p).all()


def test_means_of_squares_are_not_kept_in_half_precision() -> None:
    p = torch.ones(300, requires_grad=True)
    optimizer = steepest.Optimizer([p], steepest.keep_state(steepest.adam(1e-2), "float16"))
    p.grad = torch.full_like(p, 1e-4)  # whose square is 0 in float16
    optimizer.step()
    assert optimizer.state[p]["exp_avg"].dtype == torch.float16
    assert optimizer.state[p]["exp_avg_sq"].dtype == torch.float32
    torch.testing.assert_close(p.detach(), torch.full_like(p, 0.99), rtol=0, atol=1e-4)


def test_which_state_is_never_negative() -> None:
    """Codes of 8 bits keep those from becoming 0; a new rule's squares must say that they are."""
    parameter = steepest.rules.Parameter("w", (4, 4), "matrices")
    squares = {"exp_avg_sq", "square_avg", "sum", "acc_delta", "max_exp_avg_sq", "exp_inf", "step_size", "variance"}
    for make in steepest.rules.CATALOGUE.values():
        for link in make().links(parameter):
            for name, slot in link.slots().items():
                if slot.shape is None:
                    assert slot.nonnegative == (name in squares), (make.__name__, name)


@pytest.mark.slow
def test_a_mean_of_squares_in_eight_bits_follows_for_long() -> None:
    """With a memory of 1,000 steps, each changes less than a code: rounding must not hold it where it is."""
    generator = torch.Generator().manual_seed(0)
    params = [torch.zeros(64, 100, requires_grad=True) for _ in range(2)]
    rules = (steepest.adamw(1e-3), steepest.keep_state(steepest.adamw(1e-3), min_size=0))
    optimizers = [steepest.Optimizer([p], rule) for p, rule in zip(params, rules, strict=True)]
    for t in range(4000):
        g = torch.randn(64, 100, generator=generator) * (1.0 if t < 1000 else 0.1)
        for p, optimizer in zip(params, optimizers, strict=True):
            p.grad = g
            optimizer.step()
    full, codes = (optimizer.state[p] for optimizer, p in zip(optimizers, params, strict=True))
    eight = storage.read(storage.EightBit(codes["exp_avg_sq"], codes["exp_avg_sq_scale"]), torch.float32)
    ratio = (eight / full["exp_avg_sq"]).flatten().quantile(torch.tensor([0.01, 0.5, 0.99]))
    assert (ratio > 0.5).all()
    assert (ratio < 2.0).all()


@pytest.mark.parametrize("to_eight", [True, False])
def test_a_checkpoint_goes_from_eight_bits_to_whole_numbers_and_back(to_eight: bool) -> None:
    rules = [steepest.adamw(0.01), steepest.keep_state(steepest.adamw(0.01))]
    gradient = torch.randn(5000, generator=torch.Generator().manual_seed(0))
    found = []
    for rule, other in ((rules[0], rules[0]), rules if to_eight else rules[::-1]):
        p = torch.nn.Parameter(torch.zeros(5000))
        first, second = steepest.Optimizer([p], rule), steepest.Optimizer([p], other)
        p.grad = gradient.clone()
        first.step()
        second.load_state_dict(first.state_dict())
        second.step()
        assert ("exp_avg_scale" in second.state[p]) == (other is rules[1])
        found.append(p.detach())
    torch.testing.assert_close(*found, rtol=0, atol=5e-3)


def test_eight_bit_state_follows_a_change_of_layout() -> None:
    """Its scales are those of the numbers as they lie in memory."""
    generator = torch.Generator().manual_seed(0)
    gradient = torch.randn(16, 32, 4, 4, generator=generator) * torch.logspace(-4, 0, 32)[None, :, None, None]
    found = []
    for layout in (torch.contiguous_format, torch.channels_last):
        p = torch.nn.Parameter(torch.zeros(16, 32, 4, 4))
        optimizer = steepest.Optimizer([p], steepest.keep_state(steepest.momentum(0.1)))
        p.grad = gradient.clone()
        optimizer.step()
        p.data = p.data.contiguous(memory_format=layout)
        p.grad = torch.zeros_like(p)
        optimizer.step()
        found.append(p.detach())
    torch.testing.assert_close(*found, rtol=0, atol=2e-3)


@pytest.mark.parametrize("storage", ["8-bit", "bfloat16"])
def test_copies_of_the_weights_stay_whole(storage: str) -> None:
    """Prodigy's first weights, from which it measures how far it has come; the average of ASGD."""
    distances = []
    for rule in (steepest.prodigy(), steepest.keep_state(steepest.prodigy(), storage, min_size=0)):
        p = torch.nn.Parameter(torch.randn(64, 64, generator=torch.Generator().manual_seed(0)))
        optimizer = steepest.Optimizer([p], rule)
        for _ in range(60):
            p.grad = p.detach() / p.numel()
            optimizer.step()
        distances.append(optimizer.state[p]["d"].item())
        assert optimizer.state[p]["p0"].dtype == torch.float32
    assert abs(distances[1] / distances[0] - 1) < 0.02
    p = torch.nn.Parameter(torch.ones(300))
    optimizer = steepest.Optimizer([p], steepest.keep_state(steepest.asgd(0.1, t0=0), storage, min_size=0))
    p.grad = torch.ones(300)
    optimizer.step()
    optimizer.eval()
    assert torch.equal(p, optimizer.state[p]["ax"])


def test_an_average_in_half_precision_is_of_all_steps() -> None:
    """A share of 1/256 of a step would be lost in bfloat16 itself."""
    p = torch.nn.Parameter(torch.zeros(3, dtype=torch.bfloat16))
    optimizer = steepest.Optimizer([p], steepest.asgd(1 / 32, lambd=0.0, t0=0))
    passed = []
    for _ in range(256):
        p.grad = torch.ones_like(p)
        optimizer.step()
        passed.append(p.detach().float())
    average = torch.stack(passed[1:]).mean(dim=0)  # torch's first share is 1, and so is its second
    torch.testing.assert_close(optimizer.state[p]["ax"], average, rtol=1e-4, atol=0)
