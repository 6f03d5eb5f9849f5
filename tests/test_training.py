"""Training: the loop, its readers, and the record it leaves."""

from __future__ import annotations

import json
import math
import signal
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import steepest
from steepest import index, records
from steepest.gradient import accumulated
from steepest.objectives import CrossEntropy
from steepest.training.loop import Hits
from steepest.training.position import PlateauState
from steepest.training.setup import prepare

QUICK = steepest.Recipe(steepest.adamw(0.01), batch=32, epochs=10)


def test_the_same_seed_gives_the_same_run_and_another_gives_another() -> None:
    recipe = steepest.Recipe(steepest.adamw(0.01), model=steepest.mlp((16,), dropout=0.2), epochs=5)
    runs = [steepest.fit("iris", recipe=recipe, seed=seed, record=False) for seed in (3, 3, 4)]
    assert runs[0].facts["weights_sha256"] == runs[1].facts["weights_sha256"] != runs[2].facts["weights_sha256"]
    assert runs[0].curve == runs[1].curve


def test_training_leaves_the_callers_random_numbers_alone() -> None:
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    steepest.fit("iris", recipe=QUICK, record=False)
    assert torch.equal(torch.rand(3), expected)


def test_the_loop_equals_a_hand_written_one() -> None:
    """Same order, same initial weights, same optimizer: the same losses as a loop written out by hand."""
    task = steepest.Task("iris", model=steepest.mlp((8,)))
    recipe = steepest.Recipe(steepest.momentum(0.05), batch=16, epochs=3)
    ours = [event.result.loss.item() for event in steepest.steps(task, recipe) if isinstance(event, steepest.StepEvent)]
    training = prepare(steepest.Task("iris", model=steepest.mlp((8,))), recipe)
    optimizer = torch.optim.SGD(training.model.parameters(), lr=0.05, momentum=0.9)
    theirs = []
    for epoch in range(3):
        for inputs, targets in training.train.batches(16, seed=0, epoch=epoch):
            loss = nn.functional.cross_entropy(training.model(inputs), targets)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            theirs.append(loss.item())
    assert ours == pytest.approx(theirs, abs=1e-6)


def test_accumulated_gradients_equal_one_pass() -> None:
    losses = []
    for gradient in (None, accumulated(3)):
        options = {} if gradient is None else {"gradient": gradient}
        recipe = steepest.Recipe(steepest.sgd(0.1), batch=32, epochs=2, objective=steepest.cross_entropy(l1=1e-3, l2=1e-3))
        task = steepest.Task("iris", model=steepest.mlp((16,)))
        losses.append([point["train_loss"] for point in steepest.fit(task, recipe=recipe, record=False, **options).curve])
    assert losses[0] == pytest.approx(losses[1], abs=1e-5)


def test_an_own_gradient_function_is_called() -> None:
    from steepest.gradient import StepContext, StepResult, plain

    sizes: list[int] = []

    def watching(context: StepContext) -> StepResult:
        result = plain(context)
        sizes.append(result.weight)
        return result

    steepest.fit("iris", recipe=steepest.Recipe(steepest.sgd(0.1), batch=40, epochs=1), gradient=watching, record=False)
    assert sizes == [40, 40, 10]


@pytest.mark.parametrize("larger", [False, True])
def test_plateau_equals_torchs_scheduler(larger: bool) -> None:
    rng = np.random.default_rng(0)
    values = np.abs(np.cumsum(rng.normal(0, 0.05, 80)) + 2).tolist()
    plateau = steepest.plateau("accuracy" if larger else "loss", factor=0.5, patience=3, threshold=1e-2, min_factor=1e-3)
    state = PlateauState(plateau)
    optimizer = torch.optim.SGD([torch.zeros(1)], lr=1.0)
    scheduler = torch.optim.lr_scheduler.ReduceLROnPlateau(
        optimizer, "max" if larger else "min", factor=0.5, patience=3, threshold=1e-2, min_lr=1e-3, eps=0
    )
    lr = 1.0
    for value in values:
        lr *= state.see(value)
        scheduler.step(value)
        assert lr == pytest.approx(optimizer.param_groups[0]["lr"])
    assert lr < 1


