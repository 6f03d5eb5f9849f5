"""The optimizer shell: drop-in in any loop, one learning rate, nothing dropped in silence."""

from __future__ import annotations

import copy
import io
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn

import steepest


def small_model() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 5), nn.Tanh(), nn.Linear(5, 2))


def train(model: nn.Module, optimizer: torch.optim.Optimizer, steps: int, scheduler: Any = None) -> list[float]:
    generator = torch.Generator().manual_seed(1)
    losses = []
    for _ in range(steps):
        x = torch.randn(8, 4, generator=generator)
        loss = (model(x) - x[:, :2]).square().mean()
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        if scheduler is not None:
            scheduler.step()
        losses.append(loss.item())
    return losses


def test_it_is_a_torch_optimizer_and_learns() -> None:
    model = small_model()
    optimizer = steepest.Optimizer(model, steepest.adamw(0.01))
    assert isinstance(optimizer, torch.optim.Optimizer)
    losses = train(model, optimizer, 100)
    assert losses[-1] < 0.5 * losses[0]


@pytest.mark.parametrize("given", ["model", "named", "parameters", "groups"])
def test_every_way_of_giving_parameters_trains_alike(given: str) -> None:
    model = small_model()
    params: Any = {
        "model": model,
        "named": model.named_parameters(),
        "parameters": model.parameters(),
        "groups": [{"params": list(model[0].parameters())}, {"params": list(model[2].parameters())}],
    }[given]
    reference = small_model()
    expected = train(reference, torch.optim.AdamW(reference.parameters(), lr=0.01), 20)
    assert train(model, steepest.Optimizer(params, steepest.adamw(0.01)), 20) == pytest.approx(expected, abs=1e-6)


def test_group_lr_is_the_only_learning_rate() -> None:
    model = small_model()
    groups = [{"params": list(model[0].parameters()), "lr": 0.5}, {"params": list(model[2].parameters())}]
    optimizer = steepest.Optimizer(groups, steepest.sgd(0.1))
    assert [group["lr"] for group in optimizer.param_groups] == [0.5, 0.1]
    before = model[2].weight.detach().clone()
    optimizer.param_groups[1]["lr"] = 0.0
    train(model, optimizer, 1)
    assert torch.equal(before, model[2].weight.detach())


def test_a_torch_scheduler_drives_the_learning_rate() -> None:
    ours, theirs = small_model(), small_model()
    mine = steepest.Optimizer(ours, steepest.momentum(0.1))
    reference = torch.optim.SGD(theirs.parameters(), lr=0.1, momentum=0.9)
    a = train(ours, mine, 30, torch.optim.lr_scheduler.StepLR(mine, 10, 0.1))
    b = train(theirs, reference, 30, torch.optim.lr_scheduler.StepLR(reference, 10, 0.1))
    assert a == pytest.approx(b, abs=1e-6)


def test_a_torch_scheduler_on_top_of_a_schedule_is_an_error() -> None:
    model = small_model()
    optimizer = steepest.Optimizer(model, steepest.adamw(0.01, schedule=steepest.cosine(steps=10)))
    torch.optim.lr_scheduler.StepLR(optimizer, 10)
    with pytest.raises(steepest.InputError, match="keep one of the two"):
        train(model, optimizer, 1)


def test_a_schedule_in_the_rule_equals_a_torch_scheduler() -> None:
    ours, theirs = small_model(), small_model()
    mine = steepest.Optimizer(ours, steepest.momentum(0.1, schedule=steepest.exponential(0.9, steps=1)))
    reference = torch.optim.SGD(theirs.parameters(), lr=0.1, momentum=0.9)
    a = train(ours, mine, 30)
    b = train(theirs, reference, 30, torch.optim.lr_scheduler.ExponentialLR(reference, 0.9))
    assert a == pytest.approx(b, abs=1e-6)


def test_durations_in_epochs_need_the_steps_of_an_epoch() -> None:
    rule = steepest.adamw(0.01, schedule=steepest.cosine(epochs=2))
    with pytest.raises(steepest.InputError, match="pass steps_per_epoch"):
        steepest.Optimizer(small_model(), rule)
    steepest.Optimizer(small_model(), rule, steps_per_epoch=10)
    with pytest.raises(steepest.InputError, match="give steps="):
        steepest.Optimizer(small_model(), steepest.adamw(0.01, schedule=steepest.cosine()))


