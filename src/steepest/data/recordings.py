"""Reading recordings: folders of wav files, a folder a class; npz archives of one long array; arrays in memory."""

from __future__ import annotations

import wave
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import InputError, unknown
from .archives import read_archive
from .cleaning import CleaningReport
from .conditions import where
from .core import Data
from .frames import to_numpy
from .inputs import Sounds
from .splitting import SHARES, deal_with_test
from .targets import encode

ARRAYS = ("audio", "offsets")  # of an npz archive: all samples, and where each recording begins
RATES = ("rate", "sample_rate", "sampling_rate", "sr")


def read_wav(path: str | Path) -> tuple[np.ndarray, int]:
    """Return the samples of a wav file (16 bits, or 8 or 32 made so; channels averaged) and its rate."""
    path = Path(path)
    try:
        with wave.open(str(path), "rb") as file:
            width, channels, rate, count = file.getsampwidth(), file.getnchannels(), file.getframerate(), file.getnframes()
            content = file.readframes(count)
    except FileNotFoundError:
        raise InputError(f"no such file: {path}") from None
    except (wave.Error, EOFError, OSError) as error:
        raise InputError(f"{path} is not a readable wav file ({error or 'it ends early'})") from None
    if not content:
        raise InputError(f"{path} holds no sound (0 samples)")
    if len(content) < count * width * channels:
        raise InputError(f"{path} is a damaged wav file: its header promises {count:,} samples, it holds fewer")
    if width not in (1, 2, 4):
        raise InputError(f"{path}: expected samples of 8, 16 or 32 bits (got {8 * width})")
    if width == 1:
        samples = (np.frombuffer(content, dtype=np.uint8).astype(np.int16) - 128) << 8
    else:
        samples = np.frombuffer(content, dtype="<i2" if width == 2 else "<i4")
        samples = samples if width == 2 else (samples >> 16).astype(np.int16)
    mixed = samples.reshape(-1, channels).mean(axis=1).astype(np.int16) if channels > 1 else samples
    return np.asarray(mixed, dtype=np.int16), rate


def as_sounds(rows: Any, rate: int) -> Sounds:
    """Return recordings given as wav files or arrays of samples, one or many, at the rate the model was trained on."""
    given = [rows] if isinstance(rows, str | Path) or (isinstance(rows, np.ndarray) and rows.ndim == 1) else list(rows)
    found = []
    for one in given:
        if isinstance(one, str | Path):
            samples, other = read_wav(one)
            if other != rate:
                raise InputError(f"{one}: expected {rate} samples a second (got {other}); resample it first")
        else:
            samples = as_int16(to_numpy(one, "a recording"), "a recording")
        found.append(samples)
    if not found:
        raise InputError("expected recordings: wav files, or arrays of samples (got none)")
    return joined(found, rate)


def as_int16(samples: np.ndarray, what: str) -> np.ndarray:
    """Return samples of 16 bits: as they are, or from floats between -1 and 1, times 32,768; anything else is refused."""
    if samples.ndim != 1:
        raise InputError(
            f"{what}: expected samples one after the other, of one channel (got shape {samples.shape}); average channels"
        )
    if samples.dtype == np.int16:
        return samples
    expected = f"{what}: expected samples of int16, or floats from -1 to 1"
    if samples.dtype.kind != "f":
        raise InputError(f"{expected} (got {samples.dtype}); convert them to int16")
    low, high = (float(samples.min()), float(samples.max())) if len(samples) else (0.0, 0.0)
    if not (low >= -1 and high <= 1):  # or NaN
        raise InputError(
            f"{expected} (got {samples.dtype} from {low:g} to {high:g}); divide by the largest a sample can be, or correct them"
        )
    return np.clip(np.rint(samples * np.float32(32768)), -32768, 32767).astype(np.int16)


def joined(recordings: Sequence[np.ndarray], rate: int) -> Sounds:
    """Return recordings one after the other."""
    offsets = np.concatenate([[0], np.cumsum([len(one) for one in recordings], dtype=np.int64)])
    return Sounds(np.concatenate(recordings), offsets, rate)


def is_sound_source(path: Path) -> bool:
    """Return whether a path is a folder with a folder of wav files a class, or an npz archive of recordings."""
    if path.is_dir():
        return any(path.glob("*/*.wav"))
    if path.suffix != ".npz":
        return False
    try:
        with zipfile.ZipFile(path) as members:
            return {f"{name}.npy" for name in ARRAYS} <= set(members.namelist())
    except (OSError, zipfile.BadZipFile):
        return False  # and the reader of archives says why


