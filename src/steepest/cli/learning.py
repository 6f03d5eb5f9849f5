"""The verbs that train: `race` and `fit`."""

from __future__ import annotations

import importlib
import re
import shlex
import sys
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer

from ..clock import process_age_s
from ..errors import InputError
from ..forms import ROWS
from ..plans import as_plan
from ..sinks import as_sinks
from ..sources import BUILTINS
from . import NOT_REACHED, OK, saying_how_to_go_on
from . import options as o
from .printing import beside_lines, clock_line, cost_line, data_lines, metrics_line, print_json, print_leaderboard


@o.takes_source
def race(
    source: o.Source,
    recipes: Annotated[
        str | None, typer.Option(help='Who races: "adamw,sgd(0.1)". A bare name tunes its rate, open places are searched.')
    ] = None,
    baseline: Annotated[str | None, typer.Option(help="Whom the others are compared with [momentum].")] = None,
    seeds: Annotated[int, typer.Option(help="Seeds that rank everyone; 1 to 6 times as many judge the finalists.")] = 5,
    tries: Annotated[int, typer.Option(help="Recipes that are tried of one with open places, most of them briefly.")] = 64,
    start_from: Annotated[
        list[str] | None, typer.Option(help="An earlier race, whose winner is tried first in a space. Can be given again.")
    ] = None,
    budget: Annotated[str | None, typer.Option(help="Start no trial after this time, such as 5m.")] = None,
    resume: Annotated[str | None, typer.Option(help="Go on with an interrupted race of the same command.")] = None,
    processes: Annotated[int | None, typer.Option(help="Trials side by side [one a core].")] = None,
    memory: Annotated[str | None, typer.Option(help="Of each process, such as 2GiB [its share of what is free].")] = None,
    stall: Annotated[str | None, typer.Option(help="Give up a trial that makes no step for this long [5m].")] = None,
    evaluate_every: Annotated[int | None, typer.Option(help="Steps between evaluations.")] = None,
    epochs: Annotated[float, typer.Option(help="A trial misses the target after these.")] = 40,
    batch: o.Batch = None,
    seed: o.Seed = 0,
    home: o.Home = None,
    json: o.Json = False,
    quiet: o.Quiet = False,
) -> int:
    """Race recipes to a target, print the leaderboard, train with the winner, write the report."""
    o.at_least("--seeds", seeds, 1)
    o.at_least("--seed", seed, 0)
    o.at_least("--processes", processes, 1)
    o.at_least("--evaluate-every", evaluate_every, 1)
    o.above_zero("--epochs", epochs)
    size, epochs = o.batch_size(batch), o.whole_where_it_is(epochs)
    if recipes is not None:
        _check_recipes(recipes)
    job, invocation = _made(source, quiet, "steepest.racing.race", "steepest.reporting.report")
    if job.goal is None:
        from ..reach import a_target

        raise InputError(f"a race needs a target: add --reach '{a_target(job.kind)}'")
    from ..racing.race import race as run_race
    from ..reporting.report import report as write_report

    shown = False if quiet else None
    with saying_how_to_go_on():
        result = run_race(
            job, recipes, baseline=baseline, seeds=seeds, seed=seed, tries=tries, start_from=start_from, budget=budget,
            batch=size, epochs=epochs, evaluate_every=evaluate_every, processes=processes, memory=memory, stall=stall,
            home=home, resume=resume, progress=shown, invocation=invocation,
        )  # fmt: skip
    settings = {"seed": seed, "home": home, "progress": shown, "invocation": replace(invocation, start_s=0.0)}
    run = _winner_trained(job, result, settings) if result.leaderboard().winner is not None else None
    page = write_report(result, run, home=home)
    if json:
        extra = {"run": run.to_dict() if run else None, "report": str(page)}
        print_json(result.to_dict() | extra)
    else:
        _print_race(result, run, page)
    return OK if run is not None else NOT_REACHED


def _winner_trained(job: Any, result: Any, settings: dict[str, Any]) -> Any:
    """Return the run of a training with the recipe that won."""
    from ..training.fitting import fit as train

    with saying_how_to_go_on(f"the race is complete: steepest report {result.id}"):
        run = train(job, result.best, **settings)
        result.keep_winner(run)
    return run


def _made(source: o.Source | None, quiet: bool, *needed: str) -> tuple[Any, Any]:
    """Return the task (None: a run says what it learns), and how the command line called.

    What is wrong in a file is told before `needed` modules, and what those import, take their seconds; these are the start's
    share, not the data's.
    """
    from ..records import Invocation

    if source is None:
        _import(needed)
        return None, Invocation(_called(), process_age_s(), lines=not quiet)
    if source.task in BUILTINS:
        _import(("sklearn.datasets", *needed))
    elif ".py:" in source.task:  # which imports them itself
        _import(needed)
    begun_s = process_age_s()
    job = source.make()
    data_s = process_age_s() - begun_s
    _import(needed)
    return job, Invocation(_called(), process_age_s() - data_s, data_s, lines=not quiet)


