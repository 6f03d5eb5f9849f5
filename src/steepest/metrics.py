"""Metrics: what a prediction is worth, and targets such as `accuracy >= 0.97` that a race runs to.

NumPy only, so that names and targets are checked without waiting for torch.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from .errors import InputError, unknown

CLASSIFICATION, REGRESSION = "classification", "regression"


@dataclass(frozen=True)
class Predictions:
    """Predictions beside the truth: class probabilities (rows, classes) with class numbers, or numbers with numbers."""

    truth: np.ndarray
    probabilities: np.ndarray | None = None
    values: np.ndarray | None = None
    loss: float = float("nan")

    @property
    def classes(self) -> np.ndarray:
        """The most probable class of each row."""
        assert self.probabilities is not None
        return self.probabilities.argmax(axis=1)


def confusion(truth: np.ndarray, predicted: np.ndarray, num_classes: int) -> np.ndarray:
    """Return how often class i (row) was predicted as class j (column), shape (classes, classes).

    >>> confusion(np.array([0, 0, 1]), np.array([0, 1, 1]), 2).tolist()
    [[1, 1], [0, 1]]
    """
    flat = truth.astype(np.int64) * num_classes + predicted
    return np.bincount(flat, minlength=num_classes**2).reshape(num_classes, num_classes)


def _counts(p: Predictions) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return for each class the hits, how often it was predicted and how often it was true."""
    assert p.probabilities is not None
    table = confusion(p.truth, p.classes, p.probabilities.shape[1])
    return table.diagonal(), table.sum(axis=0), table.sum(axis=1)


def _averaged(share: np.ndarray, true: np.ndarray) -> float:
    """Two classes: that of the second (the positive) class. More: the mean over classes that occur."""
    return float(share[1]) if len(share) == 2 else float(share[true > 0].mean())


