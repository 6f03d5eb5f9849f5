"""How good is the plan that the pilot takes, and what does finding it cost? On the works of `benchmarks.peers`.

All candidates, each with every number of threads, are timed in turns, ten times; a plan's regret is its median step over that
of the best of them. The pilot chooses by itself, for a training of 60 s - the shortest it measures for, so with the smallest
budget - and "known" is what shorter trainings take without measuring.
Run: python -m benchmarks.pilot --data DIR
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from benchmarks import common
from benchmarks.peers.measuring import RIVALS_FOLDER
from benchmarks.peers.works import WORKS, Work, at_hand
from steepest.gradient import plain
from steepest.plans import Plan
from steepest.training.known import default_plan
from steepest.training.pilot import SHORT_S, Bench, Timing, candidates, measured, variants
from steepest.training.setup import Training
from steepest.training.setup import prepare as prepare_training

REPETITIONS, REPETITION_S = 10, 0.2


def training_of(arrays: Path) -> Training:
    """Return the training that `steepest.fit` makes of a work."""
    sys.path.insert(0, str(RIVALS_FOLDER))
    import common as of_rivals  # pyright: ignore[reportMissingImports]
    from with_steepest import task_and_recipe  # pyright: ignore[reportMissingImports]

    facts = json.loads((arrays / "facts.json").read_text())
    asked = of_rivals.Job(facts, arrays, 0, torch.get_num_threads(), arrays, {})
    return prepare_training(*task_and_recipe(asked))


def exhaustively(training: Training, known: Plan, repetitions: int) -> list[Timing]:
    """Return the timings of every candidate and its variants - numbers of threads, or graphs - taken in turns."""
    bench = Bench(training, plain)
    layouts = dict.fromkeys(replace(plan, threads=None) for plan in candidates(training, known))
    timings = [Timing(plan) for layout in layouts for plan in (layout, *variants(bench, layout))]
    bench.run(timings[0])
    bench.steps = max(3, int(REPETITION_S / timings[0].step_s))
    timings[0].seconds.clear()
    for _ in range(repetitions):
        for timing in timings:
            bench.run(timing)
    return timings


def row(work: Work, training: Training, repetitions: int) -> dict[str, Any]:
    """Return what the results keep of a work."""
    known = default_plan(training)
    timings = exhaustively(training, known, repetitions)
    choice = measured(Bench(training, plain), int(1.01 * SHORT_S / timings[0].step_s), known)
    best = min(timing.step_s for timing in timings)
    return {
        "work": work.title,
        "best": str(min(timings, key=lambda timing: timing.step_s).plan),
        "pilot": {"plan": str(choice.plan), "source": choice.source, "regret": regret(choice.plan, timings, best)},
        "known": {"plan": str(known), "regret": regret(known, timings, best)},
        "spent_s": choice.spent_s,
        "budget_s": choice.budget_s,
        "steps_ms": {str(timing.plan): [1e3 * seconds for seconds in timing.seconds] for timing in timings},
        "medians_ms": {str(timing.plan): 1e3 * timing.step_s for timing in timings},
    }


def regret(plan: Plan, timings: Sequence[Timing], best: float) -> float:
    """Return how much longer a step takes than by the best plan; all of torch's threads are as none named."""
    whole = plan.threads == torch.get_num_threads()
    return next(t.step_s for t in timings if t.plan == (replace(plan, threads=None) if whole else plan)) / best - 1


def main() -> None:
    options = common.arguments(__doc__ or "")
    rows = []
    for work, arrays in at_hand(WORKS, options):
        rows.append(row(work, training_of(arrays), 2 if options.quick else REPETITIONS))
        for plan, median in sorted(rows[-1]["medians_ms"].items(), key=lambda pair: pair[1]):
            print(f"  {work.title}: {median:8.3f} ms  {plan}", flush=True)
    head = ("work", "best", "pilot takes", "regret", "spent / budget", "known", "regret")
    common.show(head, [
        (r["work"], r["best"], r["pilot"]["plan"], f"{r['pilot']['regret']:.1%}", f"{r['spent_s']:.2f} / {r['budget_s']:.2f} s",
         r["known"]["plan"], f"{r['known']['regret']:.1%}") for r in rows
    ])  # fmt: skip
    common.write("pilot", options, rows=rows, repetitions=REPETITIONS)


if __name__ == "__main__":
    main()
