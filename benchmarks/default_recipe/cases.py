"""What is trained: real data of every kind as arrays that everyone reads, and a plain network of the user's own for each.

Rows for testing are what every recipe is measured on after each epoch.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

import steepest
from benchmarks import tasks
from benchmarks.peers import works
from benchmarks.peers.works import CONTEXT, WORKS, Arrays, filled
from steepest.forms import PADDED


@dataclass(frozen=True)
class Case:
    """One data set, what is measured, and for how many epochs the others train at most.

    Attributes:
        name: the folder of the data, and what of it.
        title: as the table calls it.
        network: as the rivals call it.
        metric: of the rows for testing.
        prepared: makes arrays, and what else the rivals have to know.
        epochs: 10, skorch's default; fewer where one takes long.
        seeds: how many; one where a run takes minutes.
        options: of the reader.
    """

    name: str
    title: str
    network: str
    metric: str
    prepared: Callable[[Case, Path], tuple[Arrays, dict[str, Any]]]
    epochs: int = 10
    seeds: int = 3
    options: Mapping[str, Any] = field(default_factory=dict)

    @property
    def folder(self) -> str:
        return self.name.split("/")[0]

    @property
    def told(self) -> dict[str, Any]:
        """What results keep of a case."""
        return {name: getattr(self, name) for name in ("name", "title", "network", "metric", "epochs")}

    def write(self, source: Path, folder: Path) -> Path:
        """Write arrays and `facts.json` into a folder, and return it."""
        arrays, more = self.prepared(self, source)
        for name, values in arrays.items():
            np.save(folder / f"{name}.npy", values)
        facts = {"read": None, "unit": 1.0, "shape": arrays["X_train"].shape[1:], "rows": len(arrays["X_train"])}
        (folder / "facts.json").write_text(json.dumps(self.told | facts | more))
        return folder


def both(data: steepest.Data) -> Arrays:
    """Return all rows of both parts, as a reader gives them, filled up to one length."""
    found: Arrays = {}
    for name in ("train", "test"):
        part = data.part(name, by="benchmark")
        X, y = (values.numpy() for values in part.take(torch.arange(len(part))))
        short = data.form.shape[0] - X.shape[1] if data.form.kind in PADDED else 0
        found |= {f"X_{name}": np.pad(X, ((0, 0), (0, short), *[(0, 0)] * (X.ndim - 2))), f"y_{name}": y}
    return found


def table(case: Case, source: Path) -> tuple[Arrays, dict[str, Any]]:
    """A file's columns as steepest scales and encodes them; four rows in five to train on."""
    data = steepest.task(source / case.options["file"], parts=(0.8, 0.0, 0.2, 0.0), **case.options["reader"]).data
    assert not data.form.codes, data
    arrays = both(data)
    outputs = 1 if case.metric == "rmse" else 2
    return arrays, {"widths": (arrays["X_train"].shape[1], 128, 128, outputs), "classes": outputs}


def adult(case: Case, source: Path) -> tuple[Arrays, dict[str, Any]]:
    """As the comparison of speeds has it: a column for each category."""
    work = next(work for work in WORKS if work.name == "table")
    arrays, _ = works.table(work, source, source)
    return arrays, {"widths": (arrays["X_train"].shape[1], 128, 128, 2), "classes": 2}


def clothes(case: Case, source: Path) -> tuple[Arrays, dict[str, Any]]:
    work = next(work for work in WORKS if work.name == "cnn")
    arrays, _ = works.images(replace(work, rows=59_904), source, source)
    return arrays, {"classes": 10}


def photographs(case: Case, source: Path) -> tuple[Arrays, dict[str, Any]]:
    """Each colour with mean 0 and deviation 1."""
    train, test, _ = tasks.photographs(source)
    data = steepest.arrays(*train, test=test, images=True, parts=(1.0, 0.0, 0.0, 0.0))
    return both(data), {"classes": 10}


def text(case: Case, source: Path) -> tuple[Arrays, dict[str, Any]]:
    """Words as steepest numbers them; every text as long as the longest, 0 where it has ended."""
    file, test = (str(source / case.options[name]) for name in ("file", "test"))
    options = {"test": test, "parts": (1.0, 0.0, 0.0, 0.0)}
    data = steepest.task(file, **options).data
    arrays = both(data)
    told = {"vocabulary": data.form.vocabulary, "classes": int(arrays["y_train"].max()) + 1}
    return arrays, told | {"read": {"source": file, "options": options}}


def characters(case: Case, source: Path) -> tuple[Arrays, dict[str, Any]]:
    """Windows that do not overlap; the last tenth of the text is tested on."""
    file = str(source / "input.txt")
    options = {"context": CONTEXT, "stride": CONTEXT, "parts": (0.9, 0.0, 0.1, 0.0)}
    data = steepest.read_characters(file, **options)
    told = {"vocabulary": data.form.vocabulary, "classes": data.form.vocabulary}
    return both(data), told | {"read": {"source": file, "options": options}}


def sounds(case: Case, source: Path) -> tuple[Arrays, dict[str, Any]]:
    """Log-mel frames as steepest's reader gives them, cut or filled up to 64."""
    file = source / "fsdd_int16_8khz.npz"
    data = steepest.read_sounds(file, label="digit", test_where="index<5", parts=(1.0, 0.0, 0.0, 0.0))
    arrays = both(data)
    return arrays | {name: filled(arrays[name]) for name in ("X_train", "X_test")}, {"classes": 10}


def series(case: Case, source: Path) -> tuple[Arrays, dict[str, Any]]:
    """96 hours of the oil's temperature, and the 24 after them, in deviations of the part trained on."""
    file = str(source / "ETTh1.csv")
    options = {"label": "OT", "horizon": 24, "window": 96, "features": ["OT"], "parts": (0.8, 0.0, 0.2, 0.0)}
    data = steepest.task(file, **options).data
    told = {"read": {"source": file, "options": options}, "unit": float(np.mean(data.target_scale[1]))}
    return both(data), told | {"widths": (96, 128, 24), "classes": 24}


CASES = (
    Case("adult", "adult", "dense", "auc", adult),
    Case("california_housing", "California housing", "dense", "rmse", table,
         options={"file": "housing.csv", "reader": {"label": "median_house_value"}}),
    Case("titanic", "Titanic", "dense", "auc", table, options={"file": "train.csv", "reader": {"label": "Survived"}}),
    Case("pima", "Pima", "dense", "auc", table,
         options={"file": "pima-indians-diabetes.csv",
                  "reader": {"label": -1, "header": False, "missing": {f"c{i}": 0 for i in range(2, 7)}}}),
    Case("fashion_mnist", "Fashion-MNIST, 2c2d", "cnn", "accuracy", clothes, epochs=5, seeds=1),
    Case("cifar10_20k", "CIFAR-10, 20,000, 2c2d", "cnn", "accuracy", photographs, seeds=1),
    Case("text_classification/SST-2", "SST-2, mean of words", "words", "accuracy", text,
         options={"file": "stsa.binary.train", "test": "stsa.binary.test"}),
    Case("text_classification/TREC", "TREC, mean of words", "words", "accuracy", text,
         options={"file": "TREC.train.all", "test": "TREC.test.all"}),
    Case("tinyshakespeare", "tinyshakespeare, transformer 4 x 128", "transformer", "loss", characters, epochs=3, seeds=1),
    Case("fsdd", "spoken digits, LSTM 128", "lstm", "accuracy", sounds),
    Case("etth1", "ETTh1, 96 hours to 24", "dense", "rmse", series),
)  # fmt: skip
