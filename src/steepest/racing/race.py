"""`race`: what the arguments mean as a plan, the run of it, and the record it leaves."""

from __future__ import annotations

import json
import logging
import math
import re
import time
from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from ..clock import parse_duration
from ..errors import InputError, Interrupted, check_seed, positive, switch, whole
from ..optimizer import Optimizer
from ..reach import a_target
from ..recipes import Recipe, check_batch
from ..records import FROM_PYTHON, Invocation, Record, create, find, holding, jsonable, reading
from ..rules import adam
from ..tasks import Task, task
from ..training.building import choose_device
from ..training.identity import versions
from ..training.setup import prepare
from .contenders import BASELINE, Contender, Entry, contender, contenders
from .kinds import kind_of
from .pace import Pace
from .plan import FIRST, Plan
from .result import CRASHED, FINISHED, INTERRUPTED, Race, headline, winning_recipe
from .runner import Known, Runner, key_of
from .samplers import Asked
from .sizes import linear_contender, networks_race
from .trials import FAILED, GIVEN_UP, Outcome
from .view import View
from .workers import STALL_S, available_cores, process_memory

log = logging.getLogger("steepest")

EPOCHS = 40
PATIENCE = 10  # of the training with the winner; a trial ends at the target, or at its last step


def make_plan(
    job: Task,
    recipes: Entry | Sequence[Entry] | None,
    *,
    baseline: str | None,
    seed: int,
    seeds: int,
    tries: int,
    sampler: Any,
    first: Sequence[Recipe],
    batch: int | str | None,
    epochs: float,
    evaluate_every: int | None,
) -> Plan:
    """Return the plan that the arguments of `race` mean for this task."""
    check_seed(seed)
    positive("epochs", epochs)
    check_batch("batch", batch)
    if evaluate_every is not None:
        whole("evaluate_every", evaluate_every, 1)
    if job.goal is None:
        raise InputError(f"a race needs a target: add --reach '{a_target(job.kind)}' (in Python: reach=)")
    size = 32 if job.data.size("train") < 10_000 else 128
    frame = Recipe(adam(), batch=batch or size, epochs=float(epochs), patience=PATIENCE)
    found = contenders(recipes, frame)
    name = baseline or BASELINE
    if name not in [one.name for one in found] and baseline is None:
        found = [contender(BASELINE, frame), *found]  # and says so: it is listed, and named as the baseline
    every = evaluate_every or evaluations(job, frame)
    return Plan(
        _lasting(job, found, frame, every, seed, first),
        name,
        str(job.goal),
        every,
        seed,
        seeds,
        tries=tries,
        sampler=None if sampler is None else type(sampler).__name__,
    )


def _lasting(
    job: Task, found: Sequence[Contender], frame: Recipe, every: int, seed: int, first: Sequence[Recipe]
) -> tuple[Contender, ...]:
    """Return the contenders with the lengths of their trials, and a linear model among them where networks race."""
    rows = job.data.size("train")
    lasting = tuple(one.lasting(rows, every, frame, seed, first) for one in found)
    if outside := [recipe for recipe in first if not any(one.holds(recipe.filled(frame)) for one in lasting)]:
        raise InputError(f"start_from: {outside[0]!r} lies in none of the spaces that are searched")
    if networks_race(lasting):
        lasting += tuple(one.lasting(rows, every, frame, seed) for one in linear_contender(job, frame, lasting))
    return lasting


def evaluations(job: Task, frame: Recipe) -> int:
    """Return after how many steps the validation part is measured.

    An evaluation costs about a third of as many training rows; this keeps it at or below a fifth of the training.
    """
    held_out = job.data.size("validation")
    if not held_out:
        raise InputError("a race needs a validation part to see the target reached; give it a share with parts=")
    return max(5, math.ceil(held_out / frame.batch_size(job.data.size("train")) / 2))


