"""Preprocessing: from cleaned columns, images or arrays to what a network reads, fitted on the training part only.

The numbers (medians, means, categories) are found by scikit-learn's transformers and then kept as a plain value, so that
they can be written as JSON, read back without pickle, and applied without scikit-learn.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from ..errors import InputError
from ..forms import Form
from ..values import tupled
from .cleaning import CleaningReport, Reading, Table
from .inputs import Arrays, Images, Items

if TYPE_CHECKING:
    from .gathering import Fetched, Rows

SCALINGS = ("standard", "minmax", "robust", "none")
MAX_CATEGORIES = 32  # further categories of a column share one place
MISSING = "(missing)"
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


@dataclass(frozen=True)
class NumberStep:
    """One column of numbers: missing cells filled with the median (and flagged), then `(x - shift) / scale`."""

    name: str
    fill: float
    shift: float
    scale: float
    flagged: bool

    @property
    def width(self) -> int:
        return 2 if self.flagged else 1

    @property
    def features(self) -> list[str]:
        return [self.name, f"{self.name} is missing"] if self.flagged else [self.name]


@dataclass(frozen=True)
class CategoryStep:
    """One column of categories, one place each; those unseen or rare share the last place where `others` is set."""

    name: str
    categories: tuple[str, ...]
    others: bool

    @property
    def width(self) -> int:
        return len(self.categories) + self.others

    @property
    def features(self) -> list[str]:
        return [f"{self.name}={category}" for category in (*self.categories, *(["(other)"] if self.others else []))]


@dataclass(frozen=True)
class TablePreprocessing:
    """Columns to a matrix of shape (rows, features), float32."""

    steps: tuple[NumberStep | CategoryStep, ...]
    scaling: str = "standard"
    reading: Reading = field(default_factory=Reading)  # how new rows are to be read

    @property
    def features(self) -> list[str]:
        """The name of each column of the matrix."""
        return [feature for step in self.steps for feature in step.features]

    @property
    def form(self) -> Form:
        return Form("table", (sum(step.width for step in self.steps),))

    def __call__(self, table: Table) -> np.ndarray:
        matrix = np.zeros((len(table), *self.form.shape), dtype=np.float32)
        at = 0
        for step in self.steps:
            values = table[step.name].values
            if isinstance(step, NumberStep):
                absent = np.isnan(values)
                filled = (np.where(absent, step.fill, values) - step.shift) / step.scale
                matrix[:, at] = _smooth_clip(filled) if self.scaling == "robust" else filled
                if step.flagged:
                    matrix[:, at + 1] = absent
            else:
                places = {category: i for i, category in enumerate(step.categories)}
                rest = len(step.categories) if step.others else -1
                codes = np.array([places.get(MISSING if value is None else value, rest) for value in values], dtype=np.int64)
                known = np.flatnonzero(codes >= 0)
                matrix[known, at + codes[known]] = 1.0
            at += step.width
        return matrix

    def to_dict(self) -> dict[str, Any]:
        steps = [asdict(step) for step in self.steps]
        return {"kind": "table", "scaling": self.scaling, "reading": self.reading.to_dict(), "steps": steps}

    @classmethod
    def from_dict(cls, value: dict[str, Any]) -> TablePreprocessing:
        steps = tuple(
            CategoryStep(step["name"], tuple(step["categories"]), step["others"])
            if "categories" in step
            else NumberStep(**step)
            for step in value["steps"]
        )
        return cls(steps, value["scaling"], Reading.from_dict(value["reading"]))


def _smooth_clip(x: np.ndarray) -> np.ndarray:
    """`x / sqrt(1 + (x / 3)^2)`: nearly x in the middle, never beyond 3 (Holzmüller et al., 2024, arXiv:2407.04491)."""
    return x / np.sqrt(1 + (x / 3) ** 2)


def fit_table(table: Table, scaling: str, report: CleaningReport) -> TablePreprocessing:
    """Fit on the rows given, which must be the training rows; columns that are constant there are left out."""
    numbers = dict(zip(table.names("number"), _number_steps(table, scaling), strict=True))
    steps: list[NumberStep | CategoryStep] = []
    for column in table.columns:
        step = numbers[column.name] if column.kind == "number" else _category_step(column.name, column.values)
        if step is None:
            report.add("constant column", 1, "left out", column.name)
        else:
            steps.append(step)
    if not steps:
        raise InputError("every column is constant in the training part; nothing to learn from")
    return TablePreprocessing(tuple(steps), scaling, table.reading)


def _number_steps(table: Table, scaling: str) -> list[NumberStep | None]:
    from sklearn.impute import SimpleImputer

    names = table.names("number")
    if not names:
        return []
    values = np.column_stack([table[name].values for name in names])
    absent: np.ndarray = np.isnan(values)
    fill = SimpleImputer(strategy="median", keep_empty_features=True).fit(values).statistics_
    filled = np.where(absent, fill, values)
    shift, scale = scaler_numbers(filled, scaling)
    steps: list[NumberStep | None] = []
    for i, name in enumerate(names):
        flagged = bool(absent[:, i].any())
        tells_something = np.ptp(filled[:, i]) > 0 or (flagged and not absent[:, i].all())
        step = NumberStep(name, float(fill[i]), float(shift[i]), float(scale[i]), flagged)
        steps.append(step if tells_something else None)
    return steps


def check_scaling(scaling: str) -> None:
    """Raise unless `scaling` is one we know."""
    if scaling not in SCALINGS:
        raise InputError(f"scaling must be one of {', '.join(SCALINGS)} (got {scaling!r})")


def scaler_numbers(values: np.ndarray, scaling: str) -> tuple[np.ndarray, np.ndarray]:
    """Return the shift and scale that scikit-learn's transformer finds for each column of `values`, shape (rows, columns)."""
    from sklearn.preprocessing import MinMaxScaler, RobustScaler, StandardScaler

    if scaling == "none":
        return np.zeros(values.shape[1]), np.ones(values.shape[1])
    if scaling == "standard":
        standard = StandardScaler().fit(values)
        return np.asarray(standard.mean_), np.asarray(standard.scale_)
    if scaling == "minmax":
        span = MinMaxScaler().fit(values)
        return span.data_min_, np.where(span.data_range_ == 0, 1.0, span.data_range_)
    robust = RobustScaler().fit(values)
    quartiles = np.percentile(values, [25, 75], axis=0)
    spread = np.where(values.std(axis=0) == 0, 1.0, values.std(axis=0))
    return robust.center_, np.where(quartiles[0] == quartiles[1], spread, robust.scale_)  # half the values may be equal


