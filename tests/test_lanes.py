"""Lanes: each is its training alone, whatever the others do; what cannot be a lane is told; races run them where they pay."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import steepest
from steepest.data.parts import Part
from steepest.racing import bundles, runner
from steepest.racing.plan import FINALS
from steepest.together import Together
from steepest.training.choosing import LaneChoice, choose_lanes
from steepest.training.lanes import Lanes, prepare_lanes
from steepest.training.loop import EvaluationEvent, steps
from steepest.training.losses import losses_of
from steepest.training.probing import difference
from steepest.training.setup import Training, prepare
from steepest.training.sharing import apart
from steepest.training.stacked import Stacked
from tests.paces import equal_pace

DIGITS = steepest.task("digits")
RULES = (
    "adamw(0.01)",
    "sgd(0.1)",
    "adamw(0.003, weight_decay=0.1, schedule=cosine(warmup=0.1))",
    "chain(clip_global_norm(0.1), adam(0.01))",
    "chain(clip_global_norm(0.3), adam(0.01))",
    "schedule_free_adamw(0.01)",
    "muon",
)
STEPS, EVERY = 50, 20


def recipes(model: Any, rules: Sequence[str] = RULES, **more: Any) -> list[steepest.Recipe]:
    return [replace(steepest.parse_recipe(rule), model=model, batch=32, epochs=4, **more) for rule in rules]


def doubled(trainings: Sequence[Training]) -> list[Training]:
    """The same trainings in double precision, on shared parts."""
    first = trainings[0]
    assert first.validation is not None
    assert isinstance(first.train.inputs, Tensor)
    train = Part("train", first.train.inputs.double(), first.train.targets)
    validation = Part("validation", first.validation.inputs.double(), first.validation.targets)  # type: ignore[union-attr]
    for t in trainings:
        t.model.double()
        t.train, t.validation = train, validation
    return list(trainings)


def alone(training: Training, last: int = STEPS) -> list[EvaluationEvent]:
    loop = steps(training.task, training=training, evaluate_every=EVERY, max_steps=last)
    return [event for event in loop if isinstance(event, EvaluationEvent)]


def far(one: Training, other: Training) -> float:
    """How far the weights and running statistics of two trainings are from each other."""
    pairs = zip(one.model.state_dict().values(), other.model.state_dict().values(), strict=True)
    return max(float((a.double() - b.double()).abs().max()) for a, b in pairs)


def close(events: EvaluationEvent, others: EvaluationEvent, tolerance: float) -> bool:
    pairs = [(events.train_loss, others.train_loss), *((events.metrics[n], others.metrics[n]) for n in events.metrics)]
    return events.step == others.step and all(abs(a - b) <= tolerance for a, b in pairs)


@pytest.mark.parametrize("seeds", [[3] * 7, [0, 1, 2, 3, 4, 5, 6]], ids=["one seed", "seven seeds"])
@pytest.mark.parametrize(
    "model",
    [
        "mlp((32, 16))",
        "mlp((32, 16), dropout=0.3)",
        "mlp((16,), norm='layer', activation='gelu')",
        "mlp((16, 16), norm='batch', residual=True)",
        "residual_cnn(width=2, stages=1, stochastic_depth=0.5)",
        "residual_cnn(width=2, stages=1, whiten=True, views=2)",
    ],
)
def test_lanes_are_their_trainings_alone(model: str, seeds: list[int]) -> None:
    """Seven rules, clips by norm and a second set of weights among them; dropout draws what the training alone draws."""
    lanes = doubled(prepare_lanes(DIGITS, recipes(model), seeds))
    events = list(Lanes(lanes, evaluate_every=EVERY, max_steps=STEPS))
    assert [sorted(found) for found in events] == [list(range(7))] * 3
    for place, (recipe, seed) in enumerate(zip(recipes(model), seeds, strict=True)):
        (one,) = doubled([prepare(DIGITS, recipe, seed=seed)])
        for expected, found in zip(alone(one), events, strict=True):
            assert close(found[place], expected, 1e-9)
        assert far(one, lanes[place]) < 1e-9


def test_lanes_in_single_precision() -> None:
    """Weights agree to 1e-5 after 50 steps; Muon multiplies in half precision where the device does that fast, and to 1e-2."""
    chosen = recipes("mlp((32, 16))")[:6]
    lanes = prepare_lanes(DIGITS, chosen, range(6))
    events = list(Lanes(lanes, evaluate_every=EVERY, max_steps=STEPS))
    for place, recipe in enumerate(chosen):
        one = prepare(DIGITS, recipe, seed=place)
        expected = alone(one)
        assert close(events[-1][place], expected[-1], 1e-5)
        assert far(one, lanes[place]) < 1e-5


class Own(nn.Module):
    """A network of the caller's: its layers have no form for all lanes at once."""

    def __init__(self) -> None:
        super().__init__()
        self.into, self.out = nn.Linear(64, 12), nn.Linear(12, 10)
        self.register_buffer("scale", torch.tensor(0.5))
        self.unused = nn.Parameter(torch.ones(3))

    def forward(self, x: Tensor) -> Tensor:
        h = torch.tanh(self.into(x.flatten(1)))
        return self.out(h * self.scale + h.square())


