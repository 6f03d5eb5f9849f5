"""Reading labelled images: folders of files, idx files (plain or gzipped, as MNIST and Fashion-MNIST), npz archives."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..errors import InputError
from ..sources import read_bytes
from .archives import read_archive
from .cache import tell
from .cleaning import CleaningReport
from .core import Data
from .folders import classes_of
from .inputs import Images
from .lines import Lines
from .pictures import PICTURES, decode

IDX_TYPES = {0x08: ">u1", 0x09: ">i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}
IDX_NAME = re.compile(r"(?P<set>.*?)[-_.]?(images|labels)[-_.]idx\d[-_.]ubyte(\.gz)?$")
TEST_SETS = ("t10k", "test")


@dataclass(frozen=True)
class LabelledArrays:
    """Inputs and labels of a training file and, where there is one, of a test file."""

    inputs: np.ndarray | Lines
    labels: np.ndarray
    test_inputs: np.ndarray | Lines | None
    test_labels: np.ndarray | None
    source: str


def read_folder(
    path: Path,
    *,
    size: object,
    on_bad_row: str,
    on_disk: bool | None,
    scaling: str,
    kind: str | None,
    parts: tuple[float, ...],
    seed: int,
    name: str,
) -> Data:
    """Read a folder of classes with files of images; folders test and validation beside train are those parts."""
    report = CleaningReport()
    found = classes_of(path, PICTURES, report)
    names = [str(file) for file in found.files]
    values, kept = decode(found.files, names, report, size=size, on_bad_row=on_bad_row, on_disk=on_disk)
    if isinstance(values, Lines):
        tell(report, values, "images")
    found = found.take(kept)
    targets, dealt = found.deal(path, parts, seed, name, kind)
    report.rows, report.columns = len(values), int(np.prod(values.shape[1:]))
    return Data(name, Images(values), targets, dealt, report, scaling, test_given="test" in found.parts)


def read_idx(path: str | Path) -> np.ndarray:
    """Read one idx file: a magic number that gives type and dimensions, the sizes, then the values, big-endian."""
    content = read_bytes(path)
    if len(content) < 4 or content[:2] != b"\x00\x00" or content[2] not in IDX_TYPES or content[3] == 0:
        raise InputError(f"{path} is not an idx file: expected a header such as 00 00 08 03, got {content[:4].hex(' ')}")
    dimensions, dtype = content[3], np.dtype(IDX_TYPES[content[2]])
    begin = 4 + 4 * dimensions
    if len(content) < begin:
        raise InputError(f"{path} is a damaged idx file: its header ends early, after {len(content)} bytes")
    shape = tuple(int(size) for size in np.frombuffer(content[4:begin], dtype=">u4"))
    expected = begin + math.prod(shape) * dtype.itemsize
    if dimensions > 4 or 0 in shape:
        raise InputError(
            f"{path}: expected an idx file of 1 to 4 dimensions, none empty (got {' x '.join(map(str, shape[:8]))})"
        )
    if expected != len(content):
        raise InputError(
            f"{path} is a damaged idx file: its header promises {' x '.join(map(str, shape))} values "
            f"({expected:,} bytes), it holds {len(content):,}"
        )
    return np.frombuffer(content, dtype=dtype, offset=begin).reshape(shape).astype(dtype.newbyteorder("="))


def read_images(path: str | Path, on_disk: bool | None = None) -> LabelledArrays:
    """Read labelled images from an idx file (its labels and test set lie beside it), a folder of them, or an npz archive."""
    path = Path(path)
    return _npz(path, on_disk) if path.suffix == ".npz" else _idx_set(path)


def is_image_source(path: Path) -> bool:
    """Return whether a path names something `read_images` reads."""
    if path.is_dir():
        return any(IDX_NAME.match(entry.name) for entry in path.iterdir())
    return path.suffix == ".npz" or "idx" in path.name


def _idx_set(path: Path) -> LabelledArrays:
    folder = path if path.is_dir() else path.parent
    sets: dict[str, dict[str, Path]] = {}
    for entry in sorted(folder.iterdir()) if folder.is_dir() else []:
        if match := IDX_NAME.match(entry.name):
            sets.setdefault(match["set"], {})["images" if "images" in entry.name else "labels"] = entry
    if not path.is_dir():
        read_idx(path)  # a missing or damaged file is named before anything else
        match = IDX_NAME.match(path.name)
        if match is None:
            raise InputError(f"{path}: expected a name such as train-images-idx3-ubyte.gz, whose labels can be found beside it")
        chosen = match["set"]
    else:
        training = [name for name in sets if name not in TEST_SETS]
        if not training:
            raise InputError(f"{path}: no training images; expected files such as train-images-idx3-ubyte.gz")
        chosen = training[0]
    images, labels = _idx_pair(folder, chosen, sets)
    test = next((name for name in TEST_SETS if name in sets and name != chosen), None)
    test_images, test_labels = _idx_pair(folder, test, sets) if test else (None, None)
    return LabelledArrays(images, labels, test_images, test_labels, str(path))


def _idx_pair(folder: Path, name: str, sets: dict[str, dict[str, Path]]) -> tuple[np.ndarray, np.ndarray]:
    files = sets.get(name, {})
    for part in ("images", "labels"):
        if part not in files:
            raise InputError(f"{folder}: the {name!r} set has no {part} file; expected one such as {name}-{part}-idx1-ubyte.gz")
    images, labels = read_idx(files["images"]), read_idx(files["labels"])
    if labels.ndim != 1:
        raise InputError(f"{files['labels']}: expected one label an image (got {' x '.join(map(str, labels.shape))} values)")
    if len(images) != len(labels):
        raise InputError(f"{files['images']} holds {len(images)} images but {files['labels'].name} holds {len(labels)} labels")
    return images, labels


def _npz(path: Path, on_disk: bool | None) -> LabelledArrays:
    arrays = read_archive(path, on_disk)
    for inputs, labels, test_inputs, test_labels in (
        ("x_train", "y_train", "x_test", "y_test"),
        ("X_train", "y_train", "X_test", "y_test"),
        ("images", "labels", "test_images", "test_labels"),
        ("X", "y", "X_test", "y_test"),
        ("x", "y", "x_test", "y_test"),
    ):
        if inputs in arrays and labels in arrays:
            if len(arrays[inputs]) != len(arrays[labels]):
                raise InputError(f"{path}: {inputs} has {len(arrays[inputs])} rows, {labels} has {len(arrays[labels])}")
            return LabelledArrays(arrays[inputs], arrays[labels], arrays.get(test_inputs), arrays.get(test_labels), str(path))
    raise InputError(f"{path}: expected arrays X and y (or x_train, y_train, ...); it holds {', '.join(arrays) or 'nothing'}")
