"""The plan of a race: who races under which conditions, and which trials that means. Pure, so that a race can be resumed.

Three stages. *Search*: each contender tries its learning rates on one seed of its own, middle first, later ones only as long
as they could still win; a space is searched otherwise (`searching.py`). *Screening*: the best learning rate of each runs the
same five seeds; this only ranks. *Finals*: the first three, and the baseline, run fresh seeds, until it is settled who is
fastest (`finals.py`); these alone are judged.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Generator, Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

from ..errors import unknown, whole
from .contenders import Contender
from .kinds import shape_of
from .pace import Pace
from .ranges import learning_rate
from .statistics import centre
from .trials import Outcome, Trial

INF = float("inf")
SEARCH, SCREENING, FINALS = "search", "screening", "finals"
FIRST = 16  # recipes of a space that are tried before the search looks nearer at the best of them
COST_CLASS = 3.0  # a step that costs this many times the cheapest weighs in the ranking; less is left to the finals


@dataclass(frozen=True)
class Plan:
    """The conditions, the same for every contender: `seeds` screen, up to six times as many fresh ones judge; `tries` recipes
    of a space are tried at most.
    """

    contenders: tuple[Contender, ...]
    baseline: str
    reach: str
    evaluate_every: int
    seed: int = 0
    seeds: int = 5
    finalists: int = 3
    tries: int = 64
    sampler: str | None = None  # of Optuna's, that says which recipes of a space are tried

    def __post_init__(self) -> None:
        whole("tries", self.tries, 1, 512)
        if self.baseline not in self.names:
            raise unknown("baseline", self.baseline, self.names)
        whole("seeds", self.seeds, 1, 400)

    @property
    def names(self) -> list[str]:
        return [contender.name for contender in self.contenders]

    @property
    def most_seeds(self) -> int:
        """How many fresh seeds the finals may take."""
        return 6 * self.seeds

    @property
    def block(self) -> int:
        """How many fresh seeds are run before the verdicts are looked at again."""
        return max(1, self.seeds // 2)

    def seed_of(self, stage: str, index: int) -> int:
        """Return a seed that no other stage uses."""
        return self.seed * 10_000 + {SEARCH: 9_000, SCREENING: 0, FINALS: 1_000}[stage] + index

    def contender(self, name: str) -> Contender:
        return next(contender for contender in self.contenders if contender.name == name)

    def trial(self, stage: str, name: str, recipe: int, index: int, max_steps: int | None = None, cost: float = 1.0) -> Trial:
        """Return the trial of a contender's recipe with one of a stage's seeds."""
        one = self.contender(name)
        lr, last = learning_rate(one.recipes[recipe].rule), max_steps or one.last_of(recipe)
        every = self.evaluate_every if one.pool is None else one.pool.every[recipe]
        return Trial(name, recipe, lr, self.seed_of(stage, index), stage, last, every, cost)

    def num_trials(self) -> int:
        """Return about how many trials this takes."""
        search = sum(self.most_tried(contender) for contender in self.contenders if contender.is_tuned)
        finals = min(self.finalists, len(self.contenders)) * 2 * self.seeds
        return search + len(self.contenders) * self.seeds + finals

    def most_tried(self, contender: Contender) -> int:
        """Return how many of a contender's recipes its search tries at most."""
        return len(contender.recipes) if contender.pool is None else min(self.tries, len(contender.recipes))

    def to_dict(self) -> dict[str, Any]:
        """Return the conditions as a document; two races with the same one run the same trials."""
        listed = [_told(one) for one in self.contenders]
        conditions = {one.name: getattr(self, one.name) for one in fields(self) if one.name != "contenders"}
        return {**conditions, "contenders": listed}


def _told(one: Contender) -> dict[str, Any]:
    told: dict[str, Any] = {"name": one.name, "max_steps": one.max_steps}
    if one.pool is not None:
        drawn = hashlib.sha256("\n".join(map(repr, one.recipes)).encode()).hexdigest()
        return told | {"space": one.pool.space.text, "drawn": len(one.recipes), "drawn_sha256": drawn}
    return told | {"recipes": [repr(recipe) for recipe in one.recipes]}


Chain = Generator[Trial, Outcome, None]


def middle_out(count: int) -> list[int]:
    """Return 0 ... count - 1 from the middle outwards.

    >>> middle_out(5)
    [2, 3, 1, 4, 0]
    """
    middle = count // 2
    return sorted(range(count), key=lambda i: (abs(i - middle), -i))


def search(plan: Plan, name: str) -> Chain:
    """Yield one trial a learning rate; one that could not beat the best so far is stopped at that one's steps."""
    best: int | None = None
    contender = plan.contender(name)
    for recipe in middle_out(len(contender.recipes)) if contender.is_tuned else ():
        # the target must be met twice in a row, so a tie is confirmed one evaluation later
        cap = contender.max_steps if best is None else min(contender.max_steps, best + plan.evaluate_every)
        outcome = yield plan.trial(SEARCH, name, recipe, 0, cap)
        if outcome.reached_at is not None and (best is None or outcome.reached_at < best):
            best = outcome.reached_at


def single(trial: Trial) -> Chain:
    """Return the chain of one trial."""
    yield trial


def alone(plan: Plan, stage: str, recipes: Mapping[str, int], who: Iterable[tuple[str, int]]) -> list[Chain]:
    """Return one chain a trial: who runs which of the stage's seeds, as which of its recipes."""
    return [single(plan.trial(stage, name, recipes[name], index)) for name, index in who]


