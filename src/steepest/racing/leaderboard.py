"""The leaderboard: who reached the target when, with intervals and verdicts."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

from .contenders import learning_rate
from .plan import FINALS, SCREENING, SEARCH, Plan, best_of_search, best_recipe, finalists, ranking, times, times_by_seed
from .statistics import LEVEL, Comparison, compare, in_sequence, median_interval
from .trials import Outcome

COST_TOLERANCE = 0.1
FASTEST, FASTER, SLOWER, MISSED = "fastest", "faster", "slower", "missed the target"


@dataclass(frozen=True)
class Row:
    """One contender's line. Times are medians over seeds; `interval_*` are their intervals; infinite means a miss."""

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
            else {"ratio": versus.ratio, "interval": [versus.low, versus.high], "more_seeds": versus.more_seeds},
            "verdict": self.verdict,
            "p_value": self.p_value,
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
        table = [["", "recipe", "lr", "reached", "steps to target", "seconds", f"against {self.baseline}", "verdict"]]
        for place, row in enumerate(self.rows, 1):
            low, high = row.interval_steps
            steps = f"{row.steps_to_target:.0f} [{_number(low)}, {_number(high)}]" if row.reached else "-"
            if row.reached and math.isinf(row.steps_to_target):
                steps = f"- [{_number(low)}, -]"
            table.append(
                [
                    str(place),
                    row.recipe,
                    f"{row.lr:g}",
                    f"{row.reached}/{row.seeds}",
                    steps,
                    f"{row.seconds_to_target:.3g}" if math.isfinite(row.seconds_to_target) else "-",
                    _against(row, self.baseline),
                    row.verdict,
                ]
            )
        return table

    def __str__(self) -> str:
        table = self.cells()
        widths = [max(len(line[i]) for line in table) for i in range(len(table[0]))]
        right = {0, 2, 3, 5}
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
    return f"{_ratio(versus.ratio)}x [{_ratio(versus.low)}, {_ratio(versus.high)}]"


def _ratio(value: float) -> str:
    return "inf" if math.isinf(value) else f"{value:.1f}" if value >= 0.95 else f"{value:.2f}"


def leaderboard(plan: Plan, outcomes: Sequence[Outcome], pace: dict[str, float]) -> Leaderboard:
    """Judge the outcomes of a race, whole or stopped half-way; `pace` is what a step of each contender was measured to cost."""
    screened = ranking(plan, outcomes, pace)
    judged = [name for name in finalists(plan, outcomes, pace) if times(outcomes, name, FINALS)]
    pace = settled(pace, plan.baseline)
    verdicts, p_values, winner = judge(plan, outcomes, pace, judged)
    rows = [_row(plan, outcomes, pace, name, name in judged, verdicts, p_values) for name in plan.names]

    def key(row: Row) -> tuple[bool, float, float, int]:
        place = screened.index(row.recipe) if row.recipe in screened else len(screened)
        return (row.recipe not in judged, row.seconds_to_target, -row.reached / max(row.seeds, 1), place)

    return Leaderboard(tuple(sorted(rows, key=key)), plan.baseline, winner)


def _row(
    plan: Plan,
    outcomes: Sequence[Outcome],
    pace: dict[str, float],
    name: str,
    judged: bool,
    verdicts: dict[str, str],
    p_values: dict[str, float],
) -> Row:
    stage = FINALS if judged else SCREENING if times(outcomes, name, SCREENING) else SEARCH
    steps = times(outcomes, name, stage) if stage != SEARCH else best_of_search(outcomes, name)
    middle, low, high = median_interval(steps) if steps else (math.inf, math.inf, math.inf)
    recipe = plan.contender(name).recipes[best_recipe(plan, outcomes, name) or 0]
    versus = None
    if name != plan.baseline and stage != SEARCH:
        versus = versus_other(outcomes, pace, name, plan.baseline, stage)
    return Row(
        recipe=name,
        rule=repr(recipe.rule),
        lr=learning_rate(recipe.rule),
        reached=sum(value < math.inf for value in steps),
        seeds=len(steps),
        steps_to_target=middle,
        interval_steps=(low, high),
        step_seconds=pace.get(name, math.nan),
        judged=judged,
        versus_baseline=versus,
        p_value=p_values.get(name),
        verdict=verdicts.get(name) or _unjudged(steps, stage, name == plan.baseline),
    )


