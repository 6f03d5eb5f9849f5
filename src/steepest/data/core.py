"""Data: what is learned from. Loaded, cleaned, split in four, and handed out part by part, every read recorded."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import InputError, unknown
from ..forms import Form
from .cleaning import CleaningReport, Finding, Table
from .inputs import Inputs, Stream
from .preprocessing import Preprocessing, TablePreprocessing, check_alike
from .scaling import check_scaling, scaler_numbers
from .splitting import PARTS
from .targets import Targets
from .texts import TextPreprocessing

if TYPE_CHECKING:
    from .feeds import Feed
    from .parts import Part

CERTIFICATION = "certification"
OF_ANY_ROW = ("array", "items")  # kinds whose preprocessing follows from the shape of a row


@dataclass(frozen=True)
class Read:
    """One reading of a part: which, by whom, how many rows."""

    part: str
    by: str
    rows: int


@dataclass
class Data:
    """Inputs and targets of all rows, and which rows belong to which part.

    Make one with `steepest.task`, `steepest.arrays` or one of the readers.

    Attributes:
        name: what it is called in records.
        inputs: the rows of one kind of data, see `data/inputs.py`.
        targets: the encoded labels.
        parts: for each of train, validation, test and certificate its rows.
        cleaning: what was done to the data.
        scaling: `"standard"`, `"minmax"`, `"robust"` or `"none"`; fitted on the training part only.
        test_given: whether the test part came apart, in a file or array of its own.
        default_reach: the target that a race on this data has unless told otherwise.
        groups: the group of each row, where rows of one group must not fall in two parts.
        in_time: whether the parts follow each other in time.
        origin: how to load the data again (source and options), where that is possible.
        reads: every reading of a part so far.
        learned: what fitting the preprocessing found in the training part; `cleaning` tells it too.
        plain_targets: whether the numbers to predict are kept as they are.
        spelling: whether rows of text say how words are spelled; None: as they were fitted.
        feed: of a stream, what the training part goes on with after the rows that are held here.
    """

    name: str
    inputs: Inputs
    targets: Targets
    parts: Mapping[str, np.ndarray]
    cleaning: CleaningReport = field(default_factory=CleaningReport)
    scaling: str = "standard"
    test_given: bool = False
    default_reach: str | None = None
    groups: np.ndarray | None = None
    in_time: bool = False
    origin: dict[str, Any] | None = None
    reads: list[Read] = field(default_factory=list)
    learned: list[Finding] = field(default_factory=list)
    plain_targets: bool = False
    spelling: bool | None = None
    feed: Feed | None = None

    def __post_init__(self) -> None:
        check_scaling(self.scaling)
        if not len(self.parts["train"]):
            raise InputError(f"{self.name}: the training part is empty; it needs at least one row")

    @property
    def kind(self) -> str:
        """What kind of data this is, as `Form` names it."""
        return self.inputs.kind

    def __len__(self) -> int:
        return len(self.inputs)

    def __repr__(self) -> str:
        return f"Data({self.describe()})"

    def describe(self) -> str:
        """Return one line: name, size, what is predicted."""
        after = "" if self.feed is None else f", and what comes after, in epochs of {self.feed.rows:,} rows"
        return f"{self.name}   {self.inputs.describe()}, {self.targets.describe()}{after}"

    # -- preprocessing, fitted on the training part only --------------------------------------------------------------

    @cached_property
    def preprocessing(self) -> Preprocessing:
        """The value that turns cleaned rows into network inputs."""
        report = CleaningReport()
        looked_at = self.parts["train"][:1] if self.kind in OF_ANY_ROW else self.parts["train"]
        fitted = self.inputs.take(looked_at).fit(self.scaling, report)
        self.learned.extend(report.findings)  # in place: copies share these lists, as they do what is fitted
        self.cleaning.findings.extend(report.findings)
        if isinstance(fitted, TextPreprocessing) and fitted.pieces is None and self.spelling is not None:
            return replace(fitted, spelled=self.spelling)
        return fitted

    @cached_property
    def target_scale(self) -> tuple[np.ndarray, np.ndarray]:
        """Mean and deviation of the training targets of a regression, (0, 1) where targets are kept as they are."""
        values, own = self.targets.values, getattr(self.preprocessing, "target_scale", None)
        if self.targets.kind != "regression" or self.plain_targets:
            return np.float64(0.0), np.float64(1.0)  # type: ignore[return-value]
        if own is not None:  # of a series, whose label is seen too
            return own
        if self.scaling == "none":
            return np.float64(0.0), np.float64(1.0)  # type: ignore[return-value]
        columns = values[self.parts["train"]].reshape(len(self.parts["train"]), -1)
        mean, deviation = scaler_numbers(columns, "standard")
        return (mean, deviation) if values.ndim > 1 else (mean[0], deviation[0])

    @cached_property
    def unscaled(self) -> Data:
        """The same data with the numbers to predict as they are, for objectives that need them so."""
        if self.targets.kind != "regression":
            return self
        copy = replace(self, plain_targets=True)
        copy.__dict__["preprocessing"] = self.preprocessing  # a cached property: fitted once
        return copy

    @cached_property
    def spelled(self) -> Data:
        """The same texts in rows that say how words are spelled, for networks that read that; other data as they are."""
        return self._with_spelling(True)

    @cached_property
    def unspelled(self) -> Data:
        """The same texts in rows of the numbers of their words alone."""
        return self._with_spelling(False)

    def _with_spelling(self, spelled: bool) -> Data:
        now = self.preprocessing if self.kind == "text" else None
        if not isinstance(now, TextPreprocessing) or now.pieces is not None or now.spelled == spelled:
            return self
        copy = replace(self, spelling=spelled)
        copy.__dict__["preprocessing"] = replace(now, spelled=spelled)
        return copy

    @property
    def form(self) -> Form:
        """What one row of network input looks like."""
        return self.preprocessing.form

    @property
    def class_weights(self) -> np.ndarray:
        """Return for each class `rows / (classes * rows of the class)` in the training part ("balanced")."""
        counts = np.bincount(self.targets.values[self.parts["train"]], minlength=self.targets.num_classes)
        return counts.sum() / (len(counts) * np.maximum(counts, 1))

    # -- parts --------------------------------------------------------------------------------------------------------

    def size(self, name: str) -> int:
        """Return how many rows a part has, the training part of a stream those of an epoch; this reads nothing."""
        return self.feed.rows if self.feed is not None and name == "train" else len(self.parts[name])

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

        from .parts import Part

        taken, where = self.inputs.take(rows), torch.device(device)
        made = self.preprocessing
        found = getattr(made, "gathered", made)(taken)  # some make their inputs batch by batch
        inputs = (torch.from_numpy(found) if isinstance(found, np.ndarray) else found).to(where)
        if isinstance(taken, Stream):
            return Part(name, inputs, taken.following().to(where))
        values = self.targets.values[rows]
        if self.targets.kind == "regression":
            shift, scale = self.target_scale
            values = ((values - shift) / scale).astype(np.float32)
        targets = torch.as_tensor(values).to(where)
        if self.feed is not None and name == "train":
            from .feeds import StreamPart

            return StreamPart(name, inputs, targets, self.feed, self)
        return Part(name, inputs, targets)

    def with_parts(self, parts: Mapping[str, np.ndarray]) -> Data:
        """Return the same data dealt out anew; preprocessing is fitted again, on the new training part."""
        if self.feed is not None:
            raise InputError(
                f"{self.name} is a stream: its rows cannot be dealt out anew, nor into folds; collect as many as that needs "
                "into arrays"
            )
        told = [finding for finding in self.cleaning.findings if not any(finding is one for one in self.learned)]
        return replace(self, parts=_full(parts), cleaning=replace(self.cleaning, findings=told), learned=[])

    def only(self, *names: str, by: str) -> Data:
        """Return a copy that holds the rows of these parts and no others: what a worker process is given."""
        self.reads += [Read(name, by, len(self.parts[name])) for name in names]
        rows = np.concatenate([self.parts[name] for name in names])
        at = np.cumsum([0, *(len(self.parts[name]) for name in names)])
        parts = {name: np.arange(at[i], at[i + 1]) for i, name in enumerate(names)}
        groups = None if self.groups is None else self.groups[rows]
        fitted = self.preprocessing  # a cached property: fitted once, here, and what that found is told
        copy = replace(
            self, inputs=self.inputs.take(rows), targets=self.targets.take(rows), groups=groups, reads=[], parts=_full(parts),
            cleaning=replace(self.cleaning, findings=list(self.cleaning.findings)), learned=list(self.learned),
        )  # fmt: skip
        copy.__dict__["preprocessing"] = fitted
        return copy

    def prepared_by(self, preprocessing: Preprocessing, target_scale: tuple[Any, Any]) -> Data:
        """Return the same data with the preprocessing and target scale of another, for a network trained there."""
        if isinstance(self.inputs, Table) and isinstance(preprocessing, TablePreprocessing):
            names = [column.name for column in self.inputs.columns]
            if lacking := [step.name for step in preprocessing.steps if step.name not in names]:
                raise InputError(f"{self.name} lacks the column {lacking[0]!r} that the model was trained on")
        elif self.kind != preprocessing.form.kind:
            raise InputError(f"the model takes rows of the kind {preprocessing.form.kind}, {self.name} holds {self.kind}")
        elif self.kind in ("image", "array", "items", "series") and self.form.shape != preprocessing.form.shape:
            raise InputError(f"the model takes rows of shape {preprocessing.form.shape}, {self.name} has {self.form.shape}")
        check_alike(self.inputs, preprocessing, self.name)
        copy = replace(self)
        copy.__dict__ |= {"preprocessing": preprocessing, "target_scale": target_scale}  # cached: fitted there
        return copy

    def to_dict(self) -> dict[str, Any]:
        """Return what a record keeps of the data: sizes, cleaning, classes, reads."""
        return {
            "name": self.name,
            "kind": self.kind,
            "rows": len(self),
            "size": self.inputs.describe(),
            "parts": {name: self.size(name) for name in self.parts},
            "target": self.targets.kind,
            "classes": list(self.targets.classes) if self.targets.classes else None,
            "cleaning": self.cleaning.to_dict(),
            "reads": [asdict(read) for read in self.reads],
        }


def _full(parts: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Return the rows of all four parts, none where a part is not named."""
    return {name: np.asarray(parts.get(name, np.empty(0, dtype=np.int64))) for name in PARTS}
