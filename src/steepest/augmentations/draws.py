"""Random numbers for the rows of a batch: each a function of (seed, epoch, row, place in the recipe, which draw)."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class Draws:
    """Random numbers for some rows in one epoch."""

    seed: int
    epoch: int
    rows: Tensor
    place: int = 0  # which augmentation of the recipe draws

    def uniform(self, draw: int = 0, *, epoch: int | None = None) -> Tensor:
        """Return a number in [0, 1) for each row; other draws, and other epochs, give others."""
        from ..kernels.random import uniform

        return uniform(self.rows, self._key(draw, epoch))

    def whole(self, low: int, high: int | Tensor, draw: int = 0) -> Tensor:
        """Return a whole number for each row, from `low` to `high`, both included; `high` may differ from row to row."""
        import torch

        return (low + self.uniform(draw) * (high - low + 1)).to(torch.int64)

    def spread(self, most: float, draw: int = 0) -> Tensor:
        """Return a number in [-most, most) for each row, float64."""
        return (2 * self.uniform(draw).double() - 1) * most

    def other_rows(self, count: int, draw: int = 0) -> Tensor:
        """Return one of `count` rows for each row, itself among them."""
        from ..kernels.random import bits_of

        return (bits_of(self.rows, self._key(draw)) * count) >> 32

    def share(self, alpha: float, draw: int = 0) -> Tensor:
        """Return a share in [0, 1] for each row, of the distribution Beta(alpha, alpha), float32; takes two draws.

        Twice the share less 1 is `t / sqrt(2 alpha + t^2)`, where t has Student's distribution of 2 alpha degrees of freedom:
        `sqrt(2 alpha (u^(-1 / alpha) - 1)) cos(2 pi v)`, u and v uniform. So nothing need be drawn and thrown away.

        Source: Bailey, Polar Generation of Random Variates with the t-Distribution, 1994, https://doi.org/10.2307/2153537.
        """
        from ..kernels.random import bits_of

        u, v = ((bits_of(self.rows, self._key(which)).double() + 0.5) * 2.0**-32 for which in (draw, draw + 1))
        power, cosine = u ** (1 / alpha), (2 * math.pi * v).cos()
        across = (1 - power).sqrt() * cosine
        return (0.5 + 0.5 * across / (power + across.square()).sqrt()).float()

    def uniform_each(self, count: int, draw: int = 0) -> Tensor:
        """Return `count` numbers in [0, 1) for each row, shape (rows, count)."""
        from ..kernels.random import as_uniform, bits_each

        return as_uniform(bits_each(self.rows, count, self._key(draw)))

    def other_rows_each(self, count: int, size: int, draw: int = 0) -> Tensor:
        """Return one of `size` rows `count` times for each row, shape (rows, count)."""
        from ..kernels.random import bits_each

        return (bits_each(self.rows, count, self._key(draw)) * size) >> 32

    def normal_each(self, count: int, draw: int = 0) -> Tensor:
        """Return `count` standard normal numbers for each row, shape (rows, count)."""
        from ..kernels.random import normal_each

        return normal_each(self.rows, count, self._key(draw))

    def _key(self, draw: int, epoch: int | None = None) -> int:
        from ..kernels.random import key_of

        return key_of(self.seed, self.place, self.epoch if epoch is None else epoch, draw)
