"""What loops and libraries do with an optimizer: scalers, hooks inside the backward pass, parameters spread over devices."""

from __future__ import annotations

import collections
import copy
import pickle
import threading
import weakref
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.optim.optimizer import register_optimizer_step_post_hook, register_optimizer_step_pre_hook

import steepest
from steepest.kernels import Contents, Whereabouts, whereabouts


@pytest.mark.parametrize("execution", ["eager", "fused", "C"])
def test_a_gradient_scaler_works_as_with_torch(execution: str, force: Callable[[str], None]) -> None:
    """Its scale is taken off, and a step with infinite gradients is left out and not counted."""
    force(execution)
    found = []
    makes: list[Callable[[nn.Module], torch.optim.Optimizer]] = [
        lambda net: steepest.Optimizer(net, steepest.adamw(0.01)),
        lambda net: torch.optim.AdamW(net.parameters(), lr=0.01),
    ]
    for make in makes:
        torch.manual_seed(0)
        net = nn.Linear(4, 3)
        optimizer, scaler = make(net), torch.amp.GradScaler("cpu", init_scale=1024.0, growth_interval=3)
        for i in range(8):
            optimizer.zero_grad()
            x = torch.randn(5, 4) * (float("inf") if i == 4 else 1)
            scaler.scale(net(x).square().mean()).backward()
            if i % 2:
                scaler.unscale_(optimizer)
                nn.utils.clip_grad_norm_(net.parameters(), 1.0)
            scaler.step(optimizer)
            scaler.update()
        found.append((net.weight.detach(), scaler.get_scale(), optimizer.state[net.weight]["step"].item()))
    torch.testing.assert_close(found[0][0], found[1][0], rtol=0, atol=1e-6)
    assert found[0][1:] == found[1][1:]


@pytest.mark.parametrize("execution", ["eager", "C"])
def test_a_norm_over_all_gradients_inside_the_backward_pass_is_refused(execution: str, force: Callable[[str], None]) -> None:
    """With an optimizer for each parameter, as of optimizer-in-backward, it would be the norm of that parameter alone."""
    force(execution)

    def train(rule: steepest.Rule) -> None:
        net = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 2))
        optimizers = {p: steepest.Optimizer([p], rule) for p in net.parameters()}
        for p in net.parameters():
            p.register_post_accumulate_grad_hook(lambda p: optimizers[p].step())
        net(torch.ones(1, 4)).sum().backward()

    train(steepest.adamw(0.1))
    with pytest.raises(steepest.InputError, match="cannot be taken inside the backward pass"):
        train(steepest.chain(steepest.clip_global_norm(1.0), steepest.sgd(0.1)))


@pytest.fixture
def one_process() -> Iterator[None]:
    dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)
    yield
    dist.destroy_process_group()


@pytest.mark.skipif(not dist.is_available(), reason="torch was built without torch.distributed")
@pytest.mark.parametrize(
    "rule",
    [
        steepest.adamw(0.01),
        steepest.chain(steepest.clip_global_norm(0.5), steepest.adamw(0.01)),
        steepest.schedule_free_adamw(0.01),
    ],
    ids=str,
)
@pytest.mark.usefixtures("one_process")
def test_parameters_spread_over_devices_go_with_plain_ones(rule: steepest.Rule) -> None:
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.tensor import Shard, distribute_tensor

    mesh = init_device_mesh("cpu", (1,))

    def spread(x: Tensor) -> Tensor:
        return distribute_tensor(x.clone(), mesh, [Shard(0)])

    torch.manual_seed(0)
    weight = torch.randn(6, 4)
    plain = [nn.Parameter(weight.clone()), nn.Parameter(torch.ones(3))]
    mixed = [nn.Parameter(spread(weight)), nn.Parameter(torch.ones(3))]
    optimizers = [steepest.Optimizer(params, rule) for params in (plain, mixed)]
    assert [optimizer.plan().rows[0]["execution"] for optimizer in optimizers] == ["C", "eager"]
    for _ in range(3):
        plain[0].grad, plain[1].grad, mixed[1].grad = torch.randn(6, 4), torch.ones(3), torch.ones(3)
        mixed[0].grad = spread(plain[0].grad)
        for optimizer in optimizers:
            optimizer.step()
    whole: Any = mixed[0]
    torch.testing.assert_close(whole.full_tensor(), plain[0])
    torch.testing.assert_close(mixed[1], plain[1])
    noisy = steepest.Optimizer(mixed, steepest.chain(steepest.add_noise(0.1), rule))
    with pytest.raises(steepest.InputError, match="cannot run over parameters that are spread over devices"):
        noisy.step()
    eight = steepest.Optimizer(mixed, steepest.keep_state(rule, min_size=0))
    with pytest.raises(steepest.InputError, match="8-bit state needs plain parameters"):
        eight.step()


