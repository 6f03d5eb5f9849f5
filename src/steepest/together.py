"""Several optimizers stepped as one: the tensors of all that run the same compiled program are rows of one table."""

from __future__ import annotations

from collections.abc import Iterable

import torch

from .errors import InputError
from .kernels import Block, Executor, native
from .optimizer import Optimizer


class Together:
    """Optimizers whose steps are made at the same time, each with its own rule, state, schedule and counts.

    Rules that differ in numbers alone (learning rate, weight decay, betas) are one program over one table with a row of scalars
    each: one launch. A rule that sums over all of its gradients (a clip by global norm) keeps a launch of its own, because
    its sum must not span the others; so does what nothing was compiled for. The result is that of stepping one after the other.

    >>> import torch, steepest
    >>> nets = [torch.nn.Linear(2, 1) for _ in range(3)]
    >>> together = Together([steepest.Optimizer(net, steepest.adam(lr)) for net, lr in zip(nets, (0.1, 0.01, 0.001))])
    >>> sum(net(torch.ones(1, 2)).sum() for net in nets).backward()
    >>> together.step()
    """

    def __init__(self, optimizers: Iterable[Optimizer]) -> None:
        self.optimizers = list(optimizers)
        self._alone = [Executor() for _ in self.optimizers]
        self._shared = Executor()

    @torch.no_grad()
    def step(self) -> None:
        """Make one step of each."""
        begun: list[tuple[Optimizer, list[Block]]] = []
        try:
            for optimizer, executor in zip(self.optimizers, self._alone, strict=True):
                blocks = optimizer.begin_step()
                begun.append((optimizer, blocks))
                if not all(map(_can_share, blocks)):
                    executor.run(blocks)
                    begun.pop()
            self._shared.run([block for _, blocks in begun for block in blocks])
        except InputError:
            for optimizer, blocks in begun:
                optimizer.take_back_step(blocks)
            raise


def _can_share(block: Block) -> bool:
    """Return whether a block's program runs over a table that others share: in C, without a sum over everything."""
    return isinstance(block.chosen, native.Native) and "all" not in block.chosen.program.totals.values()
