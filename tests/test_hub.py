"""Data sets of Hugging Face's `datasets` package, built in memory: images, texts, tables, given parts, hidden labels."""

from __future__ import annotations

from typing import Any

import numpy as np
import polars as pl
import pytest
import torch

import steepest
from steepest.data import load

datasets = pytest.importorskip("datasets")
Image = pytest.importorskip("PIL.Image")

RNG = np.random.default_rng(0)
CLASSES = ("negative", "positive", "absent")


@pytest.fixture(autouse=True)
def _offline(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")


def made(columns: dict[str, Any], **kinds: Any) -> Any:
    plain = datasets.Dataset.from_dict({name: values for name, values in columns.items() if name not in kinds})
    features = datasets.Features({name: kinds.get(name) or plain.features[name] for name in columns})
    return datasets.Dataset.from_dict(columns, features=features)


def classes() -> Any:
    return datasets.ClassLabel(names=list(CLASSES))


def images(count: int = 40, begin: int = 0, **more: Any) -> Any:
    found = [Image.fromarray(np.full((6, 4), begin + i, dtype=np.uint8)) for i in range(count)]
    return made({"image": found, "label": [i % 2 for i in range(count)], **more}, image=datasets.Image(), label=classes())


def texts(count: int = 40, begin: int = 0, **more: Any) -> Any:
    found = [f"film {begin + i} is {'good' if i % 2 else 'bad'}" for i in range(count)]
    return made({"text": found, "label": [i % 2 for i in range(count)], **more}, label=classes())


def table(count: int = 60, **more: Any) -> Any:
    return made(
        {
            "age": [float(i) if i % 7 else None for i in range(count)],
            "plan": [("basic", "plus")[i % 3 == 0] for i in range(count)],
            "label": [i % 2 for i in range(count)],
            **more,
        },
        label=classes(),
    )


def test_images() -> None:
    for source in (images(), images().with_format("torch"), torch.utils.data.DataLoader(images(), batch_size=4)):
        data = load(source)
        assert (data.kind, data.form.shape, data.targets.classes) == ("image", (1, 6, 4), ("negative", "positive"))
        np.testing.assert_array_equal(data.inputs.values[:, 0, 0, 0], np.arange(40))  # type: ignore[attr-defined]
    assert load(images(), size=(3, 3)).form.shape == (1, 3, 3)
    assert load(images(), size=3, label="label").name == "dataset"
    run = steepest.fit(images(), recipe=steepest.Recipe(steepest.adam(), epochs=1), record=False)
    assert len(run.predict(images()["image"])) == len(run.predict(images()[:]["image"])) == 40


def test_rows_that_were_chosen_and_shuffled_stay_so() -> None:
    chosen = images().shuffle(seed=1).select(range(20))
    data = load(chosen)
    expected = [int(np.asarray(row["image"])[0, 0]) for row in chosen]
    assert data.inputs.values[:, 0, 0, 0].tolist() == expected  # type: ignore[attr-defined]
    assert data.targets.values.tolist() == chosen["label"][:]


def test_images_that_cannot_be_read_and_that_differ() -> None:
    content = [{"bytes": b"nothing", "path": None}] + [{"bytes": _png(i), "path": None} for i in range(30)]
    broken = made({"picture": content, "label": [0] + [i % 2 for i in range(30)]}, picture=datasets.Image(), label=classes())
    with pytest.raises(steepest.InputError, match="row 0 of train, column 'picture', is not a readable image"):
        load(broken)
    data = load(broken, on_bad_row="skip")
    assert len(data) == 30
    np.testing.assert_array_equal(data.inputs.values[:, 0, 0, 0] % 2, data.targets.values)  # type: ignore[attr-defined]


def _png(grey: int) -> bytes:
    import io

    file = io.BytesIO()
    Image.fromarray(np.full((5, 5), grey, dtype=np.uint8)).save(file, format="png")
    return file.getvalue()


def test_parts_that_are_given() -> None:
    data = load(datasets.DatasetDict(train=images(), test=images(10, 100), validation=images(8, 200), other=images(4)))
    assert data.test_given
    assert {name: len(rows) for name, rows in data.parts.items()} == {
        "train": 34, "validation": 8, "test": 10, "certificate": 6,
    }  # fmt: skip
    greys = data.inputs.values[:, 0, 0, 0]  # type: ignore[attr-defined]
    assert greys[data.parts["test"]].tolist() == list(range(100, 110))
    assert greys[data.parts["validation"]].tolist() == list(range(200, 208))
    assert "part beside train" in str(data.cleaning)
    with pytest.raises(steepest.InputError, match=r"expected a part called train \(got test\)"):
        load(datasets.DatasetDict(test=images()))


def test_texts_with_the_names_of_their_classes() -> None:
    data = load(datasets.DatasetDict(train=texts(idx=list(range(40))), test=texts(12, 100, idx=list(range(12)))))
    assert (data.kind, data.targets.classes, data.size("test")) == ("text", ("negative", "positive"), 12)
    assert data.inputs.values[0] == "film 0 is bad"  # type: ignore[attr-defined]
    run = steepest.fit(steepest.task(texts(80)), recipe=steepest.Recipe(steepest.adam(0.01), epochs=8), record=False)
    assert run.predict(["a good one"]).tolist()[0] in CLASSES


def test_hidden_labels_leave_their_rows_out() -> None:
    hidden = made({"text": [f"film {i}" for i in range(9)], "label": [-1] * 9}, label=classes())
    data = load(datasets.DatasetDict(train=texts(), test=hidden))
    assert not data.test_given
    assert len(data) == 40
    assert "9 rows without a label: left out" in str(data.cleaning)


def test_rows_keep_their_numbers_and_some_must_have_labels() -> None:
    content = [{"bytes": _png(i), "path": None} for i in range(9)] + [{"bytes": b"nothing", "path": None}]
    broken = made({"image": content, "label": [-1, *(i % 2 for i in range(9))]}, image=datasets.Image(), label=classes())
    with pytest.raises(steepest.InputError, match="row 9 of train"):
        load(broken)
    with pytest.raises(steepest.InputError, match="no row of the train part has a label in the column 'label'"):
        load(made({"text": ["a", "b"], "label": [-1, -1]}, label=classes()))


def test_a_column_of_text_is_named_where_others_stand_beside_it() -> None:
    several = texts(title=[f"title {i}" for i in range(40)], stars=[float(i % 5) for i in range(40)])
    assert load(several, text="title").inputs.values[3] == "title 3"  # type: ignore[attr-defined]
    with pytest.raises(steepest.InputError, match=r"unknown column of text 'titel'; did you mean 'title'?"):
        load(several, text="titel")
    assert load(several).kind == "table"


def test_a_table() -> None:
    data = load(table())
    assert (data.kind, data.targets.classes) == ("table", ("negative", "positive"))
    assert data.inputs.names("category") == ["plan"]  # type: ignore[attr-defined]
    given = load(datasets.DatasetDict(train=table(60), validation=table(10), test=table(20)), label="label")
    assert {name: given.size(name) for name in ("validation", "test")} == {"validation": 10, "test": 20}
    values = given.inputs["age"].values[given.parts["test"]]  # type: ignore[index]
    np.testing.assert_array_equal(values, [float(i) if i % 7 else np.nan for i in range(20)])
    fitted = steepest.fit(steepest.task(table(200)), recipe=steepest.Recipe(steepest.adam(0.01), epochs=1), record=False)
    assert fitted.metrics


def test_rows_that_are_skipped_leave_the_others_in_their_parts() -> None:
    def numbered(begin: int, bad: tuple[int, ...] = ()) -> Any:
        numbers = [float(begin + 10 * i + i % 2) for i in range(60)]
        cells = ["oops" if i in bad else f"{number:g}" for i, number in enumerate(numbers)]
        return made({"number": numbers, "cell": cells, "label": [i % 2 for i in range(60)]}, label=classes())

    parts = datasets.DatasetDict(train=numbered(1000, (2,)), validation=numbered(2000, (3, 4, 5)), test=numbered(3000, (59,)))
    data = load(parts, on_bad_row="skip")
    numbers = data.inputs["number"].values  # type: ignore[index]
    assert {part: set(numbers[rows] // 1000) for part, rows in data.parts.items()} == {
        "train": {1}, "validation": {2}, "test": {3}, "certificate": {1},
    }  # fmt: skip
    assert (data.size("validation"), data.size("test"), len(data)) == (57, 59, 175)
    np.testing.assert_array_equal(data.targets.values, numbers % 2)


def test_a_table_of_many_classes_and_of_numbers() -> None:
    many = datasets.ClassLabel(names=[f"c{i}" for i in range(30)])
    codes = [i % 30 for i in range(120)]
    data = load(made({"a": RNG.random(120).tolist(), "b": codes, "label": codes}, label=many, b=many))
    assert data.targets.num_classes == 30
    assert data.inputs.names("category") == ["b"]  # type: ignore[attr-defined]
    numbers = load(made({"a": RNG.random(60).tolist(), "y": RNG.random(60).tolist()}), label="y")
    assert numbers.targets.kind == "regression"


def test_what_is_asked_for_wrongly() -> None:
    for source, options, message in (
        (images().to_iterable_dataset(), {}, "a streamed data set has no rows"),
        (datasets.IterableDatasetDict(train=images().to_iterable_dataset()), {}, "a streamed data set"),
        (images().select([]), {}, r"the dataset is empty \(0 rows\)"),
        (made({"a": [1.0] * 9, "b": [2.0] * 9}), {}, r"which column is to be predicted\? add label= \(one of a, b\)"),
        (images(), {"label": "lable"}, "unknown label column 'lable'; did you mean 'label'?"),
        (images(), {"labels": "label"}, "unknown option of from_hub 'labels'"),
        (texts(), {"tokens": "letters"}, "tokens must be 'words' or 'bpe'"),
        (datasets.DatasetDict(train=texts(), test=images()), {}, "lacks the column 'text' of its train part"),
    ):
        with pytest.raises(steepest.InputError, match=message):
            steepest.task(source, **options)


def test_a_class_that_the_train_part_lacks() -> None:
    other = made({"text": ["a", "b"], "label": [2, 1]}, label=classes())
    with pytest.raises(steepest.InputError, match="class 'absent' of the test part does not occur in the train part"):
        load(datasets.DatasetDict(train=texts(), test=other))


def test_a_table_is_what_the_frame_of_it_is() -> None:
    rows = {"a": RNG.random(60).tolist(), "b": ["x", "y", "z"] * 20, "label": ["no", "yes"] * 30}
    one, other = (steepest.task(source, label="label").data for source in (made(rows), pl.DataFrame(rows)))
    assert torch.equal(one.part("train", by="x").inputs, other.part("train", by="x").inputs)
    assert one.targets.classes == other.targets.classes == ("no", "yes")
