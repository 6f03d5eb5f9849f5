"""Making Data from names and files: built-in sets, images, PyTorch Datasets; and `load`, which tells them apart."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import InputError, blaming, unknown
from ..sources import BUILTINS, check_source
from .cleaning import CleaningReport
from .core import Data
from .frames import is_frame, to_numpy, to_polars
from .images import is_image_source
from .images import read_images as read_image_arrays
from .memory import arrays
from .splitting import SHARES, deal
from .tables import frame_columns, read_table
from .targets import Targets, encode, kind_of_whole_numbers


def read_images(
    path: str | Path,
    *,
    scaling: str = "standard",
    kind: str | None = None,
    parts: tuple[float, ...] = SHARES,
    seed: int = 0,
    name: str | None = None,
) -> Data:
    """Read labelled images from an idx file (labels and test set beside it), a folder of idx files, or an npz archive.

    Whole-number labels of images are classes, however many there are, unless `kind="regression"`.
    """
    found = read_image_arrays(path)
    test = None
    if found.test_inputs is not None and found.test_labels is not None:
        test = (found.test_inputs, found.test_labels)
    images = found.inputs.ndim in (3, 4)
    label = name or Path(found.source).name.split(".")[0]
    return arrays(
        found.inputs, found.labels, test=test, images=images, scaling=scaling, kind=kind, parts=parts, seed=seed, name=label
    )


def from_dataset(
    dataset: Any, *, parts: tuple[float, ...] = SHARES, seed: int = 0, kind: str | None = None, name: str = "dataset"
) -> Data:
    """Make Data from a map-style PyTorch Dataset of (input, label) pairs, fetched item by item at each batch.

    Whole-number labels are classes, as everywhere in PyTorch, unless `kind="regression"`.
    """
    if hasattr(dataset, "dataset") and hasattr(dataset, "batch_size"):
        dataset = dataset.dataset  # a DataLoader: steepest makes its own batches
    if not hasattr(dataset, "__getitem__") or not hasattr(dataset, "__len__"):
        raise InputError("expected a map-style Dataset (with len and indexing); collect an iterable one into arrays first")
    if isinstance(dataset, str | tuple | list | dict):
        raise InputError(f"expected a map-style Dataset of (input, label) pairs (got a {type(dataset).__name__})")
    if hasattr(dataset, "tensors") and len(dataset.tensors) == 2:
        X, y = dataset.tensors
        return arrays(
            X, y, scaling="none", kind=kind or kind_of_whole_numbers(to_numpy(y, "label")), parts=parts, seed=seed, name=name
        )
    with blaming("the dataset"):
        if len(dataset) < 1:
            raise InputError("the dataset is empty (length 0)")
        labels = np.asarray([to_numpy([_pair(dataset[i], i)[1]], "label")[0] for i in range(len(dataset))])
    targets = encode(labels, name, "label", kind or kind_of_whole_numbers(labels))
    return Data(name, "items", dataset, targets, deal(targets, parts, seed, name), CleaningReport(len(labels)), "none")


def _pair(item: Any, i: int) -> tuple[Any, Any]:
    """Return an item of a dataset if it is an input with its label."""
    if not isinstance(item, tuple | list) or len(item) != 2 or not hasattr(item[0], "shape"):
        raise InputError(f"item {i} of the dataset must be a pair (tensor or array, label) (got {type(item).__name__})")
    return item[0], item[1]


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
        dealt = deal(targets, parts, seed, name)
        data = Data(name, "table", frame_columns(frame, report), targets, dealt, report, scaling)
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
        return read_table(source, label, **_known(read_table, options))
    return from_dataset(source, **_known(from_dataset, options))


def _known(reader: Callable[..., Data], options: dict[str, Any]) -> dict[str, Any]:
    """Return the options if the reader takes them all, or raise, naming the nearest."""
    takes = [
        name for name, parameter in inspect.signature(reader).parameters.items() if parameter.kind is parameter.KEYWORD_ONLY
    ]
    for name in options:
        if name not in takes:
            raise unknown(f"option of {reader.__name__}", name, takes)
    return options


def _load_named(source: str, label: str | int | None, options: dict[str, Any]) -> Data:
    if source in BUILTINS:
        return builtin(source, **_known(builtin, options))
    check_source(source)
    path = Path(source)
    if label is not None and is_image_source(path):
        raise InputError(f"label {label!r} is a table's column; {path} holds images with labels of their own")
    if is_image_source(path):
        return read_images(path, **_known(read_images, options))
    if path.is_dir():
        raise InputError(f"{path} is a folder without idx image files; expected a csv, parquet, npz or idx file")
    if label is None:
        raise InputError(f"{path}: which column is to be predicted? add --label NAME (or a position; -1 is the last)")
    return read_table(path, label, **_known(read_table, options))


def _plain_options(options: dict[str, Any]) -> dict[str, Any]:
    """Return the options with files as absolute paths, so that the data are found again from another folder."""
    return {name: str(Path(value).resolve()) if name == "test" else value for name, value in options.items()}
