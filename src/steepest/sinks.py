"""Sinks: whoever else is told what a run's record is told - TensorBoard, MLflow, a function of your own.

A sink is a function of one event, a dictionary as in a line of `record.jsonl`, with the run's id as `run`. Each is called in a
thread of its own: one that fails, or that waits for a server which does not answer, is told of, and stops no training.
"""

from __future__ import annotations

import importlib
import json
import logging
import queue
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .errors import InputError, check_callable, first_line, needs, shown, unknown
from .values import name_of

if TYPE_CHECKING:
    from .records import Record

__all__ = ["Sink", "mlflow", "tensorboard"]

log = logging.getLogger("steepest")

Sink = Callable[[dict[str, Any]], None]
PATIENCE_S = 10.0  # how long the end of a training waits for a sink
FACTS = ("task", "recipe", "objective", "reach", "seed", "network", "num_parameters")  # of a run, told as its parameters
ENDS = {"interrupted": "KILLED", "failed": "FAILED", "diverged": "FAILED"}  # what MLflow calls it; else FINISHED
PLACES = ("event", "at", "run", "step", "epoch")  # of an evaluation: where it stands, not what was measured


def tensorboard(folder: str | Path) -> Sink:
    """Return a sink that writes what TensorBoard shows: a folder a run, `train/loss`, `validation/...`, `test/...` by step.

    Args:
        folder: what `tensorboard --logdir` is given.

    Raises:
        MissingExtraError: tensorboardX is not installed (`pip install 'steepest[tensorboard]'`).

    >>> import tempfile, steepest
    >>> folder = Path(tempfile.mkdtemp())
    >>> run = steepest.fit("iris", "adamw(0.01)", sinks=tensorboard(folder))
    >>> (folder / run.id).is_dir()
    True
    """
    with needs("tensorboardX", "a sink for TensorBoard", "tensorboard"):
        from tensorboardX import SummaryWriter
    return _TensorBoard(Path(folder), SummaryWriter)


def mlflow(uri: str | None = None, *, experiment: str = "steepest") -> Sink:
    """Return a sink that tells an MLflow server: an MLflow run of the same name a run, with parameters and metrics by step.

    A run that goes on after a stop goes on there as well.

    Args:
        uri: where the server is, such as `http://localhost:5000`; None: what `MLFLOW_TRACKING_URI` says.
        experiment: made where there is none of that name.

    Raises:
        MissingExtraError: mlflow is not installed (`pip install 'steepest[mlflow]'`).
    """
    with needs("mlflow", "a sink for MLflow", "mlflow"):
        package = importlib.import_module("mlflow")  # by its name, because type checkers do not find it where it is missing
    return _MLflow(package, uri, experiment)


class _TensorBoard:
    """Writes the events of one run as TensorBoard reads them."""

    def __init__(self, folder: Path, writer: Any) -> None:
        self._folder, self._make, self._writer = folder, writer, None

    def __call__(self, event: dict[str, Any]) -> None:
        went_back = {"resumed": "step", "stepped back": "to"}.get(event["event"])
        if self._writer is None or went_back:  # what was written of later steps is not shown any more
            self.close()
            after = event[went_back] + 1 if went_back else None
            folder = self._folder / event["run"]
            another = f".{len(list(folder.glob('*'))):04d}"  # a name holds its second alone, and two of one name are one file
            self._writer = self._make(logdir=str(folder), purge_step=after, filename_suffix=another)
        if event["event"] == "start":
            facts = "".join(f"| {name} | {event.get(name)} |\n" for name in FACTS)
            self._writer.add_text("run", f"| | |\n|---|---|\n{facts}", 0)
        for name, value in measured(event).items():
            self._writer.add_scalar(name, value, step_of(event))
        self._writer.flush()

    def close(self) -> None:
        """Close the file."""
        if self._writer is not None:
            self._writer.close()


class _MLflow:
    """Tells the events of one run to MLflow."""

    def __init__(self, package: Any, uri: str | None, experiment: str) -> None:
        self._package, self._experiment, self._id = package, experiment, None
        self._client = package.MlflowClient(uri)

    def __call__(self, event: dict[str, Any]) -> None:
        entities = self._package.entities
        if self._id is None:
            self._id = self._found(event["run"]) or self._begun(event["run"])
        told = {name: event[name] for name in FACTS if event.get(name) is not None} if event["event"] == "start" else {}
        params = [entities.Param(name, str(value)[:6000]) for name, value in told.items()]
        at, step = int(1000 * event["at"]), step_of(event)
        metrics = [entities.Metric(name, value, at, step) for name, value in measured(event).items()]
        if params or metrics:
            self._client.log_batch(self._id, metrics=metrics, params=params)
        if event["event"] == "resumed":
            self._client.update_run(self._id, "RUNNING")
        elif event["event"] in ("end", "stopped"):
            self._client.set_terminated(self._id, ENDS.get(event.get("status", "interrupted"), "FINISHED"))

    def _experiment_id(self) -> str:
        found = self._client.get_experiment_by_name(self._experiment)
        return found.experiment_id if found else self._client.create_experiment(self._experiment)

    def _found(self, run: str) -> str | None:
        found = self._client.search_runs([self._experiment_id()], filter_string=f"tags.steepest = '{run}'")
        return found[0].info.run_id if found else None

    def _begun(self, run: str) -> str:
        return self._client.create_run(self._experiment_id(), run_name=run, tags={"steepest": run}).info.run_id


