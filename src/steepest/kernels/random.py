"""Counter-based random numbers: a function of (seed, place of the tensor, step, draw, element), the same in every execution.

Nothing is drawn in an order, so threads, devices and resumed trainings cannot change what is drawn. An element's 32 bits are
its index, mixed twice with two halves of a key; the mixer is a low-bias one of Wellons' search
(https://nullprogram.com/blog/2018/07/31/).
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

MASK = 0xFFFFFFFF
GOLDEN, FIRST, SECOND = 0x9E3779B1, 0x7FEB352D, 0x846CA68B
OTHER = 0x85EBCA6B  # sets a key's second draw apart from its first


def key_of(seed: int, place: int, t: int, draw: int = 0) -> int:
    """Return the 64-bit key of a tensor's draws at one step (splitmix64 over the numbers); `draw` counts those of one chain."""
    key = 0
    for number in (seed, place, t, draw):
        key = (key + number + 0x9E3779B97F4A7C15) & 0xFFFFFFFFFFFFFFFF
        key = ((key ^ (key >> 30)) * 0xBF58476D1CE4E5B9) & 0xFFFFFFFFFFFFFFFF
        key = ((key ^ (key >> 27)) * 0x94D049BB133111EB) & 0xFFFFFFFFFFFFFFFF
        key ^= key >> 31
    return key


def bits(count: int, key: int, device: torch.device) -> Tensor:
    """Return 32 random bits for each of `count` elements, as whole numbers from 0 to 2^32 - 1."""
    return bits_of(torch.arange(count, device=device, dtype=torch.int64), key)


def bits_of(index: Tensor, key: int) -> Tensor:
    """Return 32 random bits for each of these whole numbers."""
    x = _mixed((index * GOLDEN + (key & MASK)) & MASK)
    return _mixed(x ^ (key >> 32))


def uniform(index: Tensor, key: int) -> Tensor:
    """Return a number in [0, 1) for each of these whole numbers, float32."""
    return as_uniform(bits_of(index, key))


def as_uniform(found: Tensor) -> Tensor:
    """Return the numbers in [0, 1) that 32 random bits each stand for, float32."""
    return (found >> 8).to(torch.float32) * 2.0**-24


def bits_each(rows: Tensor, count: int, key: int) -> Tensor:
    """Return `count` times 32 random bits for each of these whole numbers, shape (rows, count).

    A row and a place are mixed each by itself, then together: so many of both may be there as 32 bits count.
    """
    places = bits_of(torch.arange(count, device=rows.device), key ^ (OTHER << 32))
    return _mixed(bits_of(rows, key)[:, None] ^ places)


def normal_each(rows: Tensor, count: int, key: int) -> Tensor:
    """Return `count` standard normal numbers for each of these whole numbers, float32, shape (rows, count).

    They are quantiles `sqrt(2) erfinv(u)` of u between -1 and 1 in 2^23 steps: at most 5.2 away from 0.
    """
    u = ((bits_each(rows, count, key) >> 9).to(torch.float32) + 0.5) * 2.0**-22 - 1
    return torch.erfinv(u) * math.sqrt(2)


def _mixed(x: Tensor) -> Tensor:
    """Mix numbers where they lie, which takes two thirds of the time: callers hand over what they have just made."""
    x ^= x >> 16
    x *= FIRST
    x &= MASK
    x ^= x >> 15
    x *= SECOND
    x &= MASK
    x ^= x >> 16
    return x


def standard_normal(like: Tensor, key: int, dtype: torch.dtype) -> Tensor:
    """Return standard normal numbers laid out as a tensor (Box, Muller, 1958), element by element as they lie in memory."""
    radius = ((bits(like.numel(), key, like.device) >> 9) + 0.5) * 2.0**-23
    angle = ((bits(like.numel(), key ^ (OTHER << 32), like.device) >> 9) + 0.5) * 2.0**-23
    return _laid_out((torch.sqrt(-2 * torch.log(radius.double())) * torch.cos(2 * math.pi * angle.double())).to(dtype), like)


def stochastic_bfloat16(x: Tensor, like: Tensor, key: int) -> Tensor:
    """Round float32 to bfloat16 up or down at random, the nearer the likelier; `like` says how it lies in memory."""
    low = _laid_out(bits(like.numel(), key, like.device) & 0xFFFF, like).to(torch.int32)
    found = ((x.float().view(torch.int32) + low) & -0x10000).view(torch.float32)
    return torch.where(x.isfinite(), found, x)


def _laid_out(flat: Tensor, like: Tensor) -> Tensor:
    """Return numbers in the shape of a tensor, in the order in which a dense copy of it would lie in memory."""
    return flat.as_strided(like.shape, torch.empty_like(like).stride()) if like.numel() else flat.reshape(like.shape)
