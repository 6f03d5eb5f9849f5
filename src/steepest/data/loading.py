"""Making Data from names and files: built-in sets, images, PyTorch Datasets; and `load`, which tells them apart."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import InputError, blaming, unknown
from ..sources import BUILTINS, check_source, downloaded, is_download
from .cifar import is_cifar, read_cifar
from .cleaning import CleaningReport
from .core import Data
from .folders import holds
from .frames import is_frame, is_records, to_numpy, to_polars
from .hub import from_hub, is_hub
from .images import is_image_source, read_folder
from .images import read_images as read_image_arrays
from .inputs import Images, Items
from .labelled import read_texts
from .language import read_characters
from .memory import arrays
from .pictures import PICTURES, decode, is_picture
from .reading import TABLE_SUFFIXES, read_text
from .recordings import is_sound_source, read_sounds
from .series import read_series
from .splitting import SHARES, deal
from .tables import frame_columns, read_table
from .targets import Targets, encode, kind_of_whole_numbers, not_recorded
from .texts import labelled_lines, nearly_labelled


def read_images(
    path: str | Path,
    *,
    size: Any = None,
    on_bad_row: str = "stop",
    on_disk: bool | None = None,
    scaling: str = "standard",
    kind: str | None = None,
    parts: tuple[float, ...] = SHARES,
    seed: int = 0,
    name: str | None = None,
) -> Data:
    """Read labelled images: a folder a class with png, jpeg, bmp, webp or gif files in it (needs `steepest[images]`); an idx
    file (labels and test set beside it) or a folder of them; an npz archive; CIFAR-10's binary version.

    Whole-number labels of images are classes, however many there are, unless `kind="regression"`.

    Args:
        path: the folder or file; folders `train`, `test` and `validation` of folders of classes are those parts.
        size: (height, width) that images in files are resized to; None: they must have one size.
        on_bad_row: at an image that cannot be read, `"stop"`, or `"skip"` it and say so.
        on_disk: whether images are kept in the cache on disk and read batch by batch; None: where they would take more than
            half of the free memory.
        scaling: of pixels, per channel: `"standard"`, `"minmax"`, `"robust"` or `"none"`.
        kind: `"classification"` or `"regression"`; None: told from the labels.
        parts: shares of train, validation, test and certificate.
        seed: how images are dealt out.
        name: what records call the data; None: the folder's or file's name.
    """
    path = Path(path)
    if path.is_dir() and holds(path, PICTURES):
        return read_folder(
            path, size=size, on_bad_row=on_bad_row, on_disk=on_disk, scaling=scaling, kind=kind, parts=parts, seed=seed,
            name=name or path.resolve().name,
        )  # fmt: skip
    if size is not None:
        raise InputError(f"size is for folders of image files; the images of {path} have one size")
    found = read_cifar(path) if is_cifar(path) else read_image_arrays(path, on_disk)
    test = None
    if found.test_inputs is not None and found.test_labels is not None:
        test = (found.test_inputs, found.test_labels)
    images = found.inputs.ndim in (3, 4)
    label = name or Path(found.source).name.split(".")[0]
    return arrays(
        found.inputs, found.labels, test=test, images=images, scaling=scaling, on_disk=on_disk, kind=kind, parts=parts,
        seed=seed, name=label,
    )  # fmt: skip


def from_dataset(
    dataset: Any,
    *,
    parts: tuple[float, ...] = SHARES,
    seed: int = 0,
    kind: str | None = None,
    name: str = "dataset",
    size: Any = None,
) -> Data:
    """Make Data from a map-style PyTorch Dataset of (input, label) pairs, fetched item by item at each batch.

    Whole-number labels are classes, as everywhere in PyTorch, unless `kind="regression"`. Pillow's images, as torchvision
    hands them out without a transform, are decoded once, into one array; `size` is for those.
    """
    if is_loader(dataset):
        dataset = dataset.dataset  # steepest makes its own batches
    if is_hub(dataset):
        return from_hub(dataset, parts=parts, seed=seed, kind=kind, name=name, size=size)
    streams = any(kind.__name__ == "IterableDataset" for kind in type(dataset).__mro__)
    if streams or not hasattr(dataset, "__getitem__") or not hasattr(dataset, "__len__"):
        raise InputError(
            "expected a map-style Dataset (with len and indexing); of a stream say how many rows are an epoch, and which are "
            f"held out: steepest.stream(dataset, rows=100_000, held_out=2_000) (got {type(dataset).__name__})"
        )
    if isinstance(dataset, str | tuple | list | dict | np.ndarray) or hasattr(dataset, "detach"):
        raise InputError(
            f"expected a map-style Dataset of (input, label) pairs (got a {type(dataset).__name__}); arrays are brought with "
            "their labels: steepest.arrays(X, y); data with a name, and a network of your own: steepest.task(name, model=net)"
        )
    if hasattr(dataset, "tensors") and len(dataset.tensors) == 2:
        X, y = dataset.tensors
        return arrays(
            X, y, scaling="none", kind=kind or kind_of_whole_numbers(to_numpy(y, "label")), parts=parts, seed=seed, name=name
        )
    with blaming("the dataset"):
        if len(dataset) < 1:
            raise InputError("the dataset is empty (length 0)")
        if is_picture(_pair(dataset, 0)[0]):
            return _from_pictures(dataset, size, parts, seed, kind, name)
        labels = np.asarray([to_numpy([_pair(dataset, i)[1]], "label")[0] for i in range(len(dataset))])
    targets = encode(labels, name, "label", kind or kind_of_whole_numbers(labels))
    return Data(name, Items(dataset), targets, deal(targets, parts, seed, name), CleaningReport(len(labels)), "none")


def _from_pictures(dataset: Any, size: Any, parts: tuple[float, ...], seed: int, kind: str | None, name: str) -> Data:
    """Make Data from a Dataset of Pillow's images and their labels."""
    pairs = [_pair(dataset, i) for i in range(len(dataset))]
    labels = to_numpy([label for _, label in pairs], "label")
    report = CleaningReport(len(labels))
    values, _ = decode(
        [image for image, _ in pairs], [f"item {i} of the dataset" for i in range(len(pairs))], report, size=size
    )
    targets = encode(labels, name, "label", kind or kind_of_whole_numbers(labels))
    return Data(name, Images(values), targets, deal(targets, parts, seed, name), report)