@pytest.mark.parametrize("execution", ["C", "fused", "eager"])
@pytest.mark.parametrize(
    "rule",
    [
        steepest.adamw(0.01),
        steepest.chain(steepest.clip_global_norm(0.1), steepest.rmsprop(0.01, momentum=0.9)),
        steepest.sgd(),
    ],
    ids=str,
)
def test_a_checkpoint_continues_bit_for_bit(rule: steepest.Rule, execution: str, force: Callable[[str], None]) -> None:
    force(execution)
    model = small_model()
    optimizer = steepest.Optimizer(model, rule)
    train(model, optimizer, 5)
    buffer = io.BytesIO()
    torch.save({"model": model.state_dict(), "optimizer": optimizer.state_dict()}, buffer)
    expected = train(model, optimizer, 5)
    buffer.seek(0)
    saved = torch.load(buffer, weights_only=True)
    again = small_model()
    other = steepest.Optimizer(again, rule)
    again.load_state_dict(saved["model"])
    other.load_state_dict(saved["optimizer"])
    assert train(again, other, 5) == expected


def test_state_carries_torchs_names_and_shapes() -> None:
    ours, theirs = small_model(), small_model()
    mine, reference = steepest.Optimizer(ours, steepest.adam(0.01)), torch.optim.Adam(theirs.parameters(), lr=0.01)
    train(ours, mine, 3)
    train(theirs, reference, 3)
    for a, b in zip(mine.state_dict()["state"].values(), reference.state_dict()["state"].values(), strict=True):
        assert set(a) == set(b)
        assert all(a[name].shape == b[name].shape for name in ("exp_avg", "exp_avg_sq"))
    ours.load_state_dict(theirs.state_dict())
    mine.load_state_dict(copy.deepcopy(reference.state_dict()))
    assert train(ours, mine, 3) == pytest.approx(train(theirs, reference, 3), abs=1e-6)


def test_slots_that_two_links_share_are_numbered() -> None:
    p = torch.zeros(2, requires_grad=True)
    optimizer = steepest.Optimizer([p], steepest.chain(steepest.heavy_ball(0.5), steepest.momentum(0.1)))
    p.grad = torch.ones(2)
    optimizer.step()
    assert set(optimizer.state[p]) == {"step", "momentum_buffer", "momentum_buffer_2"}


def test_parameters_without_a_gradient_wait_as_in_torch() -> None:
    results = []
    for make in (lambda ps: steepest.Optimizer(ps, steepest.adam(0.1)), lambda ps: torch.optim.Adam(ps, lr=0.1)):
        a, b = torch.ones(2, requires_grad=True), torch.ones(2, requires_grad=True)
        optimizer = make([a, b])
        for step in range(6):
            a.grad = torch.ones(2)
            b.grad = torch.ones(2) if step % 2 else None
            optimizer.step()
        results.append(torch.cat([a, b]).detach())
    torch.testing.assert_close(*results, rtol=0, atol=1e-6)


def test_global_norm_runs_over_all_groups_and_stays_inside_a_branch() -> None:
    def step(rule: steepest.Rule) -> tuple[float, float]:
        matrix, vector = torch.zeros(1, 1, requires_grad=True), torch.zeros(1, requires_grad=True)
        matrix.grad, vector.grad = torch.full((1, 1), 3.0), torch.full((1,), 4.0)
        steepest.Optimizer([matrix, vector], rule).step()
        return -matrix.item(), -vector.item()

    clip = steepest.clip_global_norm(1.0)
    split = steepest.split(matrices=steepest.sgd(1.0), rest=steepest.sgd(1.0))
    assert step(steepest.chain(clip, split)) == pytest.approx((0.6, 0.8), abs=1e-5)
    inside = steepest.split(matrices=steepest.chain(clip, steepest.sgd(1.0)), rest=steepest.chain(clip, steepest.sgd(1.0)))
    assert step(inside) == pytest.approx((1.0, 1.0), abs=1e-5)


