"""The table of what was measured, for a terminal and for docs/peers.md. Run: python -m benchmarks.peers.table"""

from __future__ import annotations

import json
import math
import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from benchmarks import common
from benchmarks.peers.measuring import OURS

HEAD = (
    "rival", "training, rows/s", "steepest is ... times as fast", "first step, s", "whole process, s",
    "steepest is ... times as fast", "MB", "test",
)  # fmt: skip
NOISE = 3.5  # standard errors of a difference between two means of seeds


def measured(rival: Mapping[str, Any], name: str) -> list[float]:
    return [run[name] for run in rival["runs"] if name in run]


def ratios(rival: Mapping[str, Any], ours: Mapping[str, Any], clock: str) -> list[float]:
    """Return how many times as fast steepest was, round by round; above 1: faster than the rival."""
    pairs = list(zip(measured(rival, clock), measured(ours, clock), strict=False))
    return [b / a if clock == "rows_per_second" else a / b for a, b in pairs]


def noise(work: Mapping[str, Any], name: str) -> float:
    """Return the deviation between seeds of one rival, pooled over all of them."""
    samples = [measured(rival, name) for rival in work["rivals"].values()]
    variances = [statistics.variance(sample) for sample in samples if len(sample) > 1]
    return math.sqrt(statistics.mean(variances)) if variances else math.nan


def differs(work: Mapping[str, Any], rival: Mapping[str, Any]) -> bool:
    """Return whether a rival's test result lies further from steepest's than seeds explain."""
    name = work["work"]["measured"]
    a, b = measured(rival, name), measured(work["rivals"][OURS], name)
    error = noise(work, name) * math.sqrt(1 / len(a) + 1 / len(b))
    return not math.isnan(error) and abs(statistics.mean(a) - statistics.mean(b)) > NOISE * error


def line(work: Mapping[str, Any], rival: Mapping[str, Any]) -> list[str]:
    """Return one rival's line of the table of a work."""
    if "failed" in rival:
        return [rival["title"], f"left out: {rival['failed']}", *[""] * (len(HEAD) - 2)]
    ours, name = work["rivals"][OURS], work["work"]["measured"]
    clocks = ("rows_per_second", "process_seconds")
    times = ["" if rival is ours else common.spread(ratios(rival, ours, clock)) for clock in clocks]
    first = measured(rival, "first_step_seconds")
    values = measured(rival, name)
    test = f"{name} {statistics.mean(values):.4f}" + (" DIFFERS" if rival is not ours and differs(work, rival) else "")
    if (size := measured(rival, "parameters")[:1]) != measured(ours, "parameters")[:1]:
        test += f", of {size[0]:,} parameters"
    speeds = measured(rival, "rows_per_second")
    rate = f"{statistics.median(speeds):,.0f} [{min(speeds):,.0f}, {max(speeds):,.0f}]"
    return [
        rival["title"], rate, times[0], f"{statistics.median(first):.2g}" if first else "",
        common.spread(measured(rival, "process_seconds")), times[1], f"{max(measured(rival, 'megabytes')):,.0f}", test,
    ]  # fmt: skip


def lines(work: Mapping[str, Any]) -> list[list[str]]:
    """Return the table of a work: steepest first, then who was fastest over the whole process; those that failed last."""

    def key(rival: Mapping[str, Any]) -> tuple[bool, bool, float]:
        seconds = measured(rival, "process_seconds")
        return rival is not work["rivals"][OURS], "failed" in rival, statistics.median(seconds) if seconds else math.inf

    return [line(work, rival) for rival in sorted(work["rivals"].values(), key=key)]


def about(work: Mapping[str, Any]) -> str:
    """Return one sentence: what is trained, how long, what the expert chose, how seeds scatter."""
    told, name = work["work"], work["work"]["measured"]
    size = f"{told['rows']:,} rows, batch {told['batch']}, {told['epochs']} epoch{'s' if told['epochs'] > 1 else ''}"
    chosen = ", ".join(f"{key} {value}" for key, value in work["rivals"].get("expert", {}).get("settings", {}).items())
    runs = max(len(rival["runs"]) for rival in work["rivals"].values())
    return f"{size}; n = {runs}; seeds scatter by {noise(work, name):.2g} ({name})" + (f"; expert: {chosen}" if chosen else "")


def markdown(results: Sequence[Mapping[str, Any]]) -> str:
    """Return the tables of all works as they stand in docs/peers.md."""
    pieces = []
    for work in results:
        head = f"**{work['work']['title']}** ({about(work)}).\n"
        rows = [HEAD, ("---",) * len(HEAD), *lines(work)]
        pieces.append(head + "\n" + "\n".join("| " + " | ".join(row) + " |" for row in rows))
    return "\n\n".join(pieces)


def stored() -> list[dict[str, Any]]:
    """Return what was measured of each work before."""
    path = common.RESULTS / "peers.json"
    return json.loads(path.read_text())["results"] if path.is_file() else []


if __name__ == "__main__":
    print(markdown(stored()) or "nothing measured yet: python -m benchmarks.peers --data DIR")
