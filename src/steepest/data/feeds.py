"""Streams as a training reads them: rows that come one after the other, of which nobody knows how many there are."""

from __future__ import annotations

import copy
import itertools
from collections.abc import Callable, Hashable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from ..errors import InputError, blaming, shown
from .batches import batch_bounds
from .encoding import encode_rows
from .frames import first_wrong
from .parts import Part

if TYPE_CHECKING:
    from .core import Data

Pair = tuple[np.ndarray, Any]
Numbered = tuple[int, np.ndarray, Any]  # and which row of the stream it is
OVER = object()


@dataclass(frozen=True)
class Feed:
    """What a stream comes from: a function that returns its pairs, or an IterableDataset; both can be begun anew.

    Attributes:
        source: the function, or what is iterated over.
        rows: how many rows count as an epoch.
        skip: rows at its beginning that are held out.
        shape: of an input.
    """

    source: Callable[[], Any] | Any
    rows: int
    skip: int
    shape: tuple[int, ...]

    def pairs(self) -> Iterator[Numbered]:
        """Yield the number, the input and the label of rows without end; a stream that ends is begun anew."""
        while True:
            came = 0
            for came, (x, y) in enumerate(once(self.source), 1):
                if came <= self.skip:
                    continue
                if x.shape != self.shape:
                    raise InputError(f"row {came - 1} of the stream has shape {x.shape}, the rows before it {self.shape}")
                yield came - 1, x, y
            if came <= self.skip:
                raise InputError(
                    f"the stream ended after {came} rows, of which {self.skip} are held out; begun anew, it must go on"
                )


def once(source: Any) -> Iterator[Pair]:
    """Yield the inputs and labels of a stream, from its beginning to its end; whatever fails in it is named.

    They are copies: a stream may fill the same memory with its next row.
    """
    with blaming("the stream"):
        begun: Any = source() if callable(source) else source
        rows = iter(begun)
    for number in itertools.count():
        with blaming(f"row {number} of the stream"):
            item = next(rows, OVER)
            if item is OVER:
                return
            if not isinstance(item, tuple | list) or len(item) != 2:
                got = type(item).__name__ + (f" of {len(item)}" if isinstance(item, tuple | list) else "")
                raise InputError(f"row {number} of the stream must be a pair (input, label) (got {got})")
            x, y = item
            pair = (_copied(x), _label(y))
        yield pair


def _scaled(row: int, label: Any, shift: Any, scale: Any) -> np.ndarray:
    """Return the label, or labels, of a row of a regression as finite numbers, scaled."""
    try:
        with np.errstate(over="ignore"):
            found = ((np.asarray(label, dtype=np.float64) - shift) / scale).astype(np.float32)
    except (TypeError, ValueError):
        found = np.array(np.nan)
    if not np.isfinite(found).all():
        raise InputError(f"row {row} of the stream brings the label {shown(label)}; expected a finite number")
    return found


def _copied(value: Any) -> np.ndarray:
    return np.array(value.detach().cpu().numpy() if hasattr(value, "detach") else value)


def _label(value: Any) -> Any:
    if hasattr(value, "__array__") or hasattr(value, "detach"):
        return _copied(value)[()]
    return copy.deepcopy(value) if isinstance(value, list) else value


@dataclass
class StreamPart(Part):
    """The training part of a stream. While a training reads it, each batch is what comes next, whichever rows are asked for;
    else rows are those that the preprocessing was fitted on, which `inputs` and `targets` hold.
    """

    feed: Feed
    data: Data
    flow: Iterator[Numbered] | None = field(default=None, repr=False)

    def __len__(self) -> int:
        return self.feed.rows

    def of_one_training(self) -> StreamPart:
        """Return the part with a flow of its own: trainings that take turns each read the stream from its beginning."""
        return replace(self, flow=None)

    @contextmanager
    def read_ahead(self, seed: int, batch: int, step: int = 0, *, prefetch: bool = True) -> Iterator[None]:
        """While this is open, batches come from the beginning of the stream, or after those of so many steps; nothing is read
        ahead, because whatever a stream draws at random is to be drawn at its step.
        """
        del seed, prefetch
        self.flow = self.feed.pairs()
        bounds = batch_bounds(len(self), batch)
        epochs, made = divmod(step, len(bounds))
        for _ in itertools.islice(self.flow, epochs * len(self) + bounds[made][0]):
            pass
        try:
            yield
        finally:
            self.flow = None

    def take(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        if self.flow is None:
            return super().take(rows % len(self.targets))
        numbers, some, labels = zip(*itertools.islice(self.flow, len(rows)), strict=True)
        X = np.stack(some)
        if (wrong := first_wrong(X)) is not None:
            raise InputError(
                f"row {numbers[wrong]} of the stream brings an input that is not a finite number, or is too large for float32; "
                "leave such rows out, or fill them"
            )
        found = encode_rows(X, self.data.preprocessing)
        inputs = torch.from_numpy(found) if isinstance(found, np.ndarray) else found.index_select(0, torch.arange(len(rows)))
        return inputs.to(self.targets.device), self._codes(numbers, labels).to(self.targets.device)

    def _codes(self, numbers: Sequence[int], labels: Sequence[Any]) -> Tensor:
        classes = self.data.targets.classes
        if classes is None:
            shift, scale = self.data.target_scale
            return torch.as_tensor(np.stack([_scaled(*each, shift, scale) for each in zip(numbers, labels, strict=True)]))
        places = {label: i for i, label in enumerate(classes)}
        for row, label in zip(numbers, labels, strict=True):
            if not isinstance(label, Hashable) or label not in places:
                raise InputError(
                    f"row {row} of the stream brings the label {shown(label)}, which is not among its first {len(self.data)} "
                    "rows; have more of them looked at: fitted_on="
                )
        return torch.tensor([places[label] for label in labels])
