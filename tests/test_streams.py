"""Streams: generator functions and IterableDatasets, trained on in the order in which their rows come."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch

import steepest
from steepest.training.lanes import prepare_lanes
from steepest.training.sharing import apart

CENTRES = np.array([[2.0, 0, 0], [0, 2, 0], [0, 0, 2]])


def points(count: int | None = None, seed: int = 0) -> Iterator[tuple[np.ndarray, int]]:
    rng = np.random.default_rng(seed)
    for i in itertools.count() if count is None else range(count):
        label = int(rng.integers(3)) if i > 5 else i % 3
        yield CENTRES[label] + rng.normal(size=3), label


class Stream(torch.utils.data.IterableDataset):
    """What a DataLoader goes through."""

    def __init__(self, count: int) -> None:
        self.count = count

    def __iter__(self) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        return ((torch.tensor(x), torch.tensor(y)) for x, y in points(self.count))


def fit(data: Any, **options: Any) -> steepest.Run:
    recipe = steepest.Recipe(steepest.adam(0.01), batch=32, epochs=4)
    return steepest.fit(data, recipe=recipe, record=False, progress=False, **options)


def test_batches_are_what_comes_next(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[np.ndarray] = []
    data = steepest.stream(points, rows=100, held_out=20, fitted_on=50, scaling="none")
    for event in steepest.steps(data, steepest.Recipe(steepest.sgd(0.01), batch=30, epochs=2)):
        if isinstance(event, steepest.StepEvent):
            continue
        assert event.step in (4, 8)
    part = data.part("train", by="test")
    assert (len(part), data.size("train"), data.size("validation")) == (100, 100, 20)
    with part.read_ahead(0, 30):
        seen = [part.take(torch.arange(30))[0].numpy() for _ in range(3)]
    expected = np.stack([x for x, _ in itertools.islice(points(), 20, 110)])
    np.testing.assert_allclose(np.concatenate(seen), expected, rtol=1e-6)


def test_a_stream_is_learned_scaled_by_its_first_rows() -> None:
    data = steepest.stream(points, rows=1000, held_out=300, fitted_on=200)
    run = fit(data)
    assert run.facts["measured_on"] == {"part": "validation", "rows": 300, "unit": "rows"}
    assert run.metrics["accuracy"] > 0.75  # the best there is: 0.87
    assert run.facts["steps"] == 4 * 32
    assert run.predict(CENTRES).tolist() == [0, 1, 2]
    first = np.stack([x for x, _ in itertools.islice(points(), 300, 500)])
    step = data.preprocessing.steps[1]  # type: ignore[attr-defined]
    assert (step.shift, step.scale) == pytest.approx((first[:, 1].mean(), first[:, 1].std()))
    assert "scaling and classes are those of 200 rows at its beginning" in str(data.cleaning)
    assert (
        fit(steepest.stream(points, rows=1000, held_out=300, fitted_on=200)).facts["weights_sha256"]
        == run.facts["weights_sha256"]
    )


def test_an_iterable_dataset_that_ends_is_begun_anew() -> None:
    loader = torch.utils.data.DataLoader(Stream(150), batch_size=4)
    run = fit(steepest.stream(loader, rows=1000, held_out=50, fitted_on=80))
    assert run.facts["steps"] == 128
    held = np.stack([x for x, _ in points(90, seed=1)]), np.array([y for _, y in points(90, seed=1)])
    apart = steepest.stream(Stream(150), rows=100, held_out=held, fitted_on=80)
    assert apart.size("validation") == 90
    with (part := apart.part("train", by="test")).read_ahead(0, 10):
        labels = torch.cat([part.take(torch.arange(10))[1] for _ in range(30)])
    assert torch.equal(labels[:150], labels[150:])


def test_a_regression_and_images() -> None:
    def lines() -> Iterator[tuple[np.ndarray, float]]:
        for x, _ in points():
            yield x, float(x.sum()) * 100

    assert fit(steepest.stream(lines, rows=1000, held_out=100, fitted_on=100)).metrics["r2"] > 0.5

    def pictures() -> Iterator[tuple[np.ndarray, int]]:
        for x, y in points():
            yield np.clip(np.full((8, 8), 100) + 20 * x[0], 0, 255).astype(np.uint8), y

    data = steepest.stream(pictures, rows=64, held_out=20, fitted_on=50)
    assert (data.kind, data.form.shape) == ("image", (1, 8, 8))
    assert fit(data, max_steps=3).status == "finished"


def test_a_plan_without_prefetch_reads_the_stream_all_the_same() -> None:
    data = steepest.stream(points, rows=1000, held_out=300, fitted_on=200)
    digests = {fit(data, plan=steepest.Plan(prefetch=prefetch)).facts["weights_sha256"] for prefetch in (True, False)}
    assert len(digests) == 1


def test_what_cannot_be_done_with_a_stream_is_told() -> None:
    data = steepest.stream(points, rows=100, held_out=20, fitted_on=50)
    with pytest.raises(steepest.InputError, match="is a stream: its rows cannot be dealt out anew, nor into folds"):
        steepest.cross_validate(data, folds=3)
    with pytest.raises(steepest.InputError, match=r"without calling it.*\(got generator\)"):
        steepest.stream(points(), rows=100, held_out=20)
    with pytest.raises(steepest.InputError, match=r"steepest.stream\(dataset, rows=100_000, held_out=2_000\) \(got Stream\)"):
        steepest.task(Stream(5))
    with pytest.raises(steepest.InputError, match="the stream ended after 30 rows; 40 are to be held out"):
        steepest.stream(Stream(30), rows=100, held_out=40)

    def no_pairs() -> Iterator[Any]:
        yield 1

    with pytest.raises(steepest.InputError, match=r"row 0 of the stream must be a pair \(input, label\) \(got int\)"):
        steepest.stream(no_pairs, rows=100, held_out=20)


@pytest.mark.parametrize(
    ("odd", "message"),
    [
        ((np.zeros(4), 0), r"row 80 of the stream has shape \(4,\), the rows before it \(3,\)"),
        ((np.zeros(3), 7), "brings the label 7, which is not among its first 70 rows; have more of them looked at: fitted_on="),
        ((np.array([0, np.nan, 0]), 0), "brings an input that is not a finite number"),
        ((np.zeros(3), []), r"brings the label \[\], which is not among"),
        (None, "row 80 of the stream failed: ZeroDivisionError: division by zero"),
    ],
)
def test_what_goes_wrong_later_stops_the_training_in_one_line(odd: Any, message: str) -> None:
    def later() -> Iterator[Any]:
        yield from points(80)
        yield 1 / 0 if odd is None else odd
        yield from points()

    with pytest.raises(steepest.InputError, match=message):
        fit(steepest.stream(later, rows=100, held_out=20, fitted_on=50))


@pytest.mark.parametrize("label", [float("nan"), float("inf"), None, "two"])
def test_a_regression_stops_at_a_label_that_is_no_number(label: Any) -> None:
    def numbers() -> Iterator[Any]:
        for i in range(1000):
            yield np.array([i % 7, i % 5, 1.0]), label if i == 90 else i % 7 + 0.5

    with pytest.raises(steepest.InputError, match=r"the stream brings the label .*; expected a finite number"):
        fit(steepest.stream(numbers, rows=100, held_out=20, fitted_on=50))


def test_held_out_rows_are_like_those_of_the_stream() -> None:
    with pytest.raises(steepest.InputError, match=r"held-out rows have shape \(2,\), those of the stream \(3,\)"):
        steepest.stream(points, rows=100, held_out=(np.zeros((5, 2)), np.zeros(5)), fitted_on=50)
    with pytest.raises(steepest.InputError, match=r"inputs and labels \(got a tuple of 3"):
        steepest.stream(points, rows=100, held_out=(np.zeros((5, 3)), np.zeros(5), 1), fitted_on=50)  # type: ignore[arg-type]


def test_trainings_that_take_turns_read_the_stream_each_for_itself() -> None:
    data = steepest.stream(points, rows=100, held_out=20, fitted_on=50)
    task = steepest.task(data)
    recipe = steepest.Recipe(steepest.sgd(0.01), batch=25, epochs=2)

    def losses(loop: Any) -> Iterator[float]:
        return (float(event.result.loss) for event in loop if isinstance(event, steepest.StepEvent))

    alone = list(losses(steepest.steps(task, recipe)))
    short, long = losses(steepest.steps(task, recipe, max_steps=2)), losses(steepest.steps(task, recipe))
    turns = [(mine, next(long)) for mine in short]
    assert turns == [(loss, loss) for loss in alone[:2]]
    assert list(long) == alone[2:]


def test_a_stream_is_not_shared_by_lanes() -> None:
    task = steepest.task(steepest.stream(points, rows=100, held_out=20, fitted_on=50))
    reason = apart(prepare_lanes(task, ["sgd(0.01)", "sgd(0.1)"], [0, 0]))
    assert reason == "what comes from a stream comes once, to one training"


@pytest.mark.parametrize("tensors", [False, True])
def test_a_stream_may_fill_the_same_memory_again(tensors: bool) -> None:
    def refilled() -> Iterator[Any]:
        x, y = np.zeros(3), np.zeros(2)
        listed = [0.0, 0.0]
        for each, label in points():
            x[:], y[:], listed[:] = each, [label, each[0]], [label, each[0]]
            yield (torch.from_numpy(x), torch.from_numpy(y)) if tensors else (x, listed)

    def fresh() -> Iterator[Any]:
        for x, label in points():
            yield x, np.array([label, x[0]])

    took = []
    for source in (refilled, fresh):
        data = steepest.stream(source, rows=100, held_out=20, fitted_on=50)
        with (part := data.part("train", by="test")).read_ahead(0, 30):
            took.append([*part.take(torch.arange(30)), *part.take(torch.arange(30))])
        took[-1] += data.part("validation", by="test").take(torch.arange(20))
    assert all(map(torch.equal, *took))


@pytest.mark.parametrize("row", [(np.zeros(3), 0, 1), [np.zeros(3)], ()])
def test_rows_that_are_no_pairs_are_counted(row: Any) -> None:
    got = rf"row 0 of the stream must be a pair \(input, label\) \(got {type(row).__name__} of {len(row)}\)"
    with pytest.raises(steepest.InputError, match=got):
        steepest.stream(lambda: iter([row]), rows=100, held_out=20)


@pytest.mark.parametrize(
    ("odd", "message"),
    [
        ((np.full(3, 1e39), 1.0), "brings an input that is not a finite number, or is too large for float32"),
        ((np.zeros(3), 1e60), r"brings the label 1e\+60; expected a finite number"),
        ((np.zeros(3), "two"), "brings the label 'two'; expected a finite number"),
    ],
)
def test_a_row_that_stops_a_training_is_named_by_its_place_in_the_stream(odd: Any, message: str) -> None:
    def later() -> Iterator[Any]:
        yield from ((x, float(x[0])) for x, _ in points(300))
        yield odd
        yield from ((x, float(x[0])) for x, _ in points())

    with pytest.raises(steepest.InputError, match=f"row 300 of the stream {message}") as told:
        fit(steepest.stream(later, rows=500, held_out=20, fitted_on=50))
    assert "\n" not in str(told.value)
