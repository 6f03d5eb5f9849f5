"""Everything that needs a CUDA device, in one call: `make test-gpu`, which goes on to the benchmark."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

import steepest
from steepest.kernels import gpu
from steepest.rules import CATALOGUE
from tests.executions import apart, leave
from tests.words import WORDS

pytestmark = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")]

RULES = {str(rule): rule for rule in (getattr(steepest, name)() for name in CATALOGUE if name != "muon")} | {
    str(rule): rule
    for rule in (
        steepest.rmsprop(0.01, centered=True, eps=1e-3),
        steepest.adamw(0.01, weight_decay=0.1),
        steepest.chain(steepest.clip_global_norm(0.5), steepest.adamw(0.01)),
        steepest.chain(steepest.clip_value(0.1), steepest.scale_by_lion(), steepest.clip_global_norm(0.5), steepest.sgd(0.1)),
    )
}
ALL = RULES | WORDS
SHAPES = [(0,), (), (1,), (7,), (33,), (5, 3), (2, 3, 4, 5), (gpu.CHUNK + 2 * gpu.BLOCK + 9,), (300, 70)]
DTYPES = [torch.float32, torch.float64, torch.bfloat16, torch.float16]
# torch's own kernels contract and add up in another order; one number in a hundred may tip over where bits are few
ROUNDINGS, SPARED = 200, 0.01
needs_triton = pytest.mark.skipif(not gpu.is_installed(), reason="triton is not installed")


@needs_triton
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("name", ALL)
def test_triton_equals_the_definition(name: str, dtype: torch.dtype) -> None:
    spared = SPARED if name in WORDS else 0.0
    assert apart("Triton", ALL[name], dtype, SHAPES, device="cuda", spared=spared) <= ROUNDINGS


@needs_triton
@pytest.mark.parametrize("value", [float("inf"), -float("inf"), float("nan")])
@pytest.mark.parametrize("name", ALL)
def test_odd_gradients_give_what_the_definition_gives(name: str, value: float) -> None:
    def change(g: Tensor) -> Tensor:
        if g.numel() > 2:
            g.view(-1)[1] = value
        return g

    assert apart("Triton", ALL[name], torch.float32, [(7,), (5, 3)], device="cuda", change=change) <= ROUNDINGS


@needs_triton
@pytest.mark.parametrize("name", ["adam()", "Trust", "Compact"])
def test_gradients_laid_out_otherwise_are_read_right(name: str) -> None:
    def change(g: Tensor) -> Tensor:
        return g.mT.contiguous().mT

    assert apart("Triton", ALL[name], torch.float32, [(40, 60), (3, 5)], device="cuda", change=change) <= ROUNDINGS


@needs_triton
def test_parameters_between_sixteen_bytes_are_reached(force: Callable[[str], None]) -> None:
    found = []
    for execution in ("Triton", "eager"):
        force(execution)
        p = torch.linspace(-1, 1, 5000, device="cuda")[3:4444].requires_grad_()
        optimizer = steepest.Optimizer([p], steepest.adamw(0.1))
        for _ in range(3):
            p.grad = torch.sin(p.detach())
            optimizer.step()
        found.append(p.detach())
    torch.testing.assert_close(*found)


@needs_triton
def test_the_same_steps_give_the_same_bits(force: Callable[[str], None]) -> None:
    force("Triton")
    rule, found = steepest.chain(steepest.clip_global_norm(0.5), steepest.adamw(0.01)), []
    for _ in range(2):
        torch.manual_seed(0)
        p = torch.randn(3_000_001, device="cuda", requires_grad=True)
        optimizer = steepest.Optimizer([p], rule)
        for _ in range(3):
            p.grad = torch.randn_like(p)
            optimizer.step()
        found.append(p.detach())
    assert torch.equal(*found)


@pytest.mark.parametrize("execution", ["Triton", "fused", "eager"])
@pytest.mark.parametrize("name", RULES)
def test_a_rule_takes_the_same_steps_as_on_the_cpu(name: str, execution: str, force: Callable[[str], None]) -> None:
    force(execution)
    results = []
    for device in ("cpu", "cuda"):
        generator = torch.Generator().manual_seed(0)
        start = torch.randn(6, 5, generator=generator, dtype=torch.float64)
        p = start.to(device).requires_grad_()
        optimizer = steepest.Optimizer([p], RULES[name])
        for _ in range(20):
            p.grad = torch.randn(6, 5, generator=generator, dtype=torch.float64).to(device)
            optimizer.step()
        results.append(p.detach().cpu())
    torch.testing.assert_close(*results, rtol=1e-10, atol=1e-10)


def test_muon_takes_the_same_steps_as_on_the_cpu() -> None:
    results = []
    for device in ("cpu", "cuda"):
        generator = torch.Generator().manual_seed(0)
        p = torch.randn(6, 5, generator=generator).to(device).requires_grad_()
        optimizer = steepest.Optimizer([p], steepest.muon(0.02, dtype="float32"))
        for _ in range(20):
            p.grad = torch.randn(6, 5, generator=generator).to(device)
            optimizer.step()
        results.append(p.detach().cpu())
    torch.testing.assert_close(*results, rtol=1e-4, atol=1e-4)


# -- without waiting --------------------------------------------------------------------------------------------------


class Unwaiting:
    """Any wait for the device inside is an error."""

    def __enter__(self) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch calls the mode a prototype
            torch.cuda.set_sync_debug_mode("error")

    def __exit__(self, *anything: Any) -> None:
        torch.cuda.set_sync_debug_mode("default")


@needs_triton
@pytest.mark.parametrize("name", ["adamw(0.01, weight_decay=0.1)", "Trust", "Distance", "Noise", "Compact"])
def test_a_step_waits_for_nothing(name: str, force: Callable[[str], None]) -> None:
    force("Triton")
    params = [torch.randn(300, 7, device="cuda", requires_grad=True) for _ in range(3)]
    optimizer = steepest.Optimizer(params, ALL[name])
    for i in range(4):
        for p in params:
            p.grad = torch.randn_like(p)
        if i:
            with Unwaiting():
                optimizer.step()
        else:
            optimizer.step()
    assert [int(optimizer.state[p]["step"]) for p in params] == [4, 4, 4]


def scaled(steps: int, unwaiting: bool) -> tuple[list[Tensor], float, list[int]]:
    torch.manual_seed(0)
    params = [torch.randn(5, 3, device="cuda", requires_grad=True), torch.randn(7, device="cuda", requires_grad=True)]
    rule = steepest.split(matrices=steepest.adamw(0.1, schedule=steepest.cosine(steps=9)), rest=WORDS["Distance"])
    optimizer, scaler = steepest.Optimizer(params, rule), torch.amp.GradScaler("cuda", init_scale=8.0)
    for i in range(steps):
        optimizer.zero_grad()
        scaler.scale(torch.stack([((p - i) ** 2).sum() for p in params]).sum()).backward()
        if i in (0, 3, steps - 1):
            params[1].grad[2:3].fill_(float("inf"))  # type: ignore[index]
        if unwaiting and i >= 2:
            with Unwaiting():
                scaler.step(optimizer)
                scaler.update()
        else:
            scaler.step(optimizer)
            scaler.update()
    packed = optimizer.state_dict()
    return [p.detach() for p in params], scaler.get_scale(), [int(packed["state"][at]["step"]) for at in range(2)]


@needs_triton
def test_a_grad_scaler_is_obeyed_without_being_asked(force: Callable[[str], None]) -> None:
    force("Triton")
    mine = scaled(7, unwaiting=True)
    force("eager")
    defined = scaled(7, unwaiting=False)
    for a, b in zip(mine[0], defined[0], strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5)
    assert mine[1:] == defined[1:]
    assert mine[2] == [4, 4]


@needs_triton
def test_a_captured_step_goes_on_counting(force: Callable[[str], None]) -> None:
    force("Triton")
    rule = steepest.chain(steepest.clip_global_norm(0.5), steepest.adamw(0.1, schedule=steepest.cosine(steps=9)))
    found = []
    for capturing in (True, False):
        torch.manual_seed(0)
        net, x = torch.nn.Linear(30, 20).cuda(), torch.empty(8, 30, device="cuda")
        optimizer, graph, side = steepest.Optimizer(net, rule), torch.cuda.CUDAGraph(), torch.cuda.Stream()

        def step(net: Any = net, x: Tensor = x, optimizer: Any = optimizer) -> None:
            optimizer.zero_grad(set_to_none=True)
            net(x).square().mean().backward()
            optimizer.step()

        for i in range(6):
            x.copy_(torch.full((8, 30), 0.1 * (i + 1)))
            if not capturing or i < 3:
                side.wait_stream(torch.cuda.current_stream())
                with torch.cuda.stream(side):
                    step()
                torch.cuda.current_stream().wait_stream(side)
                continue
            if i == 3:
                optimizer.zero_grad(set_to_none=True)
                with torch.cuda.graph(graph):
                    step()
            optimizer.before_replay()
            graph.replay()
        assert optimizer.param_groups[0]["updates"] == 6
        found.append(net.weight.detach())
    torch.testing.assert_close(*found)


def test_what_a_graph_cannot_hold_is_refused(force: Callable[[str], None]) -> None:
    force("eager")
    p = torch.randn(5, device="cuda", requires_grad=True)
    optimizer = steepest.Optimizer([p], steepest.adam(0.1))
    p.grad = torch.randn_like(p)
    optimizer.step()
    with (
        pytest.raises(steepest.InputError, match="a CUDA graph can hold a step when"),
        torch.cuda.graph(torch.cuda.CUDAGraph()),
    ):
        optimizer.step()


def test_plan_says_why_not_triton(monkeypatch: pytest.MonkeyPatch) -> None:
    leave("fused", monkeypatch)
    row = steepest.Optimizer([torch.randn(5, device="cuda", requires_grad=True)], steepest.adamw(0.1)).plan().rows[0]
    assert (row["execution"], row["reason"]) == ("torch fused adamw", "turned off")


# -- trainings --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["digits", "wine", "diabetes"])
def test_fit_uses_the_gpu_and_learns_as_on_the_cpu(name: str) -> None:
    runs = [steepest.fit(name, device=device, record=False) for device in ("cuda", "cpu")]
    assert next(runs[0].model.parameters()).is_cuda
    metric = "r2" if name == "diabetes" else "accuracy"
    assert runs[0].metrics[metric] == pytest.approx(runs[1].metrics[metric], abs=0.05)
    assert steepest.evaluate(runs[0]).rows == steepest.evaluate(runs[1]).rows


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@pytest.mark.parametrize("model", ["mlp((32, 16), dropout=0.2)", "mlp((32, 16), norm='batch')"])
def test_passes_replayed_from_graphs_are_the_networks(model: str, precision: str) -> None:
    recipe = steepest.Recipe(steepest.adamw(0.01), batch=100, epochs=3, model=model)  # whose last batch is smaller
    plans = [steepest.Plan(precision, graphs=graphs, written_out=False) for graphs in (True, False)]
    curves = [steepest.fit("digits", recipe, plan=plan, device="cuda", record=False).facts["curve"] for plan in plans]
    for mine, theirs in zip(*curves, strict=True):
        assert mine["train_loss"] == pytest.approx(theirs["train_loss"], rel=1e-3 if precision == "float32" else 0.05)
        assert mine["loss"] == pytest.approx(theirs["loss"], rel=1e-3 if precision == "float32" else 0.05)


def test_gradients_of_graphs_are_not_added_up() -> None:
    with pytest.raises(steepest.InputError, match="cannot be added up"):
        steepest.fit(
            "digits", "sgd(0.1)", plan="Plan(graphs=True)", gradient=steepest.accumulated(2), device="cuda", record=False
        )


def test_the_pilot_tries_graphs(monkeypatch: pytest.MonkeyPatch) -> None:
    from steepest.gradient import plain
    from steepest.training import pilot
    from steepest.training.setup import prepare

    monkeypatch.setattr(pilot, "BUDGET_SHARE", 1e9)
    t = prepare(steepest.task("digits"), steepest.Recipe("adamw(0.01)", model="mlp((32,))"), device="cuda")
    choice = pilot.measured(pilot.Bench(t, plain), 10**4, steepest.Plan(), even_if_short=True)
    (graphs,) = (timing for timing in choice.timings if timing.plan.graphs)
    assert graphs.seconds
    assert "float32 has" not in (graphs.out or "")


def test_a_run_from_the_gpu_comes_back_on_the_cpu() -> None:
    run = steepest.fit("iris", device="cuda")
    assert steepest.load_run(str(run.id)).metrics == run.metrics


def test_a_race_on_the_gpu() -> None:
    race = steepest.race("iris", ["adam(0.01)", "momentum(0.05)"], seeds=1, epochs=20, device="cuda", record=False)
    assert race.facts["processes"] == 1
    assert race.reached


def test_augmentations_change_rows_there_as_here() -> None:
    from steepest.augmentations import Source, augmented
    from steepest.data.parts import Part
    from steepest.forms import Form

    images = torch.randn(64, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    augment = (
        steepest.flip(), steepest.shift(2), steepest.cutout(3), steepest.rotate(20), steepest.crop(0.5), steepest.noise(0.1),
        steepest.mixup(0.4), steepest.cutmix(1.0),
    )  # fmt: skip
    found = []
    for device in ("cpu", "cuda"):
        part = Part("train", images.to(device), (torch.arange(64) % 3).to(device))
        source = Source(part, Form("image", (3, 16, 16)), 3)
        found.append(augmented(source, augment, 1, 2, torch.arange(64, device=device)))
    for here, there in zip(*found, strict=True):
        torch.testing.assert_close(here, there.cpu(), atol=1e-4, rtol=1e-4)
