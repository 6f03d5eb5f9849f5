"""Reading recordings: folders of wav files, a folder a class; npz archives of one long array; arrays in memory."""

from __future__ import annotations

import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import InputError, listed, shown, unknown
from ..sources import bare_name
from .archives import read_archive
from .cleaning import CleaningReport
from .conditions import where
from .core import Data
from .folders import classes_of, holds
from .frames import to_numpy
from .inputs import Sounds
from .pictures import PICTURES
from .splitting import SHARES, deal_with_test
from .targets import encode
from .transcribed import read_transcripts, transcribed, transcripts_of
from .waves import WAVES, check_rate, read_wav

ARRAYS = ("audio", "offsets")  # of an npz archive: all samples, and where each recording begins
KINDS = ("classification", "transcription")
RATES = ("rate", "sample_rate", "sampling_rate", "sr")


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
        return transcripts_of(path) is not None or (holds(path, WAVES) and _more_than_pictures(path))
    if path.suffix != ".npz":
        return False
    try:
        with zipfile.ZipFile(path) as members:
            return {f"{name}.npy" for name in ARRAYS} <= set(members.namelist())
    except (OSError, zipfile.BadZipFile):
        return False  # and the reader of archives says why


def _more_than_pictures(path: Path) -> bool:
    return not holds(path, PICTURES) or len(WAVES.files_in(path)) >= len(PICTURES.files_in(path))


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
    name = name or bare_name(path.resolve())
    written = transcripts_of(path) if path.is_dir() and kind != "classification" else None
    if path.is_dir():
        _check_folder(path, written, label, rate, kind, test_where)
    if path.is_dir() and written is None:
        return _read_classes(path, report, on_bad_row=on_bad_row, parts=parts, seed=seed, name=name)
    if written is not None:
        found = _read_transcribed(path, written, report, on_bad_row)
    else:
        found = _archive(path, read_archive(path), label, rate, kind)
    found = _with_sound(found, path, report, on_bad_row)
    tested = where(found.others, test_where, str(path)) if test_where else np.zeros(len(found.labels), dtype=bool)
    if kind == "transcription" or written is not None:
        return transcribed(
            found.sounds, found.labels.tolist(), source=str(written or path), name=name, report=report, parts=parts, seed=seed,
            tested=tested, on_bad_row=on_bad_row, places=found.places,
        )  # fmt: skip
    try:
        targets = encode(found.labels, str(path), f"label {label!r}" if label else "label", "classification")
    except InputError as error:
        hint = "; if the labels are what is said, add --kind transcription" if found.labels.dtype.kind == "U" else ""
        raise InputError(f"{error}{hint}") from None
    dealt = deal_with_test(targets, parts, seed, name, tested)
    return Data(name, found.sounds, targets, dealt, report, test_given=bool(tested.any()))


def _check_folder(
    path: Path, written: Path | None, label: str | None, rate: int | None, kind: str | None, test_where: str | None
) -> None:
    """Raise where an option belongs to archives, or a folder lacks what it needs."""
    if label is not None:
        raise InputError(
            f"{path} is a folder: {'what is said stands in ' + written.name if written else 'its folders are the classes'}; "
            "leave label out"
        )
    if rate is not None:
        raise InputError(f"{path} is a folder of wav files, which say their rate; leave rate out")
    if written is None and kind == "transcription":
        raise InputError(f"{path}: expected transcripts.csv (or .tsv) in it, with the columns file and text")
    if written is None and test_where is not None:
        raise InputError(f"{path} is a folder of classes; leave test_where out, and put the test part into a folder test")


def _with_sound(found: Recorded, path: Path, report: CleaningReport, on_bad_row: str) -> Recorded:
    """Return the recordings that have a sample."""
    report.rows, report.columns = len(found.labels), 1
    empty = np.diff(found.sounds.offsets) < 1
    if empty.any() and on_bad_row == "stop":
        place = found.places[int(np.flatnonzero(empty)[0])]
        raise InputError(f"{path}: {place} holds no sound (0 samples); add --on-bad-row skip")
    report.add("recordings without a sample", int(empty.sum()), "left out")
    return found.take(np.flatnonzero(~empty)) if empty.any() else found


def _read_classes(
    path: Path, report: CleaningReport, *, on_bad_row: str, parts: tuple[float, ...], seed: int, name: str
) -> Data:
    """Read a folder of classes with wav files; folders test and validation beside train are those parts."""
    found = classes_of(path, WAVES, report)
    sounds, kept = _waves(path, found.files, report, on_bad_row)
    found = found.take(kept)
    targets, dealt = found.deal(path, parts, seed, name)
    report.rows, report.columns = len(kept), 1
    return Data(name, sounds, targets, dealt, report, test_given="test" in found.parts)


def _read_transcribed(path: Path, written: Path, report: CleaningReport, on_bad_row: str) -> Recorded:
    """Read a folder of recordings and the file of what is said in them."""
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
        raise InputError(f"{path}: which array is to be predicted? add --label NAME (one of {listed(others)})")
    label = label or next(iter(others))
    if label not in others:
        raise InputError(f"{path}: {unknown('label array', label, others)}")
    labels = others[label]
    if labels.ndim != 1:
        raise InputError(f"{path}, {label}: expected one label a recording (got shape {labels.shape})")
    if kind == "transcription" and labels.dtype.kind != "U":
        raise InputError(f"{path}: {label} holds {labels.dtype}; a transcription needs what is said in each recording as text")
    return Recorded(sounds, labels, others, [f"recording {i}" for i in range(len(labels))])


def sounds_of(path: Path, arrays: dict[str, np.ndarray], rate: int | None = None) -> Sounds:
    """Return the recordings of an archive: `audio` holds all samples, `offsets` where each begins."""
    if lacking := [name for name in ARRAYS if name not in arrays]:
        raise InputError(f"{path}: expected arrays audio and offsets; it lacks {lacking[0]} (it holds {listed(arrays)})")
    audio, offsets = as_int16(arrays["audio"], f"{path}, audio"), arrays["offsets"]
    if offsets.dtype.kind not in "iu" or offsets.ndim != 1:
        raise InputError(
            f"{path}, offsets: expected a whole number a recording, where it begins (got {offsets.dtype}, "
            f"shape {offsets.shape})"
        )
    offsets = offsets.astype(np.int64)
    if len(offsets) and offsets[0] == 0 and offsets[-1] != len(audio):
        offsets = np.append(offsets, len(audio))
    if len(offsets) < 2 or offsets[0] != 0 or offsets[-1] != len(audio) or (np.diff(offsets) < 0).any():
        raise InputError(f"{path}: offsets must rise from 0 to the {len(audio):,} samples of audio")
    rate = rate or stated_rate(path, arrays) or 8_000
    check_rate(rate, str(path))
    return Sounds(audio, offsets, rate)


def stated_rate(path: Path, arrays: dict[str, np.ndarray]) -> int | None:
    """Return the samples a second that an archive states, if it does."""
    name = next((name for name in RATES if name in arrays), None)
    if name is None:
        return None
    if arrays[name].size != 1 or arrays[name].dtype.kind not in "iuf":
        raise InputError(f"{path}, {name}: expected one number of samples a second (got {shown(arrays[name])})")
    stated = arrays[name].item()
    rate = int(stated) if stated == stated // 1 else stated  # NaN is neither
    check_rate(rate, f"{path}, {name}")
    return rate
