"""Spaces: a recipe's text with open places, and the recipes that it stands for.

`between(low, high)` is any number of a range, evenly in logarithm; `one_of(a, b, ...)` is one of several; a rule named alone is
that rule at any learning rate of its published range. Each place takes its setting from one coordinate of a point in the unit
cube. Places of which only one can be open - the learning rates of two rules that `one_of` chooses from - share a coordinate:
what is near the best for one is tried near the same share of the other's range.
"""

from __future__ import annotations

import ast
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from ..calls import Reading, parsed
from ..errors import InputError
from ..recipes import EXAMPLE, Recipe, as_recipe, callables
from .ranges import RANGES

BETWEEN, ONE_OF = "between", "one_of"
IDLE, BLOCK = 256, 64  # points of the sequence in a row that give nothing new: the space holds no more; points drawn at once

MOST = 1e300  # of a range's ends
SETTINGS_TRIED = 12  # of each place, when a space is made


@dataclass(frozen=True)
class Setting:
    """What an open place is set to.

    Attributes:
        place: where it stands in the text; the learning rates of all rules are one place.
        at: from 0 to 1, along its range or its list.
        ordered: whether settings near one another do alike: numbers are, other things are not.
    """

    place: str
    at: float
    ordered: bool


Settings = tuple[Setting | None, ...]  # by coordinate; None where its place is in a branch that was not taken


@dataclass(frozen=True)
class Draw:
    """One recipe of a space, and how its open places are set."""

    recipe: Recipe
    settings: Settings


@dataclass(frozen=True, repr=False)
class Space:
    """Recipes to search among: a recipe's text with open places. It prints as the Python that makes it.

    Args:
        text: such as `"Recipe(one_of(adamw, muon), batch=one_of(32, 128))"`. `between(low, high)` stands for a number, evenly
            in logarithm (`log=False`: evenly), whole where both ends are; `one_of(...)` for one of its arguments; a rule named
            alone for that rule at a learning rate of its published range.

    Raises:
        InputError: the text is no recipe whatever its places are set to, or has none that is open.

    >>> space = Space("Recipe(adamw(between(0.0001, 0.01)), batch=one_of(32, 128))")
    >>> space.draw((0.5, 0.9)).recipe
    Recipe(adamw(0.001), batch=128)
    """

    text: str

    def __post_init__(self) -> None:
        if not isinstance(self.text, str):
            raise InputError(f"a space is a recipe's text with open places, such as 'one_of(adamw, muon)' (got {self.text!r})")
        if not _is_open(self._tree):
            raise InputError(
                f"a space needs an open place: between(low, high), one_of(a, b), or a rule's name (got {self.text!r})"
            )
        middle = (0.5,) * self.dimensions
        for k in range(self.dimensions):  # whatever a place is set to must make a recipe, the others in their middle
            for share in np.linspace(0, 1, SETTINGS_TRIED, endpoint=False):
                self.draw((*middle[:k], float(share), *middle[k + 1 :]))

    @cached_property
    def middle(self) -> Recipe:
        """The recipe in the middle of all ranges."""
        return self.draw((0.5,) * self.dimensions).recipe

    @cached_property
    def _tree(self) -> ast.expr:
        return parsed(self.text, EXAMPLE)

    @cached_property
    def dimensions(self) -> int:
        """How many coordinates a point has."""
        return _dimensions(self._tree)

    def draw(self, point: Sequence[float]) -> Draw:
        """Return the recipe at a point of the unit cube."""
        reading = _Filled(self.text, point)
        recipe = as_recipe(reading.value(self._tree))
        if not isinstance(recipe, Recipe):
            raise InputError(f"expected a recipe with open places, such as {EXAMPLE} (got {self.text!r})")
        return Draw(recipe, tuple(reading.settings))

    def draws(self, count: int, seed: int = 0) -> list[Draw]:
        """Return different recipes, the middle of all ranges first, then spread evenly (a scrambled Sobol sequence).

        Fewer than `count` are returned where the space holds no more.
        """
        found: dict[str, Draw] = {}
        idle = 0
        for point in self.points(seed):
            draw, before = self.draw(point), len(found)
            found.setdefault(repr(draw.recipe), draw)
            idle = 0 if len(found) > before else idle + 1
            if len(found) == count or idle == IDLE:
                break
        return list(found.values())

    def points(self, seed: int = 0) -> Iterator[tuple[float, ...]]:
        """Yield points of the unit cube, without end: the middle first, then a scrambled Sobol sequence."""
        import torch

        yield (0.5,) * self.dimensions
        engine = torch.quasirandom.SobolEngine(self.dimensions, scramble=True, seed=seed)
        while True:
            yield from map(tuple, engine.draw(BLOCK, dtype=torch.float64).tolist())

    @property
    def label(self) -> str:
        """What tables call it."""
        recipe, head = self.middle, getattr(getattr(self._tree, "func", None), "id", "")
        return recipe.name or ("space" if head in (ONE_OF, "Recipe") else recipe.label)

    def __repr__(self) -> str:
        return f"Space({self.text!r})"


