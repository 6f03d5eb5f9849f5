"""Does anyone train the same network faster than `steepest fit`?

Each rival is a process of its own in an environment of its own; they run in strict turns, and ratios are taken round by round.
Two clocks: rows a second of the training loop, and the whole process from its start to a saved model and a test result.

Run: python -m benchmarks.peers --data DIR [--quick] [--only mlp,cnn] [--rivals expert,lightning] [--rounds 5]
"""

from __future__ import annotations

import argparse
import os
from dataclasses import asdict
from pathlib import Path
from typing import Any

from benchmarks import common
from benchmarks.peers import environments, measuring, picture, table
from benchmarks.peers.environments import ENVIRONMENTS
from benchmarks.peers.measuring import OURS, RIVALS, Conditions, Rival
from benchmarks.peers.works import WORKS, Work, at_hand


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.peers", description=__doc__.splitlines()[0])  # pyright: ignore
    parser.add_argument("--data", type=Path, default=os.environ.get("STEEPEST_DATA"), help="folder of real data sets")
    parser.add_argument("--quick", action="store_true", help="one round on few rows; writes no result")
    parser.add_argument("--only", help=f"works, with commas between: {', '.join(work.name for work in WORKS)}")
    parser.add_argument("--rivals", help=f"with commas between: {', '.join(rival.name for rival in RIVALS)}")
    parser.add_argument("--rounds", type=int, default=5, help="runs of each rival that are counted; one before is not")
    parser.add_argument("--threads", type=int, default=2, help="of everyone; the expert may choose others")
    parser.add_argument("--tuning", type=int, default=3, help="rounds in which the expert's settings are chosen")
    parser.add_argument("--envs", type=Path, default=environments.DEFAULT, help="where the environments are made and kept")
    return parser.parse_args()


def named(text: str | None, known: dict[str, Any]) -> list[Any]:
    """Return what a list of names means; all of it where there is none."""
    names = text.split(",") if text else list(known)
    if unknown := [name for name in names if name not in known]:
        raise SystemExit(f"unknown name {unknown[0]!r}; expected some of {', '.join(known)}")
    return [known[name] for name in names]


def measure(
    work: Work, rivals: list[Rival], missing: dict[str, str], arrays: Path, options: argparse.Namespace
) -> dict[str, Any]:
    """Choose the expert's settings, run all rivals in turns, and return what the results keep of a work."""
    print(f"{work.title}: {work.rows:,} rows, batch {work.batch}, {work.epochs} epochs", flush=True)
    under = Conditions(options.envs, arrays, options.threads)
    there = [rival for rival in rivals if rival.environment not in missing]
    tuning: dict[str, Any] = {}
    if any(rival.name == "expert" for rival in there):
        tuning = measuring.best_settings(work, under, 1 if options.quick else options.tuning)
    load = os.getloadavg()[0]
    rounds, warm = (1, 0) if options.quick else (options.rounds, 1)
    chosen = {"expert": tuning["chosen"]} if tuning else {}
    found = measuring.in_turns(there, under, rounds=rounds, warm=warm, settings=chosen)
    if why := missing.get(OURS) or found[OURS].get("failed"):
        raise SystemExit(f"{RIVALS[0].title} failed, with which all are compared: {why}")
    for rival in rivals:
        if rival.environment in missing:
            found[rival.name] = {"title": rival.title, "settings": {}, "runs": [], "failed": missing[rival.environment]}
    loads = {"before": load, "after": os.getloadavg()[0]}
    return {"work": asdict(work), "tuning": tuning, "threads": under.threads, "load_average": loads, "rivals": found}


def main() -> None:
    options = arguments()
    options.envs = options.envs.expanduser().resolve()
    works: list[Work] = named(options.only, {work.name: work for work in WORKS})
    rivals: list[Rival] = named(options.rivals, {rival.name: rival for rival in RIVALS})
    if rivals[0].name != OURS:  # everybody is compared with it
        rivals = [RIVALS[0], *(rival for rival in rivals if rival.name != OURS)]
    needed = dict.fromkeys(rival.environment for rival in rivals)
    missing = {name: why for name in needed if (why := environments.install(ENVIRONMENTS[name], options.envs))}
    results = {} if options.quick else {one["work"]["name"]: one for one in table.stored()}
    for work, arrays in at_hand(works, options):
        results[work.name] = measure(work, rivals, missing, arrays, options)
        print()
        common.show(table.HEAD, table.lines(results[work.name]))
        in_order = [results[one.name] for one in WORKS if one.name in results]
        common.write("peers", options, n=options.rounds, results=in_order)  # after each work: all of them take long
        print()
    if results and not options.quick:
        picture.draw(list(results.values()))


if __name__ == "__main__":
    main()
