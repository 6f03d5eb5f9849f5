"""The search of a space: which of its recipes are tried, for how long, and which trials are paused and gone on with.

Trials run in waves, each a pure function of what came back from those before, so that the same seed searches alike and a race
can be resumed. Time is steps times the cost of a step, so that recipes of other batches and networks compare.

The first recipes are spread over the space, and tried by successive halving (Jamieson, Talwalkar, 2016): all for a short time,
the better third three times as long, and so on, up to the time in which the best so far had reached the target: who is later
has lost. From then on a few at a time are tried of which most is expected (`surrogate.py`), those that wait among them, and
each is paused when its progress says that it will be later than the best (`candidates.py`). The best three run more seeds,
because one may be luck.

A recipe whose learning rate falls towards its end looks worse before it than it is: it is never paused, and runs until it has
lost.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from functools import cached_property

import numpy as np

from ..reach import Reach
from ..recipes import Recipe
from ..rules.transforms import ScaleByLearningRate
from .candidates import Candidate, Forecast, forecast
from .contenders import Contender
from .plan import FIRST, INF, SEARCH, Plan
from .surrogate import Likeness, Surrogate, most_promising
from .trials import FINISHED, Outcome, Trial

Costs = Callable[[Sequence[int]], Sequence[float]]  # of a step of each of these recipes
Waves = Generator[list[Trial], list[Outcome], None]
Propose = Callable[["Search", int], list[int]]

ETA = 3  # one of so many is gone on with, for so many times as long
LOOKS = (1 / 9, 1 / 3, 2 / 3)  # shares of the best time after which a later recipe's progress is looked at
LATER, DOUBT = 4, 2.0  # recipes tried together later; deviations by which a forecast must miss the best time, to be paused
PATIENCE, GAIN = 8, 1.05  # of these in a row without that gain, once the target was reached, after which no more are made
CONFIRMED, SEEDS, SLACK = 3, 2, 3.0  # recipes that run more seeds, how many, and for how many times as long as the best


def waves(plan: Plan, contender: Contender, costs: Costs, propose: Propose | None = None) -> Waves:
    """Yield the trials of a space's search, wave by wave; what came of them is sent in, in their order.

    `propose` says which recipes are tried later, for a search and how many; None: the most promising.
    """
    search, propose = Search(plan, contender, costs), propose or Search.promising
    yield from search.sweep(range(min(FIRST, plan.most_tried(contender))))
    idle = 0
    while idle < PATIENCE and search.room and (chosen := propose(search, search.room)):
        before = search.best_s
        yield from search.sweep(chosen) if before == INF else search.follow(chosen)
        idle = 0 if search.best_s == INF or search.best_s * GAIN < before else idle + 1
    yield from search.confirm()


class Search:
    """What a search has found; `sweep` and `confirm` yield its waves."""

    def __init__(self, plan: Plan, contender: Contender, costs: Costs) -> None:
        self.plan, self.contender, self.costs = plan, contender, costs
        self.sign = 1.0 if Reach.recorded(plan.reach).larger_is_better else -1.0
        self.tried: dict[int, Candidate] = {}

    @property
    def best(self) -> Candidate | None:
        """Who reached the target in the least time; None where nobody has."""
        reached = [one for one in self.tried.values() if one.reached_s < INF]
        return min(reached, key=lambda one: (one.reached_s, one.recipe), default=None)

    @property
    def best_s(self) -> float:
        """The least time in which the target was reached."""
        return INF if self.best is None else self.best.reached_s

    def sweep(self, chosen: Iterable[int]) -> Waves:
        """Try recipes by successive halving, while nobody has reached the target; then those that must not be paused."""
        entered = self._entered(list(chosen))
        racing = [one for one in entered if not one.falls]
        for rung_s in self._rungs():
            yield from self._run(racing, rung_s)
            racing = self._better_third(racing, rung_s)
            if not racing:
                break
        yield from self._run([one for one in entered if one.falls], INF)

    def follow(self, chosen: Iterable[int]) -> Waves:
        """Try recipes, or go on with those that wait, and pause each when it must be expected to be later than the best."""
        best_s, entered = self.best_s, self._entered(list(chosen))
        racing = [one for one in entered if not one.falls]
        for share in LOOKS:
            yield from self._run(racing, share * best_s)
            racing = [one for one in racing if one.is_open and self._may_win(one)]
        yield from self._run([*racing, *(one for one in entered if one.falls)], INF)

    def _may_win(self, one: Candidate) -> bool:
        expected = self._forecast(one)
        return expected.log_s - DOUBT * expected.deviation <= math.log(self.best_s)

    def confirm(self) -> Waves:
        """Run the best with more seeds."""
        best = [one for one in self.ranked() if one.reached_s < INF][:CONFIRMED]
        if len(best) < 2:
            return
        most_s = SLACK * self.best_s
        trials = [self._trial(one, one.steps_in(most_s), seed) for seed in range(1, 1 + SEEDS) for one in best]
        _ = yield trials

    @property
    def room(self) -> int:
        """How many recipes the next sweep may try; 0 at the end."""
        return min(LATER, self.plan.most_tried(self.contender) - len(self.tried))

    def promising(self, count: int) -> list[int]:
        """Return so many recipes that were not tried, or that wait and have not lost yet: those of which most is expected."""
        ranked = self.ranked()
        found = [self._forecast(one, place / len(ranked)) for place, one in enumerate(ranked)]
        known = Surrogate(
            self._likeness,
            [one.recipe for one in ranked],
            [each.log_s for each in found],
            [each.deviation**2 for each in found],
        )
        best = found[0].log_s  # of who reached the target first
        return most_promising(known, [i for i in range(len(self.contender.recipes)) if self._can_win(i)], best, count)

    def _can_win(self, recipe: int) -> bool:
        one = self.tried.get(recipe)
        if one is None or self.best is None:
            return one is None
        return one.is_open and not one.falls and one.spent_s < self.best_s and self._may_win(one)

    def _forecast(self, one: Candidate, rank: float = 0.0) -> Forecast:
        """Return when a candidate should reach the target; where none has, its rank stands for that."""
        return Forecast(2 * rank, 0.5) if self.best is None else forecast(one, self.best, self.sign)

    @cached_property
    def _likeness(self) -> Likeness:
        assert self.contender.pool is not None
        return Likeness(self.contender.pool.settings)

    def _entered(self, chosen: list[int]) -> list[Candidate]:
        pool, new = self.contender.pool, [recipe for recipe in chosen if recipe not in self.tried]
        assert pool is not None
        for i, cost in zip(new, self.costs(new), strict=True):
            falls = falls_late(self.contender.recipes[i], pool.last[i])
            self.tried[i] = Candidate(i, cost, pool.every[i], pool.last[i], falls)
        return [self.tried[recipe] for recipe in chosen]

    def _rungs(self) -> Iterator[float]:
        """Yield the times after which the worse are left behind, from one evaluation of the first to the best time so far."""
        first = next(iter(self.tried.values()))
        rung_s = first.every * first.cost
        longest_s = max(one.last * one.cost for one in self.tried.values())
        while rung_s < min(self.best_s, longest_s):
            yield rung_s
            rung_s *= ETA
        yield INF

    def _run(self, racing: list[Candidate], rung_s: float) -> Waves:
        """Run candidates up to a time, but none that has lost by then."""
        going = [(one, self._stops(one, rung_s)) for one in racing if one.is_open]
        going = [(one, stop) for one, stop in going if stop > one.steps]
        if not going:
            return
        outcomes = yield [self._trial(one, stop, 0) for one, stop in going]
        for (one, _), outcome in zip(going, outcomes, strict=True):
            one.outcome = outcome

    def _stops(self, one: Candidate, rung_s: float) -> int:
        """Return the step at which a candidate is looked at. The target must be met twice in a row, so that who is to beat the
        best so far is given one more evaluation.
        """
        if self.best_s == INF:
            return one.steps_in(rung_s)
        looks = 1 + max(1, math.floor(self.best_s / (one.cost * one.every) + 1e-9))
        return min(one.last, one.every * looks, one.steps_in(rung_s))

    def _better_third(self, racing: list[Candidate], rung_s: float) -> list[Candidate]:
        """Return those that are gone on with: among the better third of all that were ever measured after that time."""
        values = {one.recipe: self._value(one, rung_s) for one in self.tried.values() if self._was_at(one, rung_s)}
        order = sorted(values, key=lambda recipe: values[recipe], reverse=True)
        kept = set(order[: math.ceil(len(order) / ETA)])
        return [one for one in racing if one.recipe in kept and one.is_open]

    def _was_at(self, one: Candidate, rung_s: float) -> bool:
        """Return whether a candidate has run so long, or would have, had it not ended."""
        return one.outcome is not None and (one.outcome.status != FINISHED or one.steps >= one.steps_in(rung_s))

    def _value(self, one: Candidate, rung_s: float) -> tuple[float, float]:
        """Return how good a candidate was after a time: who had reached the target then is best."""
        early = -one.reached_s if one.reached_s <= rung_s else -INF
        value = self.sign * one.value_at(one.steps_in(rung_s))
        return early, -INF if one.is_broken or math.isnan(value) else value

    def ranked(self) -> list[Candidate]:
        """Return who was tried, the best first: by time to the target, then by what was measured last."""

        def key(one: Candidate) -> tuple[float, float, int]:
            value = self.sign * one.value_at(one.steps)
            return one.reached_s, INF if math.isnan(value) else -value, one.recipe

        return sorted(self.tried.values(), key=key)

    def _trial(self, one: Candidate, stop: int, seed: int) -> Trial:
        return self.plan.trial(SEARCH, self.contender.name, one.recipe, seed, stop, one.cost)


def falls_late(recipe: Recipe, steps: int) -> bool:
    """Return whether a recipe's learning rate falls by a tenth or more towards the end of so many steps."""
    for link in recipe.rule.transforms():
        if isinstance(link, ScaleByLearningRate) and not link.schedule.is_constant:
            schedule = link.schedule.resolved(steps / (recipe.epochs or 1), steps)
            factors = [schedule(steps * i / 64) for i in range(65)]
            if factors[-1] < 0.9 * max(factors):
                return True
    return False


