"""`fit`: train one recipe on one task, record what happens, and return the Run."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from torch import nn

from ..data.core import Data
from ..data.loading import from_dataset
from ..data.memory import arrays
from ..defaults import default_recipe
from ..errors import InputError
from ..gradient import GradientFunction, plain
from ..plans import Plan, as_plan
from ..progress import Progress
from ..recipes import Recipe, as_recipe, is_torch_optimizer, named
from ..records import FROM_PYTHON, Invocation, Record, create, holding, reading
from ..rules import Rule
from ..sinks import Sink, as_sinks, telling
from ..stopping import Stops
from ..tasks import Task, task
from .finishing import finish
from .following import INTERRUPTED, Follower
from .identity import layers_sha256, versions, weights_sha256
from .loop import Events, steps
from .pilot import Choice, choose
from .recovery import Begin, Recovery
from .resuming import Begun, Call, begun, keeper_of, told_of
from .run import Interface, Run, names_of
from .settings import KeptMemory
from .setup import Training, laid_out_as_before, prepare
from .supervision import Supervisor


def as_task(subject: Any, X: Any = None, y: Any = None) -> Task:
    """Return the task that `fit`'s first arguments mean: a Task, anything `task` takes, or a network with its data."""
    if isinstance(subject, nn.Module):
        if X is None:
            raise InputError("fit(net, X, y): the data are missing")
        integers = any(isinstance(module, nn.Embedding) for module in subject.modules())
        if isinstance(X, Data):
            data = X
        elif y is None:
            data = from_dataset(X)
        else:
            data = arrays(X, y, scaling="none", integers=integers, images=False)
        return Task(data, model=subject, name=type(subject).__name__)
    if X is not None:
        hint = "" if y is not None else "; arrays without a network: fit(steepest.arrays(X, y))"
        raise InputError(f"fit(net, X, y) needs an nn.Module first (got {type(subject).__name__}){hint}")
    return task(subject)


