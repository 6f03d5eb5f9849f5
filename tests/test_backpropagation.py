"""Backpropagation written out: what autograd finds, in training too, and left alone where it does not hold."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils import parametrizations

import steepest
from steepest.backpropagation import dense_end, loss_and_gradient
from steepest.plans import Plan


class Doubled(nn.Module):
    """A layer of somebody's own."""

    def forward(self, x: Tensor) -> Tensor:
        return 2 * x


NETWORKS: dict[str, list[nn.Module]] = {
    "linear": [nn.Linear(12, 3)],
    "relu": [nn.Flatten(), nn.Linear(12, 8), nn.ReLU(), nn.Linear(8, 8), nn.ReLU(inplace=True), nn.Linear(8, 3)],
    "others": [nn.Linear(12, 8), nn.Tanh(), nn.Linear(8, 8), nn.GELU(), nn.Linear(8, 8), nn.SiLU(), nn.Linear(8, 3)],
    "dropout": [nn.Linear(12, 8), nn.ReLU(), nn.Dropout(0.3), nn.Linear(8, 8), nn.Dropout(0.5), nn.ReLU(), nn.Linear(8, 3)],
    "norm before": [nn.Linear(12, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 8), nn.Tanh(), nn.Linear(8, 3)],
    "own before": [nn.Linear(12, 12), Doubled(), nn.Linear(12, 8), nn.ReLU(), nn.Linear(8, 3)],
}


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("train", [True, False])
def test_gradients_are_those_of_autograd(name: str, train: bool) -> None:
    torch.manual_seed(0)
    net = nn.Sequential(*NETWORKS[name]).train(train)
    x, targets = torch.randn(20, 12), torch.randint(0, 3, (20,))
    dense = dense_end(net, x[:2])
    assert dense is not None
    assert dense.free
    for _ in range(2):  # the second time into the memory of the first
        state = torch.get_rng_state()
        for p in net.parameters():
            p.grad = None
        outputs = net(x)
        nn.functional.cross_entropy(outputs, targets).backward()
        theirs = [p.grad.clone() for p in net.parameters() if p.grad is not None]
        torch.set_rng_state(state)
        mine = dense.outputs(x)
        assert torch.equal(mine, outputs)
        dense.backward(
            torch.autograd.grad(nn.functional.cross_entropy(leaf := mine.detach().requires_grad_(), targets), leaf)[0]
        )
        for p, other in zip(net.parameters(), theirs, strict=True):
            torch.testing.assert_close(p.grad, other, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize(
    "objective",
    [
        steepest.cross_entropy(),
        steepest.cross_entropy(label_smoothing=0.1),
        steepest.cross_entropy(class_weights=(1.0, 2.0, 3.0)),
        steepest.focal(),
    ],
)
def test_losses_and_their_gradients_are_torchs(objective: Any) -> None:
    torch.manual_seed(0)
    data = steepest.arrays(torch.randn(30, 4), torch.arange(30) % 3)
    loss, outputs, targets = objective.loss(data), torch.randn(16, 3), torch.randint(0, 3, (16,))
    value, gradient = loss_and_gradient(objective, loss, outputs, targets)
    leaf = outputs.clone().requires_grad_()
    expected = loss(leaf, targets)
    torch.testing.assert_close(value, expected.detach(), rtol=1e-6, atol=1e-7)
    torch.testing.assert_close(gradient, torch.autograd.grad(expected, leaf)[0], rtol=1e-5, atol=1e-8)


def shared() -> nn.Sequential:
    layer = nn.Linear(8, 8)
    return nn.Sequential(nn.Linear(12, 8), layer, nn.ReLU(), layer, nn.Linear(8, 3))


def tied() -> nn.Sequential:
    net = nn.Sequential(nn.Linear(12, 8), nn.Linear(8, 8), nn.Linear(8, 8), nn.Linear(8, 3))
    net[2].weight = net[1].weight  # type: ignore[union-attr]
    return net


@pytest.mark.parametrize(
    "net",
    [
        nn.Linear(12, 3),
        nn.Sequential(nn.Linear(12, 3), nn.Sigmoid()),
        nn.Sequential(nn.Linear(12, 3, bias=False)),
        nn.Sequential(nn.Linear(12, 3).double()),
        nn.Sequential(parametrizations.weight_norm(nn.Linear(12, 3))),
        shared(),
        tied(),
    ],
)
def test_other_networks_are_left_to_autograd(net: nn.Module) -> None:
    rows = torch.randn(2, 12, dtype=next(net.parameters()).dtype)
    assert dense_end(net, rows) is None


def test_rows_of_steps_are_left_to_autograd() -> None:
    assert dense_end(nn.Sequential(nn.Linear(12, 3)), torch.randn(2, 5, 12)) is None


def test_who_listens_or_freezes_is_heard() -> None:
    net = nn.Sequential(nn.Linear(12, 8), nn.ReLU(), nn.Linear(8, 3))
    dense = dense_end(net, torch.randn(2, 12))
    assert dense is not None
    handle = net[1].register_forward_hook(lambda *_: None)
    assert not dense.free
    handle.remove()
    assert dense.free
    net[0].weight.requires_grad_(False)  # type: ignore[union-attr]
    assert not dense.free


@pytest.mark.parametrize("objective", [steepest.cross_entropy(l2=1e-3), steepest.cross_entropy(l1=1e-3), steepest.focal()])
def test_a_training_is_the_same_with_and_without(objective: Any) -> None:
    job = steepest.Task("iris", model=steepest.mlp((16, 16), dropout=0.2), objective=objective)
    recipe = steepest.Recipe(steepest.adamw(0.01), batch=16, epochs=3)
    runs = [steepest.fit(job, recipe, plan=Plan(written_out=on), record=False) for on in (True, False)]
    for mine, theirs in zip(*(run.model.parameters() for run in runs), strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-4, atol=1e-5)
