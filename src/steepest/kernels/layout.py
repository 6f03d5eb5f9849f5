"""How tensors are laid out for compiled code: the rows of a table, the chunks they are cut into, and where everything lies.

Both tables, that of `native` in the host's memory and that of `gpu` on a device, are made of this.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from . import storage
from .block import Block
from .eager import wide
from .program import Program
from .random import key_of

DTYPES = {torch.float32: "float32", torch.float64: "float64", torch.bfloat16: "bfloat16", torch.float16: "float16"}


class Rows:
    """The tensors of some blocks, one after the other: a row each."""

    def __init__(self, program: Program, blocks: Sequence[Block]) -> None:
        self.program, self.blocks = program, list(blocks)
        self.params = [p for block in blocks for p in block.params]
        self.sizes = np.array([p.numel() for p in self.params], dtype=np.int64)
        self.units = np.array([p.shape[0] if p.ndim > 1 else 1 for p in self.params], dtype=np.int64)
        self.lengths = np.maximum(self.sizes // np.maximum(self.units, 1), 1)  # of a unit
        self.unit_at = np.cumsum(self.units) - self.units
        self.group = np.repeat(np.arange(len(self.blocks), dtype=np.int32), [len(block.params) for block in self.blocks])
        grads = (g for block in blocks for g in block.grads)
        # whether every gradient can be read where it lies, with the strides that it has for as long as its block lives
        self.in_place = all(itertools.starmap(_laid_out_alike, zip(self.params, grads, strict=True)))

    def __len__(self) -> int:
        return len(self.params)

    def working(self) -> list[Tensor]:
        """Return a memory to work in for each row, in the precision that is computed in."""
        return [torch.empty_like(p, dtype=wide(p.dtype)) for p in self.params]

    def chunks(self, piece: int, piece_of_units: int | None = None) -> np.ndarray:
        """Return (row, begin, end) of pieces of about so many numbers, in order; of whole units where a sum runs over units."""
        pieces = np.full_like(self.sizes, piece)
        if self.program.by_units:
            pieces = np.maximum((piece_of_units or piece) // self.lengths, 1) * self.lengths
        counts = -(-self.sizes // pieces)
        rows = np.repeat(np.arange(len(self), dtype=np.int64), counts)
        first = np.repeat(np.cumsum(counts) - counts, counts)
        begin = (np.arange(len(rows), dtype=np.int64) - first) * pieces[rows]
        return np.ascontiguousarray(np.stack([rows, begin, np.minimum(begin + pieces[rows], self.sizes[rows])], axis=1))

    def scalars(self) -> list[list[float]]:
        """Return this step's scalars, a row for each block."""
        return [self.program.read(block.scalars()) for block in self.blocks]

    def keys(self) -> list[list[int]]:
        """Return this step's keys of random numbers, for each row."""
        seeds = list(enumerate(self.program.seeds))
        return [[key_of(seed, place, b.t, n) for n, seed in seeds] for b in self.blocks for place in b.places] if seeds else []

    def moving(self) -> np.ndarray:
        """Return where what moves lies now: `program.moving` times rows. A gradient that is laid out otherwise is copied."""
        found = [self._asked(block).reshape(2, -1)[: len(self.program.moving)] for block in self.blocks]
        return found[0] if len(found) == 1 else np.concatenate(found, axis=1)

    def _asked(self, block: Block) -> np.ndarray:
        if self.in_place and block.addresses is not None:
            return block.addresses
        block.grads = [_laid_out_as(p, g) for p, g in zip(block.params, block.grads, strict=True)]
        return np.fromiter(map(Tensor.data_ptr, itertools.chain(block.params, block.grads)), np.int64, 2 * len(block.params))

    def staying(self, working: Mapping[str, Sequence[Tensor]]) -> np.ndarray:
        """Return where what stays lies: rows times `program.staying`. What is not in a `working` memory is state."""
        columns = [
            np.array([memory.data_ptr() for memory in working[name]], dtype=np.int64)
            if name in working
            else self.state([name])[:, 0]
            for name in self.program.staying
        ]
        return np.stack(columns, axis=1) if columns else np.zeros((len(self), 0), dtype=np.int64)

    def state(self, names: Sequence[str]) -> np.ndarray:
        """Return where state lies, a row for each row; it stays there."""
        found = [_address_of_state(block, name, i) for block in self.blocks for i in range(len(block.params)) for name in names]
        return np.array(found, dtype=np.int64).reshape(len(self), len(names))


def _address_of_state(block: Block, name: str, i: int) -> int:
    """Return where parameter `i` of a block has the state that a memory stands for."""
    link, slot = name.removesuffix(storage.SCALE).split(".", 1)
    held: Any = block.slots[int(link)][slot][i]
    if isinstance(held, storage.EightBit):
        held = held.scales if name.endswith(storage.SCALE) else held.codes
    return held.data_ptr()


def _laid_out_as(p: Tensor, g: Tensor) -> Tensor:
    """Return a gradient in the layout of its parameter."""
    return g if _laid_out_alike(p, g) else torch.empty_like(p).copy_(g)


def _laid_out_alike(p: Tensor, g: Tensor) -> bool:
    return g.stride() == p.stride() or (p.is_contiguous() and g.is_contiguous())
