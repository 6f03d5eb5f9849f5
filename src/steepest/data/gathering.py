"""Rows that are not lines of one tensor, gathered when a batch asks for them: unequally long ones, windows, Datasets.

Each stands where a tensor of all rows would stand, and has what a batch needs of one: `len`, `index_select`, `dtype`, `device`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import Subset

from ..errors import blaming


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


Rows = Tensor | Ragged | Windows | Spelled | Fetched