def measured(event: dict[str, Any]) -> dict[str, float]:
    """Return the numbers that an event tells, by the part they were measured on.

    >>> measured({"event": "evaluation", "run": "f3a9c", "at": 0.0, "step": 8, "epoch": 1.0, "train_loss": 0.5, "loss": 0.6})
    {'train/loss': 0.5, 'validation/loss': 0.6}
    """
    if event["event"] == "end":
        part = event.get("measured_on", {}).get("part")
        found = {f"{part}/{name}": value for name, value in event.get("metrics", {}).items()}
    elif event["event"] == "evaluation":
        names = {"train_loss": "train/loss", "lr_factor": "train/lr_factor"}
        found = {names.get(name, f"validation/{name}"): value for name, value in event.items() if name not in PLACES}
    else:
        found = {}
    return {name: float(value) for name, value in found.items() if isinstance(value, int | float)}


def step_of(event: dict[str, Any]) -> int:
    """Return the step that an event belongs to."""
    return int(event.get("step") or event.get("steps") or 0)


KNOWN: dict[str, Callable[..., Sink]] = {"tensorboard": tensorboard, "mlflow": mlflow}


def as_sinks(given: Sink | str | Sequence[Sink | str] | None) -> list[Sink]:
    """Return sinks from what a caller gives: functions, or texts such as `"tensorboard:runs"` and `"mlflow:http://host"`.

    >>> as_sinks("tensorbord:runs")
    Traceback (most recent call last):
    steepest.errors.InputError: unknown sink 'tensorbord'; did you mean 'tensorboard'? (known: tensorboard, mlflow)
    """
    if given is None:
        return []
    return [_as_sink(one) for one in ([given] if isinstance(given, str) or callable(given) else _listed(given))]


def _listed(given: Any) -> list[Any]:
    if not isinstance(given, list | tuple):
        raise InputError(f"sinks are functions of one event, or texts such as 'tensorboard:runs' (got {shown(given)})")
    return list(given)


def _as_sink(given: Any) -> Sink:
    if not isinstance(given, str):
        check_callable("a sink", given, "a function of one event, or a text such as 'tensorboard:runs'")
        return given
    name, _, where = given.partition(":")
    if name not in KNOWN:
        raise unknown("sink", name, KNOWN)
    if name == "tensorboard" and not where:
        raise InputError("a sink for TensorBoard needs a folder: tensorboard:runs (got 'tensorboard')")
    return KNOWN[name](where) if where else KNOWN[name]()


class _Courier:
    """Brings events to one sink, in a thread of its own and in their order."""

    def __init__(self, sink: Sink) -> None:
        self._sink, self._failed, self._taken = sink, 0, 0
        self._events: queue.SimpleQueue[str | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._bring, name="steepest-sink", daemon=True)
        self._name = name_of(sink).lstrip("_")
        self._thread.start()

    def put(self, event: str | None) -> None:
        """Have an event brought, None for the end; nobody waits for it."""
        self._events.put(event)

    def end(self, patience_s: float) -> None:
        """Wait until all is brought, but not for long; say what was not."""
        self._thread.join(max(patience_s, 0.0))
        if self._thread.is_alive():
            log.warning("the sink %s is %d events behind, and is not waited for", self._name, self._events.qsize())
        elif self._failed > 1:
            log.warning("the sink %s failed at %d of %d events", self._name, self._failed, self._taken)

    def _bring(self) -> None:
        while (event := self._events.get()) is not None:
            self._taken += 1
            self._try(lambda taken=event: self._sink(json.loads(taken)))
        self._try(getattr(self._sink, "close", lambda: None))

    def _try(self, call: Callable[[], object]) -> None:
        try:
            call()
        except BaseException as error:  # SystemExit of a thread ends nothing but the thread
            self._failed += 1
            if self._failed == 1:
                log.warning(
                    "the sink %s failed (%s: %s); the training goes on", self._name, type(error).__name__, first_line(error)
                )


@contextmanager
def telling(record: Record | None, sinks: Sequence[Sink]) -> Iterator[None]:
    """While this is open, sinks are told what the record is told; then they have ten seconds to take what is left."""
    couriers = [_Courier(sink) for sink in sinks]

    def tell(event: dict[str, Any]) -> None:
        assert record is not None
        told = json.dumps({"run": record.id} | event)  # a text, because a sink's copy is its own
        for courier in couriers:
            courier.put(told)

    if record is not None and couriers:
        record.listeners.append(tell)
    try:
        yield
    finally:
        for courier in couriers:
            courier.put(None)
        until = time.monotonic() + PATIENCE_S
        for courier in couriers:
            courier.end(until - time.monotonic())
