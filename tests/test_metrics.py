"""Metrics against scikit-learn, and targets that read as people write them."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
import pytest
from sklearn import metrics as sk

import steepest
import steepest.own
from steepest import metrics
from steepest.metrics import Predictions, calibration_error, confusion, measure, r2
from steepest.reach import Reach


def classification(num_classes: int, seed: int) -> Predictions:
    rng = np.random.default_rng(seed)
    probabilities = np.round(rng.dirichlet(np.ones(num_classes), 200), 2) + 1e-3  # rounded, so that scores tie
    probabilities /= probabilities.sum(axis=1, keepdims=True)
    truth = np.where(rng.random(200) < 0.5, probabilities.argmax(axis=1), rng.integers(0, num_classes, 200))
    return Predictions(truth, probabilities=probabilities)


@pytest.mark.parametrize("num_classes", [2, 3, 7])
@pytest.mark.parametrize("seed", range(5))
def test_classification_metrics_equal_scikit_learns(num_classes: int, seed: int) -> None:
    p = classification(num_classes, seed)
    assert p.probabilities is not None
    average = "binary" if num_classes == 2 else "macro"
    found = measure(["accuracy", "precision", "recall", "f1", "auc", "log_loss"], p)
    scores = p.probabilities[:, 1] if num_classes == 2 else p.probabilities
    expected = {
        "accuracy": sk.accuracy_score(p.truth, p.classes),
        "precision": sk.precision_score(p.truth, p.classes, average=average, zero_division=0),
        "recall": sk.recall_score(p.truth, p.classes, average=average),
        "f1": sk.f1_score(p.truth, p.classes, average=average),
        "auc": sk.roc_auc_score(p.truth, scores, multi_class="ovr"),
        "log_loss": sk.log_loss(p.truth, p.probabilities),
    }
    assert found == pytest.approx(expected, abs=1e-12)
    np.testing.assert_array_equal(confusion(p.truth, p.classes, num_classes), sk.confusion_matrix(p.truth, p.classes))


@pytest.mark.parametrize("shape", [(100,), (100, 3)])
def test_regression_metrics_equal_scikit_learns(shape: tuple[int, ...]) -> None:
    rng = np.random.default_rng(0)
    truth = rng.normal(10, 5, shape)
    p = Predictions(truth, values=truth + rng.normal(0, 2, shape))
    found = measure(["mae", "rmse", "r2"], p)
    assert p.values is not None
    assert found["mae"] == pytest.approx(sk.mean_absolute_error(truth, p.values))
    assert found["rmse"] == pytest.approx(np.sqrt(sk.mean_squared_error(truth, p.values)))
    if len(shape) == 1:
        assert found["r2"] == pytest.approx(sk.r2_score(truth, p.values))


def test_absent_classes_and_constant_labels_give_nan_or_leave_out_never_crash() -> None:
    p = Predictions(np.zeros(4, dtype=int), probabilities=np.tile([0.6, 0.3, 0.1], (4, 1)))
    found = measure(["accuracy", "recall", "auc"], p)
    assert (found["accuracy"], found["recall"]) == (1.0, 1.0)
    assert np.isnan(found["auc"])
    assert np.isnan(r2(Predictions(np.ones(3), values=np.ones(3))))


def test_calibration_error_is_zero_for_honest_confidence_and_large_for_boasting() -> None:
    rng = np.random.default_rng(0)
    confidence = rng.uniform(0.5, 1, 20_000)
    truth = (rng.random(20_000) > confidence).astype(int)
    honest = Predictions(truth, probabilities=np.stack([confidence, 1 - confidence], axis=1))
    boasting = Predictions(truth, probabilities=np.tile([0.999, 0.001], (20_000, 1)))
    assert calibration_error(honest) < 0.02
    assert calibration_error(boasting) > 0.2


@pytest.mark.parametrize(
    ("text", "metric", "value"),
    [("accuracy>=0.97", "accuracy", 0.97), (" auc >= 85% ", "auc", 0.85), ("rmse<=5e4", "rmse", 5e4), ("r2 > -1", "r2", -1.0)],
)
def test_targets_read_as_people_write_them(text: str, metric: str, value: float) -> None:
    reach = Reach.parse(text)
    assert (reach.metric, reach.value) == (metric, value)
    assert Reach.parse(str(reach)) == reach
    assert reach.met(value)
    assert not reach.met(float("nan"))


@pytest.mark.parametrize("text", ["accuracy", ">= 0.9", "accuracy >= x", "accuracy >= 0.9 0.8", "", "accuracy >= nan"])
def test_other_texts_are_refused(text: str) -> None:
    with pytest.raises(steepest.InputError):
        Reach.parse(text)


def test_confident_networks_keep_their_order_and_their_loss() -> None:
    """In float32 these logits all round to probability 1, and 1 - p to 0."""
    import torch

    from steepest.evaluation import probabilities

    raw = torch.tensor([18.0, 19.0, 20.0, 41.0, 42.0])
    truth = np.array([0, 0, 0, 1, 1])
    predictions = Predictions(truth, probabilities=probabilities(raw, 2))
    assert metrics.auc(predictions) == 1.0
    lost = Predictions(np.zeros(2, dtype=int), probabilities=probabilities(torch.tensor([20.0, 30.0]), 2))
    assert metrics.log_loss(lost) == pytest.approx(25.0)
    three = Predictions(np.array([2]), probabilities=probabilities(torch.tensor([[60.5, 0.0, 0.0]]), 3))
    assert metrics.log_loss(three) == pytest.approx(60.5)


def test_a_class_that_is_only_predicted_counts_as_in_scikit_learn() -> None:
    from sklearn.metrics import f1_score, precision_score, r2_score, recall_score

    truth, predicted = np.array([0, 0, 1, 1]), np.array([0, 2, 1, 1])
    found = Predictions(truth, probabilities=np.eye(3)[predicted])
    options = {"average": "macro", "zero_division": 0}
    assert metrics.precision(found) == pytest.approx(precision_score(truth, predicted, **options))
    assert metrics.recall(found) == pytest.approx(recall_score(truth, predicted, **options))
    assert metrics.f1(found) == pytest.approx(f1_score(truth, predicted, **options))
    rng = np.random.default_rng(0)
    wanted = rng.normal(size=(20, 2)) * [1, 100]
    values = wanted + rng.normal(size=(20, 2))
    assert metrics.r2(Predictions(wanted, values=values)) == pytest.approx(r2_score(wanted, values))


def test_a_frozen_layer_stays_frozen_through_an_evaluation() -> None:
    from torch import nn

    from steepest.evaluation import evaluating

    net = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2)).train()
    net[1].eval()
    with evaluating(net):
        assert not net[0].training
    assert [module.training for module in net] == [True, False]


@pytest.mark.parametrize("num_classes", [2, 3, 7])
@pytest.mark.parametrize("seed", range(3))
def test_further_classification_metrics_equal_scikit_learns(num_classes: int, seed: int) -> None:
    p = classification(num_classes, seed)
    assert p.probabilities is not None
    names = ["balanced_accuracy", "mcc", "average_precision", "top1", "top2", "top5"]
    found = measure(names, p)
    one_hot = p.truth if num_classes == 2 else np.eye(num_classes)[p.truth]
    expected = {
        "balanced_accuracy": sk.balanced_accuracy_score(p.truth, p.classes),
        "mcc": sk.matthews_corrcoef(p.truth, p.classes),
        "average_precision": sk.average_precision_score(
            one_hot, p.probabilities[:, 1] if num_classes == 2 else p.probabilities
        ),
        "top1": sk.accuracy_score(p.truth, p.classes),
    }
    rng = np.random.default_rng(seed)
    distinct = Predictions(p.truth, probabilities=p.probabilities + rng.uniform(0, 1e-9, p.probabilities.shape))
    for k in (2, 5):  # scikit-learn orders equal scores the other way round, and takes k below the number of classes
        expected[f"top{k}"] = sk.top_k_accuracy_score(distinct.truth, distinct.probabilities, k=k) if k < num_classes else 1.0
    found |= measure(["top2", "top5"], distinct)
    assert found == pytest.approx(expected, abs=1e-12)


def test_metrics_of_one_class_alone_do_as_scikit_learn_does_or_are_nan() -> None:
    p = Predictions(np.zeros(4, dtype=int), probabilities=np.tile([0.6, 0.4], (4, 1)))
    assert measure(["balanced_accuracy", "mcc"], p) == {"balanced_accuracy": 1.0, "mcc": 0.0}
    assert np.isnan(metrics.average_precision(p))
    broken = Predictions(np.array([0, 1]), probabilities=np.full((2, 2), np.nan))
    assert np.isnan(metrics.average_precision(broken))
    assert np.isnan(metrics.calibration_error(broken))


def test_calibration_error_equals_torchmetrics_formula_by_hand() -> None:
    p = Predictions(np.array([0, 1, 1, 0]), probabilities=np.array([[0.95, 0.05], [0.92, 0.08], [0.35, 0.65], [0.62, 0.38]]))
    # bin 0.9-1: confidence 0.935, accuracy 1/2; bin 0.6-0.7: confidence 0.635, accuracy 1
    assert measure(["calibration_error"], p)["calibration_error"] == pytest.approx(0.5 * 0.435 + 0.5 * 0.365)


@pytest.mark.parametrize("shape", [(100,), (100, 3)])
def test_further_regression_metrics_equal_scikit_learns(shape: tuple[int, ...]) -> None:
    rng = np.random.default_rng(0)
    truth = rng.poisson(4, shape).astype(float)
    p = Predictions(truth, values=rng.uniform(0.5, 8, shape))
    found = measure(["mse", "pinball", "poisson_deviance"], p)
    assert p.values is not None
    assert found["mse"] == pytest.approx(sk.mean_squared_error(truth, p.values))
    assert found["pinball"] == pytest.approx(sk.mean_pinball_loss(truth, p.values, alpha=0.5))
    assert found["poisson_deviance"] == pytest.approx(sk.mean_poisson_deviance(truth.ravel(), p.values.ravel()))
    above = Predictions(truth + 1, values=p.values)
    assert metrics.mape(above) == pytest.approx(sk.mean_absolute_percentage_error(truth + 1, p.values))
    assert np.isnan(metrics.mape(p))
    assert np.isnan(metrics.poisson_deviance(Predictions(truth, values=-p.values)))
    levels = (0.1, 0.9)
    quantiles = np.stack([p.values - 1, p.values + 2], axis=-1)
    spread = Predictions(truth, values=p.values, quantiles=quantiles, levels=levels)
    each = [sk.mean_pinball_loss(truth, quantiles[..., i], alpha=q) for i, q in enumerate(levels)]
    assert metrics.pinball(spread) == pytest.approx(np.mean(each))


def test_new_metrics_have_targets_and_names_of_their_own() -> None:
    assert Reach.parse("top3 >= 90%").metric == "top3"
    assert Reach.parse("mcc >= -0.5").value == -0.5
    with pytest.raises(steepest.InputError, match="smaller is better for calibration_error"):
        Reach.parse("calibration_error >= 0.1")
    with pytest.raises(steepest.InputError, match="unknown metric 'top0'"):
        Reach.parse("top0 >= 0.1")
    with pytest.raises(steepest.InputError, match="not for regression"):
        steepest.Task("diabetes", metrics=("mcc",))
    assert set(metrics.FUNCTIONS) | {"top5"} == set(steepest.reach.METRICS)


# -- metrics of one's own ---------------------------------------------------------------------------------------------


def own_accuracy(predictions: Predictions) -> float:
    return float((predictions.classes == predictions.truth).mean())


def by_tensors(preds: Any, target: Any) -> Any:
    """As torchmetrics' functions take them: probabilities of the second class of two, else one a class."""
    return ((preds > 0.5) == target.bool()).float().mean() if preds.ndim == 1 else (preds.argmax(1) == target).float().mean()