def read_sounds(
    path: str | Path,
    *,
    label: str | None = None,
    rate: int | None = None,
    test_where: str | None = None,
    on_bad_row: str = "stop",
    parts: tuple[float, ...] = SHARES,
    seed: int = 0,
    name: str | None = None,
) -> Data:
    """Read labelled recordings from a folder (a folder a class, wav files in it) or an npz archive.

    Args:
        path: the folder; or an archive with `audio` (all samples: int16, or floats from -1 to 1), `offsets` (where recordings
            begin) and arrays of labels.
        label: of an archive, the array that is to be predicted; None: the only other one.
        rate: samples a second; None: as the wav files say, or the archive's `rate`, else 8,000.
        test_where: a condition on another array of the archive, such as `"index < 5"`: those recordings become the test part.
        on_bad_row: `"stop"` at a recording that cannot be read, or `"skip"` it and say so.
        parts: shares of train, validation, test and certificate.
        seed: how recordings are dealt out.
        name: what records call the data.
    """
    path, report = Path(path), CleaningReport()
    if path.is_dir():
        if test_where is not None or label is not None:
            raise InputError(f"{path} is a folder of classes; label and test_where belong to archives")
        sounds, labels = _folder(path, report, on_bad_row)
        tested = np.zeros(len(labels), dtype=bool)
    else:
        arrays = read_archive(path)
        sounds, labels, others = _archive(path, arrays, label, rate)
        tested = where(others, test_where, str(path))
    report.rows, report.columns = len(labels), 1
    empty = np.diff(sounds.offsets) < 1
    if empty.any() and on_bad_row == "stop":
        raise InputError(f"{path}: recording {int(np.flatnonzero(empty)[0])} holds no sound (0 samples); add --on-bad-row skip")
    if empty.any():
        report.add("recordings without a sample", int(empty.sum()), "left out")
        keep = np.flatnonzero(~empty)
        sounds, labels, tested = sounds.take(keep), labels[keep], tested[keep]
    name = name or path.name.rsplit(".", 1)[0]
    targets = encode(labels, str(path), f"label {label!r}" if label else "label", "classification")
    dealt = deal_with_test(targets, parts, seed, name, tested)
    return Data(name, sounds, targets, dealt, report, test_given=bool(tested.any()))


def _folder(path: Path, report: CleaningReport, on_bad_row: str) -> tuple[Sounds, np.ndarray]:
    found, labels, rates, bad = [], [], {}, []
    for file in sorted(path.glob("*/*.wav")):
        try:
            samples, rate = read_wav(file)
        except InputError as error:
            if on_bad_row == "stop":
                raise InputError(f"{error}; correct or remove it, or add --on-bad-row skip") from None
            bad.append(file)
            continue
        found.append(samples)
        labels.append(file.parent.name)
        rates.setdefault(rate, file)
    if not found:
        raise InputError(f"{path}: no readable wav file in its folders")
    if len(rates) > 1:
        (first, one), (second, other), *_ = rates.items()
        raise InputError(f"{path}: {one} has {first} samples a second, {other} has {second}; resample to one rate")
    report.add("files that cannot be read", len(bad), f"left out (first: {bad[0] if bad else ''})")
    return joined(found, next(iter(rates))), np.array(labels)


def _archive(
    path: Path, arrays: dict[str, np.ndarray], label: str | None, rate: int | None
) -> tuple[Sounds, np.ndarray, dict[str, np.ndarray]]:
    audio, offsets = as_int16(arrays["audio"], f"{path}, audio"), arrays["offsets"].astype(np.int64)
    if len(offsets) and offsets[0] == 0 and offsets[-1] != len(audio):
        offsets = np.append(offsets, len(audio))
    if len(offsets) < 2 or offsets[0] != 0 or offsets[-1] != len(audio) or (np.diff(offsets) < 0).any():
        raise InputError(f"{path}: offsets must rise from 0 to the {len(audio):,} samples of audio")
    others = {name: values for name, values in arrays.items() if name not in ARRAYS and len(values) == len(offsets) - 1}
    if label is None and len(others) != 1:
        raise InputError(f"{path}: which array is to be predicted? add --label NAME (one of {', '.join(others)})")
    label = label or next(iter(others))
    if label not in others:
        raise InputError(f"{path}: {unknown('label array', label, others)}")
    stored = next((int(arrays[name].flat[0]) for name in RATES if name in arrays), 8_000)
    return Sounds(audio, offsets, rate or stored), others[label], others
