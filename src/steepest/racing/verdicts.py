"""Verdicts: what is said of the finalists on their fresh seeds, against the baseline and against each other."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from ..errors import cut
from .pace import Pace
from .plan import FINALS, Plan, missed_everywhere, ranking, times, times_by_seed
from .statistics import LEVEL, Comparison, compare, in_sequence, median_interval
from .trials import DIVERGED, GIVEN_UP, LOST, Outcome

MOST = 48  # characters of an error in a table
FASTEST, FASTER, SLOWER, MISSED = "fastest", "faster", "slower", "missed the target"


def versus_other(outcomes: Sequence[Outcome], pace: Pace, name: str, other: str, stage: str) -> Comparison | None:
    """Compare a contender with another in seconds, over the seeds that both have run; None when there are none."""
    mine, theirs = times_by_seed(outcomes, name, stage), times_by_seed(outcomes, other, stage)
    shared = [seed for seed in mine if seed in theirs]
    if not shared or name not in pace or other not in pace:
        return None
    cost = pace.ratio(name, other)
    return compare([theirs[seed] for seed in shared], [mine[seed] * cost for seed in shared])


@dataclass(frozen=True)
class Verdicts:
    """What is said of the finalists: texts and corrected p-values, their order, who is proven slower than another, who wins."""

    texts: dict[str, str]
    p_values: dict[str, float]
    order: tuple[str, ...]
    beaten: frozenset[str]
    winner: str | None


def judge(plan: Plan, outcomes: Sequence[Outcome], pace: Pace, judged: list[str]) -> Verdicts:
    """Judge the finalists on their fresh seeds.

    Against the baseline they are tested in the order of the screening, until one cannot be told apart. "Fastest" is said of
    one that beats every other finalist too. Where nobody does, the winner is the first by steps and the coarse cost of a
    step among those whom nobody is proven to beat: a fixed rule, so that the same race ends alike.
    """
    texts, corrected = _against_baseline(plan, outcomes, pace, judged)
    rivals = [name for name in judged if name != plan.baseline]
    wins = {a: {b: _win(plan, outcomes, pace, a, b, len(rivals)) for b in judged if b != a} for a in judged}
    beaten = frozenset(b for a in judged for b, p in wins[a].items() if p is not None)
    ranked = ranking(plan, outcomes, pace, FINALS)
    order = tuple(sorted((name for name in ranked if name in judged), key=lambda name: name in beaten))
    winner = next((name for name in order if math.isfinite(median_interval(times(outcomes, name, FINALS))[0])), None)
    if winner is None:
        return Verdicts(texts, corrected, order, beaten, None)
    proven = winner == plan.baseline or corrected.get(winner, 1.0) <= LEVEL or _missed(plan, outcomes)
    if proven and wins[winner] and None not in wins[winner].values():
        runner_up = next(name for name in order if name != winner)
        texts[winner] = f"{FASTEST} (p = {max(p or 0.0 for p in wins[winner].values()):.2g} against {runner_up})"
    elif winner == plan.baseline:
        texts[winner] = "baseline; nobody is proven faster"
    return Verdicts(texts, corrected, order, beaten, winner)


def troubles(outcomes: Sequence[Outcome], name: str, stage: str) -> str:
    """Return what went wrong with a contender's trials of a stage, to be put after its verdict; nothing where nothing did."""
    bad = (DIVERGED, *LOST, GIVEN_UP)
    mine = [o for o in outcomes if o.trial.contender == name and o.trial.stage == stage and o.status in bad]
    kinds = dict.fromkeys(o.status for o in mine)
    told = []
    for kind in kinds:
        alike = [o for o in mine if o.status == kind]
        why = f" ({cut(alike[0].error, MOST)})" if alike[0].error else ""
        told.append(f"; {kind} in {len(alike)}{why}")
    return "".join(told)


def _win(plan: Plan, outcomes: Sequence[Outcome], pace: Pace, name: str, other: str, rivals: int) -> float | None:
    """Return the p-value with which a finalist beats another, None where it does not.

    The baseline beats whoever is proven slower than it: the same comparison, seen from the other side. Of each two rivals of
    the baseline either may be faster, so that "fastest" is a claim of as many as there are: their p-values are multiplied by
    that number.
    """
    if plan.baseline in (name, other):
        comparison = versus_other(outcomes, pace, other if name == plan.baseline else name, plan.baseline, FINALS)
        proven = comparison is not None and (comparison.slower if name == plan.baseline else comparison.faster)
        return comparison.p if comparison is not None and proven else None
    comparison = versus_other(outcomes, pace, name, other, FINALS)
    p = 1.0 if comparison is None else comparison.p_faster * rivals
    return p if p <= LEVEL else None


def _missed(plan: Plan, outcomes: Sequence[Outcome]) -> bool:
    """Return whether the baseline never reached the target, at any learning rate."""
    return missed_everywhere(plan, outcomes, plan.baseline)


def _against_baseline(
    plan: Plan, outcomes: Sequence[Outcome], pace: Pace, judged: list[str]
) -> tuple[dict[str, str], dict[str, float]]:
    """Return what is said of each finalist beside the baseline, and its p-value corrected for the order of testing."""
    others = [name for name in judged if name != plan.baseline]
    against = {name: versus_other(outcomes, pace, name, plan.baseline, FINALS) for name in others}
    known = {name: comparison for name, comparison in against.items() if comparison is not None}
    corrected = dict(zip(known, in_sequence([comparison.p for comparison in known.values()]), strict=True))
    untold = f"{FASTER}: {plan.baseline} never reached the target" if _missed(plan, outcomes) else "not compared"
    stopped_at = next((name for name in known if corrected[name] > LEVEL), "")  # none after it is claimed
    texts = {
        name: _verdict(known[name], corrected[name], times(outcomes, name, FINALS), stopped_at) if name in known else untold
        for name in others
    }
    return texts, corrected


def _verdict(against: Comparison, corrected: float, steps: list[float], stopped_at: str) -> str:
    misses = sum(math.isinf(value) for value in steps)
    missed = f"; {MISSED} in {misses} of {len(steps)}" if misses else ""
    if corrected <= LEVEL:
        return f"{FASTER if against.p_faster < against.p_slower else SLOWER} (p = {corrected:.2g}){missed}"
    if against.p <= LEVEL:
        return f"not claimed: {stopped_at}, tested before it, could not be told apart{missed}"
    if against.more_seeds is None:
        return f"no difference that 200 seeds would show{missed}"
    return f"cannot tell yet: about {against.more_seeds} more seeds{missed}"
