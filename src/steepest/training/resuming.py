"""Going on with a run that was stopped: its record, its newest checkpoint, and whether the work is still the same."""

from __future__ import annotations

import dataclasses
import logging
from contextlib import ExitStack
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

from ..checkpoints import Checkpoint, Checkpoints, Packed
from ..errors import InputError, cut, whole
from ..gradient import GradientFunction
from ..plans import AS_IT_STANDS, Plan, as_plan
from ..recipes import Recipe, as_recipe, read
from ..records import Record, find, holding, home_folder, reading, records_in
from ..tasks import Task
from ..values import name_of
from .following import DONE, Follower
from .identity import layers_sha256, versions, weights_sha256
from .keeping import Every, Keeper
from .run import names_of, task_of
from .setup import Training
from .snapshots import restore, state_of

log = logging.getLogger("steepest")

FOLDER = "checkpoints"  # beside a run's record
ROUNDING = ("torch", "device", "threads")  # versions that the last digits of a sum depend on


@dataclass(frozen=True)
class Call:
    """How `fit` was called, beside task, recipe and plan: a run that goes on does so as it began."""

    seed: int = 0
    evaluate_every: int | None = None
    max_steps: int | None = None
    stop_at_target: bool = False
    gradient: str = ""
    checkpoint_every: int | str | bool | None = None

    def check(self, job: Task) -> None:
        """Raise where a call cannot be followed."""
        for name in ("evaluate_every", "max_steps"):
            if getattr(self, name) is not None:
                whole(name, getattr(self, name), 1)
        Every.read(self.checkpoint_every)
        if self.stop_at_target and (job.goal is None or not job.data.size("validation")):
            raise InputError("stop_at_target needs a target (reach=) and a validation part to see it reached")

    def check_alone(self, **others: Any) -> None:
        """Raise where `resume` came with what the run has settled when it began."""
        mine = {item.name: getattr(self, item.name) for item in fields(self) if item.name in SETTLED}
        plain_call = {item.name: item.default for item in fields(self)} | dict.fromkeys(others)
        for name, value in (mine | others).items():
            if value != plain_call[name]:
                raise InputError(f"resume goes on as the run began; leave out {name} (got {value!r})")

    def last(self, training: Training) -> int:
        """Return the step that a training ends with."""
        return min(self.max_steps or training.total_steps, training.total_steps)

    def to_dict(self) -> dict[str, Any]:
        """Return what a record keeps of it."""
        return asdict(self)


SETTLED = ("seed", "evaluate_every", "max_steps", "stop_at_target")


def told_of(gradient: GradientFunction) -> str:
    """Return how a record names a gradient function."""
    return repr(gradient) if dataclasses.is_dataclass(gradient) else name_of(gradient)


