"""Data: cleaned, split in four, preprocessed on the training part only, handed out in an order that follows from the seed."""

from __future__ import annotations

import gzip
import importlib.util
import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pytest
import torch

import steepest
from steepest.data import load, stored
from steepest.data.batches import batch_bounds, epoch_order
from steepest.data.cleaning import CleaningReport
from steepest.data.encoding import encode_rows
from steepest.data.splitting import PARTS, folds, split_rows

# -- tables -----------------------------------------------------------------------------------------------------------


def test_a_table_is_cleaned_and_the_report_says_how(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    rows = ["id,name,age,plan,same,empty,label"]
    rows += [f"{i + 1},person {i},{rng.integers(20, 60)},{rng.choice(['a', 'b'])},7,NA,{i % 2}" for i in range(98)]
    rows += ["99,,?,a,7,,1", "100,person x,33, b ,7,,"]
    path = tmp_path / "people.csv"
    path.write_text("\n".join(rows) + "\n\n")
    data = steepest.read_table(path, "label")
    data.part("train", by="test")
    told = {(finding.what, finding.column): finding.count for finding in data.cleaning.findings}
    assert told[("consecutive whole numbers", "id")] == 99
    assert ("distinct texts", "name") in told
    assert told[("missing cells", "age")] == 1
    assert told[("empty column", "empty")] == 1
    assert told[("rows without a label", "label")] == 1
    assert told[("constant column", "same")] == 1
    assert data.targets.classes == (0, 1)
    assert [step.name for step in data.preprocessing.steps] == ["age", "plan"]  # type: ignore[union-attr]
    assert "99 consecutive whole numbers in id: left out" in str(data.cleaning)


def test_preprocessing_equals_scikit_learns_transformers(churn: Path) -> None:
    from sklearn.impute import SimpleImputer
    from sklearn.preprocessing import MinMaxScaler, OneHotEncoder, StandardScaler

    for scaling, scaler in (("standard", StandardScaler()), ("minmax", MinMaxScaler())):
        data = steepest.read_table(churn, "churned", scaling=scaling)
        frame = pd.read_csv(churn, na_values="?")
        train, test = frame.iloc[data.parts["train"]], frame.iloc[data.parts["test"]]
        imputer = SimpleImputer(strategy="median").fit(train[["age", "minutes"]])
        numbers = scaler.fit(imputer.transform(train[["age", "minutes"]])).transform(
            imputer.transform(test[["age", "minutes"]])
        )
        encoded = OneHotEncoder(sparse_output=False).fit(train[["plan", "city"]]).transform(test[["plan", "city"]])
        flags = test["minutes"].isna().to_numpy().astype(float)
        expected = np.column_stack([numbers[:, 0], encoded[:, :3], numbers[:, 1], flags, encoded[:, 3:]])
        ours = data.part("test", by="test").inputs.numpy()  # type: ignore[union-attr]
        np.testing.assert_allclose(ours, expected, atol=1e-6)


def test_preprocessing_is_fitted_on_the_training_part_only() -> None:
    X = np.concatenate([np.zeros((60, 1)), np.full((40, 1), 1000.0)]) + np.arange(100)[:, None] / 100
    data = steepest.arrays(X, np.arange(100) % 2)
    rows = {name: np.arange(i * 60, 60 + i * 40) for i, name in enumerate(("train", "test"))}
    moved = data.with_parts(rows)
    assert abs(moved.preprocessing.steps[0].shift) < 1.0  # type: ignore[union-attr]


def test_preprocessing_comes_back_from_json(churn: Path) -> None:
    import json

    for data in (
        steepest.read_table(churn, "churned", scaling="robust"),
        steepest.arrays(np.random.default_rng(0).random((50, 8, 8)), np.arange(50) % 2, images=True),
        steepest.arrays(np.random.default_rng(0).random((50, 3)), np.arange(50) % 2, scaling="none"),
    ):
        again = stored.from_dict(json.loads(json.dumps(data.preprocessing.to_dict())))
        assert again == data.preprocessing


def test_a_test_file_becomes_the_test_part(tmp_path: Path) -> None:
    train, test = tmp_path / "train.csv", tmp_path / "test.csv.gz"
    train.write_text("".join(f"{i},{'x' if i % 3 else 'y'},{'yes' if i % 2 else 'no'}\n" for i in range(60)))
    test.write_bytes(gzip.compress(b"".join(b"%d,x,%s.\n" % (i, b"yes" if i % 2 else b"no") for i in range(10))))
    data = steepest.read_table(train, -1, header=False, test=test)
    assert data.size("test") == 10
    assert data.part("test", by="test").targets.tolist() == [0, 1] * 5
    assert sum(data.size(name) for name in PARTS) == 70
    assert any("full stop" in finding.what for finding in data.cleaning.findings)


def test_latin_1_semicolons_quotes_and_blank_lines(tmp_path: Path) -> None:
    path = tmp_path / "odd.csv"
    lines = [f'"Zürich; {i % 3}";{i};{i % 2}' for i in range(30)]
    path.write_bytes(("ort;zahl;label\n\n" + "\n".join(lines) + "\n\n").encode("latin-1"))
    data = steepest.read_table(path, "label")
    assert len(data) == 30
    assert any("Latin-1" in finding.action for finding in data.cleaning.findings)
    assert data.inputs["ort"].values[0] == "Zürich; 0"


def test_frames_parquet_and_dicts_are_taken_as_they_are(churn: Path, tmp_path: Path) -> None:
    frame = pl.read_csv(churn, null_values="?")
    frame.write_parquet(tmp_path / "churn.parquet")
    pandas = pd.read_csv(churn, na_values="?")
    sources: list[Any] = [churn, tmp_path / "churn.parquet", frame, frame.lazy(), pandas, pandas.astype({"plan": "category"})]
    parts = [steepest.read_table(source, "churned").part("train", by="test") for source in sources]
    for part in parts[1:]:
        assert torch.equal(part.targets, parts[0].targets)
        torch.testing.assert_close(part.inputs, parts[0].inputs)
    apart = steepest.arrays(pandas.drop(columns="churned"), pandas["churned"])
    torch.testing.assert_close(apart.part("train", by="test").inputs, parts[0].inputs)


def test_skipping_bad_rows_is_reported(tmp_path: Path) -> None:
    path = tmp_path / "ragged.csv"
    rows = [f"{i},{i * 2},{i % 2}" for i in range(60)]
    rows[7], rows[20] = "1,2", "3,oops,1"
    path.write_text("a,b,label\n" + "\n".join(rows) + "\n")
    data = steepest.read_table(path, "label", on_bad_row="skip")
    assert len(data) == 58
    assert "1 row with the wrong number of fields skipped (first: line 9)" in str(data.cleaning)
    assert "1 row with text among numbers: skipped" in str(data.cleaning)


def test_missing_marks_per_column(tmp_path: Path) -> None:
    path = tmp_path / "zeros.csv"
    path.write_text("a,b,label\n" + "".join(f"{i % 5},{i % 5 + 1},{i % 2}\n" for i in range(50)))
    data = steepest.read_table(path, "label", missing_in={"a": ["0"]})
    assert np.isnan(data.inputs["a"].values).sum() == 10
    assert not np.isnan(data.inputs["b"].values).any()


# -- parts and batches ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("codes", [None, np.repeat([0, 1, 2], [70, 25, 5])])
def test_parts_are_disjoint_and_classes_keep_their_shares(codes: np.ndarray | None) -> None:
    parts = split_rows(np.arange(100), codes, (0.6, 0.15, 0.15, 0.1), seed=3)
    assert sorted(np.concatenate(parts).tolist()) == list(range(100))
    assert [len(part) for part in parts] == pytest.approx([60, 15, 15, 10], abs=2)
    if codes is not None:
        for code, count in ((0, 70), (1, 25), (2, 5)):
            assert (codes[parts[0]] == code).sum() == pytest.approx(0.6 * count, abs=1)
    again = split_rows(np.arange(100), codes, (0.6, 0.15, 0.15, 0.1), seed=3)
    assert all(np.array_equal(a, b) for a, b in zip(parts, again, strict=True))


def test_folds_cover_every_row_once() -> None:
    codes = np.arange(50) % 3
    found = folds(np.arange(100, 150), codes, 5, seed=0)
    assert sorted(np.concatenate(found).tolist()) == list(range(100, 150))
    with pytest.raises(steepest.InputError, match="folds must be between 2 and 16"):
        folds(np.arange(50), codes, 17, seed=0)


def test_the_order_is_a_pure_function_of_seed_and_epoch() -> None:
    orders = {(seed, epoch): tuple(epoch_order(50, seed, epoch).tolist()) for seed in range(3) for epoch in range(3)}
    assert len(set(orders.values())) == 9
    torch.manual_seed(99)
    assert tuple(epoch_order(50, 1, 2).tolist()) == orders[1, 2]


@pytest.mark.parametrize(("rows", "batch"), [(10, 4), (9, 4), (4, 4), (3, 10), (5, 1), (1, 1), (1, 8)])
def test_batches_cover_every_row_once(rows: int, batch: int) -> None:
    bounds = batch_bounds(rows, batch)
    assert [row for begin, end in bounds for row in range(begin, end)] == list(range(rows))
    assert batch == 1 or rows == 1 or all(end - begin > 1 for begin, end in bounds)


def test_full_batch_mini_batch_and_single_sample_are_one_number() -> None:
    for batch, steps in (("full", 1), (30, 3), (1, 90)):
        recipe = steepest.Recipe(steepest.sgd(0.01), batch=batch, epochs=1)
        assert steepest.fit("iris", recipe=recipe, record=False).facts["steps"] == steps


def test_every_read_is_recorded_and_the_certificate_is_kept_closed() -> None:
    data = load("iris")
    data.part("train", by="somebody")
    assert [(read.part, read.by, read.rows) for read in data.reads] == [("train", "somebody", 90)]
    with pytest.raises(steepest.InputError, match="only to certify an artifact"):
        data.part("certificate", by="curiosity")
    assert len(data.reads) == 1


def test_workers_are_given_no_test_rows() -> None:
    data = load("wine")
    lean = data.only("train", "validation", by="race")
    assert len(lean) == data.size("train") + data.size("validation")
    assert torch.equal(lean.part("train", by="x").inputs, data.part("train", by="x").inputs)
    with pytest.raises(steepest.InputError, match="has no test part"):
        lean.part("test", by="x")


# -- arrays, images, datasets -----------------------------------------------------------------------------------------


class Squares(torch.utils.data.Dataset):
    """A map-style Dataset that counts how often an item was fetched."""

    fetched = 0

    def __len__(self) -> int:
        return 60

    def __getitem__(self, i: int) -> tuple[torch.Tensor, int]:
        type(self).fetched += 1
        return torch.tensor([float(i), float(i * i)]), i % 2


def test_a_dataset_is_fetched_item_by_item() -> None:
    data = load(Squares())
    part, before = data.part("train", by="x"), Squares.fetched
    inputs, targets = part.take(torch.tensor([0, 1]))
    assert Squares.fetched == before + 2
    rows = data.parts["train"][:2]
    assert inputs.tolist() == [[float(i), float(i * i)] for i in rows]
    assert targets.tolist() == [int(i) % 2 for i in rows]


def test_a_tensor_dataset_and_a_loader_become_arrays() -> None:
    X, y = torch.rand(40, 3), torch.arange(40) % 2
    dataset = torch.utils.data.TensorDataset(X, y)
    for source in (dataset, torch.utils.data.DataLoader(dataset, batch_size=4)):
        part = load(source).part("train", by="x")
        torch.testing.assert_close(part.inputs, X[load(source).parts["train"]])


def test_idx_and_npz_images(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (50, 5, 4), dtype=np.uint8)
    labels = (np.arange(50) % 3).astype(np.uint8)
    header = b"\x00\x00\x08\x03" + np.array([50, 5, 4], dtype=">u4").tobytes()
    (tmp_path / "train-images-idx3-ubyte.gz").write_bytes(gzip.compress(header + images.tobytes()))
    (tmp_path / "train-labels-idx1-ubyte").write_bytes(
        b"\x00\x00\x08\x01" + np.array([50], dtype=">u4").tobytes() + labels.tobytes()
    )
    np.savez(tmp_path / "set.npz", X=images, y=labels)
    np.savez(
        tmp_path / "colour.npz",
        x_train=rng.random((40, 6, 6, 3)),
        y_train=np.arange(40) % 2,
        x_test=rng.random((8, 6, 6, 3)),
        y_test=np.arange(8) % 2,
    )
    from_idx, from_npz = load(tmp_path / "train-images-idx3-ubyte.gz"), load(tmp_path / "set.npz")
    assert from_idx.kind == from_npz.kind == "image"
    one, other = (next(data.part("train", by="x").in_order(50))[0] for data in (from_idx, from_npz))
    assert torch.equal(one, other)
    assert load(tmp_path).form.shape == (1, 5, 4)
    colour = load(tmp_path / "colour.npz")
    assert (colour.form.shape, colour.size("test")) == ((3, 6, 6), 8)
    inputs = colour.part("train", by="x").inputs
    assert inputs.mean(dim=(0, 2, 3)).abs().max() < 1e-5  # type: ignore[union-attr]


def test_class_weights_balance() -> None:
    data = steepest.arrays(np.random.default_rng(0).random((100, 2)), np.repeat([0, 1], [80, 20]))
    counts = np.bincount(data.targets.values[data.parts["train"]])
    np.testing.assert_allclose(data.class_weights * counts, counts.sum() / 2)


def test_regression_targets_are_scaled_on_the_training_part_and_back() -> None:
    y = np.random.default_rng(0).normal(1000, 50, 200)
    data = steepest.arrays(np.arange(200.0)[:, None], y)
    assert data.part("train", by="x").targets.mean().abs() < 1e-5
    shift, scale = data.target_scale
    np.testing.assert_allclose(data.part("test", by="x").targets.numpy() * scale + shift, y[data.parts["test"]], rtol=1e-5)


def test_cleaning_report_is_a_document() -> None:
    report = CleaningReport(10, 2)
    report.add("missing cells", 0, "filled")
    report.add("missing cells", 3, "filled", "age")
    assert report.to_dict()["findings"] == [{"what": "missing cells", "column": "age", "count": 3, "action": "filled"}]


def test_new_rows_are_read_as_the_training_rows_were(tmp_path: Path) -> None:
    """Marks of missing cells and the absence of a header are kept with the model."""
    rng = np.random.default_rng(0)
    lines = [f"{rng.integers(0, 9)},{rng.normal():.3f},{i % 2}" for i in range(80)]
    (tmp_path / "t.csv").write_text("\n".join(lines) + "\n")
    data = steepest.read_table(tmp_path / "t.csv", -1, header=False, missing_in={"c1": ["0"]}, parts=(1.0, 0.0, 0.0, 0.0))
    assert any("missing cells" in finding.what for finding in data.cleaning.findings)
    (tmp_path / "new.csv").write_text("\n".join(line.rsplit(",", 1)[0] for line in lines) + "\n")
    trained = data.part("train", by="training").inputs.numpy()
    np.testing.assert_allclose(encode_rows(tmp_path / "new.csv", data.preprocessing), trained, rtol=1e-6)

    assert stored.from_dict(json.loads(json.dumps(data.preprocessing.to_dict()))) == data.preprocessing


def test_whole_numbers_of_images_and_datasets_are_classes_however_many() -> None:
    images, labels = np.zeros((188, 8, 8), dtype=np.uint8), np.arange(188) % 47
    assert steepest.arrays(images, labels).targets.num_classes == 47
    assert steepest.arrays(images, labels, kind="regression").targets.kind == "regression"
    pairs = [(torch.zeros(3), int(label)) for label in labels]
    assert steepest.task(pairs_dataset(pairs)).data.targets.num_classes == 47
    with pytest.raises(steepest.InputError, match="unknown option of builtin 'label_name'"):
        steepest.task("iris", label_name="x")


def pairs_dataset(pairs: list[Any]) -> Any:
    class Pairs(torch.utils.data.Dataset):
        def __len__(self) -> int:
            return len(pairs)

        def __getitem__(self, i: int) -> Any:
            return pairs[i]

    return Pairs()


@pytest.mark.parametrize(("classes", "rows"), [(10, 12), (30, 3), (3, 50), (2, 7)])
def test_parts_and_folds_have_the_sizes_they_should(classes: int, rows: int) -> None:
    from steepest.data.splitting import SHARES, folds, split_rows

    codes = np.repeat(np.arange(classes), rows)
    everything = np.arange(len(codes))
    for part, share in zip(split_rows(everything, codes, SHARES, 0), SHARES, strict=True):
        assert abs(len(part) - share * len(codes)) <= 2
    count = min(5, rows)
    sizes = [len(fold) for fold in folds(everything, codes, count, 0)]
    assert max(sizes) - min(sizes) <= 1
    train = split_rows(everything, codes, SHARES, 0)[0]
    assert set(codes[train]) == set(range(classes))


def test_a_worker_is_given_no_other_rows_of_a_dataset_either() -> None:
    pairs = [(torch.full((3,), float(i)), i % 2) for i in range(60)]
    data = steepest.task(pairs_dataset(pairs)).data
    lean = data.only("train", "validation", by="race")
    assert len(lean.inputs) == data.size("train") + data.size("validation")
    torch.testing.assert_close(
        lean.part("train", by="training").take(torch.arange(3))[0], data.part("train", by="training").take(torch.arange(3))[0]
    )


@pytest.mark.parametrize(
    ("item", "message"),
    [
        (lambda i: 1 / 0, "item 0 of the dataset failed: ZeroDivisionError"),
        (lambda i: None, "must be a pair"),
        (lambda i: ([1.0], 0), "must be a pair"),
    ],
)
def test_a_dataset_that_gives_no_pairs_is_told(item: Any, message: str) -> None:
    class Wrong(torch.utils.data.Dataset):
        def __len__(self) -> int:
            return 30

        def __getitem__(self, i: int) -> Any:
            return item(i)

    with pytest.raises(steepest.InputError, match=message):
        steepest.task(Wrong())


@pytest.mark.parametrize("from_call", [1, 100])  # the labels are read first, then the inputs
def test_the_item_of_a_dataset_that_fails_is_named(from_call: int) -> None:
    class Fails(torch.utils.data.Dataset):
        calls = 0

        def __len__(self) -> int:
            return 100

        def __getitem__(self, i: int) -> Any:
            Fails.calls += i == 57
            if i == 57 and Fails.calls > (from_call > 1):
                raise OSError("no such file: 57.png")
            return torch.ones(2) * i, i % 2

    with pytest.raises(steepest.InputError, match=r"^item 57 of the dataset failed: OSError: no such file: 57\.png$"):
        steepest.fit(steepest.task(Fails(), parts=(0.9, 0.1, 0, 0)), "sgd(0.1)")
    assert not list(Path(".steepest/runs").glob("*"))


def test_every_way_to_hold_a_table_gives_the_same_data() -> None:
    rng = np.random.default_rng(0)
    rows = {"a": rng.random(60).tolist(), "b": ["x", "y", "z"] * 20, "label": ["no", "yes"] * 30}
    frame = pl.DataFrame(rows)
    sources = [frame, frame.lazy(), pd.DataFrame(rows), rows, frame.to_dicts()]
    labels = [frame["label"], frame.select("label"), frame.lazy().select("label"), pd.Series(rows["label"])]
    if importlib.util.find_spec("pyarrow") is not None:
        sources.append(frame.to_arrow())
        labels.append(frame.select("label").to_arrow())
    found = [steepest.task(source, label="label").data for source in sources]
    found += [steepest.arrays(frame.drop("label"), label) for label in labels]
    for data in found:
        assert torch.equal(data.part("train", by="x").inputs, found[0].part("train", by="x").inputs)
        assert data.targets.classes == ("no", "yes")


def test_arrays_without_labels_are_told_how_to_come() -> None:
    values = np.random.default_rng(0).random((9, 2))
    for source in (values, torch.from_numpy(values), (values, [0, 1] * 4), [1, 2, 3]):
        with pytest.raises(steepest.InputError, match=r"arrays are brought with their labels: steepest.arrays\(X, y\)"):
            steepest.task(source)


def test_what_fitting_found_is_told_once_after_the_rows_are_dealt_out_anew() -> None:
    rng = np.random.default_rng(0)
    frame = pl.DataFrame({"a": rng.normal(size=60), "city": [f"{'abc'[i % 3]}" for i in range(59)] + ["rare"], "one": [1] * 60})
    data = steepest.arrays(frame, np.arange(60) % 2)
    _ = data.preprocessing
    told = [str(finding) for finding in data.cleaning.findings]
    assert len(told) == len(set(told)) > 0
    again = data.with_parts(data.parts)
    _ = again.preprocessing
    assert [str(finding) for finding in again.cleaning.findings] == told
    some = data.only("train", "validation", by="a worker")
    assert [str(finding) for finding in some.cleaning.findings] == told


def test_targets_kept_as_they_are_stay_so_when_dealt_out_anew() -> None:
    data = steepest.arrays(np.random.default_rng(0).normal(size=(40, 3)), np.linspace(5, 9, 40)).unscaled
    for copy in (data, data.with_parts(data.parts), data.only("train", by="a worker")):
        shift, scale = copy.target_scale
        assert (float(shift), float(scale)) == (0.0, 1.0)
