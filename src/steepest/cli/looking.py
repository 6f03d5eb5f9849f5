"""The verbs for what is finished, and for what is not begun: `evaluate`, `predict`, `methods`, `runs`, `report`, ..."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Annotated, Any

import typer

from ..errors import InputError
from ..sources import BUILTINS, DOWNLOADS
from . import OK, saying_how_to_go_on
from . import options as o
from .printing import print_json

DIGITS = 7  # of what is computed in float32


def evaluate(
    run: Annotated[str, typer.Argument(metavar="RUN", help="A run's id, or last.")],
    folds: Annotated[int | None, typer.Option(help="Cross-validate its recipe over this many folds instead.")] = None,
    part: Annotated[str, typer.Option(help="test, validation or train.")] = "test",
    on: Annotated[Path | None, typer.Option(help="A new file of rows with labels, instead of a part.")] = None,
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
    if on is not None:
        _check_on(on, folds, part)
    from ..assessment import cross_validate
    from ..assessment import evaluate as measure
    from ..recipes import read
    from ..training.run import load_run

    loaded = load_run(book.id, home=home)
    if folds is None:
        found: Any = measure(loaded, None if on is None else _task_on(loaded, on), part=part)
    else:
        if loaded.task is None:
            raise InputError(f"the data of run {run} are no longer where they were; cross-validate in Python instead")
        shown: dict[str, Any] = {"progress": False if quiet else None, "lines": not quiet}
        found = cross_validate(loaded.task, read(loaded.facts["recipe"]), folds=folds, seed=seed, **shown)
    if json:
        print_json(found.to_dict() | {"id": book.id})
    else:
        print(found)
    return OK


def _check_on(path: Path, folds: int | None, part: str) -> None:
    """Raise unless there is a file to measure on, and nothing else is asked for."""
    from ..sources import check_path

    if folds is not None or part != "test":
        raise InputError("--on is another file to measure on, beside which --folds and --part mean nothing; leave them out")
    check_path(path, "no such file or folder")


def _task_on(run: Any, path: Path) -> Any:
    """Return the task of a run with a file of rows, read as the training file was, as its test part."""
    from ..data import load

    job = run.task
    origin = None if job is None else job.data.origin
    if job is None or origin is None or origin["source"] in BUILTINS:
        raise InputError(f"run {run.id} learned from no file that is still there; in Python: evaluate(run, task)")
    options = {name: value for name, value in origin["options"].items() if name != "test_where"}
    return job.with_data(load(origin["source"], **options | {"test": str(path)}))


def predict(
    run: Annotated[str, typer.Argument(metavar="RUN", help="A run's id, or last.")],
    rows: Annotated[Path | None, typer.Argument(help="A file or folder of new rows, as the training data came.")] = None,
    out: Annotated[Path | None, typer.Option(help="Write a csv of predictions there [print them].")] = None,
    prompt: Annotated[str | None, typer.Option(help="Of a model of text: what to continue.")] = None,
    length: Annotated[int | None, typer.Option(help="Of a model of text: characters to give [500].")] = None,
    temperature: Annotated[float | None, typer.Option(help="Of a model of text: 0 takes the surest, 1 as it is [0.8].")] = None,
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
    asked: dict[str, Any] = {"prompt": prompt, "length": length, "temperature": temperature}
    how = {name: value for name, value in asked.items() if value is not None}
    _check_rows(rows, out, list(how))
    from polars import selectors

    from ..training.run import load_run

    loaded = load_run(book.id, home=home)
    _check_kind(loaded, rows)
    if rows is None:
        _continue_text(loaded, how.pop("prompt", ""), how | {"seed": seed}, json)
        return OK
    predictions = loaded.predict_file(rows).with_columns(selectors.float().round_sig_figs(DIGITS))
    if out is not None:
        from ..durable import replacing

        with replacing(out) as path:
            predictions.write_csv(path)
    if json:
        print_json({"id": book.id, "predictions": predictions.to_dicts()})
    elif out is None:
        print(predictions.write_csv(), end="")
    else:
        print(f"{predictions.height:,} predictions: {out}")
    return OK


def _check_rows(rows: Path | None, out: Path | None, how: list[str]) -> None:
    """Raise unless there are rows to predict, or none and a text is continued, each with its own options."""
    from ..sources import check_path

    if out is not None and out.is_dir():
        raise InputError(f"--out {out} is a folder; expected a file, such as {out / 'predictions.csv'}")
    if rows is None:
        if out is not None:
            raise InputError("--out is for predictions of the rows of a file, and none is named; a text is kept by > FILE")
    elif how:
        given = ", ".join(f"--{name}" for name in how)
        raise InputError(f"{given}: for a text that is continued, not for the rows of {rows}; leave one of both out")
    else:
        check_path(rows, "no such file or folder")


def _check_kind(run: Any, rows: Path | None) -> None:
    """Raise unless a run that reads rows is given some, and one that continues a text is given none."""
    continues = run.interface.preprocessing.form.kind == "language"
    if continues and rows is not None:
        raise InputError(
            f"run {run.id} continues a text, and {rows} is a file of rows; give what it is to continue: "
            f'steepest predict {run.id} --prompt "..."'
        )
    if not continues and rows is None:
        raise InputError(
            f"run {run.id} predicts rows, not what comes next in a text; name a file of them: steepest predict {run.id} FILE"
        )


def _continue_text(run: Any, prompt: str, how: dict[str, Any], as_json: bool) -> None:
    if as_json:
        print_json({"id": run.id, "prompt": prompt, "text": run.generate(prompt, **how)})
        return
    characters = run.stream(prompt, **how)  # a prompt that is refused is not printed
    print(prompt, end="")
    for character in characters:
        print(character, end="", flush=True)
    print()


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


def methods(
    name: Annotated[str | None, typer.Argument(metavar="[NAME]", help="One of them [all].")] = None,
    json: o.Json = False,
) -> int:
    """List methods that are said to speed training up, with what each bought on real tasks."""
    from ..racing.methods import methods as known

    found = known(name)
    print_json(found.to_dict()) if json else print(found)
    return OK


def runs(
    limit: Annotated[int, typer.Option(help="How many to list.")] = 20,
    rebuild: Annotated[bool, typer.Option("--rebuild", help="Make the index anew from the records.")] = False,
    home: o.Home = None,
    json: o.Json = False,
    quiet: o.Quiet = False,
) -> int:
    """List runs and races, newest first."""
    from datetime import datetime

    from .. import index
    from ..records import home_folder

    o.at_least("--limit", limit, 1)
    if rebuild:
        index.rebuild(home)
    rows = index.listing(home)[:limit]
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


def doctor(
    subject: Annotated[
        str | None,
        typer.Argument(metavar="[TASK]", help="A task, or file.py:function, which returns a task or a step function."),
    ] = None,
    label: Annotated[str | None, typer.Option(help="Column to predict: name or position (-1: last).")] = None,
    model: Annotated[str | None, typer.Option(help='The network, such as "mlp((64, 64))".')] = None,
    recipe: Annotated[str | None, typer.Option(help='How to learn, such as "adamw(0.003)".')] = None,
    seed: o.Seed = 0,
    json: o.Json = False,
) -> int:
    """Say what this machine can do, where the time of a training step goes, and what would save some of it."""
    o.at_least("--seed", seed, 0)
    if subject is None and (given := [n for n, v in (("label", label), ("model", model), ("recipe", recipe)) if v is not None]):
        raise InputError(f"--{given[0]} is of a task, and none is named: steepest doctor TASK --{given[0]} ...")
    from ..recipes import as_recipe
    from ..sources import check_source

    chosen = as_recipe(recipe)
    if subject is not None:
        check_source(subject)
    made: Any = subject
    if subject is not None and (".py:" not in subject or label or model):
        from ..tasks import task

        made = task(subject, label=label, model=model)
    from ..diagnosis import doctor as look

    found = look(made, chosen, seed=seed)
    if json:
        print_json(found.to_dict())
    else:
        print(found)
    return OK