def race(
    subject: Any,
    recipes: Entry | Sequence[Entry] | None = None,
    *,
    reach: str | None = None,
    baseline: str | None = None,
    seeds: int = 5,
    seed: int = 0,
    tries: int = 64,
    sampler: Any = None,
    start_from: str | Sequence[str] | None = None,
    budget: str | float | None = None,
    batch: int | str | None = None,
    epochs: float = EPOCHS,
    evaluate_every: int | None = None,
    processes: int | None = None,
    memory: str | int | None = None,
    stall: str | float | None = None,
    lanes: bool = True,
    device: Any = None,
    home: str | Path | None = None,
    record: bool = True,
    resume: str | None = None,
    progress: bool | None = None,
    invocation: Invocation = FROM_PYTHON,
) -> Race:
    """Race recipes to a target and judge them.

    Every contender tunes its learning rate over the same number of values of its own published range, or is searched for in a
    space; then all run the same seeds, from the same initial weights and in the same order of batches; the first three and the
    baseline run fresh seeds, on which they are judged. The cost of the search is part of the answer.

    Args:
        subject: a Task, or anything `steepest.task` takes.
        recipes: names (tuned), rules or recipes (raced as they are), texts with open places (searched, see `Space`); None: ten
            classic rules.
        reach: the target, such as `"accuracy >= 0.97"`; None: the task's.
        baseline: the contender the others are compared with; None: momentum, which is added when missing.
        seeds: seeds that rank every contender; as many fresh ones judge the finalists, and up to six times as many where they
            can change the answer.
        seed: everything random follows from it; the same seed gives the same steps.
        tries: recipes of a space that are tried at most, 1 to 512; most of them briefly.
        sampler: one of Optuna's, such as `optuna.samplers.TPESampler(seed=0)`, that is asked which recipes of a space to try
            next;
            None: near the best.
        start_from: the ids of earlier races, whose winners are the first recipes of a space that are tried.
        budget: stop starting trials after this time, such as `"5m"`; None: run the whole plan.
        batch: rows a step for contenders that do not say; None: 32 below 10,000 rows, else 128. Contenders of different
            batch or network are ranked by the measured cost of their steps, all others by steps alone.
        epochs: a trial that has not reached the target by then has missed it.
        evaluate_every: updates between evaluations; None: chosen so that they cost at most about a fifth of the training.
        processes: how many trials run side by side; None: one a core (one in all on a GPU).
        memory: what each process may take, such as `"2GiB"`; None: its share of nine tenths of what is free. With one process
            neither this nor `stall` is looked at: it is the caller's own.
        stall: a trial that makes no step for this long is given up, such as `"5m"`, which is meant by None.
        lanes: run trials of one network as one batched computation (`docs/lanes.md`), where that is measured to be faster;
            steps and curves are then those of trials alone but for rounding. False: bit for bit.
        device: where; None: CUDA when there is one.
        home: folder of the records; None: `STEEPEST_HOME`, else `./.steepest`.
        record: whether to write a record.
        resume: the id of an interrupted race of the same plan; its finished trials are not run again.
        progress: show a live table; None: where somebody watches.
        invocation: how the command line called, for the record, the clock and plain logs.

    Raises:
        InputError: what cannot be raced, in one line.
        Interrupted: Ctrl-C; finished trials have been kept, and the message says how to go on.

    >>> import steepest
    >>> result = race("iris", ["sgd(0.1)", "momentum(0.05)"], seeds=1, epochs=20, processes=1, record=False)
    >>> result.leaderboard().rows[0].reached > 0
    True
    """
    switch("lanes", lanes)
    if sampler is not None:
        Asked(sampler)  # refuses what is none
    began = time.perf_counter()
    job = task(subject, reach=reach)
    seconds = parse_duration("budget", budget)
    limits = {"memory": process_memory(memory), "stall_s": parse_duration("stall", stall) or STALL_S}
    deadline = None if seconds is None else time.time() + seconds
    conditions: dict[str, Any] = {"batch": batch, "epochs": epochs, "evaluate_every": evaluate_every}
    first = [winning_recipe(name, home) for name in _names("start_from", start_from)]
    conditions |= {"seeds": seeds, "tries": tries, "sampler": sampler, "first": first}
    plan = make_plan(job, recipes, baseline=baseline, seed=seed, **conditions)
    where = choose_device(device)
    check_contenders(job, plan, where)
    with ExitStack() as held:
        held.enter_context(holding(None if resume is None else find(resume, home, kind="race")))
        earlier = _earlier(plan, job, home, resume)
        count, threads = side_by_side(processes, where, plan, earlier)
        command = invocation.command
        facts = {"processes": count, "threads": threads, "seed": seed, "versions": versions(where), "command": command}
        if earlier:
            facts["step_costs"] = earlier.step_costs
        book = earlier.book if earlier else _begun(job, plan, facts, home) if record else None
        held.enter_context(holding(None if earlier else book))
        spent = {"start": invocation.start_s} if invocation.start_s else {}
        spent["data"] = invocation.data_s + time.perf_counter() - began
        pace = earlier.pace if earlier else Pace({})
        result = Race(book.id if book else None, job, plan, [], pace, spent, FINISHED, facts, book)
        with View(plan, headline(job, plan, count, threads), progress, lines=invocation.lines) as view:
            try:
                known = earlier.outcomes if earlier else {}
                Runner(result, known, view, deadline, lanes=lanes, limits=limits, sampler=sampler).run(count, threads, where)
            except Exception as error:
                _give_up(result, error)
                raise
        return _ended(result)


def _begun(job: Task, plan: Plan, facts: dict[str, Any], home: str | Path | None) -> Record:
    """Return the record of a new race, with its first line."""
    book, label = create("race", home), f"{len(plan.contenders)} recipes"
    book.append("start", task=job.name, label=label, plan=plan.to_dict(), fingerprint=job.fingerprint(), **facts)
    return book


