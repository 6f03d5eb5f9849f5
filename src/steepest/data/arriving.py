"""Files of new rows, read as the training data came, for a model to predict."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import InputError, listed
from .archives import read_archive
from .encoding import texts_of_column
from .images import read_idx
from .inputs import Sounds
from .language import CharacterPreprocessing
from .pictures import SUFFIXES
from .preprocessing import ImagePreprocessing, Preprocessing, TablePreprocessing
from .reading import TABLE_SUFFIXES, read_frame, read_text
from .recordings import ARRAYS, RATES
from .series import SeriesPreprocessing
from .sounds import SoundPreprocessing
from .texts import TextPreprocessing, texts_of_lines


def rows_of_file(path: str | Path, preprocessing: Preprocessing, classes: Iterable[Any] | None = None) -> Any:
    """Return what a file of new rows holds, for `encode_rows`: a table, texts, images, recordings, steps of a series.

    Lines of labelled texts may begin with one of the `classes`, which is not read as text.
    """
    path = Path(path)
    if isinstance(preprocessing, TextPreprocessing):
        return _texts(path, preprocessing, classes or ())
    if isinstance(preprocessing, SeriesPreprocessing | CharacterPreprocessing):
        return path
    if isinstance(preprocessing, SoundPreprocessing):
        if path.suffix == ".npz":
            return _recordings(path, preprocessing.rate)
        return sorted(path.glob("**/*.wav")) if path.is_dir() else path
    if path.suffix == ".npz":
        return _array(path)
    if isinstance(preprocessing, TablePreprocessing):
        return path
    if isinstance(preprocessing, ImagePreprocessing) and (path.is_dir() or path.suffix.lower() in SUFFIXES):
        return _pictures(path)
    return read_idx(path)


def _array(path: Path) -> np.ndarray:
    arrays = read_archive(path)
    name = next((name for name in ("X", "x", "images", "x_test", "X_test") if name in arrays), None)
    if name is None:
        raise InputError(f"{path}: expected an array X of new rows; it holds {listed(arrays)}")
    return arrays[name][:, None] if arrays[name].ndim == 1 else arrays[name]


def _pictures(path: Path) -> list[Path]:
    """Return the files of images in a folder and those inside it, in the order of their names; or the one file."""
    if not path.is_dir():
        return [path]
    found = sorted(file for file in path.rglob("*") if file.suffix.lower() in SUFFIXES and file.is_file())
    if not found:
        raise InputError(f"{path} holds no image; expected png, jpeg, bmp, webp or gif files")
    return found


def _recordings(path: Path, rate: int) -> Sounds:
    """Return the recordings of an npz archive; a rate that it states must be the one that the model was trained on."""
    arrays = read_archive(path)
    if lacking := [name for name in ARRAYS if name not in arrays]:
        raise InputError(f"{path}: expected arrays {' and '.join(ARRAYS)}; it lacks {lacking[0]} (it holds {listed(arrays)})")
    audio, offsets = arrays["audio"], arrays["offsets"].astype(np.int64)
    if len(offsets) and offsets[-1] != len(audio):
        offsets = np.append(offsets, len(audio))
    if len(offsets) < 2 or offsets[0] != 0 or (np.diff(offsets) < 1).any():
        raise InputError(
            f"{path}: offsets must rise from 0 to the {len(audio):,} samples of audio, one sample a recording at least"
        )
    stated = next((int(arrays[name].flat[0]) for name in RATES if name in arrays), rate)
    if stated != rate:
        raise InputError(f"{path}: expected {rate} samples a second (got {stated}); resample it first")
    return Sounds(audio, offsets, rate)


def _texts(path: Path, preprocessing: TextPreprocessing, classes: Iterable[Any]) -> list[str]:
    """Return the texts of a table's column, or of lines, whichever the model was trained on."""
    if preprocessing.column is not None or path.name.endswith(TABLE_SUFFIXES):
        return texts_of_column(read_frame(path, header=preprocessing.reading.header, on_bad_row=None), preprocessing)
    content, _ = read_text(path)
    return texts_of_lines(content, classes, str(path))
