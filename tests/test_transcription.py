"""Transcripts of recordings: read, learned by CTC, read off greedily, measured, and predicted by every way in."""

from __future__ import annotations

import itertools
import math
import wave
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import steepest
from steepest import metrics, own
from steepest.cli import main
from steepest.data import stored
from steepest.data.recordings import joined
from steepest.data.transcribed import spelled
from steepest.defaults import default_recipe
from steepest.forms import Form
from steepest.metrics import Predictions
from steepest.models import default_model
from steepest.reach import Reach
from steepest.recipes import read
from steepest.transcripts import collapsed, edit_distance, error_rate, frames_needed, written

RATE = 8_000
HERTZ = {"a": 500, "b": 1_000, "c": 2_000}
QUICK = steepest.Recipe(steepest.adamw(0.01, schedule=steepest.one_cycle()), batch=16, epochs=25)
SMALL = "gru(16, bidirectional=True)"


def tones(text: str, rng: np.random.Generator) -> np.ndarray:
    """A letter a tone of its own pitch, of 80 to 140 ms, a pause after each."""
    pieces = []
    for letter in text:
        seconds = rng.uniform(0.08, 0.14)
        hertz = HERTZ.get(letter, 3_000) * rng.uniform(0.95, 1.05)
        pieces += [20_000 * np.sin(2 * math.pi * hertz * np.arange(int(seconds * RATE)) / RATE), np.zeros(RATE // 25)]
    return np.concatenate(pieces).astype(np.int16)


def spoken(count: int = 160, seed: int = 0) -> tuple[list[np.ndarray], list[str]]:
    rng = np.random.default_rng(seed)
    texts = ["".join(rng.choice(list(HERTZ), rng.integers(1, 5))) for _ in range(count)]
    return [tones(text, rng) for text in texts], texts


def save(path: Path, recordings: list[np.ndarray], texts: list[str], **arrays: Any) -> Path:
    offsets = np.concatenate([[0], np.cumsum([len(one) for one in recordings])])
    np.savez(path, audio=np.concatenate(recordings), offsets=offsets, said=np.array(texts), **arrays)
    return path


def write_wav(path: Path, samples: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(RATE)
        file.writeframes(samples.tobytes())


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    return save(tmp_path / "tones.npz", *spoken())


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    recordings, texts = spoken(40)
    for i, samples in enumerate(recordings):
        write_wav(tmp_path / "said" / "waves" / f"{i}.wav", samples)
    rows = [f"waves/{i}.wav,{text},{i // 10}" for i, text in enumerate(texts)]
    (tmp_path / "said" / "transcripts.csv").write_text("\n".join(["file,text,session", *rows]) + "\n")
    return tmp_path / "said"


@pytest.fixture(scope="module")
def learned(tmp_path_factory: pytest.TempPathFactory) -> tuple[steepest.Run, Path]:
    """A run that spells tones, and the folder of its record."""
    home = tmp_path_factory.mktemp("learned")
    task = task_of(save(home / "tones.npz", *spoken()), reach="cer <= 0.1")
    return steepest.fit(task, QUICK, home=home), home


def task_of(archive: Path, **options: Any) -> steepest.Task:
    return steepest.task(archive, kind="transcription", **{"model": read(SMALL)} | options)


# -- what texts are made of, and how far one is from another ----------------------------------------------------------


@given(st.lists(st.integers(0, 3), min_size=1, max_size=12))
def test_collapsing_leaves_one_of_each_run_and_no_blanks(frames: list[int]) -> None:
    expected = [code for code, _ in itertools.groupby(frames) if code]
    assert collapsed(np.array([frames]))[0].tolist() == expected


@given(st.text(alphabet="abc", max_size=8))
def test_a_text_is_spelled_by_as_few_frames_as_it_needs(text: str) -> None:
    classes = ("", "a", "b", "c")
    path: list[int] = []
    for letter in text:
        code = classes.index(letter)
        path += [0, code] if path[-1:] == [code] else [code]
    assert len(path) == frames_needed(text)
    assert written(collapsed(np.array([[*path, 0]]))[0], classes) == text
    assert spelled([text, "b"], classes).texts == [text, "b"]


def by_table(truth: str, said: str) -> int:
    """Levenshtein's distance by its recurrence."""
    row = list(range(len(said) + 1))
    for i, one in enumerate(truth, 1):
        before, row = row, [i]
        for j, other in enumerate(said, 1):
            row.append(min(before[j] + 1, row[-1] + 1, before[j - 1] + (one != other)))
    return row[-1]


@given(st.text(alphabet="abcd", max_size=90), st.text(alphabet="abcd", max_size=90))
def test_the_edit_distance_is_that_of_its_recurrence(truth: str, said: str) -> None:
    assert edit_distance(truth, said) == by_table(truth, said) == edit_distance(said, truth)


@given(*[st.text(alphabet="ab", max_size=12)] * 3)
def test_the_edit_distance_is_a_distance(a: str, b: str, c: str) -> None:
    assert (edit_distance(a, b) == 0) == (a == b)
    assert edit_distance(a, c) <= edit_distance(a, b) + edit_distance(b, c)
    assert abs(len(a) - len(b)) <= edit_distance(a, b) <= max(len(a), len(b))


def predictions(truth: list[str], said: list[str]) -> Predictions:
    one, other = np.array(truth, dtype=object), np.array(said, dtype=object)
    return Predictions(one, texts=other, right=one == other)


def test_error_rates_count_all_characters_and_words_together() -> None:
    p = predictions(["one two", "three"], ["one too many", "three"])
    found = metrics.measure(["cer", "wer", "accuracy"], p)
    assert found == {"cer": pytest.approx(6 / 12), "wer": pytest.approx(2 / 3), "accuracy": 0.5}
    assert math.isnan(error_rate([""], ["a"]))


def test_error_rates_equal_torchmetrics() -> None:
    text = pytest.importorskip("torchmetrics.text")
    rng = np.random.default_rng(0)
    truth, said = (["".join(rng.choice(list("ab c"), 30)).strip() + "a" for _ in range(50)] for _ in range(2))
    p = predictions(truth, said)
    found = metrics.measure(own.as_metrics(("cer", "wer", text.CharErrorRate(), text.WordErrorRate())), p)
    assert found["CharErrorRate"] == pytest.approx(found["cer"])
    assert found["WordErrorRate"] == pytest.approx(found["wer"])


def test_targets_know_which_way_is_better() -> None:
    assert str(Reach.parse("cer <= 10%")) == "cer <= 0.1"
    with pytest.raises(steepest.InputError, match="smaller is better for wer"):
        Reach.parse("wer >= 0.1")


# -- the objective ----------------------------------------------------------------------------------------------------


def by_all_paths(outputs: torch.Tensor, codes: list[int]) -> float:
    """Minus the logarithm of the probability of all paths that spell a text, by walking every one."""
    log_p = outputs.double().log_softmax(dim=-1)
    paths = itertools.product(range(outputs.shape[1]), repeat=len(outputs))
    fitting = [path for path in paths if collapsed(np.array([path]))[0].tolist() == codes]
    return -float(torch.logsumexp(torch.stack([log_p[range(len(path)), path].sum() for path in fitting]), dim=0))


@pytest.mark.parametrize("codes", [[1], [1, 2], [1, 1], [2, 1, 2]])
def test_ctc_is_the_sum_over_all_paths_by_character(archive: Path, codes: list[int]) -> None:
    torch.manual_seed(0)
    outputs = torch.randn(1, 5, 3)
    targets = torch.tensor([[*codes, 0, 0]])
    loss = steepest.ctc().loss(task_of(archive).data)
    expected = by_all_paths(outputs[0], codes) / len(codes)
    assert float(loss(outputs, targets)) == pytest.approx(expected, rel=1e-5)
    unknown = torch.tensor([[*codes, -1, 0]])  # a character that is no class
    assert float(loss(outputs, unknown)) == pytest.approx(expected, rel=1e-5)
    padded = torch.cat([outputs, torch.tensor([[[1e4, 0.0, 0.0]]]).expand(1, 7, 3)], dim=1)
    assert float(loss(padded, targets)) == pytest.approx(expected, rel=1e-5)


def test_a_text_without_a_path_adds_nothing(archive: Path) -> None:
    outputs = torch.zeros(1, 2, 3, requires_grad=True)
    loss = steepest.ctc().loss(task_of(archive).data)(outputs, torch.tensor([[1, 1]]))
    loss.backward()
    assert float(loss.detach()) == 0
    assert outputs.grad is not None
    assert not outputs.grad.any()


def test_objectives_and_labels_that_do_not_fit_are_refused(archive: Path) -> None:
    task = task_of(archive)
    for objective in ("cross_entropy()", "mse()", "focal()", "binary_cross_entropy()", "pinball()", "poisson()"):
        with pytest.raises(steepest.InputError, match=r"the label is a transcript; use ctc\(\)"):
            steepest.fit(replace(task, objective=read(objective)), record=False)
    with pytest.raises(steepest.InputError, match=r"ctc\(\) is for transcripts"):
        steepest.fit(steepest.Task("iris", objective=steepest.ctc()), record=False)


# -- networks that answer each step -----------------------------------------------------------------------------------

SAID = Form("sound", (30, 8), each_step=True)
STEPWISE = ("rnn(12)", "lstm(12, layers=2, bidirectional=True)", "gru(12)", "transformer(width=16, layers=2, heads=2)")


@pytest.mark.parametrize("text", [SMALL, *STEPWISE])
def test_padding_is_surely_blank_and_changes_no_answer_and_no_gradient(archive: Path, text: str) -> None:
    torch.manual_seed(0)
    net = read(text).build(SAID, 4).eval()
    loss = steepest.ctc().loss(task_of(archive).data)
    x, targets = torch.randn(1, 9, 8), torch.tensor([[1, 2, 2]])
    x[:, 4] = 0  # a step of silence is no padding
    alone = net(x)
    assert alone.shape == (1, 9, 4)
    loss(alone, targets).backward()
    gradients = [p.grad.clone() for p in net.parameters()]
    for longer in (10, 20, 60):
        padded = torch.zeros(2, longer, 8)
        padded[0, :9], padded[1] = x[0], 1
        net.zero_grad()
        found = net(padded)[:1]
        torch.testing.assert_close(found[:, :9], alone, rtol=1e-4, atol=1e-5)
        assert (found.softmax(dim=-1)[:, 9:] == torch.tensor([1.0, 0, 0, 0])).all()
        loss(found, targets).backward()
        for p, before in zip(net.parameters(), gradients, strict=True):
            torch.testing.assert_close(p.grad, before, rtol=1e-3, atol=1e-5)


def test_every_step_of_a_row_in_both_directions_is_as_torch_packs_it() -> None:
    for text in ("lstm(6, layers=3, bidirectional=True)", "gru(6, bidirectional=True)", "rnn(6, layers=2)"):
        torch.manual_seed(0)
        net: Any = read(text).build(SAID, 4)
        lengths = torch.tensor([9, 3, 7, 1])
        x = torch.randn(4, 9, 6)
        there = torch.arange(9) < lengths[:, None]
        torch.testing.assert_close(net._padded(x, lengths)[there], net._packed(x, lengths)[there])


ONCE = ("linear_model()", "mlp()", "additive_model()", "residual_cnn()", "bag_of_words()", "text_cnn()")


@pytest.mark.parametrize("text", ONCE)
def test_networks_of_one_answer_a_row_say_which_give_more(archive: Path, text: str) -> None:
    with pytest.raises(steepest.InputError, match=r"a transcript needs lstm\(\), gru\(\), rnn\(\) or transformer\(\)") as error:
        steepest.fit(task_of(archive, model=read(text)), record=False)
    assert "\n" not in str(error.value)


def test_a_module_of_ones_own_answers_each_step(archive: Path) -> None:
    own_net = torch.nn.Linear(40, 4)
    run = steepest.fit(task_of(archive, model=own_net), steepest.Recipe(steepest.adamw(0.01), batch=16, epochs=1), record=False)
    assert run.facts["objective"] == "ctc()"
    flat = torch.nn.Sequential(torch.nn.AdaptiveAvgPool2d((1, 4)), torch.nn.Flatten())
    with pytest.raises(steepest.InputError, match=r"must answer every step, \(rows, steps, classes\)"):
        steepest.fit(task_of(archive, model=flat), record=False)
    with pytest.raises(steepest.InputError, match="gives 5 numbers a step; transcripts of 3 characters need 4"):
        steepest.fit(task_of(archive, model=torch.nn.Linear(40, 5)), record=False)


def test_the_form_says_so_and_comes_back_from_json(archive: Path) -> None:
    import json

    data = task_of(archive).data
    assert data.form.each_step
    assert Form.from_dict(json.loads(json.dumps(data.form.to_dict()))) == data.form
    assert stored.from_dict(json.loads(json.dumps(data.preprocessing.to_dict()))) == data.preprocessing
    assert Form("language", (5,), 9).each_step
    assert default_model(data.form, 100) == steepest.gru(bidirectional=True, dropout=0.2)
    assert "muon" in repr(default_recipe(data.form, 100))
    assert not Form("sound", (5, 9)).each_step
    steps = data.form.shape[0]
    per_step = 40 * 16 + 2 * 3 * 16 * (16 + 16) + 2 * 16 * 4  # reader, three gates both ways, answer
    assert steepest.cost(read(SMALL), data.form, 4).flops_a_row == 2 * steps * per_step


# -- from a file to texts ---------------------------------------------------------------------------------------------


def test_tones_are_spelled(learned: tuple[steepest.Run, Path], tmp_path: Path) -> None:
    run, home = learned
    assert run.task is not None
    targets = run.task.data.targets
    assert (run.task.kind, targets.classes, targets.num_outputs) == ("transcription", ("", "a", "b", "c"), 4)
    assert run.metrics["cer"] < 0.1
    assert list(run.metrics) == ["cer", "wer", "accuracy", "loss"]
    new, texts = spoken(12, seed=5)
    found = run.predict(new)
    assert error_rate(texts, found.tolist()) < 0.1
    assert run.predict(new[3]).tolist() == found[3:4].tolist()  # alone, or beside longer ones
    again = steepest.load_run(str(run.id), home=home)
    assert again.predict(new).tolist() == found.tolist()
    assert steepest.evaluate(again).metrics["cer"] == pytest.approx(run.metrics["cer"])
    with pytest.raises(steepest.InputError, match="this run writes transcripts, use predict"):
        run.predict_proba(new)
    other = steepest.task(save(tmp_path / "other.npz", *spoken(40, seed=9)), kind="transcription", parts=(0.4, 0, 0.6, 0))
    assert steepest.evaluate(run, other).metrics["cer"] < 0.1
    page = steepest.report(run, out=tmp_path / "run.html").read_text()
    assert "transcripts of 3 characters" in page


def test_a_recording_longer_than_any_of_training_is_read_to_its_end(learned: tuple[steepest.Run, Path]) -> None:
    text = "abc" * 36
    (found,) = learned[0].predict([tones(text, np.random.default_rng(1))])
    assert abs(len(found) - len(text)) < 0.2 * len(text)


def test_folds_and_learning_rates(archive: Path) -> None:
    short = steepest.Recipe(steepest.adamw(0.01), batch=16, epochs=1)
    assert set(steepest.cross_validate(task_of(archive), short, folds=2).mean) == {"cer", "wer", "accuracy"}
    assert steepest.find_lr(task_of(archive), short, num_steps=15).suggestion > 0


@pytest.mark.slow
def test_recipes_race_to_a_character_error_rate(archive: Path, tmp_path: Path) -> None:
    task = task_of(archive, reach="cer <= 2")
    race = steepest.race(
        task, "adamw(0.01),adam(0.01)", baseline="adamw", seeds=1, batch=16, epochs=1, evaluate_every=5, processes=1,
        home=tmp_path, progress=False,
    )  # fmt: skip
    assert race.leaderboard().rows


def test_a_metric_of_ones_own_is_given_texts(archive: Path) -> None:
    def too_long(predictions: Predictions) -> float:
        assert predictions.texts is not None
        return sum(len(said) > len(true) for true, said in zip(predictions.truth, predictions.texts, strict=True))

    def same(y_true: Any, y_pred: Any) -> float:
        return float((y_true == y_pred).mean())

    task = task_of(archive, metrics=("cer", too_long, same))
    run = steepest.fit(task, steepest.Recipe(steepest.adamw(0.01), batch=16, epochs=1), record=False)
    assert list(run.metrics) == ["cer", "too_long", "same", "loss"]


def test_characters_that_training_lacks_count_as_errors(tmp_path: Path) -> None:
    recordings, texts = spoken(40)
    texts[0] = "zz" + texts[0]
    recordings[0] = np.concatenate([recordings[0], np.zeros(RATE, dtype=np.int16)])
    path = save(tmp_path / "t.npz", recordings, texts, index=np.arange(40))
    data = task_of(path, label="said", test_where="index<5").data
    assert data.targets.classes == ("", "a", "b", "c")
    assert data.targets.values[0, :2].tolist() == [-1, -1]
    assert data.targets.texts == texts
    assert "2 characters that the training part lacks (z): kept: each will count as an error" in str(data.cleaning)
    run = steepest.fit(task_of(path, label="said", test_where="index<5"), QUICK, record=False)
    said = sum(map(len, texts[:5]))
    assert run.metrics["cer"] >= 2 / said
    assert math.isfinite(run.metrics["loss"])


# -- readers and bad input --------------------------------------------------------------------------------------------


def test_a_folder_with_transcripts(folder: Path, tmp_path: Path) -> None:
    data = steepest.task(folder).data
    assert (len(data), data.targets.kind, data.form.each_step) == (40, "transcription", True)
    assert data.targets.texts == spoken(40)[1]
    assert "40 recordings" in data.describe()
    assert "transcripts of 3 characters" in data.describe()
    assert steepest.task(folder, test_where="session=2").data.size("test") == 10
    rows = [row.rsplit(",", 1)[0].replace(",", "\t") for row in (folder / "transcripts.csv").read_text().splitlines()]
    (folder / "transcripts.csv").unlink()
    (folder / "transcripts.tsv").write_text("\n".join([*rows[:-1], rows[-1] + ", NA 007"]) + "\n")
    assert steepest.task(folder).data.targets.texts[-1] == spoken(40)[1][-1] + ", NA 007"


def changed(folder: Path, row: int, old: str, new: str) -> None:
    path = folder / "transcripts.csv"
    lines = path.read_text().splitlines()
    lines[row] = lines[row].replace(old, new)
    path.write_text("\n".join(line for line in lines if line) + "\n")


@pytest.mark.parametrize(
    ("row", "old", "new", "message"),
    [
        (3, "waves/2.wav", "waves/99.wav", r"transcripts.csv, line 4: no such file: .*99.wav; .*--on-bad-row skip"),
        (3, "waves/2.wav", "waves/1.wav", r"line 4: .*1.wav has another row before"),
        (3, "waves/2.wav", "", "line 4: no file is named"),
        (-1, "waves/39.wav", "waves/38.wav", "line 41: .*38.wav has another row before"),
    ],
)
def test_rows_without_a_recording(folder: Path, row: int, old: str, new: str, message: str) -> None:
    changed(folder, row, old, new)
    with pytest.raises(steepest.InputError, match=message) as error:
        steepest.task(folder)
    assert "\n" not in str(error.value)
    data = steepest.task(folder, on_bad_row="skip").data
    assert len(data) == 39
    assert "1 row without a recording of their own: left out" in str(data.cleaning)
    assert "1 recording without a row: left out" in str(data.cleaning)


def test_texts_that_cannot_be(folder: Path) -> None:
    lines = (folder / "transcripts.csv").read_text().splitlines()
    for text, message in (
        ("", r"line 6 \(waves/4.wav\): the text is empty"),
        ("   ", "the text is empty"),
        ("abc" * 60, r"line 6 .*cannot be said in .* s: its 180 characters need 180 frames, one each and one between equal"),
    ):
        (folder / "transcripts.csv").write_text("\n".join([*lines[:5], f"waves/4.wav,{text},0", *lines[6:]]) + "\n")
        with pytest.raises(steepest.InputError, match=message):
            steepest.task(folder)
        data = steepest.task(folder, on_bad_row="skip").data
        assert len(data) == 39
        assert "1 recording without a text that fits: left out" in str(data.cleaning)
    (folder / "transcripts.csv").write_text("\n".join([*lines[:5], *lines[6:]]) + "\n")
    with pytest.raises(steepest.InputError, match=r"waves/4.wav has no row"):
        steepest.task(folder)
    (folder / "transcripts.csv").write_text("\n".join(["file,txt,session", *lines[1:]]) + "\n")
    with pytest.raises(steepest.InputError, match=r"unknown column 'text'.*expected two columns, file and text"):
        steepest.task(folder)


def test_kinds_that_do_not_fit_the_data(archive: Path, folder: Path, tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("a,b\n" + "1,x\n2,y\n" * 30)
    (tmp_path / "t.txt").write_text("good film\nbad film\n" * 30)
    np.savez(tmp_path / "images.npz", X=np.zeros((60, 4, 4)), y=np.arange(60) % 2)
    for source, options in (("t.csv", {"label": "b"}), ("t.txt", {}), ("images.npz", {})):
        with pytest.raises(steepest.InputError, match="kind='transcription' is for recordings"):
            steepest.task(tmp_path / source, kind="transcription", **options)
    with pytest.raises(steepest.InputError, match="kind='transcription' is for recordings"):
        steepest.arrays(np.zeros((20, 3)), ["a", "b"] * 10, kind="transcription")
    with pytest.raises(steepest.InputError, match="kind must be 'classification' or 'transcription'"):
        steepest.task(archive, kind="regression")
    with pytest.raises(steepest.InputError, match="if the labels are what is said, add --kind transcription"):
        steepest.task(archive)
    with pytest.raises(steepest.InputError, match=r"what is said stands in transcripts.csv; leave label out"):
        steepest.task(folder, label="said")
    (folder / "transcripts.csv").unlink()
    with pytest.raises(steepest.InputError, match=r"expected transcripts.csv \(or .tsv\) in it"):
        steepest.task(folder, kind="transcription")
    recordings, _ = spoken(4)
    path = save(tmp_path / "n.npz", recordings, ["a", "b", "", "a"], number=np.arange(4))
    with pytest.raises(steepest.InputError, match="number holds int64; a transcription needs what is said"):
        task_of(path, label="number")
    with pytest.raises(steepest.InputError, match=r"n.npz, recording 2: the text is empty"):
        task_of(path, label="said")


def test_the_command_line_fits_and_predicts(
    archive: Path, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    home = ["--home", str(tmp_path / "home"), "--quiet"]
    quick = ["--model", "gru(8)", "--recipe", "adamw(0.01)", "--epochs", "1"]
    assert main(["fit", str(archive), "--kind", "transcription", *quick, *home]) == 0
    assert "cer " in capsys.readouterr().out
    assert main(["predict", "last", str(folder), "--out", str(tmp_path / "out.csv"), *home]) == 0
    found = pl.read_csv(tmp_path / "out.csv")
    assert found.columns == ["file", "prediction"]
    assert found.height == 40
    for rows, count in ((archive, 160), (folder / "waves" / "3.wav", 1)):
        assert main(["predict", "last", str(rows), "--out", str(tmp_path / "out.csv"), *home]) == 0
        assert pl.read_csv(tmp_path / "out.csv").height == count
    assert main(["evaluate", "last", *home]) == 0
    assert main(["fit", str(archive), "--kind", "transcribtion", *home]) == 2
    assert "did you mean 'transcription'" in capsys.readouterr().err


def test_what_a_worker_is_given_keeps_what_is_said(archive: Path) -> None:
    data = task_of(archive).data
    some = data.only("train", "validation", by="x")
    assert some.targets.texts[: data.size("train")] == [data.targets.texts[row] for row in data.parts["train"]]
    assert replace(data.inputs, rate=1).take(np.array([0])).each_step  # type: ignore[type-var, attr-defined]
    assert not joined([np.zeros(9, dtype=np.int16)], RATE).each_step