def _unjudged(steps: list[float], stage: str, is_baseline: bool) -> str:
    if not steps:
        return "not run"
    misses = sum(math.isinf(value) for value in steps)
    if stage == SEARCH:
        return f"{MISSED} at every learning rate" if misses else "only searched"
    if misses:
        return f"{MISSED} in {misses} of {len(steps)}"
    return "baseline" if is_baseline else "not among the finalists"


def versus_other(outcomes: Sequence[Outcome], pace: dict[str, float], name: str, other: str, stage: str) -> Comparison | None:
    """Compare a contender with another in seconds, over the seeds that both have run; None when there are none."""
    mine, theirs = times_by_seed(outcomes, name, stage), times_by_seed(outcomes, other, stage)
    shared = [seed for seed in mine if seed in theirs]
    if not shared or name not in pace or other not in pace:
        return None
    return compare([theirs[seed] * pace[other] for seed in shared], [mine[seed] * pace[name] for seed in shared])


def settled(pace: dict[str, float], baseline: str) -> dict[str, float]:
    """Return what a step costs, every cost drawn 10% towards the baseline's.

    Two measurements of the very same step differ by a few percent, and that difference meets every seed alike: taken at
    face value, it alone would make one of two equal recipes "faster" with certainty.
    """
    usual = pace.get(baseline, min(pace.values(), default=1.0))

    def draw(ratio: float) -> float:
        return max(1.0, ratio / (1 + COST_TOLERANCE)) if ratio > 1 else min(1.0, ratio * (1 + COST_TOLERANCE))

    return {name: usual * draw(cost / usual) for name, cost in pace.items()}


def judge(
    plan: Plan, outcomes: Sequence[Outcome], pace: dict[str, float], judged: list[str]
) -> tuple[dict[str, str], dict[str, float], str | None]:
    """Return verdicts and corrected p-values of the finalists, and the winner: the lowest median time on fresh seeds.

    Against the baseline the finalists are tested in the order of the screening, until one cannot be told apart. "Fastest"
    is said of the winner only if it also beats every other finalist.
    """
    median = {name: median_interval(times(outcomes, name, FINALS))[0] * pace.get(name, math.nan) for name in judged}
    winner = min(judged, key=lambda name: (median[name], judged.index(name)), default=None)
    order = [name for name in judged if name != plan.baseline]
    against = {name: versus_other(outcomes, pace, name, plan.baseline, FINALS) for name in order}
    known = {name: comparison for name, comparison in against.items() if comparison is not None}
    corrected = dict(zip(known, in_sequence([comparison.p for comparison in known.values()]), strict=True))
    verdicts = {name: _verdict(known[name], corrected[name], times(outcomes, name, FINALS)) for name in known}
    if winner is None or math.isinf(median[winner]):
        return verdicts, corrected, None
    rivals = {name: versus_other(outcomes, pace, winner, name, FINALS) for name in judged if name != winner}
    beaten = [c is not None and c.faster and corrected.get(winner, 0.0) <= LEVEL for c in rivals.values()]
    if rivals and all(beaten):
        runner_up = min(rivals, key=lambda name: median[name])
        worst = max(c.p for c in rivals.values() if c is not None)
        verdicts[winner] = f"{FASTEST} (p = {worst:.2g} against {runner_up})"
    elif winner == plan.baseline:
        verdicts[winner] = "baseline; nobody is proven faster"
    return verdicts, corrected, winner


def _verdict(against: Comparison, corrected: float, steps: list[float]) -> str:
    misses = sum(math.isinf(value) for value in steps)
    missed = f"; {MISSED} in {misses} of {len(steps)}" if misses else ""
    if corrected <= LEVEL:
        return f"{FASTER if against.ratio > 1 else SLOWER} (p = {corrected:.2g}){missed}"
    if against.p <= LEVEL:
        return f"cannot tell: one ranked above it was not proven{missed}"
    if against.more_seeds is None:
        return f"no difference that 200 seeds would show{missed}"
    return f"cannot tell yet: about {against.more_seeds} more seeds{missed}"
