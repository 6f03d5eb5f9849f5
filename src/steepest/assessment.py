"""Assessment of what was trained: `evaluate` on held-out rows, `cross_validate` over folds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from . import evaluation
from .data.splitting import folds as make_folds
from .data.splitting import split_rows
from .defaults import default_recipe
from .errors import InputError, check_seed, switch, whole
from .forms import MEASURED
from .metrics import Predictions, calibration_error, confusion, measure
from .own import as_metrics
from .progress import Progress
from .recipes import Recipe, as_recipe
from .rules import Rule
from .tasks import Task, task
from .training.choosing import LaneChoice
from .training.folds import Fold, measure_folds
from .training.run import Run, load_run


@dataclass(frozen=True)
class Evaluation:
    """Metrics of a trained network on held-out rows; for classes also confusion and calibration. `str` is a table."""

    part: str
    rows: int
    metrics: dict[str, float]
    classes: tuple[Any, ...] | None = None
    confusion: tuple[tuple[int, ...], ...] | None = None
    calibration_error: float | None = None
    unit: str = "rows"  # what is counted: of a plain text, characters

    def to_dict(self) -> dict[str, Any]:
        return {
            "part": self.part,
            "rows": self.rows,
            "unit": self.unit,
            "metrics": self.metrics,
            "classes": list(self.classes) if self.classes else None,
            "confusion": [list(line) for line in self.confusion] if self.confusion else None,
            "calibration_error": self.calibration_error,
        }

    def __str__(self) -> str:
        shown = "  ".join(f"{name} {_short(value)}" for name, value in self.metrics.items())
        lines = [f"{self.part} part ({self.rows:,} {self.unit}): {shown}"]
        if self.calibration_error is not None:
            lines.append(f"expected calibration error {self.calibration_error:.3f}")
        if self.confusion and self.classes and len(self.classes) <= 20:
            lines += ["", "true \\ predicted", *_confusion_lines(self.classes, self.confusion)]
        return "\n".join(lines)


def _short(value: float) -> str:
    return f"{value:.3f}" if abs(value) < 10 else f"{value:,.1f}" if abs(value) < 1000 else f"{value:,.0f}"


def _confusion_lines(classes: tuple[Any, ...], table: tuple[tuple[int, ...], ...]) -> list[str]:
    names = [str(name) for name in classes]
    width = max(5, *(len(name) for name in names), *(len(str(n)) for line in table for n in line))
    head = " " * width + "".join(f"  {name:>{width}}" for name in names)
    return [
        head,
        *(f"{name:>{width}}" + "".join(f"  {n:>{width}}" for n in line) for name, line in zip(names, table, strict=True)),
    ]


def evaluate(
    run: Run | str,
    subject: Any = None,
    *,
    part: str = "test",
    metrics: Sequence[Any] | None = None,
    home: str | Path | None = None,
    record_as: str = "evaluate",
) -> Evaluation:
    """Measure a trained network on a held-out part.

    Args:
        run: a Run, or the id of one.
        subject: the task to measure on, when the run does not know it (a run loaded from another place); a Task or
            anything `steepest.task` takes.
        part: `"test"`, `"validation"` or `"train"`; the certificate part is not for looking at.
        metrics: what to measure, as `Task` takes it; None: the task's metrics.
        home: folder of the records, for a run's id.
        record_as: who reads the part, for the data's record of reads.

    >>> import steepest
    >>> run = steepest.fit("iris", record=False)
    >>> evaluate(run).rows
    22
    """
    run = load_run(run, home=home) if isinstance(run, str) else run
    job = task(subject) if subject is not None else run.task
    if job is None:
        raise InputError(
            f"the data of run {run.id} are not at hand; in Python, pass the task it was trained on: evaluate(run, task)"
        )
    if metrics is not None:  # that of the target is always among them
        job = replace(job, metrics=(*as_metrics(metrics), *job.measures([job.goal.metric] if job.goal else [])))
    job = job.with_data(run.interface.applied_to(job.data))
    device = next((str(p.device) for p in run.model.parameters()), "cpu")
    rows = job.data.part(part, by=record_as, device=device)
    return _assess(job, part, evaluation.predict(run.model, rows, job.data, objective=run.interface.objective))


def _assess(job: Task, part: str, predictions: Predictions) -> Evaluation:
    measured = measure(job.measures(job.metric_names), predictions)
    unit = MEASURED.get(job.data.kind, "rows")
    if predictions.probabilities is None:
        return Evaluation(part, len(predictions.truth), measured, unit=unit)
    classes = job.data.targets.classes
    table = confusion(predictions.truth, predictions.classes, len(classes or ()))
    counts = tuple(tuple(int(n) for n in line) for line in table)
    return Evaluation(part, len(predictions.truth), measured, classes, counts, calibration_error(predictions), unit)


@dataclass(frozen=True)
class CrossValidation:
    """Metrics of each fold, with mean and deviation over folds, and whether lanes trained them. `str` is a table."""

    folds: tuple[dict[str, float], ...]
    lanes: LaneChoice

    @property
    def mean(self) -> dict[str, float]:
        return {name: float(np.mean([fold[name] for fold in self.folds])) for name in self.folds[0]}

    @property
    def deviation(self) -> dict[str, float]:
        """The standard deviation over folds (folds share training rows, so it understates the error of the mean)."""
        return {name: float(np.std([fold[name] for fold in self.folds], ddof=1)) for name in self.folds[0]}

    def to_dict(self) -> dict[str, Any]:
        return {"folds": list(self.folds), "mean": self.mean, "deviation": self.deviation, "lanes": self.lanes.to_dict()}

    def __str__(self) -> str:
        width = max(len(name) for name in self.mean)
        lines = [f"{len(self.folds)} folds"]
        for name, value in self.mean.items():
            each = "  ".join(_short(fold[name]) for fold in self.folds)
            lines.append(f"{name:<{width}}  {_short(value)} +- {_short(self.deviation[name])}   ({each})")
        return "\n".join(lines)


def cross_validate(
    subject: Any,
    recipe: Recipe | Rule | str | None = None,
    *,
    folds: int = 5,
    seed: int = 0,
    device: Any = None,
    lanes: bool = True,
    progress: bool | None = None,
    lines: bool = False,
) -> CrossValidation:
    """Train on all folds but one and measure on that one, for each in turn.

    Every row but those of the certificate part (and of a test file) is used. Preprocessing is fitted anew in each fold, on
    its training rows only; a fifth of those is held out for early stopping when the recipe has patience. Where the data have
    groups, the rows of one group are never in two folds.

    Args:
        subject: a Task, or anything `steepest.task` takes.
        recipe: how to learn; None: the default for this kind of data.
        folds: how many, from 2 to the size of the smallest class.
        seed: deals the rows into folds; also the seed of the trainings.
        device: where; None: CUDA when there is one.
        lanes: train the folds as one batched computation (`docs/lanes.md`), where that is measured to be faster; with False,
            the same seed gives the same numbers bit for bit.
        progress: show a bar; None: where somebody watches.
        lines: where nobody does, say every ten seconds how far it is.

    >>> cross_validate("iris", folds=3).mean["accuracy"] > 0.8
    True
    """
    job = task(subject)
    recipe = as_recipe(recipe)
    names = ("train", "validation") if job.data.test_given else ("train", "validation", "test")
    rows = np.concatenate([job.data.parts[name] for name in names])
    codes = job.data.targets.codes
    groups = job.data.groups
    whole("folds", folds, 2)
    check_seed(seed)
    switch("lanes", lanes)
    if job.data.in_time:
        raise InputError(f"{job.name}: its parts follow each other in time, which folds would undo; evaluate on its test part")
    dealt = make_folds(rows, _of(codes, rows), folds, seed, _of(groups, rows))
    with Progress(folds, f"cross-validate {job.name}", progress, lines=lines) as bar:

        def make(i: int) -> Fold:
            return _fold(job, recipe, np.setdiff1d(rows, dealt[i]), dealt[i], seed)

        found, choice = measure_folds(make, len(dealt), bar, seed=seed, device=device, lanes=lanes)
    return CrossValidation(tuple({name: fold[name] for name in job.metric_names} for fold in found), choice)


def _fold(job: Task, recipe: Recipe | None, rest: np.ndarray, held_out: np.ndarray, seed: int) -> Fold:
    """Return the task of learning from all rows but those held out, and how."""
    codes, groups = job.data.targets.codes, job.data.groups
    first = recipe or default_recipe(job.data.form, len(rest), job.model)
    stop = (0.8, 0.2) if first.patience or first.plateau else (1.0,)  # what stops early learns from fewer rows
    parts = split_rows(rest, _of(codes, rest), stop, seed, _of(groups, rest))
    parts += [np.empty(0, dtype=np.int64)] * (2 - len(parts))
    data = job.data.with_parts({"train": parts[0], "validation": parts[1], "test": held_out})
    return job.with_data(data), recipe or default_recipe(job.data.form, len(parts[0]), job.model)


def _of(values: np.ndarray | None, rows: np.ndarray) -> np.ndarray | None:
    """Return the values of some rows, where there are any."""
    return None if values is None else values[rows]
