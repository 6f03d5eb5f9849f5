"""What cleaning found and did, line by line: nothing is repaired silently."""

from __future__ import annotations

import re
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

SINGULAR = (
    (re.compile(r"^((?:missing |empty |distinct )?\w+)s\b"), r"\1"), (re.compile(r" that are no (.+)s$"), r" that is no \1"),
    (re.compile(r" that (go|occur)\b"), r" that \1s"), (re.compile(" that gos"), " that goes"),
)  # fmt: skip


def counted(count: int, what: str) -> str:
    """Return a count and what was counted, in the singular where there is one.

    >>> counted(1, "files that are no images"), counted(2_000, "missing cells")
    ('1 file that is no image', '2,000 missing cells')
    """
    if count == 1:
        for pattern, one in SINGULAR:
            what = pattern.sub(one, what)
    return f"{count:,} {what}"


@dataclass(frozen=True)
class Finding:
    """One thing that cleaning did or noticed: what, in which column (None: the whole table), how often, done what."""

    what: str
    column: str | None
    count: int
    action: str

    def __str__(self) -> str:
        where = f" in {self.column}" if self.column else ""
        return f"{counted(self.count, self.what)}{where}: {self.action}"


@dataclass
class CleaningReport:
    """Everything that cleaning did, in order; and which rows of a test file it kept, by their numbers there."""

    rows: int = 0
    columns: int = 0
    findings: list[Finding] = field(default_factory=list)
    kept: np.ndarray | None = field(default=None, compare=False, repr=False)

    def add(self, what: str, count: int, action: str, column: str | None = None) -> None:
        """Add a finding unless there is nothing to tell."""
        if count:
            self.findings.append(Finding(what, column, int(count), action))

    def note(self, text: str) -> None:
        """Add what was noticed on the way."""
        self.findings.append(Finding("note", None, 1, text))

    def to_dict(self) -> dict[str, Any]:
        return {"rows": self.rows, "columns": self.columns, "findings": [asdict(finding) for finding in self.findings]}

    def __str__(self) -> str:
        head = f"{self.rows:,} rows, {self.columns} columns"
        return "\n".join([head, *(f"  {finding}" for finding in self.findings)])
