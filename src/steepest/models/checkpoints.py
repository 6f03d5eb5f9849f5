"""Activation checkpointing: what lies inside the blocks of a network is not kept for the way back, but worked out again there.

Of a network of n blocks the memory of one block and n inputs is needed instead of that of n blocks, for one more pass forward:
about a third more arithmetic. The gradient is the same to the last digit: dropout draws the same numbers again, and buffers
(running statistics, the vectors of a spectral norm) are for the second pass what they were at the first, and afterwards what
they have become since: no row is counted twice.

Source: Chen, Xu, Zhang, Guestrin, Training deep nets with sublinear memory cost, 2016, arXiv:1604.06174
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from typing import Any

from torch import Tensor, nn

LISTS = (nn.Sequential, nn.ModuleList)
FEWEST = 4  # layers of a row that is cut into segments
Forward = Callable[..., Any]
Around = Callable[[], AbstractContextManager[Any]]


def blocks(model: nn.Module) -> list[nn.Module]:
    """Return the modules of a network that hold layers of their own and stand in a row; of rows within rows, the innermost.

    >>> layer = lambda: nn.TransformerEncoderLayer(8, 2)
    >>> len(blocks(nn.Sequential(nn.Linear(4, 8), layer(), layer(), layer())))
    3
    """
    found: list[nn.Module] = []
    for child in model.children():
        inner = blocks(child)
        is_block = isinstance(model, LISTS) and not inner and _has_layers(child)
        found += [child] if is_block else inner
    return found if len(found) > 1 or not isinstance(model, LISTS) else []


def segments(row: nn.Sequential) -> list[nn.Module]:
    """Return a row as what follows each other in it: modules with layers of their own, and runs of single layers between them.

    Of a row of n single layers alone, about sqrt(n) runs. A run of one is that layer.
    """
    size = len(row) if any(map(_has_layers, row)) else math.isqrt(len(row) - 1) + 1
    runs: list[list[nn.Module]] = []
    for layer in row:
        alone = _has_layers(layer)
        if not runs or alone or len(runs[-1]) == size or _has_layers(runs[-1][0]):
            runs.append([])
        runs[-1].append(layer)
    return [run[0] if len(run) == 1 else nn.Sequential(*run) for run in runs]


def _has_layers(module: nn.Module) -> bool:
    return any(True for _ in module.children())


def can_be_checkpointed(model: nn.Module) -> bool:
    """Return whether a network has insides that need not be kept."""
    return bool(_forwards(model, nullcontext))


@contextmanager
def checkpointed(model: nn.Module, around: Around = nullcontext) -> Iterator[None]:
    """In this block, passes forward through a network keep of its blocks what goes into them, and nothing of their insides.

    So it is with the runs of single layers in an `nn.Sequential` that holds blocks, or that has four layers or more.

    Args:
        model: the network.
        around: makes what the second pass is done in, where the first one is done in something that torch does not know of.
    """
    with ExitStack() as stack:
        for module, forward in _forwards(model, around).items():
            stack.enter_context(_replaced(module, forward))
        yield


def _forwards(model: nn.Module, around: Around) -> dict[nn.Module, Forward]:
    """Return which modules pass forward in another way, and how."""
    found = {block: _lean(block.forward, block, around) for block in blocks(model)}
    inside = {module for block in found for module in block.modules()}
    for row in model.modules():
        if type(row) is nn.Sequential and row not in inside and (len(row) >= FEWEST or any(map(_has_layers, row))):
            found[row] = _in_segments(row, around)
    return found


def _lean(run: Forward, module: nn.Module, around: Around) -> Forward:
    """Return the forward pass of a module so that it keeps what goes in alone."""
    from torch.utils.checkpoint import checkpoint

    def forward(*args: Any, **named: Any) -> Any:
        before = [buffer.detach().clone() for buffer in module.buffers()]

        @contextmanager
        def again() -> Iterator[None]:
            with _buffers_as(module, before), around():
                yield

        def once(*values: Any) -> Any:  # torch looks among what has a place for the devices whose random numbers it keeps
            return run(*values[: len(args)], **dict(zip(named, values[len(args) :], strict=True)))

        return checkpoint(once, *args, *named.values(), use_reentrant=False, context_fn=lambda: (nullcontext(), again()))

    return forward


@contextmanager
def _buffers_as(module: nn.Module, values: Sequence[Tensor]) -> Iterator[None]:
    """Have a module's buffers hold these values for a while, unseen by autograd's count of changes."""
    buffers = list(module.buffers())
    now = [buffer.detach().clone() for buffer in buffers]

    def hold(held: Sequence[Tensor]) -> None:
        for buffer, value in zip(buffers, held, strict=True):
            buffer.data.copy_(value)

    hold(values)
    try:
        yield
    finally:
        hold(now)


def _in_segments(row: nn.Sequential, around: Around) -> Forward:
    """Return the forward pass of a row so that it keeps what goes into each run of single layers."""
    own = set(row)
    parts = [part if part in own else _lean(part, part, around) for part in segments(row)]

    def forward(x: Tensor) -> Tensor:
        for part in parts:
            x = part(x)
        return x

    return forward


@contextmanager
def _replaced(module: nn.Module, forward: Forward) -> Iterator[None]:
    """Have a module do another forward pass for a while."""
    own = module.__dict__.get("forward")
    module.forward = forward  # type: ignore[method-assign]
    try:
        yield
    finally:
        if own is None:
            del module.forward
        else:
            module.forward = own