def test_split_sends_each_kind_to_its_rule() -> None:
    model = nn.Sequential(nn.Embedding(7, 4), nn.Linear(4, 3), nn.Conv1d(3, 3, 3), nn.LayerNorm(3))
    rule = steepest.split(
        {"1.bias": steepest.sgd(9.0)},
        embeddings=steepest.sgd(1.0),
        matrices=steepest.sgd(2.0),
        convolutions=steepest.sgd(3.0),
        rest=steepest.sgd(4.0),
    )
    optimizer = steepest.Optimizer(model, rule)
    found = {name: group["lr"] for group in optimizer.param_groups for name in group["param_names"]}
    assert found == {
        "0.weight": 1.0, "1.weight": 2.0, "1.bias": 9.0, "2.weight": 3.0, "2.bias": 4.0, "3.weight": 4.0, "3.bias": 4.0,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: steepest.Optimizer(small_model(), steepest.split(matrices=steepest.sgd())), "split: nothing takes 0.bias"),
        (lambda: steepest.Optimizer(small_model(), steepest.muon(0.1)), "muon takes matrices (got 0.bias"),
        (lambda: steepest.Optimizer(small_model(), steepest.scale_by_adam()), "exactly once (got 0 times)"),
        (
            lambda: steepest.Optimizer(small_model(), steepest.chain(steepest.sgd(), steepest.sgd())),
            "exactly once (got 2 times)",
        ),
        (
            lambda: steepest.Optimizer(
                small_model().parameters(), steepest.split({"0.*": steepest.sgd()}, rest=steepest.sgd())
            ),
            "needs names: pass the model or model.named_parameters()",
        ),
        (lambda: steepest.Optimizer([{"params": [torch.zeros(1)], "lrr": 1}], steepest.sgd()), "did you mean 'lr'?"),
        (lambda: steepest.Optimizer([{"params": [torch.zeros(1)], "lr": -1.0}], steepest.sgd()), "lr must be >= 0 (got -1.0)"),
        (lambda: steepest.Optimizer(nn.ReLU(), steepest.sgd()), "no parameters that require gradients"),
        (lambda: steepest.Optimizer([1.0], steepest.sgd()), "parameters must be tensors (got float)"),
        (lambda: steepest.Optimizer(small_model(), "adam"), "Optimizer takes a rule such as adamw(1e-3) (got 'adam')"),
    ],
)
def test_what_cannot_be_optimized_is_told_in_one_line(make: Any, message: str) -> None:
    with pytest.raises(steepest.InputError) as caught:
        make()
    assert message in str(caught.value)


def test_sparse_and_complex_gradients_are_refused() -> None:
    embedding = nn.Embedding(5, 2, sparse=True)
    embedding(torch.tensor([1])).sum().backward()
    with pytest.raises(steepest.InputError, match="sparse=False"):
        steepest.Optimizer(embedding, steepest.sgd()).step()
    p = torch.zeros(2, dtype=torch.complex64, requires_grad=True)
    p.grad = torch.zeros_like(p)
    with pytest.raises(steepest.InputError, match="complex"):
        steepest.Optimizer([p], steepest.sgd()).step()


def test_closure_hooks_and_deepcopy() -> None:
    model = small_model()
    optimizer = steepest.Optimizer(model, steepest.adamw(0.01))
    seen: list[str] = []
    optimizer.register_step_post_hook(lambda *_: seen.append("after"))

    def closure() -> torch.Tensor:
        optimizer.zero_grad()
        loss = model(torch.ones(2, 4)).square().sum()
        loss.backward()
        return loss

    assert optimizer.step(closure).item() > 0
    assert seen == ["after"]
    both = copy.deepcopy((model, optimizer))
    torch.manual_seed(3)
    expected = train(model, optimizer, 3)
    assert train(*both, 3) == expected
    assert "eager" not in str(both[1].plan())


def test_plan_names_the_execution_and_the_reason() -> None:
    plan = steepest.Optimizer(small_model(), steepest.split(matrices=steepest.soap(0.1), rest=steepest.adam(0.01))).plan()
    assert [row["execution"] for row in plan.rows] == ["eager", "C"]
    assert "works on whole matrices" in plan.rows[0]["reason"]
    assert str(plan).count("\n") == 1


def test_channels_last_parameters_take_the_same_steps() -> None:
    torch.manual_seed(0)
    weights = torch.randn(4, 3, 3, 3)
    grads = [torch.randn(4, 3, 3, 3) for _ in range(5)]
    results = []
    for layout in (torch.contiguous_format, torch.channels_last):
        p = weights.clone(memory_format=layout).requires_grad_()
        optimizer = steepest.Optimizer([p], steepest.adamw(0.1))
        for i, grad in enumerate(grads):  # gradients come in either layout
            p.grad = grad.clone(memory_format=layout if i % 2 else torch.contiguous_format)
            optimizer.step()
        results.append(p.detach().contiguous())
    torch.testing.assert_close(*results, rtol=1e-5, atol=1e-6)


