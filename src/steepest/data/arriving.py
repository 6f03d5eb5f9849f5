"""Files of new rows, read as the training data came, for a model to predict."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from ..errors import InputError
from .archives import read_archive
from .encoding import texts_of_column
from .images import read_idx
from .language import CharacterPreprocessing
from .preprocessing import Preprocessing, TablePreprocessing
from .reading import TABLE_SUFFIXES, read_frame, read_text
from .series import SeriesPreprocessing
from .sounds import SoundPreprocessing
from .texts import TextPreprocessing, texts_of_lines


def rows_of_file(path: str | Path, preprocessing: Preprocessing, classes: Iterable[Any] | None = None) -> Any:
    """Return what a file of new rows holds, for `encode_rows`: a table, texts, images, recordings, steps of a series.

    Lines of labelled texts may begin with one of the `classes`, which is not read as text.
    """
    path = Path(path)
    if isinstance(preprocessing, TablePreprocessing | SeriesPreprocessing | CharacterPreprocessing):
        return path
    if isinstance(preprocessing, TextPreprocessing):
        return _texts(path, preprocessing, classes or ())
    if isinstance(preprocessing, SoundPreprocessing):
        return sorted(path.glob("**/*.wav")) if path.is_dir() else path
    if path.suffix == ".npz":
        arrays = read_archive(path)
        name = next((name for name in ("X", "x", "images", "x_test", "X_test") if name in arrays), None)
        if name is None:
            raise InputError(f"{path}: expected an array X of new rows; it holds {', '.join(arrays)}")
        return arrays[name]
    return read_idx(path)


def _texts(path: Path, preprocessing: TextPreprocessing, classes: Iterable[Any]) -> list[str]:
    """Return the texts of a table's column, or of lines, whichever the model was trained on."""
    if preprocessing.column is not None or path.name.endswith(TABLE_SUFFIXES):
        return texts_of_column(read_frame(path, header=preprocessing.reading.header, on_bad_row=None), preprocessing)
    content, _ = read_text(path)
    return texts_of_lines(content, classes, str(path))
