"""How words are spelled, as numbers: a hash of each word, and one of each run of characters in it."""

from __future__ import annotations

import zlib
from collections.abc import Iterable

import numpy as np

SHORTEST, LONGEST = 3, 5  # runs of characters
MAX_GRAMS = 40  # of a word: all those of 14 letters; longer words keep their first ones
COLUMNS = 2 + MAX_GRAMS  # the number of the word, its hash, its runs of characters


def grams(word: str) -> list[str]:
    """Return the runs of 3 to 5 characters of `<word>`, whose marks tell how it begins and ends; at most `MAX_GRAMS`.

    Source: Bojanowski et al., Enriching Word Vectors with Subword Information, 2017, arXiv:1607.04606.

    >>> grams("cat")
    ['<ca', 'cat', 'at>', '<cat', 'cat>', '<cat>']
    """
    marked = f"<{word}>"[: MAX_GRAMS + LONGEST]  # no more is kept
    runs = [marked[i : i + size] for size in range(SHORTEST, LONGEST + 1) for i in range(len(marked) - size + 1)]
    return runs[:MAX_GRAMS]


def hashed(text: str) -> int:
    """Return a number from 1 to 2^32 for a text, the same in every process."""
    return zlib.crc32(text.encode(errors="surrogatepass")) + 1  # 0 is left to padding


def spelled(words: Iterable[str], numbers: Iterable[int]) -> np.ndarray:
    """Return for each word `[number, hash, hashes of its grams, 0, ...]`, below a line of zeros; (words + 1, COLUMNS)."""
    lines = [[number, hashed(word), *map(hashed, grams(word))] for word, number in zip(words, numbers, strict=True)]
    table = np.zeros((len(lines) + 1, COLUMNS), dtype=np.int64)
    for line, row in zip(lines, table[1:], strict=True):
        row[: len(line)] = line
    return table
