"""Data: what is learned from. Loaded, cleaned, split in four, and handed out part by part, every read recorded."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import InputError, unknown
from .cleaning import CleaningReport
from .encoding import encode_rows
from .preprocessing import (
    ArrayPreprocessing,
    Preprocessing,
    TablePreprocessing,
    check_scaling,
    fit_images,
    fit_table,
    scaler_numbers,
)
from .splitting import PARTS
from .targets import Targets

if TYPE_CHECKING:
    from .parts import Part

CERTIFICATION = "certification"


@dataclass(frozen=True)
class Read:
    """One reading of a part: which, by whom, how many rows."""

    part: str
    by: str
    rows: int


@dataclass
class Data:
    """Inputs and targets of all rows, and which rows belong to which part.

    Make one with `steepest.arrays`, `steepest.read_table`, `steepest.read_images` or `steepest.task`.

    Attributes:
        name: what it is called in records.
        kind: `"table"`, `"image"` (rows, channels, height, width), `"array"` (as it is) or `"items"` (a PyTorch Dataset).
        inputs: a `Table`, an array or a Dataset, by kind.
        targets: the encoded labels.
        parts: for each of train, validation, test and certificate its rows.
        cleaning: what was done to the data.
        scaling: `"standard"`, `"minmax"`, `"robust"` or `"none"`; fitted on the training part only.
        integers: whether an array keeps its whole numbers (for embeddings) instead of becoming float32.
        test_given: whether the test part came apart, in a file or array of its own.
        default_reach: the target that a race on this data has unless told otherwise.
        origin: how to load the data again (source and options), where that is possible.
        reads: every reading of a part so far.
    """

    name: str
    kind: str
    inputs: Any
    targets: Targets
    parts: Mapping[str, np.ndarray]
    cleaning: CleaningReport = field(default_factory=CleaningReport)
    scaling: str = "standard"
    integers: bool = False
    test_given: bool = False
    default_reach: str | None = None
    origin: dict[str, Any] | None = None
    reads: list[Read] = field(default_factory=list)

    def __post_init__(self) -> None:
        check_scaling(self.scaling)
        if not len(self.parts["train"]):
            raise InputError(f"{self.name}: the training part is empty; it needs at least one row")

    def __len__(self) -> int:
        return len(self.targets.values)

    def __repr__(self) -> str:
        return f"Data({self.describe()})"

    def describe(self) -> str:
        """Return one line: name, size, what is predicted."""
        if self.kind == "table":
            what = f"{len(self):,} rows x {len(self.inputs.columns)} columns"
        elif self.kind == "image":
            what = f"{len(self):,} images {'x'.join(map(str, self.inputs.shape[2:]))}"
        else:
            shape = self.inputs[0][0].shape if self.kind == "items" else self.inputs.shape[1:]
            what = f"{len(self):,} rows of shape {'x'.join(map(str, shape))}"
        goal = f"{self.targets.num_classes} classes" if self.targets.classes else "regression"
        return f"{self.name}   {what}, {goal}"

    # -- preprocessing, fitted on the training part only --------------------------------------------------------------

    @cached_property
    def preprocessing(self) -> Preprocessing:
        """The value that turns cleaned rows into network inputs."""
        train = self.parts["train"]
        if self.kind == "table":
            return fit_table(self.inputs.take(train), self.scaling, self.cleaning)
        if self.kind == "image":
            return fit_images(self.inputs[train], self.scaling)
        if self.kind == "items":
            return ArrayPreprocessing(tuple(self.inputs[0][0].shape))
        return ArrayPreprocessing(tuple(self.inputs.shape[1:]), "int64" if self.integers else "float32")

    @cached_property
    def target_scale(self) -> tuple[np.ndarray, np.ndarray]:
        """Mean and deviation of the training targets of a regression, (0, 1) where targets are kept as they are."""
        values = self.targets.values
        if self.targets.kind != "regression" or self.scaling == "none":
            return np.float64(0.0), np.float64(1.0)  # type: ignore[return-value]
        columns = values[self.parts["train"]].reshape(len(self.parts["train"]), -1)
        mean, deviation = scaler_numbers(columns, "standard")
        return (mean, deviation) if values.ndim > 1 else (mean[0], deviation[0])

    @property
    def input_shape(self) -> tuple[int, ...]:
        """The shape of one row of network input."""
        return self.preprocessing.shape

    @property
    def class_weights(self) -> np.ndarray:
        """Return for each class `rows / (classes * rows of the class)` in the training part ("balanced")."""
        counts = np.bincount(self.targets.values[self.parts["train"]], minlength=self.targets.num_classes)
        return counts.sum() / (len(counts) * np.maximum(counts, 1))

    # -- parts --------------------------------------------------------------------------------------------------------

    def size(self, name: str) -> int:
        """Return how many rows a part has; this reads nothing."""
        return len(self.parts[name])

    def part(self, name: str, by: str, device: Any = "cpu") -> Part:
        """Return a part as tensors, and record who read it.

        The certificate part is for `by="certification"` alone: whoever looks at it earlier spoils the certificate.
        """
        if name not in self.parts:
            raise unknown("part", name, PARTS)
        if name == "certificate" and by != CERTIFICATION:
            raise InputError(
                f"the certificate part is read only to certify an artifact (asked for by {by!r}); use the test part"
            )
        rows = self.parts[name]
        if not len(rows):
            raise InputError(f"{self.name} has no {name} part; give it a share with parts=, or a test file")
        self.reads.append(Read(name, by, len(rows)))
        key = (name, str(device))
        if key not in self._tensors:
            self._tensors[key] = self._materialise(name, rows, device)
        return self._tensors[key]

    @cached_property
    def _tensors(self) -> dict[tuple[str, str], Part]:
        return {}

    def _materialise(self, name: str, rows: np.ndarray, device: Any) -> Part:
        import torch

        from .parts import Items, Part

        values = self.targets.values[rows]
        if self.targets.kind == "regression":
            shift, scale = self.target_scale
            targets = torch.as_tensor((values - shift) / scale, dtype=torch.float32)
        else:
            targets = torch.as_tensor(values)
        if self.kind == "items":
            return Part(name, Items(self.inputs, rows, torch.device(device)), targets.to(device))
        return Part(name, torch.from_numpy(self.preprocessing(self._inputs_of(rows))).to(device), targets.to(device))

    def with_parts(self, parts: Mapping[str, np.ndarray]) -> Data:
        """Return the same data dealt out anew; preprocessing is fitted again, on the new training part."""
        full = {name: np.asarray(parts.get(name, np.empty(0, dtype=np.int64))) for name in PARTS}
        return replace(self, parts=full, cleaning=replace(self.cleaning, findings=list(self.cleaning.findings)))

    def only(self, *names: str, by: str) -> Data:
        """Return a copy that holds the rows of these parts and no others: what a worker process is given."""
        self.reads += [Read(name, by, len(self.parts[name])) for name in names]
        rows = np.concatenate([self.parts[name] for name in names])
        at = np.cumsum([0, *(len(self.parts[name]) for name in names)])
        parts = {name: np.arange(at[i], at[i + 1]) for i, name in enumerate(names)}
        copy = replace(self, inputs=self._inputs_of(rows), targets=self.targets.take(rows), reads=[]).with_parts(parts)
        copy.__dict__["preprocessing"] = self.preprocessing  # a cached property: fitted once, here
        return copy

    def _inputs_of(self, rows: np.ndarray) -> Any:
        if self.kind == "items":
            from torch.utils.data import Subset

            return Subset(self.inputs, rows.tolist())
        return self.inputs.take(rows) if self.kind == "table" else self.inputs[rows]

    def prepared_by(self, preprocessing: Preprocessing, target_scale: tuple[Any, Any]) -> Data:
        """Return the same data with the preprocessing and target scale of another, for a network trained there."""
        if self.kind == "table" and isinstance(preprocessing, TablePreprocessing):
            names = [column.name for column in self.inputs.columns]
            if lacking := [step.name for step in preprocessing.steps if step.name not in names]:
                raise InputError(f"{self.name} lacks the column {lacking[0]!r} that the model was trained on")
        elif self.input_shape != preprocessing.shape:
            raise InputError(f"the model takes rows of shape {preprocessing.shape}, {self.name} has {self.input_shape}")
        copy = replace(self)
        copy.__dict__ |= {"preprocessing": preprocessing, "target_scale": target_scale}  # cached: fitted there
        return copy

    # -- new rows -----------------------------------------------------------------------------------------------------

    def encode(self, rows: Any) -> np.ndarray:
        """Return new rows, given as a frame, dicts, a csv file's path or an array, as network inputs."""
        return encode_rows(rows, self.preprocessing)

    def to_dict(self) -> dict[str, Any]:
        """Return what a record keeps of the data: sizes, cleaning, classes, reads."""
        return {
            "name": self.name,
            "kind": self.kind,
            "rows": len(self),
            "parts": {name: len(rows) for name, rows in self.parts.items()},
            "target": self.targets.kind,
            "classes": list(self.targets.classes) if self.targets.classes else None,
            "cleaning": self.cleaning.to_dict(),
            "reads": [asdict(read) for read in self.reads],
        }
