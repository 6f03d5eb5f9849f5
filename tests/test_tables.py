"""Tables: dates, many categories and text as features; rows bound to parts; warnings; files as people have them."""

from __future__ import annotations

import csv
import io
import json
import random
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch

import steepest
from steepest.cli import main
from steepest.data import stored
from steepest.data.encoding import encode_rows
from steepest.data.notations import as_numbers, number_notation
from steepest.data.reading import read_frame
from steepest.data.splitting import PARTS, split_rows
from steepest.data.steps import CategoryStep, CodeStep, DateStep, NumberStep, TextStep, fit_words
from steepest.forms import Form

NOUNS = ["film", "plot", "cast", "music", "scene", "story", "actor", "camera", "score", "ending"]
WORDS = ["fine", "dull", "warm", "slow", "bright", "loud", "odd", "sharp", *NOUNS]


def sentences(count: int, seed: int = 0) -> list[str]:
    rng = np.random.default_rng(seed)
    return [f"a {' '.join(rng.choice(WORDS, 6))} w{i}" for i in range(count)]


def mixed(count: int = 400, seed: int = 0) -> pl.DataFrame:
    """A frame with a column for every kind of step."""
    rng = np.random.default_rng(seed)
    days = np.datetime64("2021-03-01T06:00") + rng.integers(0, 900 * 24, count).astype("m8[h]")
    frame = pl.DataFrame(
        {
            "size": rng.normal(5, 2, count).round(3),
            "colour": rng.choice(["red", "blue", "green"], count),
            "shop": [f"shop {i}" for i in rng.integers(0, 60, count)],
            "when": [str(day).replace("T", " ") for day in days],
            "note": sentences(count, seed),
            "label": rng.choice(["no", "yes"], count),
        }
    )
    holes = rng.random(count) < 0.05
    return frame.with_columns(pl.when(pl.Series(holes)).then(None).otherwise(pl.col("size", "when", "shop")).name.keep())


def steps_of(data: steepest.Data) -> dict[str, Any]:
    return {step.name: step for step in data.preprocessing.steps}  # type: ignore[union-attr]


def told(data: steepest.Data) -> str:
    return str(data.cleaning)


# -- features ---------------------------------------------------------------------------------------------------------


def test_each_column_has_the_step_of_its_kind_and_trains(tmp_path: Path) -> None:
    mixed().write_csv(tmp_path / "t.csv")
    data = steepest.read_table(tmp_path / "t.csv", "label")
    kinds = {name: type(step) for name, step in steps_of(data).items()}
    assert kinds == {"size": NumberStep, "colour": CategoryStep, "shop": CodeStep, "when": DateStep, "note": TextStep}
    assert len(data.preprocessing.features) == data.form.shape[0]  # type: ignore[union-attr]
    ((column, count),) = data.form.codes
    found = data.part("train", by="x").inputs
    assert isinstance(found, torch.Tensor)
    assert torch.isfinite(found).all()
    assert (found[:, column] == found[:, column].round()).all()
    assert 0 <= found[:, column].min() <= found[:, column].max() == count - 1
    run = steepest.fit(data, recipe=steepest.Recipe(steepest.adam(0.01), epochs=2), record=False)
    again = run.predict(mixed().drop("label"))
    assert set(again) <= {"no", "yes"}


def test_every_step_comes_back_from_json() -> None:
    for scaling in ("standard", "robust"):
        found = steepest.read_table(mixed(), "label", scaling=scaling).preprocessing
        assert stored.from_dict(json.loads(json.dumps(found.to_dict()))) == found
    older = {"kind": "table", "scaling": "none", "reading": {"missing": [""], "missing_in": {}, "header": None}}
    steps = [
        {"name": "a", "fill": 0.0, "shift": 0.0, "scale": 1.0, "flagged": False},
        {"name": "b", "categories": ["x"], "others": True},
    ]
    read = stored.from_dict({**older, "steps": steps})
    assert [type(step) for step in read.steps] == [NumberStep, CategoryStep]  # type: ignore[attr-defined]


