"""Texts as rows of token numbers: words, or the pieces that byte-pair encoding finds, as the training part has them."""

from __future__ import annotations

import importlib
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from itertools import chain
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import InputError, listed, needs, shown
from ..forms import Form
from ..values import tupled
from .cleaning import LONGEST_LABEL, CleaningReport, Reading
from .inputs import Texts
from .spelling import COLUMNS, spelled

if TYPE_CHECKING:
    from .gathering import Ragged, Spelled

WORD = re.compile(r"\w+(?:['’]\w+)*|[^\w\s]")
PADDING, UNKNOWN = 0, 1  # the first two tokens
MAX_WORDS = 30_000
MAX_PIECES = 8_000
MAX_TOKENS = 512  # of a row; longer texts are cut


def words(text: str) -> list[str]:
    """Return the words and punctuation marks of a text, in small letters.

    >>> words("Don't panic!")
    ["don't", 'panic', '!']
    """
    return WORD.findall(text.lower())


@dataclass(frozen=True)
class TextPreprocessing:
    """Texts to token numbers: 0 is padding, 1 what the vocabulary does not hold; a text without a token is one unknown one.

    Spelled, a token is a line of numbers, see `spelling.spelled`: a word that the vocabulary does not hold has a hash of its
    own, and the runs of characters it shares with others. Pieces are never spelled: their vocabulary holds every text.
    """

    vocabulary: tuple[str, ...]
    longest: int
    pieces: str | None = None  # how byte-pair encoding takes texts apart, as `tokenizers` writes it down; None: words
    spelled: bool = False
    column: str | None = None  # of a table that new texts are read from; None: a text a line
    reading: Reading = field(default_factory=Reading)  # how that table is to be read

    @property
    def form(self) -> Form:
        shape = (self.longest, COLUMNS) if self.spelled else (self.longest,)
        return Form("text", shape, len(self.vocabulary), spelled=self.spelled)

    def __call__(self, texts: Texts) -> Ragged | Spelled:
        if self.spelled:
            return self._spelled(texts)
        return _ragged([(found or [UNKNOWN])[: self.longest] for found in self.encoded(texts.values)])

    def _spelled(self, texts: Texts) -> Spelled:
        """Return texts as places in a table of the different words they hold, which are few beside all words."""
        import torch

        from .gathering import Spelled

        places: dict[str, int] = {}
        found = ((words(text) or [""])[: self.longest] for text in texts.values)
        rows = [[places.setdefault(word, len(places) + 1) for word in row] for row in found]
        table = spelled(places, (self._places.get(word, UNKNOWN) for word in places))
        return Spelled(torch.from_numpy(table), _ragged(rows))

    def encoded(self, texts: Iterable[str]) -> Iterable[list[int]]:
        """Yield the tokens of each text."""
        if self.pieces is not None:
            return (encoding.ids for encoding in _tokenizers().Tokenizer.from_str(self.pieces).encode_batch(list(texts)))
        places = self._places
        return ([places.get(word, UNKNOWN) for word in words(text)] for text in texts)

    @cached_property
    def _places(self) -> dict[str, int]:
        return {word: place for place, word in enumerate(self.vocabulary)}

    def to_dict(self) -> dict[str, Any]:
        return {"kind": "text", **asdict(self), "reading": self.reading.to_dict()}

    @classmethod
    def from_dict(cls, value: dict[str, Any]) -> TextPreprocessing:
        made = tupled(value, "vocabulary")
        if "reading" in made:  # which older records lack
            made["reading"] = Reading.from_dict(made["reading"])
        return cls(**made)


def _ragged(rows: Sequence[Sequence[int]]) -> Ragged:
    import torch

    from .gathering import Ragged

    lengths = np.fromiter(map(len, rows), dtype=np.int64, count=len(rows))
    flat = np.fromiter(chain.from_iterable(rows), dtype=np.int64, count=lengths.sum())
    return Ragged(torch.from_numpy(flat), torch.from_numpy(np.concatenate([[0], np.cumsum(lengths)])))


def fit_texts(given: Texts, report: CleaningReport) -> TextPreprocessing:
    """Fit the vocabulary on the training texts: every word that occurs twice, or the pieces of byte-pair encoding."""
    texts = given.values.tolist()
    if given.tokens == "bpe":
        found = _trained_pieces(texts)
        vocabulary = tuple(sorted(found.get_vocab(), key=found.get_vocab().__getitem__))
        made = TextPreprocessing(vocabulary, MAX_TOKENS, found.to_str())
    else:
        counts = Counter(chain.from_iterable(map(words, texts)))
        repeated = [word for word, count in counts.most_common(MAX_WORDS) if count > 1]
        once = sum(count == 1 for count in counts.values())
        report.add("words that occur once in the training part", once, "taken as unknown")
        made = TextPreprocessing(("(padding)", "(unknown)", *repeated), MAX_TOKENS)
    lengths = np.fromiter(map(len, made.encoded(texts)), dtype=np.int64)
    report.add(f"texts of more than {MAX_TOKENS} tokens", int((lengths > MAX_TOKENS).sum()), "cut")
    longest, reading = int(np.clip(lengths.max(), 1, MAX_TOKENS)), given.reading or Reading()
    return replace(made, longest=longest, column=given.column, reading=reading)


