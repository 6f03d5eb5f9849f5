"""What is left when a training is over: its network is measured on held-out rows, and everything is written down."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from .. import evaluation, metrics
from ..data.parts import Part
from ..forms import MEASURED
from ..models.heads import LastValue
from ..records import Invocation
from ..tasks import Task
from .identity import versions, weights_sha256
from .run import Interface, Run
from .setup import Training
from .supervision import Supervisor


@dataclass(frozen=True)
class HeldOut:
    """What a network that has been trained gives for the rows that are held out."""

    name: str  # of the part
    part: Part
    predictions: metrics.Predictions
    measured: dict[str, float]


def held_out(training: Training) -> HeldOut:
    """Measure the test part, or else the validation part, or else what was learned from."""
    job = training.task
    training.optimizer.eval()
    training.model.eval()
    training.clock.to("evaluate")
    name = next((name for name in ("test", "validation") if job.data.size(name)), "train")
    part = job.data.part(name, by="final evaluation", device=training.device)
    predictions = evaluation.predict(training.model, part, job.data, training.loss, training.objective)
    measured = metrics.measure(job.measures((*job.metric_names, "loss")), predictions)
    training.clock.to("waiting")
    return HeldOut(name, part, predictions, measured)


def finish(facts: dict[str, Any], supervisor: Supervisor, invocation: Invocation) -> Run:
    """Measure the held-out part, write weights and the last line of the record, and return the Run."""
    outcome = supervisor.follower
    training, book, job = outcome.training, outcome.book, outcome.training.task
    clock, found = training.clock, held_out(training)
    stages = clock.stop()
    stages["data"] += invocation.data_s
    stages = ({"start": invocation.start_s} if invocation.start_s else {}) | stages
    document = {
        "id": book.id if book else None,
        **facts,
        "versions": versions(training.device),
        "status": outcome.status,
        "reached": outcome.reached_at is not None if job.goal else None,
        "steps_to_target": outcome.reached_at,
        "steps": outcome.step,
        "seconds": sum(stages.values()),
        "samples_per_second": outcome.rows / stages["train"] if stages.get("train") else 0.0,
        "metrics": found.measured,
        "measured_on": {"part": found.name, "rows": len(found.predictions.truth), "unit": MEASURED.get(job.data.kind, "rows")},
        "beside": _beside(job, found.part),
        "confusion": _confusion(found.predictions, job),
        "stages": stages,
        "waits_for_device": training.waits,
        **supervisor.to_dict(),
        "weights_sha256": weights_sha256(training.model),
        "curve": outcome.curve,
        "data": job.data.to_dict(),
    }
    if book is not None:
        document["kept"] = supervisor.keep_weights() and book.note("end", **document, kept=True, result=_result(found.measured))
    return Run(book.id if book else None, document, training.model, Interface.of(training), job)


def _beside(job: Task, part: Part) -> dict[str, dict[str, float]] | None:
    """Return what a forecast without a network reaches on the same windows; None of other data."""
    if job.data.form.kind != "series":
        return None
    repeated = evaluation.predict(LastValue(job.data.targets.num_outputs), part, job.data)
    return {"last value": metrics.measure(job.measures(job.metric_names), repeated)}


def _confusion(predictions: metrics.Predictions, job: Task) -> list[list[int]] | None:
    if predictions.probabilities is None:
        return None
    return metrics.confusion(predictions.truth, predictions.classes, job.data.targets.num_classes).tolist()


def _result(measured: dict[str, float]) -> str:
    name, value = next(iter(measured.items()))
    return f"{name} {value:.4g}"