def _import(needed: tuple[str, ...]) -> None:
    for name in needed:
        importlib.import_module(name)


def _check_recipes(text: str) -> None:
    """Refuse wrong recipes before the data are read."""
    from ..racing.contenders import contenders
    from ..recipes import Recipe
    from ..rules import adam

    contenders(text, Recipe(adam()))


def _print_race(result: Any, run: Any, page: Path) -> None:
    from ..racing.race import go_on

    print(result.headline(), end="\n\n")
    print_leaderboard(result.leaderboard())
    print("\n".join(["", *result.found()]))
    seconds = result.seconds
    document = result.to_dict()
    print(
        f"search {seconds.get('search', 0):.0f} s ({document['search_trials']} trials)   screening "
        f"{seconds.get('screening', 0):.0f} s   finals {seconds.get('finals', 0):.0f} s   {clock_line(seconds)}"
    )
    if result.status != "finished":
        done = f"{len(result.outcomes)} of about {result.plan.num_trials()} trials"
        print(f"{result.status}: {done}; go on with: {go_on(result.id, result.facts['command'])}")
    if run is None:
        print(f"{result.why_nobody_won()}\nreport: {page}")
    else:
        told = "" if result.proven else " (first, not proven fastest)"
        print(f"trained with {run.facts['label']}{told}, run {run.id}:")
        print(f"{metrics_line(run.metrics, run.facts['measured_on'])}")
        print(f"next: steepest evaluate {run.id}      report: {page}")


@o.takes_source
def ablate(
    source: o.Source,
    recipe: Annotated[
        str | None, typer.Option(help="What to take apart: a Recipe, a rule, or the id of a race [the default].")
    ] = None,
    seeds: Annotated[
        int, typer.Option(help="Seeds that everyone runs; up to 6 times as many where they can change an answer.")
    ] = 5,
    processes: Annotated[int | None, typer.Option(help="Trials side by side [one a core].")] = None,
    epochs: Annotated[float, typer.Option(help="A trial misses the target after these, where the recipe does not say.")] = 40,
    batch: o.Batch = None,
    seed: o.Seed = 0,
    home: o.Home = None,
    json: o.Json = False,
    quiet: o.Quiet = False,
) -> int:
    """Measure what each ingredient of a recipe buys: taken out alone, and alone put in."""
    o.at_least("--seeds", seeds, 1)
    o.at_least("--seed", seed, 0)
    o.at_least("--processes", processes, 1)
    o.above_zero("--epochs", epochs)
    size, epochs = o.batch_size(batch), o.whole_where_it_is(epochs)
    chosen = _recipe(recipe, home)
    job, _ = _made(source, quiet, "steepest.racing.ablation")
    if job.goal is None:
        from ..reach import a_target

        raise InputError(f"an ablation needs a target: add --reach '{a_target(job.kind)}'")
    from ..racing.ablation import ablate as take_apart

    found = take_apart(
        job, _filled(chosen, job), seeds=seeds, seed=seed, batch=size, epochs=epochs, processes=processes,
        progress=False if quiet else None,
    )  # fmt: skip
    print_json(found.to_dict()) if json else print(found)
    return OK


