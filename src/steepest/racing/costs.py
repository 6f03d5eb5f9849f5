"""Costs: what a step of a space's recipes costs, which its search asks for before they are tried.

Measured briefly for each kind of recipe when one of it first comes up, and rounded, so that the search goes the same way
whenever it is measured, as nearly as that can be.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Iterable, Sequence

from ..recipes import Recipe
from .kinds import kind_of

ROUNDS, STEPS = 3, 2  # of a measurement
GRID = 4  # values an octave that costs are rounded to

Measure = Callable[[Sequence[Recipe]], list[tuple[float, ...]]]  # as `measure_pace` does, where trials run


class StepCosts:
    """What a step of a space's recipes costs, in the search; called with recipes, it returns the cost of each.

    Where all are of one kind, a step costs 1, and nothing is measured.

    Args:
        recipes: of the space.
        of: what is known, by the text of a kind; what is measured is added.
        measure: returns the seconds of a step of each recipe, round by round.
        keep: called whenever something was added.
    """

    def __init__(
        self, recipes: Sequence[Recipe], of: dict[str, float], measure: Measure, keep: Callable[[], None] = lambda: None
    ) -> None:
        self.recipes, self.of, self.measure, self.keep = recipes, of, measure, keep
        self.kinds = [" ".join(kind_of(recipe)) for recipe in recipes]

    def __call__(self, chosen: Sequence[int]) -> list[float]:
        if len(set(self.kinds)) == 1:
            return [1.0] * len(chosen)
        new = {self.kinds[i]: self.recipes[i] for i in chosen if self.kinds[i] not in self.of}
        if new:
            found = dict(zip(new, self._measured([*new.values()]), strict=True))
            known = [cost for cost in (*self.of.values(), *found.values()) if cost is not None]
            usual = statistics.median(known or [1.0])
            self.of.update({kind: usual if cost is None else cost for kind, cost in found.items()})
            self.keep()
        return [self.of[self.kinds[i]] for i in chosen]

    def _measured(self, recipes: list[Recipe]) -> list[float | None]:
        """Measure together, or where that fails one by one; None for a recipe that fails: it costs what others do, and its
        trial will tell.
        """
        try:
            return [_on_the_grid(rounds) for rounds in self.measure(recipes)]
        except Exception:
            return [None] if len(recipes) == 1 else [cost for recipe in recipes for cost in self._measured([recipe])]


def _on_the_grid(rounds: Iterable[float]) -> float:
    """Return the median of some seconds, rounded."""
    return 2.0 ** (round(GRID * math.log2(statistics.median(rounds))) / GRID)
