"""`report`: one HTML page about a race or a run, made from its record alone."""

from __future__ import annotations

import math
from collections import defaultdict
from contextlib import nullcontext
from datetime import datetime
from pathlib import Path
from typing import Any

from ..durable import replacing
from ..errors import InputError
from ..forms import ROWS
from ..progress import short_time
from ..reach import Reach
from ..records import Record, find, home_folder, jsonable, reading
from ..values import si
from . import figures
from .figures import number
from .page import Raw, code, coloured, facts, figure, page, paragraph, section, table

Document = dict[str, Any]


def report(subject: Any, run: Any = None, *, out: str | Path | None = None, home: str | Path | None = None) -> Path:
    """Write one self-contained HTML page about a race or a run, and return where it lies.

    Args:
        subject: a Race, a Run, or the id of a recorded one (`"last"`: the newest).
        run: with a race: the Run trained with its winner, or its id.
        out: the file to write; None: `reports/ID.html` in the folder of the records.
        home: that folder; None: `STEEPEST_HOME`, else `./.steepest`.

    >>> import steepest, tempfile
    >>> run = steepest.fit("iris", record=False)
    >>> report(run, out=tempfile.mkdtemp() + "/iris.html").stat().st_size > 1_000_000
    True
    """
    if not isinstance(subject, str) and not hasattr(subject, "to_dict"):
        raise InputError(f"a report is about a Race, a Run or the id of one (got {subject!r})")
    with reading(find(subject, home)) if isinstance(subject, str) else nullcontext():
        document, trials = _read(subject, home)
        begun = _begun(subject, home)
        trained = _read(run, home)[0] if run is not None else _winner(subject, home)
        html = race_page(document, trials, trained, begun) if "leaderboard" in document else run_page(document, begun)
    path = Path(out) if out is not None else home_folder(home) / "reports" / f"{document['id'] or 'unrecorded'}.html"
    if path.is_dir():
        raise InputError(f"{path} is a folder; name the file to write")
    try:
        with replacing(path) as temporary:
            temporary.write_text(html, encoding="utf-8")
    except OSError as error:
        raise InputError(f"cannot write {path} ({error.strerror})") from None
    return path


def _read(subject: Any, home: str | Path | None) -> tuple[Document, list[Document]]:
    """Return the document of a race or run, and a race's trials, both as JSON has them."""
    if not isinstance(subject, str):
        trials = [outcome.to_dict() for outcome in getattr(subject, "outcomes", [])]
        return jsonable(subject.to_dict()), jsonable(trials)
    book = find(subject, home)
    end = book.last("end")
    if end is None or "versions" not in end:
        raise InputError(f"{book.id} was not finished; there is nothing to report yet")
    return end, [event["outcome"] for event in book.events() if event["event"] == "trial"]


def _begun(subject: Any, home: str | Path | None) -> str:
    """Return when a recorded race or run began, as a page says it, or nothing."""
    name = subject if isinstance(subject, str) else subject.to_dict()["id"]
    try:
        start = find(name, home).first("start") if name else None
    except InputError:  # kept elsewhere
        start = None
    return f", begun {_minute(datetime.fromtimestamp(start['at']))}" if start else ""


def _about(kind: str, document: Document, begun: str) -> str:
    """Return the line below a page's title."""
    name = document["id"] or "(not recorded)"
    return f"{kind} {name}{begun}, by steepest {document['versions']['steepest']}; page made {_minute(datetime.now())}"


def _minute(when: datetime) -> str:
    return when.strftime("%Y-%m-%d %H:%M")


def _winner(subject: Any, home: str | Path | None) -> Document | None:
    """Return the document of the run trained with a recorded race's winner, if there is one."""
    book: Record | None = find(subject, home) if isinstance(subject, str) else getattr(subject, "book", None)
    noted = book.last("winner") if book is not None else None
    try:
        return _read(noted["run"], home)[0] if noted else None
    except InputError:
        return None


# -- a race -----------------------------------------------------------------------------------------------------------