class Convolutions(nn.Sequential):
    """Convolutions with a normalisation between them, from an image of 8 x 8."""

    def __init__(self) -> None:
        super().__init__(
            nn.Unflatten(1, (1, 8, 8)),
            nn.Conv2d(1, 4, 3, stride=2, bias=False),  # before a norm its gradient is rounding alone, which Adam makes large
            nn.BatchNorm2d(4),
            nn.ReLU(),
            nn.Flatten(),
            nn.Linear(36, 10),
        )


@pytest.mark.parametrize("make", [Own, lambda: nn.Sequential(nn.Flatten(), *Convolutions())], ids=["own", "convolutions"])
def test_other_modules_go_through_vmap(make: Callable[[], nn.Module]) -> None:
    """A parameter that takes no part in the loss stays as it is, even under weight decay."""
    chosen = recipes(make, RULES[:4])
    lanes = doubled(prepare_lanes(DIGITS, chosen, [5, 6, 7, 8]))
    events = list(Lanes(lanes, evaluate_every=EVERY, max_steps=STEPS))
    for place, recipe in enumerate(chosen):
        (one,) = doubled([prepare(DIGITS, recipe, seed=5 + place)])
        expected = alone(one)
        assert close(events[-1][place], expected[-1], 1e-9)
        assert far(one, lanes[place]) < 1e-9


def test_lanes_leave_without_disturbing_the_others() -> None:
    chosen, seeds = recipes("mlp((16,), dropout=0.2)"), list(range(7))
    lanes = doubled(prepare_lanes(DIGITS, chosen, seeds))
    together = Lanes(lanes, evaluate_every=EVERY, max_steps=[STEPS] * 6 + [33])
    seen = []
    for events in together:
        seen.append(sorted(events))
        if len(seen) == 1:
            together.leave(0)
            together.leave(3)
    assert seen == [[0, 1, 2, 3, 4, 5, 6], [6], [1, 2, 4, 5], [1, 2, 4, 5]]
    lasts = [20, 50, 50, 20, 50, 50, 33]
    for place, (recipe, last) in enumerate(zip(chosen, lasts, strict=True)):
        (one,) = doubled([prepare(DIGITS, recipe, seed=place)])
        alone(one, last)
        assert far(one, lanes[place]) < 1e-9
    with torch.no_grad():  # what has left has a memory of its own
        before = [p.clone() for p in lanes[1].model.parameters()]
        for p in lanes[0].model.parameters():
            p.fill_(7.0)
    assert all(bool((p == q).all()) for p, q in zip(before, lanes[1].model.parameters(), strict=True))


def test_a_lane_that_diverges_spoils_no_other() -> None:
    chosen = recipes("mlp((16,))", ["sgd(1e30)", "adam(0.01)"])
    lanes = prepare_lanes(DIGITS, chosen, [0, 0])
    events = list(Lanes(lanes, evaluate_every=EVERY, max_steps=40))
    assert not np.isfinite(events[-1][0].train_loss)
    assert events[-1][1].metrics["accuracy"] > 0.8


