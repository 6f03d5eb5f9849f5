"""Costs: what a step of a space's recipes costs, which its search asks for before they are tried.

Measured briefly for each kind of recipe when one of it first comes up, and rounded, so that the search goes the same way
whenever it is measured, as nearly as that can be.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Iterable, Mapping, Sequence

from ..recipes import Recipe
from .kinds import kind_of

ROUNDS, STEPS = 3, 4  # of a measurement
GRID = 4  # values an octave that costs are rounded to

Measure = Callable[[Sequence[Recipe]], list[tuple[float, ...]]]  # as `measure_pace` does, where trials run


class StepCosts:
    """What a step of a space's recipes costs, in the search; called with recipes, it returns the cost of each.

    Where all are of one kind, a step costs 1, and nothing is measured.

    Args:
        recipes: of the space.
        known: of some of them, from before.
        measure: returns the seconds of a step of each recipe, round by round.
    """

    def __init__(self, recipes: Sequence[Recipe], known: Mapping[int, float], measure: Measure) -> None:
        self.recipes, self.measure = recipes, measure
        self.kinds = [kind_of(recipe) for recipe in recipes]
        self.of = {self.kinds[i]: cost for i, cost in known.items()}

    def __call__(self, chosen: Sequence[int]) -> list[float]:
        if len(set(self.kinds)) == 1:
            return [1.0] * len(chosen)
        new = {self.kinds[i]: self.recipes[i] for i in chosen if self.kinds[i] not in self.of}
        if new:
            self.of |= dict(zip(new, self._measured([*new.values()]), strict=True))
        return [self.of[self.kinds[i]] for i in chosen]

    def _measured(self, recipes: list[Recipe]) -> list[float]:
        """Measure together; where that fails, one by one, and a recipe that fails costs what others do: its trial will tell."""
        try:
            return [_on_the_grid(rounds) for rounds in self.measure(recipes)]
        except Exception:
            if len(recipes) == 1:
                return [statistics.median([*self.of.values()] or [1.0])]
        return [cost for recipe in recipes for cost in self._measured([recipe])]


def _on_the_grid(rounds: Iterable[float]) -> float:
    """Return the median of some seconds, rounded."""
    return 2.0 ** (round(GRID * math.log2(statistics.median(rounds))) / GRID)
