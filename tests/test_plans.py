"""Plans and the pilot: another way to carry a training out changes its time, not what is learned."""

from __future__ import annotations

import copy
import functools
import json
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

import steepest
from steepest.errors import InputError
from steepest.gradient import StepContext, StepResult, accumulated, plain, sharpness_aware
from steepest.machine import has_bfloat16
from steepest.models import products
from steepest.models.graphs import Graphed
from steepest.models.products import attention
from steepest.plans import Plan, as_plan
from steepest.training import known, pilot, remembered
from steepest.training.settings import Tf32
from steepest.training.setup import Training, prepare

RECIPE = steepest.Recipe(steepest.adamw(0.01), batch=32, epochs=2)


def images(rows: int = 90, side: int = 12) -> steepest.Data:
    rng = np.random.default_rng(0)
    labels = np.arange(rows) % 3
    return steepest.arrays(
        rng.integers(0, 80, (rows, side, side), dtype=np.uint8) + 60 * labels[:, None, None], labels, images=True
    )


def small_cnn() -> nn.Module:
    return nn.Sequential(nn.Conv2d(1, 4, 3, padding=1), nn.ReLU(), nn.AdaptiveAvgPool2d(3), nn.Flatten(), nn.Linear(36, 3))


def training(model: Any = None, recipe: steepest.Recipe = RECIPE, **task: Any) -> Training:
    return prepare(steepest.Task(images(), model=model or small_cnn, **task), recipe)


# -- plans ------------------------------------------------------------------------------------------------------------


def test_a_plan_is_read_back_from_what_it_prints() -> None:
    plan = Plan("bfloat16", channels_last=True, threads=1, micro_batch=16)
    assert as_plan(repr(plan)) == plan
    assert str(plan) == "bfloat16, channels last, 1 thread, 16 rows at once"
    assert as_plan("auto") is None


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("Plan(precision='half')", "precision must be 'float32', 'tf32', 'bfloat16' or 'float16'"),
        ("Plan(threads=0)", "threads must be a whole number from 1 to 1024"),
        ("Plan(threads=100000)", "threads must be a whole number from 1 to 1024"),
        ("bfloat16", r"expected calls such as Plan\(precision='bfloat16'\)"),
        ("Plan(micro_batch=1.5)", "micro_batch must be a whole number >= 1"),
        ("sgd(0.1)", "'sgd'"),
        ("3", "a plan is one such as"),
    ],
)
def test_a_wrong_plan_is_one_line(text: str, told: str) -> None:
    with pytest.raises(InputError, match=told):
        as_plan(text)


@pytest.mark.parametrize(
    ("plan", "far"),
    [
        (Plan(threads=1), 1e-6),
        (Plan(written_out=False), 1e-5),
        (Plan(channels_last=True), 1e-4),
        (Plan(micro_batch=7), 1e-4),
        (Plan("bfloat16"), 0.05),
        (Plan("float16"), 0.05),
        (Plan("bfloat16", channels_last=True, threads=1, micro_batch=20), 0.05),
    ],
)
def test_the_same_is_learned_under_every_plan(plan: Plan, far: float) -> None:
    job = steepest.Task(images(), model=small_cnn)
    as_it_stands = steepest.fit(job, RECIPE, plan=Plan(), record=False)
    threads = torch.get_num_threads()
    run = steepest.fit(job, RECIPE, plan=plan, record=False)
    assert torch.get_num_threads() == threads
    assert run.facts["plan"]["plan"] == repr(plan)
    assert run.facts["plan"]["source"] == "given"
    for mine, theirs in zip(run.facts["curve"], as_it_stands.facts["curve"], strict=True):
        assert mine["train_loss"] == pytest.approx(theirs["train_loss"], abs=far)
        assert mine["loss"] == pytest.approx(theirs["loss"], abs=far)


def test_weights_and_gradients_stay_float32_under_bfloat16() -> None:
    t = training()
    t.follow(Plan("bfloat16"))
    result = plain(t.context(*t.batch_at(torch.arange(8), 0)))
    assert result.outputs is not None
    assert {result.outputs.dtype, result.loss.dtype} == {torch.float32}
    assert {p.grad.dtype for p in t.model.parameters() if p.grad is not None} == {torch.float32}


