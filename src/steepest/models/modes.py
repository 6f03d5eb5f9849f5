"""Networks as in evaluation, for a while."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from torch import nn


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
