"""The steps of a table's preprocessing: one for each column, a plain value that turns its cells into features.

A step is fitted on training rows and keeps what it found there; `write` fills its columns of the matrix that a network reads.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Self

import numpy as np

from ..later import pl
from ..values import tupled
from .columns import Column
from .kinds import words_of
from .scaling import scaler_numbers

MAX_CATEGORIES = 32  # with a place each; more are looked up by a number
MAX_CODES = 10_000
MAX_WORDS = 128  # of a column of text
MIN_CELLS = 5  # that hold a word: on titanic's names, 5-fold accuracy was 0.814 so, 0.812 with 2, 0.808 without names (4 seeds)
MISSING = "(missing)"
AT_ONCE = 100_000  # cells of text taken apart together
DAY = 86_400


@dataclass(frozen=True)
class NumberStep:
    """One column of numbers: missing cells filled with the median (and flagged), then `(x - shift) / scale`.

    `pattern` is how text holds them, see `notations.py`; records of earlier versions lack it.
    """

    name: str
    fill: float
    shift: float
    scale: float
    flagged: bool
    pattern: str = ""
    kind: ClassVar[str] = "number"

    @property
    def width(self) -> int:
        return 2 if self.flagged else 1

    @property
    def features(self) -> list[str]:
        return [self.name, f"{self.name} is missing"] if self.flagged else [self.name]

    def write(self, out: np.ndarray, column: Column, scaling: str) -> None:
        """Fill these columns of the matrix, shape (rows, width)."""
        absent = np.isnan(column.values)
        filled = (np.where(absent, self.fill, column.values) - self.shift) / self.scale
        out[:, 0] = smooth_clip(filled) if scaling == "robust" else filled
        if self.flagged:
            out[:, 1] = absent

    @classmethod
    def from_dict(cls, value: dict[str, Any]) -> Self:
        return cls(**value)


@dataclass(frozen=True)
class CategoryStep:
    """One column of few categories, one place each; those unseen or rare share the last place where `others` is set."""

    name: str
    categories: tuple[str, ...]
    others: bool = False
    kind: ClassVar[str] = "category"

    @property
    def width(self) -> int:
        return len(self.categories) + self.others

    @property
    def features(self) -> list[str]:
        return [f"{self.name}={category}" for category in (*self.categories, *(["(other)"] if self.others else []))]

    def write(self, out: np.ndarray, column: Column, scaling: str) -> None:
        """Fill these columns of the matrix, shape (rows, width)."""
        del scaling
        codes = places(column, self.categories, len(self.categories) if self.others else -1)
        known = np.flatnonzero(codes >= 0)
        out[known, codes[known]] = 1.0

    @classmethod
    def from_dict(cls, value: dict[str, Any]) -> Self:
        return cls(**tupled(value, "categories"))


@dataclass(frozen=True)
class CodeStep:
    """One column of many categories, by their numbers, which a network looks up; 0: rare, or unseen in training."""

    name: str
    categories: tuple[str, ...]
    kind: ClassVar[str] = "category"
    width: ClassVar[int] = 1

    @property
    def features(self) -> list[str]:
        return [f"{self.name} (number of the category)"]

    @property
    def count(self) -> int:
        """How many different numbers there are."""
        return len(self.categories) + 1

    def write(self, out: np.ndarray, column: Column, scaling: str) -> None:
        """Fill this column of the matrix, shape (rows, 1)."""
        del scaling
        out[:, 0] = places(column, self.categories, -1) + 1

    @classmethod
    def from_dict(cls, value: dict[str, Any]) -> Self:
        return cls(**tupled(value, "categories"))


def places(column: Column, categories: Sequence[str], rest: int) -> np.ndarray:
    """Return the place of each cell among some categories, `rest` where it is none of them."""
    cells = column.cells().fill_null(MISSING)
    codes = cells.cast(pl.Enum(categories), strict=False).to_physical().cast(pl.Int64)
    return codes.fill_null(rest).to_numpy()


def fit_categories(column: Column) -> CategoryStep | CodeStep | None:
    """Fit on training cells: up to 32 categories have a place each; of more, those that occur twice have a number."""
    counts = column.cells().fill_null(MISSING).alias("of").value_counts(sort=True, name="count")
    if counts.height < 2:
        return None
    if counts.height <= MAX_CATEGORIES:
        return CategoryStep(column.name, tuple(sorted(counts["of"])))
    often = counts.filter(pl.col("count") > 1).sort(["count", "of"], descending=[True, False]).head(MAX_CODES)
    return CodeStep(column.name, tuple(often["of"])) if often.height else None


PERIODS = {"month": 12, "weekday": 7, "hour": 24}  # and "year", which does not come again


@dataclass(frozen=True)
class DateStep:
    """One column of dates: days since the earliest, the year, and month, day of the week and hour on circles.

    A part at `x` of a period `P` is the pair `sin(2 pi x / P), cos(2 pi x / P)`, so that December lies beside January. Only
    parts that vary in the training part are there. Days and years are scaled as numbers are; missing cells are the median.

    Attributes:
        name: of the column.
        pattern: how text holds the date.
        fill: what missing cells are taken for, in seconds since 1970.
        first: the earliest, in seconds since 1970.
        parts: which of year, month, weekday and hour are there.
        shift: of days, and of the year where it is there.
        scale: of the same.
        flagged: whether a feature says where cells are missing.
    """

    name: str
    pattern: str
    fill: float
    first: float
    parts: tuple[str, ...]
    shift: tuple[float, ...]
    scale: tuple[float, ...]
    flagged: bool
    kind: ClassVar[str] = "date"

    @property
    def features(self) -> list[str]:
        names = [f"{self.name} in days", *(f"{self.name}: year" for part in self.parts if part == "year")]
        circles = [f"{self.name}: {part} ({way})" for part in self.parts if part in PERIODS for way in ("sin", "cos")]
        return [*names, *circles, *([f"{self.name} is missing"] if self.flagged else [])]

    @property
    def width(self) -> int:
        return len(self.features)

    def write(self, out: np.ndarray, column: Column, scaling: str) -> None:
        """Fill these columns of the matrix, shape (rows, width)."""
        absent = np.isnan(column.values)
        stamps = np.where(absent, self.fill, column.values)
        numbers = (plain_parts(stamps, self.first)[:, : len(self.shift)] - self.shift) / self.scale
        at = len(self.shift)
        out[:, :at] = smooth_clip(numbers) if scaling == "robust" else numbers
        for part in self.parts:
            if part in PERIODS:
                angle = 2 * np.pi * part_of(stamps, part) / PERIODS[part]
                out[:, at], out[:, at + 1] = np.sin(angle), np.cos(angle)
                at += 2
        if self.flagged:
            out[:, at] = absent

    @classmethod
    def from_dict(cls, value: dict[str, Any]) -> Self:
        return cls(**tupled(value, "parts", "shift", "scale"))


def part_of(stamps: np.ndarray, part: str) -> np.ndarray:
    """Return year, month (0: January), weekday (0: Monday) or hour of seconds since 1970.

    >>> [part_of(np.array([1709296200.0]), part).item() for part in ("year", "month", "weekday", "hour")]
    [2024, 2, 4, 12.5]
    """
    dates = np.floor(stamps).astype("datetime64[s]")
    if part == "year":
        return dates.astype("datetime64[Y]").astype(np.int64) + 1970
    if part == "month":
        return dates.astype("datetime64[M]").astype(np.int64) % 12
    days, seconds = np.divmod(stamps, DAY)
    return (days.astype(np.int64) + 3) % 7 if part == "weekday" else seconds / 3600  # 1970 began on a Thursday


def plain_parts(stamps: np.ndarray, first: float) -> np.ndarray:
    """Return days since the first, and years; shape (rows, 2)."""
    return np.column_stack([(stamps - first) / DAY, part_of(stamps, "year")])


def fit_dates(column: Column, scaling: str) -> DateStep | None:
    """Fit on training cells; None where they tell nothing apart."""
    absent = np.isnan(column.values)
    if absent.all():
        return None
    present = column.values[~absent]
    fill, first = float(np.median(present)), float(present.min())
    if np.ptp(present) == 0 and not absent.any():
        return None
    stamps = np.where(absent, fill, column.values)
    parts = tuple(part for part in ("year", *PERIODS) if np.ptp(part_of(stamps, part)) > 0)
    plain = plain_parts(stamps, first)[:, : 1 + ("year" in parts)]
    shift, scale = scaler_numbers(plain, scaling)
    numbers = tuple(map(float, shift)), tuple(map(float, scale))
    return DateStep(column.name, column.pattern, fill, first, parts, *numbers, bool(absent.any()))


@dataclass(frozen=True)
class TextStep:
    """One column of text: how much each of some words stands out in a cell (tf-idf), a feature a word.

    `count of the word in the cell * (ln((1 + n) / (1 + cells with the word)) + 1)`, n cells in training, then divided by the
    length of the row of numbers. Salton, Buckley, 1988, doi:10.1016/0306-4573(88)90021-0, smoothed as scikit-learn does.
    """

    name: str
    words: tuple[str, ...]
    weights: tuple[float, ...]
    kind: ClassVar[str] = "text"

    @property
    def width(self) -> int:
        return len(self.words)

    @property
    def features(self) -> list[str]:
        return [f"{self.name}: {word}" for word in self.words]

    def write(self, out: np.ndarray, column: Column, scaling: str) -> None:
        """Fill these columns of the matrix, shape (rows, width)."""
        del scaling
        places = pl.Enum(self.words)
        for begin in range(0, len(out), AT_ONCE):
            rows, words = each_word(column.cells()[begin : begin + AT_ONCE])
            codes = words.cast(places, strict=False).to_physical()
            known = codes.is_not_null()
            np.add.at(out, (rows.filter(known).to_numpy() + begin, codes.filter(known).to_numpy()), 1.0)
        out *= np.asarray(self.weights, dtype=out.dtype)
        out /= np.maximum(np.linalg.norm(out, axis=1, keepdims=True), 1e-12)

    @classmethod
    def from_dict(cls, value: dict[str, Any]) -> Self:
        return cls(**tupled(value, "words", "weights"))


def each_word(cells: pl.Series) -> tuple[pl.Series, pl.Series]:
    """Return every word of some cells, and the row (from 0) that it stands in."""
    frame = pl.DataFrame({"word": words_of(cells)}).with_row_index("row").explode("word").drop_nulls("word")
    return frame["row"], frame["word"]


def fit_words(column: Column) -> TextStep | None:
    """Fit on training cells: the most frequent words that five cells have, and how rare each is."""
    counts = pl.DataFrame(schema={"word": pl.String, "count": pl.UInt32, "cells": pl.UInt32})
    for begin in range(0, len(column.values), AT_ONCE):
        rows, words = each_word(column.cells()[begin : begin + AT_ONCE])
        found = pl.DataFrame({"word": words, "row": rows}).group_by("word")
        counts = pl.concat([counts, found.agg(count=pl.len().cast(pl.UInt32), cells=pl.n_unique("row").cast(pl.UInt32))])
    counts = counts.group_by("word").agg(pl.sum("count", "cells")).filter(pl.col("cells") >= MIN_CELLS)
    counts = counts.filter(pl.col("cells") < len(column.values)).sort(["count", "word"], descending=[True, False])
    kept = counts.head(MAX_WORDS)
    if not kept.height:
        return None
    weights = np.log((1 + len(column.values)) / (1 + kept["cells"].to_numpy())) + 1
    return TextStep(column.name, tuple(kept["word"]), tuple(weights.tolist()))


def smooth_clip(x: np.ndarray) -> np.ndarray:
    """`x / sqrt(1 + (x / 3)^2)`: nearly x in the middle, never beyond 3 (Holzmüller et al., 2024, arXiv:2407.04491)."""
    return x / np.sqrt(1 + (x / 3) ** 2)


Step = NumberStep | CategoryStep | CodeStep | DateStep | TextStep
STEPS: dict[str, type[Step]] = {
    "number": NumberStep, "category": CategoryStep, "code": CodeStep, "date": DateStep, "text": TextStep,
}  # fmt: skip


def step_from_dict(value: dict[str, Any]) -> Step:
    """Read a step back from its JSON form; records of earlier versions do not say which step it is."""
    which = value.get("step", "category" if "categories" in value else "number")
    return STEPS[which].from_dict({name: item for name, item in value.items() if name != "step"})
