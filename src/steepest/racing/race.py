"""`race`: run the plan on idle cores, keep every finished trial, judge, and say who won."""

from __future__ import annotations

import logging
import math
import re
import time
from collections.abc import Iterable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..data.batches import batch_bounds
from ..errors import InputError, Interrupted, at_least
from ..recipes import Recipe, read
from ..records import Record, create, find
from ..rules import Rule, adam
from ..tasks import Task, task
from ..training.run import Run, versions
from ..training.setup import choose_device, prepare
from . import plan as stages
from . import workers
from .contenders import BASELINE, contender, contenders
from .leaderboard import Leaderboard, leaderboard
from .plan import FINALS, SCREENING, SEARCH, Chain, Plan
from .trials import Outcome, Trial
from .view import View
from .workers import Workers, available_cores

log = logging.getLogger("steepest")

EPOCHS = 40
FINISHED, OUT_OF_TIME, INTERRUPTED = "finished", "out of time", "interrupted"


@dataclass
class Race:
    """What came of a race.

    Attributes:
        id: the record's id, or None when nothing was recorded.
        task: what was raced on.
        plan: the conditions.
        outcomes: every finished trial.
        pace: the seconds of one update, by contender, measured in turns.
        seconds: wall-clock seconds by stage.
        status: `"finished"`, `"out of time"` or `"interrupted"`.
    """

    id: str | None
    task: Task
    plan: Plan
    outcomes: list[Outcome]
    pace: dict[str, float]
    seconds: dict[str, float]
    status: str
    facts: dict[str, Any] = field(repr=False, default_factory=dict)
    book: Record | None = field(repr=False, default=None)

    def keep_winner(self, run: Run) -> None:
        """Note in the record which run was trained with the winner, so that a report can show it."""
        if self.book is not None and run.id is not None:
            self.book.append("winner", run=run.id)

    def leaderboard(self) -> Leaderboard:
        """Return the table of who reached the target when, with intervals and verdicts."""
        return leaderboard(self.plan, self.outcomes, self.pace)

    @property
    def best(self) -> Recipe:
        """The winner's recipe, to train with: `fit(task, race.best)`."""
        winner = self.leaderboard().winner
        if winner is None:
            raise InputError(f"no recipe reached {self.plan.reach}; lower the target, or raise epochs=")
        chosen = stages.best_recipe(self.plan, self.outcomes, winner)
        return self.plan.contender(winner).recipes[chosen or 0]

    @property
    def reached(self) -> bool:
        """Whether any recipe reached the target."""
        return any(outcome.reached_at is not None for outcome in self.outcomes)

    def to_dict(self) -> dict[str, Any]:
        """Return the race as a document, the same as `steepest race --json`."""
        board = self.leaderboard()
        return {
            "id": self.id,
            "task": self.task.name,
            "reach": self.plan.reach,
            "leaderboard": board.to_list(),
            "best": None if board.winner is None else {"recipe": board.winner, "text": repr(self.best)},
            "status": self.status,
            "search_seconds": self.seconds.get(SEARCH, 0.0),
            "search_trials": sum(outcome.trial.stage == SEARCH for outcome in self.outcomes),
            "total_seconds": sum(self.seconds.values()),
            "stages": self.seconds,
            "trial_seconds": self._trial_seconds(),
            **self.facts,
        }

    def _trial_seconds(self) -> dict[str, float]:
        """Seconds inside trials, added up over all processes."""
        train = sum(outcome.train_seconds for outcome in self.outcomes)
        return {"train": train, "evaluate and set up": sum(outcome.seconds for outcome in self.outcomes) - train}

    def __repr__(self) -> str:
        return f"Race({self.id}, {self.task.name}, {len(self.outcomes)} trials, winner {self.leaderboard().winner})"

    def __str__(self) -> str:
        return f"{self.headline()}\n\n{self.leaderboard()}"

    def headline(self) -> str:
        """Return what raced under which conditions, in one line."""
        return headline(self.task, self.plan, self.facts["processes"], self.facts["threads"])

    def _repr_html_(self) -> str:
        from html import escape

        return f"<p>{escape(self.headline())}</p>{self.leaderboard()._repr_html_()}"


