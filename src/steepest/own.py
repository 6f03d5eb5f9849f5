"""A function of the caller's own where one of our metrics would stand (`objectives/own.py`: where an objective would): one of
- `function(predictions) -> number`, of a `steepest.metrics.Predictions`;
- `function(preds, target) -> number`, of tensors, as torchmetrics' functions are;
- `function(y_true, y_pred) -> number`, of arrays, as scikit-learn's are (`y_score` or `y_prob` for scores);
- an object with `update(preds, target)`, `compute()` and `reset()`, as torchmetrics' are.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from .errors import InputError, blaming, check_callable
from .reach import CLASSIFICATION, LANGUAGE, METRICS, REGRESSION, TRANSCRIPTION, Metric, check_kind
from .values import name_of

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor

    from .metrics import Predictions

_TAKEN = ("step", "epoch", "train_loss", "lr_factor")  # columns of a curve beside metrics
_TRUTHS = ("y_true", "y1")  # what scikit-learn calls the truth
_SCORES = ("y_score", "y_prob", "y_proba")  # what scikit-learn calls probabilities


@dataclass(frozen=True, eq=False)
class OwnMetric:
    """A metric of the caller's own; calling it with predictions gives a number.

    Its name is the function's; the attribute `larger_is_better` (torchmetrics: `higher_is_better`) says which way is better,
    True without one.
    """

    function: Any
    name: str = field(init=False)
    larger_is_better: bool = field(init=False)

    def __post_init__(self) -> None:
        check_callable("a metric", self.function, "a name such as 'accuracy', or a function of the predictions")
        told = [getattr(self.function, name, None) for name in ("larger_is_better", "higher_is_better")]
        object.__setattr__(self, "name", name_of(self.function))
        object.__setattr__(self, "larger_is_better", next((bool(way) for way in told if way is not None), True))
        if self.name in METRICS or self.name in _TAKEN:
            raise InputError(f"a metric of your own cannot be called {self.name!r}, as one of ours is; rename it")

    def __eq__(self, other: object) -> bool:  # not by ==, of which torchmetrics' objects make a new metric
        return isinstance(other, OwnMetric) and self.function is other.function

    def __hash__(self) -> int:
        return id(self.function)

    @property
    def facts(self) -> Metric:
        """What targets have to know of it."""
        kinds = (CLASSIFICATION, REGRESSION, LANGUAGE, TRANSCRIPTION)
        return Metric(self.name, kinds, self.larger_is_better, -math.inf, math.inf)

    def __call__(self, predictions: Predictions) -> float:
        """Return its value; raise one line where it fails or gives something else than one number."""
        with blaming(f"the metric {self.name}"):
            found = self._computed(predictions)
        try:
            if isinstance(found, str | bytes):
                raise TypeError
            return float(found)
        except (TypeError, ValueError, RuntimeError):
            raise InputError(f"the metric {self.name} must return one number (got {found!r})") from None

    def _computed(self, predictions: Predictions) -> Any:
        if all(callable(getattr(self.function, name, None)) for name in ("update", "compute", "reset")):
            self.function.reset()
            self.function.update(*self._tensors(predictions))
            found = self.function.compute()
            self.function.reset()
            return found
        first, *others = _required(self.function) or [""]
        if first in _TRUTHS and others:
            return self.function(*self._arrays(predictions, others[0] in _SCORES))
        return self.function(*self._tensors(predictions)) if others else self.function(predictions)

    def _arrays(self, p: Predictions, scores: bool) -> tuple[np.ndarray, np.ndarray]:
        """Truth, then predicted classes or numbers, or probabilities (of the second class, where there are two)."""
        if p.texts is not None:
            return p.truth, p.texts
        if p.probabilities is None and p.values is None:
            raise InputError(f"the metric {self.name} needs probabilities, which are not kept of a text; take (predictions)")
        if p.probabilities is None:
            assert p.values is not None
            return p.truth, p.values
        if not scores:
            return p.truth, p.classes
        return p.truth, p.probabilities[:, 1] if p.probabilities.shape[1] == 2 else p.probabilities

    def _tensors(self, p: Predictions) -> tuple[Tensor | list[str], Tensor | list[str]]:
        """Predictions, then truth, as torchmetrics takes them: probabilities where there are classes, lists of texts."""
        import numpy as np
        import torch

        truth, predicted = self._arrays(p, scores=True)
        if p.texts is not None:
            return predicted.tolist(), truth.tolist()
        return torch.from_numpy(np.ascontiguousarray(predicted)), torch.from_numpy(np.ascontiguousarray(truth))


def _required(function: Any) -> list[str]:
    """Return the names of the arguments by position that a function must be given."""
    try:
        found = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):  # some functions of C do not tell
        return []
    by_position = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    return [p.name for p in found if p.default is p.empty and p.kind in by_position]


def as_metrics(chosen: Any, kind: str | None = None) -> tuple[str | OwnMetric, ...]:
    """Return metrics as names and metrics of the caller's own; raise where one is unknown, or not for this kind of task."""
    if isinstance(chosen, str) or not isinstance(chosen, Iterable):
        chosen = (chosen,)
    found = tuple(dict.fromkeys(one if isinstance(one, str | OwnMetric) else OwnMetric(one) for one in chosen))
    for one in found:
        if isinstance(one, str) and kind is not None:
            check_kind(one, kind)
    names = [one if isinstance(one, str) else one.name for one in found]
    if twice := next((name for name in names if names.count(name) > 1), None):
        raise InputError(f"two metrics are called {twice!r}; give one of them another name")
    return found


def facts_of(chosen: Any) -> dict[str, Metric]:
    """Return what targets have to know of the caller's own metrics, by name."""
    return {one.name: one.facts for one in as_metrics(chosen or ()) if isinstance(one, OwnMetric)}