def test_float16_divides_by_its_factor_and_leaves_out_what_is_not_finite() -> None:
    t = training()
    t.follow(Plan("float16"))
    batch = t.batch_at(torch.arange(8), 0)
    t.step(plain, *batch)
    factor = t.scaler.get_scale()  # pyright: ignore
    exact = training()
    exact.step(plain, *batch)
    for mine, theirs in zip(t.model.parameters(), exact.model.parameters(), strict=True):
        assert (mine.grad - theirs.grad).norm() <= 0.01 * theirs.grad.norm() + 1e-6  # pyright: ignore

    def overflowing(context: StepContext) -> StepResult:
        return plain(replace(context, loss=lambda outputs, targets: 1e38 * context.loss(outputs, targets)))

    before = [p.detach().clone() for p in t.model.parameters()]
    t.step(overflowing, *batch)
    assert all(torch.equal(p, old) for p, old in zip(t.model.parameters(), before, strict=True))
    assert t.scaler.get_scale() < factor  # pyright: ignore


def test_a_gradient_function_that_scales_nothing_is_told_in_float16() -> None:
    def own(context: StepContext) -> StepResult:
        loss = context.loss(context.outputs(context.inputs), context.targets)
        loss.backward()
        return StepResult(loss.detach(), len(context.targets))

    with pytest.raises(InputError, match=r"context.backward\(loss\)"):
        steepest.fit("iris", RECIPE, gradient=own, plan=Plan("float16"), record=False)


