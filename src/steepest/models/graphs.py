"""A network's passes as CUDA graphs: there and back are one launch each, where a small network's step is launches alone."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from ..errors import InputError, first_line


class Graphed(nn.Module):
    """A network whose forward and backward pass in training are replayed from CUDA graphs, for batches like the first one.

    Graphs are recorded at the first batch, on a few passes that leave no trace in running statistics and random numbers.
    Batches of any other shape, and evaluation, go through the network itself. `.grad` is the same memory at every step, which
    the next replay writes over: gradients cannot be added up over several passes, and what a step changes in the network
    itself (a momentum, say) is not seen. Hooks would be called once, when the graph is recorded, and never again.

    Source: `torch.cuda.make_graphed_callables`, https://docs.pytorch.org/docs/stable/generated/torch.cuda.make_graphed_callables.html

    Args:
        model: the network, on a CUDA device, which takes one tensor and gives one.
    """

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model
        self._recorded: dict[tuple[torch.Size, torch.dtype], Callable[[Tensor], Tensor]] = {}  # by what goes in; one at most

    def forward(self, x: Tensor) -> Tensor:
        if not (self.model.training and torch.is_grad_enabled()):
            return self.model(x)
        like = x.shape, x.dtype
        if not self._recorded:
            self._recorded[like] = self._record(x)
        replay = self._recorded.get(like)
        return self.model(x) if replay is None else replay(x).clone()  # the graph writes its next answer where this one lies

    def _record(self, x: Tensor) -> Callable[[Tensor], Tensor]:
        random, buffers = torch.cuda.get_rng_state(x.device), list(self.model.buffers())
        before = [buffer.clone() for buffer in buffers]
        try:
            with _waiting_is_an_error():
                torch.autograd.grad(self.model(x).sum(), list(self.model.parameters()), allow_unused=True)
            example = torch.empty_like(x).copy_(x)
            replay: Any = torch.cuda.make_graphed_callables(_Whole(self.model), (example,), allow_unused_input=True)
        except (RuntimeError, AssertionError) as error:
            raise InputError(f"this network cannot be recorded as CUDA graphs ({first_line(error)})") from error
        finally:
            with torch.no_grad():
                for buffer, value in zip(buffers, before, strict=True):
                    buffer.copy_(value)
            torch.cuda.set_rng_state(random, x.device)
        return replay


@contextmanager
def _waiting_is_an_error() -> Iterator[None]:
    """Have torch refuse what waits for the device: recording it breaks off, and leaves the device's random numbers locked."""
    before = torch.cuda.get_sync_debug_mode()
    torch.cuda.set_sync_debug_mode("error")
    try:
        yield
    finally:
        torch.cuda.set_sync_debug_mode(before)


class _Whole(nn.Module):
    """A network in another module, which takes the graph's place of its `forward` and leaves the network's own as it is."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, x: Tensor) -> Tensor:
        return self.model(x)