def test_each_lane_has_its_own_plateau() -> None:
    plateaus = [steepest.plateau(metric="accuracy", factor=factor, patience=0, threshold=10.0) for factor in (0.5, 0.1)]
    chosen = [replace(one, plateau=p) for one, p in zip(recipes("mlp((8,))", ["adam(0.01)"] * 2), plateaus, strict=True)]
    events = list(Lanes(prepare_lanes(DIGITS, chosen, [0, 0]), evaluate_every=5, max_steps=20))
    for place, recipe in enumerate(chosen):
        loop = steps(DIGITS, training=prepare(DIGITS, recipe, seed=0), evaluate_every=5, max_steps=20)
        factors = [event.lr_factor for event in loop if isinstance(event, EvaluationEvent)]
        assert [found[place].lr_factor for found in events] == factors
        assert factors[-1] < 1


def test_folds_are_lanes() -> None:
    """Lanes may learn from parts of their own, as long as these are of one size."""
    rows = np.arange(1200)
    tasks = [
        DIGITS.with_data(DIGITS.data.with_parts({"train": np.delete(rows, fold), "validation": fold}))
        for fold in (rows[:400], rows[400:800], rows[800:])
    ]
    recipe = recipes("mlp((16,))", ["adam(0.01)"])[0]
    lanes = [prepare(task, recipe, seed=1) for task in tasks]
    events = list(Lanes(lanes, evaluate_every=EVERY, max_steps=40))
    for place, task in enumerate(tasks):
        expected = alone(prepare(task, recipe, seed=1), 40)
        assert close(events[-1][place], expected[-1], 1e-5)


# -- several optimizers as one ----------------------------------------------------------------------------------------


def nets(count: int, seed: int = 0) -> list[nn.Module]:
    torch.manual_seed(seed)
    return [nn.Sequential(nn.Linear(4, 3), nn.Tanh(), nn.Linear(3, 2)) for _ in range(count)]


def test_optimizers_together_are_each_alone() -> None:
    names = [
        "adam(0.1)",
        "adam(0.01, b1=0.8)",
        "adamw(0.01)",
        "adamw(0.02, weight_decay=0.3)",
        *RULES[3:],
        "adafactor",
    ]
    rules = [steepest.parse_recipe(name).rule for name in names]
    one, other = nets(len(rules)), nets(len(rules))
    separately = [steepest.Optimizer(net, rule, total_steps=9) for net, rule in zip(one, rules, strict=True)]
    together = Together([steepest.Optimizer(net, rule, total_steps=9) for net, rule in zip(other, rules, strict=True)])
    x = torch.randn(6, 4)
    for _ in range(5):
        for net in [*one, *other]:
            net.zero_grad()
            net(x).square().mean().backward()
        for optimizer in separately:
            optimizer.step()
        together.step()
    for net, same in zip(one, other, strict=True):
        for p, q in zip(net.parameters(), same.parameters(), strict=True):
            torch.testing.assert_close(p, q, rtol=2e-2 if p.ndim == 2 else 1e-6, atol=2e-3 if p.ndim == 2 else 1e-7)


def test_rules_that_differ_in_numbers_are_one_launch() -> None:
    optimizers = [steepest.Optimizer(net, steepest.adam(10.0**-i)) for i, net in enumerate(nets(5))]
    if optimizers[0].plan().rows[0]["execution"] != "C":
        pytest.skip("nothing is compiled here")
    together = Together(optimizers)
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            for p in group["params"]:
                p.grad = torch.ones_like(p)
    together.step()
    assert [len(table.blocks) for table in together._shared._tables.values()] == [5]


# -- losses and noise -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "objective",
    [
        "cross_entropy()", "cross_entropy(label_smoothing=0.1)", "cross_entropy(class_weights='balanced')", "focal()",
        "binary_cross_entropy(label_smoothing=0.2)", "binary_cross_entropy(class_weights='balanced')",
        "mse()", "huber(delta=0.3)", "poisson()", "pinball()",
    ],
)  # fmt: skip
def test_the_loss_of_each_lane_is_the_objective_of_its_rows(objective: str) -> None:
    task = steepest.task("breast-cancer" if "entropy" in objective or "focal" in objective else "diabetes")
    training = prepare(task, steepest.parse_recipe(f"Recipe(adam(), objective={objective})"))
    _, targets = training.train.take(torch.arange(24))
    raw = torch.randn(3, 8, training.num_outputs)
    mine = targets.view(3, 8)
    expected = torch.stack([training.loss(raw[i], mine[i]) for i in range(3)])
    torch.testing.assert_close(losses_of(training.objective, training.loss)(raw, mine), expected)
    turned = raw.transpose(1, 2).contiguous().transpose(1, 2)
    torch.testing.assert_close(losses_of(training.objective, training.loss)(turned, mine), expected)


