"""`race`: what the arguments mean as a plan, the run of it, and the record it leaves."""

from __future__ import annotations

import json
import math
import re
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from ..data.batches import batch_bounds
from ..errors import InputError, Interrupted, at_least
from ..recipes import Recipe
from ..records import Record, create, find, jsonable
from ..rules import Rule, adam
from ..tasks import Task, task
from ..training.run import versions
from ..training.setup import choose_device, prepare
from .contenders import BASELINE, contender, contenders
from .plan import Plan
from .result import CRASHED, FINISHED, INTERRUPTED, Race, headline
from .runner import Known, Runner, key_of
from .trials import Outcome
from .view import View
from .workers import available_cores

EPOCHS = 40


def parse_budget(text: str | float | None) -> float | None:
    """Return seconds from `"90s"`, `"5m"`, `"2h"` or a number.

    >>> parse_budget("5m")
    300.0
    """
    if text is None:
        return None
    unit = {"s": 1, "m": 60, "h": 3600}.get(str(text)[-1:])
    try:
        seconds = float(str(text)[:-1]) * unit if unit else float(text)
    except ValueError:
        raise InputError(f"budget must be a time such as 90s, 5m or 2h (got {text!r})") from None
    if not 0 < seconds < math.inf:
        raise InputError(f"budget must be > 0 (got {text!r})")
    return seconds


def make_plan(
    job: Task,
    recipes: str | Sequence[str | Recipe | Rule] | None,
    *,
    baseline: str | None,
    seed: int,
    seeds: int,
    batch: int | str | None,
    epochs: float,
    evaluate_every: int | None,
) -> Plan:
    """Return the plan that the arguments of `race` mean for this task."""
    at_least("seed", seed, 0)
    if job.goal is None:
        raise InputError("a race needs a target: add --reach 'accuracy >= 0.9' (in Python: reach=)")
    rows, held_out = job.data.size("train"), job.data.size("validation")
    if not held_out:
        raise InputError("a race needs a validation part to see the target reached; give it a share with parts=")
    size = batch or (32 if rows < 10_000 else 128)
    frame = Recipe(adam(), batch=size, epochs=epochs)
    found = contenders(recipes, frame)
    name = baseline or BASELINE
    if name not in [one.name for one in found] and baseline is None:
        found = [contender(BASELINE, frame), *found]
    step = frame.batch_size(rows)
    per_epoch = len(batch_bounds(rows, step))
    if evaluate_every is not None and evaluate_every < 1:
        raise InputError(f"evaluate_every must be >= 1 (got {evaluate_every})")
    # an evaluation costs about a third of as many training rows; this keeps it at or below a fifth of the training
    every = evaluate_every or max(5, math.ceil(held_out / step / 2))
    return Plan(tuple(found), name, str(job.goal), math.ceil(epochs * per_epoch), every, seed, seeds)


