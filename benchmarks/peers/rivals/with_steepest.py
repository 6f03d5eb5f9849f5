"""`steepest.fit` as a user calls it from Python: arrays in, a recorded run out. Its own clock says how long it trained.

Seconds of training are the stages `train` and `waiting` (progress, records) together; evaluation stands apart, as for all.
"""

from __future__ import annotations

from common import Job, job, tell
from networks import begin, network

import steepest


def task_and_recipe(asked: Job) -> tuple[steepest.Task, steepest.Recipe]:
    """Return what is learned, and how."""
    if asked.network == "transformer":
        context = asked.shape[0]
        data = steepest.read_characters(asked.folder / "text.txt", context=context, stride=context, parts=tuple(asked.parts))
    else:
        X, y, X_test, y_test = (asked.array(name) for name in ("X_train", "y_train", "X_test", "y_test"))
        data = steepest.arrays(X, y, test=(X_test, y_test), scaling="none", images=False, parts=(1, 0, 0, 0))
    task = steepest.Task(data, model=lambda: network(asked), name=asked.name)
    return task, steepest.Recipe(steepest.adam(asked.lr), batch=asked.batch, epochs=asked.epochs)


def main() -> None:
    asked = job()
    begin(asked)  # threads
    task, recipe = task_and_recipe(asked)
    run = steepest.fit(task, recipe, seed=asked.seed, home=asked.out, progress=False)
    assert run.facts["steps"] * asked.batch == asked.rows * asked.epochs
    seconds = run.stages["train"] + run.stages["waiting"]
    told = {"parameters": run.facts["num_parameters"], "stages": run.stages, "plan": run.facts["plan"]["told"]}
    tell(asked, seconds, run.metrics, ("torch", "numpy"), **told, steepest=steepest.__version__)


if __name__ == "__main__":
    main()