def rank_correlation(plan: Plan, outcomes: Iterable[Outcome], name: str) -> tuple[float, int] | None:
    """Return how well a third of the way told the end: Spearman's coefficient, and over how many recipes; None for under five.

    Of the trials of a space's search on its first seed: what was measured after a third of the best time to the target, against
    that time, or what was measured last where it was not reached. Recipes that were left behind before have no part in it.
    """
    seed, longest = plan.seed_of(SEARCH, 0), dict[int, Outcome]()
    for o in outcomes:  # one that was paused comes as often as it ran, longer each time
        if (o.trial.contender, o.trial.stage, o.trial.seed) == (name, SEARCH, seed):
            longest[o.trial.recipe] = o
    best_s = min((o.reached_at * o.trial.cost for o in longest.values() if o.reached_at is not None), default=INF)
    sign = 1.0 if Reach.recorded(plan.reach).larger_is_better else -1.0
    early, late = [], []
    for o in longest.values():
        if best_s < INF and o.curve and o.steps * o.trial.cost >= best_s:
            spent_s = [step * o.trial.cost for step, _, _ in o.curve]
            early.append(float(np.interp(best_s / ETA, spent_s, [sign * value for _, _, value in o.curve])))
            late.append((-o.reached_at * o.trial.cost if o.reached_at else -INF, sign * o.curve[-1][2]))
    if len(early) < 5:
        return None
    return spearman(early, [sorted(late).index(value) for value in late]), len(early)


def spearman(one: Sequence[float], other: Sequence[float]) -> float:
    """Return Spearman's rank correlation, equal values sharing their mean rank; NaN where all of one are equal.

    >>> spearman([1.0, 2.0, 3.0], [1.0, 5.0, 9.0])
    1.0
    """
    ranks = [[sum(b < a for b in values) + sum(b == a for b in values) / 2 for a in values] for values in (one, other)]
    if any(len(set(values)) < 2 for values in ranks):
        return math.nan
    return round(float(np.corrcoef(ranks[0], ranks[1])[0, 1]), 6)