def is_loader(value: Any) -> bool:
    """Return whether a value is a DataLoader of PyTorch's, which batches a Dataset."""
    return hasattr(value, "dataset") and hasattr(value, "batch_size")


def _pair(dataset: Any, i: int) -> tuple[Any, Any]:
    """Return an item of a dataset if it is an input with its label."""
    with blaming(f"item {i} of the dataset"):
        item = dataset[i]
    pair = isinstance(item, tuple | list) and len(item) == 2
    if not pair or not (hasattr(item[0], "shape") or is_picture(item[0])):
        kinds = f"{type(item).__name__} of {', '.join(type(one).__name__ for one in item)}" if pair else type(item).__name__
        raise InputError(f"item {i} of the dataset must be a pair (tensor, array or image; label) (got {kinds})")
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
        data = Data(name, frame_columns(frame, report), targets, dealt, report, scaling)
    data.default_reach = reach
    return data


def load(source: Any, *, label: str | int | None = None, **options: Any) -> Data:
    """Make Data from whatever names or holds it: a name, a path, a frame with `label`, a Dataset, Data itself."""
    if isinstance(source, Data):
        return source
    if isinstance(source, str | Path):
        data = _load_named(str(source), label, options)
        name = str(source)
        place = name if name in BUILTINS or is_download(name) else str(Path(source).resolve())
        data.origin = {
            "source": place,
            "options": ({} if label is None else {"label": label}) | _plain_options(options),
        }
        return data
    if is_loader(source):
        source = source.dataset  # steepest makes its own batches
    if is_hub(source):
        return from_hub(source, label=None if label is None else str(label), **_known(from_hub, options))
    if is_frame(source) or (label is not None and is_records(source)):
        if label is None:
            raise InputError("a frame needs label=, the name of the column to predict")
        reader = read_series if "horizon" in options else read_table
        return reader(source, label, **_known(reader, options, "the frame"))
    return from_dataset(source, **_known(from_dataset, options))


