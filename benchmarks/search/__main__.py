"""How cheaply is a good recipe found? Searches of one grid on one task, replayed over stored curves
(`benchmarks.search.curves`).

The score is the seconds of training that a search has spent when it first holds a recipe whose typical time to the target is
within 10% of the best of the grid, and those of confirming it with three more seeds, which are the same for all. Thirty
repetitions of each, from other seeds; a search that never holds one counts as infinite.

Run: python -m benchmarks.search.curves --data DIR (once, about an hour), then python -m benchmarks.search [--only
"fmnist;adult"]
"""

from __future__ import annotations

import json
import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import common
from benchmarks.peers.picture import TEXT, words
from benchmarks.search.curves import CASES, Case, Table, stored
from benchmarks.search.replay import PLAYERS, Meter
from steepest.racing.searching import spearman

REPETITIONS = 30
PATH = Path(__file__).parents[2] / "docs" / "search.svg"
COLOURS = ("#1a7f37", "#0969da", "#54aeff", "#b42318", "#f2a6a0", "#9a6700")
MOST_REGRET, GRID = 3.0, 60  # of the picture: regrets beyond are drawn at its edge; points of a line


def quartiles(values: Sequence[float]) -> str:
    """Return median and quartiles of a sample, part of which may be infinite."""
    low, middle, high = (sorted(values)[math.ceil(share * len(values)) - 1] for share in (0.25, 0.5, 0.75))
    return f"{middle:.3g} [{low:.3g}, {high:.3g}]"


def measured(table: Table, repetitions: int) -> dict[str, list[Meter]]:
    """Replay every search, so many times."""
    return {name: [player(table, i) for i in range(repetitions)] for name, player in PLAYERS.items()}


def told(found: Mapping[str, list[Meter]]) -> list[dict[str, Any]]:
    """Return what the results keep of a case, search by search."""
    ours = [meter.found_s() for meter in found["steepest"]]
    rows = []
    for name, meters in found.items():
        seconds = [meter.found_s() for meter in meters]
        ratios = [_ratio(mine, theirs) for mine, theirs in zip(ours, seconds, strict=True)]
        rows.append({
            "search": name, "found_s": seconds, "spent_s": [meter.spent_s for meter in meters], "ratios": ratios,
            "never": sum(math.isinf(value) for value in seconds),
            "regret_at_end": [meter.regrets()[-1][1] if meter.held else math.inf for meter in meters],
        })  # fmt: skip
    return rows


def _ratio(ours: float, theirs: float) -> float:
    """Return how many times as much a search spent; 0 where only we found nothing, 1 where neither did."""
    if math.isinf(ours):
        return 1.0 if math.isinf(theirs) else 0.0
    return theirs / ours


def shown(case: Case, rows: Sequence[Mapping[str, Any]]) -> list[tuple[str, ...]]:
    """Return a case's lines of the table."""
    title, ours = f"{case.title}, {case.reach}", statistics.median(rows[0]["found_s"])
    return [
        (title, row["search"], quartiles(row["found_s"]), f"{statistics.median(row['found_s']) / ours:.2f}",
         quartiles(row["ratios"]), str(row["never"]), quartiles(row["spent_s"]), quartiles(row["regret_at_end"]))
        for row in rows
    ]  # fmt: skip


