"""Making Data from what is held in memory: NumPy arrays, tensors, lists, frames with labels apart."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..errors import InputError
from .archives import check_on_disk, too_large
from .cache import stored_arrays, tell
from .cleaning import CleaningReport
from .core import Data
from .encoding import channels_first
from .frames import count_missing, first_wrong, is_frame, to_numbers, to_numpy, to_polars
from .inputs import Arrays, Images, Inputs
from .lines import Lines, in_chunks, lies_in_a_file, lines_of
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
    on_disk: bool | None = None,
    kind: str | None = None,
    parts: tuple[float, ...] = SHARES,
    seed: int = 0,
    name: str = "arrays",
) -> Data:
    """Make Data from inputs and labels held in memory, or mapped from a file.

    Args:
        X: array, tensor, list or frame; first dimension: rows. A frame's columns may be numbers or categories. An array mapped
            from a file (`np.memmap`) that would take more than half of the free memory is left there, and read batch by batch.
            Numbers that are taken as they are (float32, not scaled) are not copied: leave them alone while they are in use.
        y: labels, shape (rows,); for regression also (rows, targets).
        test: inputs and labels of a test part given apart; else a share of the rows is held out.
        images: whether X holds images (rows, height, width[, channels]); None: yes for uint8 of 3 or any 4 dimensions.
        scaling: `"standard"`, `"minmax"`, `"robust"`, or `"none"` to hand arrays (and regression targets) over as they are.
        integers: keep whole numbers (token indices for an embedding).
        on_disk: whether rows of images and arrays are left on disk (True: written to the cache, where they are not in a file),
            or taken into memory (False); None: a mapped file that is too large is left there.
        kind: `"classification"` or `"regression"`; None: told from `y`.
        parts: shares of train, validation, test and certificate.
        seed: how rows are dealt out.
        name: what records call the data.

    >>> import numpy as np
    >>> arrays(np.random.rand(100, 3), np.arange(100) % 2)
    Data(arrays   100 rows x 3 columns, 2 classes)
    """
    check_on_disk(on_disk)
    report = CleaningReport()
    if is_frame(X):
        frame = to_polars(X)
        targets = encode(_labels(y, frame.height, "y"), name, "y", kind)
        tell_spellings(targets, report)
        dealt = deal(targets, parts, seed, name)
        return Data(name, frame_columns(frame, report), targets, dealt, report, scaling)
    values = X if isinstance(X, Lines) else _left(X, on_disk, "X")
    if images is None:
        images = values.ndim == 4 or (values.ndim == 3 and values.dtype == np.uint8)
    labels = _labels(y, len(values), "y")
    targets = encode(labels, name, "y", kind or (kind_of_whole_numbers(labels) if images else None))
    report.rows, report.columns = len(values), int(np.prod(values.shape[1:]))
    num_test = 0
    if test is not None:
        values, targets, num_test = _with_test(values, targets, test, name, report)
    if on_disk and isinstance(values, np.ndarray):
        values = stored_arrays(values)
    inputs = _shaped(values, images, scaling, integers)
    missing = count_missing(values) if isinstance(values, np.ndarray) else 0
    if missing and inputs.kind != "table":
        raise InputError(f"X holds {missing} NaN values; only tables may have missing cells")
    report.add("missing cells", missing, "filled with the training median")
    if isinstance(values, Lines):
        _check_numbers(values)
        tell(report, values, "images" if images else "rows")
    tell_spellings(targets, report)
    dealt = deal(targets, parts, seed, name, num_test)
    return Data(name, inputs, targets, dealt, report, scaling, test_given=num_test > 0)


def _left(X: Any, on_disk: bool | None, what: str) -> np.ndarray | Lines:
    """Return numbers, or where they lie on disk if they are to stay there."""
    mapped = lines_of(X) if lies_in_a_file(X) and too_large(X.nbytes, on_disk) else None
    return to_numbers(X, what) if mapped is None else mapped


def _check_numbers(lines: Lines) -> None:
    """Raise unless all rows on disk hold numbers, and none that is missing or infinite."""
    if lines.dtype.kind not in "biuf":
        raise InputError(f"X: expected numbers (got {lines.dtype})")
    begin = 0
    for some in in_chunks(lines) if lines.dtype.kind == "f" else ():
        if (wrong := first_wrong(some)) is not None:
            row = begin + wrong
            raise InputError(f"X holds a missing or infinite value in row {row}, or one too large for float32; correct it")
        begin += len(some)


def _shaped(values: np.ndarray | Lines, images: bool, scaling: str, integers: bool) -> Inputs:
    """Return an array as the kind of data that it is."""
    if images:
        return Images(channels_first(values))
    if isinstance(values, Lines) and (values.ndim <= 2 and scaling != "none"):
        raise InputError(
            f"a table of {values.nbytes:,} bytes is to stay on disk, and tables are scaled in memory; scale its columns "
            "yourself and give scaling='none', or on_disk=False where it fits"
        )
    if isinstance(values, np.ndarray) and values.ndim <= 2 and scaling != "none":
        return number_table(values.reshape(len(values), -1))
    return Arrays(values, integers)


def _with_test(
    values: np.ndarray | Lines, targets: Targets, test: tuple[Any, Any], source: str, report: CleaningReport
) -> tuple[np.ndarray | Lines, Targets, int]:
    """Return inputs and targets with those of the test part appended, and how many those are."""
    more = test[0] if isinstance(test[0], Lines) else _left(test[0], isinstance(values, Lines), "test X")
    labels = _labels(test[1], len(more), "test y")
    if more.shape[1:] != values.shape[1:]:
        raise InputError(f"test inputs have shape {more.shape[1:]} per row, training inputs {values.shape[1:]}")
    if targets.classes:
        codes = align(labels, targets.classes, f"{source}, test labels", report)
    else:
        codes = to_numbers(labels, "test y").astype(np.float64)
    joined = Targets(targets.kind, np.concatenate([targets.values, codes]), targets.classes)
    return _appended(values, more), joined, len(labels)


def _appended(values: np.ndarray | Lines, more: np.ndarray | Lines) -> np.ndarray | Lines:
    """Return rows and those of a test part; of which one lies on disk, both are written into one file, unless they are."""
    if isinstance(values, Lines) and isinstance(more, Lines) and values.place == more.place:
        return values.joined(more)
    if isinstance(values, Lines) or isinstance(more, Lines):
        return stored_arrays(values, more)
    return np.concatenate([values, more])


def _labels(y: Any, rows: int, what: str) -> np.ndarray:
    """Return labels as an array, one a row; a single column becomes plain labels."""
    labels = to_numpy(y, what)
    if len(labels) != rows:
        raise InputError(f"X and y must have equally many rows (got {rows} and {len(labels)})")
    return labels[:, 0] if labels.ndim == 2 and labels.shape[1] == 1 else labels
