"""Metrics against scikit-learn, and targets that read as people write them."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn import metrics as sk

import steepest
from steepest import metrics
from steepest.assessment import calibration_error
from steepest.metrics import Predictions, confusion, measure, r2
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