def headline(job: Task, plan: Plan, processes: int, threads: int) -> str:
    """Return what races under which conditions, in one line."""
    side_by_side = f"{processes} process{'es' * (processes > 1)} x {threads} thread{'s' * (threads > 1)}"
    return (
        f"{job.data.describe()}   reach {plan.reach}   {len(plan.contenders)} recipes, {plan.seeds} seeds "
        f"(finalists {plan.final_seeds} fresh), {side_by_side}"
    )


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
    plan = make_plan(
        job,
        recipes,
        baseline=baseline,
        seed=seed,
        seeds=seeds,
        batch=batch,
        epochs=epochs,
        evaluate_every=evaluate_every,
    )
    where = choose_device(device)
    _check_networks(job, plan, where)
    count = processes if processes is not None else 1 if where.type != "cpu" else min(available_cores(), plan.num_trials())
    at_least("processes", count, 1)
    threads = max(1, available_cores() // count)
    book, known = _open(plan, job, home, record, resume)
    facts = {"processes": count, "threads": threads, "seed": seed, "versions": versions(), "command": command}
    if book is not None and resume is None:
        book.append("start", task=job.name, label=f"{len(plan.contenders)} recipes", plan=plan.to_dict(), **facts)
    result = Race(book.id if book else None, job, plan, [], {}, {"start": start_s} if start_s else {}, FINISHED, facts, book)
    result.seconds["data"] = time.perf_counter() - began
    with View(plan, headline(job, plan, count, threads), progress, lines=lines) as view:
        Runner(result, book, known, view, deadline).run(count, threads, where)
    result.facts["data"] = job.data.to_dict()
    if book is not None:
        board = result.leaderboard()
        book.append("end", **{**result.to_dict(), "result": f"winner {board.winner}"}, seconds=sum(result.seconds.values()))
    if result.status == INTERRUPTED:
        raise Interrupted(_how_to_go_on(result, command))
    return result


def _check_networks(job: Task, plan: Plan, device: Any) -> None:
    """Build every network that will race once, so that one that does not fit is told before anything is started."""
    seen: list[tuple[Any, Any]] = []
    for one in plan.contenders:
        recipe = one.recipes[0]
        if (recipe.model, recipe.objective) not in seen:
            seen.append((recipe.model, recipe.objective))
            prepare(job, recipe, device=device, fresh=True)


def _how_to_go_on(result: Race, command: str | None) -> str:
    done = f"stopped; {len(result.outcomes)} of about {result.plan.num_trials()} trials"
    if result.id is None:
        return f"{done} were finished (not recorded)"
    if command:
        command = re.sub(r" --resume[ =]\S+", "", command)
    again = f"{command} --resume {result.id}" if command else f"race(..., resume={result.id!r})"
    return f"{done} are kept as {result.id}; go on with: {again}"


def _open(
    plan: Plan, job: Task, home: str | Path | None, record: bool, resume: str | None
) -> tuple[Record | None, dict[tuple[Any, ...], Outcome]]:
    """Return the record to write to, and the outcomes an earlier part of the race left in it."""
    if resume is None:
        return (create("race", home) if record else None), {}
    book = find(resume, home)
    start = book.first("start") or {}
    if book.kind != "race" or start.get("task") != job.name or start.get("plan") != _as_read(plan):
        raise InputError(f"{resume} was not a race of this task under this plan; repeat its command, with --resume {resume}")
    outcomes = [Outcome.from_dict(event["outcome"]) for event in book.events() if event["event"] == "trial"]
    return book, {_key(outcome.trial): outcome for outcome in outcomes}


def _as_read(plan: Plan) -> dict[str, Any]:
    """Return the plan as it comes back from JSON."""
    import json

    from ..records import jsonable

    return json.loads(json.dumps(jsonable(plan.to_dict())))


def _key(trial: Trial) -> tuple[Any, ...]:
    return trial.stage, trial.contender, trial.recipe, trial.seed


@dataclass
class Runner:
    """Drives the stages of one race: feeds chains of trials to the workers and writes down what comes back."""

    result: Race
    book: Record | None
    known: dict[tuple[Any, ...], Outcome]
    view: View
    deadline: float | None
    pool: Workers | None = None

    def run(self, processes: int, threads: int, device: Any) -> None:
        """Run search, pace, screening and finals; stop early on Ctrl-C or when time is up."""
        result, plan = self.result, self.result.plan
        kill = True  # unless all went well
        try:
            with _Timed(result.seconds, "workers"):
                self.view.stage("starting processes")
                self.pool = Workers(result.task, processes, threads, device)
            self._stage(SEARCH, [stages.search(plan, name) for name in plan.names])
            chosen = {name: stages.best_recipe(plan, result.outcomes, name) for name in plan.names}
            running = {name: recipe for name, recipe in chosen.items() if recipe is not None}
            if not running or self._time_is_up():
                return
            with _Timed(result.seconds, "pace"):
                self.view.stage("measuring the cost of a step, in turns")
                seconds = self.pool.submit(workers.pace, [plan.contender(n).recipes[i] for n, i in running.items()]).result()
                result.pace.update(zip(running, seconds, strict=True))
            self._stage(SCREENING, [c for n, i in running.items() for c in stages.seeds(plan, SCREENING, n, i)])
            finalists = stages.finalists(plan, result.outcomes, result.pace)
            self._stage(FINALS, [c for n in finalists for c in stages.seeds(plan, FINALS, n, running[n])])
            kill = False
        except KeyboardInterrupt:
            result.status = INTERRUPTED
        finally:
            if self.pool is not None:
                self.pool.close(kill)

    def _time_is_up(self) -> bool:
        if self.deadline is not None and time.time() > self.deadline:
            self.result.status = OUT_OF_TIME
        return self.result.status == OUT_OF_TIME

    def _stage(self, name: str, chains: Iterable[Chain]) -> None:
        if self.result.status != FINISHED:
            return
        self.view.stage(name)
        with _Timed(self.result.seconds, name):
            self._drain(list(chains))

    def _drain(self, chains: list[Chain]) -> None:
        """Run chains side by side, in their order, never more at once than there are processes."""
        assert self.pool is not None
        waiting = chains[::-1]
        running: dict[Future[Outcome | None], Chain] = {}
        while waiting or running:
            while waiting and len(running) < self.pool.processes and not self._time_is_up():
                self._advance(waiting.pop(), None, running)
            if not running:
                return
            done, _ = wait(running, return_when=FIRST_COMPLETED)
            for future in done:
                chain, outcome = running.pop(future), future.result()
                if outcome is not None:
                    self._keep(outcome, new=True)
                    self._advance(chain, outcome, running)

    def _advance(self, chain: Chain, outcome: Outcome | None, running: dict[Future[Outcome | None], Chain]) -> None:
        """Send a chain its last outcome and start its next trial; known outcomes are handed in without running."""
        assert self.pool is not None
        while True:
            try:
                job = next(chain) if outcome is None else chain.send(outcome)
            except StopIteration:
                return
            if self._time_is_up():
                return
            found = self.known.get(_key(job))
            if found is None:
                recipe = self.result.plan.contender(job.contender).recipes[job.recipe]
                running[self.pool.submit(workers.trial, recipe, job, self.deadline)] = chain
                return
            self._keep(found, new=False)
            outcome = found

    def _keep(self, outcome: Outcome, *, new: bool) -> None:
        self.result.outcomes.append(outcome)
        if new and self.book is not None:
            self.book.append("trial", outcome=outcome.to_dict())
        self.view.see(outcome)


class _Timed:
    """Adds the seconds of its block to a stage."""

    def __init__(self, seconds: dict[str, float], stage: str) -> None:
        self.seconds, self.stage = seconds, stage

    def __enter__(self) -> None:
        self.began = time.perf_counter()

    def __exit__(self, *_: object) -> None:
        self.seconds[self.stage] = self.seconds.get(self.stage, 0.0) + time.perf_counter() - self.began


def winning_recipe(name: str, home: str | Path | None = None) -> Recipe:
    """Return the winner's recipe of a recorded race."""
    book = find(name, home)
    end = book.last("end")
    if book.kind != "race" or end is None or end.get("best") is None:
        raise InputError(f"{name} is not a finished race with a winner")
    return read(end["best"]["text"])
