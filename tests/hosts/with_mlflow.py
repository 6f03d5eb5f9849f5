"""Tells MLflow of a training, with a store in a folder: parameters, metrics by step, how it ended, and where it goes on."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

os.environ["MLFLOW_ALLOW_FILE_STORE"] = "true"  # a folder suffices here; MLflow itself recommends a data base

from mlflow import MlflowClient

import steepest
from steepest.gradient import plain

RECIPE = "Recipe(adamw(0.01), batch=16, epochs=3)"


def stopping(context: Any) -> Any:
    """Press Ctrl-C twice at step 14."""
    stopping.calls += 1
    if stopping.calls == 14:
        raise KeyboardInterrupt
    return plain(context)


stopping.calls = 0


def main() -> None:
    """Train, stop, go on; compare what MLflow has kept."""
    uri = Path("store").absolute().as_uri()
    sink = f"mlflow:{uri}"
    try:
        steepest.fit("iris", recipe=RECIPE, sinks=sink, gradient=stopping)
    except steepest.Interrupted as stop:
        print(stop)
    run = steepest.fit(resume="last", sinks=sink, gradient=stopping)
    client = MlflowClient(uri)
    experiment = client.get_experiment_by_name("steepest")
    assert experiment is not None
    (kept,) = client.search_runs([experiment.experiment_id])
    assert kept.info.run_name == run.id
    assert kept.info.status == "FINISHED"
    assert kept.data.params["recipe"] == run.facts["recipe"]
    assert kept.data.metrics["test/accuracy"] == run.metrics["accuracy"]
    history = client.get_metric_history(kept.info.run_id, "train/loss")
    curve = [(point["step"], point["train_loss"]) for point in run.facts["curve"]]
    assert sorted({(item.step, item.value) for item in history}) == curve
    print(f"a run of {len(curve)} evaluations, stopped and gone on with: all there, once")


if __name__ == "__main__":
    main()