def test_new_rows_are_read_as_the_training_rows_whatever_holds_them(tmp_path: Path) -> None:
    mixed().write_csv(tmp_path / "t.csv")
    data = steepest.read_table(tmp_path / "t.csv", "label", parts=(1.0, 0.0, 0.0, 0.0))
    trained = data.part("train", by="x").inputs.numpy()  # type: ignore[union-attr]
    dated = mixed().with_columns(pl.col("when").str.to_datetime("%Y-%m-%d %H:%M"))
    for rows in (tmp_path / "t.csv", mixed(), dated, mixed().to_dicts()):
        np.testing.assert_allclose(encode_rows(rows, data.preprocessing), trained, atol=1e-6)
    new = encode_rows(mixed()[:1].with_columns(shop=pl.lit("shop of tomorrow")), data.preprocessing)
    assert new[0, data.form.codes[0][0]] == 0
    with pytest.raises(
        steepest.InputError, match="row 0, column 'when': expected a date such as '2024-12-31 23:59', got 'soon'"
    ):
        encode_rows(mixed()[:1].with_columns(when=pl.lit("soon")), data.preprocessing)


def test_a_date_is_days_and_parts_on_circles() -> None:
    stamps = ["2024-03-01 12:30", "2024-12-31 00:00", "2023-06-15 06:00", "2024-01-01 18:00"] * 20
    frame = pl.DataFrame({"when": stamps, "x": np.arange(80) % 7, "label": np.arange(80) % 2})
    data = steepest.read_table(frame, "label", scaling="none", parts=(1.0, 0.0, 0.0, 0.0))
    names = data.preprocessing.features  # type: ignore[union-attr]
    first = dict(zip(names, data.part("train", by="x").inputs[0].tolist(), strict=True))  # type: ignore[index]
    assert first["when in days"] == pytest.approx(260 + 6.5 / 24)  # since 2023-06-15 06:00
    assert first["when: year"] == 2024
    for part, at in (("month", 2 / 12), ("weekday", 4 / 7), ("hour", 12.5 / 24)):  # March, a Friday, half past twelve
        assert first[f"when: {part} (sin)"] == pytest.approx(np.sin(2 * np.pi * at), abs=1e-6)
        assert first[f"when: {part} (cos)"] == pytest.approx(np.cos(2 * np.pi * at), abs=1e-6)


@pytest.mark.parametrize(
    ("cells", "parts"),
    [
        ([f"{d:02d}.05.2024" for d in range(1, 29)], ("weekday",)),
        ([f"05/{d:02d}/2024" for d in range(1, 29)], ("weekday",)),
        ([f"2024-05-01T{h:02d}:00:00Z" for h in range(24)], ("hour",)),
        ([f"20{y:02d}/01/01" for y in range(28)], ("year", "weekday")),
    ],
)
def test_only_parts_that_vary_are_there(cells: list[str], parts: tuple[str, ...]) -> None:
    frame = pl.DataFrame({"when": (cells * 4)[:90], "label": np.arange(90) % 2, "x": np.arange(90) % 5})
    step = steps_of(steepest.read_table(frame, "label", parts=(1.0, 0.0, 0.0, 0.0)))["when"]
    assert isinstance(step, DateStep)
    assert step.parts == parts