def test_plateau_lowers_the_learning_rate_and_the_run_keeps_its_state() -> None:
    recipe = steepest.Recipe(steepest.sgd(1e-4), epochs=8, plateau=steepest.plateau(patience=0, threshold=0.5))
    curve = steepest.fit("iris", recipe=recipe, record=False).curve
    assert curve[0]["lr_factor"] == 1.0
    assert curve[-1]["lr_factor"] < 1e-3


def test_early_stopping_goes_back_to_the_best_weights() -> None:
    recipe = steepest.Recipe(steepest.adam(0.3), batch=32, epochs=60, patience=3)
    run = steepest.fit("iris", recipe=recipe, record=False)
    assert run.facts["status"] == "stopped early"
    losses = [point["loss"] for point in run.curve]
    assert len(losses) - 1 - losses.index(min(losses)) == 3
    assert run.task is not None
    found = steepest.evaluate(run, part="validation")
    assert found.metrics["log_loss"] == pytest.approx(min(losses), rel=1e-5)


def test_stop_at_target_stops_at_the_second_hit_and_dates_it_to_the_first() -> None:
    task = steepest.task("iris", reach="accuracy >= 0.8")
    run = steepest.fit(task, QUICK, stop_at_target=True, evaluate_every=3, record=False)
    hits = [point["accuracy"] >= 0.8 for point in run.curve]
    assert hits[-2:] == [True, True]
    assert not any(a and b for a, b in pairwise(hits[:-1]))
    assert run.facts["steps_to_target"] == run.curve[-2]["step"]
    assert run.facts["reached"] is True


def test_a_target_counts_at_two_consecutive_hits() -> None:
    hits = Hits(steepest.Reach.parse("accuracy >= 0.9"))
    seen = [hits.see(step, value) for step, value in ((10, 0.91), (20, 0.8), (30, 0.92), (40, 0.95))]
    assert seen == [False, False, False, True]
    assert hits.first == 30


