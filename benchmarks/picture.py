"""Draw the leaderboard of a real race for the README: docs/leaderboard.svg. Run: python -m benchmarks.picture"""

from __future__ import annotations

import re
from pathlib import Path

from rich._export_format import CONSOLE_SVG_FORMAT
from rich.console import Console
from rich.terminal_theme import TerminalTheme
from rich.text import Text

import steepest
from benchmarks import common
from steepest.records import Invocation

LIGHT = TerminalTheme(
    (255, 255, 255),
    (29, 39, 51),
    [(29, 39, 51), (180, 35, 24), (26, 127, 55), (154, 103, 0), (9, 105, 218), (130, 80, 223), (27, 124, 131), (93, 107, 122)],
)
OUTSIDE_FONTS = re.compile(r"@font-face \{\{.*?\}\}", re.DOTALL)  # the picture must not fetch anything


def main() -> None:
    common.arguments(__doc__ or "")
    race = steepest.race("digits", invocation=Invocation("steepest race digits"))
    run = steepest.fit("digits", race.best)
    console = Console(record=True, width=152, force_terminal=True, color_system="truecolor", file=open("/dev/null", "w"))  # noqa: SIM115
    console.print(Text("$ steepest race digits\n", style="bold"))
    console.print(Text(race.headline() + "\n"))
    board = race.leaderboard()
    head, *lines = str(board).splitlines()
    console.print(Text(head, style="bold"))
    for line, row in zip(lines, board.rows, strict=True):
        style = {"fastest": "bold green", "faster": "green", "slower": "red"}.get(row.verdict.split(" ")[0], "")
        text = Text(line)
        text.stylize(style, line.rindex(row.verdict))
        console.print(text)
    shown = "  ".join(f"{name} {run.metrics[name]:.3f}" for name in ("accuracy", "precision", "recall", "f1"))
    held = run.facts["measured_on"]
    console.print(Text(f"\ntrained with {run.facts['label']}: {held['part']} part ({held['rows']} rows): {shown}"))
    svg = console.export_svg(title="", theme=LIGHT, code_format=OUTSIDE_FONTS.sub("", CONSOLE_SVG_FORMAT))
    path = Path(__file__).parents[1] / "docs" / "leaderboard.svg"
    path.write_text(svg)
    print(race, path, sep="\n")


if __name__ == "__main__":
    main()