def line(meters: Sequence[Meter], at: np.ndarray) -> list[float]:
    """Return the median regret of some searches after each amount spent."""
    values = []
    for spent in at:
        held = [next((r for s, r in reversed(meter.regrets()) if s <= spent), math.inf) for meter in meters]
        values.append(sorted(held)[len(held) // 2])
    return values


def _seconds(value: float) -> str:
    return f"{value:.0f} s" if value >= 100 else f"{value:.2g} s"


def svg(panels: Sequence[tuple[str, Mapping[str, list[Meter]]]]) -> str:
    """Return the picture: a panel a case, median regret against seconds of training, logarithmic across."""
    size, gap, top = 300, 60, 60 + 18 * len(PLAYERS)
    width, height = len(panels) * (size + gap) + 20, top + size + 50
    pieces = [
        words(12, 20, "how much longer the recipe that is held takes than the best, after seconds of training", bold=True)
    ]
    for k, (name, colour) in enumerate(zip(PLAYERS, COLOURS, strict=True)):
        y = 40 + 18 * k
        pieces += [f'<path d="M12 {y - 4}h24" stroke="{colour}" stroke-width="2"/>', words(44, y, name, small=True)]
    for i, (title, found) in enumerate(panels):
        left, everyone = 50 + i * (size + gap), [meter for meters in found.values() for meter in meters]
        low, high = min(m.held[0][0] for m in everyone if m.held), max(m.spent_s for m in everyone)
        at = np.geomspace(low, high, GRID)
        pieces += [
            words(left, top - 10, title, bold=True),
            f'<path d="M{left} {top}V{top + size}H{left + size}" fill="none" stroke="{TEXT}"/>',
        ]
        pieces += [words(left - 34, top + size * (1 - r / MOST_REGRET) + 4, f"{r:.0%}", small=True) for r in (0, 1, 2, 3)]
        pieces += [
            words(left + size * j / 3 - 10, top + size + 16, _seconds(at[(GRID - 1) * j // 3]), small=True) for j in range(4)
        ]
        for colour, meters in zip(COLOURS, found.values(), strict=True):
            points = [
                f"{left + size * j / (GRID - 1):.1f} {top + size * (1 - min(value, MOST_REGRET) / MOST_REGRET):.1f}"
                for j, value in enumerate(line(meters, at))
            ]
            pieces += [f'<path d="M{"L".join(points)}" fill="none" stroke="{colour}" stroke-width="2"/>']
    head = f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" viewBox="0 0 {width} {height}"'
    style = f' font-family="sans-serif" font-size="12" fill="{TEXT}">'
    return "\n".join([head + style, f'<rect width="{width}" height="{height}" fill="white"/>', *pieces, "</svg>\n"])


def main() -> None:
    options = common.arguments(__doc__ or "", only=True)
    results, rows, panels = _kept() if options.only else {}, [], []
    for case in CASES:
        if options.only and case.name not in options.only.split(";"):
            continue
        table = stored(case)
        if table is None:
            print(f"skipped: {case.title} (its curves are measured by python -m benchmarks.search.curves)")
            continue
        for reach in (case.reach, *case.others):
            aimed = replace(table, case=replace(case, reach=reach))
            found = measured(aimed, 3 if options.quick else REPETITIONS)
            kept = told(found)
            results[f"{case.name} {reach}"] = {
                "case": f"{case.name} {reach}", "recipes": len(table.cost), "reached": int(np.isfinite(aimed.truth).sum()),
                "best_s": aimed.truth.min(), "early_ranks": early_ranks(aimed), "searches": kept,
            }  # fmt: skip
            rows += shown(aimed.case, kept)
            if reach == case.reach:
                panels.append((case.title, found))
    head = (
        "case",
        "search",
        "seconds to find and confirm",
        "medians, to ours",
        "ratio, in pairs",
        "never",
        "spent in all",
        "regret at the end",
    )
    common.show(head, rows)
    if panels and not options.quick and not options.only:
        PATH.write_text(svg(panels))  # docs/racing.md shows it
    common.write("search", options, n=REPETITIONS, results=[*results.values()])


def _kept() -> dict[str, Any]:
    """Return what was measured of each case before."""
    path = common.RESULTS / "search.json"
    found = json.loads(path.read_text())["results"] if path.is_file() else []
    return {result["case"]: result for result in found}


def early_ranks(table: Table) -> dict[str, float]:
    """Return how well values after a share of the best time tell who reaches the target when, over all recipes of the grid that
    do not diverge: Spearman's coefficient, on the first seed.
    """
    sign = 1.0 if table.goal.larger_is_better else -1.0
    spent = table.every[:, None] * table.cost[:, None] * (1 + np.arange(table.values.shape[2]))
    whole = np.isfinite(table.values[:, 0]).sum(axis=1) > 1
    found = {}
    for share in (1 / 9, 1 / 3, 1.0):
        at = share * table.truth.min()
        early = [sign * float(np.interp(at, spent[i], np.nan_to_num(table.values[i, 0]))) for i in np.flatnonzero(whole)]
        late = [-float(table.seconds[i, 0]) for i in np.flatnonzero(whole)]
        found[f"{share:.2f}"] = spearman(early, late)
    return found


if __name__ == "__main__":
    main()
