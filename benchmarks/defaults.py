"""What do the default recipes reach on real data of every kind? Nothing is tuned here: `steepest fit ...` as a user types it.

Every training is a process of its own; its seconds are those of the whole process, its memory the most it ever held.

Run: python -m benchmarks.defaults [--only "NAME;NAME"]
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks import baselines, common

SEEDS = 3


@dataclass(frozen=True)
class Case:
    """One command, what it must reach (metric -> bar), within how many seconds, and what stands beside it."""

    name: str
    arguments: tuple[str, ...]
    bars: dict[str, float]
    limit_s: float | None = None
    folds: int = 0  # cross-validated over so many folds, twice
    beside: Callable[[Path], dict[str, float]] | None = None
    scale: Callable[[Path], dict[str, float]] | None = None  # what a metric is divided by, to be in the bar's units


ROOT = Path(__file__).parents[1]
TASKS = str(ROOT / "benchmarks" / "tasks.py")
SMALLER_IS_BETTER = ("rmse", "mse", "loss", "cer")
ZEROS = tuple(f"--missing=c{i}=0" for i in range(2, 7))
LONG = ("--epochs", "2.8")
CASES = (
    Case("adult", ("adult-train.csv.gz", "--label=-1", "--no-header", "--test=adult-test.csv.gz"),
         {"accuracy": 0.855, "auc": 0.912}, 20),
    Case("california_housing", ("housing.csv", "--label=median_house_value"), {"rmse": 53_000}, 20),
    Case("titanic", ("train.csv", "--label=Survived"), {"accuracy": 0.81}, 20, folds=5),
    Case("pima", ("pima-indians-diabetes.csv", "--label=-1", "--no-header", *ZEROS), {"accuracy": 0.75}, 20, folds=5),
    Case("fashion_mnist", (".",), {"accuracy": 0.915}, 180),
    Case("cifar10_20k", (f"{TASKS}:cifar10_20k",), {"accuracy": 0.83}, 300),
    Case("text_classification/SST-2", ("stsa.binary.train", "--test=stsa.binary.test", "--parts=1,0,0,0"),
         {"accuracy": 0.81}, beside=lambda folder: baselines.words(folder / "stsa.binary.train", folder / "stsa.binary.test")),
    Case("text_classification/TREC", ("TREC.train.all", "--test=TREC.test.all", "--parts=1,0,0,0"), {"accuracy": 0.89},
         beside=lambda folder: baselines.words(folder / "TREC.train.all", folder / "TREC.test.all")),
    Case("tinyshakespeare", ("input.txt", "--parts=0.9,0,0.1,0"), {"loss": 1.55}, 300),
    Case("tinyshakespeare, twice as long", ("input.txt", "--parts=0.9,0,0.1,0", *LONG), {"loss": 1.50}, 600),
    Case("fsdd, CNN", ("fsdd_int16_8khz.npz", "--label=digit", "--test-where=index<5"), {"accuracy": 0.98}),
    Case("fsdd, LSTM", ("fsdd_int16_8khz.npz", "--label=digit", "--test-where=index<5", "--model=lstm(128)"),
         {"accuracy": 0.95}),
    Case("fsdd, spoken numbers", (f"{TASKS}:spoken_numbers",), {"cer": 0.05}),
    Case("etth1", ("ETTh1.csv", "--label=OT", "--horizon=24", "--window=96", "--feature=OT", "--parts=0.6,0.2,0.2,0"),
         {"mse": 0.0442}, beside=lambda folder: baselines.forecasts(folder / "ETTh1.csv", "OT", 96, 24),
         scale=lambda folder: {"mse": baselines.variance(folder / "ETTh1.csv", "OT")}),
)  # fmt: skip


def measured(case: Case, folder: Path, seed: int) -> dict[str, Any]:
    """Run one command in a process of its own; return its metrics, seconds and memory."""
    with tempfile.TemporaryDirectory() as home:
        common_options = ["--seed", str(seed), "--quiet", "--json", "--home", home]
        document, seconds, memory = _run(["fit", *case.arguments, *common_options], folder)
        metrics = document["metrics"]
        if "rmse" in metrics:
            metrics["mse"] = metrics["rmse"] ** 2
        if case.folds:
            more, longer, _ = _run(["evaluate", document["id"], "--folds", str(case.folds), *common_options], folder)
            metrics, seconds = more["mean"], seconds + longer
    found = {"metrics": {name: metrics[name] for name in case.bars}, "seconds": seconds, "megabytes": memory}
    divided = case.scale(folder) if case.scale else {}
    found["metrics"] = {name: value / divided.get(name, 1.0) for name, value in found["metrics"].items()}
    told = ("recipe", "stages", "versions")
    return found | {name: document[name] for name in told} | {"rows": document["measured_on"]["rows"]}


def _run(arguments: list[str], folder: Path) -> tuple[dict[str, Any], float, float]:
    began = time.perf_counter()
    with tempfile.TemporaryFile() as told, tempfile.TemporaryFile() as complaints:
        command = [sys.executable, "-m", "steepest", *arguments]
        process = subprocess.Popen(command, cwd=folder, stdout=told, stderr=complaints, env=os.environ)
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        seconds = time.perf_counter() - began
        told.seek(0)
        complaints.seek(0)
        if process.returncode:
            raise SystemExit(f"{' '.join(command)}: exit {process.returncode}: {complaints.read().decode()}")
        return json.loads(told.read()), seconds, usage.ru_maxrss / 1024


def reached(name: str, value: float, bar: float) -> bool:
    """Return whether a metric meets its bar."""
    return value <= bar if name in SMALLER_IS_BETTER else value >= bar


def main() -> None:
    options = common.arguments(__doc__ or "", only=True)
    results, rows = common.stored("defaults", "case") if options.only else {}, []
    for case in CASES:
        if options.only and case.name not in options.only.split(";"):
            continue
        folder = common.data_folder(options, case.name.split(",")[0].split("/")[0])
        if folder is None:
            continue
        seeds = range(1 if options.quick else 2 if case.folds else SEEDS)
        runs = [measured(case, folder, seed) for seed in seeds]
        beside = case.beside(folder) if case.beside else {}
        seconds, memory = [run["seconds"] for run in runs], [run["megabytes"] for run in runs]
        for name, bar in case.bars.items():
            values = [run["metrics"][name] for run in runs]
            centre = statistics.mean(values)
            sign = "<=" if name in SMALLER_IS_BETTER else ">="
            others = "  ".join(f"{other} {value:.4g}" for other, value in beside.items())
            met, slowest = "yes" if reached(name, centre, bar) else "NO", f"{max(seconds):.0f}"
            spread = f"{centre:.4g} [{min(values):.4g}, {max(values):.4g}]"
            limit = f" of {case.limit_s:g}" if case.limit_s else ""
            rows.append([case.name, f"{name} {sign} {bar:g}", spread, met, slowest + limit, f"{max(memory):,.0f}", others])
            print("  ".join(map(str, rows[-1])), flush=True)
        arguments = [argument.replace(str(ROOT), ".") for argument in case.arguments]
        results[case.name] = {"case": case.name, "arguments": arguments, "bars": case.bars, "limit_s": case.limit_s,
                              "beside": beside, "runs": runs}  # fmt: skip
        in_order = [results[case.name] for case in CASES if case.name in results]
        common.write("defaults", options, n=SEEDS, results=in_order)  # after each case: all of them take long
    print()
    common.show(["data", "bar", "mean [min, max]", "met", "seconds", "MB", "beside"], rows)


if __name__ == "__main__":
    main()
