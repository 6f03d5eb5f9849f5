"""Transcripts: from the classes of a recording's frames to text, and how far one text is from another.

Class 0 is the blank, which stands for nothing said; what follows in `classes` are characters.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from itertools import pairwise

import numpy as np

BLANK = ""  # how class 0 is written


def collapsed(frames_BT: np.ndarray) -> list[np.ndarray]:
    """Return what rows of frames spell: of each run of one class a single one, and no blanks; (B, T) to B rows of codes.

    >>> [row.tolist() for row in collapsed(np.array([[0, 1, 1, 0, 1, 2, 2, 0]]))]
    [[1, 1, 2]]
    """
    kept = frames_BT != 0
    kept[:, 1:] &= frames_BT[:, 1:] != frames_BT[:, :-1]
    return [row[keep] for row, keep in zip(frames_BT, kept, strict=True)]


def written(codes: Sequence[int], symbols: Sequence[str]) -> str:
    """Return the text of some codes; padding, 0, is nothing, and what is below 0 is counted from the end.

    >>> written([2, 1, -1, 0, 0], ("", "a", "b", "?"))
    'ba?'
    """
    return "".join(symbols[code] for code in codes)


def edit_distance(truth: Sequence[Hashable], said: Sequence[Hashable]) -> int:
    """Return how many insertions, deletions and substitutions turn one sequence into the other, at least (Levenshtein, 1966).

    A column of the table of distances is kept as two whole numbers, whose bits say where it rises and falls by one, so that a
    step of `said` takes a dozen operations on those.

    Source: Myers, A Fast Bit-Vector Algorithm for Approximate String Matching Based on Dynamic Programming, 1999,
    https://doi.org/10.1145/316542.316550; in the form of Hyyrö, 2003.

    >>> edit_distance("kitten", "sitting")
    3
    """
    if not truth:
        return len(said)
    places: dict[Hashable, int] = {}
    for i, symbol in enumerate(truth):
        places[symbol] = places.get(symbol, 0) | 1 << i
    whole, last = (1 << len(truth)) - 1, 1 << (len(truth) - 1)
    rises, falls, distance = whole, 0, len(truth)
    for symbol in said:
        equal = places.get(symbol, 0) | falls
        level = (((equal & rises) + rises) ^ rises) | equal
        right_rises, right_falls = falls | ~(level | rises), level & rises
        distance += bool(right_rises & last) - bool(right_falls & last)
        right_rises, right_falls = right_rises << 1 | 1, right_falls << 1
        rises, falls = (right_falls | ~(level | right_rises)) & whole, right_rises & level & whole
    return distance


def error_rate(truth: Sequence[Sequence[Hashable]], said: Sequence[Sequence[Hashable]]) -> float:
    """Return the edit distances of all pairs as a share of what the truths hold; NaN where they hold nothing.

    >>> error_rate(["abcd", "ab"], ["abd", "abc"])
    0.3333333333333333
    """
    symbols = sum(map(len, truth))
    distance = sum(edit_distance(one, other) for one, other in zip(truth, said, strict=True))
    return distance / symbols if symbols else float("nan")


def frames_needed(text: str) -> int:
    """Return how many frames a text needs at least: one a character, and a blank between equal neighbours.

    >>> frames_needed("hello")
    6
    """
    return len(text) + sum(one == other for one, other in pairwise(text))
