"""`steepest` told nothing but the data and the network: the recipe is its own. What a reader cuts is read from the file."""

from __future__ import annotations

import numpy as np
from common import Job, job
from curves import Curve
from networks import begin, network

import steepest


def data(asked: Job) -> steepest.Data:
    """Return the rows that everybody trains on, with those for testing as what is measured after each epoch."""
    if asked.read:
        read = steepest.task(asked.read["source"], **asked.read["options"]).data
    else:
        X, y, X_test, y_test = (asked.array(name) for name in ("X_train", "y_train", "X_test", "y_test"))
        read = steepest.arrays(X, y, test=(X_test, y_test), scaling="none", images=len(asked.shape) == 3, parts=(1, 0, 0, 0))
    nothing = np.array([], dtype=np.int64)
    return read.with_parts({"train": read.parts["train"], "validation": read.parts["test"], "test": nothing})


def main() -> None:
    asked = job()
    begin(asked)  # threads
    task = steepest.Task(data(asked), model=lambda: network(asked), metrics=[asked.metric], name=asked.name)
    curve, recipe = Curve(asked), None
    for event in steepest.steps(task, asked.settings.get("recipe"), seed=asked.seed):
        if isinstance(event, steepest.EvaluationEvent):
            curve.add_value(event.metrics[asked.metric] / asked.unit)
            recipe = event.training.recipe
    curve.tell("torch", "numpy", recipe=repr(recipe))


if __name__ == "__main__":
    main()
