"""Files of new rows, read as the training data came, for a model to predict."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import InputError, listed
from ..later import pl
from .archives import read_archive
from .encoding import texts_of_column
from .folders import Sought
from .images import read_idx
from .inputs import Sounds
from .language import CharacterPreprocessing
from .pictures import PICTURES
from .preprocessing import ImagePreprocessing, Preprocessing, TablePreprocessing
from .reading import TABLE_SUFFIXES, RawTable, read_frame, read_text
from .recordings import sounds_of, stated_rate
from .series import SeriesPreprocessing
from .sounds import SoundPreprocessing
from .texts import TextPreprocessing, texts_of_lines
from .times import times_ahead
from .waves import WAVES


def rows_of_file(path: str | Path, preprocessing: Preprocessing, classes: Iterable[Any] | None = None) -> Any:
    """Return what a file of new rows holds, for `encode_rows`: a table, texts, images, recordings, steps of a series.

    Lines of labelled texts may begin with one of the `classes`, which is not read as text.
    """
    path = Path(path)
    if isinstance(preprocessing, TextPreprocessing):
        return _texts(path, preprocessing, classes or ())
    if isinstance(preprocessing, SeriesPreprocessing):
        return read_frame(path, header=preprocessing.reading.header, on_bad_row=None)
    if isinstance(preprocessing, CharacterPreprocessing):
        return path
    if isinstance(preprocessing, SoundPreprocessing):
        return _recordings(path, preprocessing.rate) if path.suffix == ".npz" else _files(path, WAVES, "wav files")
    if path.suffix == ".npz":
        return _array(path)
    if isinstance(preprocessing, TablePreprocessing):
        return path
    if isinstance(preprocessing, ImagePreprocessing) and (path.is_dir() or PICTURES.named(path.name)):
        return _files(path, PICTURES, "png, jpeg, bmp, webp or gif files")
    return read_idx(path)


def _array(path: Path) -> np.ndarray:
    arrays = read_archive(path)
    name = next((name for name in ("X", "x", "images", "x_test", "X_test") if name in arrays), None)
    if name is None:
        raise InputError(f"{path}: expected an array X of new rows; it holds {listed(arrays)}")
    return arrays[name][:, None] if arrays[name].ndim == 1 else arrays[name]


def _files(path: Path, sought: Sought, expected: str) -> list[Path]:
    """Return the files of a kind in a folder and those inside it, in the order of their names; or the one file."""
    if not path.is_dir():
        return [path]
    if not (found := sought.files_in(path)):
        endings = Counter(file.suffix.lower() or "no ending" for file in path.rglob("*") if file.is_file())
        held = listed((f"{ending} ({count:,})" for ending, count in endings.most_common()), 3) or "none"
        raise InputError(f"{path} holds no {sought.name}; expected {expected} (got files of {held})")
    return found


def times_ahead_of(rows: Any, preprocessing: Preprocessing) -> pl.Series | None:
    """Return the times of the steps that a forecast of a table is of, where that tells them."""
    if not isinstance(preprocessing, SeriesPreprocessing) or not isinstance(rows, RawTable):
        return None
    return times_ahead(rows, preprocessing.time, preprocessing.pattern, preprocessing.horizon)


def _recordings(path: Path, rate: int) -> Sounds:
    """Return the recordings of an npz archive; a rate that it states must be the one that the model was trained on."""
    arrays = read_archive(path)
    stated = stated_rate(path, arrays)
    if stated not in (None, rate):
        raise InputError(f"{path}: expected {rate} samples a second (got {stated}); resample it first")
    return sounds_of(path, arrays, rate)


def _texts(path: Path, preprocessing: TextPreprocessing, classes: Iterable[Any]) -> list[str]:
    """Return the texts of a table's column, or of lines, whichever the model was trained on."""
    if preprocessing.column is not None or path.name.endswith(TABLE_SUFFIXES):
        return texts_of_column(read_frame(path, header=preprocessing.reading.header, on_bad_row=None), preprocessing)
    content, _ = read_text(path)
    return texts_of_lines(content, classes, str(path))