def test_divergence_is_told_not_trained_on(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level("WARNING", logger="steepest"):
        run = steepest.fit("diabetes", recipe=steepest.Recipe(steepest.sgd(1e9), epochs=5), record=False)
    assert run.facts["status"] == "diverged"
    assert "diverged at step" in caplog.text


@pytest.mark.parametrize(
    ("name", "model"),
    [
        ("digits", steepest.mlp((32,), norm="batch", dropout=0.1)),
        ("digits", steepest.residual_cnn(width=4, stages=1)),
        ("wine", steepest.linear_model()),
        ("breast-cancer", steepest.mlp((8,), norm="layer", activation="gelu")),
        ("diabetes", steepest.mlp((8,), activation="tanh")),
    ],
)
def test_a_run_comes_back_from_its_record(name: str, model: steepest.ModelSpec) -> None:
    task = steepest.Task(name, model=model)
    run = steepest.fit(task, steepest.Recipe(steepest.adamw(0.01), epochs=2))
    again = steepest.load_run(str(run.id))
    assert again.metrics == pytest.approx(run.metrics)
    assert again.facts["weights_sha256"] == run.facts["weights_sha256"]
    assert again.task is not None
    assert steepest.evaluate(again).metrics == pytest.approx(steepest.evaluate(run).metrics)
    if task.kind == "classification":
        inputs = task.data.inputs.values[:5] if task.data.kind == "image" else np.random.rand(5, len(task.data.inputs.columns))
        rows = inputs if task.data.kind == "image" else [dict(zip(names(task), line, strict=True)) for line in inputs.tolist()]
        np.testing.assert_allclose(again.predict_proba(rows), run.predict_proba(rows), atol=1e-6)
        assert set(again.predict(rows)) <= set(task.data.targets.classes or ())


def names(task: steepest.Task) -> list[str]:
    return [column.name for column in task.data.inputs.columns]


def test_predictions_of_a_table_take_csv_frames_and_dicts_and_keep_label_and_units(churn: Path) -> None:
    import polars as pl

    run = steepest.fit(steepest.task(churn, label="churned"), QUICK)
    again = steepest.load_run("last")
    rows = [
        {"age": 70, "plan": "basic", "minutes": None, "city": "Chur"},
        {"age": 20, "plan": "pro", "minutes": 300.0, "city": "Zug"},
    ]
    assert again.predict(rows).tolist() == run.predict(pl.DataFrame(rows)).tolist() == ["yes", "no"]
    assert len(again.predict(str(churn))) == 400
    with pytest.raises(steepest.InputError, match="rows lack the column 'plan'"):
        again.predict([{"age": 1}])
    house = steepest.arrays(np.arange(300.0)[:, None], 1e6 + 1e4 * np.arange(300.0))
    fitted = steepest.fit(house, steepest.Recipe(steepest.adamw(0.01), batch=16, epochs=40), record=False)
    assert fitted.predict(np.array([[100.0]]))[0] == pytest.approx(2e6, rel=0.05)
    with pytest.raises(steepest.InputError, match="use predict"):
        fitted.predict_proba(np.array([[100.0]]))
    with pytest.raises(steepest.InputError, match=r"a single row is written \[\{\.\.\.\}\], a list of dicts"):
        run.predict({"age": 70, "plan": "basic", "minutes": 1.0, "city": "Chur"})


def test_lists_of_numbers_are_predicted_where_arrays_were_learned_from() -> None:
    rows = [[float(i % 7), float(i % 5)] for i in range(60)]
    run = steepest.fit(steepest.arrays(rows, [i % 2 for i in range(60)]), QUICK, record=False)
    expected = run.predict_proba(np.array(rows)).tolist()
    assert run.predict_proba(rows).tolist() == expected == run.predict_proba([tuple(row) for row in rows]).tolist()
    assert run.predict(rows[:1]).shape == (1,)
    for wrong, message in [
        ([1.0, 2.0], r"rows must have shape \(n, 2\); got \(2,\); a single row is \[\[\.\.\.\]\]"),
        ([[1.0, "x"]], "rows: expected numbers"),
        ([[1.0], [1.0, 2.0]], "rows is not an array: its rows differ in length"),
        ([], "rows is empty"),
    ]:
        with pytest.raises(steepest.InputError, match=message):
            run.predict(wrong)


def test_a_network_that_writes_into_what_it_is_given_changes_no_data() -> None:
    X = np.random.default_rng(0).normal(size=(60, 4)).astype(np.float32)
    before = X.copy()
    data = steepest.arrays(X, np.arange(60) % 3, scaling="none", parts=(1, 0, 0, 0))
    net = nn.Sequential(nn.ReLU(inplace=True), nn.Linear(4, 3))
    run = steepest.fit(steepest.Task(data, model=net), "sgd(0.1)", epochs=2, record=False)
    assert np.array_equal(X, before)
    assert steepest.evaluate(run, part="train").metrics["accuracy"] == pytest.approx(run.metrics["accuracy"])


def test_an_own_network_is_trained_in_place_on_arrays_as_they_are() -> None:
    torch.manual_seed(0)
    X, y = np.random.default_rng(0).random((200, 3, 4)).astype(np.float32), np.arange(200) % 4
    net = nn.Sequential(nn.Flatten(), nn.Linear(12, 4))
    before = net[1].weight.detach().clone()
    run = steepest.fit(net, X, y, recipe=QUICK)
    assert run.model is net
    assert not torch.equal(before, net[1].weight)
    assert run.predict(X[:3]).shape == (3,)
    with pytest.raises(steepest.InputError, match="in Python: load_run"):
        steepest.load_run(str(run.id))
    other = nn.Sequential(nn.Flatten(), nn.Linear(12, 4))
    again = steepest.load_run(str(run.id), model=other)
    np.testing.assert_allclose(again.predict_proba(X[:3]), run.predict_proba(X[:3]), atol=1e-6)


def test_labels_far_from_what_networks_learn_are_told_of() -> None:
    X = np.random.default_rng(0).normal(size=(400, 6))
    y = 100 * X[:, 0] + 500

    def fitted(*data: Any, recipe: Any = "adamw(0.003)") -> steepest.Run:
        torch.manual_seed(0)
        net = nn.Sequential(nn.Linear(6, 32), nn.ReLU(), nn.Linear(32, 1))
        return steepest.fit(net, *data, recipe=recipe, epochs=20, record=False)

    told = r"\(mean 4\d\d(\.\d)?, deviation \d+(\.\d)?\).*steepest\.fit\(net, steepest\.arrays\(X, y\)\)$"
    with pytest.warns(UserWarning, match=told) as caught:
        run = fitted(X, y)
    assert caught[0].filename == __file__
    assert [str(warning.message) for warning in caught] == run.facts["notes"]
    with pytest.warns(UserWarning, match="deviation 0.00"):
        fitted(X, 0.001 * X[:, 0])
    assert fitted(X, y / 100 - 5).facts["notes"] == []  # warnings are errors here
    scaled = fitted(steepest.arrays(X, y))
    assert scaled.facts["notes"] == []
    assert scaled.metrics["r2"] > 0.9
    assert scaled.predict(X).mean() == pytest.approx(500, rel=0.05)
    counts = steepest.Recipe("adamw(0.003)", objective="poisson")  # whose logarithm is learned
    assert fitted(X, np.arange(400.0), recipe=counts).facts["notes"] == []


@pytest.mark.parametrize(
    ("end", "outputs", "objective", "told"),
    [
        (nn.Softmax(dim=1), 2, None, "ends in Softmax, and cross_entropy() makes probabilities"),
        (nn.Softmax(dim=1), 2, nn.CrossEntropyLoss(), "ends in Softmax, and CrossEntropyLoss makes probabilities"),
        (nn.Softmax(dim=1), 1, None, "ends in Softmax, and binary_cross_entropy()"),
        (nn.Sigmoid(), 1, None, "ends in Sigmoid, and binary_cross_entropy()"),
        (nn.Sequential(nn.Dropout(0.1), nn.Sigmoid()), 2, "focal", "ends in Sigmoid, and focal()"),
        (nn.LogSoftmax(dim=1), 2, None, None),  # its own log-softmax: nothing is lost
        (nn.Softmax(dim=1), 2, lambda outputs, targets: -outputs[range(len(targets)), targets].log().mean(), None),
        (nn.Identity(), 2, None, None),
    ],
)
def test_probabilities_where_logits_are_taken_are_told_of(
    end: nn.Module, outputs: int, objective: Any, told: str | None, recwarn: pytest.WarningsRecorder
) -> None:
    torch.manual_seed(0)
    task = steepest.Task("breast-cancer", model=nn.Sequential(nn.Linear(30, outputs), end), objective=objective)
    run = steepest.fit(task, "sgd(0.1)", epochs=1)
    found = [str(warning.message) for warning in recwarn]
    assert found == run.facts["notes"] == steepest.load_run(str(run.id), model=run.model).facts["notes"]
    assert len(found) == (told is not None)
    assert told is None or told in found[0]


def test_an_embedding_gets_whole_numbers() -> None:
    tokens = np.random.default_rng(0).integers(0, 9, (120, 5))
    net = nn.Sequential(nn.Embedding(9, 4), nn.Flatten(), nn.Linear(20, 2))
    assert steepest.fit(net, tokens, tokens.sum(axis=1) % 2, recipe=QUICK, record=False).facts["steps"] > 0


class Wrong(nn.Module):
    def forward(self, x: torch.Tensor) -> Any:
        return (x, x)


@pytest.mark.parametrize(
    ("net", "message"),
    [
        (nn.Linear(5, 3), "the network, on inputs of shape (2, 4), failed: RuntimeError"),
        (nn.Linear(4, 7), "the network gives 7 numbers a row; the label has 3 classes"),
        (nn.Flatten(), "the network gives 4 numbers a row"),
        (nn.Sequential(nn.Linear(4, 3)).requires_grad_(False), "no parameters that require gradients"),
        (nn.Sequential(nn.Linear(4, 3), Wrong()), "must return a tensor with one row per input (got tuple"),
    ],
)
def test_a_network_that_does_not_fit_is_told(net: nn.Module, message: str) -> None:
    X, y = np.random.default_rng(0).random((90, 4)), np.arange(90) % 3
    with pytest.raises(steepest.InputError) as caught:
        steepest.fit(net, X, y)
    assert message in str(caught.value)
    assert not Path(".steepest/runs").exists()


def test_objectives_equal_their_formulas() -> None:
    data = steepest.data.load("iris")
    outputs, targets = torch.randn(20, 3), torch.arange(20) % 3
    weights = torch.tensor([1.0, 2.0, 3.0])
    smooth = CrossEntropy(label_smoothing=0.1, class_weights=(1.0, 2.0, 3.0)).loss(data)
    expected = nn.functional.cross_entropy(outputs, targets, weight=weights, label_smoothing=0.1)
    torch.testing.assert_close(smooth(outputs, targets), expected)
    cancer = steepest.data.load("breast-cancer")
    z, y = torch.randn(20, 1), torch.arange(20) % 2
    binary = steepest.binary_cross_entropy(label_smoothing=0.2).loss(cancer)
    expected = nn.functional.binary_cross_entropy_with_logits(z[:, 0], y * 0.8 + 0.1)
    torch.testing.assert_close(binary(z, y), expected)
    weighted = steepest.binary_cross_entropy(class_weights="balanced").loss(cancer)
    two = torch.stack([torch.zeros(20), z[:, 0]], dim=1)
    balanced = torch.as_tensor(cancer.class_weights, dtype=torch.float32)
    torch.testing.assert_close(weighted(z, y), nn.functional.cross_entropy(two, y, weight=balanced))
    model = nn.Linear(2, 2)
    penalty = steepest.mse(l1=0.1, l2=0.01).penalty(model)
    torch.testing.assert_close(penalty, 0.1 * model.weight.abs().sum() + 0.01 * model.weight.square().sum())


def test_regularisers_shrink_the_weights() -> None:
    sizes = []
    for l2 in (0.0, 0.1):
        recipe = steepest.Recipe(steepest.adam(0.01), epochs=20, objective=steepest.cross_entropy(l2=l2))
        model = steepest.fit("wine", recipe=recipe, record=False).model
        sizes.append(sum(p.square().sum().item() for p in model.parameters() if p.ndim > 1))
    assert sizes[1] < 0.5 * sizes[0]


def test_class_weights_lift_the_recall_of_the_rare_class() -> None:
    rng = np.random.default_rng(0)
    y = (rng.random(2000) < 0.08).astype(int)
    X = rng.normal(0, 1, (2000, 2)) + y[:, None] * 1.0
    recalls = []
    for weights in (None, "balanced"):
        objective = steepest.binary_cross_entropy(class_weights=weights)
        run = steepest.fit(steepest.Task(steepest.arrays(X, y), objective=objective), QUICK, record=False)
        recalls.append(run.metrics["recall"])
    assert recalls[1] > recalls[0] + 0.2


def test_stage_times_add_up_and_samples_per_second_is_of_the_training_stage() -> None:
    run = steepest.fit("iris", recipe=QUICK, record=False)
    assert set(run.stages) == {"data", "train", "evaluate", "waiting"}
    assert sum(run.stages.values()) == pytest.approx(run.facts["seconds"])
    assert run.samples_per_second == pytest.approx(900 / run.stages["train"])


@pytest.mark.usefixtures("interruptible")
def test_ctrl_c_keeps_what_was_trained() -> None:
    def stop_soon(context: Any) -> Any:
        from steepest.gradient import plain

        stop_soon.calls += 1  # type: ignore[attr-defined]
        if stop_soon.calls == 7:  # type: ignore[attr-defined]
            signal.raise_signal(signal.SIGINT)
        return plain(context)

    stop_soon.calls = 0  # type: ignore[attr-defined]
    with pytest.raises(steepest.Interrupted, match=r"stopped after 7 steps; go on with: fit\(resume='f\w+'\)") as stopped:
        steepest.fit("iris", recipe=QUICK, gradient=stop_soon)
    assert stopped.value.resumable
    run = steepest.load_run("last")
    assert run.facts["status"] == "interrupted"
    assert run.facts["steps"] == 7


def test_a_record_is_json_lines_and_the_index_can_be_rebuilt() -> None:
    run = steepest.fit("iris", recipe=QUICK)
    path = Path(".steepest/runs") / str(run.id) / "record.jsonl"
    events = [json.loads(line) for line in path.read_text().splitlines()]
    assert [event["event"] for event in events] == ["start", *["evaluation"] * 10, "end"]
    assert events[0]["recipe"] == repr(QUICK)
    assert events[-1]["data"]["reads"][-1]["part"] == "test"
    listed = index.listing()
    Path(".steepest/index.sqlite").write_bytes(b"not a database at all, not even close" * 40)
    assert index.listing() == listed
    Path(".steepest/index.sqlite").unlink()
    assert index.listing() == listed
    assert listed[0]["id"] == run.id


def test_a_torn_last_line_is_passed_over() -> None:
    run = steepest.fit("iris", recipe=QUICK)
    record = records.find(str(run.id))
    with record.path.open("ab") as file:
        file.write(b'{"event": "evaluation", "st')
    assert record.last("end") is not None
    assert steepest.load_run(str(run.id)).id == run.id


def test_an_unwritable_home_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(steepest.InputError, match="cannot write records to"):
        steepest.fit("iris", recipe=QUICK, home=tmp_path / "file")


def test_a_task_from_a_python_file(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(
        "import steepest\n\ndef make():\n    return steepest.Task('iris', model=steepest.mlp((4,)), reach='accuracy >= 0.5')\n"
    )
    task = steepest.task("mine.py:make")
    assert repr(task.reach) == "Reach('accuracy >= 0.5')"
    assert steepest.fit(task, QUICK, record=False).facts["steps"] == 30


def test_find_lr_suggests_a_rate_that_trains() -> None:
    curve = steepest.find_lr("digits", "momentum")
    assert 1e-3 < curve.suggestion < 1
    assert "loss falls fastest" in str(curve)
    assert len(curve.lrs) == len(curve.losses)
    run = steepest.fit("digits", recipe=f"momentum({curve.suggestion})", record=False)
    assert run.metrics["accuracy"] > 0.9


def test_find_lr_keeps_the_proportions_of_a_split_and_the_callers_weights() -> None:
    net = nn.Sequential(nn.Linear(4, 3))
    before = net[0].weight.detach().clone()
    task = steepest.Task("iris", model=net)
    steepest.find_lr(task, steepest.Recipe(steepest.split(matrices=steepest.sgd(0.1), rest=steepest.sgd(0.01))))
    assert torch.equal(before, net[0].weight)


def test_cross_validation_fits_preprocessing_in_each_fold_and_spares_the_certificate() -> None:
    task = steepest.task("wine")
    found = steepest.cross_validate(task, QUICK, folds=4)
    assert len(found.folds) == 4
    assert found.mean["accuracy"] > 0.9
    assert found.to_dict()["deviation"]["accuracy"] >= 0
    assert "accuracy" in str(found)
    assert all(read.part != "certificate" for read in task.data.reads)


def test_evaluation_prints_confusion_and_calibration() -> None:
    run = steepest.fit("iris", recipe=QUICK, record=False)
    found = steepest.evaluate(run)
    assert found.rows == sum(n for line in found.confusion or () for n in line)
    assert 0 <= (found.calibration_error or 0) <= 1
    text = str(found)
    assert "expected calibration error" in text
    assert "versicolor" in text
    with pytest.raises(steepest.InputError, match="only to certify"):
        steepest.evaluate(run, part="certificate")


def test_numbers_that_json_lacks_are_written_as_json_has_them() -> None:
    value = {"a": math.nan, "b": math.inf, "c": -math.inf, "d": np.float32(1.5), "e": (1, 2), "f": np.arange(2)}
    assert records.jsonable(value) == {"a": None, "b": "inf", "c": "-inf", "d": 1.5, "e": [1, 2], "f": [0, 1]}


# -- networks of one's own --------------------------------------------------------------------------------------------


def test_every_training_of_a_task_starts_from_the_module_as_it_was_given() -> None:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 3))
    given = {name: value.clone() for name, value in net.state_dict().items()}
    task = steepest.Task("iris", model=net)
    first, second = (steepest.fit(task, "adam(0.01)", max_steps=20, record=False) for _ in range(2))
    assert first.curve == second.curve
    assert first.model is not net
    assert all(torch.equal(value, given[name]) for name, value in net.state_dict().items())
    folds = steepest.cross_validate(steepest.Task("iris", model=net), "sgd(1e-9)", folds=2)
    losses = [fold["log_loss"] for fold in folds.folds]
    assert max(losses) - min(losses) < 0.1  # nothing was learned from one fold to the next


