"""Tasks from files that no reader knows, as `steepest fit benchmarks/tasks.py:NAME` takes them."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np

import steepest


def cifar10_20k() -> steepest.Task:
    """Return 20,000 and 5,000 photographs of CIFAR-10, stored as differences of the planes (g, r - g, b - g)."""
    path = Path(os.environ["STEEPEST_DATA"]) / "cifar10_20k" / "cifar10_20k_5k.npz"
    with np.load(path) as stored:
        train, test = (_decoded(stored[f"{part}_delta"]) for part in ("train", "test"))
        labels = stored["y_train"], stored["y_test"]
        names = tuple(str(name) for name in stored["classes"])
    data = steepest.arrays(
        train, labels[0], test=(test, labels[1]), images=True, name="cifar10_20k", parts=(0.95, 0.05, 0.0, 0.0)
    )
    data.targets = steepest.data.targets.Targets("classification", data.targets.values, names)
    return steepest.Task(data)


def _decoded(planes: np.ndarray) -> np.ndarray:
    """Add the differences up again, down and across, and bring green back into red and blue."""
    green, red, blue = planes.cumsum(axis=-2, dtype=np.uint8).cumsum(axis=-1, dtype=np.uint8)
    return np.stack([red + green, green, blue + green], axis=-1)
