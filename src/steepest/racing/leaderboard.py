"""The leaderboard: who reached the target when, with intervals and verdicts."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from html import escape
from typing import Any

from .finals import complete
from .pace import Pace
from .plan import FINALS, SCREENING, SEARCH, Plan, best_of_search, best_recipe, finalists, ranking, times
from .ranges import learning_rate
from .sizes import Size
from .statistics import Comparison, median_interval
from .trials import Outcome
from .verdicts import MISSED, Verdicts, judge, troubles, versus_other

SIZES = ["parameters", "ms a row"]


@dataclass(frozen=True)
class Row:
    """One contender's line. Times are medians over seeds; `interval_*` are their intervals; infinite means a miss.

    `lr` is the learning rate that the search chose, NaN where none reached the target.
    """

    recipe: str
    rule: str
    lr: float
    reached: int
    seeds: int
    steps_to_target: float
    interval_steps: tuple[float, float]
    step_seconds: float
    judged: bool
    versus_baseline: Comparison | None
    p_value: float | None
    verdict: str
    size: Size | None = None  # of its network, where networks race

    @property
    def seconds_to_target(self) -> float:
        seconds = self.steps_to_target * self.step_seconds
        return math.inf if math.isnan(seconds) else seconds

    @property
    def interval_s(self) -> tuple[float, float]:
        return self.interval_steps[0] * self.step_seconds, self.interval_steps[1] * self.step_seconds

    def to_dict(self) -> dict[str, Any]:
        versus = self.versus_baseline
        return {
            "recipe": self.recipe,
            "rule": self.rule,
            "lr": self.lr,
            "reached": self.reached,
            "seeds": self.seeds,
            "steps_to_target": self.steps_to_target,
            "interval_steps": list(self.interval_steps),
            "seconds_to_target": self.seconds_to_target,
            "interval_s": list(self.interval_s),
            "step_seconds": self.step_seconds,
            "finalist": self.judged,
            "versus_baseline": None
            if versus is None
            else {"ratio": versus.ratio, "interval": list(versus.interval), "more_seeds": versus.more_seeds},
            "verdict": self.verdict,
            "p_value": self.p_value,
            "num_parameters": None if self.size is None else self.size.num_parameters,
            "latency_s": None if self.size is None else self.size.latency_s,
        }


@dataclass(frozen=True)
class Leaderboard:
    """All rows, finalists first, each group from the fastest to the slowest. `str` is a table."""

    rows: tuple[Row, ...]
    baseline: str
    winner: str | None

    def to_list(self) -> list[dict[str, Any]]:
        return [row.to_dict() for row in self.rows]

    def cells(self) -> list[list[str]]:
        """Return the table's text, header first."""
        sized = any(row.size is not None for row in self.rows)
        table = [["", "recipe", "lr", "reached", "steps to target", "seconds", f"against {self.baseline}", "verdict"]]
        if sized:
            table[0][2:2] = SIZES
        for place, row in enumerate(self.rows, 1):
            low, high = row.interval_steps
            steps = f"{row.steps_to_target:.0f} [{_number(low)}, {_number(high)}]" if row.reached else "-"
            if row.reached and math.isinf(row.steps_to_target):
                steps = f"- [{_number(low)}, -]"
            table.append(
                [
                    str(place),
                    row.recipe,
                    "-" if math.isnan(row.lr) else f"{row.lr:g}",
                    f"{row.reached}/{row.seeds}",
                    steps,
                    f"{row.seconds_to_target:.3g}" if math.isfinite(row.seconds_to_target) else "-",
                    _against(row, self.baseline),
                    row.verdict,
                ]
            )
            if sized:
                table[-1][2:2] = ["-", "-"] if row.size is None else row.size.cells
        return table

    def __str__(self) -> str:
        table = self.cells()
        widths = [max(len(line[i]) for line in table) for i in range(len(table[0]))]
        right = {i for i, head in enumerate(table[0]) if head in ("", "lr", "reached", "seconds", *SIZES)}
        lines = []
        for line in table:
            cells = [cell.rjust(widths[i]) if i in right else cell.ljust(widths[i]) for i, cell in enumerate(line)]
            lines.append("  ".join(cells).rstrip())
        return "\n".join(lines)

    def __repr__(self) -> str:
        return f"Leaderboard({len(self.rows)} recipes, winner {self.winner})"

    def _repr_html_(self) -> str:
        head, *body = self.cells()
        rows = "".join("<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in line) + "</tr>" for line in body)
        return "<table><tr>" + "".join(f"<th>{escape(cell)}</th>" for cell in head) + f"</tr>{rows}</table>"


def _number(value: float) -> str:
    return "-" if math.isinf(value) else f"{value:.0f}"


def _against(row: Row, baseline: str) -> str:
    versus = row.versus_baseline
    if row.recipe == baseline:
        return "the baseline"
    if versus is None:
        return "-"
    if versus.ratio == 0:
        return "slower"
    if math.isinf(versus.ratio):
        return "faster"
    low, high = versus.interval
    return f"{_ratio(versus.ratio)}x [{_ratio(low)}, {_ratio(high)}]"


def _ratio(value: float) -> str:
    return "inf" if math.isinf(value) else f"{value:.1f}" if value >= 0.95 else f"{value:.2f}"


def leaderboard(plan: Plan, outcomes: Sequence[Outcome], pace: Pace, sizes: Mapping[str, Size] | None = None) -> Leaderboard:
    """Judge the outcomes of a race, whole or stopped half-way; `pace` is what a step of each contender was measured to cost,
    `sizes` are those of their networks.
    """
    outcomes = complete(plan, outcomes, pace)
    screened = ranking(plan, outcomes, pace)
    judged = [name for name in finalists(plan, outcomes, pace) if times(outcomes, name, FINALS)]
    verdicts = judge(plan, outcomes, pace, judged)
    rows = [replace(_row(plan, outcomes, pace, name, verdicts), size=(sizes or {}).get(name)) for name in plan.names]

    def key(row: Row) -> tuple[int, float, float, int]:
        place = screened.index(row.recipe) if row.recipe in screened else len(screened)
        final = verdicts.order.index(row.recipe) if row.recipe in verdicts.order else len(verdicts.order)
        return final, row.seconds_to_target, -row.reached / max(row.seeds, 1), place

    return Leaderboard(tuple(sorted(rows, key=key)), plan.baseline, verdicts.winner)


def _row(plan: Plan, outcomes: Sequence[Outcome], pace: Pace, name: str, verdicts: Verdicts) -> Row:
    judged = name in verdicts.order
    stage = FINALS if judged else SCREENING if times(outcomes, name, SCREENING) else SEARCH
    chosen, is_space = best_recipe(plan, outcomes, name), plan.contender(name).pool is not None
    searched = best_of_search(outcomes, name, chosen if is_space else None)  # steps of other batches do not compare
    steps = times(outcomes, name, stage) if stage != SEARCH else searched
    middle, low, high = median_interval(steps) if steps else (math.inf, math.inf, math.inf)
    recipe = plan.contender(name).recipes[chosen or 0]
    versus = None
    if name != plan.baseline and stage != SEARCH:
        versus = versus_other(outcomes, pace, name, plan.baseline, stage)
    return Row(
        recipe=name,
        rule=repr(recipe.rule),
        lr=math.nan if chosen is None else learning_rate(recipe.rule),
        reached=sum(value < math.inf for value in steps),
        seeds=len(steps),
        steps_to_target=middle,
        interval_steps=(low, high),
        step_seconds=pace.seconds(name),
        judged=judged,
        versus_baseline=versus,
        p_value=verdicts.p_values.get(name),
        verdict=(verdicts.texts.get(name) or _unjudged(steps, stage, name == plan.baseline, is_space))
        + troubles(outcomes, name, stage),
    )


def _unjudged(steps: list[float], stage: str, is_baseline: bool, is_space: bool) -> str:
    if not steps:
        return "not run"
    misses = sum(math.isinf(value) for value in steps)
    if stage == SEARCH:
        what = "with every recipe that was tried" if is_space else "at every learning rate"
        return f"{MISSED} {what}" if misses else "only searched"
    if misses:
        return f"{MISSED} in {misses} of {len(steps)}"
    return "baseline" if is_baseline else "not among the finalists"
