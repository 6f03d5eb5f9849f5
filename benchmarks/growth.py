"""How does the rate of training grow with the network, the batch and the data? docs/growth.svg.

A multilayer perceptron on 784 columns, Adam, by `steepest.fit` with nothing else said. One of three things is multiplied by 1
to 64: the width of the hidden layers (from 16), the rows of a batch (from 16), the rows of the training part (from 2,000).
Rounds go through all sizes in turn; every training makes at least 400 steps and one whole epoch, so that what an epoch costs
is in it. Rates are of the stages `train` and `waiting`. Whether a step costs more where there are more data is read off the
last panel.
Run: python -m benchmarks.growth
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

import steepest
from benchmarks import common
from benchmarks.peers.picture import TEXT, words

TIMES, ROUNDS, LEAST_STEPS, COLUMNS = tuple(2**i for i in range(7)), 5, 400, 784
BASE = {"width": 16, "batch": 16, "rows": 2_000}
FIXED = {"width": 64, "batch": 128, "rows": 12_800}
OCTAVES = 3  # of a panel at least, or noise would fill it
PATH = Path(__file__).parents[1] / "docs" / "growth.svg"


def sizes(what: str, times: int) -> dict[str, int]:
    """Return width, batch and rows where one of them is so many times what it begins with."""
    return FIXED | {what: BASE[what] * times}


def task_of(width: int, rows: int) -> steepest.Task:
    draw = np.random.default_rng(0)
    X = draw.standard_normal((rows, COLUMNS), dtype=np.float32)
    data = steepest.arrays(X, np.arange(rows) % 10, scaling="none", images=False, parts=(1, 0, 0, 0))
    return steepest.Task(data, model=steepest.mlp((width, width)))


def measured(width: int, batch: int, rows: int) -> tuple[float, float]:
    """Return rows a second, and milliseconds a step."""
    steps = math.ceil(rows / batch)
    recipe = steepest.Recipe(steepest.adam(1e-3), batch=batch, epochs=math.ceil(LEAST_STEPS / steps))
    run = steepest.fit(task_of(width, rows), recipe, record=False, progress=False)
    seconds, made = run.stages["train"] + run.stages["waiting"], run.facts["steps"]
    return made * rows / steps / seconds, 1e3 * seconds / made


def svg(series: Sequence[dict[str, Any]]) -> str:
    """Return the picture: a panel for each thing that grows, both axes in powers of two."""
    size, gap, top = 230, 60, 50
    width, height = 3 * (size + gap) + 20, top + size + 50
    pieces = [words(12, 20, "steepest.fit: a perceptron on 784 columns, two cores", bold=True)]
    for i, one in enumerate(series):
        left, values = 50 + i * (size + gap), one["shown"]
        low, high = (math.log2(bound) for bound in (min(values) / 1.2, max(values) * 1.2))

        def at(times: int, value: float, left: float = left, low: float = low, high: float = high) -> tuple[float, float]:
            spread = max(high - low, OCTAVES)
            return left + size * math.log2(times) / 6, top + size * (0.5 - (math.log2(value) - (low + high) / 2) / spread)

        pieces += [words(left, top - 10, one["title"], bold=True)]
        pieces += [f'<path d="M{left} {top}V{top + size}H{left + size}" fill="none" stroke="{TEXT}"/>']
        points = [at(times, value) for times, value in zip(TIMES, values, strict=True)]
        line = "L".join(f"{x:.1f} {y:.1f}" for x, y in points)
        pieces += [f'<path d="M{line}" fill="none" stroke="#1a7f37" stroke-width="2"/>']
        for (x, y), times, value in zip(points, TIMES, values, strict=True):
            shown = f"{value / 1000:.0f}k" if value >= 100 else f"{value:.2f}"
            pieces += [f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3" fill="#1a7f37"/>', words(x - 8, y - 10, shown, small=True)]
            pieces += [words(x - 6, top + size + 16, f"x{times}", small=True)]
        pieces += [words(left, top + size + 36, one["axis"], small=True)]
    head = f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" viewBox="0 0 {width} {height}"'
    style = f' font-family="sans-serif" font-size="12" fill="{TEXT}">'
    return "\n".join([head + style, f'<rect width="{width}" height="{height}" fill="white"/>', *pieces, "</svg>\n"])


def main() -> None:
    options = common.arguments(__doc__ or "")
    found: dict[tuple[str, int], list[tuple[float, float]]] = {(what, times): [] for what in BASE for times in TIMES}
    for _ in range(1 if options.quick else ROUNDS):
        for (what, times), values in found.items():
            values.append(measured(**sizes(what, times)))
    rows = [
        (what, sizes(what, times)[what], common.spread([rate for rate, _ in values]), common.spread([ms for _, ms in values]))
        for (what, times), values in found.items()
    ]
    common.show(("what grows", "to", "rows a second", "milliseconds a step"), rows)
    titles = {"width": "rows a second", "batch": "rows a second", "rows": "milliseconds a step"}
    axes = {"width": "hidden width, x16", "batch": "rows of a batch, x16", "rows": "rows of the training part, x2,000"}
    series = [
        {"title": titles[what], "axis": axes[what],
         "shown": [statistics.median(pair[what == "rows"] for pair in found[what, times]) for times in TIMES]}
        for what in BASE
    ]  # fmt: skip
    if not options.quick:
        PATH.write_text(svg(series))  # docs/plans.md shows it
    raw = [
        {"what": what, "times": times, "rates": [r for r, _ in v], "step_ms": [m for _, m in v]}
        for (what, times), v in found.items()
    ]
    common.write("growth", options, fixed=FIXED, base=BASE, n=ROUNDS, results=raw)


if __name__ == "__main__":
    main()
