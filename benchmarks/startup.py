"""How long until the command line says its first word? Help, wrong arguments and unreadable files, as whole processes.

Run: python -m benchmarks.startup
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks import common

ROUNDS = 15
LIMIT_S = 0.5


def main() -> None:
    options = common.arguments(__doc__ or "")
    steepest = str(Path(sys.executable).parent / "steepest")
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "empty.csv").touch()
        commands = {
            "python -c pass": [sys.executable, "-c", "pass"],
            "steepest --help": [steepest, "--help"],
            "steepest race --help": [steepest, "race", "--help"],
            "unknown option": [steepest, "fit", "digits", "--epoch", "3"],
            "unknown recipe": [steepest, "race", "digits", "--recipes", "adamm"],
            "unknown metric": [steepest, "race", "digits", "--reach", "acuracy>=0.9"],
            "no such file": [steepest, "fit", "nothing.csv", "--label", "y"],
            "empty file": [steepest, "fit", "empty.csv", "--label", "y"],
        }
        seconds: dict[str, list[float]] = {name: [] for name in commands}
        for round_ in range(-1, 3 if options.quick else ROUNDS):
            for name, command in commands.items():
                began = time.perf_counter()
                subprocess.run(command, cwd=folder, capture_output=True, check=False)
                if round_ >= 0:
                    seconds[name].append(time.perf_counter() - began)
    rows = [
        [name, common.spread(found), "yes" if statistics.median(found) <= LIMIT_S else "NO"] for name, found in seconds.items()
    ]
    common.show(["command", "seconds: median [min, max]", f"within {LIMIT_S} s"], rows)
    common.write("startup", options, n=ROUNDS, seconds=seconds)


if __name__ == "__main__":
    main()
