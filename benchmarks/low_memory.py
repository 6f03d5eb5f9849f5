"""What little memory costs in accuracy: Fashion-MNIST, MLP 784-128-64-10, the same seeds with state in full and in 8 bits, and
with parameters in bfloat16.

Every variant trains the same initial weights on the same batches of 50,000 images, seed by seed; what is compared is the
accuracy on the other 10,000, paired. Bytes a parameter are those of parameter and state (its gradient takes as many again as
the parameter). Run: python -m benchmarks.low_memory
"""

from __future__ import annotations

import statistics
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from scipy import stats
from torch import Tensor, nn
from torch.nn import functional as F

import steepest
from benchmarks import common
from steepest import adamw, chain, compensated, keep_state, lion, momentum, stochastic_rounding
from steepest.data.images import read_images

SEEDS, EPOCHS, BATCH, TRAIN = 8, 4, 256, 50_000
FALLING = steepest.cosine(steps=EPOCHS * -(-TRAIN // BATCH))
ADAMW = adamw(2e-3, schedule=FALLING)


@dataclass(frozen=True)
class Variant:
    """A rule and the dtype of the parameters, beside the one in full that it is compared with."""

    name: str
    rule: steepest.Rule
    dtype: torch.dtype = torch.float32
    beside: str = "AdamW"


BALL, SIGNS = momentum(0.02, schedule=FALLING), lion(2e-4, schedule=FALLING)
VARIANTS = (
    Variant("AdamW", ADAMW),
    Variant("AdamW, 8-bit state", keep_state(ADAMW)),
    Variant("momentum", BALL, beside="momentum"),
    Variant("momentum, 8-bit state", keep_state(BALL), beside="momentum"),
    Variant("Lion", SIGNS, beside="Lion"),
    Variant("Lion, 8-bit state", keep_state(SIGNS), beside="Lion"),
    Variant("bfloat16, AdamW", ADAMW, torch.bfloat16),
    Variant("bfloat16, AdamW, compensated", chain(ADAMW, compensated()), torch.bfloat16),
    Variant("bfloat16, AdamW, 8-bit state, compensated", chain(keep_state(ADAMW), compensated()), torch.bfloat16),
    Variant("bfloat16, AdamW, 8-bit state, stochastic", chain(keep_state(ADAMW), stochastic_rounding()), torch.bfloat16),
)


def train(variant: Variant, data: tuple[Tensor, Tensor, Tensor, Tensor], seed: int) -> tuple[float, float]:
    """Return the test accuracy and the bytes a parameter. Products are those of float32 for all: what differs is storage."""
    torch.manual_seed(seed)
    X, y, X_test, y_test = data
    model = nn.Sequential(nn.Linear(784, 128), nn.ReLU(), nn.Linear(128, 64), nn.ReLU(), nn.Linear(64, 10)).to(variant.dtype)
    optimizer = steepest.Optimizer(model, variant.rule)
    for _ in range(EPOCHS):
        for rows in torch.randperm(len(X)).split(BATCH):
            loss = F.cross_entropy(forward(model, X.index_select(0, rows)), y.index_select(0, rows))
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    with torch.no_grad():
        accuracy = (forward(model, X_test).argmax(1) == y_test).double().mean().item()
    numbers = sum(p.numel() for p in model.parameters())
    held = [*model.parameters(), *(v for state in optimizer.state.values() for key, v in state.items() if key != "step")]
    return accuracy, sum(t.numel() * t.element_size() for t in held) / numbers


def forward(model: nn.Sequential, x: Tensor) -> Tensor:
    """Run the network with its parameters widened to float32: a CPU without the units multiplies bfloat16 slowly."""
    for layer in model:
        x = F.linear(x, layer.weight.float(), layer.bias.float()) if isinstance(layer, nn.Linear) else layer(x)
    return x


def compared(mine: list[float], others: list[float]) -> dict[str, Any]:
    """Return the mean difference, its 95% interval, and the deviation between seeds."""
    differences = np.subtract(mine, others)
    half = stats.t.ppf(0.975, len(differences) - 1) * differences.std(ddof=1) / len(differences) ** 0.5
    low, high = differences.mean() - half, differences.mean() + half
    return {"difference": differences.mean(), "low": low, "high": high, "deviation": np.std(others, ddof=1)}


def main() -> None:
    options = common.arguments(__doc__ or "")
    folder = common.data_folder(options, "fashion_mnist")
    if folder is None:
        return
    read = read_images(folder)
    X = torch.as_tensor(np.asarray(read.inputs), dtype=torch.float32).reshape(-1, 784) / 255
    X, y = (X - X[:TRAIN].mean()) / X[:TRAIN].std(), torch.as_tensor(np.asarray(read.labels), dtype=torch.int64)
    assert len(X) == TRAIN + 10_000, len(X)
    data = (X[:TRAIN], y[:TRAIN], X[TRAIN:], y[TRAIN:])
    found: dict[str, list[tuple[float, float]]] = {variant.name: [] for variant in VARIANTS}
    for seed in range(2 if options.quick else SEEDS):
        for variant in VARIANTS:
            found[variant.name].append(train(variant, data, seed))
    results = []
    for variant in VARIANTS:
        accuracies, others = ([a for a, _ in found[name]] for name in (variant.name, variant.beside))
        row = {"variant": variant.name, "beside": variant.beside, "accuracy": accuracies, "bytes": found[variant.name][0][1]}
        results.append(row | (compared(accuracies, others) if variant.name != variant.beside else {}))
    common.show(["variant", "bytes a parameter", "accuracy", "difference [95%], points", "seeds' deviation"], lines(results))
    common.write("low_memory", options, seeds=SEEDS, epochs=EPOCHS, batch=BATCH, results=results)


def lines(results: list[dict[str, Any]]) -> list[list[str]]:
    rows = []
    for row in results:
        beside = "-", "-"
        if "low" in row:
            low, mean, high = (100 * row[key] for key in ("low", "difference", "high"))
            beside = f"{mean:+.2f} [{low:+.2f}, {high:+.2f}] to {row['beside']}", f"{100 * row['deviation']:.2f}"
        rows.append([row["variant"], f"{row['bytes']:.2f}", f"{100 * statistics.mean(row['accuracy']):.2f}%", *beside])
    return rows


if __name__ == "__main__":
    main()
