"""Reading recordings: folders of wav files, a folder a class; npz archives of one long array; arrays in memory."""

from __future__ import annotations

import wave
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
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
from .transcribed import read_transcripts, transcribed, transcripts_of

ARRAYS = ("audio", "offsets")  # of an npz archive: all samples, and where each recording begins
KINDS = ("classification", "transcription")
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
    if isinstance(rows, Sounds):
        if rows.rate != rate:
            raise InputError(f"expected {rate} samples a second (the recordings have {rows.rate}); resample them first")
        return rows
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
    """Return whether a path is a folder with a folder of wav files a class, or with transcripts, or an npz archive of
    recordings.
    """
    if path.is_dir():
        return any(path.glob("*/*.wav")) or (transcripts_of(path) is not None)
    if path.suffix != ".npz":
        return False
    try:
        with zipfile.ZipFile(path) as members:
            return {f"{name}.npy" for name in ARRAYS} <= set(members.namelist())
    except (OSError, zipfile.BadZipFile):
        return False  # and the reader of archives says why


@dataclass(frozen=True)
class Recorded:
    """Recordings as they were read: their labels or texts, what else is known of each, and what complaints call them."""

    sounds: Sounds
    labels: np.ndarray
    others: dict[str, np.ndarray]
    places: list[str]

    def take(self, rows: np.ndarray) -> Recorded:
        others = {name: values[rows] for name, values in self.others.items()}
        return Recorded(self.sounds.take(rows), self.labels[rows], others, [self.places[row] for row in rows])


def read_sounds(
    path: str | Path,
    *,
    label: str | None = None,
    rate: int | None = None,
    test_where: str | None = None,
    kind: str | None = None,
    on_bad_row: str = "stop",
    parts: tuple[float, ...] = SHARES,
    seed: int = 0,
    name: str | None = None,
) -> Data:
    """Read labelled recordings from a folder (a folder a class, wav files in it) or an npz archive; or recordings with what is
    said in them, from a folder with `transcripts.csv` (columns `file` and `text`) or an archive.

    Args:
        path: the folder; or an archive with `audio` (all samples: int16, or floats from -1 to 1), `offsets` (where recordings
            begin) and arrays of labels.
        label: of an archive, the array that is to be predicted; None: the only other one.
        rate: samples a second; None: as the wav files say, or the archive's `rate`, else 8,000.
        test_where: a condition on another array of the archive, or column of the transcripts, such as `"index < 5"`: those
            recordings become the test part.
        kind: `"classification"`, or `"transcription"`: labels are texts, whose characters are to be found in the recording;
            None: transcription where the folder has a file of transcripts.
        on_bad_row: `"stop"` at a recording that cannot be read, or learned from, or `"skip"` it and say so.
        parts: shares of train, validation, test and certificate.
        seed: how recordings are dealt out.
        name: what records call the data.
    """
    path, report = Path(path), CleaningReport()
    if kind not in (None, *KINDS):
        raise InputError(f"{path} holds recordings; kind must be 'classification' or 'transcription' (got {kind!r})")
    written = transcripts_of(path) if path.is_dir() and kind != "classification" else None
    found = _read(path, written, report, label=label, rate=rate, kind=kind, test_where=test_where, on_bad_row=on_bad_row)
    report.rows, report.columns = len(found.labels), 1
    empty = np.diff(found.sounds.offsets) < 1
    if empty.any() and on_bad_row == "stop":
        place = found.places[int(np.flatnonzero(empty)[0])]
        raise InputError(f"{path}: {place} holds no sound (0 samples); add --on-bad-row skip")
    report.add("recordings without a sample", int(empty.sum()), "left out")
    found = found.take(np.flatnonzero(~empty)) if empty.any() else found
    tested = where(found.others, test_where, str(path)) if test_where else np.zeros(len(found.labels), dtype=bool)
    name = name or path.name.rsplit(".", 1)[0]
    if kind == "transcription" or written is not None:
        return transcribed(
            found.sounds, found.labels.tolist(), source=str(written or path), name=name, report=report, parts=parts, seed=seed,
            tested=tested, on_bad_row=on_bad_row, places=found.places,
        )  # fmt: skip
    try:
        targets = encode(found.labels, str(path), f"label {label!r}" if label else "label", "classification")
    except InputError as error:
        texts = found.labels.dtype.kind == "U" and not path.is_dir()
        hint = "; if the labels are what is said, add --kind transcription" if texts else ""
        raise InputError(f"{error}{hint}") from None
    dealt = deal_with_test(targets, parts, seed, name, tested)
    return Data(name, found.sounds, targets, dealt, report, test_given=bool(tested.any()))