class Asking(nn.Module):
    """A network of one's own that asks torch's attention."""

    def __init__(self) -> None:
        super().__init__()
        self.ask, self.answer = nn.Linear(5, 24), nn.Linear(8, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        q, k, v = self.ask(x).view(len(x), -1, 3, 2, 4).permute(2, 0, 3, 1, 4)
        found = nn.functional.scaled_dot_product_attention(q, k, v, is_causal=True)
        return self.answer(found.transpose(1, 2).flatten(2).mean(dim=1))


def asking(model: Any) -> Training:
    data = steepest.arrays(torch.randn(40, 16, 5), np.arange(40) % 3, images=False)
    return prepare(steepest.Task(data, model=model), RECIPE)


@pytest.mark.parametrize("model", [Asking, steepest.transformer(width=32, layers=2)])
def test_attention_in_bfloat16_is_products_in_any_network(model: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    t = asking(model)
    assert t.attends
    x = torch.randn(4, 16, 5)
    exact = t.model(x)
    t.follow(Plan("bfloat16"))
    assert t.by_products
    made = t.context(x, torch.zeros(4, dtype=torch.int64))
    asked: list[None] = []
    monkeypatch.setattr(products, "attention", lambda *args, **how: asked.append(None) or attention(*args, **how))
    near = made.outputs(x)
    assert asked
    assert (near - exact).abs().max() < 0.05 * exact.abs().max()
    near.sum().backward()
    assert all(p.grad is not None and bool(p.grad.isfinite().all()) for p in t.model.parameters())


def test_a_network_without_attention_asks_nothing() -> None:
    t = training()
    t.follow(Plan("bfloat16"))
    assert not t.attends
    assert not t.by_products


# -- CUDA graphs, as far as they can be looked at without a device --------------------------------------------------------


class Recorder:
    """Stands for torch's recording of graphs: makes the passes of a warm-up, and replays by calling."""

    def __init__(self) -> None:
        self.replays = 0

    def __call__(self, module: nn.Module, example: tuple[torch.Tensor], **how: Any) -> Any:
        assert how == {"allow_unused_input": True}
        params = list(module.parameters())
        for _ in range(3):
            torch.autograd.grad(module(*example).sum(), params)
        memory = [torch.empty_like(p) for p in params]  # of the gradients, at every replay

        class Replay(torch.autograd.Function):
            @staticmethod
            def forward(ctx: Any, x: torch.Tensor, *_: torch.Tensor) -> torch.Tensor:
                with torch.enable_grad():
                    ctx.outputs = module(x)
                return ctx.outputs.detach()

            @staticmethod
            def backward(ctx: Any, *grads: torch.Tensor) -> Any:
                found = torch.autograd.grad(ctx.outputs, params, grads[0])
                for place, g in zip(memory, found, strict=True):
                    place.copy_(g)
                return None, *(place.detach() for place in memory)

        def replayed(x: torch.Tensor) -> torch.Tensor:
            self.replays += 1
            return Replay.apply(x, *params)  # type: ignore[return-value]

        return replayed


@pytest.fixture
def recorder(monkeypatch: pytest.MonkeyPatch) -> Recorder:
    made = Recorder()
    monkeypatch.setattr(torch.cuda, "make_graphed_callables", made)
    monkeypatch.setattr(torch.cuda, "get_rng_state", lambda _: torch.get_rng_state())
    monkeypatch.setattr(torch.cuda, "set_rng_state", lambda state, _: torch.set_rng_state(state))
    monkeypatch.setattr(torch.cuda, "get_sync_debug_mode", lambda: 0)
    monkeypatch.setattr(torch.cuda, "set_sync_debug_mode", lambda _: None)
    return made


def test_graphs_serve_batches_like_the_first_and_recording_leaves_no_trace(recorder: Recorder) -> None:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.Dropout(0.5), nn.Linear(8, 2))
    plain_net, graphed = copy.deepcopy(net), Graphed(net)
    for rows in (6, 6, 3, 6):
        x = torch.randn(rows, 4)
        found = []
        for network in (plain_net, graphed):
            torch.manual_seed(rows)
            found.append(network(x))
        assert torch.equal(*found)
    assert recorder.replays == 3
    for a, b in zip(plain_net.state_dict().values(), net.state_dict().values(), strict=True):
        assert torch.equal(a, b)
    with torch.no_grad():
        graphed(torch.randn(6, 4))
    net.eval()
    graphed(torch.randn(6, 4))
    assert recorder.replays == 3


def test_a_step_with_graphs_is_the_step_without(recorder: Recorder, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = gradients(training(), plain, 32)
    t = training()
    adding, whole = pilot.Bench(t, accumulated(4)), pilot.Bench(t, plain)
    with monkeypatch.context() as patched:
        patched.setattr(t, "device", torch.device("cuda"))
        t.follow(Plan(graphs=True))
        assert not pilot.variants(adding, Plan())
        assert pilot.variants(whole, Plan("bfloat16")) == [Plan("bfloat16", graphs=True)]
    for mine, theirs in zip(gradients(t, plain, 32), expected, strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-5, atol=1e-6)
    assert recorder.replays == 1
    for other in (accumulated(4), sharpness_aware()):  # gradients of two replays are in one memory
        with pytest.raises(steepest.InputError, match="CUDA graphs replay one pass a step"):
            t.step(other, *t.batch_at(torch.arange(8), 0))


def test_a_recording_that_fails_is_told_and_leaves_no_trace(recorder: Recorder, monkeypatch: pytest.MonkeyPatch) -> None:
    net = nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.Dropout(0.5))
    x = torch.randn(6, 4)
    before, random = copy.deepcopy(net.state_dict()), torch.get_rng_state()

    def failing(module: nn.Module, *args: Any, **how: Any) -> None:
        recorder(module, *args, **how)
        raise AssertionError("in a graph only parameters learn")

    monkeypatch.setattr(torch.cuda, "make_graphed_callables", failing)
    with pytest.raises(steepest.InputError, match=r"cannot be recorded as CUDA graphs \(in a graph only parameters learn\)"):
        Graphed(net)(x)
    assert torch.equal(torch.get_rng_state(), random)
    assert all(torch.equal(a, b) for a, b in zip(before.values(), net.state_dict().values(), strict=True))


def test_a_plan_that_cannot_be_followed_changes_nothing() -> None:
    layers = (nn.Conv2d(1, 4, 3), nn.Conv2d(4, 4, 3), nn.AdaptiveAvgPool2d(3), nn.Flatten(), nn.Linear(36, 3))
    t = training(model=lambda: nn.Sequential(*layers))
    t.follow(Plan("bfloat16", channels_last=True))
    with pytest.raises(steepest.InputError, match="CUDA graphs need a CUDA device"):
        t.follow(Plan(graphs=True))
    assert t.plan == Plan("bfloat16", channels_last=True)
    weight = next(p for p in t.model.parameters() if p.ndim == 4 and p.shape[1] > 1)
    assert not weight.is_contiguous()
    t.follow(Plan())
    assert weight.is_contiguous()


def test_where_graphs_cannot_be() -> None:
    t = training()
    with pytest.raises(steepest.InputError, match=r"CUDA graphs need a CUDA device \(this is a cpu\)"):
        t.follow(Plan(graphs=True))
    with pytest.raises(steepest.InputError, match="graphs replay the network's passes as they stand"):
        Plan(graphs=True, micro_batch=4)
    t.model.register_forward_hook(lambda *_: None)
    t.device = torch.device("cuda")
    with pytest.raises(steepest.InputError, match="CUDA graphs need modules without hooks"):
        t.follow(Plan(graphs=True))


# -- accumulation -----------------------------------------------------------------------------------------------------


def gradients(t: Training, gradient: Any, rows: int) -> list[torch.Tensor]:
    gradient(t.context(*t.batch_at(torch.arange(rows), 0)))
    return [p.grad.clone() for p in t.parameters if p.grad is not None]


@pytest.mark.parametrize("rows", [48, 45, 5])
@pytest.mark.parametrize(
    "objective",
    [
        steepest.cross_entropy(label_smoothing=0.1, l2=1e-3),
        steepest.cross_entropy(class_weights=(0.2, 1.0, 5.0)),
        steepest.focal(class_weights="balanced"),
        nn.CrossEntropyLoss(weight=torch.tensor([1.0, 0.1, 3.0])),
        nn.CrossEntropyLoss(ignore_index=1),
        functools.partial(F.cross_entropy, weight=torch.tensor([1.0, 0.1, 3.0])),
        functools.partial(F.cross_entropy, ignore_index=0),
        nn.CrossEntropyLoss(weight=torch.tensor([1.0, 0.1, 3.0]), reduction="sum"),
        functools.partial(F.cross_entropy, ignore_index=0, reduction="sum"),
        functools.partial(F.multi_margin_loss, reduction="sum"),
        nn.MultiMarginLoss(reduction="sum"),
    ],
)
def test_pieces_add_up_to_the_whole_batch(objective: Any, rows: int) -> None:
    t = training(objective=objective)
    whole = gradients(t, plain, rows)
    for pieces in (gradients(t, accumulated(8), rows),):
        for mine, theirs in zip(pieces, whole, strict=True):
            torch.testing.assert_close(mine, theirs, rtol=1e-5, atol=1e-6)
    t.follow(Plan(micro_batch=16))
    for mine, theirs in zip(gradients(t, plain, rows), whole, strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-5, atol=1e-6)


def test_a_piece_in_which_nothing_counts_adds_nothing() -> None:
    t = training(objective=nn.CrossEntropyLoss(ignore_index=0))
    inputs, targets = t.batch_at(torch.arange(8), 0)
    targets = torch.tensor([0, 0, 1, 2, 1, 2, 1, 1])
    plain(t.context(inputs, targets))
    whole = [p.grad.clone() for p in t.parameters if p.grad is not None]
    accumulated(4)(t.context(inputs, targets))
    for p, theirs in zip(t.parameters, whole, strict=True):
        torch.testing.assert_close(p.grad, theirs, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(("rows", "sizes"), [(9, [3, 2, 2, 2]), (6, [2, 2, 2]), (3, [3]), (1, [1])])
def test_no_piece_has_a_single_row(rows: int, sizes: list[int]) -> None:
    t = training(model=lambda: nn.Sequential(nn.Flatten(), nn.Linear(144, 8), nn.Linear(8, 3)))
    seen: list[int] = []
    t.model.register_forward_hook(lambda _, inputs, __: seen.append(len(inputs[0])))
    accumulated(4)(t.context(*t.batch_at(torch.arange(rows), 0)))
    assert seen == sizes


# -- the pilot --------------------------------------------------------------------------------------------------------


def test_a_small_network_of_convolutions_is_done_by_one_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch, "get_num_threads", lambda: 2)
    t = training()  # whose last layer may be one in C
    assert 1e5 < known.flops_of(t) < known.ALONE_FLOPS
    monkeypatch.setattr(known, "ALONE_FLOPS_IN_C", 1.0)
    assert known.default_plan(t).threads == 1


def test_a_short_training_is_not_measured() -> None:
    t = training()
    choice = pilot.choose(t, None, 10, plain)
    assert choice.source == "default"
    assert not choice.timings
    assert "pilot" not in t.clock.stop()


def test_one_step_tells_a_short_training(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(known, "SLOW_FLOPS", 1.0)
    t = training()
    before = {name: value.clone() for name, value in t.model.state_dict().items()}
    choice = pilot.choose(t, None, 10, plain)
    assert (choice.source, choice.timings) == ("default", ())
    assert choice.spent_s > 0
    assert t.clock.stop()["pilot"] > 0
    assert not t.optimizer.begun
    assert all(bool((value == before[name]).all()) for name, value in t.model.state_dict().items())


@pytest.mark.usefixtures("long")
def test_what_is_known_is_measured_where_its_first_step_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pilot, "SHORT_S", 60.0)
    monkeypatch.setattr(known, "SLOW_FLOPS", 1.0)
    monkeypatch.setattr(pilot, "default_plan", lambda _: Plan("float16", threads=1))
    failing = pilot.Bench.run

    def run(bench: pilot.Bench, timing: pilot.Timing, *options: Any) -> None:
        if timing.plan.precision == "float16":
            raise RuntimeError("no such operation in float16")
        failing(bench, timing, *options)

    monkeypatch.setattr(pilot.Bench, "run", run)
    choice = pilot.choose(training(), None, 10**6, plain)
    assert choice.source == "measured"
    assert choice.plan.precision != "float16"


@pytest.mark.usefixtures("long")
def test_all_candidates_begin_with_the_same_weights(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pilot, "candidates", lambda *_: [Plan(), Plan(channels_last=True)])
    monkeypatch.setattr(pilot, "default_plan", lambda _: Plan(channels_last=True))
    monkeypatch.setattr(known, "SLOW_FLOPS", 1.0)
    choice = pilot.choose(training(), None, 1000, plain)
    first, second = choice.timings[:2]
    assert first.losses[0] == pytest.approx(second.losses[0], rel=1e-5)
    assert choice.spent_s > 0


@pytest.mark.usefixtures("long")
def test_what_is_kept_is_taken_as_far_as_it_suits_another_training(monkeypatch: pytest.MonkeyPatch) -> None:
    t = training()
    key = remembered.key_of(t, plain)
    remembered.keep(key, {"plan": repr(Plan(compile=True))}, 1000)
    assert remembered.recall(key, 999) is None
    assert remembered.recall(key, 1000) == Plan(compile=True)
    remembered.keep(key, {"plan": repr(Plan("bfloat16", micro_batch=64))}, 1000)
    monkeypatch.setattr(pilot, "default_plan", lambda _: Plan(micro_batch=8))
    choice = pilot.choose(t, None, 10, plain)
    assert (choice.plan, choice.source) == (Plan("bfloat16", micro_batch=8), "measured before")
    for kept, suited, expected in (
        (Plan(compile=True), Plan(checkpointing=True), Plan(checkpointing=True)),
        (Plan(compile=True), Plan(micro_batch=8), Plan(micro_batch=8, compile=True)),
        (Plan(graphs=True), Plan(micro_batch=8), Plan(micro_batch=8)),
    ):
        assert pilot._within(suited, kept) == expected


@pytest.fixture
def long(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Have every training count as long, and its plan kept in a folder of its own."""
    monkeypatch.setattr(pilot, "SHORT_S", 0.0)
    monkeypatch.setattr(pilot, "BUDGET_SHARE", 1e9)
    monkeypatch.setattr(pilot, "BUDGET_S", 2.0)
    monkeypatch.setattr(pilot, "COMPILE_S", np.inf)
    monkeypatch.setenv("STEEPEST_CACHE", str(tmp_path))


@pytest.mark.usefixtures("long")
def test_candidates_are_timed_the_training_is_not_touched_and_the_plan_is_kept() -> None:
    t = training()
    before = {name: value.clone() for name, value in t.model.state_dict().items()}
    choice = pilot.choose(t, None, 1000, plain)
    assert choice.source == "measured"
    assert choice.timings[0].plan == Plan()
    assert all(timing.seconds or timing.out for timing in choice.timings)
    assert choice.plan in [timing.plan for timing in choice.timings]
    assert not t.optimizer.begun
    assert all(bool((value == before[name]).all()) for name, value in t.model.state_dict().items())
    assert "pilot" in t.clock.stop()
    again = pilot.choose(training(), None, 1000, plain)
    assert (again.source, again.plan) == ("measured before", choice.plan)
    other = pilot.choose(training(recipe=steepest.Recipe(steepest.adamw(0.01), batch=16, epochs=2)), None, 1000, plain)
    assert other.source == "measured"
    json.dumps(choice.to_dict(), default=str)


@pytest.mark.usefixtures("long")
def test_a_kept_plan_that_cannot_be_read_is_measured_anew(tmp_path: Path) -> None:
    key = remembered.key_of(training(), plain)
    for text in ("", "{}", '{"plan": 3}', '{"plan": "__import__(\'os\')"}', '{"plan": "Plan(threads=-1)"}'):
        (tmp_path / "plans").mkdir(exist_ok=True)
        (tmp_path / "plans" / f"{key}.json").write_text(text)
        assert pilot.choose(training(), None, 1000, plain).source == "measured"


@pytest.mark.usefixtures("long")
def test_a_fit_measures_and_records_its_plan() -> None:
    run = steepest.fit(steepest.Task(images(), model=small_cnn), RECIPE, record=False)
    assert run.facts["plan"]["source"] == "measured"
    assert run.facts["plan"]["timings"][0]["plan"] == "Plan()"
    assert run.stages["pilot"] > 0
    again = steepest.fit(steepest.Task(images(), model=small_cnn), RECIPE, record=False)
    assert again.facts["plan"]["source"] == "measured before"
    assert again.facts["weights_sha256"] == run.facts["weights_sha256"]


@pytest.mark.usefixtures("long")
def test_what_strays_or_fails_is_out() -> None:
    class Halved(nn.Module):
        """Gives other answers, or none, under bfloat16."""

        def __init__(self) -> None:
            super().__init__()
            self.inner, self.raises = small_cnn(), False

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            if torch.is_autocast_enabled("cpu"):
                if self.raises:
                    raise RuntimeError("no such operation in bfloat16")
                return self.inner(x) * 10
            return self.inner(x)

    if not has_bfloat16(torch.device("cpu")):
        pytest.skip("this processor has no units for bfloat16")
    for raises, told in ((False, "where float32 has"), (True, "no such operation")):
        model = Halved()
        model.raises = raises
        choice = pilot.choose(training(model=model, recipe=RECIPE), None, 1000 + raises, plain)
        out = {timing.plan.precision: timing.out for timing in choice.timings if timing.plan.precision == "bfloat16"}
        assert told in (out["bfloat16"] or "")
        assert choice.plan.precision == "float32"
        for path in remembered._folder().glob("*.json"):
            path.unlink()


def test_the_budget_is_kept() -> None:
    class Slow(nn.Module):
        """Takes a while."""

        def __init__(self) -> None:
            super().__init__()
            self.inner = nn.Linear(144, 3)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            time.sleep(0.05)
            return self.inner(x.flatten(1))

    t = training(model=Slow())
    num_steps = 2000  # 100 s: a budget of 3
    choice = pilot.measured(pilot.Bench(t, plain), num_steps, Plan())
    assert choice.source == "measured"
    slack = 4 * max(timing.step_s for timing in choice.timings if timing.seconds)  # what had begun when the time was up
    assert choice.spent_s <= choice.budget_s + slack + 0.5


@pytest.mark.parametrize(("steps", "told"), [(10**7, None), (10, "which its steps do not repay")])
def test_compiling_is_tried_where_a_share_of_the_training_is_long_enough(
    steps: int, told: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Slow(nn.Module):
        """Takes a while, unless it is compiled."""

        def __init__(self) -> None:
            super().__init__()
            self.inner, self.seconds = nn.Sequential(nn.Flatten(), nn.Linear(144, 3)), 0.02

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            time.sleep(self.seconds)
            return self.inner(x)

    def compiled(model: Slow) -> nn.Module:
        time.sleep(0.5)
        model.seconds = 0.0
        return model

    monkeypatch.setattr(torch, "compile", compiled)
    monkeypatch.setattr(pilot, "BUDGET_S", 2.0)
    monkeypatch.setattr(pilot, "COMPILE_S", 0.0)
    found = pilot.measured(pilot.Bench(training(model=Slow()), plain), steps, Plan(), even_if_short=True)
    assert found.timings[-1].plan.compile
    assert found.plan.compile == (told is None)
    assert (told or "") in (found.timings[-1].out or "")


def test_a_compiled_network_need_not_have_a_length(monkeypatch: pytest.MonkeyPatch) -> None:
    class Compiled(nn.Module):
        def __init__(self, model: nn.Module) -> None:
            super().__init__()
            self._orig_mod = model

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self._orig_mod(x)

        def __len__(self) -> int:
            raise TypeError(f"{type(self._orig_mod).__name__} does not support len()")

    monkeypatch.setattr(torch, "compile", Compiled)
    t = asking(Asking)
    t.follow(Plan(compile=True))
    assert t.step(plain, *t.batch_at(torch.arange(8), 0)).loss.isfinite()


def test_what_is_known_is_taken_where_no_time_is_left_to_measure_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pilot, "candidates", lambda *_: [Plan(), Plan(channels_last=True)])
    monkeypatch.setattr(pilot, "BUDGET_S", 0.0)
    found = pilot.measured(pilot.Bench(training(), plain), 10**6, Plan(channels_last=True))
    assert (found.plan, found.source) == (Plan(channels_last=True), "default")
    assert found.timings[1].out == pilot.NO_TIME


def test_a_candidate_slower_than_expected_makes_one_step_and_is_not_judged_by_it() -> None:
    bench, timing = pilot.Bench(training(), plain), pilot.Timing(Plan())
    bench.run(timing, ends=0.0)
    assert len(timing.losses) == 1
    assert not timing.seconds
    bench.run(timing, 1)
    assert len(timing.seconds) == 1


def test_a_network_that_cannot_be_copied_is_trained_as_it_stands(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pilot, "SHORT_S", 0.0)
    t = training()
    monkeypatch.setattr(pilot.copy, "deepcopy", lambda _: (_ for _ in ()).throw(TypeError("cannot be copied")))
    assert pilot.choose(t, None, 10, plain).source == "default"


# -- the command line -------------------------------------------------------------------------------------------------


def test_the_command_line_takes_a_plan(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    from steepest.cli import main

    home = ["--home", str(tmp_path)]
    assert main(["fit", "iris", "--recipe", "adamw(0.01)", "--epochs", "1", "--plan", "Plan(threads=1)", "--quiet", *home]) == 0
    assert "plan: float32, 1 thread (given)" in capsys.readouterr().out
    assert main(["fit", "iris", "--plan", "Plan(precision='int4')", *home]) == 2
    assert "precision must be" in capsys.readouterr().err


# -- nothing is changed for others ------------------------------------------------------------------------------------


def test_following_a_plan_changes_nothing_of_the_network() -> None:
    parts: list[nn.Module] = [nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.Dropout(0.5), nn.Flatten(), nn.Linear(400, 3)]
    net = nn.Sequential(*parts)
    parts[1].eval()  # frozen
    before = {name: value.clone() for name, value in net.state_dict().items()}
    t = training(lambda: net)
    for plan in (Plan(), Plan("bfloat16"), Plan(written_out=False)):
        t.follow(plan)
    for name, value in t.model.state_dict().items():
        assert torch.equal(value, before[name]), name
    assert [module.training for module in t.model] == [True, False, True, True, True]  # pyright: ignore


def test_threads_are_the_callers_between_steps_and_after_trainings_that_take_turns() -> None:
    threads = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        loops = [steepest.steps("iris", "sgd(0.01)", plan=Plan(threads=1)) for _ in range(2)]
        for loop in loops:
            next(loop)
            assert torch.get_num_threads() == 2
        for loop in loops:
            loop.close()
            assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(threads)


def test_tf32_holds_where_it_is_wanted_only() -> None:
    before = torch.backends.cuda.matmul.fp32_precision
    with Tf32(False):
        assert torch.backends.cuda.matmul.fp32_precision == before
    with Tf32(True):
        assert torch.backends.cuda.matmul.fp32_precision == "tf32"
    assert torch.backends.cuda.matmul.fp32_precision == before


def test_a_gradient_function_may_change_the_loss() -> None:
    def doubled(context: StepContext) -> StepResult:
        return plain(replace(context, loss=lambda outputs, targets: 2 * context.loss(outputs, targets)))

    t = training(lambda: nn.Sequential(nn.Flatten(), nn.Linear(144, 3)))
    context = t.context(*t.batch_at(torch.arange(8), 0))
    assert t.dense is not None
    assert doubled(context).loss.item() == pytest.approx(2 * plain(context).loss.item())


def test_plans_are_kept_by_what_gradients_are_called() -> None:
    t = training()
    keys = [remembered.key_of(t, each) for each in (plain, accumulated(2), accumulated(3), sharpness_aware(0.1))]
    assert None not in keys
    assert len(set(keys)) == 4
    nameless = remembered.key_of(t, lambda context: plain(replace(context, micro_batch=2)))
    assert nameless is None
    remembered.keep(nameless, {"plan": "Plan(threads=1)"}, 10)
    assert remembered.recall(nameless, 10) is None


def test_no_candidate_is_timed_twice() -> None:
    found = steepest.doctor("iris", "adamw(0.01)")
    assert found.choice is not None
    plans = [timing.plan for timing in found.choice.timings]
    assert len(plans) == len(set(plans))
    assert not any("where float32 has" in (timing.out or "") for timing in found.choice.timings)


def test_products_are_rounded_only_where_that_gains_over_float32_at_any_number_of_threads() -> None:
    def timed(plan: Plan, step_s: float) -> pilot.Timing:
        return pilot.Timing(plan, [step_s])

    first, half = timed(Plan(), 1.0), timed(Plan(precision="bfloat16"), 0.8)
    alone, half_alone = timed(Plan(threads=1), 0.105), timed(Plan(precision="bfloat16", threads=1), 0.1)
    assert pilot._best([first, half], first) is half
    assert pilot._best([half, alone, half_alone], half) is alone
    half_alone.seconds = [0.09]
    assert pilot._best([half, alone, half_alone], half) is half_alone


def test_a_function_that_returns_a_step_is_called_for_it() -> None:
    net, x = torch.nn.Linear(64, 64), torch.ones(256, 64)

    def step() -> None:
        net(x).square().mean().backward()

    found = steepest.doctor(lambda: step)
    assert found.step_ms is not None
    assert found.step_ms["backward"] > 0


# -- a second thread that hinders -------------------------------------------------------------------------------------


def perceptron() -> Training:
    rng = np.random.default_rng(0)
    data = steepest.arrays(rng.normal(size=(600, 100)).astype("float32"), np.arange(600) % 3, scaling="none")
    return prepare(steepest.Task(data, model=steepest.mlp((128, 128))), steepest.Recipe(steepest.adam(), batch=128, epochs=200))


@pytest.mark.parametrize(
    ("together_s", "alone_s", "busy", "threads"),
    [(1e-3, 5e-4, False, 1), (5e-4, 6e-4, False, None), (5.5e-4, 5e-4, False, None), (5e-4, 6e-4, True, 1)],
    ids=["waits", "idle", "alike", "busy"],
)
def test_one_thread_is_taken_where_others_hinder(
    together_s: float, alone_s: float, busy: bool, threads: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    t = perceptron()
    if t.dense is None or t.dense.in_c is None:
        pytest.skip("dense layers do not run in C here")
    monkeypatch.setattr(torch, "get_num_threads", lambda: 2)

    def run(self: pilot.Bench, timing: pilot.Timing, steps: int | None = None) -> None:
        timing.seconds += [together_s if timing.plan.threads is None else alone_s] * 4

    monkeypatch.setattr(pilot.Bench, "run", run)
    monkeypatch.setattr(pilot, "lacks_cores", lambda threads: busy)
    choice = pilot.choose(t, None, 1000, plain)
    assert choice.plan.threads == threads
    assert choice.source == ("measured" if threads else "default")
    assert [timing.plan.threads for timing in choice.timings] == [None, 1]
    assert pilot.choose(t, None, 100, plain).timings == ()  # too short for that
    assert pilot.choose(t, None, 1000, accumulated(2)).timings == ()  # and nobody's own function is called for it
    assert pilot.choose(t, Plan(), 1000, plain).source == "given"


def test_asking_for_a_second_thread_changes_nothing_and_costs_little() -> None:
    t = perceptron()
    before = [p.detach().clone() for p in t.parameters]
    choice = pilot.choose(t, None, 5000, plain)
    assert all(torch.equal(a, b) for a, b in zip(before, t.parameters, strict=True))
    assert choice.plan.threads in (None, 1)
    assert choice.spent_s < 2.0