# -- state that comes from elsewhere, or changes under our feet -------------------------------------------------------


def stepped(model: nn.Module, optimizer: Any, times: int = 1) -> None:
    for _ in range(times):
        optimizer.zero_grad()
        model(torch.ones(2, model.weight.shape[1])).square().sum().backward()  # type: ignore[union-attr, index]
        optimizer.step()


@pytest.mark.parametrize("rule", [steepest.adam(0.1), steepest.momentum(0.1), steepest.lion(0.1), steepest.rmsprop(0.1)])
def test_the_state_of_other_shapes_is_refused(rule: steepest.Rule) -> None:
    small, large = nn.Linear(4, 3), nn.Linear(500, 3)
    saved, optimizer = steepest.Optimizer(small, rule), steepest.Optimizer(large, rule)
    stepped(small, saved)
    with pytest.raises(steepest.InputError, match=r"state '.*' has shape \(3, 4\), its parameter \(3, 500\)"):
        optimizer.load_state_dict(saved.state_dict())
    stepped(large, optimizer, 2)
    for wrong in ({}, {"state": {}, "param_groups": []}, None):
        with pytest.raises(steepest.InputError):
            optimizer.load_state_dict(wrong)  # type: ignore[arg-type]


def test_a_parameter_that_was_resized_is_refused() -> None:
    model = nn.Linear(4, 3)
    optimizer = steepest.Optimizer(model, steepest.adam(0.1))
    stepped(model, optimizer, 2)
    model.weight.data = torch.ones(3, 70)
    with pytest.raises(steepest.InputError, match="has shape"):
        stepped(model, optimizer)


def test_the_state_of_torchs_sgd_is_taken_over() -> None:
    torch.manual_seed(0)
    ours, theirs = nn.Linear(3, 2), nn.Linear(3, 2)
    theirs.load_state_dict(ours.state_dict())
    before = torch.optim.SGD(theirs.parameters(), lr=0.01, momentum=0.9)
    stepped(theirs, before, 3)
    ours.load_state_dict(theirs.state_dict())
    optimizer = steepest.Optimizer(ours, steepest.momentum(0.01))
    optimizer.load_state_dict(copy.deepcopy(before.state_dict()))  # torch hands over the very tensors
    stepped(theirs, before, 3)
    stepped(ours, optimizer, 3)
    torch.testing.assert_close(ours.weight, theirs.weight)


def test_state_that_was_cleared_begins_anew() -> None:
    model = nn.Linear(3, 2)
    optimizer = steepest.Optimizer(model, steepest.adam(0.1))
    stepped(model, optimizer, 3)
    optimizer.state.clear()
    stepped(model, optimizer)
    assert {"step", "exp_avg", "exp_avg_sq"} == set(optimizer.state[model.weight])
    assert optimizer.state[model.weight]["step"] == 1


def test_a_parameter_put_in_the_place_of_another_is_trained() -> None:
    model = nn.Linear(3, 2)
    optimizer = steepest.Optimizer(model, steepest.adam(0.1))
    stepped(model, optimizer, 2)
    model.weight = nn.Parameter(torch.ones(2, 3))
    optimizer.param_groups[0]["params"][0] = model.weight
    stepped(model, optimizer)
    assert (model.weight != 1).all()


def test_gradients_that_turn_sparse_are_refused() -> None:
    p = nn.Parameter(torch.ones(3, 2))
    optimizer = steepest.Optimizer([p], steepest.sgd(0.1))
    p.grad = torch.ones(3, 2)
    optimizer.step()
    p.grad = torch.ones(3, 2).to_sparse()
    with pytest.raises(steepest.InputError, match="sparse gradients"):
        optimizer.step()


def test_a_parameter_given_twice_is_refused() -> None:
    p = nn.Parameter(torch.ones(1))
    with pytest.raises(steepest.InputError, match="given twice"):
        steepest.Optimizer([p, p], steepest.sgd(0.1))


def test_a_learning_rate_may_begin_at_zero_and_be_a_numpy_number() -> None:
    import numpy as np

    p = nn.Parameter(torch.ones(1))
    optimizer = steepest.Optimizer([{"params": [p], "lr": 0.0}], steepest.sgd(float(np.float32(0.1))))
    optimizer.param_groups[0]["lr"] = np.float32(0.5)
    p.grad = torch.ones(1)
    optimizer.step()
    assert p.item() == 0.5


