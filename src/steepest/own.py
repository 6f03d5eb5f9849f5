"""A function of the caller's own where one of ours would stand: as an objective, or as a metric.

An objective is `function(outputs, targets) -> loss`. A metric is one of
- `function(predictions) -> number`, of a `steepest.metrics.Predictions`;
- `function(preds, target) -> number`, of tensors, as torchmetrics' functions are;
- `function(y_true, y_pred) -> number`, of arrays, as scikit-learn's are (`y_score` or `y_prob` for scores);
- an object with `update(preds, target)`, `compute()` and `reset()`, as torchmetrics' are.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from .errors import InputError, blaming
from .objectives import LossFunction, Objective
from .reach import CLASSIFICATION, LANGUAGE, METRICS, REGRESSION, TRANSCRIPTION, Metric, check_kind

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor

    from .data import Data
    from .data.targets import Targets
    from .metrics import Predictions

_TAKEN = ("step", "epoch", "train_loss", "lr_factor")  # columns of a curve beside metrics
_TRUTHS = ("y_true", "y1")  # what scikit-learn calls the truth
_SCORES = ("y_score", "y_prob", "y_proba")  # what scikit-learn calls probabilities


def name_of(function: Any) -> str:
    """Return what tables call a function or an object: its name, that of what a `partial` calls, or its type's."""
    inner = getattr(function, "func", function)
    return getattr(inner, "__name__", type(inner).__name__)


def _check_callable(what: str, function: Any, example: str) -> None:
    if isinstance(function, type):
        raise InputError(f"{what} {function.__name__} is a class; give one of it, such as {function.__name__}()")
    if not callable(function):
        raise InputError(f"{what} must be {example} (got {function!r})")


# -- objectives -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, repr=False)
class OwnObjective(Objective):
    """A function `(outputs, targets) -> mean loss of the batch` as an objective; prints as its name.

    `outputs` is what the network gives, (rows, outputs), or (rows,) where it gives one number and the label is one; `targets`
    holds class numbers, (rows,), or numbers scaled to mean 0 and deviation 1. The attribute `num_outputs` of the function, if
    it has one, says how many numbers a network is to give.
    """

    function: Callable[..., Any]

    def num_outputs(self, targets: Targets) -> int:
        return int(getattr(self.function, "num_outputs", None) or targets.num_outputs)

    def check(self, targets: Targets, num_outputs: int) -> None:
        if targets.kind == REGRESSION or hasattr(self.function, "num_outputs"):
            super().check(targets, num_outputs)

    def loss(self, data: Data, device: Any = "cpu") -> LossFunction:
        return lambda outputs, targets: self.function(meeting(outputs, targets), targets)

    def try_out(self, loss: LossFunction, outputs: Tensor, targets: Tensor) -> None:
        """Call it once, on a few rows, so that one that cannot be trained on is told before anything starts."""
        import torch

        with blaming(f"the objective {self!r}"), torch.enable_grad():
            found: Any = loss(outputs.detach().clone().requires_grad_(), targets)
        if not isinstance(found, torch.Tensor) or found.ndim or not found.is_floating_point():
            got = f"{found.dtype}, shape {tuple(found.shape)}" if isinstance(found, torch.Tensor) else type(found).__name__
            raise InputError(f"the objective {self!r} must return one real number, as a tensor (got {got}); take .mean()")
        if not found.requires_grad:
            raise InputError(f"the objective {self!r} has no gradient; compute it with torch, from the outputs")

    def __repr__(self) -> str:
        return name_of(self.function)


def meeting(outputs: Tensor, targets: Tensor) -> Tensor:
    """Return one output a row as targets of one number a row have it: (rows, 1) beside (rows,) would be a square of errors."""
    return outputs.squeeze(-1) if outputs.ndim == targets.ndim + 1 and outputs.shape[-1] == 1 else outputs


def as_objective(value: Any) -> Objective | None:
    """Return an objective as it is, and a function of the caller's own as one; None stays None."""
    if value is None or isinstance(value, Objective):
        return value
    _check_callable("objective", value, "one such as cross_entropy(), or a function (outputs, targets) -> loss")
    return OwnObjective(value)


# -- metrics ----------------------------------------------------------------------------------------------------------


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
        _check_callable("a metric", self.function, "a name such as 'accuracy', or a function of the predictions")
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
