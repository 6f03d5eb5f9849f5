"""Run: what happened when one recipe was trained on one task, and the network that came of it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import nn

from .. import evaluation
from ..data.arriving import rows_of_file, times_ahead_of
from ..data.core import Data
from ..data.encoding import encode_rows
from ..data.language import CharacterPreprocessing
from ..data.preprocessing import Preprocessing
from ..data.series import SeriesPreprocessing
from ..data.stored import from_dict
from ..data.transcribed import spelled
from ..durable import replacing
from ..errors import InputError, first_line
from ..forms import Form
from ..later import pl
from ..objectives import Objective, OwnObjective, mse
from ..recipes import read
from ..records import Record, find, reading
from ..tasks import Task, task
from .generation import generate

if TYPE_CHECKING:
    from ..data.gathering import Rows
    from .setup import Training

WEIGHTS = "weights.safetensors"
DEFAULT = mse()  # reads outputs as they are


def names_of(metrics: Any) -> list[str] | None:
    """Return the names of a task's metrics, None where none were named or some are functions of the caller's."""
    return None if metrics is None or not all(isinstance(one, str) for one in metrics) else list(metrics)


@dataclass
class Interface:
    """What turns rows into network inputs and outputs into answers."""

    preprocessing: Preprocessing
    classes: tuple[Any, ...] | None
    shift: Any = 0.0
    scale: Any = 1.0
    objective: Objective = DEFAULT

    @classmethod
    def of(cls, training: Training) -> Interface:
        data = training.task.data
        shift, scale = data.target_scale
        return cls(data.preprocessing, data.targets.classes, shift, scale, training.objective)

    def values(self, raw: torch.Tensor) -> np.ndarray:
        """Return outputs as predicted numbers, in the label's own units: (rows,), or (rows, targets)."""
        said = self.objective.values(raw)
        values = said.reshape(len(raw), -1).double().cpu().numpy()
        values = values[:, 0] if values.shape[1] == 1 else values
        return values * self.scale + self.shift

    def applied_to(self, data: Data) -> Data:
        """Return data prepared as the training data were: by numbers fitted there, never on the rows to be measured."""
        if data.targets.kind == "transcription" and self.preprocessing.form.each_step:
            data = replace(data, targets=spelled(data.targets.texts, self.classes or ()))
        if data.targets.classes != self.classes:
            raise InputError(f"the model tells apart the classes {self.classes}, the data hold {data.targets.classes}")
        return data.prepared_by(self.preprocessing, (self.shift, self.scale))

    def to_dict(self) -> dict[str, Any]:
        return {
            "preprocessing": self.preprocessing.to_dict(),
            "classes": self.classes,
            "shift": np.asarray(self.shift).tolist(),
            "scale": np.asarray(self.scale).tolist(),
            "objective": None if isinstance(self.objective, OwnObjective) else repr(self.objective),
        }

    @classmethod
    def from_dict(cls, value: dict[str, Any]) -> Interface:
        classes = tuple(value["classes"]) if value["classes"] is not None else None
        scale = np.asarray(value["shift"]), np.asarray(value["scale"])
        text = value.get("objective")  # None: a function of the caller's own, which is not kept
        return cls(from_dict(value["preprocessing"]), classes, *scale, read(text) if text else DEFAULT)