def fit(
    subject: Any = None,
    X: Any = None,
    y: Any = None,
    *,
    recipe: Recipe | Rule | str | None = None,
    epochs: float | None = None,
    batch: int | str | None = None,
    patience: int | None = None,
    seed: int = 0,
    device: Any = None,
    evaluate_every: int | None = None,
    max_steps: int | None = None,
    stop_at_target: bool = False,
    gradient: GradientFunction | None = None,
    plan: Plan | str | None = None,
    home: str | Path | None = None,
    record: bool = True,
    checkpoint_every: int | str | bool | None = None,
    resume: str | None = None,
    sinks: Sink | str | Sequence[Sink | str] | None = None,
    progress: bool | None = None,
    invocation: Invocation = FROM_PYTHON,
) -> Run:
    """Train one network and return the Run.

    Args:
        subject: a Task or anything `steepest.task` takes - then the second argument may be the recipe - or a network,
            which is trained in place. A module inside a Task is copied: every training starts from the same weights.
        X: with a network: inputs (array, frame, Dataset, DataLoader or Data), handed over as they are.
        y: with a network and arrays: labels.
        recipe: how to learn: a Recipe, a rule, or the text of one, such as `"adamw(0.003)"`; what it leaves open (batch,
            epochs) is taken from the default for this kind of data, as is all of it for None.
        epochs: passes over the rows, in place of the recipe's.
        batch: rows a step, or `"full"`, in place of the recipe's.
        patience: evaluations without a better validation loss to wait, in place of the recipe's.
        seed: initial weights and order of batches follow from it.
        device: where; None: CUDA when there is one.
        evaluate_every: updates between evaluations of the validation part; None: once an epoch.
        max_steps: updates at most; None: the recipe's epochs.
        stop_at_target: stop when the task's target is met at two evaluations in a row.
        gradient: how a gradient is obtained, see `steepest.gradient`; None: as the recipe says.
        plan: how the training is carried out, such as `Plan(precision="bfloat16")`; None: what suits the machine, and is
            measured on a few steps where the training takes more than a minute.
        home: folder of the records; None: `STEEPEST_HOME`, else `./.steepest`.
        record: whether to write a record at all.
        checkpoint_every: updates (100) or time ("5m") between two checkpoints; None: a minute; False: only when it is stopped.
        resume: go on with a stopped run of this id, or `"last"`, exactly where it was. All else is as it began: give again
            what no record can hold (data from memory, a module, a gradient function of your own), and nothing else.
        sinks: who else is told what the record is told: functions of one event, `"tensorboard:FOLDER"`, `"mlflow:URI"`; one
            that fails stops nothing (see `steepest.sinks`).
        progress: show a bar; None: where somebody watches.
        invocation: how the command line called, for the record and the clock.

    Raises:
        InputError: what cannot be trained, in one line.
        Interrupted: Ctrl-C or SIGTERM; what was trained so far has been kept, and the message says how to go on.

    >>> import steepest
    >>> run = fit("iris", recipe="adamw(0.01)", record=False)
    >>> run.metrics["accuracy"] > 0.8
    True
    """
    if (isinstance(X, Recipe | Rule | str) or is_torch_optimizer(X)) and not isinstance(subject, nn.Module) and y is None:
        recipe, X = X, None
    called = Call(seed, evaluate_every, max_steps, stop_at_target, checkpoint_every=checkpoint_every)
    changes = {"epochs": epochs, "batch": batch, "patience": patience}
    if not record and (resume is not None or sinks is not None):
        what = "resume goes on with a run's record" if resume is not None else "sinks are told what the record is told"
        raise InputError(f"{what}; leave out record=False")
    told = as_sinks(sinks)
    if subject is None and resume is None:
        raise InputError("nothing to train was given: fit(task), fit(net, X, y), or fit(resume=...) of a run that was stopped")
    given, chosen = None if subject is None else as_task(subject, X, y), as_recipe(recipe)
    with ExitStack() as held:
        if resume is not None:
            called.check_alone(**changes, plan=plan)
            work = _earlier(begun(resume, home, held), given, chosen, called, gradient)
        else:
            work = _new(given, chosen, called, changes, gradient)
        in_place, how = isinstance(subject, nn.Module), work.gradient
        training = prepare(work.task, work.recipe, seed=work.call.seed, device=device, in_place=in_place)
        if invocation.command is None:  # the command line prints them itself
            warn_of(training)
        held.enter_context(KeptMemory(training.device))
        held.enter_context(laid_out_as_before(training, in_place))
        if work.earlier is None:
            choice = choose(training, as_plan(plan), work.call.last(training), how)
            training.follow(choice.plan)
            facts, book = _start_facts(training, choice, invocation.command), create("run", home) if record else None
            held.enter_context(holding(book))
        else:
            facts, book = work.earlier.facts, work.earlier.record
        held.enter_context(telling(book, told))
        supervisor = _supervisor(training, work, book, held, progress, invocation)
        _begin(supervisor, work, facts)
        return _supervised(supervisor, lambda wrap: _loop(training, work.call, wrap(how)), facts, invocation)


def _supervisor(
    training: Training, work: Work, book: Record | None, held: ExitStack, progress: bool | None, invocation: Invocation
) -> Supervisor:
    """Return who watches over a training; from here on Ctrl-C and SIGTERM are noted, until `held` is closed."""
    follower, last = Follower(training, book, work.call.stop_at_target), work.call.last(training)
    bar = Progress(last, f"fit {work.task.name}", progress, lines=invocation.lines)
    keeper, stops = keeper_of(training, book, work.call), held.enter_context(Stops())
    return Supervisor(follower, keeper, Recovery(follower), bar, stops, last)


def _begin(supervisor: Supervisor, work: Work, facts: dict[str, Any]) -> None:
    """Write the first line of a record; or put a training where it was, and tell the record that it goes on."""
    follower, earlier = supervisor.follower, work.earlier
    training, book = follower.training, follower.book
    if earlier is not None:
        with reading(earlier.record):
            earlier.check(training)
        earlier.restore(training, follower)
        supervisor.begin_at(training.position.step)
    elif book is not None:
        book.append("start", **facts, **_origin(training), call=work.call.to_dict())


def _loop(training: Training, called: Call, gradient: GradientFunction) -> Events:
    """Return the loop, from where the training stands."""
    how: dict[str, Any] = {"evaluate_every": called.evaluate_every, "max_steps": called.max_steps}
    return steps(training.task, gradient=gradient, training=training, **how)


