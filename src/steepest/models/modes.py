"""What a network is switched to for a while - evaluation, statistics that stand still - and who listens to it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from torch import Tensor, nn

HOOKS = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")


GLOBAL_HOOKS = ("_global_forward_hooks", "_global_forward_pre_hooks", "_global_backward_hooks", "_global_backward_pre_hooks")
OF_WEIGHTS = ("_backward_hooks", "_post_accumulate_grad_hooks")


def hears_of_all() -> bool:
    """Return whether somebody has torch call hooks in every module."""
    return any(getattr(nn.modules.module, name) for name in GLOBAL_HOOKS)


def is_replaced(module: nn.Module) -> bool:
    """Return whether a module's `forward` is not its class's."""
    return "forward" in vars(module)


def hears_of(p: Tensor) -> bool:
    """Return whether a weight has hooks."""
    return any(getattr(p, name) for name in OF_WEIGHTS)


class Listeners:
    """Who listens to some modules and their weights: hooks of theirs or of all modules, a `forward` put in the place of the
    class's. Asked anew at every step: a few dozen look-ups, a microsecond or two.
    """

    def __init__(self, modules: Iterable[nn.Module], weights: Iterable[Tensor]) -> None:
        self._modules, self._weights = list(modules), list(weights)
        self._hooks = [getattr(module, name) for module in self._modules for name in HOOKS]

    def __bool__(self) -> bool:
        called = any(self._hooks) or hears_of_all() or any(map(is_replaced, self._modules))
        return called or any(map(hears_of, self._weights))


def is_listened_to(model: nn.Module) -> bool:
    """Return whether a module of a network, or a weight, has hooks or another `forward` than its class."""
    return bool(Listeners(model.modules(), model.parameters()))


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
