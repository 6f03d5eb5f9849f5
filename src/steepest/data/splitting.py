"""Splitting rows into parts: train, validation, test and certificate.

Nothing reads the certificate part before an artifact is certified. Classes keep their shares in every part.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from itertools import pairwise

import numpy as np

from ..errors import InputError, check_seed
from .targets import Targets

PARTS: tuple[str, ...] = ("train", "validation", "test", "certificate")
SHARES = (0.6, 0.15, 0.15, 0.1)


def check_shares(shares: tuple[float, ...]) -> tuple[float, ...]:
    """Return four shares that sum to 1, or raise."""
    if not isinstance(shares, tuple | list) or not all(isinstance(share, int | float) for share in shares):
        raise InputError(f"parts must be four shares of {', '.join(PARTS)} such as (0.6, 0.15, 0.15, 0.1) (got {shares!r})")
    if len(shares) != len(PARTS) or not all(share >= 0 for share in shares) or abs(sum(shares) - 1) > 1e-6 or shares[0] <= 0:
        raise InputError(f"parts must be four shares of {', '.join(PARTS)} that sum to 1, train above 0 (got {tuple(shares)})")
    return tuple(shares)


def split_rows(
    rows: np.ndarray, codes: np.ndarray | None, shares: tuple[float, ...], seed: int, groups: np.ndarray | None = None
) -> list[np.ndarray]:
    """Deal rows out into as many parts as there are shares, at random but with each class in proportion.

    Args:
        rows: row numbers, shape (n,).
        codes: the class of each of these rows, shape (n,), or None to deal without regard to classes.
        shares: the share of each part, summing to 1.
        seed: the same seed deals the same way.
        groups: the group of each of these rows, shape (n,): rows of one group fall in one part, classes as nearly in
            proportion as that allows.
    """
    rng = np.random.default_rng(seed)
    if groups is not None:
        owner = _dealt_groups(groups, codes, np.asarray(shares), rng)
        return [np.sort(rows[owner == part]) for part in range(len(shares))]
    classes = [rows] if codes is None else [rows[codes == code] for code in np.unique(codes)]
    parts: list[list[np.ndarray]] = [[] for _ in shares]
    owed = np.zeros(len(shares))
    for group in classes:
        shuffled = rng.permutation(group)
        exact = np.asarray(shares) * len(group) + owed
        counts = _whole(exact, len(group))
        owed = exact - counts
        for part, piece in zip(parts, np.split(shuffled, np.cumsum(counts)[:-1]), strict=True):
            part.append(piece)
    return [np.sort(np.concatenate(part)) for part in parts]


def _dealt_groups(groups: np.ndarray, codes: np.ndarray | None, shares: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return the part of each row: the largest group first, each to the part that lacks most of what it holds."""
    _, group = np.unique(groups, return_inverse=True)
    _, code = np.unique(np.zeros(len(groups)) if codes is None else codes, return_inverse=True)
    held = np.zeros((group.max() + 1, code.max() + 1))
    np.add.at(held, (group, code), 1)
    total = held.sum(axis=0)
    lacking = shares[:, None] * total
    order = rng.permutation(len(held))
    part_of = np.empty(len(held), dtype=np.int64)
    empty = shares > 0
    for done, one in enumerate(order[np.argsort(-held.sum(axis=1)[order], kind="stable")]):
        open_to = empty if empty.sum() == len(held) - done else shares > 0  # the last groups go where there are none yet
        part = int(np.argmax(np.where(open_to, lacking @ (held[one] / total), -np.inf)))
        part_of[one], empty[part] = part, False
        lacking[part] -= held[one]
    return part_of[group]


def deal_with_test(
    targets: Targets, shares: tuple[float, ...], seed: int, source: str, tested: np.ndarray
) -> dict[str, np.ndarray]:
    """Deal rows out into the four parts; those that are `tested`, if any, are the test part."""
    if tested.all():
        raise InputError(f"{source}: all {len(tested)} rows are test rows; none are left to train on")
    return deal_around(targets, shares, seed, source, {"test": np.flatnonzero(tested)} if tested.any() else {})


