"""Making Data from what is held in memory: NumPy arrays, tensors, lists, frames with labels apart."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..errors import InputError
from .cleaning import CleaningReport
from .core import Data
from .encoding import channels_first
from .frames import is_frame, to_numbers, to_numpy, to_polars
from .inputs import Arrays, Images, Inputs
from .splitting import SHARES, deal
from .suspicions import tell_spellings
from .tables import frame_columns, number_table
from .targets import Targets, align, encode, kind_of_whole_numbers


def arrays(
    X: Any,
    y: Any,
    *,
    test: tuple[Any, Any] | None = None,
    images: bool | None = None,
    scaling: str = "standard",
    integers: bool = False,
    kind: str | None = None,
    parts: tuple[float, ...] = SHARES,
    seed: int = 0,
    name: str = "arrays",
) -> Data:
    """Make Data from inputs and labels held in memory.

    Args:
        X: array, tensor, list or frame; first dimension: rows. A frame's columns may be numbers or categories.
        y: labels, shape (rows,); for regression also (rows, targets).
        test: inputs and labels of a test part given apart; else a share of the rows is held out.
        images: whether X holds images (rows, height, width[, channels]); None: yes for uint8 of 3 or any 4 dimensions.
        scaling: `"standard"`, `"minmax"`, `"robust"`, or `"none"` to hand arrays (and regression targets) over as they are.
        integers: keep whole numbers (token indices for an embedding).
        kind: `"classification"` or `"regression"`; None: told from `y`.
        parts: shares of train, validation, test and certificate.
        seed: how rows are dealt out.
        name: what records call the data.

    >>> import numpy as np
    >>> arrays(np.random.rand(100, 3), np.arange(100) % 2)
    Data(arrays   100 rows x 3 columns, 2 classes)
    """
    report = CleaningReport()
    if is_frame(X):
        frame = to_polars(X)
        targets = encode(_labels(y, frame.height, "y"), name, "y", kind)
        tell_spellings(targets, report)
        dealt = deal(targets, parts, seed, name)
        return Data(name, frame_columns(frame, report), targets, dealt, report, scaling)
    values = to_numbers(X, "X")
    if images is None:
        images = values.ndim == 4 or (values.ndim == 3 and values.dtype == np.uint8)
    labels = _labels(y, len(values), "y")
    targets = encode(labels, name, "y", kind or (kind_of_whole_numbers(labels) if images else None))
    report.rows, report.columns = len(values), int(np.prod(values.shape[1:]))
    num_test = 0
    if test is not None:
        values, targets, num_test = _with_test(values, targets, test, name, report)
    inputs = _shaped(values, images, scaling, integers)
    missing = int(np.isnan(values).sum()) if values.dtype.kind == "f" else 0
    if missing and inputs.kind != "table":
        raise InputError(f"X holds {missing} NaN values; only tables may have missing cells")
    report.add("missing cells", missing, "filled with the training median")
    tell_spellings(targets, report)
    dealt = deal(targets, parts, seed, name, num_test)
    return Data(name, inputs, targets, dealt, report, scaling, test_given=num_test > 0)


def _shaped(values: np.ndarray, images: bool, scaling: str, integers: bool) -> Inputs:
    """Return an array as the kind of data that it is."""
    if images:
        return Images(channels_first(values))
    if values.ndim <= 2 and scaling != "none":
        return number_table(values.reshape(len(values), -1))
    return Arrays(values, integers)


def _with_test(
    values: np.ndarray, targets: Targets, test: tuple[Any, Any], source: str, report: CleaningReport
) -> tuple[np.ndarray, Targets, int]:
    """Return inputs and targets with those of the test part appended, and how many those are."""
    more = to_numbers(test[0], "test X")
    labels = _labels(test[1], len(more), "test y")
    if more.shape[1:] != values.shape[1:]:
        raise InputError(f"test inputs have shape {more.shape[1:]} per row, training inputs {values.shape[1:]}")
    if targets.classes:
        codes = align(labels, targets.classes, f"{source}, test labels", report)
    else:
        codes = to_numbers(labels, "test y").astype(np.float64)
    joined = Targets(targets.kind, np.concatenate([targets.values, codes]), targets.classes)
    return np.concatenate([values, more]), joined, len(labels)


def _labels(y: Any, rows: int, what: str) -> np.ndarray:
    """Return labels as an array, one a row; a single column becomes plain labels."""
    labels = to_numpy(y, what)
    if len(labels) != rows:
        raise InputError(f"X and y must have equally many rows (got {rows} and {len(labels)})")
    return labels[:, 0] if labels.ndim == 2 and labels.shape[1] == 1 else labels
