"""The finals: fresh seeds in blocks, for whom they can change the answer, until it is settled.

Pure, so that a race can be resumed. The first block is for all finalists. After each block the verdicts are looked at, which
the tests allow at any time: who is proven slower than another runs no more seeds, unless a claim waits for it, and neither does
who cannot be told apart within the seeds there are.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import combinations

from .pace import Pace
from .plan import FINALS, SCREENING, SEARCH, Plan, best_recipe, finalists
from .statistics import LEVEL, Comparison
from .trials import Outcome
from .verdicts import judge, versus_other

Block = list[tuple[str, int]]  # who runs which of the fresh seeds


def next_block(plan: Plan, outcomes: Sequence[Outcome], pace: Pace) -> Block:
    """Return who runs which seeds next, seed by seed and in each the baseline first; nobody where all is settled."""
    names = sorted(finalists(plan, outcomes, pace), key=lambda name: name != plan.baseline)
    done = fresh_seeds(plan, outcomes)
    if done == 0:
        return [(name, i) for i in range(plan.seeds) for name in names]
    more = range(done, min(done + plan.block, plan.most_seeds))
    wanted = {name for pair in unsettled(plan, outcomes, pace) for name in pair} if more else set()
    return [(name, i) for i in more for name in names if name in wanted]


def fresh_seeds(plan: Plan, outcomes: Sequence[Outcome]) -> int:
    """Return how many of the fresh seeds somebody has run."""
    return 1 + max((o.trial.seed - plan.seed_of(FINALS, 0) for o in outcomes if o.trial.stage == FINALS), default=-1)


def unsettled(plan: Plan, outcomes: Sequence[Outcome], pace: Pace) -> Iterator[tuple[str, str]]:
    """Yield the pairs of finalists that more seeds may tell apart, as far as the answer depends on them.

    The answer is who is fastest, and whether that one is faster than the baseline; the latter waits for whoever is tested
    before it.
    """
    names = finalists(plan, outcomes, pace)
    verdicts = judge(plan, outcomes, pace, names)
    rivals = [name for name in names if name != plan.baseline]
    unbeaten = [name for name in names if name not in verdicts.beaten]
    pairs = list(combinations([name for name in unbeaten if name != plan.baseline], 2))
    pairs += [(name, plan.baseline) for name in rivals if {name, plan.baseline} <= set(unbeaten)]
    unclaimed = [name for name, p in verdicts.p_values.items() if p > LEVEL]
    if any(name in unclaimed for name in unbeaten):
        pairs.append((unclaimed[0], plan.baseline))
    for name, other in dict.fromkeys(pairs):
        comparison = versus_other(outcomes, pace, name, other, FINALS)
        if comparison is not None and _may_be_told(plan, comparison, None if other == plan.baseline else LEVEL / len(rivals)):
            yield name, other


def _may_be_told(plan: Plan, comparison: Comparison, level: float | None) -> bool:
    """Return whether a comparison is not settled, and more seeds may settle it: either way at a level, or as the baseline's."""
    if level is None:
        told, needed = comparison.p <= LEVEL, comparison.more_seeds
    else:
        told, needed = comparison.is_told(level), comparison.seeds_to_tell(level) - comparison.pairs
    early = comparison.pairs < 2 * plan.seeds  # to give up
    return not told and (early or (needed is not None and comparison.pairs + needed <= plan.most_seeds))


def complete(plan: Plan, outcomes: Sequence[Outcome], pace: Pace) -> list[Outcome]:
    """Return the outcomes without the seeds that not everyone whose turn it was has run.

    Where time ran out in the middle of a seed, the trials still missing are the long ones; to judge without them would
    favour who is slow.
    """
    kept = [o for o in outcomes if o.trial.stage == SEARCH]
    runners = {name for name in plan.names if best_recipe(plan, outcomes, name) is not None}
    mine = [o for o in outcomes if o.trial.stage == SCREENING]
    seen = {seed: {o.trial.contender for o in mine if o.trial.seed == seed} for seed in {o.trial.seed for o in mine}}
    kept += [o for o in mine if seen[o.trial.seed] >= runners]
    found = {(o.trial.contender, o.trial.seed): o for o in outcomes if o.trial.stage == FINALS}
    while block := next_block(plan, kept, pace):
        for index in dict.fromkeys(index for _, index in block):
            seed = plan.seed_of(FINALS, index)
            who = [name for name, i in block if i == index]
            if any((name, seed) not in found for name in who):
                return kept
            kept += [found[name, seed] for name in who]
    return kept