@dataclass(frozen=True)
class Begun:
    """A run that was begun and not finished.

    Attributes:
        record: where it is told.
        start: the first line of it: what was to be learned, how, and on which machine.
        checkpoint: the newest one that verifies; None: it was stopped before the first, and begins anew.
    """

    record: Record
    start: dict[str, Any]
    checkpoint: Checkpoint | None

    @property
    def facts(self) -> dict[str, Any]:
        """What the run told when it began, without what only going on with it needs."""
        return {name: value for name, value in self.start.items() if name not in NOT_FACTS}

    def call(self, now: Call) -> Call:
        """Return how `fit` was called when the run began; how often it keeps checkpoints may change."""
        first = Call(**self.start["call"])
        if now.gradient != first.gradient:
            raise InputError(
                f"run {self.record.id} was trained with the gradient function {first.gradient} (this is {now.gradient}); give "
                "that one again: gradient="
            )
        return first if now.checkpoint_every is None else replace(first, checkpoint_every=now.checkpoint_every)

    def task(self, given: Task | None) -> Task:
        """Return what is learned: what the caller gives, or what the record knows how to load."""
        if given is not None:
            return given
        found = task_of(self.start)
        if found is None or self.start["model"] is None:
            lost = "its network is a module of your own" if found is not None else "its data cannot be loaded again by name"
            raise InputError(f"run {self.record.id} needs what it was given, {lost}: fit(task, resume={self.record.id!r})")
        return replace(found, reach=self.start["reach"])

    def recipe(self, given: Recipe | None) -> Recipe:
        """Return how it is learned; a recipe with a network or a function of the caller's must be given again."""
        text = self.start["recipe"]
        try:
            found = given or as_recipe(read(text))
        except InputError:
            found = None
        if found is None:
            raise InputError(f"run {self.record.id} needs its recipe again, {text}: fit(..., recipe=..., resume=...)")
        return found

    def plan(self, training: Training) -> Plan:
        """Return how it was carried out, with the threads that it had."""
        state = self.checkpoint.state["training"] if self.checkpoint is not None else {}
        told = state.get("plan") if isinstance(state, dict) else None
        plan = as_plan(told or self.start["plan"]["plan"]) or AS_IT_STANDS
        before = self.start["versions"]["threads"]
        if plan.threads is None and before != versions(training.device)["threads"]:
            plan = replace(plan, threads=int(before))
        return plan

    def check(self, training: Training) -> None:
        """Raise unless the training that was prepared is the one that was begun; have it carried out as it was.

        What may round differently from here on is said.
        """
        job, spec = training.task, training.spec
        told = {
            "recipe": repr(training.recipe),
            "network": repr(spec) if spec is not None else type(training.model).__name__,
            "objective": repr(training.objective),
            "reach": str(job.goal) if job.goal else None,
            "metrics": names_of(job.metrics),
            "rows": job.fingerprint()["data"],
            "layers": layers_sha256(training.model),
        }
        kept_as = {"rows": "rows_sha256", "layers": "layers_sha256"}
        before = {name: self.start[kept_as.get(name, name)] for name in told}
        if changed := [name for name, value in told.items() if value != before[name]]:
            name = changed[0]
            raise InputError(
                f"run {self.record.id} began with other {name}: {cut(str(before[name]))}, now {cut(str(told[name]))}"
            )
        training.follow(self.plan(training))
        now = versions(training.device)
        changed = [f"{name} {self.start['versions'][name]} -> {now[name]}" for name in ROUNDING if self._differs(name, now)]
        if changed:
            log.warning(
                "run %s goes on with other %s: sums may round differently from here on, the rows of every batch stay the same",
                self.record.id,
                ", ".join(changed),
            )

    def _differs(self, name: str, now: dict[str, str]) -> bool:
        return name != "threads" and self.start["versions"][name] != now[name]  # threads are taken as they were

    def restore(self, training: Training, follower: Follower) -> None:
        """Put training and follower where they were, and tell the record; what is passed over is said."""
        found = self.checkpoint
        if found is None and training.spec is None and weights_sha256(training.model) != self.start["begins_with"]:
            raise InputError(
                f"run {self.record.id} was stopped before its first checkpoint, and this network begins with other weights"
            )
        if found is None:
            log.warning("run %s has no checkpoint yet: it begins from its first step", self.record.id)
        else:
            for reason in found.passed_over:
                log.warning("a newer checkpoint is passed over: %s", reason)
            found.state["training"]["plan"] = repr(training.plan)  # with the threads that it had, whatever is usual here
            restore(training, found.state, follower)
        step = training.position.step
        follower.resumed.append(step)
        told = {"step": step, "checkpoint": None if found is None else found.folder.name, "versions": versions(training.device)}
        self.record.note("resumed", **told)
        log.info("run %s goes on after step %d", self.record.id, step)


NOT_FACTS = ("event", "at", "schema", "begins_with", "layers_sha256", "interface", "model", "origin", "metrics", "call")


def checkpoints_of(record: Record) -> Checkpoints:
    """Return the checkpoints of a run."""
    return Checkpoints(record.folder / FOLDER)


def begun(name: str, home: str | Path | None, held: ExitStack) -> Begun:
    """Return a run that was stopped, which this process holds for as long as `held` is open.

    Raises:
        InputError: there is none of that name, it is complete, or no checkpoint of it can be read.
    """
    if not isinstance(name, str):
        raise InputError(f"resume is the id of a run, or 'last' (got {name!r})")
    record = _unfinished(home) if name == "last" else None
    record = record or find(name, home, kind="run")
    held.enter_context(holding(record))  # before anything is read: who had it until now may have gone further
    with reading(record):
        start, end = record.first("start"), record.last("end")
        if start is None or "call" not in start:
            raise InputError(f"run {record.id} cannot be gone on with: its record does not say how it was begun")
        if end is not None and end["status"] in DONE:
            checkpoints_of(record).delete()  # left by a kill between the last line and this
            raise InputError(f"run {record.id} is complete ({end['status']} after {end['steps']} steps): nothing to go on with")
        return Begun(record, start, checkpoints_of(record).newest())


def _unfinished(home: str | Path | None) -> Record | None:
    """Return the newest run that is not complete."""
    found = [(stat.st_mtime, record) for record, stat in records_in(home_folder(home)) if record.kind == "run"]
    for _, record in sorted(found, key=lambda pair: -pair[0]):
        end = record.last("end")
        if end is None or end.get("status") not in DONE:
            return record
    return None


def keeper_of(training: Training, book: Record | None, call: Call) -> Keeper | None:
    """Return who keeps the checkpoints of a training that is recorded; None, and it is said, where its state cannot be kept."""
    every = Every.read(call.checkpoint_every)
    if book is None:
        return None
    try:
        Packed.of(state_of(training))
    except InputError as error:
        log.warning("this training cannot be gone on with when it is stopped: %s", error)
        return None
    return Keeper(checkpoints_of(book), every)