@dataclass(frozen=True)
class Work:
    """What is to be trained, how, and how `fit` was called; and the run that is gone on with, if one is."""

    task: Task
    recipe: Recipe
    call: Call
    gradient: GradientFunction
    earlier: Begun | None = None


def _new(
    job: Task | None, recipe: Recipe | None, called: Call, changes: dict[str, Any], gradient: GradientFunction | None
) -> Work:
    """Return work that begins: what a recipe leaves open is that of the default."""
    assert job is not None
    recipe = recipe or default_recipe(job.data.form, job.data.size("train"), job.model)
    called.check(job)
    how = gradient or recipe.gradient or plain
    return Work(job, named(recipe, **changes), replace(called, gradient=told_of(how)), how)


def _earlier(earlier: Begun, job: Task | None, recipe: Recipe | None, called: Call, gradient: GradientFunction | None) -> Work:
    """Return work that goes on as it began."""
    with reading(earlier.record):
        begun_with = earlier.recipe(recipe)
        how = gradient or begun_with.gradient or plain
        call = earlier.call(replace(called, gradient=told_of(how)))
        work = Work(earlier.task(job), begun_with, call, how, earlier)
        call.check(work.task)
    return work


def _supervised(supervisor: Supervisor, begin: Begin, facts: dict[str, Any], invocation: Invocation) -> Run:
    """Have a training supervised to its end, and return the Run."""
    follower, keeper = supervisor.follower, supervisor.keeper
    run = None
    try:
        with supervisor.bar:
            supervisor.supervise(begin)
        if not supervisor.is_preempted:  # who asks for that does not wait for an evaluation
            run = finish(facts, supervisor, invocation)
    except KeyboardInterrupt:  # a second one, while what was trained is measured
        follower.status = INTERRUPTED
    except Exception as error:
        supervisor.give_up(error)
        raise
    if run is not None and follower.status != INTERRUPTED and keeper is not None:
        keeper.forget() if run.facts["kept"] else keeper.close()
    if run is None or supervisor.stops.asked is not None or follower.status == INTERRUPTED:
        raise supervisor.interrupted(invocation.command)
    return run


def _start_facts(training: Training, choice: Choice, command: str | None) -> dict[str, Any]:
    job = training.task
    return {
        "task": job.name,
        "label": training.recipe.label,
        "recipe": repr(training.recipe),
        "objective": repr(training.objective),
        "reach": str(job.goal) if job.goal else None,
        "seed": training.seed,
        "rows_sha256": job.fingerprint()["data"],
        **_network(training),
        "plan": choice.to_dict() | {"told": str(choice), "optimizer": [dict(row) for row in training.optimizer.plan().rows]},
        "notes": list(training.notes),
        "versions": versions(training.device),
        "command": command,
    }


def _network(training: Training) -> dict[str, Any]:
    """What is trained, and what it costs; None where a network of the caller's own cannot be counted."""
    spec, model = training.spec, training.model
    told = {"network": repr(spec) if spec is not None else type(model).__name__}
    if training.cost is not None:
        return told | {"num_parameters": training.cost.num_parameters, "flops_a_row": training.cost.flops_a_row}
    return told | {"num_parameters": sum(p.numel() for p in model.parameters()), "flops_a_row": None}


def _origin(training: Training) -> dict[str, Any]:
    """What `load_run` needs to build the network and find the data again."""
    spec, data = training.spec, training.task.data
    model = None
    if spec is not None:
        model = {"spec": repr(spec), "form": data.form.to_dict(), "num_outputs": training.num_outputs}
    begins_with = None if spec is not None else weights_sha256(training.model)  # which no seed tells
    return {
        "interface": Interface.of(training).to_dict(),
        "model": model,
        "origin": data.origin,
        "metrics": names_of(training.task.metrics),
        "begins_with": begins_with,
        "layers_sha256": layers_sha256(training.model),
    }


def warn_of(training: Training) -> None:
    """Warn the caller of `fit`, or of what else trains, of what is worth telling."""
    for note in training.notes:
        warnings.warn(note, stacklevel=3)
