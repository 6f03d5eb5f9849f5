"""Rows that are not lines of one tensor, gathered when a batch asks for them: unequally long ones, windows, pixels, files,
Datasets.

Each stands where a tensor of all rows would stand, and has what a batch needs of one: `len`, `index_select`, `dtype`, `device`.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Subset

from ..errors import blaming
from .ahead import MOST_BATCHES, ReadAhead
from .lines import Lines


@dataclass
class Gathered:
    """Rows made of what is held once, `flat`. Abstract: subclasses give `len`, `to` and `index_select`."""

    flat: Tensor

    @property
    def dtype(self) -> torch.dtype:
        return self.flat.dtype

    @property
    def device(self) -> torch.device:
        return self.flat.device


@dataclass
class Ragged(Gathered):
    """Rows of unequal length, one after the other; a batch is as long as its longest row, and shorter ones end in zeros."""

    # flat: (all steps, ...)
    offsets: Tensor  # where each row begins, and where the last ends

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def to(self, device: torch.device) -> Ragged:
        return Ragged(self.flat.to(device), self.offsets.to(device))

    def index_select(self, dim: int, index: Tensor) -> Tensor:
        assert dim == 0
        begins = self.offsets.index_select(0, index)
        lengths = self.offsets.index_select(0, index + 1) - begins
        steps = torch.arange(int(lengths.max()), device=self.device)
        at = (begins[:, None] + steps).clamp_(max=len(self.flat) - 1)
        found = self.flat.index_select(0, at.reshape(-1)).reshape(*at.shape, *self.flat.shape[1:])
        beyond = steps >= lengths[:, None]
        return found.masked_fill_(beyond.reshape(*beyond.shape, *[1] * (found.ndim - 2)), 0)


@dataclass
class Windows(Gathered):
    """Windows of one long series: row i is the `length` steps from `begins[i]` on."""

    # flat: (all steps, ...)
    begins: Tensor
    length: int

    def __len__(self) -> int:
        return len(self.begins)

    def to(self, device: torch.device) -> Windows:
        return Windows(self.flat.to(device), self.begins.to(device), self.length)

    def index_select(self, dim: int, index: Tensor) -> Tensor:
        assert dim == 0
        at = self.begins.index_select(0, index)[:, None] + torch.arange(self.length, device=self.device)
        return self.flat.index_select(0, at.reshape(-1)).reshape(*at.shape, *self.flat.shape[1:])


@dataclass
class Spelled(Gathered):
    """Rows of words, each a line of numbers that is held once however often the word occurs."""

    # flat: (different words + 1, numbers), of which the first line is padding
    places: Ragged  # for each row the lines of its words

    def __len__(self) -> int:
        return len(self.places)

    def to(self, device: torch.device) -> Spelled:
        return Spelled(self.flat.to(device), self.places.to(device))

    def index_select(self, dim: int, index: Tensor) -> Tensor:
        places = self.places.index_select(dim, index)
        return self.flat.index_select(0, places.reshape(-1)).reshape(*places.shape, -1)


@dataclass(frozen=True)
class Standard:
    """How numbers are standardised: `(x - shift) / scale`, in float32; both of shape (1, channels, 1, 1)."""

    shift: Tensor
    scale: Tensor

    @classmethod
    def of(cls, shift: Sequence[float], scale: Sequence[float]) -> Standard:
        return cls(*(torch.tensor(numbers, dtype=torch.float32).reshape(1, -1, 1, 1) for numbers in (shift, scale)))

    def to(self, device: torch.device) -> Standard:
        return Standard(self.shift.to(device), self.scale.to(device))

    def __call__(self, x_BCHW: Tensor) -> Tensor:
        return x_BCHW.to(torch.float32, copy=True).sub_(self.shift).div_(self.scale)


@dataclass
class Pixels(Gathered):
    """Images held in 8 bits, a quarter of the memory, and standardised when a batch asks for them."""

    # flat: (rows, channels, height, width)
    by: Standard

    def __len__(self) -> int:
        return len(self.flat)

    @property
    def dtype(self) -> torch.dtype:
        return torch.float32

    def to(self, device: torch.device) -> Pixels:
        return Pixels(self.flat.to(device), self.by.to(device))

    def index_select(self, dim: int, index: Tensor) -> Tensor:
        assert dim == 0
        return self.by(self.flat.index_select(0, index))


@dataclass
class Mapped:
    """Rows that lie on disk, read when a batch asks for them, or before where `read_ahead` was told which will be asked for."""

    lines: Lines
    dtype: torch.dtype
    by: Standard | None = None
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    ahead: ReadAhead | None = field(default=None, repr=False)
    spare: deque[np.ndarray] = field(default_factory=partial(deque, maxlen=MOST_BATCHES), repr=False)
    # memory of batches that are used up, for those to come

    def __len__(self) -> int:
        return len(self.lines)

    def to(self, device: torch.device) -> Mapped:
        where = torch.device(device)
        return Mapped(self.lines, self.dtype, None if self.by is None else self.by.to(where), where)

    def index_select(self, dim: int, index: Tensor) -> Tensor:
        assert dim == 0
        places = index.cpu().numpy()
        found = None if self.ahead is None else self.ahead.take(places)
        stored = self._gather(places) if found is None else found
        read = self.lines.in_order(stored)
        if read.dtype != np.uint8:  # of files, in any size and order of bytes
            read = read.astype(np.int64 if self.dtype == torch.int64 else np.float32, copy=False)
        x = torch.from_numpy(read).to(self.device)
        made = x.to(self.dtype, copy=True) if self.by is None else self.by(x)
        self.spare.append(stored)
        return made

    def _gather(self, places: np.ndarray) -> np.ndarray:
        try:
            into = self.spare.pop()
        except IndexError:  # none is left; asked first, another thread could take it in between
            into = None
        return self.lines.gather(places, into)

    @contextmanager
    def read_ahead(self, batches: Iterable[Tensor]) -> Iterator[None]:
        """While this is open, a thread reads the rows of these batches, in which they are to be asked for."""
        if self.ahead is not None:  # one reader at a time; whoever comes in between reads for himself
            yield
            return
        reader = ReadAhead(self._gather, (index.cpu().numpy() for index in batches), self.lines.row_bytes)
        with reader:
            self.ahead = reader
            try:
                yield
            finally:
                self.ahead = None
                self.spare.clear()


@contextmanager
def reading_ahead(rows: Rows, batches: Iterable[Tensor]) -> Iterator[None]:
    """While this is open, rows on disk are read before they are asked for; others are there already."""
    if isinstance(rows, Mapped):
        with rows.read_ahead(batches):
            yield
    else:
        yield


@dataclass
class Fetched:
    """Rows of a PyTorch Dataset, fetched item by item at each batch, so that random transforms stay random."""

    dataset: Any
    device: torch.device

    def __len__(self) -> int:
        return len(self.dataset)

    def to(self, device: torch.device) -> Fetched:
        return Fetched(self.dataset, torch.device(device))

    def index_select(self, dim: int, index: Tensor) -> Tensor:
        assert dim == 0
        items = [self._item(i) for i in index.tolist()]
        with blaming("the dataset"):
            return torch.stack(items).to(self.device)

    def _item(self, i: int) -> Tensor:
        """Return the input at a place of this part, blaming the item by its number in the whole Dataset."""
        whole, at = self.dataset, i
        while type(whole) is Subset:
            whole, at = whole.dataset, int(whole.indices[at])
        with blaming(f"item {at} of the dataset"):
            return torch.as_tensor(whole[at][0])


Rows = Tensor | Ragged | Windows | Spelled | Pixels | Mapped | Fetched
