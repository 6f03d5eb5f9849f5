"""Making Data of a stream: what can be gone through only, as an IterableDataset or a generator function."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import InputError, whole
from .core import Data
from .frames import to_numbers, to_numpy
from .memory import arrays
from .targets import kind_of_whole_numbers

if TYPE_CHECKING:
    from .feeds import Pair


def stream(
    source: Any,
    *,
    rows: int,
    held_out: int | tuple[Any, Any],
    fitted_on: int = 2_000,
    images: bool | None = None,
    scaling: str = "standard",
    integers: bool = False,
    kind: str | None = None,
    name: str = "stream",
) -> Data:
    """Make Data of rows that come one after the other, however many there are.

    A training takes its batches in the order in which rows come; where a stream ends, it is begun anew. Preprocessing, and
    which classes there are, are found in its first rows, so what only later rows show is not known.

    Args:
        source: a function that returns pairs (input, label) one after the other, such as a generator function, or a PyTorch
            IterableDataset.
        rows: how many rows count as an epoch, >= 1: epochs, schedules and evaluations go by it.
        held_out: how many rows at the beginning are the validation part, and never trained on; or inputs and labels of one.
        fitted_on: how many rows, after those held out, the preprocessing is fitted on, >= 2; they are trained on too.
        images: see `arrays`.
        scaling: see `arrays`.
        integers: see `arrays`.
        kind: `"classification"` or `"regression"`; None: told from the labels; whole numbers are classes.
        name: what records call the data.

    Raises:
        InputError: a generator in place of the function that makes one, rows that are no pairs, a stream that ends too early.

    >>> import numpy as np
    >>> def numbers():
    ...     rng = np.random.default_rng(0)
    ...     while True:
    ...         x = rng.normal(size=4)
    ...         yield x, int(x.sum() > 0)
    >>> stream(numbers, rows=10_000, held_out=200, fitted_on=300)
    Data(stream   500 rows x 4 columns, 2 classes, and what comes after, in epochs of 10,000 rows)
    """
    from .feeds import Feed, once

    whole("rows", rows, 1)
    whole("fitted_on", fitted_on, 2)
    source = source.dataset if hasattr(source, "dataset") and hasattr(source, "batch_size") else source  # of a DataLoader
    if hasattr(source, "__next__") or not (callable(source) or hasattr(source, "__iter__")):
        raise InputError(
            "a stream is begun anew by every training: give the function that makes the generator, without calling it, or an "
            f"IterableDataset (got {type(source).__name__})"
        )
    apart = isinstance(held_out, tuple)
    if not apart:
        whole("held_out", held_out, 1)
    skip = 0 if isinstance(held_out, tuple) else held_out
    first = list(itertools.islice(once(source), skip + fitted_on))
    if len(first) < skip + 2:
        raise InputError(
            f"the stream ended after {len(first)} rows; {skip} are to be held out, and at least 2 to be trained on"
        )
    X, y = _stacked(first)
    shape = X.shape[1:]
    if isinstance(held_out, tuple):
        if len(held_out) != 2:
            raise InputError(f"held_out takes a number of rows, or inputs and labels (got a tuple of {len(held_out)})")
        held = to_numbers(held_out[0], "held-out X"), to_numpy(held_out[1], "held-out y")
        if held[0].shape[1:] != shape:
            raise InputError(f"held-out rows have shape {held[0].shape[1:]}, those of the stream {shape}")
        X, y = np.concatenate([held[0], X]), np.concatenate([held[1], y])
    kept = len(X) - len(first) + skip
    made = arrays(
        X, y, images=images, scaling=scaling, integers=integers, kind=kind or kind_of_whole_numbers(y), parts=(1.0, 0, 0, 0),
        name=name,
    )  # fmt: skip
    data = made.with_parts({"validation": np.arange(kept), "train": np.arange(kept, len(X))})
    data.feed = Feed(source, rows, skip, shape)
    where = "given apart" if apart else f"the first {skip:,} rows"
    data.cleaning.note(
        f"a stream: scaling and classes are those of {len(X) - kept:,} rows at its beginning, the validation part is {where}; "
        "rows come in their own order"
    )
    return data


def _stacked(pairs: list[Pair]) -> tuple[np.ndarray, np.ndarray]:
    """Return inputs and labels as arrays."""
    shape = pairs[0][0].shape
    for number, (x, _) in enumerate(pairs):
        if x.shape != shape:
            raise InputError(f"row {number} of the stream has shape {x.shape}, the rows before it {shape}")
    return to_numbers(np.stack([x for x, _ in pairs]), "the stream"), to_numpy(
        [y for _, y in pairs], "the labels of the stream"
    )