def test_what_the_caller_draws_changes_no_training() -> None:
    task = steepest.Task("iris", model=steepest.mlp((16,), dropout=0.5))

    def losses(disturb: bool) -> list[float]:
        torch.manual_seed(7)
        found = []
        for event in steepest.steps(task, "sgd(0.1)", max_steps=10):
            if disturb:
                torch.rand(3)
            if isinstance(event, steepest.StepEvent):
                found.append(event.result.loss.item())
        return found

    assert losses(False) == losses(True)
    torch.manual_seed(7)
    expected = torch.rand(1)
    torch.manual_seed(7)
    for event in steepest.steps(task, "sgd(0.1)", max_steps=10):
        del event
    assert torch.equal(torch.rand(1), expected)


def test_the_training_loss_is_the_mean_over_rows_not_over_batches() -> None:
    events = list(steepest.steps("iris", steepest.Recipe(steepest.sgd(1e-9), batch=50, epochs=1)))
    steps = [event.result for event in events if isinstance(event, steepest.StepEvent)]
    mean = sum(result.loss.item() * result.weight for result in steps) / sum(result.weight for result in steps)
    assert len({result.weight for result in steps}) == 2
    assert events[-1].train_loss == pytest.approx(mean)


class Failing(nn.Module):
    """A network that runs as long as it is only looked at."""

    def __init__(self, how: str) -> None:
        super().__init__()
        self.how, self.layer = how, nn.Linear(4, 3)

    def forward(self, x: torch.Tensor) -> Any:
        y = self.layer(x)
        if self.how == "detached":
            return y.detach()
        if self.how == "whole numbers":
            return y.long()
        if self.how == "three dimensions":
            return y[:, :, None]
        if self.training:
            raise KeyError("")
        return y


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ("detached", "training failed: RuntimeError"),
        ("whole numbers", "must return real numbers"),
        ("three dimensions", "one number a class"),
        ("raises", "training failed: KeyError"),
    ],
)
def test_a_network_that_fails_is_told_in_one_line_and_leaves_nothing(how: str, message: str) -> None:
    with pytest.raises(steepest.InputError, match=message) as caught:
        steepest.fit(steepest.Task("iris", model=lambda: Failing(how)))
    assert "\n" not in str(caught.value)
    assert not index.listing()


