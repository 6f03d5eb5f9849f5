"""Is the default recipe right? On each data set it races plausible others, to the target that other libraries' recipes set.

All have the batch, the epochs and the augmentation of the default, Adam 0.001 apart, which has batches of 32: what differs is
the rule. Seconds are steps times their measured cost, in one process; every verdict is that of a race (docs/racing.md).

Run: python -m benchmarks.default_recipe.races --data DIR [--only "titanic;pima"] [--quick]
"""

from __future__ import annotations

import json
import math
import sys
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import steepest
from benchmarks import common
from benchmarks.default_recipe import standing
from benchmarks.default_recipe.cases import CASES, Case
from benchmarks.peers.measuring import RIVALS_FOLDER
from steepest.defaults import default_recipe
from steepest.recipes import as_recipe

SEEDS = 10
RULES = {
    "AdamW, cosine": "adamw(0.003, weight_decay=0.1, schedule=cosine(warmup=0.05))",
    "AdamW, one cycle": "adamw(0.003, weight_decay=0.1, schedule=one_cycle())",
    "AdamW 0.01, one cycle": "adamw(0.01, weight_decay=0.1, schedule=one_cycle())",
    "Muon, one cycle": "split(matrices=muon(0.02, schedule=one_cycle()), convolutions=muon(0.02, schedule=one_cycle()),"
    " rest=adamw(0.003, schedule=one_cycle()))",
    "Schedule-Free AdamW": "schedule_free_adamw(0.003, weight_decay=0.1)",
}


def contenders(base: steepest.Recipe) -> list[steepest.Recipe]:
    """Return the default, the same with other rules, and Adam as it is usually begun with."""
    others = [replace(base, rule=as_recipe(rule).rule, name=name) for name, rule in RULES.items()]
    adam = replace(base, rule=steepest.adam(0.001), batch=32, name="Adam 0.001")
    return [replace(base, name="default"), *others, adam]


def raced(case: Case, source: Path, target: float, seeds: int) -> list[dict[str, Any]]:
    """Race on a data set; return for each contender its seconds, how many times as long as the default, and the verdict."""
    sys.path.insert(0, str(RIVALS_FOLDER))  # where the networks are
    from common import Job
    from default_steepest import data
    from networks import network

    with tempfile.TemporaryDirectory() as home:
        folder = case.write(source, Path(home))
        asked = Job(json.loads((folder / "facts.json").read_text()), folder, 0, 2, folder, {})
        reach = f"{case.metric} {'<=' if case.metric in standing.SMALLER else '>='} {target * asked.unit}"
        task = steepest.Task(data(asked), model=lambda: network(asked), reach=reach, name=case.name)
        base = default_recipe(task.data.form, task.data.size("train"), task.model)
        race = steepest.race(task, contenders(base), baseline="default", seeds=seeds, processes=1, record=False, progress=False)
    found = []
    for row in race.leaderboard().rows:
        versus = row.versus_baseline
        line = {"contender": row.recipe, "seconds": row.seconds_to_target, "verdict": row.verdict, "seeds": row.seeds}
        if versus is not None:
            line |= {"times": _inverse(versus.ratio), "interval": [_inverse(end) for end in reversed(versus.interval)]}
        found.append(line)
    return found


def _inverse(ratio: float) -> float:
    return math.inf if ratio == 0 else 1 / ratio


def main() -> None:
    options = common.arguments(__doc__ or "", only=True)
    results = {} if options.quick else common.stored("default_races")
    reach = {name: standing.target_of(one) for name, one in common.stored("default_recipe").items()}
    for case in CASES:
        if case.name not in reach or (options.only and case.name not in options.only.split(";")):
            continue
        source = common.data_folder(options, case.folder)
        if source is None:
            continue
        rows = raced(case, source, reach[case.name], 2 if options.quick else SEEDS)
        results[case.name] = {"name": case.name, "title": case.title, "target": reach[case.name], "rows": rows}
        common.show(["contender", "seconds", "times as long as the default", "verdict"], [told(row) for row in rows])
        common.write("default_races", options, n=SEEDS, results=list(results.values()))


def told(row: dict[str, Any]) -> list[str]:
    seconds = "never" if math.isinf(row["seconds"]) else f"{row['seconds']:.3g}"
    if "times" not in row:
        return [row["contender"], seconds, "", row["verdict"]]
    low, high = row["interval"]
    return [row["contender"], seconds, f"{row['times']:.2g} [{low:.2g}, {high:.2g}]", row["verdict"]]


if __name__ == "__main__":
    main()
