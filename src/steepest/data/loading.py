"""Making Data from what people have: arrays, frames, csv and parquet files, images, PyTorch Datasets, built-in sets."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import InputError, unknown
from ..sources import BUILTINS, check_source
from .cleaning import MISSING_MARKS, CleaningReport, Column, Table, clean, find_label, typed_as
from .core import Data
from .encoding import channels_first
from .frames import is_frame, to_numbers, to_numpy, to_polars
from .images import is_image_source
from .images import read_images as read_image_arrays
from .reading import RawTable, read_frame
from .splitting import PARTS, SHARES, check_shares, split_rows
from .targets import Targets, align, encode


def _deal(targets: Targets, shares: tuple[float, ...], seed: int, source: str, num_test: int = 0) -> dict[str, np.ndarray]:
    """Deal rows out into the four parts; the last `num_test` rows, if any, are the test part given by a file."""
    shares = check_shares(shares)
    rows = np.arange(len(targets.values) - num_test)
    if num_test:
        left = 1 - shares[2]
        shares = (shares[0] / left, shares[1] / left, 0.0, shares[3] / left)
    codes = targets.values[rows] if targets.classes else None
    parts = dict(zip(PARTS, split_rows(rows, codes, shares, seed), strict=True))
    if num_test:
        parts["test"] = np.arange(len(rows), len(rows) + num_test)
    for name, share in zip(PARTS, shares, strict=True):
        if share and not len(parts[name]):
            raise InputError(f"{source}: {len(rows)} rows are too few to split in {', '.join(PARTS)}; the {name} part is empty")
    return parts


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
    if is_frame(X):
        report = CleaningReport()
        frame = to_polars(X)
        labels = to_numpy(y, "y")
        _same_length(len(labels), frame.height)
        columns = _frame_columns(frame, report)
        return _finish(name, "table", columns, encode(labels, name, "y", kind), report, scaling, parts, seed)
    values, labels = to_numbers(X, "X"), to_numpy(y, "y")
    _same_length(len(labels), len(values))
    targets = encode(_column(labels), name, "y", kind)
    report = CleaningReport(rows=len(values), columns=int(np.prod(values.shape[1:])))
    num_test = 0
    if test is not None:
        test_values, test_labels = to_numbers(test[0], "test X"), _column(to_numpy(test[1], "test y"))
        _same_length(len(test_labels), len(test_values))
        if test_values.shape[1:] != values.shape[1:]:
            raise InputError(f"test inputs have shape {test_values.shape[1:]} per row, training inputs {values.shape[1:]}")
        values, targets, num_test = *_append(values, targets, test_values, test_labels, name, report), len(test_labels)
    if images is None:
        images = values.ndim == 4 or (values.ndim == 3 and values.dtype == np.uint8)
    if images:
        data_kind, inputs = "image", channels_first(values)
    elif values.ndim <= 2 and scaling != "none":
        data_kind, inputs = "table", number_table(values.reshape(len(values), -1))
        report.add("missing cells", _missing(values), "filled with the training median")
    else:
        data_kind, inputs = "array", values
    if data_kind != "table" and values.dtype.kind == "f" and np.isnan(values).any():
        raise InputError(f"X holds {int(np.isnan(values).sum())} NaN values; only tables may have missing cells")
    dealt = _deal(targets, parts, seed, name, num_test)
    return Data(name, data_kind, inputs, targets, dealt, report, scaling, integers, test_given=num_test > 0)


def _missing(values: np.ndarray) -> int:
    return int(np.isnan(values).sum()) if values.dtype.kind == "f" else 0


def _column(labels: np.ndarray) -> np.ndarray:
    return labels[:, 0] if labels.ndim == 2 and labels.shape[1] == 1 else labels


def _same_length(labels: int, rows: int) -> None:
    if labels != rows:
        raise InputError(f"X and y must have equally many rows (got {rows} and {labels})")


def _append(
    values: np.ndarray,
    targets: Targets,
    test_values: np.ndarray,
    test_labels: np.ndarray,
    source: str,
    report: CleaningReport,
) -> tuple[np.ndarray, Targets]:
    if targets.classes:
        codes = align(test_labels, targets.classes, f"{source}, test labels", report)
    else:
        codes = to_numbers(test_labels, "test y").astype(np.float64)
    joined = Targets(targets.kind, np.concatenate([targets.values, codes]), targets.classes)
    return np.concatenate([values, test_values]), joined


def number_table(values: np.ndarray) -> Table:
    """Return a table of number columns c1, c2, ... from a matrix."""
    return Table(tuple(Column(f"c{i + 1}", "number", values[:, i].astype(np.float64)) for i in range(values.shape[1])))


def _frame_columns(frame: Any, report: CleaningReport) -> Table:
    """Clean a frame without a label column."""
    import polars as pl

    label = "(label)"
    raw = RawTable.of(frame.with_columns(pl.Series(label, np.arange(frame.height) % 2)), "X")
    table, _, _ = clean(raw, label, report)
    report.columns -= 1
    return table


def _finish(
    name: str,
    kind: str,
    inputs: Any,
    targets: Targets,
    report: CleaningReport,
    scaling: str,
    parts: Any,
    seed: int,
    num_test: int = 0,
) -> Data:
    dealt = _deal(targets, parts, seed, name, num_test)
    return Data(name, kind, inputs, targets, dealt, report, scaling, test_given=num_test > 0)


def read_table(
    source: Any,
    label: str | int,
    *,
    test: Any = None,
    header: bool | None = None,
    missing: Sequence[str] = MISSING_MARKS,
    missing_in: Mapping[str, Sequence[str]] | None = None,
    categorical: Sequence[str] = (),
    drop: Sequence[str] = (),
    on_bad_row: str = "stop",
    kind: str | None = None,
    scaling: str = "standard",
    parts: tuple[float, ...] = SHARES,
    seed: int = 0,
    name: str | None = None,
) -> Data:
    """Read a table from a csv or parquet file or a frame, and clean it.

    Args:
        source: a path (csv, csv.gz, tsv, parquet) or a pandas or polars frame.
        label: the column to predict, by name or by position (from 0, -1 is the last).
        test: a second file or frame that becomes the test part.
        header: whether line 1 names the columns; without names they are c1, c2, ...
        missing: marks of a missing cell; `missing_in` adds marks per column, such as `{"c2": ["0"]}`.
        categorical: columns of categories that look like numbers.
        drop: columns to leave out.
        on_bad_row: `"stop"` at a row that cannot be right, or `"skip"` it.
        kind: `"classification"` or `"regression"`; None: told from the label.
        scaling: of numbers: `"standard"`, `"minmax"`, `"robust"` or `"none"`.
        parts: shares of train, validation, test and certificate; with a test file the test share goes to the others.
        seed: how rows are dealt out.
        name: what records call the data; None: the file's name.

    Raises:
        InputError: anything that cannot be right, with its line and column.
    """
    raw = _raw(source, header, on_bad_row)
    name = name or Path(raw.source).name.removesuffix(".gz").rsplit(".", 1)[0]
    label = find_label(raw.frame.columns, label, raw.source)
    report = CleaningReport()
    table, target, _ = clean(
        raw,
        label,
        report,
        missing=missing,
        missing_in=missing_in,
        categorical=categorical,
        drop=drop,
        on_bad_row=on_bad_row,
    )
    targets = encode(target.values, raw.source, f"label {label!r}", kind)
    if test is None:
        return _finish(name, "table", table, targets, report, scaling, parts, seed)
    other = _raw(test, header, on_bad_row)
    test_table, test_labels = _conform(other, table, target, label, missing, missing_in or {})
    joined = Table(
        tuple(
            Column(a.name, a.kind, np.concatenate([a.values, b.values]))
            for a, b in zip(table.columns, test_table.columns, strict=True)
        )
    )
    codes = align(test_labels.values, targets.classes, other.source, report) if targets.classes else test_labels.values
    both = Targets(targets.kind, np.concatenate([targets.values, codes]), targets.classes)
    return _finish(name, "table", joined, both, report, scaling, parts, seed, num_test=len(codes))


def _raw(source: Any, header: bool | None, on_bad_row: str) -> RawTable:
    if isinstance(source, str | Path):
        return read_frame(source, header=header, on_bad_row=on_bad_row)
    frame = to_polars(source)
    if not frame.height:
        raise InputError("the frame has no rows")
    return RawTable.of(frame, "frame")


def _conform(
    raw: RawTable,
    table: Table,
    target: Column,
    label: str,
    missing: Sequence[str],
    missing_in: Mapping[str, Sequence[str]],
) -> tuple[Table, Column]:
    """Read a second file with the columns and kinds of the first."""
    for column in (*table.columns, target):
        if column.name not in raw.frame.columns:
            raise InputError(f"{raw.source}: lacks the column {column.name!r} of the training file")
    marks = {column.name: (*missing, *missing_in.get(column.name, ())) for column in (*table.columns, target)}
    columns = tuple(typed_as(raw, column.name, column.kind, marks[column.name]) for column in table.columns)
    labels = typed_as(raw, label, target.kind, marks[label])
    absent = np.array([value is None or (isinstance(value, float) and np.isnan(value)) for value in labels.values])
    if absent.any():
        raise InputError(
            f"{raw.source}, {raw.place(int(np.flatnonzero(absent)[0]))}: the label {label!r} is missing in the test file"
        )
    return Table(columns), labels


def read_images(
    path: str | Path,
    *,
    scaling: str = "standard",
    parts: tuple[float, ...] = SHARES,
    seed: int = 0,
    name: str | None = None,
) -> Data:
    """Read labelled images from an idx file (labels and test set beside it), a folder of idx files, or an npz archive."""
    found = read_image_arrays(path)
    test = None
    if found.test_inputs is not None and found.test_labels is not None:
        test = (found.test_inputs, found.test_labels)
    images = found.inputs.ndim in (3, 4)
    label = name or Path(found.source).name.split(".")[0]
    return arrays(found.inputs, found.labels, test=test, images=images, scaling=scaling, parts=parts, seed=seed, name=label)


def from_dataset(
    dataset: Any, *, parts: tuple[float, ...] = SHARES, seed: int = 0, kind: str | None = None, name: str = "dataset"
) -> Data:
    """Make Data from a map-style PyTorch Dataset of (input, label) pairs, fetched item by item at each batch."""
    if hasattr(dataset, "dataset") and hasattr(dataset, "batch_size"):
        dataset = dataset.dataset  # a DataLoader: steepest makes its own batches
    if not hasattr(dataset, "__getitem__") or not hasattr(dataset, "__len__"):
        raise InputError("expected a map-style Dataset (with len and indexing); collect an iterable one into arrays first")
    if hasattr(dataset, "tensors") and len(dataset.tensors) == 2:
        X, y = dataset.tensors
        return arrays(X, y, scaling="none", kind=kind, parts=parts, seed=seed, name=name)
    labels = np.asarray([to_numpy([dataset[i][1]], "label")[0] for i in range(len(dataset))])
    targets = encode(labels, name, "label", kind)
    return Data(name, "items", dataset, targets, _deal(targets, parts, seed, name), CleaningReport(len(labels)), "none")


def builtin(name: str, *, parts: tuple[float, ...] = SHARES, seed: int = 0, scaling: str = "standard") -> Data:
    """Load one of the real data sets that ship inside scikit-learn: digits, breast-cancer, wine, iris, diabetes."""
    if name not in BUILTINS:
        raise unknown("built-in data set", name, BUILTINS)
    from sklearn import datasets

    loader, reach = BUILTINS[name]
    found = getattr(datasets, loader)()
    if name == "digits":
        data = arrays(found.images, found.target, images=True, parts=parts, seed=seed, scaling=scaling, name=name)
    else:
        kind = "regression" if name == "diabetes" else "classification"
        frame = to_polars({str(column): found.data[:, i] for i, column in enumerate(found.feature_names)})
        report = CleaningReport()
        targets = encode(found.target, name, "target", kind)
        if kind == "classification":
            targets = Targets(kind, targets.values, tuple(str(label) for label in found.target_names))
        data = _finish(name, "table", _frame_columns(frame, report), targets, report, scaling, parts, seed)
    data.default_reach = reach
    return data


def load(source: Any, *, label: str | int | None = None, **options: Any) -> Data:
    """Make Data from whatever names or holds it: a built-in name, a path, a frame with `label`, a Dataset, Data itself."""
    if isinstance(source, Data):
        return source
    if isinstance(source, str | Path):
        data = _load_named(str(source), label, options)
        place = str(source) if str(source) in BUILTINS else str(Path(source).resolve())
        data.origin = {
            "source": place,
            "options": ({} if label is None else {"label": label}) | _plain_options(options),
        }
        return data
    if is_frame(source):
        if label is None:
            raise InputError("a frame needs label=, the name of the column to predict")
        return read_table(source, label, **options)
    return from_dataset(source, **options)


def _load_named(source: str, label: str | int | None, options: dict[str, Any]) -> Data:
    if source in BUILTINS:
        return builtin(source, **options)
    check_source(source)
    path = Path(source)
    if is_image_source(path):
        return read_images(path, **options)
    if path.is_dir():
        raise InputError(f"{path} is a folder without idx image files; expected a csv, parquet, npz or idx file")
    if label is None:
        raise InputError(f"{path}: which column is to be predicted? add --label NAME (or a position; -1 is the last)")
    return read_table(path, label, **options)


def _plain_options(options: dict[str, Any]) -> dict[str, Any]:
    """Return the options with files as absolute paths, so that the data are found again from another folder."""
    return {name: str(Path(value).resolve()) if name == "test" else value for name, value in options.items()}
