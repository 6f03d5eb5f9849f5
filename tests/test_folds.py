"""Folds as lanes: last batches of different sizes, early stopping, and the figures of the folds one after another."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
import torch

import steepest
from steepest.data.parts import Part
from steepest.training import folds as folding
from steepest.training.choosing import LaneChoice
from steepest.training.lanes import Lanes
from steepest.training.loop import EvaluationEvent, steps
from steepest.training.setup import Training, prepare
from steepest.training.sharing import apart

RULES = (
    "adamw(0.01)",
    "adamw(0.003, weight_decay=0.1, schedule=cosine(warmup=0.1))",
    "chain(clip_global_norm(0.1), adam(0.01))",
    "schedule_free_adamw(0.01)",
)


def fold(num_rows: int, rule: str, model: str, seed: int, batch: int = 32) -> Training:
    """A training on so many rows of the digits, in double precision."""
    task = steepest.task("digits")
    task = task.with_data(task.data.with_parts({"train": np.arange(num_rows), "validation": np.arange(400, 500)}))
    recipe = steepest.Recipe(steepest.parse_recipe(rule).rule, batch=batch, epochs=4, model=model)
    t = prepare(task, recipe, seed=seed)
    assert isinstance(t.train.inputs, torch.Tensor)
    t.model.double()
    t.train = Part("train", t.train.inputs.double(), t.train.targets)
    assert t.validation is not None
    t.validation = Part("validation", t.validation.inputs.double(), t.validation.targets)  # type: ignore[union-attr]
    return t


@pytest.mark.parametrize(
    ("batch", "sizes"),
    [(32, (100, 101, 103, 110)), (100, (100, 101, 100, 101))],
    ids=["last batches of 4, 5, 7 and 14 rows", "epochs of one batch"],
)
@pytest.mark.parametrize("model", ["mlp((16,), dropout=0.3)", "mlp((16, 8), norm='batch', residual=True)"])
def test_lanes_whose_last_batches_differ_are_their_trainings_alone(model: str, batch: int, sizes: Any) -> None:
    cases = [(n, rule, model, seed, batch) for seed, (n, rule) in enumerate(zip(sizes, RULES, strict=True))]
    lanes = [fold(*case) for case in cases]
    assert apart(lanes) is None
    together = Lanes(lanes, evaluate_every=3)
    seen: dict[int, list[EvaluationEvent]] = {place: [] for place in range(4)}
    for events in together:
        for place, event in events.items():
            seen[place].append(event)
        if together.step == 9:
            together.leave(1)
    for place, case in enumerate(cases):
        one = fold(*case)
        events = (e for e in steps(one.task, training=one, evaluate_every=3) if isinstance(e, EvaluationEvent))
        expected = list(itertools.islice(events, 3 if place == 1 and one.total_steps > 9 else None))
        assert len(expected) == len(seen[place])
        for mine, theirs in zip(seen[place], expected, strict=True):
            assert mine.step == theirs.step
            assert mine.train_loss == pytest.approx(theirs.train_loss, abs=1e-9)
            assert mine.metrics["loss"] == pytest.approx(theirs.metrics["loss"], abs=1e-9)
        pairs = zip(lanes[place].model.state_dict().values(), one.model.state_dict().values(), strict=True)
        assert max(float((a.double() - b.double()).abs().max()) for a, b in pairs) < 1e-9


def test_the_first_lane_may_leave_in_the_middle_of_an_epoch() -> None:
    sizes = (100, 110, 110)
    cases = [(n, RULES[0], "mlp((16,))", seed) for seed, n in enumerate(sizes)]
    lanes = [fold(*case) for case in cases]
    for _ in Lanes(lanes, evaluate_every=1, max_steps=[1, 6, 6]):
        pass
    for case, lane in zip(cases[1:], lanes[1:], strict=True):
        one = fold(*case)
        for _ in steps(one.task, training=one, evaluate_every=6, max_steps=6):
            pass
        pairs = zip(lane.model.state_dict().values(), one.model.state_dict().values(), strict=True)
        assert max(float((a - b).abs().max()) for a, b in pairs) < 1e-9


def test_folds_with_another_number_of_steps_are_apart() -> None:
    trainings = [fold(n, RULES[0], "mlp((8,))", 0) for n in (96, 130)]
    assert apart(trainings) == "they differ in the steps of an epoch"


@pytest.fixture
def pays(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have lanes count as worth it."""

    def chosen(_: Any, num_lanes: int, **how: Any) -> LaneChoice:
        return LaneChoice(True, "said so", num_lanes)

    monkeypatch.setattr(folding, "choose_among", chosen)