def is_open(text: str) -> bool:
    """Return whether a text is that of a space: more than a rule's name, with a place that is open.

    >>> is_open("adamw"), is_open("adamw(0.1)"), is_open("one_of(adamw, muon)")
    (False, False, True)
    """
    try:
        tree = parsed(text, EXAMPLE)
    except InputError:  # told where it is read
        return False
    return _is_open(tree)


def _is_open(tree: ast.expr) -> bool:
    return not isinstance(tree, ast.Name) and _dimensions(tree) > 0


def distance(one: Settings, other: Settings) -> float:
    """Return how far two recipes of a space lie apart: 1 for the ends of a range.

    Two things that have no order lie as far apart as a third of a range.

    >>> space = Space("Recipe(one_of(adamw, muon), batch=one_of(16, 32, 64))")
    >>> first, second, third = (space.draw(p).settings for p in [(0, 0.5, 0), (0, 0.5, 0.4), (0.9, 0.5, 0)])
    >>> distance(first, second), round(distance(first, third), 2)
    (0.5, 0.33)
    """
    return math.sqrt(sum(_apart(a, b) ** 2 for a, b in zip(one, other, strict=True)))


UNLIKE = 1 / 3


def _apart(one: Setting | None, other: Setting | None) -> float:
    if one is None or other is None:
        return 0.0 if one is other else UNLIKE
    if one.place != other.place or not (one.ordered and other.ordered):
        return 0.0 if one == other else UNLIKE
    return abs(one.at - other.at)


def _dimensions(node: ast.AST) -> int:
    """Return how many coordinates the open places of a tree take."""
    match node:
        case ast.Name(id=name):
            return int(name in RANGES)
        case ast.Call(func=ast.Name(id=name)) if name == BETWEEN:
            return 1
        case ast.Call(func=ast.Name(id=name), args=args) if name == ONE_OF:
            return 1 + max(map(_dimensions, args), default=0)
        case ast.Call(args=args, keywords=keywords):
            return sum(map(_dimensions, [*args, *keywords]))
    return sum(map(_dimensions, ast.iter_child_nodes(node)))


def _digits(value: float, width: float) -> int:
    """Return how many decimals a number of a range is rounded to: two digits of its own, or a hundredth of the range where that
    is finer.
    """
    finest = min(abs(value) or width, width)
    return 1 - math.floor(math.log10(finest)) + (finest == width)


class _Filled(Reading):
    """A reading of a space's text whose open places are set from a point, coordinate by coordinate."""

    def __init__(self, text: str, point: Sequence[float]) -> None:
        super().__init__(text, callables(), "function", EXAMPLE)
        self.point = point
        self.settings: list[Setting | None] = [None] * len(point)
        self._next = 0

    def value(self, node: ast.expr) -> Any:
        if isinstance(node, ast.Name) and node.id in RANGES:
            range_ = RANGES[node.id]
            return range_.make(range_.at(self._set("learning rate", ordered=True)))
        return super().value(node)

    def called(self, name: str, args: list[ast.expr], keywords: list[ast.keyword]) -> Any:
        if name == BETWEEN:
            return self._between(args, keywords)
        if name == ONE_OF:
            return self._one_of(args, keywords)
        return super().called(name, args, keywords)

    def _set(self, place: str, *, ordered: bool, count: int | None = None) -> float:
        """Take the next coordinate for a place; return it, or the place on a list of so many."""
        share = self.point[self._next]
        index = 0 if count is None else min(int(share * count), count - 1)
        at = share if count is None else index / max(count - 1, 1)
        self.settings[self._next] = Setting(place, at, ordered)
        self._next += 1
        return share if count is None else index

    def _between(self, args: list[ast.expr], keywords: list[ast.keyword]) -> float | int:
        ends = [math.nan if _dimensions(one) else self.value(one) for one in args]
        options = {word.arg: self.value(word.value) for word in keywords}
        log = options.pop("log", True)
        numbers = all(isinstance(end, int | float) and not isinstance(end, bool) and -MOST < end < MOST for end in ends)
        if options or len(ends) != 2 or not numbers or ends[0] >= ends[1] or not isinstance(log, bool):
            got = ", ".join(map(ast.unparse, [*args, *keywords]))
            raise InputError(f"{self.text}: expected between(low, high), two numbers, the lower one first (got between({got}))")
        low, high = ends
        if log and low <= 0:
            raise InputError(
                f"{self.text}: between({low}, {high}) is even in logarithm, where both ends must be > 0; say log=False"
            )
        share = self._set(BETWEEN, ordered=True)
        value = math.exp(math.log(low) + (math.log(high) - math.log(low)) * share) if log else low + (high - low) * share
        if all(isinstance(end, int) for end in ends):
            return min(max(round(value), low), high)
        return min(max(round(value, _digits(value, high - low)), low), high)

    def _one_of(self, args: list[ast.expr], keywords: list[ast.keyword]) -> Any:
        if len(args) < 2 or keywords:
            raise InputError(f"{self.text}: one_of takes two things or more to choose from")
        begin = self._next
        ordered = all(isinstance(one, ast.Constant) and isinstance(one.value, int | float) for one in args)
        place = f"{ONE_OF} at {args[0].col_offset}"
        chosen = self.value(args[int(self._set(place, ordered=ordered, count=len(args)))])
        self._next = begin + 1 + max(map(_dimensions, args))
        return chosen
