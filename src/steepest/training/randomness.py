"""A training's own random numbers, apart from everybody else's."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch

from ..errors import InputError

_ONE_AT_A_TIME = threading.RLock()  # torch's generators, and its number of threads, are the whole process's


class RandomStream:
    """Random numbers that follow from a seed: inside `with stream:` torch draws from it and goes on where it left off.

    Outside, torch's global generators are as they were: what the caller draws between two steps changes no training, and
    trainings that take turns, or run in threads of one process, do not disturb each other. Entering and leaving cost about 7
    microseconds together.

    >>> before, stream = torch.get_rng_state(), RandomStream(0, torch.device("cpu"))
    >>> with stream:
    ...     first = torch.rand(1)
    >>> bool((torch.get_rng_state() == before).all())
    True
    """

    def __init__(self, seed: int, device: torch.device) -> None:
        self._generators = [torch.default_generator]
        if device.type == "cuda":
            self._generators.append(_default_of(device))
        with _ONE_AT_A_TIME:
            outside = self._states()
            for generator in self._generators:
                generator.manual_seed(seed)
            self._inside = self._states()
            self._set(outside)

    def _states(self) -> list[torch.Tensor]:
        return [generator.get_state() for generator in self._generators]

    def states(self) -> list[torch.Tensor]:
        """Return where the stream is, one state a generator; to be asked outside of `with`."""
        return list(self._inside)

    def restore(self, states: list[torch.Tensor]) -> None:
        """Have the stream go on from where it was when `states` were asked for."""
        if len(states) != len(self._generators) or any(a.shape != b.shape for a, b in zip(states, self._inside, strict=True)):
            raise InputError(
                f"random states of {len(states)} generators were kept, this device has {len(self._generators)} of another "
                "kind: a training goes on where it ran"
            )
        self._inside = [state.cpu() for state in states]

    def rewind(self) -> None:
        """Inside of `with`: draw again what was drawn since it was entered."""
        self._set(self._inside)

    def _set(self, states: list[torch.Tensor]) -> None:
        for generator, state in zip(self._generators, states, strict=True):
            generator.set_state(state)

    def __enter__(self) -> None:
        _ONE_AT_A_TIME.acquire()
        self._outside = self._states()
        self._set(self._inside)

    def __exit__(self, *error: Any) -> None:
        try:
            self._inside = self._states()
            self._set(self._outside)
        finally:
            _ONE_AT_A_TIME.release()


@contextmanager
def drawing_from(generator: torch.Generator) -> Iterator[None]:
    """What torch draws on the generator's device inside is drawn from it, as if it were torch's own there."""
    default = _default_of(generator.device)
    outside = default.get_state()
    default.set_state(generator.get_state())
    try:
        yield
    finally:
        generator.set_state(default.get_state())
        default.set_state(outside)


def _default_of(device: torch.device) -> torch.Generator:
    """Return torch's own generator of a device."""
    if device.type != "cuda":
        return torch.default_generator
    torch.cuda.init()
    return torch.cuda.default_generators[device.index or 0]
