"""What cleaning found and did, line by line: nothing is repaired silently."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Finding:
    """One thing that cleaning did or noticed: what, in which column (None: the whole table), how often, done what."""

    what: str
    column: str | None
    count: int
    action: str

    def __str__(self) -> str:
        where = f" in {self.column}" if self.column else ""
        return f"{self.count:,} {self.what}{where}: {self.action}"


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