def _known(reader: Callable[..., Data], options: dict[str, Any], source: str = "it") -> dict[str, Any]:
    """Return the options if the reader takes them all, or raise: what the option is for, or the nearest."""
    for name in options:
        if name in _takes(reader):
            continue
        others = [what for other, what in _READS.items() if name in _takes(other)]
        if reader in _READS and others:
            flag = {"features": "feature", "missing_in": "missing"}.get(name, name).replace("_", "-")
            told = f"--{flag}: only for {', '.join(others)}, not for {_READS[reader]} such as {source}"
            raise InputError(told + (f"; {_FOLDERS}" if name == "test" and reader in (read_images, read_sounds) else ""))
        raise unknown(f"option of {reader.__name__}", name, _takes(reader))
    return options


def _takes(reader: Callable[..., Data]) -> list[str]:
    """Return the names of a reader's options."""
    return [
        name for name, parameter in inspect.signature(reader).parameters.items() if parameter.kind is parameter.KEYWORD_ONLY
    ]


_READS: dict[Callable[..., Data], str] = {
    read_table: "tables", read_series: "series (those with --horizon)", read_texts: "labelled texts",
    read_characters: "plain texts", read_images: "images", read_sounds: "recordings",
}  # fmt: skip


def _load_named(source: str, label: str | int | None, options: dict[str, Any]) -> Data:
    if source in BUILTINS:
        return builtin(source, **_known(builtin, options))
    check_source(source)
    path = downloaded(source) if is_download(source) else Path(source)
    reader = _reader_of(path, label, options)
    if options.get("kind") == "transcription" and reader is not read_sounds:
        raise not_recorded(str(path))
    if reader in (read_table, read_series):
        if label is None:
            raise InputError(f"{path}: which column is to be predicted? add --label NAME (or a position; -1 is the last)")
        return reader(path, label, **_known(reader, options, str(path)))
    if label is not None and reader is read_sounds:
        options = {**options, "label": label}
    elif label is not None:
        raise InputError(f"label {label!r} is a table's column; {path} holds {_HOLDS[reader]} with labels of their own")
    return reader(path, **_known(reader, options, str(path)))


def _reader_of(path: Path, label: str | int | None, options: dict[str, Any]) -> Callable[..., Data]:
    """Return what reads a file or folder, told by its name and how it begins."""
    if is_sound_source(path):
        return read_sounds
    if is_image_source(path) or is_cifar(path) or (path.is_dir() and holds(path, PICTURES)):
        return read_images
    if path.is_dir():
        raise InputError(
            f"{path} is a folder without idx image files, and without a folder a class of images or wav files; expected those, "
            "or a csv, parquet, npz, idx or text file"
        )
    if "horizon" in options:
        return read_series
    if label is not None or any(path.name.endswith(suffix) for suffix in TABLE_SUFFIXES):
        return read_table
    if "context" in options or "tokens" in options:
        return read_characters if "context" in options else read_texts
    content, _ = read_text(path)
    if labelled_lines(content):
        return read_texts
    if odd := nearly_labelled(content):
        raise InputError(
            f"{path}: {odd}; correct it, or say what it is: --tokens words (a label and a text a line), --context 256 (a plain "
            "text)"
        )
    return read_characters


_HOLDS: dict[Callable[..., Data], str] = {
    read_images: "images", read_texts: "texts", read_characters: "a text, to learn what comes next,",
}  # fmt: skip


_FOLDERS = "of a folder, the folders train and test in it are those parts"


def _plain_options(options: dict[str, Any]) -> dict[str, Any]:
    """Return the options with files as absolute paths, so that the data are found again from another folder."""
    return {name: str(Path(value).resolve()) if name == "test" else value for name, value in options.items()}
