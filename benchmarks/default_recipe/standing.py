"""How soon each recipe comes to a target that the others set, and the table of it, from curves of value against seconds.

A target counts as reached at the first of two evaluations in a row that meet it, or at the last. That of a case is what the
second best of the others comes to in this sense, in the median of its seeds: two of the four reach it in most seeds, no matter
what ours does.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

Curve = Sequence[tuple[float, float]]  # seconds since the process began, and what the rows for testing gave
OURS = "steepest"
SMALLER = ("rmse", "loss")


def better(metric: str, one: float, other: float) -> bool:
    """Return whether a value is at least as good as another."""
    return one <= other if metric in SMALLER else one >= other


def pairs(curve: Curve, metric: str) -> list[tuple[float, float]]:
    """Return the second of each evaluation and the worse of its value and the next one's; of the last, its own."""
    worse = max if metric in SMALLER else min
    following = [value for _, value in curve[1:]] + [curve[-1][1]]
    return [(second, worse(value, later)) for (second, value), later in zip(curve, following, strict=True)]


def comes_to(curve: Curve, metric: str) -> float:
    """Return the best that a curve holds for two evaluations."""
    best = min if metric in SMALLER else max
    return best(value for _, value in pairs(curve, metric))


def seconds_to(curve: Curve, metric: str, target: float) -> float:
    """Return when a target was reached; infinity where it was not."""
    return next((second for second, value in pairs(curve, metric) if better(metric, value, target)), math.inf)


def target_of(case: Mapping[str, Any]) -> float:
    """Return what the second best of the others comes to, in the median of its seeds."""
    metric = case["metric"]
    found = [
        statistics.median(comes_to(run["curve"], metric) for run in rival["runs"])
        for name, rival in case["rivals"].items()
        if name != OURS and rival["runs"]
    ]
    return sorted(found, reverse=metric not in SMALLER)[min(1, len(found) - 1)]


def seconds(case: Mapping[str, Any], rival: str) -> list[float]:
    """Return when each seed of a rival reached the target."""
    target = target_of(case)
    return [seconds_to(run["curve"], case["metric"], target) for run in case["rivals"][rival]["runs"]]


def ratio(theirs: float, ours: float) -> float:
    """Return how many times as long theirs took; NaN where neither reached."""
    return math.nan if math.isinf(theirs) and math.isinf(ours) else theirs / ours if not math.isinf(ours) else 0.0


def ratios(case: Mapping[str, Any]) -> dict[str, float]:
    """Return how many times as long each rival took, by the medians of seconds; `"soonest"`: the soonest of them."""
    medians = {name: statistics.median(seconds(case, name)) for name, rival in case["rivals"].items() if rival["runs"]}
    ours = medians.pop(OURS)
    return {name: ratio(theirs, ours) for name, theirs in (medians | {"soonest": min(medians.values())}).items()}


def middle(values: Iterable[float]) -> float:
    """Return the median of the ratios that there are."""
    there = [value for value in values if not math.isnan(value)]
    return statistics.median(there) if there else math.nan


def lines(cases: Sequence[Mapping[str, Any]]) -> tuple[list[str], list[list[str]]]:
    """Return head and lines of the table: a case a line, and the medians over cases."""
    rivals = [(name, rival["title"]) for name, rival in cases[0]["rivals"].items()]
    head = ["data, network", "target", *(title for _, title in rivals), "sooner than the soonest"]
    found = []
    for case in cases:
        times = ratios(case)
        cells = [_told(seconds(case, name), times.get(name)) for name, _ in rivals]
        found.append([case["title"], f"{case['metric']} {target_of(case):.4g}", *cells, _times(times["soonest"])])
    medians = [_times(middle(ratios(case).get(name, math.nan) for case in cases)) for name, _ in rivals[1:]]
    found.append(["median", "", "", *medians, _times(middle(ratios(case)["soonest"] for case in cases))])
    return head, found


def _told(seeds: Sequence[float], times: float | None) -> str:
    """Return the median of seconds, how many seeds never reached, and how many times ours that is."""
    if not seeds:
        return "failed"
    middle_, missed = statistics.median(seeds), sum(map(math.isinf, seeds))
    text = "never" if math.isinf(middle_) else f"{middle_:.3g} s"
    text += f", {missed} of {len(seeds)} never" if missed and not math.isinf(middle_) else ""
    return text if times is None else f"{text} ({_times(times)})"


def _times(value: float) -> str:
    return "-" if math.isnan(value) else "more" if math.isinf(value) else f"{value:.2g}x"


def markdown(cases: Sequence[Mapping[str, Any]]) -> str:
    """Return the table as a page has it."""
    head, body = lines(cases)
    told = [head, ["---"] * len(head), *body]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in told)
