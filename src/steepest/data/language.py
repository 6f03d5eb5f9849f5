"""One long text, to learn what comes next in it: characters as numbers, and the windows that a network reads."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import InputError, whole
from ..forms import Form
from ..sources import bare_name
from .cleaning import CleaningReport
from .core import Data
from .inputs import Stream
from .reading import read_text
from .splitting import PARTS, SHARES, in_turn
from .targets import Targets

if TYPE_CHECKING:
    from .gathering import Windows

CONTEXT = 256
UNKNOWN = "\N{REPLACEMENT CHARACTER}"  # stands for characters that the training part does not hold


@dataclass(frozen=True)
class CharacterPreprocessing:
    """Characters to numbers, by their place in the alphabet; those that it does not hold share one."""

    alphabet: str
    context: int

    @property
    def form(self) -> Form:
        return Form("language", (self.context,), len(self.alphabet))

    def __call__(self, stream: Stream) -> Windows:
        return stream.seen()

    def to_dict(self) -> dict[str, Any]:
        return {"kind": "language", **asdict(self)}

    @classmethod
    def from_dict(cls, value: dict[str, Any]) -> CharacterPreprocessing:
        return cls(**value)


def encoded(text: str, alphabet: str) -> np.ndarray:
    """Return each character's place in the alphabet; -1 for those it does not hold."""
    points = np.frombuffer(text.encode("utf-32-le", "surrogatepass"), dtype=np.uint32)
    places = np.full(int(max(points.max(initial=0), *(ord(c) for c in alphabet))) + 1, -1, dtype=np.int32)
    places[[ord(c) for c in alphabet]] = np.arange(len(alphabet))
    return places[points]


def read_characters(
    path: str | Path,
    *,
    context: int = CONTEXT,
    stride: int | None = None,
    parts: tuple[float, ...] = SHARES,
    seed: int = 0,
    name: str | None = None,
) -> Data:
    """Read a plain text to learn its next characters from.

    The parts follow each other in the text: the first share is trained on, the last ones are held out, and nothing is shuffled
    across a cut.

    Args:
        path: a text file, gzipped or not.
        context: how many characters a network reads at once, >= 1; a row is that many.
        stride: how far the windows of the training part lie apart; None: a quarter of the context, so that an epoch sees every
            character four times, at different places in a row. Windows of the other parts do not overlap.
        parts: shares of train, validation, test and certificate.
        seed: not used: nothing is dealt out at random.
        name: what records call the data; None: the file's name.
    """
    del seed
    whole("context", context, 1)
    stride = max(1, context // 4) if stride is None else stride
    whole("stride", stride, 1)
    text, notes = read_text(path)
    name = name or bare_name(path)
    report = CleaningReport(len(text), 1)
    for note in notes:
        report.note(note)
    cuts = in_turn(len(text), parts, name)
    begins = [
        np.arange(begin, end - context, stride if part == "train" else context)
        for part, (begin, end) in zip(PARTS, cuts, strict=True)
    ]
    for part, (begin, end), found in zip(PARTS, cuts, begins, strict=True):
        if end > begin and not len(found):
            raise InputError(
                f"{path}: the {part} part has {end - begin} characters, fewer than a window of {context} and one more; "
                "give a smaller context, or other parts"
            )
    alphabet = "".join(sorted(set(text[: cuts[0][1]])))
    codes = encoded(text, alphabet)
    if (unknown := int((codes < 0).sum())) or len(alphabet) < 2:
        report.add("characters that the training part does not hold", unknown, "taken as one unknown character")
        alphabet += "" if UNKNOWN in alphabet else UNKNOWN  # the training part may hold it itself
        codes = np.where(codes < 0, alphabet.index(UNKNOWN), codes)
    if len(alphabet) < 2:
        raise InputError(f"{path}: the training part holds no character but {UNKNOWN!r}; expected a text in UTF-8")
    rows = np.concatenate(begins).astype(np.int64)
    ends = np.cumsum([0, *map(len, begins)])
    dealt = {part: np.arange(ends[i], ends[i + 1]) for i, part in enumerate(PARTS)}
    targets = Targets("language", codes[rows + 1].astype(np.int64), tuple(alphabet))
    return Data(name, Stream(codes.astype(np.uint32), alphabet, rows, context), targets, dealt, report, "none", in_time=True)