def test_regularisers_are_those_of_each_lane() -> None:
    chosen = recipes("mlp((8,))", RULES[:3], objective=steepest.cross_entropy(l1=1e-3, l2=1e-2))
    lanes = doubled(prepare_lanes(DIGITS, chosen, [0, 1, 2]))
    events = list(Lanes(lanes, evaluate_every=EVERY, max_steps=20))
    for place, recipe in enumerate(chosen):
        (one,) = doubled([prepare(DIGITS, recipe, seed=place)])
        assert close(events[-1][place], alone(one, 20)[-1], 1e-9)


def test_masks_of_lanes_are_independent() -> None:
    stacked = Stacked(nets(3), [1, 2, 2])
    masks = (stacked.noise(torch.ones(3, 200, 100), 0.8) > 0).double().flatten(1)
    assert bool((masks[1] == masks[2]).all())  # the same seed
    assert abs(float(masks[0].mean()) - 0.8) < 0.01
    assert abs(float(torch.corrcoef(masks[:2])[0, 1])) < 4 / 20_000**0.5


# -- what cannot be a lane --------------------------------------------------------------------------------------------


class Branches(nn.Linear):
    """A network whose path depends on what it is given."""

    def forward(self, x: Tensor) -> Tensor:  # pyright: ignore[reportIncompatibleMethodOverride]
        x = x.flatten(1)
        return super().forward(x if x.mean() > 0 else -x)


class Draws(nn.Linear):
    """A network that draws random numbers itself."""

    def forward(self, x: Tensor) -> Tensor:  # pyright: ignore[reportIncompatibleMethodOverride]
        return super().forward(x.flatten(1) + torch.randn_like(x.flatten(1)))


@pytest.mark.parametrize(
    ("make", "reason"),
    [(lambda: Branches(64, 10), "cannot be many at once"), (lambda: Draws(64, 10), "another loss|other outputs")],
)
def test_a_step_that_differs_is_told(make: Callable[[], nn.Module], reason: str) -> None:
    chosen = recipes(make, ["adam(0.01)"] * 2)
    found = difference(prepare_lanes(DIGITS, chosen, [0, 1]))
    assert found is not None
    assert any(part in found for part in reason.split("|"))
    choice = choose_lanes(DIGITS, chosen, [0, 1])
    assert not choice.chosen
    assert choice.lanes_s is None


def test_what_lanes_must_share_is_told() -> None:
    def pair(one: dict[str, Any], other: dict[str, Any]) -> str | None:
        base = {"rule": steepest.adam(), "batch": 32, "model": "mlp((8,))"}
        return apart([prepare(DIGITS, steepest.Recipe(**{**base, **changes})) for changes in (one, other)])

    assert pair({}, {"rule": steepest.lion(1e-3)}) is None
    assert pair({}, {"batch": 64}) == "they differ in the batch"
    assert pair({}, {"model": "mlp((9,))"}) == "they differ in the network"
    assert pair({}, {"objective": steepest.cross_entropy(label_smoothing=0.1)}) == "they differ in the objective"
    assert apart([]) == "there are none"
    begun = prepare_lanes(DIGITS, recipes("mlp((8,))", ["adam(0.01)"] * 2), [0, 1])
    alone(begun[1], 1)
    assert apart(begun) == "one of them has begun"
    with pytest.raises(steepest.InputError, match="one of them has begun; train them one by one"):
        Lanes(begun)


