"""Recordings: folders of wav files and archives, read, made into frames, trained on, and predicted."""

from __future__ import annotations

import math
import wave
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import steepest
from steepest.data import stored
from steepest.data.recordings import joined
from steepest.data.sounds import log_mel, mel_filters
from steepest.data.waves import read_wav


def same_after_json(data: steepest.Data) -> bool:
    import json

    return stored.from_dict(json.loads(json.dumps(data.preprocessing.to_dict()))) == data.preprocessing


def tone(hertz: float, seconds: float, rate: int = 8_000) -> np.ndarray:
    return (20_000 * np.sin(2 * math.pi * hertz * np.arange(int(seconds * rate)) / rate)).astype(np.int16)


def write_wav(path: Path, samples: np.ndarray, rate: int = 8_000) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(rate)
        file.writeframes(samples.tobytes())


@pytest.fixture
def tones(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    for i in range(30):
        write_wav(tmp_path / "tones" / "high" / f"{i}.wav", tone(rng.uniform(1500, 2500), rng.uniform(0.1, 0.3)))
        write_wav(tmp_path / "tones" / "low" / f"{i}.wav", tone(rng.uniform(200, 400), rng.uniform(0.1, 0.3)))
    return tmp_path / "tones"


def test_the_spectrogram_of_a_tone_peaks_where_the_tone_is() -> None:
    frames, offsets = log_mel(joined([tone(1000, 0.2), tone(300, 0.1)], 8_000), 40, 1_000)
    centres = np.linspace(0, 4_000, 129)[mel_filters(40, 256, 8_000).argmax(axis=0)]
    for hertz, rows in ((1000, slice(0, offsets[1] - 3)), (300, slice(offsets[1], offsets[2] - 3))):
        peaks = centres[frames[rows].argmax(dim=1).numpy()]
        assert np.abs(peaks - hertz).max() < 80
    assert offsets.tolist() == [0, 17, 24]


@pytest.mark.parametrize("model", ["residual_cnn(width=8, stages=1)", "lstm(16)", "transformer(width=16, layers=1, heads=2)"])
def test_sounds_are_learned_and_predicted(tones: Path, model: str, tmp_path: Path) -> None:
    from steepest.recipes import read

    task = steepest.task(tones, model=read(model))
    assert "60 recordings of" in task.data.describe()
    run = steepest.fit(task, steepest.Recipe(steepest.adamw(0.01), batch=8, epochs=12), home=tmp_path)
    assert run.metrics["accuracy"] > 0.85
    again = steepest.load_run(str(run.id), home=tmp_path)
    assert again.predict([tones / "high" / "3.wav", tone(300, 0.2)]).tolist() == ["high", "low"]
    assert same_after_json(task.data)
    assert run.predict_file(tones)["prediction"].to_list()[:2] == ["high", "high"]


def test_recordings_that_cannot_be_read(tones: Path) -> None:
    write_wav(tones / "high" / "99.wav", tone(100, 0))
    with pytest.raises(steepest.InputError, match=r"99.wav holds no sound .*on-bad-row skip"):
        steepest.task(tones)
    (tones / "low" / "98.wav").write_bytes((tones / "low" / "3.wav").read_bytes()[:300])
    data = steepest.task(tones, on_bad_row="skip").data
    assert len(data) == 60
    assert "2 files that cannot be read" in str(data.cleaning)
    (tones / "high" / "99.wav").unlink()
    (tones / "low" / "98.wav").unlink()
    write_wav(tones / "high" / "97.wav", tone(100, 0.1), rate=16_000)
    with pytest.raises(steepest.InputError, match="resample to one rate"):
        steepest.task(tones)


def test_an_archive_of_recordings(tmp_path: Path) -> None:
    recordings = [tone(300 if i % 2 else 2000, 0.1 + 0.01 * (i % 5)) for i in range(40)]
    offsets = np.concatenate([[0], np.cumsum([len(one) for one in recordings])])
    arrays = {"audio": np.concatenate(recordings), "offsets": offsets, "kind": np.arange(40) % 2, "index": np.arange(40) // 4}
    np.savez(tmp_path / "tones.npz", **arrays)
    data = steepest.task(tmp_path / "tones.npz", label="kind", test_where="index<2").data
    assert data.size("test") == 8
    assert data.test_given
    assert set(data.parts["test"]) == set(range(8))
    with pytest.raises(steepest.InputError, match="which array is to be predicted"):
        steepest.task(tmp_path / "tones.npz")
    with pytest.raises(steepest.InputError, match="unknown column 'indx'; did you mean 'index'"):
        steepest.task(tmp_path / "tones.npz", label="kind", test_where="indx<2")
    np.savez(tmp_path / "bad.npz", **(arrays | {"offsets": offsets[::-1]}))
    with pytest.raises(steepest.InputError, match="offsets must rise from 0"):
        steepest.task(tmp_path / "bad.npz", label="kind")


def test_recordings_of_another_rate_are_not_measured(tones: Path, tmp_path: Path) -> None:
    run = steepest.fit(tones, steepest.Recipe(steepest.adamw(0.01), batch=8, epochs=1), record=False)
    for file in tones.glob("*/*.wav"):
        samples, _ = read_wav(file)
        write_wav(tmp_path / "fast" / file.parent.name / file.name, samples, rate=16_000)
    with pytest.raises(steepest.InputError, match="a sound of rate 8000, fast has 16000"):
        steepest.evaluate(run, steepest.task(tmp_path / "fast"))


def archive_of_tones(path: Path, convert: Any) -> Path:
    recordings = [tone(300 if i % 2 else 2000, 0.1 + 0.01 * (i % 5)) for i in range(40)]
    offsets = np.concatenate([[0], np.cumsum([len(one) for one in recordings])])
    np.savez(path, audio=convert(np.concatenate(recordings)), offsets=offsets, kind=np.arange(40) % 2)
    return path


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_an_archive_of_floats_is_read_as_its_new_rows_are(tmp_path: Path, dtype: str) -> None:
    plain = steepest.task(archive_of_tones(tmp_path / "whole.npz", lambda audio: audio)).data
    floats = steepest.task(archive_of_tones(tmp_path / "floats.npz", lambda audio: (audio / 32768).astype(dtype))).data
    np.testing.assert_array_equal(floats.inputs.samples, plain.inputs.samples)  # type: ignore[attr-defined]
    assert floats.inputs.samples.dtype == np.int16  # type: ignore[attr-defined]
    run = steepest.fit(floats, steepest.Recipe(steepest.adamw(0.01), batch=8, epochs=6), record=False)
    rows = [tone(300, 0.2), tone(2000, 0.2), (tone(300, 0.2) / 32768).astype(dtype)]
    assert run.predict(rows).tolist() == [1, 0, 1]
    with pytest.raises(steepest.InputError, match="a recording: expected samples of int16, or floats from -1 to 1"):
        run.predict([tone(300, 0.2).astype(np.float32)])


@pytest.mark.parametrize(
    ("convert", "message"),
    [
        (lambda audio: audio.astype(np.float32), r"got float32 from -\d+ to \d+"),
        (lambda audio: audio.astype(np.int32) << 16, "got int32"),
        (lambda audio: ((audio >> 8) + 128).astype(np.uint8), "got uint8"),
        (lambda audio: np.where(audio == 0, np.nan, audio / 32768), "got float64 from nan to nan"),
        (lambda audio: np.stack([audio, audio], axis=1), r"of one channel \(got shape \(\d+, 2\)\)"),
    ],
)
def test_an_archive_of_samples_that_cannot_be_read(tmp_path: Path, convert: Any, message: str) -> None:
    path = archive_of_tones(tmp_path / "odd.npz", convert)
    with pytest.raises(steepest.InputError, match=message) as error:
        steepest.task(path)
    assert "odd.npz, audio: expected samples" in str(error.value)


def test_a_recording_that_fills_its_frames_exactly_is_not_cut() -> None:
    from steepest.data.cleaning import CleaningReport
    from steepest.data.sounds import MAX_FRAMES, fit_sounds

    full = 256 + 80 * (MAX_FRAMES - 1)  # samples, at 8,000 a second
    for lengths, cut in (((full, full + 79), 0), ((full, full + 80), 1)):
        report = CleaningReport()
        fitted = fit_sounds(joined([tone(300, length / 8_000) for length in lengths], 8_000), "standard", report)
        assert fitted.longest == MAX_FRAMES
        assert sum(finding.count for finding in report.findings) == cut


def findings(data: steepest.Data) -> dict[str, int]:
    return {finding.what: finding.count for finding in data.cleaning.findings}


def test_endings_of_any_case_and_files_of_other_kinds(tones: Path) -> None:
    (tones / "high" / "0.wav").rename(tones / "high" / "0.WAV")
    (tones / "high" / "cover.png").write_bytes(b"no sound")
    (tones / "low" / "1.mp3").write_bytes(b"no wav")
    (tones / "low" / ".hidden.wav").write_bytes(b"left behind")
    (tones / "empty").mkdir()
    data = steepest.task(tones).data
    assert len(data.inputs) == 60
    assert findings(data) == {"folders without wav files": 1, "files that are no wav files": 2}


def test_train_and_test_folders_of_recordings_are_those_parts(tones: Path, tmp_path: Path) -> None:
    for part, low, high in (("train", 0, 24), ("test", 24, 30)):
        for kind in ("low", "high"):
            (tmp_path / "parts" / part / kind).mkdir(parents=True)
            for i in range(low, high):
                (tones / kind / f"{i}.wav").rename(tmp_path / "parts" / part / kind / f"{i}.wav")
    data = steepest.task(tmp_path / "parts").data
    assert data.test_given
    assert data.size("test") == 12
    assert data.targets.classes == ("high", "low")
    (tmp_path / "parts" / "test" / "other").mkdir()
    write_wav(tmp_path / "parts" / "test" / "other" / "0.wav", tone(100, 0.1))
    with pytest.raises(steepest.InputError, match="class 'other' of the test part does not occur in the train part"):
        steepest.task(tmp_path / "parts")


def test_a_recording_among_images_does_not_make_sounds_of_them(tmp_path: Path) -> None:
    image = pytest.importorskip("PIL.Image")
    for i in range(20):
        file = tmp_path / "mixed" / ("cat", "dog")[i % 2] / f"{i}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        image.fromarray(np.full((8, 8), 12 * i, dtype=np.uint8)).save(file)
    write_wav(tmp_path / "mixed" / "cat" / "purr.wav", tone(30, 0.1))
    data = steepest.task(tmp_path / "mixed").data
    assert data.inputs.kind == "image"
    assert findings(data) == {"files that are no images": 1}


def test_options_that_folders_of_recordings_do_not_take(tones: Path) -> None:
    with pytest.raises(steepest.InputError, match="its folders are the classes; leave label out"):
        steepest.task(tones, label="kind")
    with pytest.raises(steepest.InputError, match="say their rate; leave rate out"):
        steepest.task(tones, rate=16_000)
    with pytest.raises(steepest.InputError, match="put the test part into a folder test"):
        steepest.task(tones, test_where="index<2")


@pytest.mark.parametrize("rate", [0, 10, 40, -8_000, 2_000_000, True, 8_000.5, float("nan"), [8_000, 8_000], "fast"])
def test_rates_that_no_sound_has(tmp_path: Path, rate: Any) -> None:
    np.savez(
        tmp_path / "odd.npz",
        audio=np.zeros(800, dtype=np.int16),
        offsets=np.arange(0, 800, 80),
        kind=np.arange(10) % 2,
        rate=rate,
    )
    with pytest.raises(steepest.InputError, match="samples a second"):
        steepest.task(tmp_path / "odd.npz", label="kind")


def test_a_wav_file_too_slow_to_be_sound(tmp_path: Path) -> None:
    write_wav(tmp_path / "slow.wav", tone(1, 10, rate=10), rate=10)
    with pytest.raises(steepest.InputError, match=r"expected 1,000 to 1,000,000 samples a second \(got 10\)"):
        read_wav(tmp_path / "slow.wav")


@pytest.mark.parametrize("offsets", [np.arange(0, 800, 80) + 0.5, np.arange(0, 800, 80).reshape(2, 5), np.array(["a", "b"])])
def test_offsets_that_are_no_places(tmp_path: Path, offsets: np.ndarray) -> None:
    np.savez(tmp_path / "odd.npz", audio=np.zeros(800, dtype=np.int16), offsets=offsets, kind=np.arange(10) % 2)
    with pytest.raises(steepest.InputError, match="offsets: expected a whole number a recording"):
        steepest.task(tmp_path / "odd.npz", label="kind")


def test_labels_of_two_dimensions(tmp_path: Path) -> None:
    np.savez(tmp_path / "odd.npz", audio=np.zeros(800, dtype=np.int16), offsets=np.arange(0, 800, 80), kind=np.zeros((10, 2)))
    with pytest.raises(steepest.InputError, match="one label a recording"):
        steepest.task(tmp_path / "odd.npz", label="kind")
