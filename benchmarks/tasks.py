"""Tasks from files that no reader knows, as `steepest fit benchmarks/tasks.py:NAME` takes them."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np

import steepest


def cifar10_20k() -> steepest.Task:
    """Return 20,000 and 5,000 photographs of CIFAR-10, stored as differences of the planes (g, r - g, b - g)."""
    train, test, names = photographs(Path(os.environ["STEEPEST_DATA"]) / "cifar10_20k")
    data = steepest.arrays(*train, test=test, images=True, name="cifar10_20k", parts=(0.95, 0.05, 0.0, 0.0))
    data.targets = steepest.data.targets.Targets("classification", data.targets.values, names)
    return steepest.Task(data)


def photographs(folder: Path) -> tuple[tuple[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray], tuple[str, ...]]:
    """Return images (rows, height, width, colours) and classes to train and to test on, and the names of classes."""
    with np.load(folder / "cifar10_20k_5k.npz") as stored:
        train, test = ((_decoded(stored[f"{part}_delta"]), stored[f"y_{part}"]) for part in ("train", "test"))
        return train, test, tuple(str(name) for name in stored["classes"])


def _decoded(planes: np.ndarray) -> np.ndarray:
    """Add the differences up again, down and across, and bring green back into red and blue."""
    green, red, blue = planes.cumsum(axis=-2, dtype=np.uint8).cumsum(axis=-1, dtype=np.uint8)
    return np.stack([red + green, green, blue + green], axis=-1)


STRINGS = (2_400, 400)  # to train on, and to test on


def spoken_numbers() -> steepest.Task:
    """Return strings of two to five spoken digits, of one speaker one after the other, with their digits as text.

    Those of the test part are made of recordings with an index below 5, all others of the rest.
    """
    from steepest.data.findings import CleaningReport
    from steepest.data.recordings import joined
    from steepest.data.splitting import SHARES
    from steepest.data.transcribed import transcribed

    path = Path(os.environ["STEEPEST_DATA"]) / "fsdd" / "fsdd_int16_8khz.npz"
    with np.load(path) as stored:
        audio, offsets = stored["audio"], stored["offsets"]
        digit, speaker, index = stored["digit"], stored["speaker"], stored["index"]
    rng = np.random.default_rng(0)
    recordings, texts = [], []
    for count, there in zip(STRINGS, (index >= 5, index < 5), strict=True):
        for _ in range(count):
            own = np.flatnonzero(there & (speaker == rng.integers(speaker.max() + 1)))
            chosen = rng.choice(own, rng.integers(2, 6))
            recordings.append(np.concatenate([audio[offsets[i] : offsets[i + 1]] for i in chosen]))
            texts.append("".join(str(digit[i]) for i in chosen))
    tested = np.arange(sum(STRINGS)) >= STRINGS[0]
    data = transcribed(
        joined(recordings, 8_000), texts, source="spoken_numbers", name="spoken_numbers", parts=SHARES, seed=0, tested=tested,
        report=CleaningReport(len(texts), 1),
    )  # fmt: skip
    return steepest.Task(data, reach="cer <= 0.05")