def test_rules_and_texts_are_recipes_and_leave_the_rest_to_the_default() -> None:
    usual = steepest.fit("iris", max_steps=2, record=False).facts["recipe"]
    assert "batch=32, epochs=40" in usual
    for recipe in ("adamw(0.002)", steepest.adamw(0.002), steepest.Recipe(steepest.adamw(0.002))):
        assert "batch=32, epochs=40" in steepest.fit("iris", recipe, max_steps=2, record=False).facts["recipe"]


def test_fit_takes_epochs_batch_and_patience_in_place_of_the_recipes() -> None:
    net = nn.Linear(3, 3)
    X = np.random.default_rng(0).random((60, 3))
    run = steepest.fit(net, X, np.arange(60) % 3, recipe="adam(0.01)", epochs=3, batch=9, patience=2, record=False)
    assert run.facts["recipe"] == "Recipe(adam(0.01), batch=9, epochs=3, patience=2, name='adam')"
    assert steepest.fit("iris", epochs=1, batch="full", record=False).facts["steps"] == 1


def test_a_run_says_how_it_ended_and_on_which_part_it_was_measured() -> None:
    run = steepest.fit("diabetes", steepest.Recipe(steepest.sgd(1e6), epochs=2), record=False)
    assert run.status == "diverged"
    assert "diverged after" in repr(run)
    assert "test part:" in repr(run)


