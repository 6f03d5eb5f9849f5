"""The verbs of the command line."""

from __future__ import annotations

import re
import shlex
import sys
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import typer

from ..clock import process_age_s
from ..errors import InputError
from ..sources import DOWNLOADS
from . import NOT_REACHED, OK, saying_how_to_go_on
from . import options as o
from .printing import clock_line, cost_line, metrics_line, print_json, print_leaderboard

HELP = "Find the cheapest way to train a network to a target, train it that way, and show the evidence."
app = typer.Typer(help=HELP, no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None)


def _command() -> str:
    return "steepest " + shlex.join(sys.argv[1:])


def _version(show: bool) -> None:
    if show:
        from .. import __version__

        print(f"steepest {__version__}")
        raise typer.Exit()


@app.callback()
def steepest(
    version: Annotated[bool, typer.Option("--version", help="Print the version.", callback=_version, is_eager=True)] = False,
) -> None:
    """Hold what is common to all verbs: nothing but the version."""


@app.command()
@o.takes_source
def race(
    source: o.Source,
    recipes: Annotated[
        str | None, typer.Option(help='Who races, such as "adamw,muon,sgd(0.1)". A bare name tunes its learning rate.')
    ] = None,
    baseline: Annotated[str | None, typer.Option(help="Whom the others are compared with [momentum].")] = None,
    seeds: Annotated[int, typer.Option(help="Seeds that rank everyone; twice as many judge the finalists.")] = 5,
    budget: Annotated[str | None, typer.Option(help="Start no trial after this time, such as 5m.")] = None,
    resume: Annotated[str | None, typer.Option(help="Go on with an interrupted race of the same command.")] = None,
    processes: Annotated[int | None, typer.Option(help="Trials side by side [one a core].")] = None,
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
    size = o.batch_size(batch)
    if recipes is not None:
        _check_recipes(recipes)
    from ..racing.race import race as run_race
    from ..reporting.report import report as write_report

    job, invocation = _made(source, quiet)
    if job.goal is None:
        raise InputError("a race needs a target: add --reach 'accuracy>=0.9'")
    shown = False if quiet else None
    with saying_how_to_go_on():
        result = run_race(
            job, recipes, baseline=baseline, seeds=seeds, seed=seed, budget=budget, batch=size, epochs=epochs,
            evaluate_every=evaluate_every, processes=processes, home=home, resume=resume, progress=shown, invocation=invocation,
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


def _made(source: o.Source, quiet: bool) -> tuple[Any, Any]:
    """Return the task, and how the command line called: what came before the data are read is start."""
    import sklearn.datasets
    import sklearn.impute
    import sklearn.preprocessing  # noqa: F401  the start's share, not the data's

    from ..records import Invocation

    start_s = process_age_s()
    job = source.make()
    return job, Invocation(_command(), start_s, process_age_s() - start_s, lines=not quiet)


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
    print()
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
        held = run.facts["measured_on"]
        told = "" if result.proven else " (first, not proven fastest)"
        print(f"trained with {run.facts['label']}{told}, run {run.id}:")
        print(f"{metrics_line(run.metrics, held['part'], held['rows'])}")
        print(f"next: steepest evaluate {run.id}      report: {page}")


@app.command()
@o.takes_source
def fit(
    source: o.Source,
    recipe: Annotated[
        str | None, typer.Option(help='How to learn: a rule such as "adamw(0.003)", a Recipe, or the id of a race.')
    ] = None,
    find_lr: Annotated[bool, typer.Option("--find-lr", help="First draw loss against learning rate.")] = False,
    stop_at_target: Annotated[bool, typer.Option("--stop-at-target", help="Stop when the target is reached.")] = False,
    epochs: Annotated[float | None, typer.Option(help="Passes over the data.")] = None,
    batch: o.Batch = None,
    patience: Annotated[int | None, typer.Option(help="Stop after this many evaluations without progress.")] = None,
    seed: o.Seed = 0,
    home: o.Home = None,
    json: o.Json = False,
    quiet: o.Quiet = False,
) -> int:
    """Train one network and measure it on held-out rows."""
    o.above_zero("--epochs", epochs)
    o.at_least("--patience", patience, 1)
    o.at_least("--seed", seed, 0)
    size = o.batch_size(batch)
    chosen = _recipe(recipe, home)
    from ..recipes import default_recipe, named
    from ..training.finding import find_lr as search_lr
    from ..training.fitting import fit as train

    job, invocation = _made(source, quiet)
    chosen = chosen or default_recipe(job.data.kind, job.data.size("train"))
    chosen = named(chosen, epochs=epochs, batch=size, patience=patience)
    if find_lr:
        print(search_lr(job, chosen, seed=seed), end="\n\n", file=sys.stderr if json else sys.stdout)
    with saying_how_to_go_on():
        run = train(
            job, chosen, seed=seed, home=home, stop_at_target=stop_at_target, progress=False if quiet else None,
            invocation=invocation,
        )  # fmt: skip
    if json:
        print_json(run.to_dict())
    else:
        _print_fit(run)
    missed = run.facts["reached"] is False and source.reach is not None
    return NOT_REACHED if missed or run.status == "diverged" else OK


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
    facts = run.facts
    print(f"{facts['task']}   {facts['recipe']}")
    print(f"{facts['network']}   {cost_line(facts)}")
    speed = f"{run.samples_per_second:,.0f} rows/s in the training stage"
    print(f"{run.status} after {facts['steps']} steps, {speed}   {clock_line(run.stages)}")
    if run.status == "diverged":
        print("the loss is no longer a finite number: lower the learning rate (--find-lr draws where it breaks)")
    if facts["reach"]:
        when = f"reached at step {facts['steps_to_target']}" if facts["reached"] else "not reached"
        print(f"target {facts['reach']}: {when} (validation part)")
    held = facts["measured_on"]
    print(metrics_line(run.metrics, held["part"], held["rows"]))
    print(f"next: steepest evaluate {run.id}      steepest report {run.id}")


@app.command()
def evaluate(
    run: Annotated[str, typer.Argument(metavar="RUN", help="A run's id, or last.")],
    folds: Annotated[int | None, typer.Option(help="Cross-validate its recipe over this many folds instead.")] = None,
    part: Annotated[str, typer.Option(help="test, validation or train.")] = "test",
    seed: o.Seed = 0,
    home: o.Home = None,
    json: o.Json = False,
    quiet: o.Quiet = False,
) -> int:
    """Measure a run on held-out rows, or cross-validate its recipe."""
    from ..records import find

    book = find(run, home, kind="run")
    o.at_least("--folds", folds, 2)
    o.at_least("--seed", seed, 0)
    if part not in ("test", "validation", "train"):
        from ..errors import unknown

        raise unknown("part", part, ("test", "validation", "train"))
    from ..assessment import cross_validate
    from ..assessment import evaluate as measure
    from ..recipes import read
    from ..training.run import load_run

    loaded = load_run(book.id, home=home)
    if folds is None:
        found: Any = measure(loaded, part=part)
    else:
        if loaded.task is None:
            raise InputError(f"the data of run {run} are no longer where they were; cross-validate in Python instead")
        found = cross_validate(
            loaded.task, read(loaded.facts["recipe"]), folds=folds, seed=seed, progress=False if quiet else None
        )
    if json:
        print_json(found.to_dict() | {"id": book.id})
    else:
        print(found)
    return OK


@app.command()
def predict(
    run: Annotated[str, typer.Argument(metavar="RUN", help="A run's id, or last.")],
    rows: Annotated[Path | None, typer.Argument(help="A file of new rows, as the training data came.")] = None,
    out: Annotated[Path | None, typer.Option(help="Write a csv of predictions there [print them].")] = None,
    prompt: Annotated[str, typer.Option(help="Of a model of text: what to continue.")] = "",
    length: Annotated[int, typer.Option(help="Of a model of text: characters to give.")] = 500,
    temperature: Annotated[float, typer.Option(help="Of a model of text: 0 takes the surest, 1 as it is.")] = 0.8,
    seed: o.Seed = 0,
    home: o.Home = None,
    json: o.Json = False,
    quiet: o.Quiet = False,
) -> int:
    """Predict new rows with a run, or continue a text."""
    from ..records import find

    book = find(run, home, kind="run")
    o.at_least("--length", length, 1)
    o.at_least("--temperature", temperature, 0)
    o.at_least("--seed", seed, 0)
    if rows is not None:
        from ..sources import check_source

        check_source(str(rows))
    from ..training.run import load_run

    loaded = load_run(book.id, home=home)
    if rows is None:
        _continue_text(loaded, prompt, {"length": length, "temperature": temperature, "seed": seed}, json)
        return OK
    predictions = loaded.predict_file(rows)
    if out is not None:
        from ..records import replacing

        with replacing(out) as path:
            predictions.write_csv(path)
    if json:
        print_json({"id": book.id, "predictions": predictions.to_dicts()})
    elif out is None:
        print(predictions.write_csv(), end="")
    else:
        print(f"{predictions.height:,} predictions: {out}")
    return OK


def _continue_text(run: Any, prompt: str, how: dict[str, Any], as_json: bool) -> None:
    if as_json:
        print_json({"id": run.id, "prompt": prompt, "text": run.generate(prompt, **how)})
        return
    print(prompt, end="")
    for character in run.stream(prompt, **how):
        print(character, end="", flush=True)
    print()


@app.command()
def download(
    name: Annotated[str, typer.Argument(metavar="NAME", help=f"{', '.join(DOWNLOADS)}.")],
    to: Annotated[Path | None, typer.Option(help="The folder [where TASK finds it by name].")] = None,
    json: o.Json = False,
    quiet: o.Quiet = False,
) -> int:
    """Download a data set, checked; what broke off is gone on with."""
    from ..downloads import download as bring

    with saying_how_to_go_on():
        folder = bring(name, to=to, progress=False if quiet else None, lines=not quiet)
    if json:
        print_json({"name": name, "folder": str(folder)})
    else:
        print(f"{folder}\nnext: steepest fit {name if to is None else shlex.quote(str(folder))}")
    return OK


@app.command()
def runs(
    limit: Annotated[int, typer.Option(help="How many to list.")] = 20,
    home: o.Home = None,
    json: o.Json = False,
    quiet: o.Quiet = False,
) -> int:
    """List runs and races, newest first."""
    from datetime import datetime

    from ..records import home_folder, listing

    o.at_least("--limit", limit, 1)
    rows = listing(home)[:limit]
    if json:
        print_json({"records": rows})
        return OK
    if not rows:
        print(f"no runs in {home_folder(home)} yet; try: steepest fit digits")
        return OK
    table = [["id", "task", "recipe", "status", "started", "seconds", "result"]]
    for row in rows:
        started = datetime.fromtimestamp(row["started"]).strftime("%Y-%m-%d %H:%M") if row["started"] else "-"
        seconds = f"{row['seconds']:.1f}" if row["seconds"] is not None else "-"
        table.append(
            [str(row[k] or "-") for k in ("id", "task", "recipe", "status")] + [started, seconds, row["result"] or "-"]
        )
    widths = [max(len(line[i]) for line in table) for i in range(len(table[0]))]
    for line in table:
        print("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip())
    return OK


@app.command()
def report(
    record: Annotated[str, typer.Argument(metavar="ID", help="A run's or race's id, or last.")],
    out: Annotated[Path | None, typer.Option(help="Where to write the page.")] = None,
    home: o.Home = None,
    json: o.Json = False,
    quiet: o.Quiet = False,
) -> int:
    """Write one self-contained HTML page about a run or a race."""
    from ..records import find

    book = find(record, home)
    from ..reporting.report import report as write_report

    page = write_report(book.id, out=out, home=home)
    if json:
        print_json({"id": book.id, "report": str(page)})
    else:
        print(page)
    return OK
