"""Preprocessing: from cleaned columns, images or arrays to what a network reads, fitted on the training part only.

Medians and means are found by scikit-learn's transformers and then kept as a plain value, like categories and words, so that
they can be written as JSON, read back without pickle, and applied without scikit-learn.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from itertools import accumulate
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from ..errors import InputError
from ..forms import Form
from ..values import tupled
from .columns import Column, Reading, Table
from .findings import CleaningReport
from .inputs import Arrays, Images, Inputs, Items
from .lines import Lines, in_chunks
from .scaling import chunked_numbers, counted_numbers, scaler_numbers
from .steps import STEPS, CodeStep, NumberStep, Step, fit_categories, fit_dates, fit_words, step_from_dict

if TYPE_CHECKING:
    from .gathering import Fetched, Rows

MAX_IMAGES_FITTED = 5_000  # means and deviations of pixels need no more


class Preprocessing(Protocol):
    """What turns cleaned rows of one kind into network inputs; a plain value, fitted on the training part."""

    @property
    def form(self) -> Form:
        """What a row looks like to a network."""
        ...

    def __call__(self, inputs: Any, /) -> np.ndarray | Rows:
        """Return network inputs, or what gathers them when a batch asks for them."""
        ...

    def to_dict(self) -> dict[str, Any]:
        """Return its JSON form, with the kind of data as `kind`."""
        ...


ALIKE = {"series": ("names", "label", "window", "horizon"), "sound": ("rate",), "language": ("alphabet",)}


def check_alike(inputs: Inputs, preprocessing: Preprocessing, source: str) -> None:
    """Raise unless rows mean what they meant to the model: the same columns, steps, samples a second, characters."""
    for what in ALIKE.get(inputs.kind, ()):
        expected, got = getattr(preprocessing, what), getattr(inputs, what)
        if expected != got:
            raise InputError(
                f"the model was trained on a {inputs.kind} of {what} {expected!r}, {source} has {got!r}; read it alike"
            )


@dataclass(frozen=True)
class TablePreprocessing:
    """Columns to a matrix of shape (rows, features), float32; columns of many categories hold the numbers of those."""

    steps: tuple[Step, ...]
    scaling: str = "standard"
    reading: Reading = field(default_factory=Reading)  # how new rows are to be read

    @property
    def features(self) -> list[str]:
        """The name of each column of the matrix."""
        return [feature for step in self.steps for feature in step.features]

    @property
    def form(self) -> Form:
        ends = list(accumulate(step.width for step in self.steps))
        placed = list(zip(self.steps, ends, strict=True))
        codes = tuple((end - 1, step.count) for step, end in placed if isinstance(step, CodeStep))
        measured = [end - step.width for step, end in placed if isinstance(step, NumberStep)]
        numbers = tuple(measured) if self.scaling != "none" else ()
        groups = tuple(end - step.width for step, end in placed) if len(placed) < ends[-1] else ()
        return Form("table", (ends[-1],), codes=codes, numbers=numbers, groups=groups)

    def __call__(self, table: Table, place: Callable[[int], str] = "row {}".format) -> np.ndarray:
        """Return the matrix; `place` says where a row stands, for one that float32 does not hold."""
        matrix = np.zeros((len(table), *self.form.shape), dtype=np.float32)
        at = 0
        for step in self.steps:
            written = matrix[:, at : at + step.width]
            with np.errstate(over="ignore"):
                step.write(written, table[step.name], self.scaling)
            if (beyond := ~np.isfinite(written).all(axis=1)).any():
                row = int(np.flatnonzero(beyond)[0])
                raise InputError(
                    f"{place(row)}, column {step.name!r}: {table[step.name].values[row]} is beyond what float32 holds after "
                    "scaling; correct or remove the row"
                )
            at += step.width
        return matrix

    def to_dict(self) -> dict[str, Any]:
        names = {kind: name for name, kind in STEPS.items()}
        steps = [{"step": names[type(step)], **asdict(step)} for step in self.steps]
        return {"kind": "table", "scaling": self.scaling, "reading": self.reading.to_dict(), "steps": steps}

    @classmethod
    def from_dict(cls, value: dict[str, Any]) -> TablePreprocessing:
        steps = tuple(step_from_dict(step) for step in value["steps"])
        return cls(steps, value["scaling"], Reading.from_dict(value["reading"]))


def fit_table(table: Table, scaling: str, report: CleaningReport) -> TablePreprocessing:
    """Fit on the rows given, which must be the training rows; columns that are constant there are left out."""
    numbers = dict(zip(table.names("number"), _number_steps(table, scaling), strict=True))
    steps: list[Step] = []
    for column in table.columns:
        step = numbers[column.name] if column.kind == "number" else _fitted(column, scaling)
        if step is None:
            report.add("constant column", 1, "left out", column.name)
        else:
            steps.append(step)
    if not steps:
        raise InputError("every column is constant in the training part; nothing to learn from")
    return TablePreprocessing(tuple(steps), scaling, table.reading)


def _fitted(column: Column, scaling: str) -> Step | None:
    if column.kind == "date":
        return fit_dates(column, scaling)
    return fit_words(column) if column.kind == "text" else fit_categories(column)


def _number_steps(table: Table, scaling: str) -> list[NumberStep | None]:
    names = table.names("number")
    if not names:
        return []
    values = np.column_stack([table[name].values for name in names])
    absent: np.ndarray = np.isnan(values)
    fill = np.zeros(len(names))  # where a column is empty
    some = ~absent.all(axis=0)
    fill[some] = np.nanmedian(values[:, some], axis=0)
    filled = np.where(absent, fill, values)
    shift, scale = scaler_numbers(filled, scaling)
    steps: list[NumberStep | None] = []
    for i, name in enumerate(names):
        flagged = bool(absent[:, i].any())
        tells_something = np.ptp(filled[:, i]) > 0 or (flagged and not absent[:, i].all())
        step = NumberStep(name, float(fill[i]), float(shift[i]), float(scale[i]), flagged, table[name].pattern)
        steps.append(step if tells_something else None)
    return steps


@dataclass(frozen=True)
class ImagePreprocessing:
    """Images of shape (rows, channels, height, width): `(x - shift) / scale` per channel."""

    image_shape: tuple[int, int, int]
    shift: tuple[float, ...]
    scale: tuple[float, ...]
    scaling: str = "standard"

    @property
    def form(self) -> Form:
        return Form("image", self.image_shape)

    def __call__(self, images: Images) -> np.ndarray:
        shift = np.asarray(self.shift, dtype=np.float32).reshape(1, -1, 1, 1)
        scale = np.asarray(self.scale, dtype=np.float32).reshape(1, -1, 1, 1)
        return (np.asarray(images.values, dtype=np.float32) - shift) / scale

    def gathered(self, images: Images) -> np.ndarray | Rows:
        """Return the same inputs, made batch by batch where the images are held in 8 bits, or on disk."""
        import torch

        from .gathering import Mapped, Pixels, Standard

        values = images.values
        by = Standard.of(self.shift, self.scale)
        if isinstance(values, Lines):
            return Mapped(values, torch.float32, by)
        return Pixels(torch.from_numpy(np.ascontiguousarray(values)), by) if values.dtype == np.uint8 else self(images)

    def to_dict(self) -> dict[str, Any]:
        return {"kind": "image", **asdict(self)}

    @classmethod
    def from_dict(cls, value: dict[str, Any]) -> ImagePreprocessing:
        return cls(**tupled(value, "image_shape", "shift", "scale"))


def fit_images(images: np.ndarray | Lines, scaling: str) -> ImagePreprocessing:
    """Fit on training images of shape (rows, channels, height, width), some at a time where they need not lie in memory."""
    sample = images[:: max(1, len(images) // MAX_IMAGES_FITTED)]
    if sample.dtype == np.uint8:
        counts = np.zeros((256, images.shape[1]), dtype=np.int64)
        for some in in_chunks(sample):
            for channel in range(images.shape[1]):
                counts[:, channel] += np.bincount(some[:, channel].reshape(-1), minlength=256)
        shift, scale = counted_numbers(counts, scaling)
    elif isinstance(sample, Lines):
        shift, scale = chunked_numbers(map(_pixels, in_chunks(sample)), scaling)
    else:
        shift, scale = scaler_numbers(_pixels(sample), scaling)
    return ImagePreprocessing(tuple(images.shape[1:]), tuple(shift.tolist()), tuple(scale.tolist()), scaling)  # type: ignore[arg-type]


def _pixels(images: np.ndarray) -> np.ndarray:
    """Return the pixels of images, a column a channel."""
    return images.transpose(0, 2, 3, 1).reshape(-1, images.shape[1])


@dataclass(frozen=True)
class ArrayPreprocessing:
    """Arrays as they are, in float32 (whole numbers stay whole when `dtype` says so)."""

    shape: tuple[int, ...]
    dtype: str = "float32"

    @property
    def form(self) -> Form:
        return Form("array", self.shape)

    def __call__(self, arrays: Arrays) -> np.ndarray:
        return np.ascontiguousarray(arrays.values, dtype=self.dtype)

    def gathered(self, arrays: Arrays) -> np.ndarray | Rows:
        """Return the same inputs, read batch by batch where they lie on disk."""
        import torch

        from .gathering import Mapped

        values = arrays.values
        return Mapped(values, getattr(torch, self.dtype)) if isinstance(values, Lines) else self(arrays)

    def to_dict(self) -> dict[str, Any]:
        return {"kind": "array", **asdict(self)}

    @classmethod
    def from_dict(cls, value: dict[str, Any]) -> ArrayPreprocessing:
        return cls(**tupled(value, "shape"))


@dataclass(frozen=True)
class ItemsPreprocessing:
    """Items of a Dataset, which makes network inputs itself."""

    shape: tuple[int, ...]

    @property
    def form(self) -> Form:
        return Form("items", self.shape)

    def __call__(self, items: Items) -> Fetched:
        import torch

        from .gathering import Fetched

        return Fetched(items.dataset, torch.device("cpu"))

    def to_dict(self) -> dict[str, Any]:
        return {"kind": "items", **asdict(self)}

    @classmethod
    def from_dict(cls, value: dict[str, Any]) -> ItemsPreprocessing:
        return cls(tuple(value["shape"]))