@partial(o.takes_source, resumes=True)
def fit(
    source: o.Source | None,
    recipe: Annotated[
        str | None, typer.Option(help='How to learn: a rule such as "adamw(0.003)", a Recipe, or the id of a race.')
    ] = None,
    find_lr: Annotated[bool, typer.Option("--find-lr", help="First draw loss against learning rate.")] = False,
    stop_at_target: Annotated[bool, typer.Option("--stop-at-target", help="Stop when the target is reached.")] = False,
    epochs: Annotated[float | None, typer.Option(help="Passes over the data.")] = None,
    batch: o.Batch = None,
    patience: Annotated[int | None, typer.Option(help="Stop after this many evaluations without progress.")] = None,
    augment: Annotated[str | None, typer.Option(help='How rows are changed: "flip(), mixup(0.2)", or none.')] = None,
    plan: Annotated[
        str | None, typer.Option(help="How it is carried out: \"Plan(precision='bfloat16')\" [as suits the machine].")
    ] = None,
    resume: Annotated[str | None, typer.Option(help="Go on with a stopped run, exactly where it was: its id, or last.")] = None,
    checkpoint_every: Annotated[
        str | None, typer.Option(help="Steps or time between checkpoints: 100, 5m, or never [1m].")
    ] = None,
    sink: Annotated[
        list[str] | None, typer.Option(help="Who else is told: tensorboard:FOLDER, mlflow:URI. Can be given again.")
    ] = None,
    seed: o.Seed = 0,
    home: o.Home = None,
    json: o.Json = False,
    quiet: o.Quiet = False,
) -> int:
    """Train one network and measure it on held-out rows, or go on with a run that was stopped."""
    o.above_zero("--epochs", epochs)
    o.at_least("--patience", patience, 1)
    o.at_least("--seed", seed, 0)
    size, changes, carried_out, sinks = o.batch_size(batch), o.augmentations(augment), as_plan(plan), as_sinks(sink or None)
    if resume is not None:
        _leave_out(
            recipe=recipe, find_lr=find_lr, stop_at_target=stop_at_target, epochs=epochs, batch=batch, patience=patience,
            augment=augment, plan=plan, seed=seed,
        )  # fmt: skip
    chosen = _recipe(recipe, home)
    job, invocation = _made(source, quiet, "steepest.training.finding")
    if resume is None:
        chosen = _filled(chosen, job, epochs=o.whole_where_it_is(epochs), batch=size, patience=patience, augment=changes)
    if find_lr:
        _draw_rates(job, chosen, seed, sys.stderr if json else sys.stdout)
    from ..training.fitting import fit as train

    with saying_how_to_go_on():
        run = train(
            job, recipe=chosen, seed=seed, home=home, stop_at_target=stop_at_target, plan=carried_out, resume=resume,
            checkpoint_every=checkpoint_every, sinks=sinks, progress=False if quiet else None, invocation=invocation,
        )  # fmt: skip
    if json:
        print_json(run.to_dict())
    else:
        _print_fit(run)
    missed = run.facts["reached"] is False and (source is None or source.reach is not None)
    return NOT_REACHED if missed or run.status == "diverged" else OK


def _filled(recipe: Any, job: Any, **changes: Any) -> Any:
    """Return a recipe, or the default one, with what the options say in its place."""
    from ..defaults import default_recipe
    from ..recipes import named

    return named(recipe or default_recipe(job.data.form, job.data.size("train"), job.model), **changes)


def _draw_rates(job: Any, recipe: Any, seed: int, where: Any) -> None:
    """Print loss against learning rate."""
    from ..training.finding import find_lr

    drawn = find_lr(job, recipe, seed=seed)
    print(f"{drawn}\ntrained below with {recipe.rule}; another rate: --recipe", end="\n\n", file=where)


def _leave_out(**options: Any) -> None:
    """Refuse options that a run which goes on has settled when it began."""
    for name, value in options.items():
        if value:
            raise InputError(f"--resume goes on as the run began; leave out --{name.replace('_', '-')}")


def _recipe(text: str | None, home: Path | None) -> Any:
    """Return the recipe that --recipe means: the winner of a race, or the text of one."""
    from ..records import home_folder

    if text is None:
        return None
    if re.fullmatch("last|r[0-9a-f]{4}", text) and (text == "last" or (home_folder(home) / "races" / text).is_dir()):
        from ..racing.result import winning_recipe

        return winning_recipe(text, home)
    from ..recipes import parse_recipe

    return parse_recipe(text)


def _print_fit(run: Any) -> None:
    from ..data.findings import counted

    facts = run.facts
    print(run.task.data.describe())
    for line in data_lines(facts["data"]):
        print(line)
    print(facts["recipe"])
    for note in facts["notes"]:
        print(f"  {note}")
    print(f"{facts['network']}   {cost_line(facts)}")
    print(facts["plan"]["told"])
    speed = f"{run.samples_per_second:,.0f} {ROWS.get(facts['data']['kind'], 'rows')}/s in the training stage"
    print(f"{run.status} after {counted(facts['steps'], 'steps')}, {speed}   {clock_line(run.stages)}")
    if run.status == "diverged":
        print("the loss is no longer a finite number: lower the learning rate (--find-lr draws where it breaks)")
    if facts["reach"]:
        when = f"reached at step {facts['steps_to_target']}" if facts["reached"] else f"not reached{_at_best(run)}"
        print(f"target {facts['reach']}: {when} (validation part)")
    print(metrics_line(run.metrics, facts["measured_on"]))
    for line in beside_lines(facts):
        print(line)
    print(f"next: steepest evaluate {run.id}      steepest report {run.id}")


def _at_best(run: Any) -> str:
    """Return the best value of the target's metric at any evaluation."""
    goal = run.task.goal
    seen = [point[goal.metric] for point in run.facts["curve"] if point.get(goal.metric) is not None]
    if not seen:
        return ""
    return f": {max(seen) if goal.larger_is_better else min(seen):.4g} at best"


def _called() -> str:
    return "steepest " + shlex.join(sys.argv[1:])