def _category_step(name: str, values: np.ndarray) -> CategoryStep | None:
    from sklearn.preprocessing import OneHotEncoder

    marked = np.array([MISSING if value is None else value for value in values], dtype=object).reshape(-1, 1)
    encoder = OneHotEncoder(handle_unknown="infrequent_if_exist", max_categories=MAX_CATEGORIES).fit(marked)
    rare = encoder.infrequent_categories_[0]
    gathered = set() if rare is None else set(rare)
    kept = tuple(str(category) for category in encoder.categories_[0] if category not in gathered)
    if len(kept) + bool(gathered) < 2:
        return None
    return CategoryStep(name, kept, bool(gathered))


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
        return (images.values.astype(np.float32) - shift) / scale

    def to_dict(self) -> dict[str, Any]:
        return {"kind": "image", **asdict(self)}

    @classmethod
    def from_dict(cls, value: dict[str, Any]) -> ImagePreprocessing:
        return cls(**tupled(value, "image_shape", "shift", "scale"))


def fit_images(images: np.ndarray, scaling: str) -> ImagePreprocessing:
    """Fit on training images of shape (rows, channels, height, width)."""
    every = max(1, len(images) // MAX_IMAGES_FITTED)
    pixels = images[::every].transpose(0, 2, 3, 1).reshape(-1, images.shape[1]).astype(np.float64)
    shift, scale = scaler_numbers(pixels, scaling)
    return ImagePreprocessing(tuple(images.shape[1:]), tuple(shift.tolist()), tuple(scale.tolist()), scaling)  # type: ignore[arg-type]


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
