"""Networks that do something of their own: what carries a training out faster must see it, or let go."""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import steepest
from steepest.gradient import StepContext, StepResult, plain
from steepest.training.known import default_plan
from steepest.training.setup import prepare

X = np.random.default_rng(0).normal(size=(96, 6)).astype(np.float32)
Y = np.arange(96) % 3
RECIPE = "Recipe(sgd(0.1), batch=16, epochs=2)"
AS_RECORDED = steepest.Plan(written_out=False)


def dense() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Flatten(), nn.Linear(6, 16), nn.ReLU(), nn.Linear(16, 3))


def fitted(net: nn.Module, plan: Any = None, recipe: Any = RECIPE, **how: Any) -> list[Tensor]:
    steepest.fit(net, X, Y, recipe=recipe, plan=plan, record=False, progress=False, **how)
    return [p.detach().clone() for p in net.parameters()]


def same(ones: list[Tensor], others: list[Tensor]) -> None:
    for one, other in zip(ones, others, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)


def masks_a_gradient(net: nn.Sequential) -> None:
    net[1].weight.register_hook(lambda g: g * 0)


def halves_what_a_layer_gives(net: nn.Sequential) -> None:
    forward = net[1].forward
    net[1].forward = lambda x: forward(x) / 2  # type: ignore[method-assign]


def halves_what_the_network_gives(net: nn.Sequential) -> None:
    forward = net.forward
    net.forward = lambda x: forward(x) / 2  # type: ignore[method-assign]


def doubles_what_is_flattened(net: nn.Sequential) -> None:
    net[0].register_forward_hook(lambda module, given, gave: gave * 2)


@pytest.mark.parametrize(
    "change", [masks_a_gradient, halves_what_a_layer_gives, halves_what_the_network_gives, doubles_what_is_flattened]
)
def test_who_listens_to_dense_layers_is_heard(change: Callable[[nn.Sequential], None]) -> None:
    nets = dense(), dense()
    for net in nets:
        change(net)
    same(fitted(nets[0]), fitted(nets[1], AS_RECORDED))


def test_hooks_of_all_modules_are_heard() -> None:
    handle = nn.modules.module.register_module_forward_hook(
        lambda module, given, gave: gave * 1.1 if type(module) is nn.Linear else None
    )
    try:
        same(fitted(dense()), fitted(dense(), AS_RECORDED))
    finally:
        handle.remove()


def test_a_loss_that_knows_the_weights() -> None:
    found = []
    for plan in (None, AS_RECORDED, steepest.Plan(micro_batch=7)):
        net = dense()

        def loss(outputs: Tensor, targets: Tensor, net: Any = net) -> Tensor:
            return F.cross_entropy(outputs, targets) + 0.1 * net[1].weight.square().sum()

        recipe = steepest.Recipe(steepest.sgd(0.1), batch=16, epochs=2, objective=loss)
        found.append(fitted(net, plan, recipe))
    same(found[0], found[1])
    same(found[0], found[2])


def test_gradients_of_two_passes_are_apart() -> None:
    seen = []

    def twice(context: StepContext) -> StepResult:
        plain(context)
        first = [p.grad for p in context.parameters if p.grad is not None]
        before = [g.clone() for g in first]
        context.inputs = context.inputs * 3
        result = plain(context)
        seen.append(all(torch.equal(one, other) for one, other in zip(first, before, strict=True)))
        return result

    fitted(dense(), gradient=twice)
    assert all(seen)


@pytest.mark.filterwarnings("ignore:Initializing zero-element tensors")
def test_a_layer_of_no_width(capfd: pytest.CaptureFixture[str]) -> None:
    torch.manual_seed(0)
    nets = [nn.Sequential(nn.Linear(6, 0), nn.ReLU(), nn.Linear(0, 3)) for _ in range(2)]
    nets[1].load_state_dict(nets[0].state_dict())
    same(fitted(nets[0]), fitted(nets[1], AS_RECORDED))
    assert "incorrect on entry" not in "".join(capfd.readouterr())