def race_page(race: Document, trials: list[Document], run: Document | None, begun: str = "") -> str:
    """Return the page of a race."""
    rows = race["leaderboard"]
    by_stage: dict[str, dict[str, list[Document]]] = defaultdict(lambda: {row["recipe"]: [] for row in rows})
    for trial in trials:
        by_stage[trial["trial"]["stage"]][trial["trial"]["contender"]].append(trial)
    first = [row["recipe"] for row in rows[:4]]
    goal = Reach.recorded(race["reach"])
    best = race["best"]["recipe"] if race["best"] else None
    judged = {row["recipe"]: [*by_stage["screening"][row["recipe"]], *by_stage["finals"][row["recipe"]]] for row in rows}
    title = f"Race on {race['task']} to {race['reach']}"
    return page(
        title,
        _about("race", race, begun),
        _race_facts(race, rows, best, run),
        section(
            "Leaderboard",
            _board(rows, race["baseline"]),
            *map(paragraph, race.get("found", [])),  # earlier races searched no spaces
            paragraph(_how_judged(rows), quiet=True),
        ),
        section("Time to the target", figure(figures.intervals(rows, [r["recipe"] for r in rows]), _INTERVALS, "intervals"))
        if best
        else "",
        section(
            "Curves",
            figure(figures.curves(judged, first, 2, f"validation {goal.metric}", goal.value, False), _CURVES, "metric"),
            figure(figures.curves(judged, first, 1, "training loss", None, True), "The same for the training loss.", "loss"),
        )
        if any(trial["curve"] for trials in judged.values() for trial in trials)
        else "",
        section(
            "Search",
            figure(figures.searches(by_stage["search"], race.get("spaces", {})), _SEARCH, "search")
            if by_stage["search"]
            else "",
        ),
        *_run_sections(run, f"Trained with the winner, {best}") if run else (),
        section("Where the time went", figure(figures.stages(race["stages"]), _STAGES, "stages")),
        _data_section((run or race)["data"]),
        _reproduce(race),
    )


_INTERVALS = "Median over seeds of the time to the target, with its interval. Filled: finalists, on fresh seeds."
_CURVES = (
    "Median over seeds; the band runs from the lowest to the highest seed. A seed that reached the target keeps its last "
    "value. Click a name in the legend to show or hide it."
)
_SEARCH = (
    "Steps at each learning rate tried, one seed each. A filled dot reached the target there. An open triangle was stopped "
    "without having reached it: at the last step, as soon as it could no longer beat a learning rate tried before, or, of a "
    "space, whose recipes are not joined by lines, when others were better after that time."
)
_STAGES = "Wall-clock seconds. Workers: starting processes. Pace: measuring the cost of a step, all recipes in turns."


def _race_facts(race: Document, rows: list[Document], best: str | None, run: Document | None) -> str:
    if best is None:
        return facts([("no winner", race["why_nobody"]), (short_time(race["total_seconds"]), "whole race")])
    told = "proven fastest to" if race["proven"] else "first, not proven fastest, to"
    items = [(best, f"{told} {race['reach']}")]
    if best:
        items.append(
            (
                f"{number(rows[0]['steps_to_target']):.0f} steps",
                f"{number(rows[0]['seconds_to_target']):.3g} s of training",
            )
        )
    items.append((short_time(race["total_seconds"]), f"whole race, {race['search_trials']} search trials"))
    if run:
        name, value = next(iter(run["metrics"].items()))
        items.append((f"{number(value):.4g}", f"{name} on {_held_out(run)}"))
    return facts(items)


def _board(rows: list[Document], baseline: str) -> str:
    body, sized = [], any(row.get("num_parameters") is not None for row in rows)
    for place, row in enumerate(rows, 1):
        versus = row["versus_baseline"]
        against = "-"
        if versus is not None:
            low, high = (number(end) for end in versus["interval"])
            against = f"{number(versus['ratio']):.2f}x [{low:.2f}, {high:.2f}]"
        kind = {"fastest": "good", "faster": "good", "slower": "bad"}.get(row["verdict"].split(" ")[0], "")
        verdict = coloured(row["verdict"], kind) if kind else row["verdict"]
        steps, low_s, high_s = number(row["steps_to_target"]), *(number(end) for end in row["interval_steps"])
        shown = f"{steps:.0f} [{low_s:.0f}, {_or_dash(high_s)}]" if math.isfinite(steps) else "-"
        seconds = number(row["seconds_to_target"])
        lr = Raw(f"<span title='{_attribute(row['rule'])}'>{_or_dash(number(row['lr']), 'g')}</span>")
        reached = f"{row['reached']}/{row['seeds']}"
        body.append(
            [
                place,
                row["recipe"],
                lr,
                reached,
                shown,
                f"{seconds:.3g}" if math.isfinite(seconds) else "-",
                against,
                verdict,
            ]
        )
        if sized:
            size, latency_s = row["num_parameters"], row["latency_s"]
            body[-1][2:2] = ["-", "-"] if size is None else [f"{size:,}", f"{1e3 * latency_s:.2g}"]
    dim = [i for i, row in enumerate(rows) if not row["finalist"]]
    head = ["", "recipe", "learning rate", "reached", "steps to target", "seconds", f"against {baseline}", "verdict"]
    if sized:
        head[2:2] = ["parameters", "ms a row"]
    return table(head, body, numbers=(0, 2, 3, 4, 5, 7) if sized else (0, 2, 3, 5), dim=dim)


def _or_dash(value: float, form: str = ".0f") -> str:
    return format(value, form) if math.isfinite(value) else "-"


def _attribute(text: str) -> str:
    from html import escape

    return escape(text, quote=True)