def test_a_gradient_that_no_longer_fits_its_parameter_is_refused() -> None:
    """Compiled code would read past its end."""
    p = nn.Parameter(torch.ones(10))
    optimizer = steepest.Optimizer([p], steepest.sgd(0.1))
    p.grad = torch.ones(10)
    p.data = torch.ones(1000)
    with pytest.raises(steepest.InputError, match=r"a gradient has shape \(10,\) on cpu, its parameter \(1000,\) on cpu"):
        optimizer.step()


@pytest.mark.parametrize(("of_p", "of_g"), [("float64", "float32"), ("float32", "bfloat16"), ("bfloat16", "float32")])
def test_gradients_of_another_dtype_are_read_as_what_they_are(of_p: str, of_g: str) -> None:
    p = nn.Parameter(torch.ones(64))
    optimizer = steepest.Optimizer([p], steepest.adamw(0.1))
    for dtype in (p.dtype, getattr(torch, of_g), p.dtype):
        p.grad = None
        p.data = p.data.to(dtype)
        p.grad = torch.ones(64, dtype=dtype)
        p.data = p.data.to(getattr(torch, of_p))  # the gradient stays behind
        optimizer.step()
    expected = nn.Parameter(torch.ones(64, dtype=torch.float64))
    torchs = torch.optim.AdamW([expected], lr=0.1)
    for _ in range(3):
        expected.grad = torch.ones_like(expected)
        torchs.step()
    torch.testing.assert_close(p.double(), expected, rtol=0, atol=1e-2 if "bfloat16" in (of_p, of_g) else 1e-6)


@pytest.mark.parametrize("way", ["pop", "another dict", "another tensor", "other memory", "shared memory", "the count"])
def test_state_that_was_put_in_from_outside_is_used(way: str) -> None:
    """The very tensors that `optimizer.state` shows are updated, not those of the step before."""
    params = [nn.Parameter(torch.ones(4)) for _ in range(3)]
    copies = [nn.Parameter(torch.ones(4)) for _ in range(3)]
    optimizer, torchs = steepest.Optimizer(params, steepest.adam(0.1)), torch.optim.Adam(copies, lr=0.1)
    changed = (0, 1, 2) if way == "the count" else (1,)  # one count stands for all
    for i in range(6):
        for p in (*params, *copies):
            p.grad = torch.full_like(p, 1.0 - i)
        optimizer.step()
        torchs.step()
        for at in changed if i == 2 else ():
            for state, p in ((optimizer.state, params[at]), (torchs.state, copies[at])):
                if way == "pop":
                    state.pop(p)
                elif way == "another dict":
                    state[p] = {name: value * 0.5 if name != "step" else value.clone() for name, value in state[p].items()}
                elif way == "another tensor":
                    state[p]["exp_avg"] = torch.zeros(4)
                elif way == "other memory":
                    state[p]["exp_avg"].data = torch.zeros(4)
                elif way == "shared memory":
                    state[p]["exp_avg"].share_memory_()
                else:
                    state[p]["step"].zero_()
    for p, other in zip(params, copies, strict=True):
        torch.testing.assert_close(p, other)
        torch.testing.assert_close(optimizer.state[p]["exp_avg"], torchs.state[other]["exp_avg"])
        assert optimizer.state[p]["step"] == torchs.state[other]["step"]


def test_torchs_defaults_do_not_change_the_state() -> None:
    torch.set_default_dtype(torch.bfloat16)
    try:
        p = nn.Parameter(torch.ones(5000, dtype=torch.float32))
        optimizer = steepest.Optimizer([p], steepest.keep_state(steepest.adamw(0.1)))
        with torch.device("meta"):
            for _ in range(300):  # bfloat16 does not hold 257
                p.grad = torch.ones_like(p, device="cpu")
                optimizer.step()
        assert optimizer.state[p]["step"].item() == 300
        assert optimizer.state[p]["step"].dtype == optimizer.state[p]["exp_avg_scale"].dtype == torch.float32
    finally:
        torch.set_default_dtype(torch.float32)


@pytest.mark.parametrize("execution", ["eager", "C"])  # torch's own fused operations do not tell it
def test_autograd_sees_that_parameters_were_changed(execution: str, force: Callable[[str], None]) -> None:
    force(execution)
    p = nn.Parameter(torch.ones(3))
    optimizer = steepest.Optimizer([p], steepest.adamw(0.1))
    loss = p.square().sum()
    p.grad = torch.ones(3)
    optimizer.step()
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        loss.backward()