def _trained_pieces(texts: Sequence[str]) -> Any:
    """Train byte-level byte-pair encoding (Sennrich et al., 2016, arXiv:1508.07909)."""
    library = _tokenizers()
    found = library.Tokenizer(library.models.BPE(unk_token="(unknown)"))
    found.normalizer = library.normalizers.Lowercase()
    found.pre_tokenizer = library.pre_tokenizers.ByteLevel(add_prefix_space=False)
    trainer = library.trainers.BpeTrainer(
        vocab_size=MAX_PIECES, special_tokens=["(padding)", "(unknown)"], show_progress=False,
        initial_alphabet=library.pre_tokenizers.ByteLevel.alphabet(),
    )  # fmt: skip
    found.train_from_iterator(texts, trainer)
    return found


def _tokenizers() -> Any:
    with needs("tokenizers", "byte-pair encoding", "text"):
        return importlib.import_module("tokenizers")


LABEL_AND_TEXT = re.compile(r"(\S+)[ \t]+(.*)")
MAX_LABEL_SHARE = 0.05  # of the lines: first words that are labels are few and come again


def labelled_lines(text: str, *, few: bool = True) -> tuple[list[str], list[str]] | None:
    """Return labels and texts, if every line of a text is a label and a text; lines end at line feeds alone.

    `few`: only if the labels are two or more, and few, as classes are; not where somebody says that they are labels.
    """
    found = [LABEL_AND_TEXT.fullmatch(line.rstrip("\r")) for line in text.split("\n") if line.strip()]
    if not found or not all(found):
        return None
    labels = [match[1] for match in found if match]
    if max(map(len, labels)) > LONGEST_LABEL or (few and not 2 <= len(set(labels)) <= max(2, MAX_LABEL_SHARE * len(labels))):
        return None
    return labels, [match[2] for match in found if match]


MANY_LINES = 10  # that begin alike: fewer may do so by chance
NEARLY_ALL = 0.9
MAX_NEARLY_SHARE = 0.25  # different first words of the lines: beyond, they are words of a text


def nearly_labelled(text: str) -> str | None:
    """Return what keeps a text from being labelled lines where most lines look like it; None: it is a plain text."""
    lines = [line.rstrip("\r") for line in text.split("\n")]
    filled = [i for i, line in enumerate(lines) if line.strip()]
    found = {i: match[1] for i in filled if (match := LABEL_AND_TEXT.fullmatch(lines[i])) and len(match[1]) <= LONGEST_LABEL}
    counts = Counter(found.values())
    often = {label for label, count in counts.items() if count > 1}
    alike = sum(counts[label] for label in often)
    if len(found) < MANY_LINES or alike < NEARLY_ALL * len(filled) or len(often) > MAX_NEARLY_SHARE * len(filled):
        return None
    odd = next((i for i in filled if i not in found), None)
    if odd is not None:
        return (
            f"line {odd + 1}: expected a label and a text, as on {len(found)} of {len(filled)} lines (got {shown(lines[odd])})"
        )
    if len(counts) == 1:
        return f"one class only: every line begins with {shown(*counts)}"
    return f"{len(counts)} different labels ({listed(counts, 3)}) on {len(filled)} lines are many for classes"


def texts_of_lines(text: str, classes: Iterable[Any], source: str) -> list[str]:
    """Return the texts of new lines, which may begin with one of the classes, as lines of training do; a blank line is an
    empty text, so that rows keep the numbers of their lines.
    """
    lines = [line.rstrip("\r") for line in text.removesuffix("\n").split("\n")]
    known, filled = {str(name) for name in classes}, [i for i, line in enumerate(lines) if line.strip()]
    if not filled:
        raise InputError(f"{source} is empty (only blank lines)")
    found = {i: match for i in filled if (match := LABEL_AND_TEXT.fullmatch(lines[i])) and match[1] in known}
    if len(found) == len(filled):
        return [found[i][2] if i in found else "" for i in range(len(lines))]
    if 2 * len(found) > len(filled):
        odd = next(i for i in filled if i not in found)
        raise InputError(
            f"{source}, line {odd + 1}: expected a label and a text, as on {len(found)} of {len(filled)} lines (a label is one "
            f"of {', '.join(sorted(known)[:6])}); give every line its label, or none"
        )
    return lines


def check_tokens(tokens: str) -> str:
    """Return how texts are taken apart, or raise."""
    if tokens not in ("words", "bpe"):
        raise InputError(f"tokens must be 'words' or 'bpe' (got {tokens!r})")
    return tokens
