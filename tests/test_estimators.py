"""scikit-learn estimators: its own checker decides."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from sklearn.datasets import load_breast_cancer, load_diabetes, load_iris
from sklearn.exceptions import SkipTestWarning
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import check_estimator

import steepest


@pytest.mark.parametrize(
    "estimator",
    [steepest.SteepestClassifier(epochs=30), steepest.SteepestRegressor(epochs=60)],
    ids=["classifier", "regressor"],
)
def test_check_estimator(estimator: object) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", SkipTestWarning)  # its array API check needs another library
        check_estimator(estimator)


def test_pipelines_and_searches() -> None:
    X, y = load_breast_cancer(return_X_y=True)
    model = make_pipeline(StandardScaler(), steepest.SteepestClassifier("adamw(0.003)", epochs=10))
    assert cross_val_score(model, X, y, cv=3).mean() > 0.93
    search = GridSearchCV(steepest.SteepestClassifier(epochs=3), {"model": [steepest.mlp((4,)), steepest.mlp((16,))]}, cv=2)
    assert search.fit(X, y).best_params_["model"] in (steepest.mlp((4,)), steepest.mlp((16,)))


def test_early_stopping_and_text_labels() -> None:
    X, y = load_breast_cancer(return_X_y=True)
    names = np.array(["malignant", "benign"])[y]
    model = steepest.SteepestClassifier(patience=3, validation=0.2, random_state=4).fit(X, names)
    assert set(model.predict(X)) == {"malignant", "benign"}
    assert model.run_.facts["status"] == "stopped early"
    with pytest.raises(steepest.InputError, match="patience needs rows to watch"):
        steepest.SteepestClassifier(patience=3).fit(X, names)


def test_several_targets() -> None:
    X, y = load_diabetes(return_X_y=True)
    both = np.stack([y, -y], axis=1)
    predicted = steepest.SteepestRegressor(epochs=20).fit(X, both).predict(X)
    assert predicted.shape == both.shape
    assert np.corrcoef(predicted[:, 0], predicted[:, 1])[0, 1] < -0.8


def test_a_module_of_ones_own_is_copied_at_every_fit() -> None:
    from torch import nn

    X, y = load_iris(return_X_y=True)
    net = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 3))
    before = net[0].weight.clone()
    model = steepest.SteepestClassifier("adam(0.01)", model=net, epochs=3, random_state=0)
    first, second = (model.fit(X, y).predict_proba(X) for _ in range(2))
    np.testing.assert_array_equal(first, second)
    assert (net[0].weight == before).all()
    assert net[0].weight.dtype == before.dtype
    from steepest.training.identity import weights_sha256

    assert weights_sha256(model.run_.model) == model.run_.facts["weights_sha256"]


def test_rules_are_recipes_and_none_is_another_seed_each_time() -> None:
    X, y = load_iris(return_X_y=True)
    model = steepest.SteepestClassifier(steepest.momentum(0.05), epochs=1)
    assert (model.fit(X, y).predict_proba(X) != model.fit(X, y).predict_proba(X)).any()