def _ended(result: Race) -> Race:
    """Close the record and return the race; raise when it was stopped, with what goes on with it."""
    command = result.facts["command"]
    result.facts["data"] = result.task.data.to_dict()
    if result.book is not None:
        board = result.leaderboard()
        found = f"winner {board.winner}" if board.winner else "no winner"
        document = {**result.to_dict(), "result": found}
        result.book.append("end", **document, seconds=sum(result.seconds.values()))
    if result.status == INTERRUPTED:
        raise Interrupted(_how_to_go_on(result, command, "stopped"), resumable=result.id is not None)
    if result.status == CRASHED:
        fewer = f"{command} --processes 1" if command else None
        raise InputError(_how_to_go_on(result, fewer, f"a worker process was lost ({result.facts['crash']})"))
    return result


def _give_up(result: Race, error: Exception) -> None:
    """Close the record of a race that failed: nothing is left of one that never began, and what was finished is kept."""
    if result.book is None:
        return
    if all(outcome.status in (FAILED, GIVEN_UP) for outcome in result.outcomes):
        result.book.delete()
        return
    result.book.append("end", status="failed", error=str(error), seconds=sum(result.seconds.values()))
    log.error("%s", _how_to_go_on(result, result.facts["command"], "failed"))


def side_by_side(processes: int | None, device: torch.device, plan: Plan, earlier: Earlier | None) -> tuple[int, int]:
    """Return how many trials run side by side, and with how many threads each: all cores are shared out.

    A race that goes on keeps its number of threads, on which the last digits of a sum depend.
    """
    if processes is None:
        processes = min(available_cores(), plan.num_trials()) if device.type == "cpu" else 1
    whole("processes", processes, 1)
    if earlier is not None:
        return processes, earlier.threads
    return processes, torch.get_num_threads() if processes == 1 else max(1, available_cores() // processes)


def _names(what: str, value: Any) -> list[str]:
    """Return one name or several as a list; None is none."""
    names = [value] if isinstance(value, str) else [] if value is None else value
    if not isinstance(names, list | tuple) or not all(isinstance(name, str) for name in names):
        raise InputError(f"{what} takes the id of a race, or several (got {value!r})")
    return list(names)


def check_contenders(job: Task, plan: Plan, device: Any) -> None:
    """Build every network and every optimizer once, so that one that does not fit is told before anything is started."""
    reads, found = len(job.data.reads), dict[tuple[str, str], list[tuple[Recipe, int]]]()
    for one in plan.contenders:
        for recipe in _of_each_kind(one):
            found.setdefault((repr(recipe.model), repr(recipe.objective)), []).append((recipe, one.max_steps))
    for alike in found.values():  # one network at a time: those of a space may be large
        model = prepare(job, alike[0][0], device=device).model
        for recipe, max_steps in alike:
            Optimizer(model, recipe.rule, steps_per_epoch=1, total_steps=max_steps)
    del job.data.reads[reads:]  # only shapes were looked at


def _of_each_kind(one: Contender) -> Iterable[Recipe]:
    """Return one of a contender's recipes of each kind: those of a tuned rule are of one, those of a space of many, of which
    the first ones are tried for sure; of others that fail their trials tell.
    """
    chosen = one.recipes[: FIRST if one.pool else 1]
    return {kind_of(recipe): recipe for recipe in chosen}.values()


def go_on(name: str, command: str | None) -> str:
    """Return the command, or the call, that goes on with a race."""
    if not command:
        return f"race(..., resume={name!r})"
    return re.sub(r" --(resume|budget)[ =]\S+", "", command) + f" --resume {name}"


def _how_to_go_on(result: Race, command: str | None, what: str) -> str:
    done = f"{what}; {len(result.outcomes)} of about {result.plan.num_trials()} trials"
    if result.id is None:
        return f"{done} were finished (not recorded)"
    return f"{done} are kept as {result.id}; go on with: {go_on(result.id, command)}"


@dataclass(frozen=True)
class Earlier:
    """What an interrupted race left: its record, its finished trials, what it had measured of steps (for its verdicts, and for
    the searches of its spaces), its threads.
    """

    book: Record
    outcomes: Known
    pace: Pace
    step_costs: dict[str, dict[str, float]]
    threads: int


def _earlier(plan: Plan, job: Task, home: str | Path | None, resume: str | None) -> Earlier | None:
    """Return what the race to go on with left, if it was one of this task under this plan."""
    if resume is None:
        return None
    book = find(resume, home, kind="race")
    with reading(book):
        start = book.first("start") or {}
        before = {"task": start["task"], **start["fingerprint"], **start["plan"]}
        now = json.loads(json.dumps(jsonable({"task": job.name, **job.fingerprint(), **plan.to_dict()})))
        if changed := [name for name in now if now[name] != before.get(name)]:
            raise InputError(f"{resume} was a race with other {', '.join(changed)}; repeat its command, with --resume {resume}")
        outcomes = [Outcome.from_dict(event["outcome"]) for event in book.events() if event["event"] == "trial"]
        pace = Pace.from_dict((book.last("pace") or {}).get("rounds", {}))
        costs = (book.last("step_costs") or {}).get("costs", {})
        return Earlier(book, {key_of(outcome.trial): outcome for outcome in outcomes}, pace, costs, int(start["threads"]))
