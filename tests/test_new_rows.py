"""New rows for a trained model: read as the training data came, and what cannot be predicted said in a line."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

import steepest
from steepest import records
from steepest.cli import main
from steepest.data import stored
from steepest.data.reading import RawTable
from steepest.data.times import date_pattern, times_ahead

QUICK = steepest.Recipe(steepest.adamw(0.02), batch=16, epochs=4)
PHRASES = {"good": ("a fine, warm film", "warm and funny\nthroughout"), "bad": ("a dull, cold film", "cold and\nloud indeed")}


def told(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> tuple[int, str, str]:
    capsys.readouterr()
    code = main(arguments)
    out, err = capsys.readouterr()
    return code, out, err


def refused(arguments: list[str], capsys: pytest.CaptureFixture[str], *expected: str) -> None:
    """Check that a command is answered by one line, and by nothing else."""
    code, out, err = told(arguments, capsys)
    assert (code, out, err.count("\n")) == (2, "", 1)
    for piece in expected:
        assert piece in err
    assert len(err) < 1_000


def texts(count: int = 120) -> pl.DataFrame:
    labels = [("good", "bad")[i % 2] for i in range(count)]
    words = [f"{PHRASES[label][i % 4 // 2]} of {i % 5} or {i}" for i, label in enumerate(labels)]
    return pl.DataFrame({"number": range(1, count + 1), "review": words, "verdict": labels})


# -- texts ------------------------------------------------------------------------------------------------------------


@pytest.fixture
def reviewer() -> steepest.Run:
    texts().write_csv("reviews.csv")
    run = steepest.fit(steepest.task("reviews.csv", label="verdict"), QUICK)
    assert run.interface.preprocessing.form.kind == "text"
    return steepest.load_run(str(run.id))


@pytest.mark.parametrize("name", ["new.csv", "new.parquet"])
def test_texts_of_a_table_are_read_from_their_column(
    name: str, reviewer: steepest.Run, capsys: pytest.CaptureFixture[str]
) -> None:
    new = pl.DataFrame({"author": ["good"] * 4, "review": ['dull, cold\nand "loud"', "a fine, warm film", None, "NA"]})
    new.write_csv(name) if name.endswith("csv") else new.write_parquet(name)
    expected = reviewer.predict_proba(['dull, cold\nand "loud"', "a fine, warm film", "", ""])
    found = reviewer.predict_file(name)
    assert found["prediction"].to_list()[:2] == ["bad", "good"]
    np.testing.assert_allclose(found["probability of bad"], expected[:, 0])
    code, out, _ = told(["predict", "last", name], capsys)
    assert (code, len(out.splitlines())) == (0, 5)
    for rows in (new, {"review": new["review"].to_list()}, new.to_dicts()):
        np.testing.assert_array_equal(reviewer.predict_proba(rows), expected)
    with pytest.raises(steepest.InputError, match="lacks the column 'review'"):
        reviewer.predict({"text": ["fine"]})
    new.drop("review").write_csv("other.csv")
    refused(["predict", "last", "other.csv"], capsys, "other.csv: lacks the column 'review' that the model was trained on")


def test_a_blank_line_in_a_table_of_one_column_is_asked_about(
    reviewer: steepest.Run, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("new.csv").write_text("review\nfine\n\ndull\n")
    refused(["predict", "last", "new.csv"], capsys, "new.csv, line 3 is blank", 'write "" where it is one')
    Path("new.csv").write_text('review\nfine\n""\ndull\n\n')
    assert reviewer.predict_file("new.csv").height == 3


def test_records_of_before_do_not_name_the_column(reviewer: steepest.Run) -> None:
    kept = reviewer.interface.preprocessing.to_dict()
    assert stored.from_dict(kept) == reviewer.interface.preprocessing
    del kept["column"], kept["reading"]
    reviewer.interface.preprocessing = stored.from_dict(kept)
    with pytest.raises(steepest.InputError, match="give a table of that column alone"):
        reviewer.predict_file("reviews.csv")
    texts(6).select("review").write_csv("new.csv")
    assert reviewer.predict_file("new.csv")["prediction"].to_list() == ["good", "bad"] * 3


def test_new_lines_may_have_labels_as_those_of_training(capsys: pytest.CaptureFixture[str]) -> None:
    lines = [
        f"{label} {text} {i % 5}".replace("\n", " ") for i in range(30) for label, both in PHRASES.items() for text in both
    ]
    Path("reviews.txt").write_text("\n".join(lines) + "\n")
    run = steepest.fit(steepest.task("reviews.txt"), QUICK)
    assert run.facts["task"] == "reviews"
    expected = run.predict_proba(["a dull film", "", "so warm", ""])
    for content in (
        "a dull film\n\nso warm\n\n",
        "good a dull film\n\nbad so warm\n\n",
        "good a dull film\r\n\r\ngood so warm\n\n",
    ):
        Path("new.txt").write_bytes(content.encode())
        np.testing.assert_array_equal(run.predict_file("new.txt")["probability of bad"], expected[:, 0])
    Path("new.txt").write_text("good a film\nbad one\n\nbad\ngood x\n")
    refused(["predict", "last", "new.txt"], capsys, "new.txt, line 4: expected a label and a text, as on 3 of 4 lines")
    Path("new.txt").write_text("\n \n")
    refused(["predict", "last", "new.txt"], capsys, "new.txt is empty (only blank lines)")


@pytest.mark.parametrize("rows", [None, 3, b"fine", Path("reviews.csv"), [None], [["fine"]], [], {}, {"review": []}])
def test_what_is_no_text_is_one_line(rows: Any, reviewer: steepest.Run) -> None:
    with pytest.raises(steepest.InputError) as caught:
        reviewer.predict(rows)
    assert "\n" not in str(caught.value)


# -- tables -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("label", ["kind", "amount"])
def test_a_number_that_float32_does_not_hold_once_scaled(label: str, capsys: pytest.CaptureFixture[str]) -> None:
    rows = [f"{i % 9},{i % 7},{'yes' if i % 2 else 'no'},{i * 0.37}" for i in range(90)]
    Path("t.csv").write_text("\n".join(["a,b,kind,amount", *rows]))
    steepest.fit(steepest.task("t.csv", label=label), QUICK)
    Path("new.csv").write_text("a,b,kind,amount\n1,2,yes,3\n1e99,2,no,3\n")
    beyond = "column 'a': 1e+99 is beyond what float32 holds after scaling; correct or remove the row"
    refused(["predict", "last", "new.csv"], capsys, f"new.csv, line 3, {beyond}")
    with pytest.raises(steepest.InputError, match=r"rows, row 1, column 'a': 1e\+99 is beyond"):
        steepest.load_run("last").predict(pl.read_csv("new.csv"))
    Path("new.csv").write_text("a,b,kind,amount\n1,2,yes,3\n1e38,-3e38,no,3\n")
    code, out, err = told(["predict", "last", "new.csv"], capsys)
    assert "nan" not in out.lower()
    assert code == 0 or "row 1 (from 0) is so far from the training data" in err


def test_a_run_that_diverged_predicts_nothing() -> None:
    run = steepest.fit("iris", steepest.Recipe(steepest.sgd(1e30), epochs=2))
    assert run.status == "diverged"
    with pytest.raises(steepest.InputError, match="has diverged before it had learned anything"):
        run.predict(np.zeros((2, 4)))


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("d,a,b\n2024-13-01,1,2\n", "line 2, column 'd': expected a date such as '2024-12-31', got '2024-13-01'; correct it\n"),
        ("d,a,b\n2024-01-01,1\n", "line 2: expected 3 fields, got 2; correct the line\n"),
        (
            "1,2,3\n2024-01-01,1,2\n",
            "expected column names, got numbers (1, 2, 3, ...); write those of the training data there\n",
        ),
        ("d,a,a\n2024-01-01,1,2\n", "two columns are called 'a'; rename one\n"),
        ("d,a,b\n2024-01-01,x,2\n", "column 'a': expected a number, got 'x'; correct it\n"),
        (f"d,a,b\n2024-01-01,{'x' * 10**6},2\n", f"expected a number, got '{'x' * 40}…'; correct it\n"),
        ("d,b\n2024-01-01,2\n", "new.csv lacks the column 'a' that the model was trained on (it has d, b)\n"),
    ],
)
def test_what_is_wrong_in_new_rows_is_said_without_options_of_training(
    content: str, expected: str, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [f"2024-01-{i % 28 + 1:02},{i % 9},{i % 7},{'yes' if i % 2 else 'no'}" for i in range(90)]
    Path("t.csv").write_text("\n".join(["d,a,b,kind", *rows]))
    steepest.fit(steepest.task("t.csv", label="kind"), QUICK)
    Path("new.csv").write_text(content)
    refused(["predict", "last", "new.csv"], capsys, expected)


def test_a_cell_may_be_longer_than_the_csv_module_likes() -> None:
    rows = [f'{i},{i % 7} "odd" quote,{"yes" if i % 2 else "no"}' for i in range(60)]
    Path("t.csv").write_text("\n".join(["a,b,label", *rows, f"1,{'x' * 200_000},yes"]))
    assert len(steepest.read_table("t.csv", "label")) == 61


# -- a text that is continued -----------------------------------------------------------------------------------------


@pytest.fixture
def teller() -> steepest.Run:
    Path("story.txt").write_text("the cat sat on the mat.\nthe dog ran to the cat.\n" * 60)
    return steepest.fit(
        steepest.task("story.txt", context=16, model=steepest.lstm(8)), steepest.Recipe(steepest.adamw(0.01), epochs=1)
    )


def test_prompts_that_cannot_be_continued(teller: steepest.Run, capsys: pytest.CaptureFixture[str]) -> None:
    for prompt, expected in (("the Q", "without 'Q'"), ("\udcff", "without '\\udcff'")):
        refused(["predict", "last", "--prompt", prompt], capsys, expected)
    for prompt in (3, b"the", ["the"], None):
        with pytest.raises(steepest.InputError, match="a prompt is a text to continue"):
            teller.generate(prompt)  # type: ignore[arg-type]
    assert told(["predict", "last", "--prompt", "the", "--length", "3"], capsys)[0] == 0
    code, out, _ = told(["predict", "last", "--length", "7"], capsys)
    assert (code, len(out)) == (0, 8)
    refused(["predict", "last", "--prompt", "the", "--out", "f.txt"], capsys, "--out is for predictions of the rows of a file")
    assert not Path("f.txt").exists()
    refused(["predict", "last", "story.txt"], capsys, "continues a text, and story.txt is a file of rows", '--prompt "..."')


def test_options_of_a_text_beside_rows(capsys: pytest.CaptureFixture[str]) -> None:
    run = steepest.fit("iris", QUICK)
    Path("new.csv").write_text("a,b\n1,2\n")
    refused(["predict", "last", "new.csv", "--prompt", "x"], capsys, "--prompt: for a text that is continued")
    refused(
        ["predict", "last", "new.csv", "--length", "5", "--temperature", "1"], capsys, "--length, --temperature: for a text"
    )
    refused(
        ["predict", "last"],
        capsys,
        "predicts rows, not what comes next in a text; name a file of them",
        f"steepest predict {run.id} FILE",
    )


def test_a_prompt_that_the_terminal_cannot_show(teller: steepest.Run) -> None:
    told = subprocess.run(
        [sys.executable, "-m", "steepest", "predict", str(teller.id), "--prompt", b"\xff"], capture_output=True, check=False,
        env=os.environ | {"PYTHONIOENCODING": "utf-8:strict"},
    )  # fmt: skip
    assert (told.returncode, told.stdout, told.stderr.count(b"\n")) == (2, b"", 1)


# -- files ------------------------------------------------------------------------------------------------------------


def test_what_is_wrong_with_a_file_of_rows_names_it(capsys: pytest.CaptureFixture[str]) -> None:
    steepest.fit("iris", QUICK)
    Path("new.csv").write_text("a,b\n1,2\n")
    refused(["predict", "last", "new.csv"], capsys, "new.csv lacks the column 'sepal length (cm)'", "it has a, b")
    refused(["predict", "last", "nowcsv"], capsys, "no such file or folder: nowcsv; did you mean new.csv?")
    refused(["predict", "last", "digits"], capsys, "no such file or folder: digits")
    refused(["predict", "last", "x" * 5_000], capsys, "5000 characters")
    Path("load.csv").write_text("y\n" + "\n".join(str(i % 7) for i in range(200)))
    steepest.fit(steepest.task("load.csv", label="y", horizon=2, window=6), QUICK)
    Path("new.csv").write_text("y\n" + "\n".join("12345"))
    refused(["predict", "last", "new.csv"], capsys, "new.csv: a forecast needs the last 6 steps (got 5)")
    Path("new.csv").write_text("y\n" + "\n".join("123456") + "\n?\n")
    refused(["predict", "last", "new.csv"], capsys, "new.csv, column 'y': a forecast needs steps without missing")
    Path("new.csv").write_text("z\n" + "\n".join("123456"))
    refused(["predict", "last", "new.csv"], capsys, "new.csv lacks the column 'y'")


def test_numbers_have_as_many_digits_as_float32(capsys: pytest.CaptureFixture[str]) -> None:
    run = steepest.fit("diabetes", QUICK)
    data = steepest.task("diabetes").data
    names = [column.name for column in data.inputs.columns]  # type: ignore[attr-defined]
    pl.DataFrame([pl.Series(name, [0.01, 0.02]) for name in names]).write_csv("new.csv")
    code, out, _ = told(["predict", str(run.id), "new.csv"], capsys)
    assert code == 0
    assert all(len(line.replace(".", "")) <= 7 for line in out.splitlines()[1:])
    np.testing.assert_allclose([float(line) for line in out.splitlines()[1:]], run.predict("new.csv"), rtol=1e-6)


@pytest.mark.parametrize(
    ("dates", "ahead"),
    [
        ([f"2024-01-{day:02d} 00:30" for day in range(1, 29)], ["2024-01-29 00:30", "2024-01-30 00:30"]),
        ([f"{1 + month % 12:02d}/15/{2000 + month // 12}" for month in range(28)], ["05/15/2002", "06/15/2002"]),
        (["2023-10-31", "2023-11-30", "2023-12-31"], ["2024-01-31", "2024-02-29"]),
        ([f"{1990 + year}-05-04" for year in range(28)], ["2018-05-04", "2019-05-04"]),
        (["2024-01-01", "2024-01-02", "2024-01-04"], None),
        (["2024-01-01", "2024-01-01", "2024-01-01"], None),
        (["2024-01-01", "2024-01-02"], None),
        ([10, 15, 20], [25, 30]),
        ([0.5, 0.75, 1.0], [1.25, 1.5]),
        ([10, 15, 21], None),
    ],
)
def test_the_times_of_a_forecast(dates: list[Any], ahead: list[Any] | None) -> None:
    raw = RawTable.of(pl.DataFrame({"when": dates, "y": range(len(dates))}), "frame")
    found = times_ahead(raw, "when", date_pattern(raw.frame["when"]), 2)
    assert (found.to_list() if found is not None else None) == ahead
    assert times_ahead(raw, None, None, 2) is None


def test_a_forecast_of_a_file_says_when(capsys: pytest.CaptureFixture[str]) -> None:
    days = pl.date_range(pl.date(2024, 1, 1), pl.date(2024, 7, 1), eager=True)
    frame = pl.DataFrame({"day": days, "y": [i % 7 for i in range(len(days))]})
    frame.write_parquet("load.parquet")
    run = steepest.fit(steepest.task("load.parquet", label="y", horizon=2, window=14), QUICK)
    assert run.predict_file("load.parquet").columns == ["day", "step", "prediction"]
    code, out, _ = told(["predict", "last", "load.parquet"], capsys)
    assert code == 0
    assert [line.split(",")[:2] for line in out.splitlines()] == [["day", "step"], ["2024-07-02", "1"], ["2024-07-03", "2"]]
    frame.gather_every(1).filter(pl.col("day") != pl.date(2024, 7, 1)).write_parquet("new.parquet")
    assert told(["predict", "last", "new.parquet"], capsys)[1].splitlines()[1].startswith("2024-07-01,1,")
    frame[[0, *range(2, frame.height)]].write_parquet("new.parquet")
    assert told(["predict", "last", "new.parquet"], capsys)[1].splitlines()[0] == "step,prediction"


# -- images, arrays, sounds -------------------------------------------------------------------------------------------


def test_images_in_files_are_predicted(capsys: pytest.CaptureFixture[str]) -> None:
    Image = pytest.importorskip("PIL.Image")
    for name, grey in (("night", 20), ("day", 200)):
        Path("photos", name).mkdir(parents=True)
        for i in range(20):
            Image.new("L", (8, 8), grey + i).save(f"photos/{name}/{i}.png")
    run = steepest.fit(steepest.read_images("photos"), QUICK)
    Image.new("RGB", (16, 20), (210, 210, 210)).save("photo.PNG")
    code, out, _ = told(["predict", "last", "photo.PNG"], capsys)
    assert (code, out.splitlines()[1].split(",")[0]) == (0, "day")
    found = run.predict_file("photos")
    assert found["file"].to_list() == sorted(str(path) for path in Path("photos").rglob("*.png"))
    assert found["prediction"].to_list() == ["day"] * 20 + ["night"] * 20
    np.savez("new.npz", X=np.full((2, 8, 8), 20, dtype=np.uint8))
    assert run.predict_file("new.npz")["prediction"].to_list() == ["night"] * 2
    Path("empty").mkdir()
    refused(["predict", "last", "empty"], capsys, "empty holds no image; expected png, jpeg")
    Path("photo.png").write_bytes(b"junk")
    refused(["predict", "last", "photo.png"], capsys, "photo.png is not a readable image")


def test_arrays_of_an_archive_are_predicted(capsys: pytest.CaptureFixture[str]) -> None:
    rng = np.random.default_rng(0)
    for X in (rng.random((60, 3)), rng.random((60, 4, 5))):
        np.savez("t.npz", X=X, y=np.arange(60) % 2)
        run = steepest.fit("t.npz", QUICK)
        np.savez("new.npz", X=X[:7])
        np.testing.assert_array_equal(run.predict_file("new.npz")["prediction"].cast(int), run.predict(X[:7]))
        assert told(["predict", "last", "new.npz"], capsys)[0] == 0
        np.savez("new.npz", Z=X)
        refused(["predict", "last", "new.npz"], capsys, "expected an array X of new rows; it holds Z")


def test_a_folder_without_what_the_model_hears(capsys: pytest.CaptureFixture[str]) -> None:
    tones = np.concatenate([(9_000 * np.sin(np.arange(400) * (0.2, 1.5)[i % 2])).astype(np.int16) for i in range(40)])
    np.savez("t.npz", audio=tones, offsets=np.arange(0, 40 * 400, 400), kind=np.array(["low", "high"] * 20), rate=8_000)
    steepest.fit(steepest.task("t.npz", label="kind", model=steepest.lstm(8)), QUICK)
    Path("pictures").mkdir()
    for name in ("a.png", "b.PNG", "c.txt"):
        (Path("pictures") / name).write_bytes(b"x")
    refused(
        ["predict", "last", "pictures"], capsys, "pictures holds no wav file; expected wav files (got files of .png (2), .txt"
    )


def test_recordings_of_an_archive_are_predicted(capsys: pytest.CaptureFixture[str]) -> None:
    t = np.arange(1600) / 8000
    tones = [(9_000 * np.sin(2 * np.pi * (300, 2000)[i % 2] * (1 + i / 500) * t)).astype(np.int16) for i in range(40)]
    offsets = np.arange(0, 40 * 1600, 1600)
    np.savez("t.npz", audio=np.concatenate(tones), offsets=offsets, kind=np.array(["low", "high"] * 20))
    run = steepest.fit(steepest.task("t.npz", label="kind", model=steepest.lstm(8)), QUICK)
    for ends in (offsets[:6], np.append(offsets[:6], 6 * 1600)):
        np.savez("new.npz", audio=np.concatenate(tones[:6]), offsets=ends)
        assert run.predict_file("new.npz")["prediction"].to_list() == run.predict(tones[:6]).tolist()
    np.savez("new.npz", audio=np.concatenate(tones), offsets=offsets, rate=16_000)
    refused(["predict", "last", "new.npz"], capsys, "expected 8000 samples a second (got 16000)")
    np.savez("new.npz", audio=np.concatenate(tones), offsets=offsets[::-1])
    refused(["predict", "last", "new.npz"], capsys, "offsets must rise from 0")
    np.savez("new.npz", X=np.zeros(3))
    refused(["predict", "last", "new.npz"], capsys, "expected arrays audio and offsets; it lacks audio (it holds X)")


# -- names of files ---------------------------------------------------------------------------------------------------


def test_names_that_are_not_utf_8(capsys: pytest.CaptureFixture[str]) -> None:
    name = os.fsdecode(b"n\xff")
    steepest.fit("iris", QUICK)
    Path(f"{name}.csv").write_text("a\n1\n")
    refused(["predict", "last", f"{name}.csv"], capsys, "'n\\udcff.csv' is not UTF-8")
    with pytest.raises(steepest.InputError, match="is not UTF-8"):
        steepest.read_table(f"{name}.csv", "a")
    book = records.create("run")
    book.append("start", task=f"{name}.csv")
    assert book.first("start")["task"] == f"{name}.csv"  # type: ignore[index]
