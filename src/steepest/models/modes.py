"""What a network is switched to for a while - evaluation, statistics that stand still - and who listens to it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from torch import nn

HOOKS = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")


def is_listened_to(model: nn.Module) -> bool:
    """Return whether a module of a network has hooks."""
    return any(getattr(module, name) for module in model.modules() for name in HOOKS)


@contextmanager
def as_in_evaluation(model: nn.Module) -> Iterator[None]:
    """Switch dropout and batch normalisation to evaluation and back, each module by itself: some may be frozen."""
    training = [module for module in model.modules() if module.training]
    model.eval()
    try:
        yield
    finally:
        for module in training:
            module.training = True


@contextmanager
def frozen_statistics(model: nn.Module) -> Iterator[None]:
    """Keep batch and instance normalisation from counting a second pass over the same rows.

    Their running statistics are read, and written back unchanged: with a momentum of 0.
    """
    norms = [m for m in model.modules() if isinstance(m, nn.modules.batchnorm._NormBase) and m.track_running_stats]
    before = [(m.momentum, m.num_batches_tracked) for m in norms]
    for m in norms:
        m.momentum, m.num_batches_tracked = 0.0, None
    try:
        yield
    finally:
        for m, (momentum, count) in zip(norms, before, strict=True):
            m.momentum, m.num_batches_tracked = momentum, count