def test_trainings_in_threads_are_those_of_trainings_alone() -> None:
    def run(seed: int) -> str:
        recipe = steepest.Recipe(steepest.adam(0.01), batch=16, epochs=6)
        task = steepest.task("iris", model=steepest.mlp((16,), dropout=0.3))
        return steepest.fit(task, recipe, seed=seed, record=False).facts["weights_sha256"]

    alone = [run(seed) for seed in range(3)]
    torch.manual_seed(7)
    before, found = torch.get_rng_state(), [""] * 3

    def put(seed: int) -> None:
        found[seed] = run(seed)

    threads = [threading.Thread(target=put, args=(seed,)) for seed in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == alone
    assert torch.equal(torch.get_rng_state(), before)


# -- default plans that a network does not bear --------------------------------------------------------------------------

PICTURES = np.random.default_rng(0).normal(size=(64, 3, 8, 8)).astype(np.float32)


class Classic(nn.Module):
    """The network of many tutorials: it flattens by `view`."""

    def __init__(self, wide: int = 8) -> None:
        super().__init__()
        self.conv, self.linear = nn.Conv2d(3, wide, 3, padding=1), nn.Linear(wide * 16, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = F.max_pool2d(F.relu(self.conv(x)), 2)
        return self.linear(x.view(x.size(0), -1))


class WritesInto(Classic):
    def forward(self, x: Tensor) -> Tensor:
        h = F.relu(self.conv(x)).mean((2, 3)).repeat(1, 16)
        out = torch.zeros(len(x), 3)
        out[torch.arange(len(x))] = self.linear(h)
        return out


@pytest.mark.parametrize("network", [Classic, WritesInto])
def test_a_network_that_bears_no_plan_but_the_plainest_trains(network: type[nn.Module]) -> None:
    net = network()
    run = steepest.fit(net, PICTURES, Y[:64], recipe=RECIPE, record=False, progress=False)
    assert run.status == "finished"
    assert all(p.is_contiguous() for p in net.parameters())
    assert run.predict(PICTURES[:5]).shape == (5,)


def test_a_network_of_the_callers_lies_afterwards_as_before() -> None:
    net = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 3))
    steepest.fit(net, PICTURES, Y[:64], recipe=RECIPE, plan="Plan(channels_last=True)", record=False, progress=False)
    assert all(p.is_contiguous() for p in net.parameters())


@pytest.mark.parametrize(("offset", "rounds"), [(2000.0, False), (0.0, True)])
def test_numbers_far_from_zero_are_not_rounded(offset: float, rounds: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("steepest.training.known.has_bfloat16", lambda device: True)
    net = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 1))
    y = PICTURES.mean((1, 2, 3)) + offset
    job = steepest.Task(steepest.arrays(PICTURES, y, scaling="none", images=False), model=net)
    plan = default_plan(prepare(job, steepest.Recipe(steepest.adam(0.01), batch=16, epochs=1)))
    assert (plan.precision == "bfloat16") == rounds


class Noisy(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.Sequential(nn.Linear(6, 6))
        self.random = np.random.default_rng(0)

    def forward(self, x: Tensor) -> Tensor:
        h = torch.tanh(self.inner(x))
        return h * torch.from_numpy(self.random.random(h.shape).astype(np.float32))


class InPlace(Noisy):
    def forward(self, x: Tensor) -> Tensor:
        return self.inner(x.mul_(2.0))


@pytest.mark.parametrize(
    ("block", "message"),
    [(Noisy, "checkpointing gives this network another gradient"), (InPlace, "checkpointing failed: RuntimeError")],
)
def test_blocks_that_cannot_be_asked_again(block: type[nn.Module], message: str) -> None:
    net = nn.Sequential(block(), block(), nn.Linear(6, 3))
    with pytest.raises(steepest.InputError, match=message):
        fitted(net, steepest.Plan(checkpointing=True))


@pytest.mark.parametrize(
    ("gradient", "message"),
    [
        (lambda context: None, r"a gradient function returns a StepResult\(loss, weight\) \(got NoneType\)"),
        (lambda context: StepResult(1.0, 3), r"the mean loss, one number as a tensor, and whole rows > 0 \(got float, 3\)"),
        (lambda context: StepResult(torch.ones(3), 3), r"whole rows > 0 \(got shape \(3,\), 3\)"),
        (lambda context: StepResult(torch.ones(()), 0), r"whole rows > 0 \(got shape \(\), 0\)"),
    ],
)
def test_what_a_gradient_function_gives_back_is_looked_at(gradient: Any, message: str) -> None:
    with pytest.raises(steepest.InputError, match=message):
        fitted(dense(), gradient=gradient)


def test_wrong_settings_of_fit() -> None:
    with pytest.raises(steepest.InputError, match="max_steps must be a whole number >= 1"):
        fitted(dense(), max_steps="3")
    with pytest.raises(steepest.InputError, match=r"home is the name of a folder \(got 3\)"):
        steepest.fit(dense(), X, Y, recipe=RECIPE, home=3)  # type: ignore[arg-type]


def test_partial_functions_are_objectives() -> None:
    loss = functools.partial(F.cross_entropy, label_smoothing=0.1)
    assert fitted(dense(), None, steepest.Recipe(steepest.sgd(0.1), batch=16, epochs=1, objective=loss))
