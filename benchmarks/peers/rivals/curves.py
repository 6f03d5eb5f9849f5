"""What is measured of test rows after each epoch, and when: seconds since the process was started. NumPy alone."""

from __future__ import annotations

import json
import time
from importlib.metadata import version
from typing import Any

import numpy as np
from common import Job, scores


def auc(chances: np.ndarray, truth: np.ndarray) -> float:
    """Return the chance that a row of class 1 is ranked above one of class 0; ties count half."""
    _, place, counts = np.unique(chances, return_inverse=True, return_counts=True)
    ranks = (np.cumsum(counts) - (counts - 1) / 2)[place]
    ones = int(truth.sum())
    return float((ranks[truth == 1].sum() - ones * (ones + 1) / 2) / (ones * (len(truth) - ones)))


def judged(metric: str, outputs: np.ndarray, truth: np.ndarray) -> float:
    """Return `"accuracy"`, `"auc"`, `"loss"` (mean cross-entropy) or `"rmse"` of what a network gives for all test rows."""
    if metric == "rmse":
        return float(np.sqrt(np.square(outputs.reshape(truth.shape) - truth).mean()))
    if metric == "auc":
        return auc(outputs[:, 1].astype(np.float64) - outputs[:, 0], truth)
    return scores(outputs, truth)[metric]


class Curve:
    """The clock began before the process did: its parent says when (setting `began`, as `time.time()` gives it)."""

    def __init__(self, asked: Job) -> None:
        self.asked, self.truth = asked, asked.array("y_test")
        self.points: list[tuple[float, float]] = []

    def add(self, outputs: np.ndarray) -> None:
        """Measure at the end of an epoch."""
        self.add_value(judged(self.asked.metric, outputs, self.truth))

    def add_value(self, value: float) -> None:
        self.points.append((time.time() - self.asked.settings["began"], value))

    def tell(self, *packages: str, **more: Any) -> None:
        """Print the one line."""
        print(json.dumps({"curve": self.points, "versions": {name: version(name) for name in packages}, **more}))
