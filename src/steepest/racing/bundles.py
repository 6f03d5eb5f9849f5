"""Bundles: which trials of a race run as lanes of one computation, as far as that was measured to pay."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from ..recipes import Recipe
from ..training.choosing import LaneChoice, choose_lanes
from .kinds import Kind, shape_of
from .trials import Trial

MOST = 16  # lanes of one computation: more would hardly save more, and an interruption would lose them
FEW = 4
BUDGET_S = 0.3  # for each size of each kind of trial that is measured

Ready = tuple[Trial, Recipe, Any]  # a trial that may begin, its recipe, and whose it is


@dataclass
class Bundles:
    """The sizes of bundle that pay, by the kind of trial; of kinds that were not measured, and that do not pay, none."""

    sizes: dict[Kind, tuple[int, int]] = field(default_factory=dict)  # fewest and most lanes
    choices: list[LaneChoice] = field(default_factory=list)

    def take(self, ready: list[Ready], processes: int) -> list[Ready]:
        """Take trials off the list that run as one: the first, and those of its kind that go with it, or it alone.

        They are shared out to the processes: none stands idle while another runs all of them.
        """
        first = ready[0]
        kind = shape_of(first[1])
        fewest, most = self.sizes.get(kind, (1, 1))
        alike = [one for one in ready if shape_of(one[1]) == kind and one[0].evaluate_every == first[0].evaluate_every]
        size = min(most, -(-len(alike) // processes))
        taken = alike[:size] if size >= fewest else [first]
        for one in taken:
            ready.remove(one)
        return taken


def measured(recipes: Iterable[Recipe], seeds: Sequence[int], call: Callable[..., Any], most: int = MOST) -> Bundles:
    """Measure which bundles pay, for each kind among these recipes.

    `call` runs a function of the task where trials run, and returns what it returns. The largest bundle is measured first;
    where it pays, one of four lanes says whether smaller ones do.
    """
    found = Bundles()
    kinds: dict[Kind, list[Recipe]] = {}
    for recipe in recipes:
        kinds.setdefault(shape_of(recipe), []).append(recipe)
    for kind, alike in kinds.items():
        lanes = [(recipe, seed) for seed in seeds for recipe in alike][:most]
        for size in sorted({len(lanes), min(FEW, len(lanes))}, reverse=True):
            chosen = [recipe for recipe, _ in lanes[:size]], [seed for _, seed in lanes[:size]]
            try:
                choice = call(choose, *chosen)
            except Exception:  # a network that fails, or brings its process to an end; its trials will tell
                break
            found.choices.append(choice)
            if not choice.chosen:
                break
            found.sizes[kind] = size, len(lanes)
    return found


def choose(task: Any, recipes: Sequence[Recipe], seeds: Sequence[int], *, device: Any = None) -> LaneChoice:
    """Measure one bundle; what workers run."""
    return choose_lanes(task, recipes, seeds, device=device, budget_s=BUDGET_S)
