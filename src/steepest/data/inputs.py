"""What is learned from, before preprocessing: the rows of each kind of data, as `Data` holds them.

Each kind can be counted, described, taken apart by rows, and fits the preprocessing that its rows need. `cleaning.Table` is the
one for tables.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

import numpy as np

from .columns import Reading
from .frames import rows_of
from .lines import Lines

if TYPE_CHECKING:
    from .findings import CleaningReport
    from .gathering import Windows
    from .preprocessing import Preprocessing


class Inputs(Protocol):
    """The rows of one kind of data."""

    kind: ClassVar[str]  # as `Form` names it

    def __len__(self) -> int: ...

    def take(self, rows: np.ndarray) -> Inputs:
        """Return these rows, in this order."""
        ...

    def describe(self) -> str:
        """Return how many of what there are, such as `1,797 images 1x8x8`."""
        ...

    def fit(self, scaling: str, report: CleaningReport) -> Preprocessing:
        """Fit the preprocessing on all rows, which must be the training rows; the report takes what it leaves out."""
        ...


def _taken(values: np.ndarray | Lines, rows: np.ndarray) -> np.ndarray | Lines:
    return values[rows] if isinstance(values, Lines) else rows_of(values, rows)


@dataclass(frozen=True)
class Images:
    """Images of shape (rows, channels, height, width), uint8 or numbers, in memory or on disk."""

    values: np.ndarray | Lines
    kind: ClassVar[str] = "image"

    def __len__(self) -> int:
        return len(self.values)

    def take(self, rows: np.ndarray) -> Images:
        return Images(_taken(self.values, rows))

    def describe(self) -> str:
        channels, *size = self.values.shape[1:]
        colours = f", {channels} channels" if channels > 1 else ""
        return f"{len(self):,} images {'x'.join(map(str, size))}{colours}"

    def fit(self, scaling: str, report: CleaningReport) -> Preprocessing:
        from .preprocessing import fit_images

        del report
        return fit_images(self.values, scaling)


@dataclass(frozen=True)
class Arrays:
    """Rows of any shape, in memory or on disk, handed over as they are: as float32, or as whole numbers."""

    values: np.ndarray | Lines
    integers: bool = False
    kind: ClassVar[str] = "array"

    def __len__(self) -> int:
        return len(self.values)

    def take(self, rows: np.ndarray) -> Arrays:
        return Arrays(_taken(self.values, rows), self.integers)

    def describe(self) -> str:
        return f"{len(self):,} rows of shape {'x'.join(map(str, self.values.shape[1:]))}"

    def fit(self, scaling: str, report: CleaningReport) -> Preprocessing:
        from .preprocessing import ArrayPreprocessing

        del scaling, report
        return ArrayPreprocessing(tuple(self.values.shape[1:]), "int64" if self.integers else "float32")


@dataclass(frozen=True)
class Items:
    """Rows of a PyTorch Dataset of (input, label) pairs, fetched one by one."""

    dataset: Any
    kind: ClassVar[str] = "items"

    def __len__(self) -> int:
        return len(self.dataset)

    def take(self, rows: np.ndarray) -> Items:
        from torch.utils.data import Subset

        return Items(Subset(self.dataset, rows.tolist()))

    def describe(self) -> str:
        return f"{len(self):,} rows of shape {'x'.join(map(str, self.dataset[0][0].shape))}"

    def fit(self, scaling: str, report: CleaningReport) -> Preprocessing:
        from .preprocessing import ItemsPreprocessing

        del scaling, report
        return ItemsPreprocessing(tuple(self.dataset[0][0].shape))


@dataclass(frozen=True)
class Texts:
    """Texts to be told apart, one a row."""

    values: np.ndarray  # of str
    tokens: str = "words"  # or "bpe"
    column: str | None = None  # of the table that they were read from
    reading: Reading | None = None  # and how that was read
    kind: ClassVar[str] = "text"

    def __len__(self) -> int:
        return len(self.values)

    def take(self, rows: np.ndarray) -> Texts:
        return replace(self, values=self.values[rows])

    def describe(self) -> str:
        return f"{len(self):,} texts"

    def fit(self, scaling: str, report: CleaningReport) -> Preprocessing:
        from .texts import fit_texts

        del scaling
        return fit_texts(self, report)


@dataclass(frozen=True)
class Stream:
    """One long text, and windows of it: a row is the window that begins there, its targets are the characters that follow."""

    codes: np.ndarray  # of the whole text, each below len(alphabet)
    alphabet: str
    begins: np.ndarray
    context: int
    kind: ClassVar[str] = "language"

    def __len__(self) -> int:
        return len(self.begins)

    def take(self, rows: np.ndarray) -> Stream:
        codes, begins = _compact(self.codes, self.begins[rows], self.context + 1)
        return replace(self, codes=codes, begins=begins)

    def seen(self) -> Windows:
        """Return the characters of each window, as numbers."""
        return self._windows(0)

    def following(self) -> Windows:
        """Return for every character of each window the one that follows it."""
        return self._windows(1)

    def _windows(self, later: int) -> Windows:
        import torch

        from .gathering import Windows

        codes, begins = torch.from_numpy(self.codes.astype(np.int64)), torch.from_numpy(self.begins + later)
        return Windows(codes, begins, self.context)

    def describe(self) -> str:
        return f"{len(self.codes):,} characters, {len(self.alphabet)} different, in {len(self):,} windows of {self.context}"

    def fit(self, scaling: str, report: CleaningReport) -> Preprocessing:
        from .language import CharacterPreprocessing

        del scaling, report
        return CharacterPreprocessing(self.alphabet, self.context)


@dataclass(frozen=True)
class Series:
    """A series in time, and windows of it: a row is the `window` steps that begin there."""

    values: np.ndarray  # (steps, features)
    names: tuple[str, ...]
    begins: np.ndarray
    window: int
    horizon: int
    label: int  # the feature that is forecast
    reading: Reading = field(default_factory=Reading)
    time: str | None = None  # the column that holds the time, and how text holds it there
    pattern: str | None = None
    kind: ClassVar[str] = "series"

    def __len__(self) -> int:
        return len(self.begins)

    def take(self, rows: np.ndarray) -> Series:
        values, begins = _compact(self.values, self.begins[rows], self.window)
        return replace(self, values=values, begins=begins)

    def describe(self) -> str:
        features = f" of {len(self.names)} features" if len(self.names) > 1 else ""
        ahead = f"{self.window} steps seen, {self.horizon} ahead"
        return f"{len(self.values):,} steps{features}, in {len(self):,} windows ({ahead})"

    def fit(self, scaling: str, report: CleaningReport) -> Preprocessing:
        from .series import fit_series

        return fit_series(self, scaling, report)


def _compact(values: np.ndarray, begins: np.ndarray, length: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the steps that some windows cover, no others, and where the windows begin among those."""
    change = np.zeros(len(values) + 1, dtype=np.int64)
    np.add.at(change, begins, 1)
    np.add.at(change, begins + length, -1)
    covered = np.cumsum(change[:-1]) > 0
    return values[covered], (np.cumsum(covered) - 1)[begins] if len(begins) else begins


@dataclass(frozen=True)
class Sounds:
    """Recordings of one rate, one after the other."""

    samples: np.ndarray  # of all recordings, in [-1, 1) or int16
    offsets: np.ndarray  # where each begins, and where the last ends
    rate: int  # samples a second
    each_step: bool = False  # whether every frame is to be answered; then a recording is read to its end
    kind: ClassVar[str] = "sound"

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def take(self, rows: np.ndarray) -> Sounds:
        pieces = [self.samples[self.offsets[row] : self.offsets[row + 1]] for row in rows]
        offsets = np.concatenate([[0], np.cumsum([len(piece) for piece in pieces], dtype=np.int64)])
        return replace(self, samples=np.concatenate(pieces) if pieces else self.samples[:0], offsets=offsets)

    def describe(self) -> str:
        seconds = np.diff(self.offsets) / self.rate
        return f"{len(self):,} recordings of {seconds.min():.2f} to {seconds.max():.2f} s at {self.rate:,} Hz"

    def fit(self, scaling: str, report: CleaningReport) -> Preprocessing:
        from .sounds import fit_sounds

        return fit_sounds(self, scaling, report)