def test_recurrent_networks_and_hooks_are_told() -> None:
    class Reads(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.cell, self.out = nn.GRU(8, 8, batch_first=True), nn.Linear(8, 10)

        def forward(self, x: Tensor) -> Tensor:
            return self.out(self.cell(x.reshape(len(x), 8, 8))[0][:, -1])

    def hooked() -> nn.Module:
        net = nn.Sequential(nn.Flatten(), nn.Linear(64, 10))
        net[1].register_forward_hook(lambda module, inputs, outputs: outputs * 2)
        return net

    for make, reason in ((Reads, "GRU (cell) reads its steps"), (hooked, "Linear (1) has hooks of its own")):
        choice = choose_lanes(DIGITS, recipes(make, ["adam(0.01)"] * 2), [0, 1])
        assert not choice.chosen
        assert choice.reason.startswith(reason)


def test_the_choice_is_measured() -> None:
    choice = choose_lanes(DIGITS, recipes("mlp((8,))", ["adam(0.01)"] * 8), range(8), budget_s=30)
    assert choice.num_lanes == 8
    assert choice.lanes_s is not None
    assert choice.alone_s is not None
    assert choice.lanes_s > 0
    assert "of the time of their steps one by one" in choice.reason
    assert choose_lanes(DIGITS, recipes("mlp((8,))", ["adam(0.01)"]), [0]).reason == "one training has nothing to share"


# -- races ------------------------------------------------------------------------------------------------------------

SMALL: dict[str, Any] = {"seeds": 2, "epochs": 15, "processes": 1, "progress": False, "record": False}


@pytest.fixture
def pays(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have every bundle of two and more be worth it, whatever the machine is busy with."""

    def always(task: Any, recipes: Any, seeds: Any, **options: Any) -> LaneChoice:
        return LaneChoice(True, "asked for", len(recipes), 1.0, 2.0)

    monkeypatch.setattr(bundles, "choose_lanes", always)
    monkeypatch.setattr(bundles, "FEW", 2)
    monkeypatch.setattr(runner, "measure_pace", equal_pace)


@pytest.mark.usefixtures("pays")
def test_a_race_in_lanes_is_the_race_of_trials_alone() -> None:
    task = replace(steepest.task("iris"), model=steepest.mlp((16,)))
    chosen = ["adam", "nesterov(0.05)", "sgd(0.1)"]
    began = time.perf_counter()
    lanes = steepest.race(task, chosen, **SMALL)
    spent = time.perf_counter() - began
    one_by_one = steepest.race(task, chosen, lanes=False, **SMALL)
    assert "lanes" not in one_by_one.facts
    assert all(choice["chosen"] for choice in lanes.facts["lanes"])
    expected = {runner.key_of(o.trial): o for o in one_by_one.outcomes}
    assert {runner.key_of(o.trial) for o in lanes.outcomes} == set(expected)
    for found in lanes.outcomes:
        same = expected[runner.key_of(found.trial)]
        assert (found.reached_at, found.steps, found.status) == (same.reached_at, same.steps, same.status)
        np.testing.assert_allclose(found.curve, same.curve, rtol=1e-3, atol=1e-4)
    assert any(o.trial.stage == FINALS for o in lanes.outcomes)
    assert sum(o.seconds for o in lanes.outcomes) < spent  # shares, not the whole for each
    assert all(0 < o.train_seconds < o.seconds for o in lanes.outcomes)


@pytest.mark.usefixtures("pays")
def test_bundles_hold_trials_of_one_kind_and_are_shared_out() -> None:
    kinds = [steepest.Recipe(steepest.adam(), model=model, batch=32) for model in ("mlp((8,))", "mlp((9,))")]
    found = bundles.measured(kinds * 3, [0, 1], lambda function, *args: function(None, *args), most=4)
    assert set(found.sizes.values()) == {(2, 4)}
    trial = steepest.racing.trials.Trial("adam", 0, 0.1, 0, "finals", 10, 5)
    ready = [(trial, kinds[i % 2], i) for i in range(10)]
    assert [who for _, _, who in found.take(ready, processes=2)] == [0, 2, 4]
    assert [who for _, _, who in found.take(ready, processes=1)] == [1, 3, 5, 7]
    assert [who for _, _, who in found.take(ready, processes=2)] == [6]  # two are left of it: one each
    assert [who for _, _, who in bundles.Bundles().take(ready, processes=1)] == [8]


def test_lanes_of_mixed_rows_learn_what_each_learns_alone() -> None:
    recipes = [steepest.Recipe(steepest.adamw(lr), batch=32, epochs=2, augment=(steepest.mixup(0.4),)) for lr in (0.01, 0.003)]
    job = steepest.Task("digits", model=steepest.mlp((16,)))
    last = {}
    for events in Lanes(prepare_lanes(job, recipes, [0, 0])):
        last.update(events)
    for place, recipe in enumerate(recipes):
        alone = steepest.fit(job, recipe, plan=steepest.Plan(), record=False)
        assert last[place].train_loss == pytest.approx(alone.facts["curve"][-1]["train_loss"], rel=1e-4)


def test_what_lanes_are_given_is_looked_at() -> None:
    recipe = steepest.Recipe(steepest.sgd(0.1), batch=32)
    for call in (prepare_lanes, choose_lanes):
        with pytest.raises(steepest.InputError, match="one seed a recipe"):
            call("iris", [recipe] * 2, [0])
        with pytest.raises(steepest.InputError, match="seeds is a list, with one for each lane"):
            call("iris", [recipe] * 2, None)  # type: ignore[arg-type]
    lanes = Lanes(prepare_lanes("iris", [recipe] * 2, [0, 1]))
    for place in (2, -1, "0"):
        with pytest.raises(steepest.InputError, match="lanes have the places 0 to 1"):
            lanes.leave(place)  # type: ignore[arg-type]
    with pytest.raises(steepest.InputError, match="lanes must be True or False"):
        steepest.race("iris", ["sgd(0.1)"], lanes="both")  # type: ignore[arg-type]


# -- a step of every lane is tried -------------------------------------------------------------------------------------


class Remembers(nn.Linear):
    """A network that puts a new tensor where a buffer was."""

    def __init__(self) -> None:
        super().__init__(64, 10)
        self.register_buffer("mean", torch.zeros(64))

    def forward(self, x: Tensor) -> Tensor:  # pyright: ignore[reportIncompatibleMethodOverride]
        x = x.flatten(1)
        if self.training:
            self.mean = 0.9 * self.mean + 0.1 * x.detach().mean(0)
        return super().forward(x - self.mean)


class Counts(nn.Linear):
    """A network that counts the batches it has learned from in a plain attribute."""

    seen = 0

    def forward(self, x: Tensor) -> Tensor:  # pyright: ignore[reportIncompatibleMethodOverride]
        self.seen += self.training
        return super().forward(x.flatten(1)) * (1 + self.seen % 2)


class Scaled(nn.Linear):
    """A network whose inputs are scaled by a plain attribute."""

    def __init__(self, by: Any) -> None:
        super().__init__(64, 10)
        self.by = by

    def forward(self, x: Tensor) -> Tensor:  # pyright: ignore[reportIncompatibleMethodOverride]
        return super().forward(x.flatten(1) * self.by)


def in_turn(*numbers: float) -> Callable[[], nn.Module]:
    """A model function whose networks differ by a number each."""
    given = iter(numbers * 9)
    return lambda: Scaled(next(given))


def one_layer_frozen(*frozen: bool) -> Callable[[], nn.Module]:
    given = iter(frozen * 9)

    def make() -> nn.Module:
        net = nn.Sequential(nn.Flatten(), nn.Linear(64, 8), nn.ReLU(), nn.Linear(8, 10))
        net[1].requires_grad_(not next(given))
        return net

    return make


DIFFERENT: dict[str, tuple[Callable[[], nn.Module], str]] = {
    "a buffer put anew": (Remembers, "other weights, buffers or attributes"),
    "a plain count": (lambda: Counts(64, 10), "other weights, buffers or attributes"),
    "a lane in the middle": (in_turn(1, 2, 3, 1), "another loss"),
    "a tensor of no buffer": (lambda: Scaled(torch.randn(64)), "another loss"),
    "its own random numbers": (
        lambda: nn.Sequential(nn.Flatten(), nn.AlphaDropout(0.5), nn.Linear(64, 10)),
        "another loss",
    ),
}


@pytest.mark.parametrize(("make", "reason"), DIFFERENT.values(), ids=DIFFERENT)
def test_lanes_whose_step_is_another_are_refused(make: Callable[[], nn.Module], reason: str) -> None:
    chosen = recipes(make, ["adam(0.01)"] * 4)
    with pytest.raises(steepest.InputError, match=f"cannot be lanes: .*{reason}.*; train them one by one"):
        Lanes(prepare_lanes(DIGITS, chosen, range(4)))
    choice = choose_lanes(DIGITS, chosen, range(4))
    assert not choice.chosen
    assert reason in choice.reason


def test_what_is_tried_leaves_the_trainings_as_they_were() -> None:
    chosen = recipes("mlp((16, 16), norm='batch', dropout=0.3)")
    data = steepest.data.builtin("digits")
    lanes, same = (prepare_lanes(steepest.Task(data), chosen, range(7)) for _ in range(2))
    random, reads, seconds = torch.get_rng_state(), repr(data.reads), [dict(t.clock.seconds) for t in lanes]
    assert difference(lanes) is None
    assert bool((torch.get_rng_state() == random).all())
    assert repr(data.reads) == reads
    assert [t.clock.seconds for t in lanes] == seconds
    for t, other in zip(lanes, same, strict=True):
        assert far(t, other) == 0
        assert not t.optimizer.begun
        assert all(p.grad is None for p in t.parameters)


def test_a_lane_that_begins_with_infinite_weights_is_one() -> None:
    lanes = prepare_lanes(DIGITS, recipes("mlp((16,))", ["adam(0.01)"] * 3), range(3))
    with torch.no_grad():
        next(lanes[1].model.parameters()).fill_(torch.inf)
    events = list(Lanes(lanes, max_steps=30, evaluate_every=30))
    assert [bool(np.isfinite(events[-1][place].train_loss)) for place in range(3)] == [True, False, True]


# -- iterating, leaving, and who is in ---------------------------------------------------------------------------------


def test_iterating_once_more_goes_on_where_it_was() -> None:
    chosen = recipes("mlp((16,), dropout=0.2)")
    whole, broken = (doubled(prepare_lanes(DIGITS, chosen, range(7))) for _ in range(2))
    expected = list(Lanes(whole, evaluate_every=20, max_steps=90))
    lanes, found = Lanes(broken, evaluate_every=20, max_steps=90), []
    while lanes.lanes:
        for events in lanes:
            found.append(events)
            break
    assert [events[0].step for events in found] == [20, 40, 60, 80, 90]
    assert [events[0].epoch for events in found] == [events[0].epoch for events in expected]
    assert all(close(mine[i], theirs[i], 1e-12) for mine, theirs in zip(found, expected, strict=True) for i in range(7))
    assert max(far(one, other) for one, other in zip(whole, broken, strict=True)) < 1e-12
    assert not list(lanes)


def test_a_training_is_a_lane_once() -> None:
    chosen = recipes("mlp((8,))", ["adam(0.01)"] * 2)
    one, two = prepare_lanes(DIGITS, chosen, [0, 1])
    with pytest.raises(steepest.InputError, match="two of them train the same network, or a part of it; train"):
        Lanes([one, one])
    lanes = Lanes([one, two])
    with pytest.raises(steepest.InputError, match="one of them is a lane already; train them one by one"):
        Lanes([one, two])
    lanes.leave(0)
    lanes.close()
    assert apart([one, two]) is None
    net = nn.Sequential(nn.Flatten(), nn.Linear(64, 10))
    shared = recipes(lambda: nn.Sequential(net), ["adam(0.01)"] * 2)
    assert apart(prepare_lanes(DIGITS, shared, [0, 1])) == "two of them train the same network, or a part of it"


def test_who_leaves_before_the_first_step_learns_nothing() -> None:
    chosen = recipes("mlp((8,))", ["adam(0.01)"] * 3)
    lanes = Lanes(prepare_lanes(DIGITS, chosen, [0, 1, 2]), max_steps=[5, 5, 3])
    lanes.leave(0)
    assert [sorted(events) for events in lanes] == [[2], [1]]


# -- what is told in a line --------------------------------------------------------------------------------------------


def test_networks_that_somebody_listens_to_are_no_lanes() -> None:
    def apart_with(change: Callable[[nn.Module], Any]) -> str | None:
        lanes = prepare_lanes(
            DIGITS, recipes(lambda: nn.Sequential(nn.Flatten(), nn.Linear(64, 10)), ["adam(0.01)"] * 3), [0] * 3
        )
        change(lanes[1].model)
        return apart(lanes)

    assert apart_with(lambda net: None) is None
    assert apart_with(lambda net: net[1].weight.register_hook(lambda g: 2 * g)) == "the parameter 1.weight has hooks of its own"
    told = apart_with(lambda net: net[1].bias.register_post_accumulate_grad_hook(lambda p: None))
    assert told == "the parameter 1.bias has hooks of its own"
    told = apart_with(lambda net: setattr(net[1], "forward", lambda x: x @ net[1].weight.T))
    assert told == "Linear (1) has a forward of its own, set from outside"
    told = apart_with(lambda net: net[1].register_full_backward_pre_hook(lambda module, grads: None))
    assert told == "Linear (1) has hooks of its own"
    hook = nn.modules.module.register_module_forward_hook(lambda module, inputs, outputs: None)
    try:
        assert apart_with(lambda net: None) == "torch calls hooks of somebody's in every module"
    finally:
        hook.remove()


def test_lanes_learn_the_same_parameters() -> None:
    lanes = prepare_lanes(DIGITS, recipes(one_layer_frozen(True, False, False, True), ["adam(0.01)"] * 4), range(4))
    assert apart(lanes) == "they differ in which parameters require gradients"
    assert difference(lanes) == "a step of lanes has other gradients than the training alone"


@pytest.mark.parametrize(
    ("given", "how", "told"),
    [
        (lambda two: 3, {}, "Lanes takes a list of trainings, which prepare_lanes makes .got 3."),
        (lambda two: [1, 2], {}, "Lanes takes a list of trainings, which prepare_lanes makes .got .1, 2.."),
        (lambda two: two, {"max_steps": [1]}, "max_steps is one number, or one for each lane .got 1 for 2 lanes."),
        (lambda two: two, {"max_steps": "12"}, "max_steps must be a whole number >= 1 .got '12'."),
        (lambda two: two, {"metrics": ["rmse"]}, "metric 'rmse' is not for classification; choose one of accuracy"),
    ],
)
def test_what_lanes_are_made_of_is_looked_at(given: Any, how: dict[str, Any], told: str) -> None:
    with pytest.raises(steepest.InputError, match=told):
        Lanes(given(prepare_lanes("iris", ["sgd(0.1)"] * 2, [0, 1])), **how)


def test_more_that_lanes_are_given_is_looked_at() -> None:
    with pytest.raises(steepest.InputError, match=r"recipes holds how each lane learns, such as 'adam\(0.01\)' \(got None\)"):
        prepare_lanes("iris", [None], [0])  # type: ignore[list-item]
    for budget in ("1", -1):
        with pytest.raises(steepest.InputError, match="budget_s must be >= 0"):
            choose_lanes("iris", ["sgd(0.1)"] * 2, [0, 1], budget_s=budget)  # type: ignore[arg-type]
    with pytest.raises(steepest.InputError, match="metric 'rmse' is not for classification"):
        steps("iris", "sgd(0.1)", metrics=["rmse"])
    trainings = prepare_lanes("iris", ["sgd(0.1)"] * 2, np.array([0, 1]))  # type: ignore[arg-type]
    assert [type(t.seed) for t in trainings] == [int, int]
    lanes = Lanes(trainings, evaluate_every=9, max_steps=np.array([4, 2]))  # type: ignore[arg-type]
    for place in (True, 0.0):
        with pytest.raises(steepest.InputError, match="lanes have the places 0 to 1"):
            lanes.leave(place)  # type: ignore[arg-type]
    assert [sorted(events) for events in lanes] == [[1], [0]]


@pytest.mark.usefixtures("pays")
def test_a_race_of_networks_that_are_no_lanes_runs_them_one_by_one() -> None:
    task = replace(steepest.task("iris"), model=lambda: nn.Sequential(nn.Linear(4, 8), nn.AlphaDropout(0.2), nn.Linear(8, 3)))
    lanes, alone = (steepest.race(task, ["adam", "sgd(0.1)"], lanes=wanted, **SMALL) for wanted in (True, False))
    expected = {runner.key_of(o.trial): o.curve for o in alone.outcomes}
    assert {runner.key_of(o.trial): o.curve for o in lanes.outcomes} == expected