class Holder(Tensor):
    """A tensor whose gradient can be anything."""

    grad: Any = None
    __torch_function__ = torch._C._disabled_torch_function_impl


def only_asked_in(language: str, patch: pytest.MonkeyPatch) -> None:
    if language == "Python":
        patch.setattr(whereabouts, "loops", lambda: None)
    elif whereabouts.loops() is None:
        pytest.skip("no C compiler")


@pytest.mark.parametrize("asked_in", ["C", "Python"])
def test_whereabouts_tell_what_compiled_code_relies_on(asked_in: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from torch._subclasses import FakeTensorMode

    only_asked_in(asked_in, monkeypatch)
    holders = [nn.Parameter(torch.zeros(3, 4)).as_subclass(Holder), nn.Parameter(torch.zeros(1)).as_subclass(Holder)]
    holders[0].grad, holders[1].grad = torch.zeros(3, 4), torch.zeros(1)
    known = Whereabouts(holders, gradients=True)
    holders[0].grad, holders[1].grad = torch.ones(3, 4), torch.ones(1)
    found = known.ask(holders)
    assert found is not None
    assert [g is h.grad for g, h in zip(found, holders, strict=True)] == [True, True]
    assert known.addresses.tolist()[2:] == [g.data_ptr() for g in found]
    with FakeTensorMode():
        without_memory = torch.zeros(3, 4)
    others: list[Any] = [
        None,
        "a word",
        torch.zeros(4, 3),
        torch.zeros(4, 3).mT,
        torch.zeros(3, 4, dtype=torch.float64),
        torch.zeros(3, 4).to_sparse(),
        torch.zeros(3, 4, device="meta"),
        nn.Parameter(torch.zeros(3, 4)),
        without_memory,
        torch._efficientzerotensor((3, 4)),
    ]
    for other in others:
        holders[0].grad = other
        assert known.ask(holders) is None
    holders[0].grad = torch.ones(3, 4)
    assert known.ask(holders) is not None
    assert known.ask(holders[:1]) is None
    another = nn.Parameter(torch.zeros(3, 4)).as_subclass(Holder)
    another.grad = holders[0].grad
    assert known.ask([another, holders[1]]) is None  # like the first, and yet another
    holders[1].grad = torch.complex(torch.ones(1), torch.ones(1)).conj().imag  # negated when it is read
    assert known.ask(holders) is None
    plain = [torch.zeros(3, 4), torch.zeros(1)]
    assert Whereabouts(plain).ask(plain) == []
    assert Whereabouts(plain).addresses.tolist() == [t.data_ptr() for t in plain]


@pytest.mark.parametrize("asked_in", ["C", "Python"])
def test_contents_tell_what_was_put_in_its_place(asked_in: str, monkeypatch: pytest.MonkeyPatch) -> None:
    only_asked_in(asked_in, monkeypatch)
    whole = {i: {"a": torch.zeros(2), "b": torch.zeros(3)} for i in range(20)}
    changes: list[Callable[[], Any]] = [
        lambda: whole.pop(7),
        lambda: whole.update({7: dict(whole[7])}),
        lambda: whole.update({20: {}}),
        lambda: whole[11].update(a=torch.zeros(2)),
        lambda: whole[11].update(c=torch.zeros(2)),
        lambda: whole[11].pop("a"),
        lambda: whole[11].update(c=whole[11].pop("b")),
        lambda: setattr(whole[11]["a"], "data", torch.zeros(2)),
        whole[11]["a"].share_memory_,
    ]
    for change in changes:
        known = Contents(whole)
        whole[3]["a"].add_(1)
        assert known.match(whole)
        before = copy.copy(whole), {key: dict(part) for key, part in whole.items()}
        change()
        assert not known.match(whole)
        whole = before[0]
        for key, part in before[1].items():
            whole[key].clear()
            whole[key].update(part)


def test_random_numbers_of_a_parameter_that_is_a_part_of_another() -> None:
    whole = torch.zeros(4, 5)
    p = whole[:, :3].requires_grad_()
    optimizer = steepest.Optimizer([p], steepest.chain(steepest.sgd(0.1), steepest.stochastic_rounding()))
    p.grad = torch.ones(4, 3)
    optimizer.step()
    assert (p == -0.1).all()
    assert (whole[:, 3:] == 0).all()


def test_a_number_of_the_rule_set_in_a_group_is_refused() -> None:
    """It would change nothing, in silence."""
    net = nn.Linear(2, 1)
    optimizer = steepest.Optimizer(net, steepest.adamw(0.1))
    optimizer.param_groups[0]["weight_decay"] = 0.5
    net(torch.ones(1, 2)).sum().backward()
    with pytest.raises(steepest.InputError, match="'weight_decay' was set in a param group, but belongs to the rule"):
        optimizer.step()


def test_gradients_are_freed_by_zero_grad() -> None:
    p = torch.zeros(1000, requires_grad=True)
    optimizer = steepest.Optimizer([p], steepest.adamw(0.1))
    p.grad = torch.ones(1000)
    alive = weakref.ref(p.grad)
    optimizer.step()
    optimizer.zero_grad()
    assert alive() is None


def test_a_parameter_without_gradient_does_not_slow_the_others_down() -> None:
    """The block is kept for those that have gradients, and made anew when these are others."""
    torch.manual_seed(0)
    ours = [torch.randn(3, requires_grad=True) for _ in range(3)]
    theirs = [p.detach().clone().requires_grad_() for p in ours]
    optimizers = steepest.Optimizer(ours, steepest.adam(0.1)), torch.optim.Adam(theirs, lr=0.1)
    blocks = []
    for have in ((0, 1), (0, 1), (0, 1), (0, 1, 2), (2,), (0, 1), (0, 1)):
        for params, optimizer in zip((ours, theirs), optimizers, strict=True):
            optimizer.zero_grad()
            for i in have:
                params[i].grad = torch.full((3,), float(i + 1))
            optimizer.step()
        blocks.append(optimizers[0]._groups[0].block)
    assert blocks[1] is blocks[0] is blocks[2]
    for mine, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(mine, other)


def test_the_learning_rate_of_a_group_is_not_that_of_every_branch() -> None:
    rule = steepest.split(matrices=steepest.muon(0.02), rest=steepest.adamw(3e-4))
    net = nn.Linear(2, 2)
    with pytest.raises(steepest.InputError, match="give each branch its own"):
        steepest.Optimizer([{"params": list(net.named_parameters()), "lr": 0.5}], rule)


def test_biases_may_be_left_without_decay() -> None:
    torch.manual_seed(0)
    net = nn.Linear(3, 2)
    optimizer = steepest.Optimizer(net, steepest.adamw(0.1, weight_decay=0.5, exclude_vectors=True))
    before = [p.detach().clone() for p in net.parameters()]
    for p in net.parameters():
        p.grad = torch.zeros_like(p)
    optimizer.step()
    torch.testing.assert_close(net.weight, before[0] * 0.95)
    torch.testing.assert_close(net.bias, before[1], rtol=0, atol=0)


@pytest.mark.parametrize("of", ["the optimizer", "all optimizers"])
def test_hooks_around_a_step_run_as_torchs(of: str) -> None:
    seen: list[tuple[str, list[float]]] = []
    p = nn.Parameter(torch.ones(2))
    optimizer = steepest.Optimizer([p], steepest.sgd(1.0))

    def hook(name: str) -> Callable[..., None]:
        return lambda which, args, kwargs: seen.append((name, p.tolist())) if which is optimizer else None

    if of == "the optimizer":
        handles = [optimizer.register_step_pre_hook(hook("before")), optimizer.register_step_post_hook(hook("after"))]
    else:
        handles = [register_optimizer_step_pre_hook(hook("before")), register_optimizer_step_post_hook(hook("after"))]
    for _ in range(2):
        p.grad = torch.ones(2)
        optimizer.step()
        for handle in handles:
            handle.remove()
    assert seen == [("before", [1.0, 1.0]), ("after", [0.0, 0.0])]
    assert p.tolist() == [-1.0, -1.0]


def test_a_profile_names_the_step() -> None:
    p = nn.Parameter(torch.ones(2))
    optimizer = steepest.Optimizer([p], steepest.sgd(1.0))
    p.grad = torch.ones(2)
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as profile:
        optimizer.step(p.sum)
    assert any("Optimizer.step#Optimizer.step" in event.key for event in profile.key_averages())


@pytest.mark.parametrize("asked_in", ["C", "Python"])
def test_tensors_of_very_many_dimensions(asked_in: str, monkeypatch: pytest.MonkeyPatch) -> None:
    only_asked_in(asked_in, monkeypatch)
    p = nn.Parameter(torch.ones([1] * 100))
    optimizer = steepest.Optimizer([p], steepest.sgd(0.5))
    for _ in range(3):
        p.grad = torch.ones_like(p)
        optimizer.step()
    assert p.item() == -0.5


@pytest.mark.parametrize("asked_in", ["C", "Python"])
def test_gradients_without_a_memory_of_their_own(asked_in: str, monkeypatch: pytest.MonkeyPatch) -> None:
    only_asked_in(asked_in, monkeypatch)
    p, q = nn.Parameter(torch.ones(4)), nn.Parameter(torch.ones(4))
    ours, torchs = steepest.Optimizer([p], steepest.momentum(0.5)), torch.optim.SGD([q], lr=0.5, momentum=0.9)
    for value, gradient in ((1.0, torch.ones(4)), (0.0, torch._efficientzerotensor((4,))), (1.0, torch.ones(4))):
        p.grad, q.grad = gradient, torch.full((4,), value)
        ours.step()
        torchs.step()
    torch.testing.assert_close(p, q)


def test_a_state_put_in_whole_begins_anew() -> None:
    p = nn.Parameter(torch.ones(4))
    optimizer = steepest.Optimizer([p], steepest.adam(0.1))
    for i in range(4):
        p.grad = torch.full((4,), 1.0 - i)
        optimizer.step()
        if i == 1:
            optimizer.state = collections.defaultdict(dict)
    assert optimizer.state[p]["step"] == 2


@pytest.mark.parametrize("way", ["copy", "deepcopy", "pickle"])
def test_a_copy_sees_what_is_done_to_state_it_shares(way: str) -> None:
    p = nn.Parameter(torch.ones(4))
    optimizer = steepest.Optimizer([p], steepest.adam(0.1))
    p.grad = torch.ones(4)
    optimizer.step()
    both: dict[str, Any] = {"optimizer": optimizer, "state": optimizer.state}
    if way == "copy":
        both["optimizer"] = copy.copy(optimizer)
    else:
        both = copy.deepcopy(both) if way == "deepcopy" else pickle.loads(pickle.dumps(both))
    (q,) = both["state"]
    for i in range(3):
        q.grad = torch.ones(4)
        both["optimizer"].step()
        if i == 0:
            both["state"][q]["exp_avg"].data = torch.full((4,), -5.0)
    expected = torch.optim.Adam([other := nn.Parameter(torch.ones(4))], lr=0.1)
    for i in range(4):
        other.grad = torch.ones(4)
        expected.step()
        if i == 1:
            expected.state[other]["exp_avg"].fill_(-5.0)
    torch.testing.assert_close(q, other)


def test_a_wrapper_that_imitates_the_class_finds_the_state() -> None:
    """As Lightning's do: their class inherits from that of the optimizer they wrap, and they hand on what they do not have."""

    class Wrapper:
        def __init__(self, wrapped: Any) -> None:
            self.wrapped = wrapped
            self.__class__ = type("Wrapper", (self.__class__, type(wrapped)), {})

        def __getattr__(self, name: str) -> Any:
            return getattr(self.wrapped, name)

    p = nn.Parameter(torch.ones(4))
    wrapper: Any = Wrapper(steepest.Optimizer([p], steepest.schedule_free_adamw(0.1)))
    p.grad = torch.ones(4)
    wrapper.wrapped.step()
    assert wrapper.state is wrapper.wrapped.state
    assert not wrapper.evaluating
    wrapper.eval()
    assert wrapper.evaluating
    assert wrapper.wrapped.evaluating
    wrapper.train()


def test_hooks_are_given_the_arguments_as_they_came() -> None:
    p = nn.Parameter(torch.ones(2))
    optimizer = steepest.Optimizer([p], steepest.sgd(1.0))
    seen: list[Any] = []

    def replace(_: Any, args: Any, kwargs: Any) -> Any:
        seen.append((args[1:], sorted(kwargs)))
        return args, {**kwargs, "closure": lambda: torch.tensor(5.0)}

    optimizer.register_step_pre_hook(replace)
    p.grad = torch.ones(2)
    assert optimizer.step() == 5.0
    assert optimizer.step(closure=lambda: torch.tensor(4.0)) == 5.0
    assert seen == [((), []), ((), ["closure"])]


def test_a_frozen_group_does_not_slow_the_others_down() -> None:
    frozen, trained = nn.Parameter(torch.ones(3)), nn.Parameter(torch.ones(3))
    optimizer = steepest.Optimizer([{"params": [frozen]}, {"params": [trained]}], steepest.adam(0.1))
    blocks = []
    for _ in range(3):
        trained.grad = torch.ones(3)
        optimizer.step()
        blocks.append(optimizer._groups[1].block)
    assert blocks[0] is blocks[1] is blocks[2]
    frozen.grad = torch.ones(3)
    optimizer.step()
    assert frozen.tolist() == pytest.approx([0.9] * 3)


def test_a_convolution_in_its_own_layout_is_read_where_it_lies(force: Callable[[str], None]) -> None:
    force("C")
    conv = nn.Conv2d(3, 4, 3).to(memory_format=torch.channels_last)
    optimizer = steepest.Optimizer(conv, steepest.adam(0.1))
    if optimizer.plan().rows[0]["execution"] != "C":
        pytest.skip("no C compiler")
    conv(torch.ones(1, 3, 5, 5).to(memory_format=torch.channels_last)).sum().backward()
    optimizer.step()
    (table,) = optimizer._executor._tables.values()
    assert table.rows.in_place


def test_evaluation_weights_before_the_first_step() -> None:
    """An estimate of the curvature makes state, and no step."""
    net = nn.Linear(3, 2)
    rule = steepest.split(matrices=steepest.sophia(0.1), vectors=steepest.adamw(0.1))
    optimizer = steepest.Optimizer(net, steepest.chain(rule, steepest.ema_weights(0.9)))
    before = net.weight.detach().clone()
    net(torch.ones(1, 3)).sum().backward()
    optimizer.update_hessian()
    optimizer.eval()
    torch.testing.assert_close(net.weight, before)


def test_a_step_that_was_refused_is_not_counted() -> None:
    good, sparse = nn.Parameter(torch.ones(3)), nn.Parameter(torch.ones(3))
    optimizer = steepest.Optimizer(
        [{"params": [good]}, {"params": [sparse]}], steepest.adam(0.1, schedule=steepest.cosine(steps=9))
    )
    for _ in range(3):
        good.grad, sparse.grad = torch.ones(3), torch.ones(3)
        optimizer.step()
    good.grad, sparse.grad = torch.ones(3), torch.ones(3).to_sparse()
    for _ in range(2):
        with pytest.raises(steepest.InputError, match="sparse"):
            optimizer.step()
    assert [int(optimizer.state[p]["step"]) for p in (good, sparse)] == [3, 3]
    assert [group["updates"] for group in optimizer.param_groups] == [3, 3]


def test_a_checkpoint_goes_on_in_torch() -> None:
    """Torch adds one to the count of each parameter: none may be shared."""
    ours, theirs = ([nn.Parameter(torch.ones(3)) for _ in range(3)] for _ in range(2))
    optimizers = steepest.Optimizer(ours, steepest.adamw(0.1)), torch.optim.AdamW(theirs, lr=0.1)
    for _ in range(3):
        for p in ours:
            p.grad = torch.ones(3)
        optimizers[0].step()
    saved = optimizers[1].state_dict() | {"state": optimizers[0].state_dict()["state"]}
    optimizers[1].load_state_dict(saved)
    for p in theirs:
        p.grad = torch.ones(3)
    optimizers[1].step()
    assert [int(optimizers[1].state[p]["step"]) for p in theirs] == [4, 4, 4]


@pytest.mark.parametrize(("flag", "message"), [("maximize", "maximizes"), ("amsgrad", "AMSGrad")])
def test_the_state_of_an_optimizer_that_does_something_else_is_refused(flag: str, message: str) -> None:
    p = nn.Parameter(torch.ones(3))
    torchs = torch.optim.AdamW([p], **{flag: True})
    p.grad = torch.ones(3)
    torchs.step()
    with pytest.raises(steepest.InputError, match=message):
        steepest.Optimizer([p], steepest.adamw(0.1)).load_state_dict(torchs.state_dict())
    if flag == "amsgrad":
        steepest.Optimizer([p], steepest.adamw(0.1, amsgrad=True)).load_state_dict(torchs.state_dict())


def test_state_that_is_not_ours_is_left_alone() -> None:
    p = nn.Parameter(torch.ones(3))
    optimizer = steepest.Optimizer([p], steepest.schedule_free_sgd(0.1))
    for i in range(3):
        optimizer.state["epoch"] = i
        p.grad = torch.ones(3)
        optimizer.step()
    assert optimizer.state["epoch"] == 2
    optimizer.param_groups.pop()
    with pytest.raises(steepest.InputError, match="a param group was taken out"):
        optimizer.step()


def test_a_buffer_of_none_is_none_yet() -> None:
    p = nn.Parameter(torch.ones(3))
    optimizer = steepest.Optimizer([p], steepest.momentum(0.1))
    saved = optimizer.state_dict()
    saved["state"] = {0: {"momentum_buffer": None}}
    optimizer.load_state_dict(saved)
    p.grad = torch.ones(3)
    optimizer.step()
    torch.testing.assert_close(p.detach(), torch.full((3,), 0.9))


@pytest.mark.parametrize("rule", [steepest.soap(0.1), steepest.muon(0.1), steepest.adamw(0.1)], ids=str)
def test_autocast_around_a_step_changes_nothing(rule: steepest.Rule) -> None:
    found = []
    for enabled in (False, True):
        torch.manual_seed(0)
        p = nn.Parameter(torch.randn(6, 4))
        optimizer = steepest.Optimizer([p], rule)
        for _ in range(3):
            p.grad = torch.randn(6, 4)
            with torch.autocast("cpu", enabled=enabled):
                optimizer.step()
        found.append(p.detach())
    torch.testing.assert_close(*found, rtol=0, atol=0)


def test_threads_that_share_an_optimizer_wait_for_each_other() -> None:
    p = nn.Parameter(torch.zeros(2_000_000))
    optimizer = steepest.Optimizer([p], steepest.sgd(1.0))

    def steps() -> None:
        for _ in range(20):
            p.grad = torch.ones_like(p)
            optimizer.step()

    threads = [threading.Thread(target=steps) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=60)
    assert p[0].item() <= -20
    assert torch.equal(p, torch.full_like(p, p[0].item()))
