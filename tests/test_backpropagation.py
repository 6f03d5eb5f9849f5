"""Backpropagation written out: what autograd finds, in training too, and left alone where it does not hold."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils import parametrizations

import steepest
from steepest.backpropagation import HALF_PAYS, dense_end, loss_and_gradient
from steepest.kernels import dense as dense_kernels
from steepest.plans import Plan

LOSS = steepest.cross_entropy(), nn.functional.cross_entropy


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
    dense = dense_end(net, (x[:2], torch.zeros(2, dtype=torch.int64)), *LOSS)
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
        assert torch.equal(mine, outputs) if dense.in_c is None else torch.allclose(mine, outputs, rtol=1e-6, atol=1e-6)
        dense.backward(
            torch.autograd.grad(nn.functional.cross_entropy(leaf := mine.detach().requires_grad_(), targets), leaf)[0]
        )
        for p, other in zip(net.parameters(), theirs, strict=True):
            torch.testing.assert_close(p.grad, other, rtol=1e-6, atol=1e-7)


def in_c(monkeypatch: pytest.MonkeyPatch, on: bool) -> None:
    if not on:
        monkeypatch.setattr(dense_kernels, "_library", lambda: None)
    elif dense_kernels._library() is None:
        pytest.skip("needs a C compiler, and a torch that shows its BLAS")


def rectified(rows: int = 40) -> tuple[nn.Sequential, Tensor, Tensor]:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(12, 16), nn.ReLU(), nn.Linear(16, 8), nn.Linear(8, 5), nn.ReLU(), nn.Linear(5, 3))
    return net, torch.randn(rows, 12), torch.randint(0, 3, (rows,))


@pytest.mark.parametrize("on", [True, False])
def test_batches_of_any_size_in_c_and_without(on: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    in_c(monkeypatch, on)
    net, x, targets = rectified()
    dense = dense_end(net, (x[:2], torch.zeros(2, dtype=torch.int64)), *LOSS)
    assert dense is not None
    assert (dense.in_c is not None) == on
    for rows in (40, 7, 1, 40):
        net.zero_grad()
        nn.functional.cross_entropy(net(x[:rows]), targets[:rows]).backward()
        theirs = [p.grad for p in net.parameters()]
        net.zero_grad()
        next(net.parameters()).grad = torch.ones(12, 16).t()  # of somebody who lays them out otherwise
        outputs = dense.outputs(x[:rows])
        dense.backward(loss_and_gradient(*LOSS, outputs, targets[:rows])[1])
        for p, other in zip(net.parameters(), theirs, strict=True):
            torch.testing.assert_close(p.grad, other, rtol=1e-5, atol=1e-6)
        with torch.no_grad():
            for p in net.parameters():
                p.data = p - 0.1 * p.grad  # which lies somewhere else  # type: ignore[operator]


def test_a_copy_in_c_has_memory_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    in_c(monkeypatch, True)
    net, x, targets = rectified()
    dense = dense_end(net, (x[:2], torch.zeros(2, dtype=torch.int64)), *LOSS)
    assert dense is not None
    outputs = dense.outputs(x)
    twin = copy.deepcopy(dense)
    twin.outputs(-x)
    dense.backward(loss_and_gradient(*LOSS, outputs, targets)[1])
    mine = [p.grad.clone() for p in net.parameters() if p.grad is not None]
    net.zero_grad()
    nn.functional.cross_entropy(net(x), targets).backward()
    for p, other in zip(net.parameters(), mine, strict=True):
        torch.testing.assert_close(p.grad, other, rtol=1e-5, atol=1e-6)


def test_nan_goes_through_in_c(monkeypatch: pytest.MonkeyPatch) -> None:
    in_c(monkeypatch, True)
    net, x, _ = rectified()
    x[3, 4] = torch.nan
    dense = dense_end(net, (x[:2], torch.zeros(2, dtype=torch.int64)), *LOSS)
    assert dense is not None
    outputs = dense.outputs(x)
    assert outputs.isnan().any(dim=1).tolist() == [i == 3 for i in range(40)]
    dense.backward(torch.ones_like(outputs))
    assert next(net.parameters()).grad.isnan().any()  # type: ignore[union-attr]


def test_rows_of_another_width_are_not_read_in_c(monkeypatch: pytest.MonkeyPatch) -> None:
    in_c(monkeypatch, True)
    net, x, _ = rectified()
    dense = dense_end(net, (x[:2], torch.zeros(2, dtype=torch.int64)), *LOSS)
    assert dense is not None
    assert dense.in_c is not None
    for other in (torch.randn(4, 11), torch.randn(4, 3, 12), torch.randn(0, 12), x.double(), torch.randn(12, 4).t()):
        assert not dense.in_c.takes(other)
    with pytest.raises(RuntimeError, match="shapes cannot be multiplied"):
        dense.outputs(torch.randn(4, 11))


def test_cross_entropy_in_c_is_torchs_and_so_are_its_complaints(monkeypatch: pytest.MonkeyPatch) -> None:
    in_c(monkeypatch, True)
    outputs, targets = 30 * torch.randn(50, 7), torch.randint(0, 7, (50,))
    for z in (outputs, outputs.t().contiguous().t()):
        found = dense_kernels.cross_entropy(z, targets)
        assert found is not None
        leaf = z.clone().requires_grad_()
        expected = nn.functional.cross_entropy(leaf, targets)
        torch.testing.assert_close(found[0], expected.detach())
        torch.testing.assert_close(found[1], torch.autograd.grad(expected, leaf)[0], rtol=1e-5, atol=1e-8)
    for z, wanted in (
        (outputs, targets.int()),
        (outputs, targets[:20]),
        (outputs.double(), targets),
        (outputs[:0], targets[:0]),
        (outputs[:, :, None], targets[:, None]),
        (outputs, torch.full((50,), 7)),
        (outputs, torch.full((50,), -100)),
        (torch.full((50, 7), torch.nan), targets),
    ):
        assert dense_kernels.cross_entropy(z, wanted) is None
    with pytest.raises((IndexError, RuntimeError)):
        loss_and_gradient(*LOSS, outputs, torch.full((50,), 7))


def test_in_bfloat16_only_large_products_are_rounded() -> None:
    torch.manual_seed(0)
    wide = HALF_PAYS // (64 * 128) + 1
    net = nn.Sequential(nn.Linear(wide, 128), nn.ReLU(), nn.Linear(128, 64), nn.ReLU(), nn.Linear(64, 3))
    x, back = torch.randn(64, wide), torch.randn(64, 3) / 64
    found = {}
    for half in (False, True):
        dense = dense_end(net, (x[:2], torch.zeros(2, dtype=torch.int64)), *LOSS, half=half)
        assert dense is not None
        outputs = dense.outputs(x)
        assert dense.rounds(64) == half
        assert not half or [isinstance(kept, tuple) for kept in dense.saved[1::2]] == [True, False, False]
        dense.backward(back)
        assert all(p.grad is not None and p.grad.dtype == torch.float32 for p in net.parameters())
        found[half] = [outputs, *(p.grad.clone() for p in net.parameters() if p.grad is not None)]
    net.zero_grad()
    with torch.autocast("cpu", torch.bfloat16):
        outputs = net(x).float()
    outputs.backward(back)
    autocast = [outputs.detach(), *(p.grad for p in net.parameters() if p.grad is not None)]
    for exact, rounded, theirs in zip(found[False], found[True], autocast, strict=True):
        assert (exact - rounded).norm() <= 1.1 * (exact - theirs).norm()


def test_in_bfloat16_what_learns_before_is_left_to_autocast() -> None:
    net = nn.Sequential(nn.Conv2d(1, 8, 3), nn.ReLU(), nn.Flatten(), nn.Linear(288, 3))
    assert dense_end(net, (torch.randn(2, 1, 8, 8), torch.zeros(2, dtype=torch.int64)), *LOSS) is not None
    assert dense_end(net, (torch.randn(2, 1, 8, 8), torch.zeros(2, dtype=torch.int64)), *LOSS, half=True) is None


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
    assert dense_end(net, rows, *LOSS) is None


def test_rows_of_steps_are_left_to_autograd() -> None:
    assert dense_end(nn.Sequential(nn.Linear(12, 3)), (torch.randn(2, 5, 12), torch.zeros(2, dtype=torch.int64)), *LOSS) is None


def test_another_loss_is_not_served() -> None:
    net = nn.Sequential(nn.Linear(12, 8), nn.ReLU(), nn.Linear(8, 3))
    dense = dense_end(net, (torch.randn(2, 12), torch.zeros(2, dtype=torch.int64)), *LOSS)
    assert dense is not None
    assert dense.serves(net, *LOSS)
    assert not dense.serves(net, LOSS[0], nn.functional.multi_margin_loss)
    assert not dense.serves(nn.Sequential(*net), *LOSS)


def test_who_listens_or_freezes_is_heard() -> None:
    net = nn.Sequential(nn.Linear(12, 8), nn.ReLU(), nn.Linear(8, 3))
    dense = dense_end(net, (torch.randn(2, 12), torch.zeros(2, dtype=torch.int64)), *LOSS)
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
