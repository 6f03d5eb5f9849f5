"""The picture of what was measured, docs/peers.svg: a panel for each work, a bar for each rival: seconds of the whole process.

The dark part of a bar is the training loop, the light part the rest; the line at its end spans the runs. Run:
python -m benchmarks.peers.picture
"""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

from benchmarks.peers import table
from benchmarks.peers.measuring import OURS

PATH = Path(__file__).parents[2] / "docs" / "peers.svg"
WIDTH, NAMES, NUMBERS, LINE, HEAD, GAP = 860, 170, 170, 22, 46, 18  # pixels
OURS_COLOURS, OTHERS = ("#1a7f37", "#a9dbb8"), ("#57606a", "#d0d7de")
TEXT = "#1d2733"


def draw(results: Sequence[Mapping[str, Any]], path: Path = PATH) -> None:
    """Write the picture."""
    path.write_text(svg(results))
    print(path)


def svg(results: Sequence[Mapping[str, Any]]) -> str:
    """Return the picture as text; it fetches nothing."""
    title = "Whole process in seconds, from its start to a saved model; dark: the training loop"
    y, pieces = 34.0, [words(12, 20, title, bold=True)]
    for work in results:
        drawn, height = panel(work, y)
        pieces.append(drawn)
        y += height + GAP
    head = f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{y:.0f}" viewBox="0 0 {WIDTH} {y:.0f}"'
    style = f' font-family="sans-serif" font-size="12" fill="{TEXT}">'
    return "\n".join([head + style, f'<rect width="{WIDTH}" height="{y:.0f}" fill="white"/>', *pieces, "</svg>\n"])


def panel(work: Mapping[str, Any], top: float) -> tuple[str, float]:
    """Return one work's bars, the fastest first, and how high they are together."""
    rivals = {name: rival for name, rival in work["rivals"].items() if rival["runs"]}
    names = sorted(rivals, key=lambda name: statistics.median(table.measured(rivals[name], "process_seconds")))
    longest = max(max(table.measured(rival, "process_seconds")) for rival in rivals.values())
    pieces = [words(12, top + 18, work["work"]["title"], bold=True), words(12, top + 34, table.about(work), small=True)]
    scale = (WIDTH - NAMES - NUMBERS) / longest
    for i, name in enumerate(names):
        pieces += bar(rivals[name], top + HEAD + i * LINE, scale, OURS_COLOURS if name == OURS else OTHERS, bold=name == OURS)
    return "\n".join(pieces), HEAD + len(names) * LINE


def bar(rival: Mapping[str, Any], y: float, scale: float, colours: tuple[str, str], *, bold: bool) -> list[str]:
    whole = table.measured(rival, "process_seconds")
    middle, trained = statistics.median(whole), statistics.median(table.measured(rival, "train_seconds"))
    low, high = NAMES + min(whole) * scale, NAMES + max(whole) * scale
    at = y + LINE / 2 - 2
    return [
        words(NAMES - 8, y + 14, rival["title"], end=True, bold=bold),
        box(NAMES, y + 2, middle * scale, colours[1]),
        box(NAMES, y + 2, trained * scale, colours[0]),
        f'<path d="M{low:.1f} {at:.1f}H{high:.1f}M{low:.1f} {at - 3:.1f}v6M{high:.1f} {at - 3:.1f}v6" stroke="{TEXT}"/>',
        words(high + 8, y + 14, f"{middle:.1f} s, of it {trained:.1f} s training", small=True),
    ]


def box(x: float, y: float, width: float, colour: str) -> str:
    return f'<rect x="{x:.1f}" y="{y:.1f}" width="{width:.1f}" height="{LINE - 8}" fill="{colour}"/>'


def words(x: float, y: float, text: str, *, bold: bool = False, small: bool = False, end: bool = False) -> str:
    how = (' font-weight="bold"' if bold else "") + (' font-size="11"' if small else "") + (' text-anchor="end"' if end else "")
    return f'<text x="{x:.1f}" y="{y:.1f}"{how}>{escape(text)}</text>'


if __name__ == "__main__":
    if found := table.stored():
        draw(found)
    else:
        print("nothing measured yet: python -m benchmarks.peers --data DIR")
