"""What do augmentations cost? Milliseconds a batch of 128 on one thread, beside a training step of the default network.

Rows are made up (normal numbers), of which 10,000 are there; what is taken is what `Training.batch_at` takes, gathering the
rows among it. Cases take turns, and the thread's own processor time is counted: whatever else the machine does stays out of it.
Run: python -m benchmarks.augmentation
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch

import steepest
from benchmarks import common
from steepest.augmentations import Source, as_augmentations, augmented
from steepest.data.gathering import Ragged
from steepest.data.parts import Part
from steepest.defaults import default_recipe
from steepest.forms import Form
from steepest.recipes import read
from steepest.training.setup import prepare

COUNT, BATCH, ROUNDS = 10_000, 128, 60
STEPS = 20  # of training; the others cost a thousandth of one
IMAGES = (
    "()", "(flip(),)", "(shift(2),)", "(cutout(8),)", "(noise(0.1),)", "(rotate(15),)", "(scale(1.2),)", "(crop(0.5),)",
    "(rotate(15), scale(1.2), crop(0.5))", "(mixup(0.2),)", "(cutmix(1.0),)", "(flip(), shift(2))",
    "(flip(), shift(2), mixup(0.2))",
)  # fmt: skip
SOUNDS = ("()", "(mask_frequencies(8, count=2),)", "(mask_times(20, count=2),)", "(mixup(0.2),)")
TABLES = ("()", "(jitter(0.1),)", "(swap(0.1),)", "(mixup(0.2),)")


def sources() -> dict[str, tuple[Source, tuple[str, ...]]]:
    """Return the training parts, and what is done to each."""
    draw = torch.Generator().manual_seed(0)
    classes = torch.arange(COUNT) % 10
    lengths = torch.randint(40, 100, (COUNT,), generator=draw)
    offsets = torch.cat([torch.zeros(1, dtype=torch.int64), lengths.cumsum(0)])
    frames = Ragged(torch.randn(int(offsets[-1]), 40, generator=draw), offsets)
    table = Form("table", (30,), numbers=tuple(range(10)), groups=(*range(10), 10, 15, 20, 25))
    rows = {
        "images 3x32x32": (torch.randn(COUNT, 3, 32, 32, generator=draw), Form("image", (3, 32, 32)), IMAGES),
        "sounds 40..99x40": (frames, Form("sound", (99, 40)), SOUNDS),
        "tables 30": (torch.randn(COUNT, 30, generator=draw), table, TABLES),
    }
    return {name: (Source(Part("train", x, classes), form, 10), texts) for name, (x, form, texts) in rows.items()}


def training_step(X: np.ndarray, **options: Any) -> Callable[[int], object]:
    """Return a step of the default network and rule for such rows, without any augmentation."""
    task = steepest.Task(steepest.arrays(X, np.arange(COUNT) % 10, **options))
    rule = default_recipe(task.data.form, task.data.size("train")).rule
    training = prepare(task, steepest.Recipe(rule, batch=BATCH, epochs=10, augment=()))
    events = steepest.steps(task, training=training, evaluate_every=10**6)
    return lambda round_: next(events)


def main() -> None:
    options = common.arguments(__doc__ or "")
    torch.set_num_threads(1)
    order = torch.randperm(COUNT, generator=torch.Generator().manual_seed(1))
    cases: dict[tuple[str, str], Callable[[int], object]] = {}
    for kind, (source, texts) in sources().items():
        for text in texts:
            augment = as_augmentations(read(text)) or ()
            cases[kind, text] = lambda round_, source=source, augment=augment: augmented(
                source, augment, 0, round_, order[(at := round_ % (COUNT // BATCH) * BATCH) : at + BATCH]
            )
    draw = np.random.default_rng(0)
    images = draw.integers(0, 255, (COUNT, 32, 32, 3), dtype=np.uint8)
    cases["images 3x32x32", "a training step"] = training_step(images, images=True)
    cases["tables 30", "a training step"] = training_step(draw.normal(0, 1, (COUNT, 30)))
    found: dict[tuple[str, str], list[float]] = {case: [] for case in cases}
    for round_ in range(-2, 10 if options.quick else ROUNDS):
        for case, run in cases.items():
            if case[1] == "a training step" and round_ >= STEPS:
                continue
            began = time.thread_time()
            run(round_ + 2)
            if round_ >= 0:
                found[case].append(1000 * (time.thread_time() - began))
    common.show(
        ["rows", "augment", "ms a batch: median [min, max]"], [[*case, common.spread(ms)] for case, ms in found.items()]
    )
    results = [
        {"rows": rows, "augment": augment, "median_ms": statistics.median(ms), "ms": [round(each, 3) for each in ms]}
        for (rows, augment), ms in found.items()
    ]
    common.write("augmentation", options, n=ROUNDS, steps=STEPS, batch=BATCH, results=results)


if __name__ == "__main__":
    main()
