"""The statistics of a race: paired, valid whenever one looks, and honest about what they cannot tell.

Two recipes are compared seed by seed, on the logarithm of the ratio of their times to the target. A miss is an infinite time.
The test is a game of bets. Where two recipes are equal, and their noise is alike, the two signs of a difference are equally
likely, whatever its shape; so who bets on "faster" before each seed, at fair odds, does not get rich: a fortune that begins at
1 ever exceeds 20 with a probability of at most 1/20 (Ville, 1939), however long one watches and whenever one stops. The fortune
is the evidence (an "e-value"), and one over the largest that it has been is a p-value at any time. A race asks who is *faster*:
nine tenths of the 5% that a verdict may err are spent on that direction, one tenth on "slower". The interval holds every ratio
that the game does not reject: a confidence sequence.

Many comparisons would find something by luck, so they are corrected by their order: the first five seeds of every contender
only *rank*; then the finalists run fresh seeds, and are tested in that ranking, each at the full level, until one fails (the
fixed-sequence procedure of Maurer, Hothorn and Lehmacher, 1995). The order does not depend on the fresh seeds, so all claims
against the baseline together are wrong in at most 5% of races. That one of its rivals is the "fastest" is a family of its own,
corrected for their number.

Sources: Waudby-Smith, Ramdas, Estimating means of bounded random variables by betting, JRSS B 86, 2024 (arXiv:2010.09686);
Ramdas, Ruf, Larsson, Koolen, Admissible anytime-valid sequential inference must rely on nonnegative martingales, 2020
(arXiv:2009.03167), for the test of symmetry.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

LEVEL = 0.05
FASTER_SHARE = 0.9  # of the level, for the direction a race is about
MAX_SEEDS = 200  # beyond this many seeds two recipes count as equal for all practical purposes
STAKE = 0.95  # of the fortune is bet at most: the rest outlives a miss
SCALES = (2.0, 8.0)  # of the bets: differences of about 1 / scale say as much as larger ones


def log_ratios(baseline: Sequence[float], other: Sequence[float]) -> np.ndarray:
    """Return `log(baseline / other)` pair by pair: above 0 where `other` was faster. Two misses are a tie.

    >>> log_ratios([100.0, 100.0], [100.0, float("inf")]).tolist()
    [0.0, -inf]
    """
    a, b = np.asarray(baseline, dtype=float), np.asarray(other, dtype=float)
    both = np.isinf(a) & np.isinf(b)
    with np.errstate(invalid="ignore"):
        return np.where(both, 0.0, np.log(a) - np.log(b))


def log_evidence(differences: Sequence[float] | np.ndarray) -> np.ndarray:
    """Return the logarithm of the evidence for "above zero" after each difference, in the order in which they came.

    `E_t = mean over scales k of prod_{i <= t} (1 + 0.95 tanh(k d_i))`

    Each factor grows with `d`, and is 1 on average where `d` is as likely as `-d`; so every product is a supermartingale where
    the differences are independent and symmetric about zero or less, and so is their mean. `tanh(k d)` is the bet that wins
    most against normal differences of mean `k` times their variance; two scales suit small noise and large. Shape: that of
    the differences.

    >>> np.exp(log_evidence([1.0, 1.0, -1.0])).round(2).tolist()
    [1.93, 3.74, 0.25]
    """
    d = np.asarray(differences, dtype=float)
    fortunes = np.cumsum(np.log1p(STAKE * np.tanh(np.multiply.outer(d, SCALES))), axis=0)
    return np.logaddexp.reduce(fortunes, axis=-1) - math.log(len(SCALES))


def anytime_p(differences: Sequence[float] | np.ndarray) -> float:
    """Return the p-value of "above zero" that may be looked at after every difference: one over the largest evidence so far.

    >>> anytime_p([]), round(anytime_p([2.0] * 10), 4)
    (1.0, 0.0013)
    """
    return math.exp(-float(np.max(log_evidence(differences), initial=0.0)))


def weighed_p(differences: Sequence[float] | np.ndarray) -> float:
    """Return the p-value for "faster or slower", the two directions weighed by what they may cost.

    `min(p_faster / 0.9, p_slower / 0.1)`: at the 5% level, "faster" may be said wrongly in 4.5% of cases and "slower" in 0.5%.

    >>> weighed_p([1.0] * 10) < weighed_p([-1.0] * 10)
    True
    """
    return Comparison(tuple(differences)).p


def _walsh(d: np.ndarray) -> np.ndarray:
    """Return the Walsh averages `(d_i + d_j) / 2`, sorted; a miss against a miss the other way round counts as 0."""
    i, j = np.triu_indices(len(d))
    with np.errstate(invalid="ignore"):
        averages = (d[i] + d[j]) / 2
    return np.sort(np.where(np.isnan(averages), 0.0, averages))


def centre(values: Sequence[float]) -> float:
    """Return a typical time: the exponential of the median of the Walsh averages of the logarithms.

    Misses are infinite. With few seeds this is almost as precise as a geometric mean and as robust as a median, which is
    what a ranking by five seeds needs (Hodges, Lehmann, 1963).

    >>> round(centre([100.0, 100.0, 400.0]))
    141
    """
    return float(np.exp(_median(_walsh(np.log(np.asarray(values, dtype=float))))))


def ratio_interval(differences: Sequence[float] | np.ndarray, level: float = LEVEL) -> tuple[float, float, float]:
    """Return the estimated ratio and the ends of its interval, from log ratios.

    The estimate is the median of the Walsh averages `(d_i + d_j) / 2` (Hodges, Lehmann, 1963); the interval holds it and every
    ratio that `weighed_p` does not reject, so that its lower end is above 1 where "faster" is proven; it is valid whenever one
    looks.
    """
    d = np.asarray(differences, dtype=float)
    middle = _median(_walsh(d))
    low, high = _bound(d, level * FASTER_SHARE), -_bound(-d, level * (1 - FASTER_SHARE))
    return float(np.exp(middle)), float(np.exp(min(low, middle))), float(np.exp(max(high, middle)))


def _bound(d: np.ndarray, level: float) -> float:
    """Return the largest shift of which the differences prove that they lie above it."""
    finite = d[np.isfinite(d)]
    if not len(finite):
        return -math.inf if anytime_p(d) > level else math.inf
    low, high = float(finite.min()) - FAR, float(finite.max()) + FAR
    if anytime_p(d - low) > level:
        return -math.inf
    for _ in range(50):
        middle = (low + high) / 2
        low, high = (low, middle) if anytime_p(d - middle) > level else (middle, high)
    return low


FAR = 20.0 / min(SCALES)  # from there on a bet is as good as the whole stake


def _median(ordered: np.ndarray) -> float:
    low, high = ordered[(len(ordered) - 1) // 2], ordered[len(ordered) // 2]
    return float(low if low == high else (low + high) / 2)


def median_interval(values: Sequence[float], level: float = LEVEL) -> tuple[float, float, float]:
    """Return the median and an interval for it from order statistics; misses count as infinite.

    The interval runs from the k-th smallest to the k-th largest value, with k the largest for which a fair coin gives fewer
    than k heads in n tosses with probability at most level / 2 (with five values: the smallest and the largest, 94%).

    >>> median_interval([3.0, 1.0, 2.0, 5.0, 4.0])
    (3.0, 1.0, 5.0)
    """
    ordered = np.sort(np.asarray(values, dtype=float))
    n = len(ordered)
    below, k = 0.0, 0
    while k < n // 2:
        below += math.comb(n, k) / 2**n
        if below > level / 2:
            break
        k += 1
    k = max(k - 1, 0)
    return _median(ordered), float(ordered[k]), float(ordered[n - 1 - k])


def seeds_needed(differences: Sequence[float] | np.ndarray, level: float = LEVEL * FASTER_SHARE) -> float:
    """Return about how many seeds in all would prove "above zero" at this level; infinite where nothing points that way.

    `n = (log(1 / level) + log(scales)) / growth`: the evidence grows on as it has grown a seed so far, at the scale that suits
    best.

    >>> seeds_needed([0.5, 0.4, 0.6, 0.5]) < seeds_needed([0.2, 0.1, 0.3, -0.1]) < seeds_needed([-0.5, -0.5])
    True
    """
    d = np.asarray(differences, dtype=float)
    if len(d) < 2:
        return math.inf
    growth = float(np.log1p(STAKE * np.tanh(np.multiply.outer(d, SCALES))).mean(axis=0).max())
    return (math.log(len(SCALES)) - math.log(level)) / growth if growth > 0 else math.inf


@dataclass(frozen=True)
class Comparison:
    """One recipe against another over the same seeds: log ratios of their times, above 0 where it was faster."""

    differences: tuple[float, ...]

    @cached_property
    def ratio(self) -> float:
        """How many times as fast it is."""
        return float(np.exp(_median(_walsh(np.array(self.differences)))))

    @cached_property
    def interval(self) -> tuple[float, float]:
        """The ends of the interval of the ratio."""
        return ratio_interval(self.differences)[1:]

    @cached_property
    def p_faster(self) -> float:
        """The p-value of "faster" alone."""
        return anytime_p(self.differences)

    @cached_property
    def p_slower(self) -> float:
        """The p-value of "slower" alone."""
        return anytime_p(-np.asarray(self.differences, dtype=float))

    @property
    def p(self) -> float:
        """The p-value of "faster or slower", weighed; see `weighed_p`."""
        return min(1.0, self.p_faster / FASTER_SHARE, self.p_slower / (1 - FASTER_SHARE))

    def is_told(self, level: float) -> bool:
        """Return whether either direction is proven at a level of its own."""
        return min(self.p_faster, self.p_slower) <= level

    def seeds_to_tell(self, level: float) -> float:
        """Return about how many seeds in all would prove either direction at that level; infinite where nothing points so."""
        d = np.asarray(self.differences, dtype=float)
        return min(seeds_needed(d, level), seeds_needed(-d, level))

    @property
    def pairs(self) -> int:
        return len(self.differences)

    @cached_property
    def more_seeds(self) -> int | None:
        """About how many more seeds would settle it; None: more than anybody runs."""
        faster = seeds_needed(self.differences)
        slower = seeds_needed(-np.asarray(self.differences, dtype=float), LEVEL * (1 - FASTER_SHARE))
        needed = min(faster, slower)
        return max(math.ceil(needed) - self.pairs, 1) if needed <= MAX_SEEDS else None

    @property
    def faster(self) -> bool:
        """Whether that is proven, and the other direction is not."""
        return self.p <= LEVEL and self.p_faster / FASTER_SHARE <= LEVEL < self.p_slower / (1 - FASTER_SHARE)

    @property
    def slower(self) -> bool:
        """Whether that is proven, and the other direction is not."""
        return self.p <= LEVEL and self.p_slower / (1 - FASTER_SHARE) <= LEVEL < self.p_faster / FASTER_SHARE


def compare(baseline: Sequence[float], other: Sequence[float]) -> Comparison:
    """Compare times to the target, pair by pair in the order of their seeds (misses infinite)."""
    return Comparison(tuple(log_ratios(baseline, other).tolist()))


def in_sequence(p_values: Sequence[float]) -> list[float]:
    """Return p-values corrected for a fixed order of testing: each the largest so far.

    >>> in_sequence([0.01, 0.2, 0.03])
    [0.01, 0.2, 0.2]
    """
    return np.maximum.accumulate(np.asarray(p_values, dtype=float)).tolist() if len(p_values) else []
