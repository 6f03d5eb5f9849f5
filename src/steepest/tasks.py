"""Task: what to learn - data, metrics, a target, and the model and objective that are used unless a recipe says otherwise."""

from __future__ import annotations

import hashlib
import importlib.util
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from .data import Data, load
from .data.splitting import PARTS
from .errors import InputError, blaming, unknown
from .models import ModelSpec, as_model, default_model
from .objectives import Objective, as_objective
from .own import OwnMetric, as_metrics, facts_of
from .reach import DEFAULTS, Reach, check_kind
from .sources import BUILTINS

USER_MODULE = "steepest_task_"  # modules made from a user's file are called this and the file's name


@dataclass
class Task:
    """What to learn: data, metrics, a target, and the model and objective used unless a recipe says otherwise.

    Args:
        data: a `Data`, or anything `steepest.task` takes.
        model: a model value such as `mlp((64, 64))`, its text, or a function that returns an `nn.Module`, all drawn anew
            from each seed; or a module, of which every training takes a copy, so that all start from its weights whatever their
            seed; None: chosen by the kind of data.
        objective: such as `cross_entropy(label_smoothing=0.1)`, its text, or a function of yours, `(outputs, targets) ->
            loss`; None: chosen by targets and outputs.
        metrics: the metrics to report, as names or functions of yours, `(predictions) -> number` (`steepest.own` lists what
            else fits, torchmetrics' and scikit-learn's among it); None: all that suit the task.
        reach: the target of a race, such as `"accuracy >= 0.97"`.
        name: what records call it; None: the data's name.

    >>> import steepest
    >>> steepest.Task(steepest.data.builtin("iris"), reach="accuracy >= 0.9")
    Task(iris, reach 'accuracy >= 0.9')
    """

    data: Data
    model: ModelSpec | Callable[[], Any] | Any | None = None
    objective: Objective | Callable[..., Any] | str | None = None
    metrics: Sequence[Any] | None = None
    reach: Reach | str | None = None
    name: str | None = None

    def __post_init__(self) -> None:
        self.data = load(self.data)
        self.name = self.name or self.data.name
        self.model = as_model(self.model)
        self.objective = as_objective(self.objective)
        if self.metrics is not None:
            self.metrics = as_metrics(self.metrics, self.kind)
        own = facts_of(self.metrics)
        if self.reach is None:
            self.reach = self.data.default_reach
        if self.reach is not None:
            self.reach = Reach.parse(self.reach, own)
            check_kind(self.reach.metric, self.kind, own)

    @property
    def kind(self) -> str:
        """What is predicted: "classification", "regression", "language" (what comes next) or "transcription"."""
        return self.data.targets.kind

    @property
    def metric_names(self) -> tuple[str, ...]:
        """The metrics to report; that of the target comes first."""
        aimed = (self.goal.metric,) if self.goal is not None else ()
        chosen = [one.name if isinstance(one, OwnMetric) else one for one in self.metrics or DEFAULTS[self.kind]]
        return tuple(dict.fromkeys((*aimed, *chosen)))

    def measures(self, names: Sequence[Any]) -> tuple[str | OwnMetric, ...]:
        """Return metrics by name, or functions, those of the caller's own as such."""
        own = {one.name: one for one in self.metrics or () if isinstance(one, OwnMetric)}
        return as_metrics([own.get(name, name) if isinstance(name, str) else name for name in names])

    @property
    def goal(self) -> Reach | None:
        """The target, parsed."""
        return None if self.reach is None else Reach.parse(self.reach, facts_of(self.metrics))

    def default_model(self) -> ModelSpec:
        """Return the network used when neither task nor recipe names one."""
        return default_model(self.data.form, self.data.size("train"))

    def fingerprint(self) -> dict[str, Any]:
        """Return what makes two tasks the same beside their name: rows, parts and labels, the network, the objective."""
        digest = hashlib.sha256(self.data.targets.values.tobytes())
        for name in PARTS:
            digest.update(self.data.parts[name].tobytes())
        known = self.model is None or isinstance(self.model, ModelSpec) or hasattr(self.model, "state_dict")
        model = repr(self.model) if known else getattr(self.model, "__qualname__", type(self.model).__name__)
        return {"data": digest.hexdigest()[:16], "model": model, "objective": repr(self.objective)}

    def with_data(self, data: Data) -> Task:
        """Return the same task on other data."""
        return replace(self, data=data)

    def __repr__(self) -> str:
        return f"Task({self.name}" + (f", reach '{self.reach}'" if self.reach else "") + ")"