@dataclass
class Run:
    """What happened, and the trained network.

    Attributes:
        id: the record's id, or None when nothing was recorded.
        facts: the run as a document; `to_dict` returns it.
        model: the trained `nn.Module`.
        interface: preprocessing and classes, for `predict`.
        task: what was learned, when at hand.
    """

    id: str | None
    facts: dict[str, Any]
    model: nn.Module
    interface: Interface
    task: Task | None = field(default=None, repr=False)

    @property
    def status(self) -> str:
        """How it ended: "finished", "target reached", "stopped early", "diverged" or "interrupted"."""
        return self.facts["status"]

    @property
    def metrics(self) -> dict[str, float]:
        """The held-out metrics: of the test part, or of the validation part where there is no test part."""
        return self.facts["metrics"]

    @property
    def samples_per_second(self) -> float:
        """Rows trained on per second of the training stage (gathering batches, gradients, updates)."""
        return self.facts["samples_per_second"]

    @property
    def stages(self) -> dict[str, float]:
        """Seconds by stage."""
        return self.facts["stages"]

    @property
    def curve(self) -> list[dict[str, Any]]:
        """One dict an evaluation: step, epoch, train_loss and the validation metrics."""
        return self.facts["curve"]

    def to_dict(self) -> dict[str, Any]:
        """Return the run as a document, the same as `steepest fit --json`."""
        return dict(self.facts)

    def predict(self, rows: Any) -> np.ndarray:
        """Return the predicted label (or number, or transcript) of each row.

        Args:
            rows: as the training data came: a frame, dicts or a csv path for a table; an array, or lists of numbers, for arrays
                and images; paths of image files, or Pillow's images.
        """
        if self._transcribes:
            form = self.interface.preprocessing.form
            return evaluation.transcribe(self.model, self._inputs(rows), form, self.interface.classes or ())
        raw = self._outputs(rows)
        if self.interface.classes is None:
            return self.interface.values(raw)
        chosen = evaluation.probabilities(raw, len(self.interface.classes)).argmax(axis=1)
        return np.asarray(self.interface.classes)[chosen]

    def predict_proba(self, rows: Any) -> np.ndarray:
        """Return the probability of each class (in the order of `run.interface.classes`), shape (rows, classes)."""
        if self.interface.classes is None:
            raise InputError("predict_proba is for classes; this run predicts numbers, use predict")
        if self._transcribes:
            raise InputError("predict_proba is for one class a row; this run writes transcripts, use predict")
        return evaluation.probabilities(self._outputs(rows), len(self.interface.classes))

    def predict_file(self, path: str | Path) -> pl.DataFrame:
        """Return predictions for the rows of a file: of classes with their probabilities, of a series a line a step ahead, with
        its time where the steps are evenly spaced; of the files of a folder with their names.
        """
        rows = rows_of_file(path, self.interface.preprocessing, self.interface.classes)
        if self._transcribes:
            answers = pl.DataFrame({"prediction": self.predict(rows).tolist()}, schema={"prediction": pl.String})
        else:
            answers = pl.DataFrame(self._answers(self._outputs(rows)))
        ahead = times_ahead_of(rows, self.interface.preprocessing)
        if ahead is not None and ahead.name not in answers.columns:
            answers.insert_column(0, ahead)
        if Path(path).is_dir():
            answers.insert_column(0, pl.Series("file", [str(file) for file in rows]))
        return answers

    def _answers(self, raw: torch.Tensor) -> dict[str, Any]:
        """Return the columns of a table of predictions."""
        if self.interface.classes is None:
            values = np.atleast_1d(self.interface.values(raw))
            if isinstance(self.interface.preprocessing, SeriesPreprocessing):
                return {"step": np.arange(1, values.size + 1), "prediction": values.reshape(-1)}
            return {"prediction": values} if values.ndim == 1 else {f"c{i + 1}": values[:, i] for i in range(values.shape[1])}
        shares = evaluation.probabilities(raw, len(self.interface.classes))
        names = [str(name) for name in self.interface.classes]
        chosen = [names[i] for i in shares.argmax(axis=1)]
        return {"prediction": chosen} | {f"probability of {name}": shares[:, i] for i, name in enumerate(names)}

    def generate(self, prompt: str = "", *, length: int = 500, temperature: float = 0.8, seed: int = 0) -> str:
        """Return what follows a prompt, as a network of what comes next has it: `length` characters; see `generation`."""
        return "".join(self.stream(prompt, length=length, temperature=temperature, seed=seed))

    def stream(self, prompt: str = "", **how: Any) -> Iterator[str]:
        """Return what yields the characters of `generate` one by one, as they are drawn; the prompt is checked here."""
        if not isinstance(self.interface.preprocessing, CharacterPreprocessing):
            raise InputError(
                "this run predicts rows, not what comes next in a text; give it rows: run.predict(rows), or "
                f"steepest predict {self.id} FILE"
            )
        return generate(self.model, self.interface.preprocessing, prompt, **how)

    def predict_quantiles(self, rows: Any) -> np.ndarray:
        """Return the quantiles that `pinball` taught, in its order: (rows, quantiles), or (rows, targets, quantiles)."""
        levels = self.interface.objective.quantiles
        if not levels:
            raise InputError("predict_quantiles is for runs with the objective pinball(); this one was trained with another")
        dimensions = 1 if np.ndim(self.interface.scale) == 0 else 2
        return evaluation.quantiles(self._outputs(rows), len(levels), dimensions, self.interface.shift, self.interface.scale)

    @property
    def _transcribes(self) -> bool:
        """Whether rows are recordings whose text is read, frame by frame."""
        return self.interface.preprocessing.form.each_step and self.interface.preprocessing.form.kind != "language"

    def _outputs(self, rows: Any) -> torch.Tensor:
        broke = self.facts.get("diverged")
        if broke is not None and broke["good"] == 0:
            raise InputError(
                f"run {self.id} has diverged before it had learned anything; train again with a lower learning rate"
            )
        found = evaluation.outputs(self.model, self._inputs(rows), self.interface.preprocessing.form)
        if found.isnan().any():
            row = int(found.isnan().reshape(len(found), -1).any(dim=1).nonzero()[0])
            raise InputError(self._why_nothing(row))
        return found

    def _inputs(self, rows: Any) -> Rows:
        """Return new rows as the network reads them, where it lies."""
        prepared = encode_rows(rows, self.interface.preprocessing)
        first = next(self.model.parameters(), torch.zeros(0))
        inputs = torch.from_numpy(prepared) if isinstance(prepared, np.ndarray) else prepared
        if isinstance(inputs, torch.Tensor) and inputs.is_floating_point():
            inputs = inputs.to(first.dtype)
        return inputs.to(first.device)

    def _why_nothing(self, row: int) -> str:
        """Return why the network has no answer for a row (from 0)."""
        if all(bool(p.isfinite().all()) for p in self.model.parameters()):
            return (
                f"row {row} (from 0) is so far from the training data that the network's outputs are no numbers; leave it out"
            )
        return f"run {self.id} has diverged: its weights are no numbers; train again with a lower learning rate"

    def __repr__(self) -> str:
        shown = "  ".join(f"{name} {value:.4g}" for name, value in self.metrics.items() if isinstance(value, float))
        part = self.facts["measured_on"]["part"]
        what = f"{self.facts['task']}, {self.facts['label']}, {self.status} after {self.facts['steps']} steps"
        return f"Run({self.id}, {what}; {part} part: {shown})"

    def _repr_html_(self) -> str:
        from html import escape

        cells = "".join(f"<tr><td>{escape(k)}</td><td>{v:.4g}</td></tr>" for k, v in self.metrics.items())
        return f"<b>{escape(repr(self).split(';')[0])})</b><table>{cells}</table>"


