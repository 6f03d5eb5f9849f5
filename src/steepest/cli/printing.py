"""What the command line prints: calm, aligned, colour only where it carries meaning."""

from __future__ import annotations

import json
import math
import sys
from typing import Any

from ..records import jsonable
from ..values import si

STAGE_ORDER = (
    "start",
    "data",
    "pilot",
    "workers",
    "search",
    "pace",
    "screening",
    "finals",
    "train",
    "evaluate",
    "report",
    "waiting",
)


def print_json(document: dict[str, Any]) -> None:
    """Print one JSON document on stdout."""
    print(json.dumps(jsonable(document), ensure_ascii=False, indent=2, allow_nan=False))


def print_leaderboard(board: Any) -> None:
    """Print the leaderboard; on a terminal a proven verdict is coloured."""
    lines = str(board).splitlines()
    if not sys.stdout.isatty():
        print("\n".join(lines))
        return
    from rich.console import Console
    from rich.text import Text

    console = Console(highlight=False, soft_wrap=True)
    console.print(Text(lines[0], style="bold"))
    for line, row in zip(lines[1:], board.rows, strict=True):
        style = {"fastest": "bold green", "faster": "green", "slower": "red"}.get(row.verdict.split(" ")[0], "")
        text = Text(line)
        if style:
            text.stylize(style, line.rindex(row.verdict))
        console.print(text)


def clock_line(stages: dict[str, float]) -> str:
    """Return the stages and their seconds in one line."""
    order = sorted(stages, key=lambda name: STAGE_ORDER.index(name) if name in STAGE_ORDER else len(STAGE_ORDER))
    return "clock: " + "  ".join(f"{name} {stages[name]:.1f}" for name in order)


def cost_line(facts: dict[str, Any]) -> str:
    """Return what a network costs: `9,098 parameters, 18 kFLOP a row`."""
    shown = f"{facts['num_parameters']:,} parameters"
    return shown if facts["flops_a_row"] is None else f"{shown}, {si(facts['flops_a_row'])}FLOP a row"


MOST_FINDINGS = 8  # the report page lists all


def data_lines(data: dict[str, Any]) -> list[str]:
    """Return what cleaning did and noticed, a line each; few enough to be read."""
    from ..data.findings import counted

    findings = data["cleaning"]["findings"]
    lines = [
        "  " + (f["action"] if f["what"] == "note" else f"{counted(f['count'], f['what'])}{_of(f['column'])}: {f['action']}")
        for f in findings[:MOST_FINDINGS]
    ]
    left = len(findings) - len(lines)
    return lines + ([f"  and {left} more findings, in the report"] if left else [])


def _of(column: str | None) -> str:
    return f" in {column}" if column else ""


def metrics_line(metrics: dict[str, float], held: dict[str, Any]) -> str:
    """Return held-out metrics in one line; `held` says on what they were measured."""
    from ..data.findings import counted

    of_language = "perplexity" in metrics  # whose loss is what people compare
    shown = [f"{name} {_short(value)}" for name, value in metrics.items() if name != "loss" or of_language]
    return f"{held['part']} part ({counted(held['rows'], held['unit'])}): " + "  ".join(shown)


FEW_ROWS = 30  # of which a share says little
IN_TIME = ("series", "language")  # kinds of data that no folds are made of


def beside_lines(facts: dict[str, Any]) -> list[str]:
    """Return what the held-out metrics are to be seen beside: a forecast that needs no network; how few rows there were."""
    held, lines = facts["measured_on"], []
    for name, found in (facts.get("beside") or {}).items():
        lines.append(f"  {name}: " + "  ".join(f"{metric} {_short(value)}" for metric, value in found.items()))
        errors = [metric for metric in ("mae", "mse", "rmse") if metric in found]
        if errors and all(facts["metrics"][metric] >= found[metric] for metric in errors):
            lines.append(f"  no better than the {name}: more data, fewer columns (--feature), or a network that learns less")
    if held["rows"] < FEW_ROWS:
        better = "" if facts["data"]["kind"] in IN_TIME else f": steepest evaluate {facts['id']} --folds 5"
        lines.append(f"  so few {held['unit']} say little{better}")
    return lines


def _short(value: float | None) -> str:
    if value is None or math.isnan(value):
        return "-"
    return f"{value:.3f}" if abs(value) < 100 else f"{value:,.0f}"
