"""The form of one row of network input: what a network has to know of the data it is built for, and nothing else."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

TOKENS = ("text", "language")  # rows of whole numbers that stand for words or characters; 0 is padding
PADDED = ("text", "sound")  # rows of unequal length, which end in zeros
SEQUENCES = (*TOKENS, "series", "sound")
ROWS = {"language": "windows", "series": "windows", "sound": "recordings", "text": "texts"}  # what their rows are called
MEASURED = ROWS | {"language": "characters"}  # what metrics are means over


@dataclass(frozen=True)
class Form:
    """What one row looks like.

    Attributes:
        kind: `"table"`, `"image"`, `"array"`, `"items"`, `"text"`, `"language"`, `"series"` or `"sound"`.
        shape: of one row: (columns,), (channels, height, width), (tokens,) or (steps, features). Rows of a text or a sound are
            at most as long as that: a batch is as long as its longest row, and shorter rows end in zeros.
        vocabulary: how many different tokens there are, padding among them.
        codes: columns of a table that hold the numbers of categories: (column, how many categories).
        numbers: columns of a table that hold scaled numbers that were measured, not marks of zero and one.
        groups: of a table, where what each column of the data became begins; `()`: every column is one of its own.
        each_step: whether a network answers at every step, as it always does of a language; class 0 where there is padding.
        spelled: whether a token of a text is a line of numbers that say how it is spelled too: (tokens, numbers).
    """

    kind: str
    shape: tuple[int, ...]
    vocabulary: int = 0
    codes: tuple[tuple[int, int], ...] = ()
    spelled: bool = False
    numbers: tuple[int, ...] = ()
    each_step: bool = False
    groups: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        if self.kind == "language":
            object.__setattr__(self, "each_step", True)

    @classmethod
    def of(cls, value: Form | tuple[int, ...]) -> Form:
        """Return a form as it is, and that of an array for a shape."""
        return value if isinstance(value, Form) else cls("array", tuple(value))

    @classmethod
    def from_dict(cls, value: Mapping[str, Any]) -> Form:
        """Read a form back from its JSON form."""
        codes = tuple((int(column), int(count)) for column, count in value["codes"])
        numbers = tuple(value.get("numbers", ()))
        told = value.get("spelled", False), numbers, value.get("each_step", False), tuple(value.get("groups", ()))
        return cls(value["kind"], tuple(value["shape"]), value["vocabulary"], codes, *told)

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)

    @property
    def is_tokens(self) -> bool:
        """Whether a row is whole numbers that a network looks up."""
        return self.kind in TOKENS

    @property
    def is_sequence(self) -> bool:
        """Whether a row goes on in time: tokens, or steps of features."""
        return self.kind in SEQUENCES or (self.kind == "array" and len(self.shape) == 2)