class Streaming:
    """As torchmetrics' objects are."""

    higher_is_better = True

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        self.hits, self.seen = 0.0, 0

    def update(self, preds: Any, target: Any) -> None:
        assert self.seen == 0
        self.hits, self.seen = float(by_tensors(preds, target)) * len(target), len(target)

    def compute(self) -> float:
        return self.hits / self.seen

    def __call__(self) -> None:
        raise AssertionError("update, compute and reset are what counts")


@pytest.mark.parametrize("name", ["iris", "breast-cancer"])
def test_metrics_of_ones_own_are_measured_beside_ours(name: str) -> None:
    from sklearn.metrics import accuracy_score, f1_score, log_loss

    own = (own_accuracy, by_tensors, Streaming(), accuracy_score, partial(f1_score, average="macro"))
    task = steepest.Task(name, metrics=("accuracy", "log_loss", *own, _with_scores(log_loss)))
    run = steepest.fit(task, steepest.Recipe(steepest.adamw(0.01), batch=32, epochs=4))
    found = run.metrics
    assert {"own_accuracy", "by_tensors", "Streaming", "accuracy_score", "f1_score", "scored"} < set(found)
    for one in ("own_accuracy", "by_tensors", "Streaming", "accuracy_score"):
        assert found[one] == pytest.approx(found["accuracy"])
        assert run.curve[-1][one] == pytest.approx(run.curve[-1]["accuracy"])
    assert found["scored"] == pytest.approx(found["log_loss"])
    assert steepest.evaluate(run).metrics == pytest.approx({k: v for k, v in found.items() if k != "loss"})
    assert steepest.load_run(str(run.id)).metrics == found
    folds = steepest.cross_validate(steepest.Task(name, metrics=(own_accuracy,)), folds=2)
    assert folds.mean["own_accuracy"] > 0.5


