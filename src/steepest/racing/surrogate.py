"""Which recipes of a space are worth trying next: those of which most is expected, by a model of how well recipes do.

A Gaussian process over the logarithm of the time to the target (Rasmussen, Williams, 2006). Two recipes are as alike as
`a exp(-d^2 / (2 w^2)) r^n`: d is how far their numbers lie apart as shares of their ranges, n in how many places they hold
different things. What is tried next has the largest expected improvement on the best time so far (Jones, Schonlau, Welch,
1998); of several, each is chosen as if those before it had come out as expected (Ginsbourger, Le Riche, Carraro, 2010).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np

from .spaces import Settings

WIDTHS, RATIOS, AMPLITUDES = (0.15, 0.3, 0.6), (0.2, 0.5, 0.8), (0.25, 1.0)  # w, r and a, of which the likeliest are taken
CERTAIN = 1e-4  # variance of what is taken for granted
DIGITS = 6  # of an expected improvement: others are rounding, which threads and machines change


class Likeness:
    """How far any two of some recipes lie apart, shape (n, n) each: squares of the differences of their numbers, and in how
    many places they hold different things.
    """

    def __init__(self, settings: Sequence[Settings]) -> None:
        count = len(settings)
        self.squares, self.unlike = np.zeros((count, count)), np.zeros((count, count))
        for column in zip(*settings, strict=True):
            places = _codes([None if one is None or not one.ordered else one.place for one in column])
            things = _codes([None if one is None else (one.place, one.at) for one in column])
            at = np.array([0.0 if one is None else one.at for one in column])
            numbers = np.array([one is not None and one.ordered for one in column])
            same = numbers[:, None] & numbers & (places[:, None] == places)
            self.squares += np.where(same, (at[:, None] - at) ** 2, 0.0)
            self.unlike += ~same & (things[:, None] != things)

    def between(self, these: Sequence[int], those: Sequence[int], width: float, ratio: float) -> np.ndarray:
        """Return how alike recipes are, from 0 to 1."""
        at = np.ix_(these, those)
        return np.exp(-self.squares[at] / (2 * width**2)) * ratio ** self.unlike[at]


def _codes(values: Sequence[str | tuple[str, float] | None]) -> np.ndarray:
    known = {value: code for code, value in enumerate(dict.fromkeys(values))}
    return np.array([known[value] for value in values])


@dataclass
class Surrogate:
    """What is known of some recipes, and what that says of others.

    Attributes:
        likeness: of all recipes.
        recipes: those that were tried.
        values: what came of each, the smaller the better.
        variances: how uncertain each value is.
    """

    likeness: Likeness
    recipes: list[int]
    values: list[float]
    variances: list[float]

    def __post_init__(self) -> None:
        self.middle = float(np.median(self.values))
        self.shape = max(product(WIDTHS, RATIOS, AMPLITUDES), key=self._likelihood)

    def expected_improvements(self, recipes: Sequence[int], best: float) -> tuple[np.ndarray, np.ndarray]:
        """Return for each recipe how far below the best so far its value is expected to lie, and its expected value."""
        *shape, amplitude = self.shape
        factor, weights = self._solved(self.shape)
        across = amplitude * self.likeness.between(recipes, self.recipes, *shape)
        mean = self.middle + across @ weights
        explained = np.linalg.solve(factor, across.T)
        deviation = np.sqrt(np.maximum(amplitude - (explained**2).sum(axis=0), 1e-9))
        z = (best - mean) / deviation
        below = np.array([math.erfc(-value / math.sqrt(2)) / 2 for value in z])
        density = np.exp(-(z**2) / 2) / math.sqrt(2 * math.pi)
        return deviation * (z * below + density), mean

    def take_for_granted(self, recipe: int, value: float) -> None:
        """Take a value for what came of a recipe that is about to be tried."""
        self.recipes.append(recipe)
        self.values.append(value)
        self.variances.append(CERTAIN)

    def _solved(self, shape: tuple[float, float, float]) -> tuple[np.ndarray, np.ndarray]:
        width, ratio, amplitude = shape
        covariance = amplitude * self.likeness.between(self.recipes, self.recipes, width, ratio) + np.diag(self.variances)
        factor = np.linalg.cholesky(covariance)
        return factor, np.linalg.solve(factor.T, np.linalg.solve(factor, np.array(self.values) - self.middle))

    def _likelihood(self, shape: tuple[float, float, float]) -> float:
        factor, weights = self._solved(shape)
        return float(-(np.array(self.values) - self.middle) @ weights / 2 - np.log(np.diag(factor)).sum())


def most_promising(known: Surrogate, recipes: Sequence[int], best: float, count: int) -> list[int]:
    """Return so many of some recipes, those of which most is expected; the first of equals."""
    chosen: list[int] = []
    left = list(recipes)
    while left and len(chosen) < count:
        expected, mean = known.expected_improvements(left, best)
        at = int(np.argmax(np.round(expected / max(float(expected.max()), 1e-300), DIGITS)))
        known.take_for_granted(left[at], float(mean[at]))
        chosen.append(left.pop(at))
    return chosen