def test_an_impossible_date_stops_with_its_line_or_is_skipped(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = [f"2024-{i % 12 + 1:02d}-{i % 28 + 1:02d},{i % 5},{i % 2}" for i in range(60)]
    rows[30] = "2024-02-31,1,0"
    (tmp_path / "t.csv").write_text("when,x,label\n" + "\n".join(rows) + "\n")
    assert main(["fit", "t.csv", "--label", "label"]) == 2
    err = capsys.readouterr().err
    assert "t.csv, line 32, column 'when': expected a date such as '2024-12-31', got '2024-02-31'" in err
    assert err.count("\n") == 1
    data = steepest.read_table("t.csv", "label", on_bad_row="skip")
    assert len(data) == 59
    assert "1 row with dates that cannot be: skipped" in told(data)
    marks = {"when": ["2024-02-31"]}
    assert steps_of(steepest.read_table("t.csv", "label", missing_in=marks, parts=(1.0, 0.0, 0.0, 0.0)))["when"].flagged


def test_booleans_stay_categories_and_dates_of_frames_are_dates() -> None:
    days = pl.date_range(pl.date(2020, 1, 1), pl.date(2020, 3, 30), eager=True)[:80]
    frame = pl.DataFrame({"on": days, "member": np.arange(80) % 3 == 0, "label": np.arange(80) % 2})
    found = steps_of(steepest.read_table(frame, "label"))
    assert isinstance(found["member"], CategoryStep)
    assert found["member"].categories == ("false", "true")
    assert isinstance(found["on"], DateStep)


def test_few_categories_have_places_and_more_have_numbers() -> None:
    rng = np.random.default_rng(0)
    for count, kind in ((32, CategoryStep), (33, CodeStep)):
        cells = [f"k{i}" for i in [*range(count), *range(count), *rng.integers(0, count, 334)]]
        frame = pl.DataFrame({"k": cells, "label": np.arange(len(cells)) % 2})
        data = steepest.read_table(frame, "label", parts=(1.0, 0.0, 0.0, 0.0))
        assert isinstance(steps_of(data)["k"], kind)
        assert bool(data.form.codes) == (kind is CodeStep)


def test_a_thousand_categories_of_which_rare_ones_are_others(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    cells = [f"k{i}" for i in rng.integers(0, 1000, 3000)]
    frame = pl.DataFrame({"k": cells, "x": rng.random(3000), "label": [int(c[-1]) % 2 for c in cells]})
    frame.write_csv(tmp_path / "t.csv")
    data = steepest.read_table(tmp_path / "t.csv", "label")
    step = steps_of(data)["k"]
    train = [cells[i] for i in data.parts["train"]]
    assert set(step.categories) == {c for c in train if train.count(c) > 1}
    codes = data.part("train", by="x").inputs[:, 0].long().tolist()  # type: ignore[call-overload,index]
    assert codes == [step.categories.index(c) + 1 if c in step.categories else 0 for c in train]
    assert data.form == Form("table", (2,), codes=((0, step.count),), numbers=(1,))
    run = steepest.fit(data, recipe=steepest.Recipe(steepest.adam(0.01), batch=128, epochs=8), record=False)
    assert run.metrics["accuracy"] > 0.7


def test_words_that_stand_out_equal_scikit_learns() -> None:
    from sklearn.feature_extraction.text import TfidfVectorizer

    from steepest.data.columns import Column
    from steepest.data.kinds import words_of

    texts = [*sentences(300), "", "nothing of these"]
    column = Column("note", "text", np.array([*texts, None], dtype=object))
    step = fit_words(column)
    assert step is not None
    ours = np.zeros((len(texts) + 1, step.width), dtype=np.float32)
    step.write(ours, column, "standard")
    theirs = TfidfVectorizer(vocabulary=list(step.words), analyzer=lambda text: words_of(pl.Series([text]))[0].to_list())
    np.testing.assert_allclose(ours, theirs.fit_transform([*texts, ""]).toarray(), atol=1e-6)


def test_text_alone_is_text_and_names_stay_left_out() -> None:
    label = ["no", "yes"] * 60
    alone = steepest.read_table(pl.DataFrame({"note": sentences(120), "label": label}), "label")
    assert alone.kind == "text"
    assert len(encode_rows(pl.DataFrame({"note": ["a fine film", "dull"]}), alone.preprocessing)) == 2
    named = pl.DataFrame({"name": [f"person {i}" for i in range(120)], "x": np.arange(120) % 9, "label": label})
    assert "120 distinct texts in name: left out" in told(steepest.read_table(named, "label"))


@pytest.mark.data
def test_titles_in_names_help_on_titanic(real_data: Path) -> None:
    data = steepest.read_table(real_data / "titanic" / "train.csv", "Survived")
    assert {"mr", "miss", "master"} <= set(steps_of(data)["Name"].words)
    assert "distinct texts in Ticket: left out" in told(data)
    assert steepest.cross_validate(data, progress=False).mean["accuracy"] >= 0.8


def test_preprocessing_sees_the_training_part_alone() -> None:
    """Whatever stands in the other parts, every step is the same."""
    frame = mixed()
    data = steepest.read_table(frame, "label")
    rows = [row for name in PARTS[1:] for row in data.parts[name].tolist()]
    other = frame.to_dicts()
    for i, row in enumerate(rows):
        strange = {"size": 1e6, "colour": f"c{i % 3}", "shop": f"new {i % 9}", "when": "1999-01-01 00:00"}
        other[row] |= strange | {"note": f"quite other words here and words n{i}"}
    changed = steepest.read_table(pl.DataFrame(other), "label")
    assert {type(step) for step in steps_of(changed).values()} == {NumberStep, CategoryStep, CodeStep, DateStep, TextStep}
    assert all(np.array_equal(changed.parts[name], data.parts[name]) for name in PARTS)
    assert changed.preprocessing == data.preprocessing


# -- rows bound to parts ----------------------------------------------------------------------------------------------


def visits(count: int = 300) -> pl.DataFrame:
    rng = np.random.default_rng(1)
    days = np.datetime64("2018-01-01") + rng.integers(0, 1500, count).astype("m8[D]")
    return pl.DataFrame(
        {
            "patient": [f"p{i}" for i in rng.integers(0, 40, count)],
            "day": days,
            "year": days.astype("M8[Y]").astype(int) + 1970,
            "x": rng.random(count).round(3),
            "label": rng.choice(["no", "yes"], count),
        }
    )


def test_rows_of_a_group_stay_in_one_part_and_in_one_fold() -> None:
    frame = visits()
    data = steepest.read_table(frame, "label", group="patient")
    patients = [set(frame["patient"].gather(data.parts[name]).to_list()) for name in PARTS]
    assert sum(map(len, patients)) == len(set.union(*patients)) == 40
    assert [data.size(name) / 300 for name in PARTS] == pytest.approx([0.6, 0.15, 0.15, 0.1], abs=0.05)
    assert "patient" not in data.inputs.names("category")  # type: ignore[attr-defined]
    assert "1 column in patient: left out: it groups the rows" in told(data)
    assert data.groups is not None
    lean = data.only("train", "validation", by="x")
    assert np.array_equal(np.unique(lean.groups), np.unique(data.groups[np.r_[data.parts["train"], data.parts["validation"]]]))
    steepest.cross_validate(data, steepest.Recipe(steepest.adam(), epochs=1, patience=1), folds=3, progress=False)
    with pytest.raises(steepest.InputError, match="folds must be between 2 and"):
        steepest.cross_validate(data, folds=50)
    folds = split_rows(np.arange(300), None, (0.25,) * 4, 0, data.groups)
    assert len({g for fold in folds for g in set(data.groups[fold])}) == sum(len(set(data.groups[fold])) for fold in folds)


def test_rows_without_a_group_are_groups_of_their_own() -> None:
    frame = visits().with_columns(patient=pl.when(pl.col("x") < 0.5).then(None).otherwise(pl.col("patient")))
    data = steepest.read_table(frame, "label", group="patient")
    assert len(np.unique(data.groups)) == frame["patient"].drop_nulls().n_unique() + frame["patient"].null_count()


def test_few_groups_fill_every_part_or_are_too_few() -> None:
    frame = pl.DataFrame({"g": np.repeat(["a", "b", "c", "d"], 30), "x": np.arange(120) % 11, "label": np.arange(120) % 2})
    assert all(steepest.read_table(frame, "label", group="g").size(name) == 30 for name in PARTS)
    with pytest.raises(steepest.InputError, match="3 groups are too few to split"):
        steepest.read_table(frame[:90], "label", group="g")


def test_a_group_with_test_rows_leaves_its_other_rows_out(tmp_path: Path) -> None:
    frame = visits()
    data = steepest.read_table(frame, "label", group="patient", test_where="x>=0.95")
    tested = frame.filter(pl.col("x") >= 0.95)["patient"]
    torn = frame.filter((pl.col("x") < 0.95) & pl.col("patient").is_in(tested.unique().to_list())).height
    assert data.size("test") == len(tested)
    assert sum(data.size(name) for name in PARTS) == 300 - torn
    assert f"{torn} rows of a group that has test rows: left out" in told(data)
    frame[:50].write_csv(tmp_path / "test.csv")
    both = steepest.read_table(frame[50:], "label", group="patient", test=tmp_path / "test.csv")
    assert not set(both.groups[both.parts["test"]]) & set(both.groups[both.parts["train"]])  # type: ignore[index]


def test_parts_follow_each_other_in_time_however_the_rows_lie(tmp_path: Path) -> None:
    frame = visits().with_columns(day=pl.when(pl.col("x") < 0.02).then(None).otherwise(pl.col("day").cast(pl.String)))
    frame.write_csv(tmp_path / "t.csv")
    data = steepest.read_table(tmp_path / "t.csv", "label", time="day")
    days = [data.inputs["day"].values[data.parts[name]] for name in PARTS]  # type: ignore[index]
    assert all(before.max() < after.min() for before, after in pairwise(days))
    assert [len(part) / len(data) for part in days] == pytest.approx([0.6, 0.15, 0.15, 0.1], abs=0.02)
    absent = frame["day"].null_count()
    assert f"{absent} rows without a time in day: left out" in told(data)
    assert len(data) == 300 - absent
    with pytest.raises(steepest.InputError, match="its parts follow each other in time"):
        steepest.cross_validate(data)
    with pytest.raises(steepest.InputError, match=r"5 different times are too few|the certificate part is empty"):
        steepest.read_table(visits(), "label", time="year")


@pytest.mark.parametrize(
    ("condition", "expected"),
    [
        ("year>=2021", lambda f: f["year"] >= 2021),
        ("day>=2021-01-01", lambda f: f["year"] >= 2021),
        ("day >= 2021", lambda f: f["year"] >= 2021),
        ("patient=p7", lambda f: f["patient"] == "p7"),
        ("x<0.1", lambda f: f["x"] < 0.1),
    ],
)
def test_rows_of_the_test_part_by_a_condition(condition: str, expected: Any) -> None:
    frame = visits()
    for shown in (frame, frame.with_columns(pl.all().cast(pl.String))):
        data = steepest.read_table(shown, "label", test_where=condition)
        assert data.parts["test"].tolist() == expected(frame).arg_true().to_list()
        assert data.test_given


WRONG: dict[str, tuple[dict[str, Any], str]] = {
    "no such group": ({"group": "patiend"}, "unknown group column 'patiend'; did you mean 'patient'?"),
    "no such time": ({"time": "dya"}, "unknown time column 'dya'; did you mean 'day'?"),
    "no times": ({"time": "patient"}, "the column 'patient' holds no times"),
    "both": ({"time": "day", "group": "patient"}, "by group or in the order of time, not both"),
    "no condition": ({"test_where": "year"}, "expected a condition such as"),
    "another kind": ({"test_where": "year>=soon"}, "year holds values such as 2019; 'soon' is not one of that kind"),
    "no rows": ({"test_where": "year>2050"}, "no row is a test row by 'year>2050'"),
    "all rows": ({"test_where": "year>1900"}, "all 300 rows are test rows"),
    "two test parts": ({"test_where": "year>2020", "test": "t.csv"}, "a file or the rows of a condition, not both"),
    "the label as group": ({"group": "label"}, "the label 'label' cannot be dropped"),
}


@pytest.mark.parametrize("name", WRONG)
def test_what_cannot_bind_rows_is_one_line(name: str) -> None:
    options, message = WRONG[name]
    with pytest.raises(steepest.InputError) as caught:
        steepest.read_table(visits(), "label", **options)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_the_command_line_binds_rows(capsys: pytest.CaptureFixture[str]) -> None:
    visits().write_csv("t.csv")
    for options in (["--group", "patient"], ["--time", "day"], ["--test-where", "year>=2021"]):
        assert main(["fit", "t.csv", "--label", "label", *options, "--epochs", "1", "--quiet"]) == 0, capsys.readouterr().err


# -- what the report warns of -----------------------------------------------------------------------------------------


def test_columns_that_give_the_label_away_are_told() -> None:
    rng = np.random.default_rng(0)
    label = rng.integers(0, 3, 200)
    frame = pl.DataFrame(
        {
            "copy": label,
            "said": np.array(["low", "middle", "high"])[label],
            "nearly": np.where(rng.random(200) < 0.02, 0, label),
            "x": rng.random(200).round(3),
            "label": label,
        }
    )
    data = steepest.read_table(frame, "label")
    ordered = steepest.read_table(frame.sort("label"), "label")
    assert sum(finding.what.startswith("warning") for finding in ordered.cleaning.findings) == 2
    warned = [finding.column for finding in data.cleaning.findings if finding.what.startswith("warning")]
    assert warned == ["copy", "said"]
    assert "add --drop said" in told(data)
    y = rng.normal(size=200)
    numbers = pl.DataFrame({"fahrenheit": y * 1.8 + 32, "root": np.cbrt(y), "x": rng.random(200), "celsius": y})
    data = steepest.read_table(numbers, "celsius")
    assert [f.column for f in data.cleaning.findings if f.what.startswith("warning")] == ["fahrenheit"]
    again = steepest.read_table(pl.concat([numbers, numbers[:20]]), "celsius")  # whole rows that come again prove nothing
    assert [f.column for f in again.cleaning.findings if f.what.startswith("warning")] == ["fahrenheit"]


def test_rows_shared_by_two_parts_are_counted() -> None:
    rng = np.random.default_rng(0)
    frame = pl.DataFrame({"x": rng.random(100), "c": rng.choice(["a", "b"], 100), "label": rng.integers(0, 2, 100)})
    data = steepest.read_table(pl.concat([frame, frame[:30]]), "label", test=frame[:20])
    assert "20 rows of the test part equal to a row of the train part: kept" in told(data) or data.size("train") < 100
    rows = pl.concat([frame, frame[:30], frame[:20]]).rows()
    train = {rows[i] for i in data.parts["train"]}
    for name in PARTS[1:]:
        count = sum(rows[i] in train for i in data.parts[name])
        assert (f"{count} row{'s' * (count != 1)} of the {name} part equal to a row of the train part" in told(data)) == (
            count > 0
        )


@pytest.mark.parametrize(("counts", "warned"), [((180, 20), True), ((150, 50), False), ((60,) * 6, False), ((90, 90, 9), True)])
def test_rare_classes_are_told(counts: tuple[int, ...], warned: bool) -> None:
    label = np.repeat([f"class {i}" for i in range(len(counts))], counts)
    frame = pl.DataFrame({"x": np.random.default_rng(0).random(len(label)), "label": label})
    data = steepest.read_table(frame, "label")
    assert ('class_weights="balanced"' in told(data)) == warned
    if warned:
        loss = "binary_cross_entropy" if len(counts) == 2 else "cross_entropy"
        assert f"{loss}(class_weights=" in told(data)
        objective = getattr(steepest, loss)(class_weights="balanced")
        steepest.fit(data, recipe=steepest.Recipe(steepest.sgd(0.1), objective=objective, epochs=1), record=False)


def test_a_label_of_the_test_file_alone_stops_or_is_skipped(tmp_path: Path) -> None:
    frame = visits()
    test = frame[:20].with_columns(label=pl.Series(["maybe", *["yes", "no"] * 8, "maybe", None, "no"]))
    with pytest.raises(steepest.InputError, match="label 'maybe' does not occur in the training file"):
        steepest.read_table(frame[20:], "label", test=test[:18])
    test = test.with_columns(x=pl.when(pl.col("x") == test["x"][2]).then(pl.lit("oops")).otherwise(pl.col("x").cast(pl.String)))
    data = steepest.read_table(frame[20:], "label", test=test, on_bad_row="skip")
    assert data.size("test") == 16
    for line in (
        "2 rows with a label that the training file lacks",
        "file with a missing label",
        "1 row of the test file with",
    ):
        assert line in told(data)


def test_a_label_that_only_later_rows_have_stops_or_is_skipped() -> None:
    frame = visits().with_columns(label=pl.when(pl.col("year") >= 2021).then(pl.lit("new")).otherwise(pl.col("label")))
    late = frame["year"].to_numpy() >= 2021
    with pytest.raises(steepest.InputError, match="no training row has the label 'new' of 'label'"):
        steepest.read_table(frame, "label", test_where="year>=2021")
    keep = frame.filter(pl.Series(~late | (np.cumsum(late) < 20)))
    data = steepest.read_table(
        keep.with_columns(label=pl.when(pl.col("x") < 0.5).then(pl.col("label")).otherwise(pl.lit("no"))),
        "label", test_where="year>=2021", on_bad_row="skip",
    )  # fmt: skip
    assert data.targets.classes == ("no", "yes")
    assert "rows with a label that no training row has in label: skipped" in told(data)
    assert set(data.part("test", by="x").targets.tolist()) <= {0, 1}


# -- files as people have them ----------------------------------------------------------------------------------------


def test_lines_in_another_encoding_are_read_and_the_rest_is_left_alone(tmp_path: Path) -> None:
    lines = [f"Zürich {i % 4},{i},{i % 2}".encode("latin-1" if i in (5, 9) else "utf-8") for i in range(60)]
    (tmp_path / "t.csv").write_bytes(b"\xef\xbb\xbfort,x,label\n" + b"\n".join(lines))
    data = steepest.read_table(tmp_path / "t.csv", "label")
    assert set(data.inputs["ort"].values) == {f"Zürich {i}" for i in range(4)}  # type: ignore[index]
    assert "2 lines not UTF-8 (first: line 7); read as Latin-1" in told(data)
    text = b"".join(b"\n" + line for line in lines[:5]).decode()
    (tmp_path / "u.csv").write_bytes(("ort,x,label" + text).encode("utf-16"))
    assert read_frame(tmp_path / "u.csv").frame["ort"][0] == "Zürich 0"
    (tmp_path / "u.csv").write_bytes(b"\xff\xfea")
    with pytest.raises(steepest.InputError, match="begins as UTF-16 but is not"):
        read_frame(tmp_path / "u.csv")


def test_quotes_line_feeds_and_blank_lines_are_read_as_csv_says(tmp_path: Path) -> None:
    """Rows, cells and line numbers equal those of what Python's csv module wrote."""
    rng, path = random.Random(0), tmp_path / "t.csv"
    cells = ["a", "", "x,y", 'q"u"o', "l1\nl2", "é", " b ", '"', "1"]
    for _ in range(200):
        rows = [["k", *rng.choices(cells, k=2)] for _ in range(rng.randint(1, 6))]
        text, lines = io.StringIO(newline=""), []
        writer = csv.writer(text, lineterminator=rng.choice(["\n", "\r\n"]))
        writer.writerow(["h1", "h2", "h3"])
        for row in rows:
            text.write("\n" * rng.randint(0, 1))
            lines.append(text.getvalue().count("\n") + 1)
            writer.writerow(row)
        path.write_bytes(text.getvalue().encode())
        found = read_frame(path)
        assert [[cell or "" for cell in row] for row in found.frame.rows()] == rows
        assert found.lines.tolist() == lines


def test_quotes_in_the_middle_of_a_field_are_only_marks(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text('pipe,x\n5" pipe,1\n"a\nb",2\n6" pipe,3\n')
    found = read_frame(tmp_path / "t.csv")
    assert found.frame.rows() == [('5" pipe', "1"), ("a\nb", "2"), ('6" pipe', "3")]
    assert found.lines.tolist() == [2, 3, 5]
    (tmp_path / "t.csv").write_text('pipe,x\n5" pipe,1\n"a" b,2\n')
    with pytest.raises(steepest.InputError, match="line 3: not readable as csv"):
        read_frame(tmp_path / "t.csv")


def test_numbers_beyond_reach_are_skipped_too(tmp_path: Path) -> None:
    rows = [f"{i},{'inf' if i == 7 else i % 7},{i % 2}" for i in range(60)]
    (tmp_path / "t.csv").write_text("a,b,label\n" + "\n".join(rows))
    data = steepest.read_table(tmp_path / "t.csv", "label", on_bad_row="skip")
    assert len(data) == 59
    assert "1 row with numbers that are not finite: skipped" in told(data)


NOTATIONS = [
    (["1.234,56", "16,88", "-3"], "", "1.234,5", [1234.56, 16.88, -3]),
    (["16.88 €", "€1,200.50", "3"], "", "€1,234.5", [16.88, 1200.5, 3]),
    (["-$1,234", "$-7.50", "$ .5"], "", "$1,234.5", [-1234, -7.5, 0.5]),
    (["12%", "13.5 %"], "", "1,234.5%", [12, 13.5]),
    (["1\u202f234,5", "12 000", "3"], "", "1 234,5", [1234.5, 12000, 3]),
    (["1’234.50", "2"], "", "1'234.5", [1234.5, 2]),
    (["1,234", "999"], ",", "1,234.5", [1234, 999]),
    (["1,234", "999"], ";", "1.234,5", [1.234, 999]),
    (["1,234,567", "999"], ";", "1,234.5", [1234567, 999]),
    (["1,234", "12345"], ",", "1.234,5", [1.234, 12345]),  # a file that sets thousands apart does so everywhere
    (["0,123", "1,234"], ",", "1.234,5", [0.123, 1.234]),
    (["1.234.567", "12"], "", "1.234,5", [1234567, 12]),
]


@pytest.mark.parametrize(("cells", "delimiter", "notation", "numbers"), NOTATIONS)
def test_numbers_in_other_notations_are_read(cells: list[str], delimiter: str, notation: str, numbers: list[float]) -> None:
    column = pl.Series([*cells, None])
    assert number_notation(column, delimiter) == notation
    assert as_numbers(column, notation).to_list() == [*numbers, None]


@pytest.mark.parametrize(
    "cells",
    [["12", "0.5"], ["12.5", "12,5"], ["$5", "€6"], ["12%", "0.12"], ["555 123 456", "030 123 457"], ["555 123 456"] * 3,
     ["1,2,3", "1,2"], ["2024-01-31"], ["1.2.2024"], ["12:30"], ["a1", "b2"]],
)  # fmt: skip
def test_what_is_no_one_notation_is_left_alone(cells: list[str]) -> None:
    assert number_notation(pl.Series(cells)) == ""


def amounts(count: int = 300) -> tuple[np.ndarray, list[str]]:
    """Prices, and the lines of a file that holds them, their shares and totals, as Germans write them."""
    price = np.random.default_rng(0).integers(100, 400_000, count) / 100
    written = [f"{value:,.2f}".translate(str.maketrans(",.", ".,")) for value in price]
    totals = [f"{2 * value + i % 7:,.2f} €".translate(str.maketrans(",.", ".,")) for i, value in enumerate(price)]
    return price, ["price;share;total", *(f"{a};{i % 90}%;{b}" for i, (a, b) in enumerate(zip(written, totals, strict=True)))]


def test_a_decimal_comma_is_kept_with_the_model_and_told(tmp_path: Path) -> None:
    price, lines = amounts()
    (tmp_path / "prices.csv").write_text("\n".join(lines))
    (tmp_path / "later.csv").write_text("\n".join([lines[0], "7,5;8%;15,00", "8;9%;1.016,00"]))
    data = steepest.read_table(tmp_path / "prices.csv", "total", test=tmp_path / "later.csv")
    assert data.targets.kind == "regression"
    assert data.targets.values[:300] == pytest.approx(2 * price + np.arange(300) % 7)
    assert data.targets.values[300] == 15
    assert data.inputs["price"].values[:301] == pytest.approx([*price, 7.5])  # type: ignore[index]
    told = {finding.column: f"{finding.what}: {finding.action}" for finding in data.cleaning.findings}
    assert told["price"].startswith("numbers with a decimal comma and thousands set apart: read as numbers: '")
    assert told["share"].startswith("numbers with the sign %")
    steps = json.loads(json.dumps(data.preprocessing.to_dict()))
    again = stored.from_dict(steps)
    assert again == data.preprocessing
    row = encode_rows({"price": ["1.000,5"], "share": ["8%"]}, again)
    assert np.array_equal(row, encode_rows({"price": [1000.5], "share": [8]}, again))
    with pytest.raises(steepest.InputError, match=r"row 0, column 'price': expected a number such as '1\.234,5', got '7\.5'"):
        encode_rows({"price": ["7.5"], "share": ["8%"]}, again)
    for step in steps["steps"]:
        del step["pattern"]  # as records of earlier versions were written
    assert [step.pattern for step in stored.from_dict(steps).steps] == ["", ""]  # type: ignore[union-attr]


def test_few_amounts_of_a_label_are_names_of_classes_unless_told_otherwise() -> None:
    frame = pl.DataFrame({"x": np.arange(90) % 7, "rate": ["10%", "20%", "30%"] * 30})
    assert steepest.read_table(frame, "rate").targets.classes == ("10%", "20%", "30%")
    assert set(steepest.read_table(frame, "rate", kind="regression").targets.values) == {10, 20, 30}


def test_a_mistake_among_amounts_stops_with_its_line() -> None:
    frame = pl.DataFrame({"price": [*(f"${i}.50" for i in range(60)), "a few"], "y": [i % 2 for i in range(61)]})
    with pytest.raises(steepest.InputError, match="row 60, column 'price': expected a number"):
        steepest.read_table(frame, "y")


def test_classes_that_differ_only_in_capitals_are_told() -> None:
    frame = pl.DataFrame({"x": np.arange(120) % 7, "left": ["yes", "Yes", "no", "maybe"] * 30})
    data = steepest.read_table(frame, "left")
    assert data.targets.num_classes == 4
    told = [str(finding) for finding in data.cleaning.findings if "capitals" in finding.what]
    assert told == [
        "2 warning: classes that differ only in capitals in left: kept apart, such as 'Yes' and 'yes'; if they mean the same, "
        "write them alike"
    ]
    assert "capitals" not in str(steepest.read_table(frame.filter(pl.col("left") != "Yes"), "left").cleaning)
