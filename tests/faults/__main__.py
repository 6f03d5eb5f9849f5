"""Run everything that a run must survive, in full, and print what came of it: `python -m tests.faults [names]`.

About ten minutes on two cores, and as long as `--fuzz` says beside.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from . import cost, disk, fuzz, hostile, kills, sweep

Outcome = tuple[bool, str]
SEEN: dict[str, Callable[[Path], Outcome]] = {}


def checked(check: Callable[[Path], Outcome]) -> Callable[[Path], Outcome]:
    SEEN[check.__name__.replace("_", " ")] = check
    return check


@checked
def kill_200_times(folder: Path) -> Outcome:
    tally = kills.kill(200, folder)
    return tally.different == 0 and tally.most_lost <= kills.EVERY, str(tally)


@checked
def resume_after_every_step(folder: Path) -> Outcome:
    told, exact = [], True
    for rows_from in sweep.ROWS_FROM:
        report = sweep.every_step(rows_from, folder)
        exact &= report.exact
        told.append(f"rows from {rows_from}: {sum(stop.exact for stop in report.stops)} of {len(report.stops)} exact")
    return exact, "; ".join(told)


@checked
def leave_out_each_item(folder: Path) -> Outcome:
    tries, missed = sweep.each_item_left_out()
    return not missed, f"{tries} items left out one by one, {len(missed)} not missed {missed[:3]}"


@checked
def fail_at_every_write(folder: Path) -> Outcome:
    tries, wrong = disk.every_write(folder)
    return not wrong, f"{tries} runs with a failing call, {len(wrong)} wrong {wrong[:3]}"


@checked
def fill_a_file_system(folder: Path) -> Outcome:
    found = disk.full_file_system(folder)
    return found in (
        "",
        None,
    ), "no file system may be mounted here" if found is None else found or "told once, and used when there was room"


@checked
def limit_files(folder: Path) -> Outcome:
    found = disk.limited_files(folder)
    return not found, found or "trained to the end without a checkpoint"


@checked
def write_from_16_processes(folder: Path) -> Outcome:
    found = disk.many_writers(folder)
    return not found, found or "16 x 500 lines of their own and 8,000 in one record: all there, once"


@checked
def tear_a_record_at_every_byte(folder: Path) -> Outcome:
    found = disk.torn_everywhere(folder)
    return not found, found or "read, and appended to"


@checked
def hostile_files(folder: Path) -> Outcome:
    wrong = {
        attack.__name__: found for attack in hostile.REFUSED if (found := hostile.refused(attack, folder / attack.__name__))
    }
    if found := hostile.text_in_pages(folder / "pages"):
        wrong["pages"] = found
    return not wrong, str(wrong) if wrong else f"{len(hostile.REFUSED)} refused in one line, HTML escaped, no canary"


@checked
def bombs(folder: Path) -> Outcome:
    found = {attack.__name__: hostile.bomb(attack, folder / attack.__name__) for attack in hostile.BOMBS}
    told = ", ".join(f"{name} {wrong or f'{cost / 2**20:.0f} MiB'}" for name, (wrong, cost) in found.items())
    return not any(wrong for wrong, _ in found.values()), told


@checked
def cost_of_a_checkpoint(folder: Path) -> Outcome:
    found = cost.measured(folder)
    small = max(found.stalls_s) <= 0.06 and found.file_bytes <= 1.01 * found.state_bytes
    return small, str(found)


def _fuzzed(folder: Path, seconds: float) -> Outcome:
    found = fuzz.fuzz(folder, seconds, seed=int(time.time()))
    told = ", ".join(f"{target.name} {len(target.found)}" for target in found if target.found)
    for target in found:
        for content, message in target.found[:3]:
            print(f"  {target.name}: {message}\n    {content!r}"[:2000])
    return (
        not told,
        f"{sum(target.tries for target in found):,} damaged files in {seconds:.0f} s, stumbled over: {told or 'none'}",
    )


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", help=f"which of: {', '.join(SEEN)}; fuzz")
    parser.add_argument("--fuzz", type=float, default=30.0, metavar="SECONDS", help="how long files are damaged at random")
    options = parser.parse_args()
    checks = dict(SEEN) | {"fuzz": lambda folder: _fuzzed(folder, options.fuzz)}
    if unknown := set(options.names) - set(checks):
        parser.error(f"unknown: {', '.join(unknown)}")
    failed = 0
    for name in options.names or checks:
        with tempfile.TemporaryDirectory() as place:
            began, before = time.monotonic(), Path.cwd()
            os.chdir(place)
            (Path(place) / "work").mkdir()
            passed, told = checks[name](Path(place) / "work")
            os.chdir(before)
        failed += not passed
        print(f"{'ok  ' if passed else 'FAIL'}  {name}  {time.monotonic() - began:.0f} s\n      {told}", flush=True)
    return int(failed > 0)


if __name__ == "__main__":
    sys.exit(main())