def in_turn(steps: int, shares: tuple[float, ...], source: str) -> list[tuple[int, int]]:
    """Return where each part begins and ends among steps that follow each other: nothing is shuffled across a cut.

    >>> in_turn(10, (0.6, 0.2, 0.2, 0.0), "a series")
    [(0, 6), (6, 8), (8, 10), (10, 10)]
    """
    shares = check_shares(shares)
    cuts = [0, *(round(steps * float(share)) for share in np.cumsum(shares))]
    cuts[-1] = steps
    for name, share, begin, end in zip(PARTS, shares, cuts, cuts[1:], strict=False):
        if share and begin == end:
            raise InputError(f"{source}: {steps} steps are too few to split in {', '.join(PARTS)}; the {name} part is empty")
    return list(pairwise(cuts))


def _whole(exact: np.ndarray, total: int) -> np.ndarray:
    """Round counts so that they sum to `total`, at least one in the first; what rounding leaves owed, later groups settle."""
    counts = np.maximum(np.floor(exact + 1e-9), 0).astype(int)
    counts[0] = max(counts[0], min(1, total))
    while counts.sum() != total:
        error = exact - counts
        if counts.sum() < total:
            counts[np.argmax(error)] += 1
        else:
            counts[np.argmin(np.where(counts > (np.arange(len(counts)) == 0), error, np.inf))] -= 1
    return counts


def folds(
    rows: np.ndarray, codes: np.ndarray | None, count: int, seed: int, groups: np.ndarray | None = None
) -> list[np.ndarray]:
    """Return `count` disjoint sets of rows of (nearly) equal size, each class in proportion, no group in two of them."""
    if groups is not None:
        if not 2 <= count <= (most := len(np.unique(groups))):
            raise InputError(f"folds must be between 2 and {most}, the number of groups (got {count})")
        return split_rows(rows, codes, (1 / count,) * count, seed, groups)
    smallest = len(rows) if codes is None else int(np.unique(codes, return_counts=True)[1].min())
    if not 2 <= count <= smallest:
        raise InputError(f"folds must be between 2 and {smallest}, the rows of the smallest class (got {count})")
    return split_rows(rows, codes, (1 / count,) * count, seed)


def deal(
    targets: Targets, shares: tuple[float, ...], seed: int, source: str, num_test: int = 0, *, with_test: bool = True,
    groups: np.ndarray | None = None,
) -> dict[str, np.ndarray]:  # fmt: skip
    """Deal rows out into the four parts; the last `num_test` rows, if any, are the test part given by a file.

    Without a test part to deal out, its share goes to the others.
    """
    rows = len(targets.values)
    tested = np.arange(rows - num_test, rows)
    given = {"test": tested} if num_test or not with_test else {}
    return deal_around(targets, shares, seed, source, given, groups)


def deal_around(
    targets: Targets, shares: tuple[float, ...], seed: int, source: str, given: Mapping[str, np.ndarray],
    groups: np.ndarray | None = None,
) -> dict[str, np.ndarray]:  # fmt: skip
    """Deal rows out into the parts that are not given; the shares of those that are go to the others."""
    shares = check_shares(shares)
    check_seed(seed)
    rows = np.setdiff1d(np.arange(len(targets.values)), np.concatenate([np.empty(0, dtype=np.int64), *given.values()]))
    shares = without(given, shares)
    codes = None if targets.codes is None else targets.codes[rows]
    own = None if groups is None else groups[rows]
    parts = dict(zip(PARTS, split_rows(rows, codes, shares, seed, own), strict=True))
    for name, share in zip(PARTS, shares, strict=True):
        if share and not len(parts[name]):
            of = f"{len(rows)} rows" if own is None else f"{len(np.unique(own))} groups"
            raise InputError(f"{source}: {of} are too few to split in {', '.join(PARTS)}; the {name} part is empty")
    return parts | dict(given)


def without(given: Collection[str], shares: tuple[float, ...]) -> tuple[float, ...]:
    """Return the shares of the other parts where some are given."""
    left = 1 - sum(share for name, share in zip(PARTS, shares, strict=True) if name in given)
    return tuple(0.0 if name in given else share / left for name, share in zip(PARTS, shares, strict=True))