def test_a_run_is_measured_with_the_preprocessing_it_was_trained_with() -> None:
    run = steepest.fit("iris", max_steps=40, record=False)
    shifted = steepest.task("iris", seed=3)
    shown = steepest.evaluate(run, shifted, part="train")
    inputs = run.interface.preprocessing(shifted.data.inputs.take(shifted.data.parts["train"]))
    with torch.no_grad():
        right = (
            run.model(torch.from_numpy(inputs)).argmax(1).numpy() == shifted.data.targets.values[shifted.data.parts["train"]]
        )
    assert shown.metrics["accuracy"] == pytest.approx(right.mean())
    with pytest.raises(steepest.InputError, match="the model tells apart the classes"):
        steepest.evaluate(run, "wine")


@pytest.mark.parametrize("model", [steepest.linear_model(), steepest.additive_model()], ids=repr)
@pytest.mark.parametrize("scaling", ["standard", "none"])
def test_a_line_is_found_by_default(model: steepest.ModelSpec, scaling: str) -> None:
    X = np.random.default_rng(0).normal(size=(400, 6))
    y = 100 * X[:, 0] + 500 if scaling == "standard" else X[:, 0] + 1  # as it is, an answer of 500 is far away
    run = steepest.fit(steepest.Task(steepest.arrays(X, y, scaling=scaling), model=model), record=False)
    assert run.metrics["r2"] > 0.998