def race(
    subject: Any,
    recipes: str | Sequence[str | Recipe | Rule] | None = None,
    *,
    reach: str | None = None,
    baseline: str | None = None,
    seeds: int = 5,
    seed: int = 0,
    budget: str | float | None = None,
    batch: int | str | None = None,
    epochs: float = EPOCHS,
    evaluate_every: int | None = None,
    processes: int | None = None,
    device: Any = None,
    home: str | Path | None = None,
    record: bool = True,
    resume: str | None = None,
    progress: bool | None = None,
    command: str | None = None,
    start_s: float = 0.0,
    lines: bool = False,
) -> Race:
    """Race recipes to a target and judge them.

    Every contender tunes its learning rate over the same number of values of its own published range; then all run the same
    seeds, from the same initial weights and in the same order of batches; the first three and the baseline run fresh seeds,
    on which they are judged. The cost of the search is part of the answer.

    Args:
        subject: a Task, or anything `steepest.task` takes.
        recipes: names (tuned), rules or recipes (raced as they are); None: ten classic rules.
        reach: the target, such as `"accuracy >= 0.97"`; None: the task's.
        baseline: the contender the others are compared with; None: momentum, which is added when missing.
        seeds: seeds that rank every contender; twice as many judge the finalists. Fewer than 3 can decide nothing.
        seed: everything random follows from it; the same seed gives the same steps.
        budget: stop starting trials after this time, such as `"5m"`; None: run the whole plan.
        batch: rows a step for contenders that do not say; None: 32 below 10,000 rows, else 128.
        epochs: a trial that has not reached the target by then has missed it.
        evaluate_every: updates between evaluations; None: chosen so that they cost at most about a fifth of the training.
        processes: how many trials run side by side; None: one a core (one in all on a GPU).
        device: where; None: CUDA when there is one.
        home: folder of the records; None: `STEEPEST_HOME`, else `./.steepest`.
        record: whether to write a record.
        resume: the id of an interrupted race of the same plan; its finished trials are not run again.
        progress: show a live table; None: where somebody watches.
        command: the command line that asked for this, for the record.
        start_s: seconds of start-up to account for.
        lines: where nobody watches, log a line every ten seconds.

    Raises:
        InputError: what cannot be raced, in one line.
        Interrupted: Ctrl-C; finished trials have been kept, and the message says how to go on.

    >>> import steepest
    >>> result = race("iris", ["sgd(0.1)", "momentum(0.05)"], seeds=1, epochs=20, processes=1, record=False)
    >>> result.leaderboard().rows[0].reached > 0
    True
    """
    began = time.perf_counter()
    job = task(subject, reach=reach)
    seconds = parse_budget(budget)
    deadline = None if seconds is None else time.time() + seconds
    conditions = {"batch": batch, "epochs": epochs, "evaluate_every": evaluate_every}
    plan = make_plan(job, recipes, baseline=baseline, seed=seed, seeds=seeds, **conditions)
    where = choose_device(device)
    _check_networks(job, plan, where)
    count, threads = _side_by_side(processes, where, plan)
    book, known = _open(plan, job, home, record, resume)
    facts = {"processes": count, "threads": threads, "seed": seed, "versions": versions(), "command": command}
    if book is not None and resume is None:
        book.append("start", task=job.name, label=f"{len(plan.contenders)} recipes", plan=plan.to_dict(), **facts)
    spent = ({"start": start_s} if start_s else {}) | {"data": time.perf_counter() - began}
    result = Race(book.id if book else None, job, plan, [], {}, spent, FINISHED, facts, book)
    with View(plan, headline(job, plan, count, threads), progress, lines=lines) as view:
        Runner(result, known, view, deadline).run(count, threads, where)
    result.facts["data"] = job.data.to_dict()
    if book is not None:
        board = result.leaderboard()
        book.append("end", **{**result.to_dict(), "result": f"winner {board.winner}"}, seconds=sum(result.seconds.values()))
    if result.status == INTERRUPTED:
        raise Interrupted(_how_to_go_on(result, command, "stopped"))
    if result.status == CRASHED:
        fewer = f"{command} --processes 1" if command else None
        raise InputError(_how_to_go_on(result, fewer, "a worker process died (out of memory?)"))
    return result


def _side_by_side(processes: int | None, device: torch.device, plan: Plan) -> tuple[int, int]:
    """Return how many trials run side by side, and with how many threads each: all cores are shared out."""
    if processes is None:
        processes = min(available_cores(), plan.num_trials()) if device.type == "cpu" else 1
    at_least("processes", processes, 1)
    return processes, torch.get_num_threads() if processes == 1 else max(1, available_cores() // processes)


def _check_networks(job: Task, plan: Plan, device: Any) -> None:
    """Build every network that will race once, so that one that does not fit is told before anything is started."""
    seen: list[tuple[Any, Any]] = []
    for one in plan.contenders:
        recipe = one.recipes[0]
        if (recipe.model, recipe.objective) not in seen:
            seen.append((recipe.model, recipe.objective))
            prepare(job, recipe, device=device, fresh=True)


def _how_to_go_on(result: Race, command: str | None, what: str) -> str:
    done = f"{what}; {len(result.outcomes)} of about {result.plan.num_trials()} trials"
    if result.id is None:
        return f"{done} were finished (not recorded)"
    if command:
        command = re.sub(r" --resume[ =]\S+", "", command)
    again = f"{command} --resume {result.id}" if command else f"race(..., resume={result.id!r})"
    return f"{done} are kept as {result.id}; go on with: {again}"


def _open(plan: Plan, job: Task, home: str | Path | None, record: bool, resume: str | None) -> tuple[Record | None, Known]:
    """Return the record to write to, and the outcomes an earlier part of the race left in it."""
    if resume is None:
        return (create("race", home) if record else None), {}
    book = find(resume, home)
    start = book.first("start") or {}
    if book.kind != "race" or start.get("task") != job.name or start.get("plan") != _as_read(plan):
        raise InputError(f"{resume} was not a race of this task under this plan; repeat its command, with --resume {resume}")
    outcomes = [Outcome.from_dict(event["outcome"]) for event in book.events() if event["event"] == "trial"]
    return book, {key_of(outcome.trial): outcome for outcome in outcomes}


def _as_read(plan: Plan) -> dict[str, Any]:
    """Return the plan as it comes back from JSON."""
    return json.loads(json.dumps(jsonable(plan.to_dict())))
