"""Does `fit` cost anything over a hand-written loop? Fashion-MNIST, MLP 784-64-64-10, Adam, batch 128.

Three rivals in one process, in turns: the loop of the tutorials on tensors (fancy indexing, torch's default Adam), the same
with torch's fused Adam, and one with every trick we know (fused Adam, index_select). Every one trains the same 60,000 rows;
seconds are wall-clock of the whole epoch, evaluation left out of all four. Run: python -m benchmarks.loop
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

import steepest
from benchmarks import common
from steepest.data.images import read_images

EPOCHS, BATCH, ROUNDS = 3, 128, 12


def network() -> nn.Sequential:
    return nn.Sequential(nn.Linear(784, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 10))


def tutorial(X: Tensor, y: Tensor, *, fused: bool, select: bool) -> float:
    """Return the rows a second of a loop written out by hand."""
    torch.manual_seed(0)
    model = network()
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3, fused=fused)
    began = time.perf_counter()
    for _ in range(EPOCHS):
        order = torch.randperm(len(X))
        for rows in order.split(BATCH):
            inputs, targets = (X.index_select(0, rows), y.index_select(0, rows)) if select else (X[rows], y[rows])
            loss = F.cross_entropy(model(inputs), targets)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    return EPOCHS * len(X) / (time.perf_counter() - began)


def ours(task: steepest.Task) -> float:
    """Return the rows a second of `fit`, over the wall-clock of everything but data preparation and evaluation."""
    recipe = steepest.Recipe(steepest.adam(1e-3), batch=BATCH, epochs=EPOCHS)
    run = steepest.fit(task, recipe, record=False, progress=False)
    spent = run.stages["train"] + run.stages["waiting"]
    return EPOCHS * task.data.size("train") / spent


def main() -> None:
    options = common.arguments(__doc__ or "")
    folder = common.data_folder(options, "fashion_mnist")
    if folder is None:
        return
    images = read_images(folder).inputs.reshape(-1, 784) / 255
    labels = read_images(folder).labels
    X = torch.as_tensor((images - images.mean()) / images.std(), dtype=torch.float32)
    y = torch.as_tensor(labels, dtype=torch.int64)
    data = steepest.arrays(X.numpy(), labels, scaling="none", images=False, parts=(1, 0, 0, 0))
    task = steepest.Task(data, model=network)
    rivals: dict[str, Callable[[], float]] = {
        "steepest.fit": lambda: ours(task),
        "hand-written tensor loop": lambda: tutorial(X, y, fused=False, select=False),
        "the same, fused Adam": lambda: tutorial(X, y, fused=True, select=False),
        "the same, fused Adam and index_select": lambda: tutorial(X, y, fused=True, select=True),
    }
    results = []
    for threads in (1, 2):
        torch.set_num_threads(threads)
        found: dict[str, list[float]] = {name: [] for name in rivals}
        for round_ in range(-1, 2 if options.quick else ROUNDS):
            for name, run in rivals.items():
                speed = run()
                if round_ >= 0:
                    found[name].append(speed)
        for name, speeds in found.items():
            ratios = [a / b for a, b in zip(found["steepest.fit"], speeds, strict=True)]
            results.append({"threads": threads, "loop": name, "rows_per_second": speeds, "fit_over_it": ratios})
    rows = [
        [r["threads"], r["loop"], f"{statistics.median(r['rows_per_second']):,.0f}", common.spread(r["fit_over_it"])]
        for r in results
    ]
    common.show(["threads", "loop", "rows/s", "fit / it, paired: median [min, max]"], rows)
    common.write("loop", options, n=ROUNDS, epochs=EPOCHS, batch=BATCH, results=results)


if __name__ == "__main__":
    main()
