"""Texts, plain text and series: read, split, made into rows, trained on, and predicted."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch

import steepest
from steepest.cli import main
from steepest.data import stored
from steepest.data.inputs import Texts
from steepest.data.spelling import COLUMNS, MAX_GRAMS, grams
from steepest.data.texts import UNKNOWN, TextPreprocessing, words
from steepest.defaults import default_recipe
from steepest.forms import Form
from steepest.models.heads import PRIME

GOOD, BAD = ["a fine film", "fine and warm", "warm , funny , fine"], ["a dull film", "dull and cold", "cold , loud , dull"]


@pytest.fixture
def reviews(tmp_path: Path) -> Path:
    lines = [f"{label} {text} {i % 7}" for i in range(40) for label, texts in (("1", GOOD), ("0", BAD)) for text in texts]
    path = tmp_path / "reviews.train"
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def same_after_json(data: steepest.Data) -> bool:
    import json

    return stored.from_dict(json.loads(json.dumps(data.preprocessing.to_dict()))) == data.preprocessing


# -- texts ------------------------------------------------------------------------------------------------------------


def test_texts_become_rows_of_word_numbers(reviews: Path) -> None:
    data = steepest.read_texts(reviews)
    assert (data.kind, len(data), data.targets.classes) == ("text", 240, ("0", "1"))
    assert data.form.vocabulary == len(data.preprocessing.vocabulary)  # type: ignore[attr-defined]
    inputs, targets = data.part("train", by="x").take(torch.tensor([0, 1, 2]))
    assert inputs.dtype == torch.int64
    assert inputs.shape[0] == len(targets) == 3
    assert same_after_json(data)
    assert words("Don't panic, ÉLAN!") == ["don't", "panic", ",", "élan", "!"]


def test_the_vocabulary_is_that_of_the_training_part(reviews: Path) -> None:
    data = steepest.read_texts(reviews)
    before = data.preprocessing
    values = data.inputs.values.copy()  # type: ignore[attr-defined]
    for part in ("validation", "test", "certificate"):
        values[data.parts[part]] = "words nobody has seen before"
    from dataclasses import replace

    changed = replace(data, inputs=replace(data.inputs, values=values))  # type: ignore[type-var]
    assert changed.preprocessing == before
    inputs, _ = changed.part("test", by="x").take(torch.tensor([0]))
    assert (inputs == UNKNOWN).all()


def test_a_text_that_is_not_utf_8_and_a_test_file(tmp_path: Path) -> None:
    train, test = tmp_path / "a.train", tmp_path / "a.test"
    train.write_bytes(b"".join(f"{'pn'[i % 2]} caf\xe9 number {i % 3}\x85 more\n".encode("latin-1") for i in range(60)))
    test.write_text("p cafe\nn number\n")
    data = steepest.task(train, test=str(test)).data
    assert data.size("test") == 2
    assert len(data) == 62  # \x85 ends no line
    assert "Latin-1" in str(data.cleaning)
    test.write_text("p cafe\nq number\n")
    with pytest.raises(steepest.InputError, match="label 'q' does not occur in the training file"):
        steepest.task(train, test=str(test))


def test_byte_pairs(reviews: Path) -> None:
    pytest.importorskip("tokenizers")
    data = steepest.read_texts(reviews, tokens="bpe")
    inputs, _ = data.part("train", by="x").take(torch.arange(4))
    assert inputs.max() < data.form.vocabulary
    assert same_after_json(data)
    with pytest.raises(steepest.InputError, match="tokens must be 'words' or 'bpe'"):
        steepest.read_texts(reviews, tokens="letters")


@pytest.mark.parametrize(
    "model", ["bag_of_words()", "text_cnn(filters=8)", "gru(16)", "transformer(width=16, layers=1, heads=2)", "linear_model()"]
)
def test_texts_are_learned_and_predicted(reviews: Path, model: str, tmp_path: Path) -> None:
    from steepest.recipes import read

    task = steepest.task(reviews, model=read(model))
    run = steepest.fit(task, steepest.Recipe(steepest.adamw(0.01), batch=16, epochs=8), home=tmp_path)
    assert run.metrics["accuracy"] > 0.9
    assert run.predict(["fine , warm", "cold and dull"]).tolist() == ["1", "0"]
    again = steepest.load_run(str(run.id), home=tmp_path)
    rows = ["a warm film", "a loud film indeed , and cold", ""]
    np.testing.assert_allclose(again.predict_proba(rows), run.predict_proba(rows), atol=1e-6)
    np.testing.assert_allclose(run.predict_proba(rows)[0], run.predict_proba(rows[:1])[0], atol=1e-5)  # alone, or beside longer
    with pytest.raises(steepest.InputError, match="this model reads texts"):
        run.predict(np.zeros((2, 3)))


def test_a_spelled_word_is_its_number_its_hash_and_its_runs_of_characters() -> None:
    preprocessing = TextPreprocessing(("(padding)", "(unknown)", "cat"), 5, spelled=True)
    long = "a" * 60
    rows = preprocessing(Texts(np.array(["Cat dog", "", long, "cat " * 9], dtype=object)))
    assert rows.dtype == torch.int64
    found = rows.index_select(0, torch.arange(4))
    assert found.shape == (4, 5, COLUMNS)
    assert preprocessing.form.shape == (5, COLUMNS)
    assert found[0, :3, 0].tolist() == [2, UNKNOWN, 0]  # a word, one that the vocabulary lacks, and padding
    assert found[0, 0].tolist()[1:9] == [crc(text) for text in ("cat", "<ca", "cat", "at>", "<cat", "cat>", "<cat>")] + [0]
    assert found[0, 1].tolist()[1:9] == [crc(text) for text in ("dog", "<do", "dog", "og>", "<dog", "dog>", "<dog>")] + [0]
    assert (found[0, 2:] == 0).all()
    assert found[1, 0].tolist() == [UNKNOWN, crc("")] + [0] * MAX_GRAMS  # a text without a word is one unknown one
    assert found[2, 0].tolist()[1:] == [crc(long), crc("<aa")] + [crc("aaa")] * (MAX_GRAMS - 1)  # cut
    assert (found[3, :, 0] == 2).all()
    assert torch.equal(rows.index_select(0, torch.tensor([0])), found[:1, :2])  # a batch is as long as its longest row


def crc(text: str) -> int:
    import zlib

    return zlib.crc32(text.encode()) + 1


@pytest.mark.parametrize("width", [None, 4])
def test_a_bag_of_words_is_its_formula(width: int | None) -> None:
    torch.manual_seed(0)
    texts = ["the cat sat on the mat", "unheard", "", "a" * 60 + " cat"]
    preprocessing = TextPreprocessing(("(padding)", "(unknown)", "the", "cat", "mat"), 9, spelled=True)
    net = steepest.bag_of_words(width, subwords=50, buckets=70).build(preprocessing.form, 3).eval()
    for p in net.parameters():
        torch.nn.init.normal_(p)
    state = net.state_dict()

    def looked_up(text: str) -> torch.Tensor:
        found = words(text) or [""]
        total = torch.zeros(width or 3)
        for t, word in enumerate(found):
            total += state["words.weight"][
                preprocessing.vocabulary.index(word) if word in preprocessing.vocabulary else UNKNOWN
            ]
            runs = grams(word)
            for run in runs:
                total += state["grams.weight"][crc(run) % 50] / len(runs) ** 0.5
            hashes = [crc(found[t - back]) if back <= t else 0 for back in range(3)]
            two = hashes[0] * PRIME + hashes[1] + 1
            three = ((two * PRIME + hashes[2] + 1) + 2**63) % 2**64 - 2**63  # as 64 bits hold it
            total += state["runs.0.weight"][two % 70] + state["runs.1.weight"][three % 70]
        return total / len(found) ** 0.5

    said = torch.stack([looked_up(text) for text in texts])
    said = said if width is None else said @ state["answer.weight"].T
    said = said + state["answer.bias"]
    rows = preprocessing(Texts(np.array(texts, dtype=object)))
    together = net(rows.index_select(0, torch.arange(4)))
    torch.testing.assert_close(together, said, rtol=1e-5, atol=1e-5)
    for i in range(4):
        torch.testing.assert_close(net(rows.index_select(0, torch.tensor([i]))), together[i : i + 1], rtol=0, atol=1e-6)


def test_spelling_is_read_by_networks_that_ask_for_it_alone(reviews: Path) -> None:
    plain = steepest.read_texts(reviews)
    spelled = plain.spelled
    assert spelled is plain.spelled
    assert (spelled.form.spelled, spelled.form.shape) == (True, (plain.form.shape[0], COLUMNS))
    assert same_after_json(spelled)
    assert steepest.forms.Form.from_dict(spelled.form.to_dict()) == spelled.form
    assert spelled.preprocessing.vocabulary == plain.preprocessing.vocabulary  # type: ignore[attr-defined]
    assert spelled.unspelled.preprocessing == plain.preprocessing
    assert plain.unspelled is plain
    quick = steepest.Recipe(steepest.adamw(0.01), batch=16, epochs=1)
    for model, reads in ((None, True), (steepest.bag_of_words(subwords=0), False), (steepest.gru(8), False)):
        run = steepest.fit(steepest.Task(plain, model=model), quick, record=False)
        assert run.interface.preprocessing.form.spelled is reads
        again = steepest.fit(replace(run.task, model=steepest.linear_model()), quick, record=False)  # type: ignore[type-var]
        assert not again.interface.preprocessing.form.spelled
        if reads:
            with pytest.raises(steepest.InputError, match="reads words by their numbers alone"):
                steepest.gru(8).build(run.interface.preprocessing.form, 1)


def test_a_network_of_ones_own_is_given_spelled_rows_where_the_data_are(reviews: Path) -> None:
    shapes = []

    class Own(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.table = torch.nn.Embedding(1_000, 1)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            shapes.append(x.shape[2:])
            return self.table(x % 1_000).flatten(1).sum(dim=1, keepdim=True)

    quick = steepest.Recipe(steepest.sgd(0.001), batch=16, epochs=1)
    data = steepest.read_texts(reviews)
    for given, shape in ((data, ()), (data.spelled, (COLUMNS,))):
        steepest.fit(steepest.Task(given, model=Own()), quick, record=False)
        assert set(shapes) == {shape}
        shapes.clear()


def test_pieces_are_not_spelled(reviews: Path) -> None:
    data = steepest.read_texts(reviews)
    data.__dict__["preprocessing"] = replace(data.preprocessing, pieces="of a tokenizer")  # type: ignore[type-var]
    assert data.spelled is data
    pytest.importorskip("tokenizers")
    data = steepest.read_texts(reviews, tokens="bpe")
    run = steepest.fit(data, steepest.Recipe(steepest.adamw(0.02), batch=16, epochs=4), record=False)
    assert run.metrics["accuracy"] > 0.9


def test_words_that_nobody_has_seen_are_told_apart_by_their_spelling(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    letters = list("abcdefghij")
    lines = []
    for i in range(600):  # what a word ends with is all there is to learn, and every word occurs once
        label, ending = (("up", "ing"), ("down", "ed"))[i % 2]
        lines.append(f"{label} {''.join(rng.choice(letters, 9))}{ending}")
    path = tmp_path / "endings.txt"
    path.write_text("\n".join(lines) + "\n")
    told = steepest.fit(path, record=False, seed=1)
    assert told.metrics["accuracy"] > 0.95
    assert told.predict(["hijhijfffing", "hijhijfffed"]).tolist() == ["up", "down"]
    one = steepest.fit(steepest.task(path, model=steepest.bag_of_words(subwords=0)), record=False, seed=1)
    assert one.metrics["accuracy"] < 0.7
    assert len(set(one.predict_proba(["hijhijfffing", "hijhijfffed"])[:, 0])) == 1


def test_what_reads_spelling_is_kept_measured_folded_and_raced(reviews: Path, tmp_path: Path) -> None:
    task = steepest.task(reviews)
    quick = steepest.Recipe(steepest.adamw(0.02), batch=16, epochs=2)
    run = steepest.fit(task, quick, home=tmp_path)
    again = steepest.load_run(str(run.id), home=tmp_path)
    rows = ["a finer film", "dullest , coldest", "", "film"]
    np.testing.assert_array_equal(again.predict_proba(rows), run.predict_proba(rows))
    assert steepest.evaluate(run).metrics["accuracy"] == run.metrics["accuracy"]
    assert steepest.evaluate(again, task).metrics["accuracy"] == run.metrics["accuracy"]
    assert steepest.cross_validate(task, quick, folds=3).mean["accuracy"] > 0.9
    gru = replace(quick, model=steepest.gru(8), name="gru")
    aimed = steepest.task(reviews, reach="accuracy >= 0.9")
    result = steepest.race(aimed, [replace(quick, name="bag"), gru], seeds=2, processes=2, home=tmp_path, progress=False)
    assert any(outcome.reached_at is not None for outcome in result.outcomes if outcome.trial.contender == "bag")


# -- plain text -------------------------------------------------------------------------------------------------------


@pytest.fixture
def story(tmp_path: Path) -> Path:
    path = tmp_path / "story.txt"
    path.write_text("the cat sat on the mat.\nthe dog ran to the cat.\n" * 120)
    return path


def test_windows_of_a_text_and_what_follows_them(story: Path) -> None:
    text = story.read_text()
    with pytest.raises(steepest.InputError, match="one class only: every line begins with 'the'"):
        steepest.task(story)
    (story.parent / "song.txt").write_text("".join(f"verse{i} goes on and on\n" for i in range(400)))
    assert steepest.task(story.parent / "song.txt").data.kind == "language"
    data = steepest.task(story, context=16).data
    assert data.targets.describe() == "what comes next"
    alphabet = data.preprocessing.alphabet  # type: ignore[attr-defined]
    inputs, targets = data.part("validation", by="x").take(torch.tensor([0, 1]))
    begin = round(0.6 * len(text))
    assert "".join(alphabet[i] for i in inputs[0]) == text[begin : begin + 16]
    assert "".join(alphabet[i] for i in targets[0]) == text[begin + 1 : begin + 17]
    assert "".join(alphabet[i] for i in inputs[1]) == text[begin + 16 : begin + 32]  # without overlap
    assert same_after_json(data)


def test_parts_of_a_text_follow_each_other_and_workers_get_their_own_alone(story: Path) -> None:
    data = steepest.read_characters(story, context=16)
    ends = [int(data.inputs.begins[data.parts[part]].max()) + 16 for part in ("train", "validation", "test")]  # type: ignore[attr-defined]
    begins = [int(data.inputs.begins[data.parts[part]].min()) for part in ("validation", "test", "certificate")]  # type: ignore[attr-defined]
    assert all(end < begin for end, begin in zip(ends, begins, strict=True))
    lean = data.only("train", by="a worker")
    assert len(lean.inputs.codes) == ends[0] + 1  # type: ignore[attr-defined]
    for rows in (torch.tensor([0, 5]), torch.tensor([3])):
        for mine, whole in zip(lean.part("train", by="x").take(rows), data.part("train", by="x").take(rows), strict=True):
            assert torch.equal(mine, whole)


def test_characters_that_the_training_part_does_not_hold(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("abcab" * 200 + "xyz" * 50)
    data = steepest.task(tmp_path / "a.txt", context=8).data
    assert "150 characters that the training part does not hold" in str(data.cleaning)
    assert data.form.vocabulary == 4
    with pytest.raises(steepest.InputError, match="fewer than a window of 500"):
        steepest.read_characters(tmp_path / "a.txt", context=500)


def test_a_text_that_holds_the_unknown_character_itself(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("ab\ufffdab" * 200 + "xyz" * 50)
    data = steepest.read_characters(tmp_path / "a.txt", context=8)
    assert data.preprocessing.alphabet == "ab\ufffd"  # type: ignore[attr-defined]
    assert data.inputs.codes[-3:].tolist() == [2, 2, 2]  # type: ignore[attr-defined]
    (tmp_path / "b.txt").write_text("\ufffd" * 500)
    with pytest.raises(steepest.InputError, match="holds no character but '\ufffd'; expected a text in UTF-8"):
        steepest.read_characters(tmp_path / "b.txt", context=8)


@pytest.mark.parametrize("model", ["lstm(32, ngrams=2)", "rnn(32)", "transformer(width=32, layers=1, heads=2)"])
def test_a_text_is_learned_and_continued(story: Path, model: str, tmp_path: Path) -> None:
    from steepest.recipes import read

    task = steepest.task(story, context=32, model=read(model))
    run = steepest.fit(task, steepest.Recipe(steepest.adamw(0.01), batch=16, epochs=3), home=tmp_path)
    assert run.metrics["loss"] < 1.2
    assert run.metrics["perplexity"] == pytest.approx(math.exp(run.metrics["loss"]))
    assert run.metrics["bits"] == pytest.approx(run.metrics["loss"] / math.log(2))
    again = steepest.load_run(str(run.id), home=tmp_path)
    told = again.generate("the ", length=20, seed=1)
    assert len(told) == 20
    assert told == run.generate("the ", length=20, seed=1)
    assert run.generate("the ", length=5, temperature=0) == run.generate("the ", length=5, temperature=0, seed=7)
    with pytest.raises(steepest.InputError, match="trained on a text without 'Q'"):
        run.generate("Q")
    with pytest.raises(steepest.InputError, match="has no rows to predict"):
        run.predict(["the cat"])
    assert steepest.evaluate(run).metrics["loss"] == pytest.approx(run.metrics["loss"], rel=1e-5)


# -- series -----------------------------------------------------------------------------------------------------------


def hours(count: int) -> list[str]:
    return [str(np.datetime64("2024-01-01T00:00") + np.timedelta64(i, "h")).replace("T", " ") for i in range(count)]


@pytest.fixture
def load(tmp_path: Path) -> Path:
    t, rng = np.arange(600), np.random.default_rng(0)
    values = 20 + 5 * np.sin(t / 24 * 2 * math.pi) + rng.normal(0, 0.2, 600)
    path = tmp_path / "load.csv"
    pl.DataFrame({"date": hours(600), "wind": rng.normal(size=600).round(3), "load": values.round(3)}).write_csv(path)
    return path


def test_windows_of_a_series_never_forecast_over_a_cut(load: Path) -> None:
    data = steepest.task(load, label="load", horizon=6, window=24, parts=(0.6, 0.2, 0.2, 0.0)).data
    series: Any = data.inputs
    values = pl.read_csv(load)["load"].to_numpy()
    assert series.names == ("load", "wind")  # the label comes first
    for part, begin, end in (("train", 0, 360), ("validation", 360, 480), ("test", 480, 600)):
        rows = data.parts[part]
        first = series.begins[rows] + 24
        assert first.min() >= begin
        assert first.max() + 6 == end
        np.testing.assert_allclose(data.targets.values[rows[0]], values[first[0] : first[0] + 6])
    train = data.part("train", by="x")
    inputs, targets = train.take(torch.tensor([5]))
    assert (tuple(inputs.shape), tuple(targets.shape)) == ((1, 24, 2), (1, 6))
    assert same_after_json(data)
    with pytest.raises(steepest.InputError, match="too few for a window of 24 and 200 ahead"):
        steepest.task(load, label="load", horizon=200, window=24)


def test_a_forecast_beats_the_last_value_and_comes_back_in_units(load: Path, tmp_path: Path) -> None:
    task = steepest.task(load, label="load", horizon=6, window=24, features=("load",))
    run = steepest.fit(task, "adamw(0.003)", home=tmp_path, seed=1)
    test = task.data.parts["test"]
    begins = task.data.inputs.begins[test] + 23  # type: ignore[attr-defined]
    last = task.data.inputs.values[begins, :1]  # type: ignore[attr-defined]
    assert run.metrics["rmse"] < 0.5 * float(np.sqrt(np.square(task.data.targets.values[test] - last).mean()))
    frame = pl.read_csv(load).head(300)
    forecast = run.predict(frame)
    assert forecast.shape == (1, 6)
    assert 10 < forecast.mean() < 30
    table = run.predict_file(load)
    assert table.columns == ["date", "step", "prediction"]
    with pytest.raises(steepest.InputError, match="needs the last 24 steps"):
        run.predict(frame.head(10))


@pytest.mark.parametrize("scaling", ["standard", "robust", "minmax", "none"])
def test_a_label_is_forecast_in_the_units_in_which_it_is_seen(scaling: str) -> None:
    rng = np.random.default_rng(0)
    frame = pl.DataFrame({"walk": 100 + np.cumsum(rng.normal(size=1500)), "other": np.exp(rng.normal(size=1500))})
    data = steepest.read_series(frame, "walk", horizon=6, window=24, scaling=scaling)
    (seen, _), (_, ahead) = (data.part("test", by="x").take(torch.arange(i, i + 20)) for i in (1, 0))
    torch.testing.assert_close(seen[:, -1, 0], ahead[:, 0], atol=1e-4, rtol=0)  # one step, seen and forecast
    run = steepest.fit(data, record=False)
    last = data.inputs.values[data.inputs.begins[data.parts["test"]] + 23, :1]  # type: ignore[attr-defined]
    naive = float(np.sqrt(np.square(data.targets.values[data.parts["test"]] - last).mean()))
    assert run.metrics["rmse"] < 1.15 * naive  # by robust and minmax it was four to fifteen times as much


@pytest.mark.parametrize(
    ("label", "horizon", "window", "message"),
    [
        ("wind", 6, 24, r"a series of names \('load', 'wind'\), other has \('wind', 'load'\)"),
        ("load", 3, 24, "a series of horizon 6, other has 3"),
        ("load", 6, 12, r"rows of shape \(24, 2\), other has \(12, 2\)"),
        ("load", 6, 24, None),
    ],
)
def test_other_data_are_measured_only_where_their_rows_mean_the_same(
    load: Path, label: str, horizon: int, window: int, message: str | None
) -> None:
    run = steepest.fit(steepest.task(load, label="load", horizon=6, window=24), "adamw(0.003)", record=False)
    other = steepest.task(steepest.read_series(load, label, horizon=horizon, window=window, name="other"))
    if message is None:
        assert steepest.evaluate(run, other).metrics["rmse"] == pytest.approx(run.metrics["rmse"])
        return
    with pytest.raises(steepest.InputError, match=message):
        steepest.evaluate(run, other)


def test_logarithms_of_counts_are_no_differences_from_the_last_value(load: Path) -> None:
    task = steepest.Task(steepest.read_series(load, "load", horizon=4), objective=steepest.poisson())
    with pytest.raises(steepest.InputError, match="forecast with mse"):
        steepest.fit(task)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda lines: [*lines[:50], lines[52], lines[51], *lines[53:]], "sort the rows by time"),
        (lambda lines: [*lines[:50], "2024-02-31 00:00,1,2", *lines[51:]], "expected a date such as"),
        (lambda lines: [*lines[:50], lines[50].rsplit(",", 1)[0] + ",warm", *lines[51:]], "expected a number, got 'warm'"),
    ],
)
def test_a_series_that_cannot_be_right(load: Path, change: Any, message: str) -> None:
    load.write_text("\n".join(change(load.read_text().splitlines())) + "\n")
    with pytest.raises(steepest.InputError, match=message) as error:
        steepest.task(load, label="load", horizon=6)
    assert "line 5" in str(error.value)


def test_new_steps_are_read_as_the_training_steps_were(tmp_path: Path) -> None:
    days = [f"{month:02d}/{day:02d}/2024" for month in range(1, 11) for day in range(1, 29)]
    values = 20 + np.sin(np.arange(len(days)))
    lines = [f"{day},{value:.3f}" for day, value in zip(days, values, strict=True)]
    path = tmp_path / "load.csv"
    path.write_text("\n".join(lines) + "\n")
    task = steepest.task(steepest.read_series(path, "c2", horizon=2, window=6, missing=("", "-999"), header=False))
    assert same_after_json(task.data)
    run = steepest.fit(task, "adamw(0.003)", record=False)

    def forecast(*changed: str) -> np.ndarray:
        path.write_text("\n".join(changed) + "\n")
        return run.predict(path)

    assert forecast(*lines[6:12], *lines[28:34]).shape == (1, 2)  # 01/07 to 02/06: by themselves, days could be months
    np.testing.assert_allclose(forecast(*lines[-6:]), run.predict(pl.DataFrame({"c2": values[-6:].round(3)})), rtol=1e-6)
    with pytest.raises(
        steepest.InputError, match="column 'c2': a forecast needs steps without missing values; fill them first"
    ):
        forecast(*lines[:9], lines[9].split(",")[0] + ",-999")
    with pytest.raises(steepest.InputError, match=r"line 9.*'01/08/2024' comes after '01/09/2024'; sort the rows by time$"):
        forecast(*lines[:7], lines[8], lines[7], lines[9])
    with pytest.raises(
        steepest.InputError, match="line 10, column 'c1': expected a date such as '01/01/2024', got '02/31/2024'"
    ):
        forecast(*lines[:9], "02/31/2024,20")


def test_a_series_of_an_earlier_record_is_read_by_defaults() -> None:
    data = steepest.read_series(pl.DataFrame({"y": np.sin(np.arange(100.0))}), "y", horizon=2, window=6)
    now = data.preprocessing.to_dict()
    before = {name: item for name, item in now.items() if name not in ("reading", "time", "pattern")}
    assert stored.from_dict(before) == data.preprocessing


def test_missing_values_of_a_series_are_the_last_ones_seen(load: Path) -> None:
    frame = pl.read_csv(load).with_columns(pl.when(pl.int_range(600) == 10).then(None).otherwise(pl.col("load")).alias("load"))
    data = steepest.read_series(frame, "load", horizon=6)
    values = data.inputs.values  # type: ignore[attr-defined]
    assert values[10, 0] == values[9, 0]
    assert "1 missing value in load" in str(data.cleaning)


def test_gaps_at_the_begin_of_a_series_are_not_filled_from_the_future(load: Path) -> None:
    step, wind = pl.int_range(600), pl.col("wind")

    def data(begin: int) -> steepest.Data:
        hidden = pl.when((step < begin) | (step == 400)).then(None).otherwise(wind).alias("wind")
        return steepest.read_series(pl.read_csv(load).with_columns(hidden), "load", horizon=6, window=24)

    found = data(50)
    values, given = found.inputs.values[:, 1], pl.read_csv(load)["wind"].to_numpy()  # type: ignore[attr-defined]
    np.testing.assert_array_equal(values[:50], np.median(given[50:360]))
    assert values[400] == given[399]
    assert "50 missing values before the first in wind: filled with the training median" in str(found.cleaning)
    assert "1 missing value in wind: filled with the last value before them" in str(found.cleaning)
    data(359)
    with pytest.raises(steepest.InputError, match="the column 'wind' is empty over the training part, the first 360 steps"):
        data(360)


def test_spelling_stays_when_rows_are_dealt_out_anew(reviews: Path) -> None:
    data = steepest.task(reviews).data
    for spelled, given in ((True, data.spelled), (False, data.unspelled)):
        for copy in (given, given.with_parts(given.parts), given.only("train", by="a worker")):
            assert copy.preprocessing.spelled is spelled  # type: ignore[attr-defined]


def test_folds_would_train_on_what_comes_after(story: Path, tmp_path: Path) -> None:
    (tmp_path / "v.csv").write_text("\n".join(["v", *(str(i % 7) for i in range(90))]))
    for task in (steepest.task(tmp_path / "v.csv", label="v", horizon=2), steepest.task(story, context=16)):
        with pytest.raises(steepest.InputError, match="its parts follow each other in time, which folds would undo"):
            steepest.cross_validate(task, folds=2)


def test_dates_of_a_series_that_cannot_be(tmp_path: Path) -> None:
    days = [f"2024-{1 + i // 28:02}-{1 + i % 28:02}" for i in range(200)]
    rows = [f"{'2024-02-31' if i in (0, 50) else day},{i % 9}" for i, day in enumerate(days)]
    (tmp_path / "days.csv").write_text("\n".join(["day,v", *rows]))
    with pytest.raises(steepest.InputError, match=r"line 2, .*such as '2024-01-02', got '2024-02-31'; .*--on-bad-row skip"):
        steepest.task(tmp_path / "days.csv", label="v", horizon=2)
    data = steepest.task(tmp_path / "days.csv", label="v", horizon=2, on_bad_row="skip").data
    assert len(data.inputs.values) == 198  # type: ignore[attr-defined]
    assert [(finding.what, finding.count) for finding in data.cleaning.findings][:1] == [("rows whose date cannot be read", 2)]


def test_a_label_of_words_is_no_series(tmp_path: Path) -> None:
    days = ["2024-02-03", "2024-01-09"] * 50
    pl.DataFrame({"day": days, "churned": ["yes", "no"] * 50}).write_csv(tmp_path / "clients.csv")
    with pytest.raises(
        steepest.InputError, match=r"'churned' is not a column of numbers \(it holds 'yes'\).*leave --horizon out"
    ):
        steepest.task(tmp_path / "clients.csv", label="churned", horizon=3)


@pytest.mark.parametrize("far", [{"horizon": 10**20}, {"horizon": 2, "window": 10**20}])
def test_a_window_longer_than_any_series(far: dict[str, int], tmp_path: Path) -> None:
    (tmp_path / "v.csv").write_text("\n".join(["v", *map(str, range(50))]))
    with pytest.raises(steepest.InputError, match="too few for a window of"):
        steepest.task(tmp_path / "v.csv", label="v", **far)


def test_filters_longer_than_any_text(reviews: Path) -> None:
    with pytest.raises(steepest.InputError, match=r"reads 900 words in a row; texts here have \d+"):
        steepest.fit(steepest.task(reviews, model=steepest.text_cnn(lengths=(2, 900))), record=False)


# -- the command line -------------------------------------------------------------------------------------------------


def test_the_command_line_continues_a_text_and_predicts_rows(
    story: Path, reviews: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    home = ["--home", str(tmp_path / "home")]
    quick = ["--recipe", "adamw(0.01)", "--epochs", "2", "--quiet"]
    assert main(["fit", str(story), "--context", "16", "--model", "lstm(16)", *quick, *home]) == 0
    fitted = capsys.readouterr().out
    assert main(["evaluate", "last", *home]) == 0
    measured = capsys.readouterr().out.split(":")[0]
    assert measured.endswith(" characters)")
    assert measured in fitted
    assert main(["predict", "last", "--prompt", "the ", "--length", "12", *home]) == 0
    told = capsys.readouterr().out
    assert told.startswith("the ")
    assert len(told) == 4 + 12 + 1
    assert main(["predict", "last", str(story), *home]) == 2
    assert "is a file of rows; give what it is to continue" in capsys.readouterr().err
    assert main(["fit", str(reviews), *quick, *home]) == 0
    capsys.readouterr()
    (tmp_path / "new.txt").write_text("a fine film\na dull film\n")
    assert main(["predict", "last", str(tmp_path / "new.txt"), "--out", str(tmp_path / "out.csv"), *home]) == 0
    found = pl.read_csv(tmp_path / "out.csv")
    assert found.columns == ["prediction", "probability of 0", "probability of 1"]
    assert found["prediction"].to_list() == [1, 0]
    assert main(["predict", "last", "--prompt", "x", *home]) == 2
    assert "not what comes next" in capsys.readouterr().err


def test_a_network_over_a_series_begins_with_its_last_value(load: Path) -> None:
    data = steepest.read_series(load, "load", horizon=6, window=24)
    x = torch.randn(5, 24, data.form.shape[-1])
    for spec in (steepest.linear_model(), steepest.mlp((8,)), steepest.lstm(8), steepest.transformer(16, 1)):
        torch.testing.assert_close(spec.build(data.form, 6)(x), x[:, -1, :1].expand(-1, 6))


def test_a_short_text_is_read_more_often() -> None:
    form = Form("language", (256,), vocabulary=30)
    assert [default_recipe(form, rows).epochs for rows in (10, 1_000, 100_000)] == [20, 4.8, 1.05]


def test_the_character_for_strange_ones_is_never_drawn(tmp_path: Path) -> None:
    (tmp_path / "odd.txt").write_text("abc\n" * 200 + "ß" * 100)  # which the training part does not hold
    data = steepest.read_characters(tmp_path / "odd.txt", context=16)
    assert "\N{REPLACEMENT CHARACTER}" in data.preprocessing.alphabet  # type: ignore[attr-defined]
    run = steepest.fit(data, "sgd(0.0001)", epochs=0.1, record=False)
    assert set(run.generate("abc", length=300, temperature=5.0)) <= set("abc\n")
