"""How soon does a network come to a target with the recipe that steepest takes by itself, and with what others begin with?

Every run is a process of its own in an environment of its own, all in strict turns; seconds are counted from the start of the
process: imports, reading, training, measuring. The network is the user's and the same for everyone, and so are the rows.

Run: python -m benchmarks.default_recipe --data DIR [--only "titanic;pima"] [--quick] [--page]
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks import common
from benchmarks.default_recipe import page, standing
from benchmarks.default_recipe.cases import CASES, Case
from benchmarks.peers import environments, measuring
from benchmarks.peers.__main__ import named
from benchmarks.peers.environments import ENVIRONMENTS
from benchmarks.peers.measuring import Conditions, Rival, RivalError

THREADS = 2
RIVALS = (
    Rival("steepest", "steepest", "steepest", "default_steepest.py"),
    Rival("keras", "Keras on JAX", "keras-jax", "default_keras.py", {"backend": "jax"}),
    Rival("skorch", "skorch", "skorch", "default_skorch.py"),
    Rival("lightning", "Lightning", "lightning", "default_lightning.py"),
    Rival("one-cycle", "one-cycle AdamW", "torch", "default_one_cycle.py"),
)


def measured(case: Case, folder: Path, envs: Path, seeds: int, rivals: Sequence[Rival] = RIVALS) -> dict[str, Any]:
    """Run rivals in turns, a seed a round; return their curves."""
    found: dict[str, Any] = {rival.name: {"title": rival.title, "runs": []} for rival in rivals}
    with tempfile.TemporaryDirectory() as home:
        under = Conditions(envs, case.write(folder, Path(home)), THREADS)
        for seed in range(seeds):
            for rival in rivals:
                try:
                    run = measuring.run(rival, under, seed=seed, settings=rival.settings | {"began": time.time()})
                except RivalError as failure:
                    found[rival.name]["failed"] = str(failure)
                    print(f"  {rival.title}: FAILED: {failure}", flush=True)
                    continue
                found[rival.name]["runs"].append(run)
                told = " ".join(f"{second:.1f}:{value:.4f}" for second, value in run["curve"])
                print(f"  {rival.title}, seed {seed}: {told}", flush=True)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.default_recipe", description=__doc__)
    parser.add_argument("--data", type=Path, default=os.environ.get("STEEPEST_DATA"), help="folder of real data sets")
    parser.add_argument("--quick", action="store_true", help="one seed; writes no result")
    parser.add_argument("--only", help="names of cases, with semicolons between; what was measured of the others stays")
    parser.add_argument("--rivals", help="with commas between; what was measured of the others, at another time, stays")
    parser.add_argument("--page", action="store_true", help="measure nothing; write the page from what was measured")
    parser.add_argument("--envs", type=Path, default=environments.DEFAULT, help="where the environments are made and kept")
    options = parser.parse_args()
    envs = options.envs.expanduser().resolve()
    rivals = named(options.rivals, {rival.name: rival for rival in RIVALS})
    results = {} if options.quick else common.stored("default_recipe")
    for case in () if options.page else CASES:
        folder = common.data_folder(options, case.folder) if not options.only or case.name in options.only.split(";") else None
        if folder is None:
            continue
        for name in dict.fromkeys(rival.environment for rival in rivals):
            if why := environments.install(ENVIRONMENTS[name], envs):
                raise SystemExit(f"{name}: {why}")
        print(case.title, flush=True)
        found = measured(case, folder, envs, 1 if options.quick else case.seeds, rivals)
        kept = results.get(case.name, {}).get("rivals", {}) if options.rivals else {}
        there = {rival.name: (kept | found)[rival.name] for rival in RIVALS if rival.name in kept | found}
        results[case.name] = case.told | {"rivals": there}
        common.show(*standing.lines([results[case.name]]))
        in_order = [results[one.name] for one in CASES if one.name in results]
        common.write("default_recipe", options, threads_of_all=THREADS, results=in_order)  # after each: all take long
    if results:
        common.show(*standing.lines(list(results.values())))
        if not options.quick:
            page.write(list(results.values()))


if __name__ == "__main__":
    main()
