"""How state is kept in memory: as numbers of a floating dtype, or in 8 bits, block by block.

Every block of 256 numbers shares a scale, its largest absolute value. A signed number x is the code c in [-127, 127] with
`x = scale * sign(c) (c / 127)^2`; one that is never negative is the code c in [0, 255] with `x = scale (c / 255)^4`: powers
spend the codes where moments lie, near 0, and need no table. A number above 0 never becomes 0, because steps are divided by it.
After Dettmers, Lewis, Shleifer, Zettlemoyer, 8-bit Optimizers via Block-wise Quantization, 2022, arXiv:2110.02861, who use a
table of 256 values.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

BLOCK = 256
SIGNED, UNSIGNED = "signed8", "unsigned8"
STEPS = {SIGNED: 127**2, UNSIGNED: 255**4}  # what the largest code stands for
SCALE = "~scale"  # beside the name of the memory that it scales
EIGHT_BIT = "8-bit"


class EightBit(NamedTuple):
    """Codes in the shape and layout of the parameter, and one scale (float32) a block of them."""

    codes: Tensor
    scales: Tensor


def blocks_of(count: int) -> int:
    """Return how many blocks hold this many numbers."""
    return -(-count // BLOCK)


def _in_blocks(x: Tensor) -> Tensor:
    """Return the numbers as they lie in memory, a row for each block, filled up with zeros."""
    return torch.nn.functional.pad(_flat(x), (0, blocks_of(x.numel()) * BLOCK - x.numel())).view(-1, BLOCK)


def read(state: EightBit, dtype: torch.dtype) -> Tensor:
    """Return the numbers that were kept, in the shape and layout of the codes."""
    c = _in_blocks(state.codes).to(dtype)
    signed = state.codes.dtype == torch.int8
    scale = state.scales.to(dtype).unsqueeze(1)
    values = (c * c.abs()) * (scale / STEPS[SIGNED]) if signed else (c * c) * (c * c) * (scale / STEPS[UNSIGNED])
    return values.view(-1)[: state.codes.numel()].as_strided(state.codes.shape, state.codes.stride())


def write(state: EightBit, x: Tensor) -> None:
    """Keep these numbers, in place."""
    if not x.numel():
        return
    if x.stride() != state.codes.stride():
        x = torch.empty_like(state.codes, dtype=x.dtype).copy_(x)
    rows = _in_blocks(x)
    peak = rows.abs().amax(dim=1, keepdim=True).float().to(x.dtype)
    peak = torch.where((rows - rows).sum(dim=1, keepdim=True) == 0, peak, torch.nan)  # infinite or NaN: the block is lost
    over = torch.where(peak > 0, peak, 1.0)
    if state.codes.dtype == torch.int8:
        whole = ((rows.abs() / over).sqrt() * 127 + 0.5).clamp(max=127).nan_to_num(127).floor()
        codes = torch.where(rows < 0, -whole, whole)
    else:
        whole = ((rows / over).sqrt().sqrt() * 255 + 0.5).clamp(max=255).nan_to_num(255).floor()
        codes = torch.where((rows > 0) & (whole < 1), 1.0, whole)
    state.scales.copy_(peak.squeeze(1))
    _flat(state.codes).copy_(codes.view(-1)[: x.numel()])


def _flat(x: Tensor) -> Tensor:
    """Return the numbers as they lie in memory."""
    return x.as_strided((x.numel(),), (1,))