def save_weights(model: nn.Module, record: Record) -> None:
    """Write the weights beside the record, as safetensors, all at once; a disk that takes none raises OSError."""
    from safetensors import SafetensorError
    from safetensors.torch import save_model

    with replacing(record.folder / WEIGHTS) as path:
        try:
            save_model(model, str(path))
        except (SafetensorError, ValueError, TypeError, AttributeError) as error:  # of state that is no tensor, too
            raise OSError(first_line(error)) from None


def has_weights(record: Record) -> bool:
    """Return whether the weights of a run lie beside its record."""
    return (record.folder / WEIGHTS).exists()


def load_run(name: str, *, home: str | Path | None = None, model: nn.Module | None = None) -> Run:
    """Bring a run back from its record: facts, network and preprocessing.

    Args:
        name: the run's id, or `"last"`.
        home: the folder of the records; None: `STEEPEST_HOME`, else `./.steepest`.
        model: the network to load the weights into, for runs whose network was the caller's own module.
    """
    record = find(name, home, kind="run")
    with reading(record):
        return _loaded(record, model)


def _loaded(record: Record, model: nn.Module | None) -> Run:
    from safetensors import SafetensorError
    from safetensors.torch import load_model

    start, end = record.first("start"), record.last("end")
    if start is None or end is None or not has_weights(record):
        raise InputError(f"run {record.id} was not finished; it has no weights to load")
    if model is None:
        if start["model"] is None:
            raise InputError(
                f"run {record.id} trained a module of your own; in Python: load_run({record.id!r}, model=your_network)"
            )
        built = start["model"]
        model = read(built["spec"]).build(Form.from_dict(built["form"]), built["num_outputs"])
    assert model is not None
    try:
        load_model(model, str(record.folder / WEIGHTS))
    except (RuntimeError, SafetensorError, OSError) as error:
        reason = " ".join(str(error).split())
        raise InputError(f"the weights of run {record.id} are damaged or do not fit the network: {reason[:200]}") from None
    facts = {key: value for key, value in end.items() if key not in ("event", "at", "result")}
    return Run(record.id, facts, model.eval(), Interface.from_dict(start["interface"]), task_of(start))


def task_of(start: dict[str, Any]) -> Task | None:
    """Make the task again from how it was made, when that was a built-in name or a file that is still there."""
    origin = start.get("origin")
    if origin is None:
        return None
    options = json.loads(json.dumps(origin["options"]))
    if "parts" in options:
        options["parts"] = tuple(options["parts"])
    source = origin["source"]
    if source.startswith(("/", ".")) and not Path(source.rpartition(":")[0] if ".py:" in source else source).exists():
        return None
    made, spec, objective = task(source, **options), start["model"], start["interface"].get("objective")
    made.model = read(spec["spec"]) if spec else made.model
    made.objective = read(objective) if objective else made.objective
    made.metrics = start.get("metrics") or made.metrics  # earlier records have none
    return made
