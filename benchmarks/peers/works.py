"""What all rivals train, and on what: arrays prepared once, which everyone reads.

Training rows are whole batches, so that nobody meets a smaller last batch (JAX would compile for it anew).
"""

from __future__ import annotations

import argparse
import csv
import gzip
import json
import tempfile
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import torch

import steepest
from benchmarks import common
from steepest.data.images import read_images
from steepest.data.parts import Part

Arrays = dict[str, np.ndarray]


@dataclass(frozen=True)
class Work:
    """One training: the network, how much of the data, in what batches, how long."""

    name: str
    title: str
    data: str  # the folder of the data set
    network: str  # as the rivals call it
    rows: int
    test_rows: int
    batch: int
    epochs: int
    lr: float
    measured: str = "accuracy"  # what is compared in the end

    def __post_init__(self) -> None:
        assert self.rows % self.batch == 0, self

    @property
    def steps(self) -> int:
        return self.rows * self.epochs // self.batch

    def quick(self) -> Work:
        """Return the same work on a few rows, once."""
        steps = max(8, self.steps // (8 * self.epochs))
        return replace(self, rows=min(self.rows, steps * self.batch), test_rows=min(self.test_rows, 1_000), epochs=1)


WORKS = (
    Work("mlp", "Fashion-MNIST, MLP 784-64-64-10", "fashion_mnist", "mlp", 59_904, 10_000, 128, 8, 1e-3),
    Work("cnn", "Fashion-MNIST, CNN 2c2d", "fashion_mnist", "cnn", 12_800, 10_000, 128, 1, 1e-3),
    Work("table", "adult, MLP 128-128", "adult", "table", 32_512, 16_000, 128, 8, 1e-3),
    Work("transformer", "tinyshakespeare, 4 x 128", "tinyshakespeare", "transformer", 2_560, 512, 32, 1, 1e-3, "loss"),
    Work("lstm", "spoken digits, LSTM 128", "fsdd", "lstm", 2_688, 300, 64, 4, 3e-3),
)
FRAMES = 64  # of a recording: 0.66 s; nineteen in twenty are shorter
CONTEXT = 128


def at_hand(works: Iterable[Work], options: argparse.Namespace) -> Iterator[tuple[Work, Path]]:
    """Yield each work whose data there are, small where a quick look is asked for, and the folder of its arrays."""
    for work in works:
        source = common.data_folder(options, work.data)
        if source is None:
            continue
        with tempfile.TemporaryDirectory() as folder:
            size = work.quick() if options.quick else work
            yield size, prepare(size, source, Path(folder))


def prepare(work: Work, source: Path, folder: Path) -> Path:
    """Write the arrays of a work, and `facts.json`, into a folder; return the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    arrays, more = PREPARED[work.network](work, source, folder)
    for name, values in arrays.items():
        np.save(folder / f"{name}.npy", values)
    X = arrays["X_train"]
    assert len(X) == work.rows, (len(X), work)
    facts = asdict(work) | {"shape": X.shape[1:], "classes": int(arrays["y_train"].max()) + 1}
    (folder / "facts.json").write_text(json.dumps(facts | more))
    return folder


def images(work: Work, source: Path, folder: Path) -> tuple[Arrays, dict]:
    """Pixels with mean 0 and deviation 1: lines of 784, or images of one channel."""
    read = read_images(source)
    assert read.test_inputs is not None
    assert read.test_labels is not None
    mean, deviation = read.inputs.mean(), read.inputs.std()
    shape = (-1, 784) if work.network == "mlp" else (-1, 1, 28, 28)
    X, X_test = (((part - mean) / deviation).astype(np.float32).reshape(shape) for part in (read.inputs, read.test_inputs))
    return cut(work, X, read.labels, X_test, read.test_labels), {}


def table(work: Work, source: Path, folder: Path) -> tuple[Arrays, dict]:
    """Numbers with mean 0 and deviation 1, and a column of zeros and ones for each category; a missing cell has none."""
    train, test = (lines(source / f"adult-{part}.csv.gz") for part in ("train", "test"))
    places = [i for i in range(14) if not all(is_number(line[i]) for line in train)]
    columns: list[tuple[np.ndarray, np.ndarray]] = []
    for i in range(14):
        a, b = (np.array([line[i] for line in part]) for part in (train, test))
        if i in places:
            columns += [(a == name, b == name) for name in sorted(set(a) - {"?"})]
        else:
            numbers = a.astype(float)
            columns.append(tuple((part.astype(float) - numbers.mean()) / numbers.std() for part in (a, b)))
    X, X_test = (np.stack(part, axis=1).astype(np.float32) for part in zip(*columns, strict=True))
    y, y_test = (np.array([line[-1].startswith(">") for line in part]) for part in (train, test))
    return cut(work, X, y, X_test, y_test), {}


def lines(path: Path) -> list[list[str]]:
    with gzip.open(path, "rt") as file:
        return [line for line in csv.reader(file, skipinitialspace=True) if len(line) == 15]


def is_number(cell: str) -> bool:
    return cell.lstrip("-").isdigit()


def characters(work: Work, source: Path, folder: Path) -> tuple[Arrays, dict]:
    """Windows of a text that do not overlap, and the character after each of theirs, as steepest's reader gives them."""
    trained, tested = (rows * CONTEXT + 1 for rows in (work.rows, work.test_rows))
    text = (source / "input.txt").read_text()[: trained + tested]
    (folder / "text.txt").write_text(text)
    parts = (trained / len(text), 0.0, tested / len(text), 0.0)
    data = steepest.read_characters(folder / "text.txt", context=CONTEXT, stride=CONTEXT, parts=parts)
    found = {f"{kind}_{part}": values for part in ("train", "test") for kind, values in whole(data, part)}
    return found, {"vocabulary": data.form.vocabulary, "parts": parts}


def sounds(work: Work, source: Path, folder: Path) -> tuple[Arrays, dict]:
    """Log-mel frames of recordings, cut or filled up to one length, as steepest's reader gives them."""
    read = steepest.read_sounds(source / "fsdd_int16_8khz.npz", label="digit", test_where="index<5", parts=(1.0, 0.0, 0.0, 0.0))
    (_, X), (_, y) = whole(read, "train")
    (_, X_test), (_, y_test) = whole(read, "test")
    order = np.random.default_rng(0).permutation(len(X))
    return cut(work, filled(X)[order], y[order], filled(X_test), y_test), {}


def whole(data: steepest.Data, part: str) -> Iterable[tuple[str, np.ndarray]]:
    found: Part = data.part(part, by="benchmark")
    X, y = found.take(torch.arange(len(found)))
    return (("X", X.numpy()), ("y", y.numpy()))


def filled(rows: np.ndarray) -> np.ndarray:
    short = max(0, FRAMES - rows.shape[1])
    return np.pad(rows[:, :FRAMES], ((0, 0), (0, short), (0, 0)))


def cut(work: Work, X: np.ndarray, y: np.ndarray, X_test: np.ndarray, y_test: np.ndarray) -> Arrays:
    """Return the rows that a work takes, contiguous and in the usual types."""
    return {
        "X_train": np.ascontiguousarray(X[: work.rows], dtype=np.float32),
        "y_train": y[: work.rows].astype(np.int64),
        "X_test": np.ascontiguousarray(X_test[: work.test_rows], dtype=np.float32),
        "y_test": y_test[: work.test_rows].astype(np.int64),
    }


PREPARED: dict[str, Callable[[Work, Path, Path], tuple[Arrays, dict]]] = {
    "mlp": images, "cnn": images, "table": table, "transformer": characters, "lstm": sounds,
}  # fmt: skip
