"""Objectives against torch's and NumPy's formulas and finite differences; functions of one's own in their place."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import steepest
from steepest.objectives import Objective, as_objective
from steepest.recipes import read

QUICK = steepest.Recipe(steepest.adamw(0.01), batch=32, epochs=10)


def numbers(rows: int = 300, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    X = rng.normal(0, 1, (rows, 3))
    return X, X @ [1.0, -2.0, 0.5] * 10 + 100 + rng.normal(0, 5, rows)


REGRESSION = steepest.arrays(*numbers())
TWO = steepest.arrays(numbers()[0], np.arange(300) % 2)
THREE = steepest.arrays(numbers()[0], np.arange(300) % 3)
generator = torch.Generator().manual_seed(0)
Z, Y = torch.randn(40, 1, generator=generator), 3 * torch.randn(40, generator=generator)
COUNTS = torch.arange(40.0) % 7
OUTPUTS, CLASSES = torch.randn(40, 3, generator=generator), torch.arange(40) % 3
FOCAL = torch.tensor([1.0, 2.0, 3.0])


def softmax_focal(gamma: float, weight: Tensor | None = None) -> Tensor:
    p = torch.softmax(OUTPUTS, dim=1)[torch.arange(40), CLASSES]
    w = torch.ones(40) if weight is None else weight[CLASSES]
    return -(w * (1 - p) ** gamma * p.log()).sum() / w.sum()


def logistic_focal(gamma: float) -> Tensor:
    p = torch.sigmoid(Z[:, 0])
    true = torch.where(CLASSES % 2 == 1, p, 1 - p)
    return -((1 - true) ** gamma * true.log()).mean()


def numpy_pinball(levels: tuple[float, ...]) -> Tensor:
    lost = []
    for row in range(40):
        for i, q in enumerate(levels):
            e = float(Y[row] - OUTPUTS[row, i])
            lost.append(q * e if e > 0 else (q - 1) * e)
    return torch.tensor(np.mean(lost), dtype=torch.float32)


@pytest.mark.parametrize(
    ("objective", "data", "outputs", "targets", "expected"),
    [
        (steepest.mse(), REGRESSION, Z, Y, ((Z[:, 0] - Y) ** 2).mean()),
        (steepest.huber(), REGRESSION, Z, Y, F.huber_loss(Z[:, 0], Y)),
        (steepest.huber(0.3), REGRESSION, Z, Y, F.huber_loss(Z[:, 0], Y, delta=0.3)),
        (steepest.poisson(), REGRESSION, Z, COUNTS, (Z[:, 0].exp() - COUNTS * Z[:, 0]).mean()),
        (steepest.poisson(), REGRESSION, Z, COUNTS, F.poisson_nll_loss(Z[:, 0], COUNTS)),
        (steepest.pinball((0.1, 0.5, 0.9)), REGRESSION, OUTPUTS, Y, numpy_pinball((0.1, 0.5, 0.9))),
        (steepest.pinball((0.5,)), REGRESSION, Z, Y, (Z[:, 0] - Y).abs().mean() / 2),
        (steepest.focal(0.0), THREE, OUTPUTS, CLASSES, F.cross_entropy(OUTPUTS, CLASSES)),
        (steepest.focal(), THREE, OUTPUTS, CLASSES, softmax_focal(2.0)),
        (steepest.focal(1.5, class_weights=(1.0, 2.0, 3.0)), THREE, OUTPUTS, CLASSES, softmax_focal(1.5, FOCAL)),
        (steepest.focal(), TWO, Z, CLASSES % 2, logistic_focal(2.0)),
    ],
    ids=lambda value: repr(value) if isinstance(value, Objective) else "",
)
def test_losses_equal_their_formulas_and_gradients_their_finite_differences(
    objective: Objective, data: Any, outputs: Tensor, targets: Tensor, expected: Tensor
) -> None:
    loss = objective.loss(data)
    torch.testing.assert_close(loss(outputs, targets), expected, rtol=1e-5, atol=1e-6)
    precise = outputs[:6].double().requires_grad_()
    kept = targets[:6].double() if targets.is_floating_point() else targets[:6]
    assert torch.autograd.gradcheck(lambda z: loss(z, kept), (precise,))
    assert read(repr(objective)) == objective


def test_pinball_slopes_are_minus_q_below_the_truth_and_one_minus_q_above() -> None:
    outputs = torch.tensor([[-1.0, 1.0]], requires_grad=True)
    steepest.pinball((0.1, 0.9)).loss(REGRESSION)(outputs, torch.zeros(1)).backward()
    torch.testing.assert_close(outputs.grad, torch.tensor([[-0.05, 0.05]]))


@pytest.mark.parametrize("gamma", [0.0, 0.5, 1.0, 2.0])
def test_focal_has_a_finite_gradient_where_the_network_is_certain(gamma: float) -> None:
    for outputs in (torch.tensor([[300.0], [-300.0]]), torch.tensor([[300.0, 0.0], [300.0, 0.0]])):
        outputs.requires_grad_()
        steepest.focal(gamma).loss(TWO)(outputs, torch.tensor([1, 1])).backward()
        assert outputs.grad is not None
        assert torch.isfinite(outputs.grad).all()


def test_focal_trains_with_one_output_and_with_one_a_class() -> None:
    for name, width in (("breast-cancer", 1), ("iris", 3)):
        run = steepest.fit(steepest.Task(name, objective=steepest.focal()), QUICK)
        assert run.metrics["accuracy"] > 0.85
        assert run.model[-1].out_features == width
    two = steepest.Task("breast-cancer", model=lambda: nn.Linear(30, 2), objective=steepest.focal())
    assert steepest.fit(two, QUICK, record=False).metrics["accuracy"] > 0.85


def test_cross_entropy_over_two_classes_has_two_outputs() -> None:
    run = steepest.fit(steepest.Task("breast-cancer", objective=steepest.cross_entropy()), QUICK)
    assert run.model[-1].out_features == 2
    again = steepest.load_run(str(run.id))
    assert again.metrics["accuracy"] == run.metrics["accuracy"] > 0.9


def test_huber_is_not_pulled_by_outliers() -> None:
    X, y = numbers(600)
    y[np.arange(600) % 10 == 0] += 2000.0
    found = {}
    for objective in (steepest.mse(), steepest.huber(0.05)):
        task = steepest.Task(steepest.arrays(X, y), model=steepest.linear_model(), objective=objective)
        run = steepest.fit(task, "adamw(0.03)", record=False)
        found[repr(objective)] = abs(np.median(run.predict(X) - numbers(600)[1]))
    assert found["huber(delta=0.05)"] < 0.2 * found["mse()"]


def test_poisson_learns_counts_as_they_are_and_comes_back_from_its_record() -> None:
    rng = np.random.default_rng(0)
    X = rng.normal(0, 1, (800, 2))
    rate = np.exp(1 + 0.8 * X[:, 0] - 0.5 * X[:, 1])
    counts = rng.poisson(rate)
    data = steepest.arrays(X, counts, kind="regression")
    task = steepest.Task(data, model=steepest.linear_model(), objective=steepest.poisson(), metrics=("poisson_deviance", "r2"))
    run = steepest.fit(task, steepest.Recipe(steepest.adamw(0.05, weight_decay=0.0), batch=64, epochs=30))
    assert np.corrcoef(run.predict(X), rate)[0, 1] > 0.98
    assert run.predict(X).mean() == pytest.approx(counts.mean(), rel=0.1)
    assert (run.predict(X) > 0).all()
    assert 0.8 < run.metrics["poisson_deviance"] < 1.4
    layer = run.model[-1]
    assert layer.bias.item() == pytest.approx(1, abs=0.1)
    np.testing.assert_allclose(steepest.load_run(str(run.id)).predict(X), run.predict(X), rtol=1e-5)
    assert steepest.evaluate(run).metrics["r2"] == pytest.approx(run.metrics["r2"])
    assert data.target_scale[1] != 1  # the data itself stay as they were, for other objectives
    assert steepest.fit(data, steepest.Recipe(steepest.adamw(0.01), epochs=1), record=False).interface.scale != 1


def test_poisson_of_several_counts_and_in_a_race() -> None:
    rng = np.random.default_rng(0)
    X = rng.normal(0, 1, (400, 2))
    counts = rng.poisson(np.exp(1 + X @ [[0.8, 0.1], [-0.5, 0.4]]))
    data = steepest.arrays(X, counts, kind="regression")
    task = steepest.Task(data, model=steepest.linear_model(), objective=steepest.poisson(), reach="r2 >= 0.1")
    run = steepest.fit(task, "adamw(0.02)", record=False)
    assert run.predict(X).shape == (400, 2)
    assert np.corrcoef(run.predict(X)[:, 0], np.exp(1 + X @ [0.8, -0.5]))[0, 1] > 0.95
    entries = ["adamw(0.02)", steepest.Recipe(steepest.adamw(0.02), objective=steepest.mse(), name="mse")]
    result = steepest.race(task, entries, seeds=1, epochs=20, processes=1, record=False)
    reached = {row.recipe: row.reached > 0 for row in result.leaderboard().rows}
    assert reached["adamw"]
    assert reached["mse"]


@pytest.mark.parametrize("targets", [1, 2])
def test_pinball_gives_a_quantile_an_output_and_comes_back_from_its_record(targets: int) -> None:
    rng = np.random.default_rng(0)
    X = rng.uniform(-1, 1, (3000, 1))
    y = 50 + 10 * X + rng.normal(0, 3, (3000, targets)) * (2 + X)
    y = y[:, 0] if targets == 1 else y
    recipe = steepest.Recipe(steepest.adamw(0.01, schedule=steepest.cosine()), batch=128, epochs=20)
    task = steepest.Task(steepest.arrays(X, y), objective=steepest.pinball(), metrics=("pinball", "mae"))
    run = steepest.fit(task, recipe)
    quantiles = run.predict_quantiles(X)
    assert quantiles.shape == (3000, *y.shape[1:], 3)
    below = (y[..., None] < quantiles).reshape(-1, 3).mean(axis=0)
    np.testing.assert_allclose(below, [0.1, 0.5, 0.9], atol=0.04)
    np.testing.assert_array_equal(run.predict(X), quantiles[..., 1])
    error = y[..., None] - quantiles
    expected = np.maximum(np.array([0.1, 0.5, 0.9]) * error, (np.array([0.1, 0.5, 0.9]) - 1) * error).mean()
    assert run.metrics["pinball"] == pytest.approx(expected, rel=0.15)
    again = steepest.load_run(str(run.id))
    np.testing.assert_allclose(again.predict_quantiles(X), quantiles, rtol=1e-5)
    assert steepest.evaluate(run).metrics == pytest.approx({name: run.metrics[name] for name in ("pinball", "mae")})


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: steepest.huber(0), "delta must be > 0 (got 0)"),
        (lambda: steepest.focal(gamma=-1), "gamma must be >= 0 (got -1)"),
        (lambda: steepest.pinball((0.5, 0.1)), "quantiles must grow from one to the next (got (0.5, 0.1))"),
        (lambda: steepest.pinball((0.5, 1.0)), "quantiles must be in (0, 1) (got 1.0)"),
        (lambda: steepest.pinball(()), "quantiles must be a tuple such as (0.1, 0.5, 0.9) (got ())"),
        (lambda: fitted("iris", steepest.huber()), "huber() is for numbers, but the label has classes"),
        (lambda: fitted("diabetes", steepest.focal()), "focal() is for classes, but the label is a number"),
        (lambda: fitted(steepest.arrays(np.eye(30), np.arange(30.0) - 9), steepest.poisson()), "counts >= 0, but the label"),
        (lambda: fitted("diabetes", steepest.pinball(), nn.Linear(10, 1)), "needs 3 numbers a row; the network gives 1"),
        (lambda: fitted("iris", 3), "objective must be one such as cross_entropy(), its text, or a function"),
        (lambda: steepest.Recipe(steepest.sgd(0.1), objective="huberr()"), "did you mean 'huber'?"),
        (lambda: fitted("iris", nn.CrossEntropyLoss), "objective CrossEntropyLoss is a class; give one of it, such as CrossEn"),
        (
            lambda: fitted("iris", lambda outputs, targets: outputs),
            "must return one real number, as a tensor (got torch.float32",
        ),
        (lambda: fitted("iris", lambda outputs, targets: 1.0), "must return one real number, as a tensor (got float)"),
        (
            lambda: fitted("iris", lambda outputs, targets: targets.sum()),
            "must return one real number, as a tensor (got torch.int",
        ),
        (lambda: fitted("iris", lambda outputs, targets: outputs.detach().sum()), "has no gradient; compute it with torch"),
        (lambda: fitted("iris", lambda outputs: outputs.sum()), "<lambda> failed: TypeError"),
        (lambda: fitted("diabetes", nn.CrossEntropyLoss()), "CrossEntropyLoss is for classes, but the label is a number"),
        (
            lambda: fitted("breast-cancer", nn.CrossEntropyLoss(), nn.Linear(30, 1)),
            "let it give 2, or use nn.BCEWithLogitsLoss",
        ),
        (lambda: fitted("iris", nn.CrossEntropyLoss(), nn.Linear(4, 5)), "gives 5 numbers a row; the label has 3 classes"),
        (
            lambda: fitted("iris", nn.BCEWithLogitsLoss()),
            "two classes and one output (got 3 classes and 1 outputs); use nn.Cro",
        ),
        (lambda: fitted("breast-cancer", nn.BCEWithLogitsLoss(), nn.Linear(30, 2)), "2 outputs); use nn.CrossEntropyLoss()"),
        (
            lambda: fitted("breast-cancer", nn.BCELoss()),
            "BCELoss takes probabilities, and outputs are read as logits; use nn.B",
        ),
        (lambda: fitted("iris", F.nll_loss), "nll_loss takes log-probabilities, and the network gives none; use nn.Cross"),
        (lambda: fitted("iris", nn.CrossEntropyLoss(reduction="none")), "must return one real number, as a tensor"),
    ],
)
def test_what_cannot_be_trained_on_is_told_in_one_line(make: Any, message: str) -> None:
    with pytest.raises(steepest.InputError) as caught:
        make()
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("theirs", "ours", "outputs"),
    [
        (nn.CrossEntropyLoss(), steepest.cross_entropy(), 2),
        (F.cross_entropy, steepest.cross_entropy(), 2),
        (nn.CrossEntropyLoss(torch.tensor([1.0, 3.0]), label_smoothing=0.1), "cross_entropy(0.1, class_weights=(1, 3))", 2),
        (nn.BCEWithLogitsLoss(), steepest.binary_cross_entropy(), 1),
        (functools.partial(F.binary_cross_entropy_with_logits, reduction="mean"), "binary_cross_entropy", 1),
    ],
)
def test_torchs_losses_over_two_classes_train_as_ours_do(theirs: Any, ours: Any, outputs: int) -> None:
    runs = [steepest.fit(steepest.Task("breast-cancer", objective=one), QUICK) for one in (theirs, ours)]
    assert runs[0].model[-1].out_features == outputs
    assert runs[0].metrics == pytest.approx(runs[1].metrics, rel=1e-4)
    assert runs[0].metrics["accuracy"] > 0.9
    X = np.zeros((4, 30))
    np.testing.assert_allclose(runs[0].predict_proba(X), runs[1].predict_proba(X), atol=1e-4)
    again = steepest.load_run(str(runs[0].id))
    assert list(again.predict(X)) == list(runs[1].predict(X))


def test_torchs_binary_cross_entropy_weighs_the_second_class() -> None:
    weight = torch.tensor([20.0])
    plain, weighted = (
        steepest.fit(steepest.Task(TWO, objective=loss), QUICK)
        for loss in (nn.BCEWithLogitsLoss(), nn.BCEWithLogitsLoss(pos_weight=weight))
    )
    X = numbers()[0]
    assert weighted.predict(X).mean() > 0.9 > plain.predict(X).mean()


def test_log_probabilities_of_a_network_are_learned_and_read() -> None:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(4, 3), nn.LogSoftmax(dim=1))
    runs = [fitted("iris", loss, net) for loss in (nn.NLLLoss(), steepest.cross_entropy())]
    assert runs[0].metrics == pytest.approx(runs[1].metrics, rel=1e-4)


def test_torchs_cross_entropy_learns_what_comes_next(tmp_path: Path) -> None:
    (tmp_path / "text.txt").write_text("abcde" * 400)
    data = steepest.read_characters(str(tmp_path / "text.txt"), context=10)
    task = steepest.Task(data, model=steepest.gru(width=16), objective=nn.CrossEntropyLoss())
    run = steepest.fit(task, steepest.Recipe(steepest.adamw(0.02), batch=8, epochs=8), record=False)
    assert run.metrics["loss"] == pytest.approx(run.metrics["bits"] * np.log(2), rel=1e-4)


def test_networks_objectives_and_rules_are_read_from_their_text() -> None:
    task = steepest.Task("iris", model="mlp((8,))", objective="focal(gamma=1)")
    assert (task.model, task.objective) == (steepest.mlp((8,)), steepest.focal(gamma=1))
    recipe = steepest.Recipe("adam(0.01)", epochs=2, model="mlp", objective="cross_entropy")
    assert (recipe.rule, recipe.model, recipe.objective) == (steepest.adam(0.01), steepest.mlp(), steepest.cross_entropy())
    assert (steepest.Recipe("muon").label, steepest.Recipe("adam(0.01)").label) == ("muon", "adam")
    assert as_objective("pinball((0.1, 0.9))") == steepest.pinball((0.1, 0.9))
    run = steepest.fit(task, recipe)
    assert (run.facts["network"], run.facts["objective"]) == ("mlp()", "cross_entropy()")


def fitted(data: Any, objective: Any, model: Any = None) -> Any:
    return steepest.fit(steepest.Task(data, model=model, objective=objective), QUICK)


def my_loss(outputs: Tensor, targets: Tensor) -> Tensor:
    """Mean squared error by hand, over (rows,) and (rows,): one output meets one target a row."""
    assert outputs.shape == targets.shape
    return ((outputs - targets) ** 2).mean()


def test_a_function_of_ones_own_trains_as_ours_does() -> None:
    runs = [
        steepest.fit(steepest.Task("diabetes", objective=objective), QUICK)
        for objective in (steepest.mse(), my_loss, nn.MSELoss())
    ]
    assert [run.curve for run in runs[1:]] == [runs[0].curve] * 2
    assert [run.facts["objective"] for run in runs] == ["mse()", "my_loss", "MSELoss"]
    again = steepest.load_run(str(runs[1].id))
    np.testing.assert_allclose(again.predict(np.zeros((1, 10))), runs[0].predict(np.zeros((1, 10))), rtol=1e-6)
    recipe = steepest.Recipe(steepest.adamw(0.01), batch=32, epochs=10, objective=my_loss)
    assert repr(recipe) == "Recipe(adamw(0.01), batch=32, epochs=10, objective=my_loss)"
    assert steepest.fit("diabetes", recipe, record=False).curve == runs[0].curve


def test_a_loss_of_ones_own_may_say_how_many_outputs_it_takes() -> None:
    def margins(outputs: Tensor, targets: Tensor) -> Tensor:
        return F.multi_margin_loss(outputs, targets)

    margins.num_outputs = 2  # type: ignore[attr-defined]
    run = steepest.fit(steepest.Task("breast-cancer", objective=margins), QUICK, record=False)
    assert run.model[-1].out_features == 2
    assert run.metrics["accuracy"] > 0.9


def test_a_language_takes_a_loss_of_ones_own(tmp_path: Path) -> None:
    (tmp_path / "text.txt").write_text("abcde" * 400)
    data = steepest.read_characters(str(tmp_path / "text.txt"), context=10)

    def next_token(outputs: Tensor, targets: Tensor) -> Tensor:
        return F.cross_entropy(outputs.flatten(0, 1), targets.flatten())

    for objective in (next_token, steepest.focal(1.0)):
        task = steepest.Task(data, model=steepest.gru(width=16), objective=objective)
        run = steepest.fit(task, steepest.Recipe(steepest.adamw(0.02), batch=8, epochs=8), record=False)
        assert run.metrics["accuracy"] > 0.95
        if objective is next_token:
            assert run.metrics["loss"] == pytest.approx(run.metrics["bits"] * np.log(2), rel=1e-4)


def test_races_and_estimators_take_losses_and_metrics_of_ones_own() -> None:
    def share_right(predictions: Any) -> float:
        return float((predictions.classes == predictions.truth).mean())

    def smooth(outputs: Tensor, targets: Tensor) -> Tensor:
        return F.cross_entropy(outputs, targets, label_smoothing=0.05)

    task = steepest.Task("iris", objective=smooth, metrics=(share_right,), reach="share_right >= 0.8")
    result = steepest.race(task, ["sgd(0.1)", "momentum(0.05)"], seeds=1, epochs=20, processes=2)
    assert result.leaderboard().rows[0].reached > 0
    assert steepest.report(str(result.id)).exists()
    run = steepest.fit(task, result.best, stop_at_target=True)
    assert run.status == "target reached"
    assert next(iter(run.metrics)) == "share_right"
    assert steepest.evaluate(run, metrics=(share_right, "top2")).metrics.keys() == {"share_right", "top2"}
    X, y = numbers()
    assert steepest.SteepestRegressor(objective=my_loss, epochs=30).fit(X, y).score(X, y) > 0.9


class Centred(nn.Module):
    """Cross-entropy of outputs that are moved by numbers of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.shift = nn.Parameter(torch.zeros(3))

    def forward(self, outputs: Tensor, targets: Tensor) -> Tensor:
        return F.cross_entropy(outputs + self.shift, targets)


def test_an_objective_with_parameters_that_would_not_be_trained_is_told() -> None:
    told = r"^the objective Centred has parameters that would not be trained \(shift\); put them into the network$"
    for objective in (Centred(), functools.partial(Centred())):
        with pytest.raises(steepest.InputError, match=told):
            fitted("iris", objective)
        with pytest.raises(steepest.InputError, match=told):
            steepest.Recipe(steepest.adam(0.01), objective=objective)
    kept = Centred().requires_grad_(False)
    assert fitted("iris", kept).metrics["accuracy"] > 0.8
