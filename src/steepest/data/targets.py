"""What is to be predicted: classes or numbers, told from the label column."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from ..errors import InputError
from ..transcripts import written
from .findings import CleaningReport
from .kinds import LARGEST

KINDS = ("classification", "regression")  # and "language": what follows each token; and "transcription"
MAX_CLASSES_OF_NUMBERS = 20  # whole numbers with more distinct values than this are taken for quantities


@dataclass(frozen=True)
class Targets:
    """The labels of all rows, encoded: class numbers (int64) with `classes` naming them, or plain numbers (float64).

    Of transcripts, `values` is (rows, longest): the numbers of their characters, then zeros; `classes` begins with the blank,
    and what is below 0 is a character that training lacks.
    """

    kind: str
    values: np.ndarray
    classes: tuple[Any, ...] | None = None
    strange: str = ""  # of transcripts, the characters that are no classes, numbered -1, -2, ...

    @property
    def num_classes(self) -> int:
        return len(self.classes or ())

    @property
    def num_outputs(self) -> int:
        """How many numbers a network must give: one for two classes, one each for more, one a target for regression."""
        if self.kind in ("language", "transcription"):
            return self.num_classes
        if self.classes is not None:
            return 1 if len(self.classes) == 2 else len(self.classes)
        return 1 if self.values.ndim == 1 else self.values.shape[1]

    @property
    def symbols(self) -> tuple[str, ...]:
        """What the numbers of transcripts stand for, those below 0 counted from the end."""
        return (*(self.classes or ()), *reversed(self.strange))

    @property
    def texts(self) -> list[str]:
        """The transcripts as they were given."""
        return [written(row, self.symbols) for row in self.values.tolist()]

    @property
    def codes(self) -> np.ndarray | None:
        """The class of each row, where rows have one: what they are dealt out by, each class in proportion."""
        return self.values if self.classes is not None and self.values.ndim == 1 else None

    def describe(self) -> str:
        """Return what is predicted: `10 classes`, `regression`, ..."""
        if self.kind == "language":
            return "what comes next"
        if self.kind == "transcription":
            return f"transcripts of {self.num_classes - 1} characters"
        return f"{self.num_classes} classes" if self.classes else "regression"

    def take(self, rows: np.ndarray) -> Targets:
        return replace(self, values=self.values[rows])


def guess_kind(labels: np.ndarray) -> str:
    """Return "classification" for text, booleans and few distinct whole numbers, else "regression"."""
    if labels.dtype.kind not in "iuf":
        return "classification"
    if labels.ndim > 1:
        return "regression"
    whole = labels.dtype.kind in "iu" or bool(np.all(labels == np.round(labels)))
    return "classification" if whole and len(np.unique(labels)) <= MAX_CLASSES_OF_NUMBERS else "regression"


def kind_of_whole_numbers(labels: np.ndarray) -> str | None:
    """Return "classification" for one whole number a row, where such labels count classes; else None: to be guessed."""
    return "classification" if labels.ndim == 1 and labels.dtype.kind in "iub" else None


def not_recorded(source: str) -> InputError:
    """Return the error of data that cannot be transcribed."""
    return InputError(
        f"{source}: kind='transcription' is for recordings: a folder with transcripts.csv, or an npz of audio and offsets"
    )


def encode(labels: np.ndarray, source: str, name: str = "label", kind: str | None = None) -> Targets:
    """Encode labels; refuse those nothing can be learned from (constant, infinite, a class with a single row)."""
    if kind == "transcription":
        raise not_recorded(source)
    if kind is not None and kind not in KINDS:
        raise InputError(f"kind must be 'classification' or 'regression' (got {kind!r})")
    if labels.dtype.kind == "c" or labels.ndim > 2 or (labels.ndim == 2 and labels.dtype.kind not in "iuf"):
        shape = "x".join(map(str, labels.shape))
        raise InputError(f"{source}: {name} must be one label a row, or numbers (rows, targets) (got {labels.dtype}, {shape})")
    if labels.dtype == object and any(value is None for value in labels.flat):
        raise InputError(f"{source}: {name} is missing (None) in some rows; leave them out")
    kind = kind or guess_kind(labels)
    if kind == "regression":
        return _numbers(labels, source, name)
    classes, codes, counts = np.unique(_as_keys(labels), return_inverse=True, return_counts=True)
    named: tuple[Any, ...] = tuple(_plain(value) for value in classes)
    if len(named) == 1:
        (only,) = named
        raise InputError(f"{source}: {name} is constant ({only!r} in all {len(labels)} rows); nothing to tell apart")
    if counts.min() < 2:
        single = named[int(np.argmin(counts))]
        hint = "; if the label is a quantity, add --kind regression" if labels.dtype.kind in "iuf" else ""
        raise InputError(
            f"{source}: class {single!r} of {name} has a single row; every class needs at least 2 to be trained on and "
            f"tested{hint}"
        )
    return Targets("classification", codes.astype(np.int64), named)


def check_taught(labels: np.ndarray, where: np.ndarray, source: str) -> None:
    """Raise unless every class of a part that was given has a row in the train part; numbers are no classes."""
    if guess_kind(labels) != "classification" and kind_of_whole_numbers(labels) is None:
        return
    known = set(labels[where == "train"].tolist())
    for label, part in zip(labels.tolist(), where, strict=True):
        if label not in known:
            raise InputError(f"{source}: class {label!r} of the {part} part does not occur in the train part")


def _numbers(labels: np.ndarray, source: str, name: str) -> Targets:
    if labels.dtype.kind not in "iuf":
        raise InputError(f"{source}: {name} holds text ({labels[:1]!s}, ...); regression needs numbers")
    values = labels.astype(np.float64)
    if not np.isfinite(values).all() or np.abs(values).max() > LARGEST:
        raise InputError(
            f"{source}: {name} holds values that are not finite, or beyond {LARGEST:g}; correct or remove those rows"
        )
    if values.ndim == 1 and values.min() == values.max():
        raise InputError(f"{source}: {name} is constant ({values[0]:g} in all {len(values)} rows); nothing to learn")
    return Targets("regression", values)


def _as_keys(labels: np.ndarray) -> np.ndarray:
    """Whole numbers compare as integers, everything else as it is (objects as text)."""
    if labels.dtype.kind == "f" and np.all(labels == np.round(labels)) and np.abs(labels).max() < 2**53:
        return labels.astype(np.int64)
    return labels.astype(str) if labels.dtype == object else labels


def _plain(value: Any) -> Any:
    return value.item() if isinstance(value, np.generic) else value


def align(
    labels: np.ndarray, classes: tuple[Any, ...], source: str, report: CleaningReport, on_bad_row: str | None = None
) -> np.ndarray:
    """Encode the labels of a second file with the classes of the first; a trailing full stop is forgiven, and reported.

    A label that the first file lacks stops; with `on_bad_row="skip"` it is -1, and counted.
    """
    keys = [_plain(value) for value in _as_keys(labels)]
    known = {value: i for i, value in enumerate(classes)}
    trimmed = 0
    codes = np.empty(len(keys), dtype=np.int64)
    for row, found in enumerate(keys):
        key = found
        if key not in known and isinstance(key, str) and key.rstrip(".") in known:
            key = key.rstrip(".")
            trimmed += 1
        if key not in known and on_bad_row != "skip":
            shown = ", ".join(repr(value) for value in classes[:6])
            hint = "" if on_bad_row is None else "; correct it, or add --on-bad-row skip"
            raise InputError(f"{source}: label {key!r} does not occur in the training file (its classes: {shown}){hint}")
        codes[row] = known.get(key, -1)
    report.add("rows with a label that the training file lacks", int((codes < 0).sum()), "skipped")
    report.add("labels of the test file with a trailing full stop", trimmed, "full stop removed")
    return codes