def screening(plan: Plan, recipes: Mapping[str, int]) -> list[Chain]:
    """Return the trials that rank, seed by seed and in each the baseline first, so that a race cut short can be judged."""
    names = sorted(recipes, key=lambda name: name != plan.baseline)
    return alone(plan, SCREENING, recipes, [(name, index) for index in range(plan.seeds) for name in names])


def times_by_seed(outcomes: Iterable[Outcome], name: str, stage: str) -> dict[int, float]:
    """Return a contender's steps to the target in one stage, seed by seed; misses are infinite."""
    mine = sorted((o for o in outcomes if o.trial.contender == name and o.trial.stage == stage), key=lambda o: o.trial.seed)
    return {o.trial.seed: INF if o.reached_at is None else float(o.reached_at) for o in mine}


def times(outcomes: Iterable[Outcome], name: str, stage: str) -> list[float]:
    """Return a contender's steps to the target in one stage, in the order of the seeds."""
    return list(times_by_seed(outcomes, name, stage).values())


def best_of_search(outcomes: Iterable[Outcome], name: str, recipe: int | None = None) -> list[float]:
    """Return the fewest steps that a contender took in the search, at any learning rate or as one recipe: one number, or none
    before it.
    """
    mine = [o for o in outcomes if o.trial.contender == name and o.trial.stage == SEARCH]
    tried = [o.reached_at for o in mine if recipe in (None, o.trial.recipe)]
    return [min((float(steps) for steps in tried if steps is not None), default=INF)] if tried else []


def best_recipe(plan: Plan, outcomes: Sequence[Outcome], name: str) -> int | None:
    """Return the recipe of a contender that reached the target in the fewest steps, or None when none did.

    Of a space's recipes steps do not compare: the one with the least cost, of those that were confirmed with most seeds.
    """
    one = plan.contender(name)
    if not one.is_tuned:
        return 0
    mine = [o for o in outcomes if o.trial.contender == name and o.trial.stage == SEARCH]
    hits = [o for o in mine if o.reached_at is not None]
    if not hits:
        return None
    if one.pool is not None:
        return _cheapest(mine)
    order = middle_out(len(one.recipes))
    return min(hits, key=lambda o: (o.reached_at, order.index(o.trial.recipe))).trial.recipe


def _cheapest(outcomes: Iterable[Outcome]) -> int:
    """Return the recipe that reached the target at the least cost, of those that ran the most seeds; one of them did."""
    found: dict[int, dict[int, float]] = {}
    for o in outcomes:  # a trial that was paused and gone on with comes as often as it ran
        spent, seeds = (INF if o.reached_at is None else o.reached_at * o.trial.cost), found.setdefault(o.trial.recipe, {})
        seeds[o.trial.seed] = min(spent, seeds.get(o.trial.seed, INF))
    reached = {recipe: seeds for recipe, seeds in found.items() if min(seeds.values()) < INF}
    most = max(map(len, reached.values()))

    def key(recipe: int) -> tuple[float, int, float, int]:
        spent = [*reached[recipe].values()]
        hits = [value for value in spent if value < INF]
        return centre(spent), len(spent) - len(hits), sum(hits) / len(hits), recipe

    return min((recipe for recipe, seeds in reached.items() if len(seeds) == most), key=key)


def ranking(plan: Plan, outcomes: Sequence[Outcome], pace: Pace, stage: str = SCREENING) -> list[str]:
    """Return the contenders that ran a stage, fastest first, by the centre of their times over its seeds.

    They are ranked by steps, so that the same seed always ranks them alike; the cost of a step, which changes from one
    measurement to the next, enters coarsely: who runs the finals is settled by multiples of three times the cheapest, the
    order after the finals, which changes no trial any more, by powers of two. Where batch or network differ from the
    baseline's steps do not compare, and the measured cost counts.
    """
    cheapest = min((pace.seconds(name) for name in pace.rounds), default=1.0)

    def kind(name: str) -> tuple[Any, ...]:
        return shape_of(plan.contender(name).recipes[best_recipe(plan, outcomes, name) or 0])

    def cost(name: str) -> float:
        if name not in pace:
            return 1.0
        if plan.baseline in pace and kind(name) != kind(plan.baseline):
            return pace.ratio(name, plan.baseline)
        ratio = pace.seconds(name) / cheapest
        return max(1.0, COST_CLASS * (ratio // COST_CLASS)) if stage == SCREENING else 2.0 ** round(math.log2(ratio))

    def key(name: str) -> tuple[float, int]:
        return centre(times(outcomes, name, stage)) * cost(name), plan.names.index(name)

    return sorted((name for name in plan.names if times(outcomes, name, stage)), key=key)


def missed_everywhere(plan: Plan, outcomes: Sequence[Outcome], name: str) -> bool:
    """Return whether a contender tried all that its search tries at least and never reached the target."""
    one = plan.contender(name)
    tried = {o.trial.recipe for o in outcomes if o.trial.contender == name and o.trial.stage == SEARCH}
    whole = len(one.recipes) if one.pool is None else min(FIRST, plan.most_tried(one))
    return one.is_tuned and len(tried) >= whole and best_recipe(plan, outcomes, name) is None


def finalists(plan: Plan, outcomes: Sequence[Outcome], pace: Pace) -> list[str]:
    """Return who runs the fresh seeds: the first three that ever reached the target, and the baseline."""
    ranked = [name for name in ranking(plan, outcomes, pace) if min(times(outcomes, name, SCREENING)) < INF]
    chosen = ranked[: plan.finalists]
    if chosen and plan.baseline not in chosen and times(outcomes, plan.baseline, SCREENING):
        chosen.append(plan.baseline)
    return chosen