def _read(
    path: Path, written: Path | None, report: CleaningReport, *, label: str | None, rate: int | None, kind: str | None,
    test_where: str | None, on_bad_row: str,
) -> Recorded:  # fmt: skip
    """Read what a folder or archive holds; `written` is the file of a folder's transcripts."""
    if not path.is_dir():
        return _archive(path, read_archive(path), label, rate, kind)
    if label is not None and written is not None:
        raise InputError(f"{path}: what is said stands in the column text of {written.name}; leave label out")
    if label is not None or (test_where is not None and written is None):
        raise InputError(f"{path} is a folder of classes; label and test_where belong to archives")
    if written is None and kind == "transcription":
        raise InputError(f"{path}: expected transcripts.csv (or .tsv) in it, with the columns file and text")
    if written is None:
        files = sorted(path.glob("*/*.wav"))
        sounds, kept = _waves(path, files, report, on_bad_row)
        return Recorded(sounds, np.array([files[i].parent.name for i in kept]), {}, [str(files[i]) for i in kept])
    raw, files = read_transcripts(written, report, on_bad_row)
    sounds, kept = _waves(path, files, report, on_bad_row)
    raw = raw.take(np.array(kept))
    others = {name: raw.frame[name].fill_null("").to_numpy() for name in raw.frame.columns}
    places = [f"{raw.place(row)} ({files[i].relative_to(path)})" for row, i in enumerate(kept)]
    return Recorded(sounds, others["text"], others, places)


def _waves(path: Path, files: list[Path], report: CleaningReport, on_bad_row: str) -> tuple[Sounds, list[int]]:
    """Return the recordings of wav files of one rate, and which of the files those are."""
    found, kept, rates = [], [], {}
    for i, file in enumerate(files):
        try:
            samples, rate = read_wav(file)
        except InputError as error:
            if on_bad_row == "stop":
                raise InputError(f"{error}; correct or remove it, or add --on-bad-row skip") from None
            continue
        found.append(samples)
        kept.append(i)
        rates.setdefault(rate, file)
    if not found:
        raise InputError(f"{path}: no readable wav file in its folders")
    if len(rates) > 1:
        (first, one), (second, other), *_ = rates.items()
        raise InputError(f"{path}: {one} has {first} samples a second, {other} has {second}; resample to one rate")
    bad = sorted(set(range(len(files))) - set(kept))
    report.add("files that cannot be read", len(bad), f"left out (first: {files[bad[0]] if bad else ''})")
    return joined(found, next(iter(rates))), kept


def _archive(path: Path, arrays: dict[str, np.ndarray], label: str | None, rate: int | None, kind: str | None) -> Recorded:
    sounds = sounds_of(path, arrays, rate)
    others = {name: values for name, values in arrays.items() if name not in ARRAYS and len(values) == len(sounds)}
    if label is None and len(others) != 1:
        raise InputError(f"{path}: which array is to be predicted? add --label NAME (one of {', '.join(others)})")
    label = label or next(iter(others))
    if label not in others:
        raise InputError(f"{path}: {unknown('label array', label, others)}")
    labels = others[label]
    if kind == "transcription" and (labels.dtype.kind != "U" or labels.ndim != 1):
        raise InputError(f"{path}: {label} holds {labels.dtype}; a transcription needs what is said in each recording as text")
    return Recorded(sounds, labels, others, [f"recording {i}" for i in range(len(labels))])


def sounds_of(path: Path, arrays: dict[str, np.ndarray], rate: int | None = None) -> Sounds:
    """Return the recordings of an archive: `audio` holds all samples, `offsets` where each begins."""
    if lacking := [name for name in ARRAYS if name not in arrays]:
        raise InputError(f"{path}: expected arrays audio and offsets; {lacking[0]} is not there")
    audio, offsets = as_int16(arrays["audio"], f"{path}, audio"), arrays["offsets"].astype(np.int64)
    if len(offsets) and offsets[0] == 0 and offsets[-1] != len(audio):
        offsets = np.append(offsets, len(audio))
    if len(offsets) < 2 or offsets[0] != 0 or offsets[-1] != len(audio) or (np.diff(offsets) < 0).any():
        raise InputError(f"{path}: offsets must rise from 0 to the {len(audio):,} samples of audio")
    stored = next((int(arrays[name].flat[0]) for name in RATES if name in arrays), 8_000)
    return Sounds(audio, offsets, rate or stored)
