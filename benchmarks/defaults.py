"""What do the default recipes reach on real data? Nothing is tuned here: `steepest fit FILE` as a user types it.

Run: python -m benchmarks.defaults
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import steepest
from benchmarks import common

SEEDS = 3


def tasks(options: Any) -> dict[str, tuple[str, float | None, steepest.Task, steepest.Recipe | None]]:
    """Return name -> metric, what it must reach, task and recipe (None: the default)."""
    found: dict[str, tuple[str, float | None, steepest.Task, steepest.Recipe | None]] = {}

    def add(name: str, file: str, metric: str, bar: float | None, recipe: Any = None, **more: Any) -> None:
        folder = common.data_folder(options, name)
        if folder is not None:
            more = {key: str(folder / value) if key == "test" else value for key, value in more.items()}
            found[name] = (metric, bar, steepest.task(Path(folder / file), name=name, **more), recipe)

    small = steepest.Recipe(steepest.adamw(0.003), batch=32, epochs=40, patience=10, model=steepest.mlp((10,)))
    zeros = {f"c{i}": ["0"] for i in range(2, 7)}
    add("adult", "adult-train.csv.gz", "accuracy", 0.85, label=-1, header=False, test="adult-test.csv.gz")
    add("california_housing", "housing.csv", "r2", 0.75, label="median_house_value")
    add("pima", "pima-indians-diabetes.csv", "accuracy", None, small, label=-1, header=False, missing_in=zeros)
    add("titanic", "train.csv", "accuracy", None, label="Survived")
    add("fashion_mnist", "", "accuracy", 0.91)
    return found


def main() -> None:
    options = common.arguments(__doc__ or "")
    results, rows = [], []
    for name, (metric, bar, task, recipe) in tasks(options).items():
        if options.quick and name == "fashion_mnist":
            continue
        count = 1 if options.quick or name == "fashion_mnist" else SEEDS
        began = time.perf_counter()
        runs = [steepest.fit(task, recipe, seed=seed, record=False) for seed in range(count)]
        values = [run.metrics[metric] for run in runs]
        seconds = (time.perf_counter() - began) / count
        epochs = [run.facts["steps"] / (run.facts["steps"] / (run.curve[-1]["epoch"] + 1)) for run in runs]
        part = runs[0].facts["measured_on"]
        facts = {"metric": metric, "bar": bar, "values": values, "epochs": epochs, "measured_on": part}
        results.append({"data": name, **facts, "recipe": runs[0].facts["recipe"], "seconds": seconds})
        shown = f">= {bar}" if bar is not None else "runs"
        rows.append([name, metric, common.spread(values), shown, f"{max(epochs):.0f}", part["rows"], f"{seconds:.1f}"])
    common.show(["data", "metric", "test: median [min, max]", "bar", "epochs", "test rows", "seconds a run"], rows)
    common.write("defaults", options, n=SEEDS, results=results)


if __name__ == "__main__":
    main()
