"""Contenders: who races, and the recipes that each may be run as: one, its learning rates, or those of a space.

A rule that is named alone is tuned over five learning rates, evenly spread (in logarithm) over its own published range, which
is the same search budget for everyone (the AlgoPerf rule).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from ..errors import InputError
from ..recipes import Recipe, as_recipe, split_text
from ..rules import Rule
from .kinds import kind_of
from .ranges import RANGES, learning_rate, learning_rates
from .spaces import Draw, Settings, Space, is_open

DEFAULT = ("sgd", "momentum", "nesterov", "adagrad", "adadelta", "rmsprop", "adam", "adamw", "lion", "muon")
BASELINE = "momentum"
POOL = 512  # recipes that are drawn from a space

Entry = str | Recipe | Rule | Space


@dataclass(frozen=True)
class Pool:
    """What is known of the recipes that were drawn from a space, one after the other.

    Attributes:
        space: where they come from.
        settings: of its open places, which say how near two recipes are.
        last: the step after which each has missed the target.
        every: the steps between its evaluations, after as many rows for all.
    """

    space: Space
    settings: tuple[Settings, ...] = ()
    last: tuple[int, ...] = ()
    every: tuple[int, ...] = ()


@dataclass(frozen=True)
class Contender:
    """One entry of a race: its name, the recipes it may be run as - one, one a learning rate, or a space's - and its last
    step.
    """

    name: str
    recipes: tuple[Recipe, ...]
    max_steps: int = 1
    pool: Pool | None = None

    @property
    def is_tuned(self) -> bool:
        """Whether a search decides which recipe it races as."""
        return len(self.recipes) > 1

    def last_of(self, recipe: int) -> int:
        """Return the step after which a recipe has missed the target."""
        return self.max_steps if self.pool is None else self.pool.last[recipe]

    def holds(self, recipe: Recipe) -> bool:
        """Return whether a recipe is one of the space that is searched, but for its learning rate and other numbers of its
        rule.
        """
        return self.pool is not None and kind_of(recipe) in map(kind_of, self.recipes)

    def lasting(self, rows: int, every: int, frame: Recipe, seed: int, first: Sequence[Recipe] = ()) -> Contender:
        """Return the contender with the lengths of its trials on so many rows; the recipes of a space are drawn now.

        `every` is the steps between evaluations at the batch of the `frame`. Recipes that are to be tried `first`, from earlier
        races, come before those that are drawn, where they are of this space.
        """
        if self.pool is None:
            return replace(self, max_steps=_on_the_grid(self.recipes[0], rows, every))
        drawn = [replace(draw, recipe=draw.recipe.filled(frame)) for draw in self.pool.space.draws(POOL, seed)]
        placed = [draw for recipe in first if (draw := _placed(recipe.filled(frame), drawn)) is not None]
        drawn = list({repr(draw.recipe): draw for draw in [*placed, *drawn]}.values())
        recipes = tuple(draw.recipe for draw in drawn)
        seen = every * frame.batch_size(rows)
        apart = tuple(max(1, round(seen / recipe.batch_size(rows))) for recipe in recipes)
        last = tuple(recipe.num_steps(rows) for recipe in recipes)
        pool = replace(self.pool, settings=tuple(draw.settings for draw in drawn), last=last, every=apart)
        return replace(self, recipes=recipes, max_steps=last[0], pool=pool)


def _placed(recipe: Recipe, drawn: Sequence[Draw]) -> Draw | None:
    """Return a recipe as one of a space, with the settings of the nearest of its kind that was drawn; None where there is none.

    Epochs, patience and names are the race's, not the recipe's.
    """
    alike = [draw for draw in drawn if kind_of(draw.recipe) == kind_of(recipe)]
    if not alike:
        return None
    rate = learning_rate(recipe.rule)
    nearest = min(alike, key=lambda draw: abs(math.log(learning_rate(draw.recipe.rule) / rate)))
    return Draw(replace(nearest.recipe, rule=recipe.rule), nearest.settings)


def _on_the_grid(recipe: Recipe, rows: int, every: int) -> int:
    """Return how many steps a recipe's epochs take, up to the evaluation after."""
    return every * math.ceil(recipe.num_steps(rows) / every)


def contender(entry: Entry, frame: Recipe) -> Contender:
    """Return the contender that a name, a recipe's text, a rule, a recipe or a space stands for.

    A bare name such as `"adamw"` is tuned over its published range; anything that names its learning rate races as it is; a
    text with open places is searched. `frame` gives batch, epochs and so on to what does not say.
    """
    if isinstance(entry, str):
        name = entry.strip()
        if name in RANGES:
            range_ = RANGES[name]
            recipes = tuple(replace(frame, rule=range_.make(lr), name=name) for lr in learning_rates(range_))
            return Contender(name, recipes)
        if is_open(name):
            entry = Space(name)
    if isinstance(entry, Space):
        return Contender(entry.label, (entry.middle.filled(frame),), pool=Pool(entry))
    recipe = as_recipe(entry)
    if recipe is None:
        raise InputError(f"a race takes recipes, rules or their names (got {entry!r})")
    return Contender(recipe.label, (recipe.filled(frame),))


def contenders(entries: Entry | Sequence[Entry] | None, frame: Recipe) -> list[Contender]:
    """Return the contenders of a race, with names made unique; None: the ten classic rules."""
    if isinstance(entries, str):
        entries = split_text(entries)
    elif isinstance(entries, Recipe | Rule | Space):
        entries = [entries]
    found = [contender(entry, frame) for entry in (DEFAULT if entries is None else entries)]
    if not found:
        raise InputError("a race needs at least one recipe (got none)")
    seen: dict[str, int] = {}
    unique = []
    for one in found:
        seen[one.name] = seen.get(one.name, 0) + 1
        unique.append(replace(one, name=f"{one.name} ({seen[one.name]})") if seen[one.name] > 1 else one)
    return unique