def _with_scores(function: Any) -> Any:
    def scored(y_true: Any, y_prob: Any) -> float:
        return function(y_true, y_prob)

    return scored


def test_own_metrics_of_numbers_and_of_texts() -> None:
    def largest_error(predictions: Predictions) -> Any:
        assert predictions.values is not None
        return np.abs(predictions.values - predictions.truth).max()

    largest_error.larger_is_better = False  # type: ignore[attr-defined]
    task = steepest.Task("diabetes", metrics=("mae", largest_error, sk.max_error), reach="largest_error <= 500")
    run = steepest.fit(task, "adamw(0.01)", record=False)
    assert run.facts["reached"]
    assert next(iter(run.metrics)) == "largest_error"
    assert run.metrics["max_error"] == pytest.approx(run.metrics["largest_error"])
    assert run.metrics["largest_error"] > run.metrics["mae"]
    with pytest.raises(steepest.InputError, match="smaller is better for largest_error"):
        steepest.Task("diabetes", metrics=(largest_error,), reach="largest_error >= 5")
    text = Predictions(np.array([1]), log_likelihood=np.array([-1.0]), right=np.array([True]))
    with pytest.raises(steepest.InputError, match="needs probabilities, which are not kept of a text"):
        steepest.own.OwnMetric(by_tensors)(text)


