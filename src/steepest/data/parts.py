"""A part of the data as a network reads it: tensors on a device, handed out by index."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass

import torch
from torch import Tensor

from .batches import batch_bounds, batch_rows, epoch_order
from .gathering import Rows, Windows, reading_ahead


@dataclass
class Part:
    """Inputs and targets of one part; `batches` yields one epoch in the order that (seed, epoch) gives."""

    name: str
    inputs: Rows
    targets: Tensor | Windows

    def __len__(self) -> int:
        return len(self.targets)

    def of_one_training(self) -> Part:
        """Return the part as one training reads it: the same for all, where rows do not come one after the other."""
        return self

    def take(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        """Return inputs and targets of these rows. `index_select` took a fifth of the time of `inputs[rows]` on a CPU."""
        return self.inputs.index_select(0, rows), self.targets.index_select(0, rows)

    def batches(self, batch: int, seed: int, epoch: int) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield (inputs, targets) of each batch of one epoch; the last may be smaller."""
        order = epoch_order(len(self), seed, epoch).to(self.targets.device)
        for begin, end in batch_bounds(len(self), batch):
            yield self.take(order[begin:end])

    @contextmanager
    def read_ahead(self, seed: int, batch: int, step: int = 0, *, prefetch: bool = True) -> Iterator[None]:
        """While this is open, a training asks for its batches, from so many steps on; with `prefetch` they are read before."""
        with reading_ahead(self.inputs, batch_rows(len(self), batch, seed, step)) if prefetch else nullcontext():
            yield

    def in_order(self, batch: int) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield (inputs, targets) in the order of the rows, for evaluation."""
        yield from zip(pieces(self.inputs, batch), pieces(self.targets, batch), strict=True)


def pieces(rows: Rows, size: int) -> Iterator[Tensor]:
    """Yield copies of rows in their order, so many at a time: a network may write into what it is given."""
    if isinstance(rows, Tensor):
        yield from (rows[begin : begin + size].clone() for begin in range(0, len(rows), size))
        return
    places = list(torch.arange(len(rows), device=rows.device).split(size))
    with reading_ahead(rows, places if len(places) > 1 else ()):
        for some in places:
            yield rows.index_select(0, some)
