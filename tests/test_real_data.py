"""The default recipes on real data, as a user types them (STEEPEST_DATA names the folder)."""

from __future__ import annotations

from pathlib import Path

import pytest

import steepest
from steepest.data import load

pytestmark = pytest.mark.data


def test_adult_headerless_gzipped_with_question_marks(real_data: Path) -> None:
    folder = real_data / "adult"
    task = steepest.task(folder / "adult-train.csv.gz", label=-1, header=False, test=folder / "adult-test.csv.gz")
    told = {(f.what, f.column): f.count for f in task.data.cleaning.findings}
    assert told[("missing cells", "c2")] == 1836
    assert (len(task.data), task.data.size("test")) == (48_842, 16_281)
    assert task.data.targets.classes == ("<=50K", ">50K")
    assert steepest.fit(task).metrics["accuracy"] >= 0.85


def test_california_housing(real_data: Path) -> None:
    task = steepest.task(real_data / "california_housing" / "housing.csv", label="median_house_value")
    assert task.kind == "regression"
    assert steepest.fit(task).metrics["r2"] >= 0.75


def test_pima_with_the_8_10_1_network(real_data: Path) -> None:
    zeros = {f"c{i}": ["0"] for i in range(2, 7)}
    path = real_data / "pima" / "pima-indians-diabetes.csv"
    task = steepest.task(path, label=-1, header=False, missing_in=zeros, model=steepest.mlp((10,)))
    run = steepest.fit(task, steepest.Recipe(steepest.adam(0.003), batch=32, epochs=40))
    assert run.metrics["accuracy"] > 0.65
    assert any(f.column == "c5" and f.count == 374 for f in task.data.cleaning.findings)


def test_titanic(real_data: Path) -> None:
    task = steepest.task(real_data / "titanic" / "train.csv", label="Survived")
    kept = {column.name for column in task.data.inputs.columns}
    assert kept == {"Pclass", "Name", "Sex", "Age", "SibSp", "Parch", "Fare", "Embarked"}
    assert steepest.fit(task).metrics["accuracy"] > 0.7


def test_fashion_mnist_is_read_with_its_test_set(real_data: Path) -> None:
    data = load(real_data / "fashion_mnist")
    assert (len(data), data.size("test"), data.form.shape) == (70_000, 10_000, (1, 28, 28))


@pytest.mark.slow
def test_fashion_mnist_with_the_cnn_within_ten_epochs(real_data: Path) -> None:
    run = steepest.fit(real_data / "fashion_mnist")
    assert run.curve[-1]["epoch"] < 10
    assert run.metrics["accuracy"] >= 0.91
