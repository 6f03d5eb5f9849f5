"""The search of a space: which of its recipes are tried, for how long, and which trials are paused and gone on with.

Trials run in waves, each a pure function of what came back from those before, so that the same seed searches alike and a race
can be resumed. A *sweep* tries a few recipes by successive halving (Jamieson, Talwalkar, 2016): all for a short time, the
better third three times as long, and so on. Time is steps times the cost of a step, so that recipes of other batches and
networks compare; it ends where the best so far had reached the target, for who is later has lost. The first sweep is spread
over the space, later ones are drawn around the best. The best three run more seeds, because one may be luck.

A recipe whose learning rate falls towards its end looks worse before it than it is: it is never paused, and runs until it has
lost.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from ..reach import Reach
from ..recipes import Recipe
from ..rules.transforms import ScaleByLearningRate
from .contenders import Contender
from .plan import FIRST, INF, SEARCH, Plan
from .spaces import Settings, distance
from .trials import FINISHED, REACHED, Outcome, Trial

Costs = Callable[[Sequence[int]], Sequence[float]]  # of a step of each of these recipes
Waves = Generator[list[Trial], list[Outcome], None]
Propose = Callable[["Search", int], list[int]]

ETA = 3  # one of so many is gone on with, for so many times as long
FEW = 4  # evaluations before the first is left behind
LATER, SPREAD = 8, 2  # recipes of a later sweep; of them so many are not drawn around the best
PARENTS, WIDTH = 3, 0.15  # around how many of the best, and how closely: shares of a range
PATIENCE, GAIN = 2, 1.05  # sweeps without that gain, once the target was reached, after which no more are made
CONFIRMED, SEEDS, SLACK = 3, 2, 3.0  # recipes that run more seeds, how many, and for how many times as long as the best


def waves(plan: Plan, contender: Contender, costs: Costs, propose: Propose | None = None) -> Waves:
    """Yield the trials of a space's search, wave by wave; what came of them is sent in, in their order.

    `propose` says which recipes a later sweep tries, for a search and how many; None: near the best.
    """
    search, propose = Search(plan, contender, costs), propose or Search.nearby
    yield from search.sweep(range(min(FIRST, plan.most_tried(contender))))
    idle = 0
    while idle < PATIENCE and (chosen := propose(search, search.room)):
        before = search.best_s
        yield from search.sweep(chosen)
        idle = 0 if search.best_s == INF or search.best_s * GAIN < before else idle + 1
    yield from search.confirm()


@dataclass
class Candidate:
    """A recipe that is tried: what a step of it costs, how long it may run, and what came of it so far."""

    recipe: int
    cost: float
    every: int
    last: int
    falls: bool
    outcome: Outcome | None = None

    @property
    def reached_s(self) -> float:
        """What it cost to reach the target; infinite where it has not."""
        steps = None if self.outcome is None else self.outcome.reached_at
        return INF if steps is None else steps * self.cost

    @property
    def steps(self) -> int:
        return 0 if self.outcome is None else self.outcome.steps

    @property
    def is_open(self) -> bool:
        """Whether it can be gone on with."""
        return self.outcome is None or (self.outcome.status == FINISHED and self.steps < self.last)

    def steps_in(self, seconds: float) -> int:
        """Return how many steps, up to an evaluation, it makes in a time; one evaluation at the least."""
        if not math.isfinite(seconds):
            return self.last
        return min(self.last, self.every * max(1, math.ceil(seconds / (self.cost * self.every) - 1e-9)))

    def value_at(self, steps: int) -> float:
        """Return what was measured at the last evaluation up to a step, NaN where nothing was."""
        curve = [] if self.outcome is None else self.outcome.curve
        return next((value for step, _, value in reversed(curve) if step <= steps), math.nan)


class Search:
    """What a search has found; `sweep` and `confirm` yield its waves."""

    def __init__(self, plan: Plan, contender: Contender, costs: Costs) -> None:
        self.plan, self.contender, self.costs = plan, contender, costs
        self.sign = 1.0 if Reach.recorded(plan.reach).larger_is_better else -1.0
        self.tried: dict[int, Candidate] = {}

    @property
    def best_s(self) -> float:
        """The least time in which the target was reached."""
        return min((one.reached_s for one in self.tried.values()), default=INF)

    def sweep(self, chosen: Iterable[int]) -> Waves:
        """Try recipes by successive halving, then those that must not be paused."""
        entered = self._entered(list(chosen))
        racing = [one for one in entered if not one.falls]
        for rung_s in self._rungs():
            yield from self._run(racing, rung_s)
            racing = self._better_third(racing, rung_s)
            if not racing:
                break
        yield from self._run([one for one in entered if one.falls], INF)

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

    def nearby(self, count: int) -> list[int]:
        """Return so many recipes that were not tried: most of them near the best, a few spread over the space."""
        untried = [i for i in range(len(self.contender.recipes)) if i not in self.tried]
        if not count or not untried:
            return []
        spread = untried[: min(SPREAD, count)]
        others = [i for i in untried if i not in spread]
        parents = [self._settings(one.recipe) for one in self.ranked()[:PARENTS]]
        near = [_nearness(self._settings(i), parents) for i in others]
        random = np.random.default_rng([self.plan.seed, len(self.tried)])
        drawn = np.log(np.maximum(near, 1e-300)) + random.gumbel(size=len(others))  # the largest are a draw by those weights
        return [*spread, *(others[i] for i in np.argsort(-drawn, kind="stable")[: count - len(spread)])]

    def _settings(self, recipe: int) -> Settings:
        assert self.contender.pool is not None
        return self.contender.pool.settings[recipe]

    def _entered(self, chosen: list[int]) -> list[Candidate]:
        pool = self.contender.pool
        assert pool is not None
        found = []
        for i, cost in zip(chosen, self.costs(chosen), strict=True):
            falls = falls_late(self.contender.recipes[i], pool.last[i])
            found.append(Candidate(i, cost, pool.every[i], pool.last[i], falls))
        self.tried |= {one.recipe: one for one in found}
        return found

    def _rungs(self) -> Iterator[float]:
        """Yield the times after which the worse are left behind; they end where the best so far had reached the target."""
        first = next(iter(self.tried.values()))
        few_s = FEW * first.every * first.cost
        rung_s = few_s if self.best_s == INF else max(self.best_s / ETA**2, min(few_s, self.best_s))
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
        most = min(one.last, one.steps_in(self.best_s) + one.every)
        return min(most, one.steps_in(rung_s))

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
        broken = one.outcome is not None and one.outcome.status not in (FINISHED, REACHED)
        return early, -INF if broken or math.isnan(value) else value

    def ranked(self) -> list[Candidate]:
        """Return who was tried, the best first: by time to the target, then by what was measured last."""

        def key(one: Candidate) -> tuple[float, float, int]:
            value = self.sign * one.value_at(one.steps)
            return one.reached_s, INF if math.isnan(value) else -value, one.recipe

        return sorted(self.tried.values(), key=key)

    def _trial(self, one: Candidate, stop: int, seed: int) -> Trial:
        return self.plan.trial(SEARCH, self.contender.name, one.recipe, seed, stop, one.cost)


def _nearness(settings: Settings, parents: Sequence[Settings]) -> float:
    """Return how near a recipe lies to the best ones, each of which counts half as much as the one before."""
    return sum(math.exp(-((distance(settings, one) / WIDTH) ** 2) / 2) / 2**k for k, one in enumerate(parents))


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