def _how_judged(rows: list[Document]) -> str:
    finals = [row["seeds"] for row in rows if row["finalist"]]
    if not finals:
        return "Nobody was judged: no recipe came as far as the fresh seeds."
    counts = f"{min(finals)} to {max(finals)}" if min(finals) < max(finals) else f"{finals[0]}"
    return (
        "Every recipe tuned its learning rate over as many values of its own published range, one seed each. The best of each "
        f"then ran the same seeds, which rank. The first three and the baseline ran {counts} fresh seeds, until all was "
        "settled or hopeless; on these alone they are judged: bets on the ratios of their times seed by seed (a miss counts as "
        "infinite), whose evidence may be looked at after each, in the order of the ranking, so that all claims against the "
        "baseline together are wrong in at most 5% of races. Intervals hold at every look."
    )


# -- a run ------------------------------------------------------------------------------------------------------------


def run_page(run: Document, begun: str = "") -> str:
    """Return the page of a run."""
    title = f"{run['task']} with {run['label']}"
    name, value = next(iter(run["metrics"].items()))
    items = [
        (f"{number(value):.4g}", f"{name} on {_held_out(run)}"),
        (f"{run['steps']} steps", run["status"]),
        (short_time(run["seconds"]), "from start to end"),
        (f"{run['samples_per_second']:,.0f} {_rows(run['data'])}/s", "in the training stage"),
    ]
    return page(
        title,
        _about("run", run, begun),
        facts(items),
        *_run_sections(run, "Result"),
        section("Where the time went", figure(figures.stages(run["stages"]), "Wall-clock seconds by stage.", "stages")),
        _data_section(run["data"]),
        _reproduce(run),
    )


def _run_sections(run: Document, title: str) -> tuple[str, ...]:
    names = list(run["metrics"])
    metric_table = table(names, [[f"{number(run['metrics'][name]):.4g}" for name in names]], numbers=range(len(names)))
    shown = next((name for name in names if name != "loss"), "loss")
    curve = (
        figure(figures.learning(run["curve"], shown), "Loss and metric at each evaluation.", "learning") if run["curve"] else ""
    )
    told = f"{_network(run)}Held out: {_held_out(run)}."
    parts = [section(title, paragraph(told), metric_table, curve)]
    if run["confusion"]:
        drawing = figures.confusion(run["confusion"], run["data"]["classes"])
        parts.append(section("Confusion", figure(drawing, "Rows of each true class, by predicted class.", "confusion")))
    return tuple(parts)


def _held_out(run: Document) -> str:
    """Return on what a run was measured: `270 rows of the test part`."""
    held = run["measured_on"]
    return f"{held['rows']:,} {held.get('unit', 'rows')} of the {held['part']} part"  # earlier records have no unit


def _rows(data: Document) -> str:
    """Return what the rows of a kind of data are called."""
    return ROWS.get(data["kind"], "rows")


def _network(run: Document) -> str:
    if not run.get("network"):  # recorded before networks were counted
        return ""
    flops = f", {si(run['flops_a_row'])}FLOP a row" if run["flops_a_row"] is not None else ""
    return f"{run['network']}: {run['num_parameters']:,} parameters{flops}. "


# -- what both have ---------------------------------------------------------------------------------------------------


def _data_section(data: Document) -> str:
    parts = [[name, f"{rows:,}"] for name, rows in data["parts"].items()]
    reads = [[read["part"], read["by"], f"{read['rows']:,}"] for read in data["reads"]]
    cleaning = data["cleaning"]
    found = [[f["what"], f["column"] or "(table)", f"{f['count']:,}", f["action"]] for f in cleaning["findings"]]
    done = (
        table(["found", "in", "how often", "what was done"], found, numbers=(2,)) if found else paragraph("Nothing to clean.")
    )
    return section(
        "Data",
        paragraph(f"{data['name']}: {data.get('size') or _plain_size(data)}, {_target(data)}"),
        table(["part", _rows(data)], parts, numbers=(1,)),
        paragraph("Readings of the parts, in order (the certificate part is read only to certify an artifact):"),
        table(["part", "read by", _rows(data)], reads, numbers=(2,)) if reads else "",
        section("Cleaning", done),
    )


def _plain_size(data: Document) -> str:
    return f"{data['rows']:,} {_rows(data)}"  # an earlier record


def _target(data: Document) -> str:
    """Return what is predicted, and into which classes or characters."""
    kind, classes = data["target"], data["classes"]
    if kind == "language":
        return "what comes next"
    if not classes:
        return kind
    if kind == "transcription":
        return f"transcripts of {len(classes) - 1} characters: {''.join(classes)}"
    return f"{kind} into {len(classes)} classes" + (f" ({', '.join(map(str, classes))})" if len(classes) <= 12 else "")


def _reproduce(document: Document) -> str:
    command = document.get("command")
    recipe = document["best"]["text"] if document.get("best") else document.get("recipe")
    lines = [command] if command else []
    if recipe:
        lines.append(f"{'# the winner: ' if 'best' in document else ''}{recipe}")
    versions = document["versions"]
    return section(
        "To reproduce",
        code("\n".join(lines)) if lines else "",
        table(["what", "which"], [[name, versions[name]] for name in versions] + [["seed", document.get("seed", "-")]]),
    )
