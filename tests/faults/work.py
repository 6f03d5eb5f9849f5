"""The training that is stopped, killed and resumed: everything that has a state, in 60 steps of some milliseconds."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import torch
from torch import nn

import steepest

ROWS, BATCH, STEPS = 480, 48, 60


def images() -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    y = rng.integers(0, 4, ROWS)
    return (rng.integers(0, 120, (ROWS, 3, 8, 8)) + 30 * y[:, None, None, None]).astype(np.uint8), y


def network() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1),
        nn.BatchNorm2d(8),
        nn.ReLU(),
        nn.Dropout(0.2),
        nn.Flatten(),
        nn.Linear(512, 16),
        nn.BatchNorm1d(16),
        nn.ReLU(),
        nn.Dropout(0.2),
        nn.Linear(16, 4),
    )


def recipe() -> steepest.Recipe:
    """AdamW and Muon under one cycle, an average of the weights, augmentation, early stopping that keeps the best."""
    schedule = steepest.one_cycle()
    muon, adamw = steepest.muon(0.02, schedule=schedule), steepest.adamw(0.003, schedule=schedule)
    return steepest.Recipe(
        steepest.chain(steepest.split(matrices=muon, convolutions=muon, rest=adamw), steepest.ema_weights(0.9)),
        batch=BATCH,
        epochs=STEPS / (0.7 * ROWS / BATCH),
        patience=50,
        augment=(steepest.flip(), steepest.shift(1), steepest.noise(0.1), steepest.mixup(0.2)),
    )


def task(folder: Path | None = None) -> steepest.Task:
    """Return what is learned, from memory or from a file in a folder."""
    X, y = images()
    if folder is not None:
        np.save(folder / "images.npy", X)
        X = np.load(folder / "images.npy", mmap_mode="r")
    data = steepest.arrays(X, y, parts=(0.7, 0.15, 0.15, 0), on_disk=folder is not None)
    return steepest.Task(data, model=network, name="faults")


def make() -> steepest.Task:
    """Return the task, as `work.py:make` names it on the command line."""
    torch.set_num_threads(1)
    where = os.environ.get("FAULTS_FOLDER")
    return task(Path(where) if where else None)
