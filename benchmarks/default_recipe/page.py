"""The part of docs/default-recipe.md that is measured, written between two marks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.default_recipe import standing

PAGE = Path(__file__).parents[2] / "docs" / "default-recipe.md"
BEGIN, END = "<!-- python -m benchmarks.default_recipe -->", "<!-- end -->"


def write(cases: Sequence[Mapping[str, Any]]) -> None:
    """Put the table in the place of the one that stands there."""
    before, rest = PAGE.read_text().split(BEGIN)
    after = rest.split(END)[1]
    PAGE.write_text(f"{before}{BEGIN}\n{standing.markdown(cases)}\n{END}{after}")