@pytest.mark.parametrize(
    ("metric", "message"),
    [
        (3, "a metric must be a name such as 'accuracy', or a function of the predictions (got 3)"),
        (Streaming, "a metric Streaming is a class; give one of it, such as Streaming()"),
        ("accurcy", "unknown metric 'accurcy'; did you mean 'accuracy'?"),
        (lambda p: "good", "the metric <lambda> must return one number (got 'good')"),
        (lambda p: np.ones(3), "the metric <lambda> must return one number (got array([1., 1., 1.]))"),
        (lambda p: None, "the metric <lambda> must return one number (got None)"),
        (lambda p: p.nonsense, "the metric <lambda> failed: AttributeError"),
        (metrics.accuracy, "cannot be called 'accuracy'"),
    ],
)
def test_a_metric_that_cannot_be_is_told_in_one_line(metric: Any, message: str) -> None:
    with pytest.raises(steepest.InputError) as caught:
        steepest.fit(steepest.Task("iris", metrics=("accuracy", metric)), "adamw(0.01)")
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_steps_and_evaluate_take_metrics_of_ones_own() -> None:
    task = steepest.Task("iris", metrics=(own_accuracy,), reach="own_accuracy >= 0.5")
    found = [
        event.metrics
        for event in steepest.steps(task, metrics=(by_tensors, own_accuracy), evaluate_every=50, max_steps=50)
        if isinstance(event, steepest.EvaluationEvent)
    ]
    assert [list(each) for each in found] == [["by_tensors", "own_accuracy", "loss"]]
    run = steepest.fit(task, "adamw(0.01)", record=False)
    assert list(steepest.evaluate(run, metrics=[sk.cohen_kappa_score]).metrics) == ["own_accuracy", "cohen_kappa_score"]
    assert list(steepest.evaluate(run, metrics="top2").metrics) == ["own_accuracy", "top2"]


def test_two_metrics_of_one_name_are_told_apart() -> None:
    with pytest.raises(steepest.InputError, match="two metrics are called '<lambda>'"):
        steepest.Task("iris", metrics=(lambda p: 1.0, lambda p: 2.0))


def test_torchmetrics_functions_and_objects_are_metrics() -> None:
    torchmetrics = pytest.importorskip("torchmetrics")
    p = classification(5, 0)
    many = partial(torchmetrics.functional.classification.multiclass_accuracy, num_classes=5, average="micro")
    calibration = torchmetrics.classification.MulticlassCalibrationError(num_classes=5, n_bins=10)
    kappa = torchmetrics.classification.MulticlassCohenKappa(num_classes=5)
    found = measure(steepest.own.as_metrics((many, calibration, kappa, "accuracy", "calibration_error")), p)
    assert found["multiclass_accuracy"] == pytest.approx(found["accuracy"])
    assert found["MulticlassCalibrationError"] == pytest.approx(found["calibration_error"], abs=1e-5)
    assert found["MulticlassCohenKappa"] == pytest.approx(sk.cohen_kappa_score(p.truth, p.classes), abs=1e-5)
    assert not steepest.own.OwnMetric(calibration).larger_is_better
    two = classification(2, 0)
    auroc = torchmetrics.classification.BinaryAUROC()
    found = measure(steepest.own.as_metrics((auroc, "auc")), two)
    assert found["BinaryAUROC"] == pytest.approx(found["auc"], abs=1e-6)
    rng = np.random.default_rng(0)
    numbers = Predictions(rng.normal(size=50), values=rng.normal(size=50))
    own = steepest.own.as_metrics((torchmetrics.MeanAbsoluteError(), "mae"))
    found = measure(own, numbers)
    assert found["MeanAbsoluteError"] == pytest.approx(found["mae"], abs=1e-6)
