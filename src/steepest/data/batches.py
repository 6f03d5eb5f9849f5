"""The order of the rows: a pure function of (seed, epoch), from which every step's batch follows."""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor


def epoch_order(num_rows: int, seed: int, epoch: int) -> Tensor:
    """Return the order in which an epoch visits the rows, shape (num_rows,), int64.

    >>> bool((epoch_order(5, seed=1, epoch=0) == epoch_order(5, seed=1, epoch=0)).all())
    True
    """
    import torch  # here: a recipe counts its batches without it

    digest = hashlib.blake2b(f"{seed},{epoch}".encode(), digest_size=8).digest()
    generator = torch.Generator().manual_seed(int.from_bytes(digest, "big") >> 1)
    return torch.randperm(num_rows, generator=generator)


def batch_bounds(num_rows: int, batch: int) -> list[tuple[int, int]]:
    """Return where each batch of an epoch begins and ends in its order.

    The last batch is what is left; a single row that is left over joins the batch before it, because batch normalisation
    cannot work on one row.

    >>> batch_bounds(10, 4)
    [(0, 4), (4, 8), (8, 10)]
    >>> batch_bounds(9, 4)
    [(0, 4), (4, 9)]
    """
    begins = list(range(0, num_rows, batch))
    if len(begins) > 1 and batch > 1 and num_rows - begins[-1] == 1:
        begins.pop()
    return list(zip(begins, [*begins[1:], num_rows], strict=True))


def batch_rows(num_rows: int, batch: int, seed: int, step: int = 0) -> Iterator[Tensor]:
    """Yield the rows of each batch of a training from so many steps on, epoch after epoch, without end."""
    bounds = batch_bounds(num_rows, batch)
    begun, made = divmod(step, len(bounds))
    for epoch in itertools.count(begun):
        order = epoch_order(num_rows, seed, epoch)
        yield from (order[begin:end] for begin, end in bounds[made if epoch == begun else 0 :])
