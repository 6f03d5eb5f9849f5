"""What metrics there are - for which kind of task, in which range, which way is better - and targets such as
`accuracy >= 0.97` that a race runs to. Nothing is computed here, so that names and targets are checked at once.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace

from .errors import InputError, unknown

CLASSIFICATION, REGRESSION, LANGUAGE, TRANSCRIPTION = "classification", "regression", "language", "transcription"


@dataclass(frozen=True)
class Metric:
    """A metric: what it is for, its range, and whether larger is better. `steepest.metrics` computes it."""

    name: str
    kinds: tuple[str, ...]
    larger_is_better: bool
    low: float
    high: float


_C, _R, _L, _T, _INF = (CLASSIFICATION,), (REGRESSION,), (LANGUAGE,), (TRANSCRIPTION,), float("inf")
METRICS = {
    metric.name: metric
    for metric in (
        Metric("accuracy", (*_C, *_L, *_T), True, 0, 1),
        Metric("precision", _C, True, 0, 1),
        Metric("recall", _C, True, 0, 1),
        Metric("f1", _C, True, 0, 1),
        Metric("balanced_accuracy", _C, True, 0, 1),
        Metric("mcc", _C, True, -1, 1),
        Metric("top5", _C, True, 0, 1),
        Metric("auc", _C, True, 0, 1),
        Metric("average_precision", _C, True, 0, 1),
        Metric("log_loss", _C, False, 0, _INF),
        Metric("calibration_error", _C, False, 0, 1),
        Metric("perplexity", _L, False, 1, _INF),
        Metric("bits", _L, False, 0, _INF),
        Metric("cer", _T, False, 0, _INF),
        Metric("wer", _T, False, 0, _INF),
        Metric("mse", _R, False, 0, _INF),
        Metric("mae", _R, False, 0, _INF),
        Metric("rmse", _R, False, 0, _INF),
        Metric("mape", _R, False, 0, _INF),
        Metric("pinball", _R, False, 0, _INF),
        Metric("poisson_deviance", _R, False, 0, _INF),
        Metric("r2", _R, True, -_INF, 1),
        Metric("loss", (*_C, *_R, *_L, *_T), False, -_INF, _INF),
    )
}
EXAMPLES = {CLASSIFICATION: "accuracy>=0.9", REGRESSION: "r2>=0.8", LANGUAGE: "loss<=1.8", TRANSCRIPTION: "cer<=0.1"}
DEFAULTS = {
    CLASSIFICATION: ("accuracy", "precision", "recall", "f1", "auc", "log_loss"),
    REGRESSION: ("mae", "rmse", "r2"),
    LANGUAGE: ("loss", "perplexity", "bits", "accuracy"),
    TRANSCRIPTION: ("cer", "wer", "accuracy"),
}


def metric(name: str) -> Metric:
    """Return a metric by name (`top3` and the like beside `top5`), or raise naming the nearest."""
    if name in METRICS:
        return METRICS[name]
    if isinstance(name, str) and re.fullmatch(r"top[1-9]\d*", name):
        return replace(METRICS["top5"], name=name)
    raise unknown("metric", name, METRICS)


def a_target(kind: str) -> str:
    """Return a target that a task of this kind may have, as an example.

    >>> a_target("regression")
    'r2>=0.8'
    """
    return EXAMPLES[kind]


def check_kind(name: str, kind: str, own: Mapping[str, Metric] | None = None) -> None:
    """Raise unless the metric is meant for this kind of task; `own` holds those of the caller's own."""
    chosen = own[name] if own and name in own else metric(name)
    if kind not in chosen.kinds:
        fitting = ", ".join(other.name for other in METRICS.values() if kind in other.kinds)
        raise InputError(f"metric {name!r} is not for {kind}; choose one of {fitting}")


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
    larger_is_better: bool

    @classmethod
    def recorded(cls, text: str) -> Reach:
        """Read a target back from a record, whoever's metric it names: the sign says which way is better."""
        name, sign, number = text.split()
        return cls(name, float(number), sign == ">=")

    @classmethod
    def parse(cls, text: str | Reach, own: Mapping[str, Metric] | None = None) -> Reach:
        """Read a target such as `"auc >= 0.85"` or `"rmse <= 50000"`; refuse one that the metric cannot reach.

        `own` holds the metrics of the caller's own, by name.
        """
        if isinstance(text, Reach):
            return text
        found = re.fullmatch(r"\s*([A-Za-z_][\w]*)\s*(>=|<=|=>|=<|>|<|==|=)\s*([-+.\deE%]+)\s*", str(text))
        if not found:
            raise InputError(f"expected a target such as 'accuracy >= 0.97' (got {text!r})")
        name, sign, number = found.groups()
        chosen = own[name] if own and name in own else metric(name)
        try:
            value = float(number.removesuffix("%")) / (100 if number.endswith("%") else 1)
        except ValueError:
            raise InputError(f"expected a number in the target {text!r} (got {number!r})") from None
        right = ">=" if chosen.larger_is_better else "<="
        if right[0] not in sign:
            better = "larger" if chosen.larger_is_better else "smaller"
            raise InputError(f"{better} is better for {name}: write {name} {right} {number} (got {text!r})")
        if not chosen.low <= value <= chosen.high:
            hint = f"; did you mean {value / 100:g}?" if chosen.high == 1 and 1 < value <= 100 else ""
            raise InputError(f"{name} can never be {right} {value:g}: it lies between {chosen.low:g} and {chosen.high:g}{hint}")
        return cls(name, value, chosen.larger_is_better)

    def met(self, value: float) -> bool:
        """Return whether a value meets the target; NaN does not."""
        return value >= self.value if self.larger_is_better else value <= self.value

    def __str__(self) -> str:
        return f"{self.metric} {'>=' if self.larger_is_better else '<='} {self.value:g}"

    def __repr__(self) -> str:
        return f"Reach('{self}')"