@pytest.mark.usefixtures("pays")
@pytest.mark.parametrize("patience", [None, 2])
def test_cross_validation_by_lanes_measures_what_the_folds_measure_alone(patience: int | None) -> None:
    task = steepest.Task("wine", model="mlp((16,), dropout=0.2)")
    recipe = steepest.Recipe(steepest.adamw(0.02), batch=16, epochs=12, patience=patience)
    lanes = steepest.cross_validate(task, recipe, folds=4)
    alone = steepest.cross_validate(task, recipe, folds=4, lanes=False)
    assert lanes.lanes.chosen
    assert not alone.lanes.chosen
    assert lanes.to_dict()["lanes"]["reason"] == "said so"
    for mine, theirs in zip(lanes.folds, alone.folds, strict=True):
        assert mine == pytest.approx(theirs, abs=1e-4)


@pytest.mark.usefixtures("pays")
def test_a_fold_that_diverges_leaves_the_others_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    task = steepest.Task("wine", model="mlp((16,))")
    recipe = steepest.Recipe(steepest.adamw(0.02), batch=16, epochs=4)
    expected = steepest.cross_validate(task, recipe, folds=3)
    prepared = folding.prepare

    def with_one_of_infinite_weights(job: Any, *args: Any, **how: Any) -> Training:
        t = prepared(job, *args, **how)
        if 0 in job.data.parts["test"]:
            with torch.no_grad():
                next(t.model.parameters()).fill_(torch.inf)
        return t

    monkeypatch.setattr(folding, "prepare", with_one_of_infinite_weights)
    found = steepest.cross_validate(task, recipe, folds=3)
    same = [mine == pytest.approx(theirs, abs=1e-4) for mine, theirs in zip(found.folds, expected.folds, strict=True)]
    assert same.count(True) >= 2


@pytest.mark.parametrize("plan", [steepest.Plan(precision="bfloat16"), steepest.Plan(micro_batch=8)])
def test_what_is_better_trained_otherwise_is_trained_alone(plan: steepest.Plan, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(folding, "default_plan", lambda _: plan)
    choice = folding._choice(lambda places: [prepare(steepest.task("iris"), steepest.Recipe("sgd(0.1)"))], 3)
    assert not choice.chosen
    assert choice.reason == f"alone they are trained otherwise ({plan})"


def test_lanes_are_true_or_false() -> None:
    with pytest.raises(steepest.InputError, match="lanes must be True or False"):
        steepest.cross_validate("iris", lanes="both")  # type: ignore[arg-type]


class Remembers(torch.nn.Linear):
    """A network that puts a new tensor where a buffer was."""

    def __init__(self) -> None:
        super().__init__(13, 3)
        self.register_buffer("mean", torch.zeros(13))

    def forward(self, x: torch.Tensor) -> torch.Tensor:  # pyright: ignore[reportIncompatibleMethodOverride]
        if self.training:
            self.mean = 0.9 * self.mean + 0.1 * x.detach().mean(0)
        return super().forward(x - self.mean)


def test_folds_whose_step_as_lanes_is_another_are_trained_alone() -> None:
    task = steepest.Task("wine", model=Remembers)
    recipe = steepest.Recipe(steepest.adamw(0.02), batch=16, epochs=4)
    found = steepest.cross_validate(task, recipe, folds=4)
    assert not found.lanes.chosen
    assert "other weights, buffers or attributes" in found.lanes.reason
    assert found.folds == steepest.cross_validate(task, recipe, folds=4, lanes=False).folds