def task(
    source: Any,
    *more: Any,
    label: str | int | None = None,
    reach: str | Reach | None = None,
    model: Any = None,
    objective: Objective | Callable[..., Any] | str | None = None,
    metrics: Sequence[Any] | None = None,
    name: str | None = None,
    **options: Any,
) -> Task:
    """Make a Task from a name, a file or folder, a frame, a Dataset, Data, or `file.py:function`.

    Args:
        source: `"digits"`, `"breast-cancer"`, `"wine"`, `"iris"`, `"diabetes"`; `"mnist"`, `"fashion-mnist"`, `"cifar-10"`
            once downloaded; a path to csv, parquet, idx or npz; a folder of folders of images or recordings, one a class,
            or of recordings with `transcripts.csv`; a pandas or polars frame; a PyTorch or Hugging Face Dataset; a `Data`;
            or `"file.py:function"`, a function that returns a Task.
        more: nothing; inputs with labels apart are one source, `steepest.arrays(X, y)`.
        label: of a table, the column to predict, by name or position.
        reach: the target, such as `"accuracy >= 0.97"`.
        model: see `Task`.
        objective: see `Task`.
        metrics: see `Task`.
        name: what records call the task.
        options: what `read_table` and `read_images` take besides (`test=`, `header=`, `missing=`, `parts=`, ...).

    >>> task("iris", reach="accuracy >= 0.95")
    Task(iris, reach 'accuracy >= 0.95')
    """
    if more:
        raise InputError(
            f"task takes one source, and options by name (got {type(source).__name__} and {type(more[0]).__name__}); inputs "
            "and labels are one source: steepest.task(steepest.arrays(X, y))"
        )
    known = source.metrics if isinstance(source, Task) else metrics
    goal = None if reach is None else Reach.parse(reach, facts_of(known))  # wrong targets are told before any file is read
    if isinstance(source, Task) or (isinstance(source, str) and ".py:" in source):
        said = {"label": label, "model": model, "objective": objective, "metrics": metrics, "name": name, **options}
        if given := [key for key, value in said.items() if value is not None]:
            what = f"{given[0]} belongs into it" if len(given) == 1 else f"{', '.join(given)} belong into it"
            raise InputError(f"{source if isinstance(source, str) else repr(source)} is a complete task; {what}, not beside it")
        made = _from_file(source) if isinstance(source, str) else source
        return replace(made, reach=goal) if goal else made
    if label is not None and isinstance(source, str | Path) and str(source) in BUILTINS:
        raise InputError(f"label {str(label)!r} is for tables; {source} knows its own, leave --label out")
    data = load(source, label=label, **options)
    return Task(data, model=model, objective=objective, metrics=metrics, reach=goal, name=name)


def _from_file(source: str) -> Task:
    """Run `function` of `file.py` and return the Task it makes."""
    made = called(source)
    if not isinstance(made, Task):
        raise InputError(f"{source} must return a steepest.Task (got {type(made).__name__})")
    return made


def called(source: str) -> Any:
    """Run `function` of `file.py` and return what it returns; this is the one place that runs code of the user's files."""
    where, _, function = source.rpartition(":")
    path = Path(where)
    if not path.is_file():
        raise InputError(f"no such file: {path}")
    name = USER_MODULE + path.stem
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    with blaming(f"running {path}"):
        spec.loader.exec_module(module)
    if not hasattr(module, function):
        names = [name for name in vars(module) if callable(getattr(module, name)) and not name.startswith("_")]
        raise unknown(f"function in {path}", function, names)
    with blaming(source):
        return getattr(module, function)()