def _ratio(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    return part / np.maximum(whole, 1)


def accuracy(p: Predictions) -> float:
    """The share of rows whose most probable class is the true one."""
    return float((p.classes == p.truth).mean())


def precision(p: Predictions) -> float:
    """Of the rows predicted as a class, the share that belongs to it."""
    hits, predicted, true = _counts(p)
    return _averaged(_ratio(hits, predicted), true)


def recall(p: Predictions) -> float:
    """Of the rows that belong to a class, the share predicted so."""
    hits, _, true = _counts(p)
    return _averaged(_ratio(hits, true), true)


def f1(p: Predictions) -> float:
    """The harmonic mean of precision and recall, `2 hits / (predicted + true)` per class."""
    hits, predicted, true = _counts(p)
    return _averaged(_ratio(2 * hits, predicted + true), true)


def auc(p: Predictions) -> float:
    """The probability that a row of the class scores above one of another class (ties count half).

    More than two classes: one against the rest, averaged over the classes that occur. Hanley, McNeil, 1982.
    """
    assert p.probabilities is not None
    if p.probabilities.shape[1] == 2:
        return _auc(p.truth == 1, p.probabilities[:, 1])
    present = [k for k in range(p.probabilities.shape[1]) if 0 < (p.truth == k).sum() < len(p.truth)]
    return float(np.mean([_auc(p.truth == k, p.probabilities[:, k]) for k in present])) if present else float("nan")


def _auc(positive: np.ndarray, score: np.ndarray) -> float:
    num_positive, num_negative = int(positive.sum()), int((~positive).sum())
    if not num_positive or not num_negative:
        return float("nan")
    _, inverse, counts = np.unique(score, return_inverse=True, return_counts=True)
    midranks = np.cumsum(counts) - (counts - 1) / 2
    rank_sum = midranks[inverse][positive].sum()
    return float((rank_sum - num_positive * (num_positive + 1) / 2) / (num_positive * num_negative))


def log_loss(p: Predictions) -> float:
    """Minus the mean logarithm of the probability given to the true class."""
    assert p.probabilities is not None
    chosen = p.probabilities[np.arange(len(p.truth)), p.truth]
    return float(-np.log(np.clip(chosen, 1e-15, 1)).mean())


def _errors(p: Predictions) -> np.ndarray:
    assert p.values is not None
    return (p.values - p.truth).astype(np.float64)


def mae(p: Predictions) -> float:
    """The mean absolute error, in the units of the label."""
    return float(np.abs(_errors(p)).mean())


def rmse(p: Predictions) -> float:
    """The root of the mean squared error, in the units of the label."""
    return float(np.sqrt(np.square(_errors(p)).mean()))


def r2(p: Predictions) -> float:
    """The share of the variance that is explained, `1 - sum(error^2) / sum((truth - mean)^2)`; below 0: worse than the mean."""
    spread = np.square(p.truth - p.truth.mean(axis=0)).sum()
    return float(1 - np.square(_errors(p)).sum() / spread) if spread > 0 else float("nan")


def loss(p: Predictions) -> float:
    """The objective itself, without regularisers."""
    return p.loss


@dataclass(frozen=True)
class Metric:
    """A metric: what it is for, its range, and whether larger is better."""

    name: str
    function: Callable[[Predictions], float]
    kinds: tuple[str, ...]
    larger_is_better: bool
    low: float
    high: float


_C, _R, _INF = (CLASSIFICATION,), (REGRESSION,), float("inf")
METRICS = {
    metric.name: metric
    for metric in (
        Metric("accuracy", accuracy, _C, True, 0, 1),
        Metric("precision", precision, _C, True, 0, 1),
        Metric("recall", recall, _C, True, 0, 1),
        Metric("f1", f1, _C, True, 0, 1),
        Metric("auc", auc, _C, True, 0, 1),
        Metric("log_loss", log_loss, _C, False, 0, _INF),
        Metric("mae", mae, _R, False, 0, _INF),
        Metric("rmse", rmse, _R, False, 0, _INF),
        Metric("r2", r2, _R, True, -_INF, 1),
        Metric("loss", loss, (*_C, *_R), False, -_INF, _INF),
    )
}
DEFAULTS = {
    CLASSIFICATION: ("accuracy", "precision", "recall", "f1", "auc", "log_loss"),
    REGRESSION: ("mae", "rmse", "r2"),
}


def metric(name: str) -> Metric:
    """Return a metric by name, or raise naming the nearest."""
    if name not in METRICS:
        raise unknown("metric", name, METRICS)
    return METRICS[name]


def check_kind(name: str, kind: str) -> None:
    """Raise unless the metric is meant for this kind of task."""
    if kind not in metric(name).kinds:
        fitting = ", ".join(other.name for other in METRICS.values() if kind in other.kinds)
        raise InputError(f"metric {name!r} is not for {kind}; choose one of {fitting}")


def measure(names: Sequence[str], predictions: Predictions) -> dict[str, float]:
    """Return each named metric of the predictions."""
    return {name: metric(name).function(predictions) for name in names}


@dataclass(frozen=True)
class Reach:
    """A target: a metric and the value that it must reach.

    >>> Reach.parse("accuracy>=0.97")
    Reach('accuracy >= 0.97')
    >>> Reach.parse("accuracy >= 0.97").met(0.98)
    True
    """

    metric: str
    value: float

    @classmethod
    def parse(cls, text: str | Reach) -> Reach:
        """Read a target such as `"auc >= 0.85"` or `"rmse <= 50000"`; refuse one that the metric cannot reach."""
        if isinstance(text, Reach):
            return text
        found = re.fullmatch(r"\s*([A-Za-z_][\w]*)\s*(>=|<=|=>|=<|>|<|==|=)\s*([-+.\deE%]+)\s*", str(text))
        if not found:
            raise InputError(f"expected a target such as 'accuracy >= 0.97' (got {text!r})")
        name, sign, number = found.groups()
        chosen = metric(name)
        try:
            value = float(number.rstrip("%")) / (100 if number.endswith("%") else 1)
        except ValueError:
            raise InputError(f"expected a number in the target {text!r} (got {number!r})") from None
        right = ">=" if chosen.larger_is_better else "<="
        if right[0] not in sign:
            better = "larger" if chosen.larger_is_better else "smaller"
            raise InputError(f"{better} is better for {name}: write {name} {right} {number} (got {text!r})")
        if not chosen.low <= value <= chosen.high:
            hint = f"; did you mean {value / 100:g}?" if chosen.high == 1 and 1 < value <= 100 else ""
            raise InputError(f"{name} can never be {right} {value:g}: it lies between {chosen.low:g} and {chosen.high:g}{hint}")
        return cls(name, value)

    @property
    def larger_is_better(self) -> bool:
        return METRICS[self.metric].larger_is_better

    def met(self, value: float) -> bool:
        """Return whether a value meets the target; NaN does not."""
        return value >= self.value if self.larger_is_better else value <= self.value

    def __str__(self) -> str:
        return f"{self.metric} {'>=' if self.larger_is_better else '<='} {self.value:g}"

    def __repr__(self) -> str:
        return f"Reach('{self}')"
