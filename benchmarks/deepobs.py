"""In how many epochs does the network 2c2d reach the published target on Fashion-MNIST? DeepOBS's tuned Momentum, and a
recipe of ours.

DeepOBS (Schneider, Balles, Hennig, 2019, arXiv:1903.05499) publishes the problem fmnist_2c2d - network, initial weights, batch
of 128, cross-entropy - with the learning rates of its tuned baselines, and the accuracy on the test images at which it counts a
training as converged (91.98%). Both recipes run here in the same harness, measured after each epoch, to that target.

`--race` searches for a recipe, in a race that sees nothing but the 60,000 images for training, 10,000 of which it holds out;
with no other contender, and one seed, because an epoch takes a quarter of a minute.
OURS was chosen by hand so far.

Run: python -m benchmarks.deepobs --data DIR [--race]
"""

from __future__ import annotations

import argparse
import csv
import json
import os
from pathlib import Path

import numpy as np
from torch import nn

import steepest
from benchmarks import common

PROBLEM, SEEDS, MOST_EPOCHS = "fmnist_2c2d", 3, 100
SPACE = (
    "Recipe(one_of(adamw(between(0.0005, 0.005), weight_decay=0.1, schedule=one_cycle()),"
    " split(convolutions=muon(between(0.005, 0.05), schedule=one_cycle()), rest=adamw(0.002, schedule=one_cycle()))),"
    " batch=one_of(64, 128, 256), epochs=one_of(3, 4, 6, 8), augment=one_of((), shift(1), flip(), (flip(), shift(1))),"
    " name='raced')"
)
OURS = "Recipe(adamw(0.002, weight_decay=0.1, schedule=one_cycle()), batch=128, epochs=6, augment=flip())"
TRIES = 16


def two_conv_two_dense() -> nn.Sequential:
    """Return 2c2d with the initial weights of DeepOBS: of a normal distribution of deviation 0.05 up to 0.1; biases 0.05."""
    network = nn.Sequential(
        nn.Conv2d(1, 32, 5, padding=2), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(32, 64, 5, padding=2), nn.ReLU(), nn.MaxPool2d(2),
        nn.Flatten(), nn.Linear(3136, 1024), nn.ReLU(), nn.Linear(1024, 10),
    )  # fmt: skip
    for layer in network:
        if isinstance(layer, nn.Conv2d | nn.Linear):
            nn.init.trunc_normal_(layer.weight, std=0.05, a=-0.1, b=0.1)
            nn.init.constant_(layer.bias, 0.05)  # type: ignore[arg-type]
    return network


def problem(folder: Path, reach: str) -> steepest.Task:
    """Return the problem as published: all images for training are trained on, those for testing are measured."""
    data = steepest.task(folder, parts=(1.0, 0.0, 0.0, 0.0)).data
    parts = {"train": data.parts["train"], "validation": data.parts["test"], "test": np.array([], dtype=np.int64)}
    return steepest.Task(data.with_parts(parts), model=two_conv_two_dense, reach=reach, name=PROBLEM)


def published(folder: Path) -> tuple[str, float, float]:
    """Return the tuned Momentum as a recipe, the target, and the accuracy that this recipe is said to come to."""
    target = json.loads((folder / "convergence_performance.json").read_text())[PROBLEM]
    with open(folder / "tuned_settings_10_seeds.csv", newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["problem"] == PROBLEM]
    row = next(row for row in rows if row["optimizer"] == "MomentumOptimizer")
    beta = json.loads(row["hyper"])["momentum"]
    recipe = (
        f"Recipe(momentum({float(row['lr']):.5g}, momentum={beta}), batch={row['batch']}, epochs={MOST_EPOCHS}, augment=())"
    )
    return recipe, round(target, 4), float(row["final_test_acc"])


def epochs_to(task: steepest.Task, recipe: str, seed: int) -> list[float]:
    """Train until the target is met at the end of an epoch, or for all epochs; return what each epoch came to."""
    values: list[float] = []
    assert task.goal is not None
    for event in steepest.steps(task, recipe, seed=seed):
        if isinstance(event, steepest.EvaluationEvent):
            values.append(event.metrics[task.goal.metric])
            print(f"  {recipe.split('(')[1]}, seed {seed}, epoch {len(values)}: {values[-1]:.4f}", flush=True)
            if task.goal.met(values[-1]):
                break
    return values


def found(folder: Path, reach: str) -> str:
    """Race for a recipe, on the images for training alone; return its text."""
    data = steepest.task(folder, parts=(5 / 6, 1 / 6, 0.0, 0.0)).data
    task = steepest.Task(data, model=two_conv_two_dense, reach=reach, name=PROBLEM)
    race = steepest.race(task, [SPACE], baseline="raced", tries=TRIES, seeds=1, processes=1, epochs=8, record=False)
    print(race)
    return repr(race.best)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--race", action="store_true", help="find a recipe, and print it")
    parser.add_argument("--quick", action="store_true", help="one seed; writes no result")
    parser.add_argument("--data", type=Path, default=os.environ.get("STEEPEST_DATA"), help="folder of real data sets")
    options = parser.parse_args()
    folders = [common.data_folder(options, name) for name in ("deepobs", "fashion_mnist")]
    if folders[0] is None or folders[1] is None:
        return
    tuned, target, says = published(folders[0])
    reach = f"accuracy >= {target}"
    if options.race:
        print(found(folders[1], reach))
        return
    task = problem(folders[1], reach)
    rows, results = [], {}
    for name, recipe in (("ours", OURS), ("tuned Momentum", tuned)):
        curves = [epochs_to(task, recipe, seed) for seed in range(1 if options.quick else SEEDS)]
        epochs = [len(curve) if curve[-1] >= target else float("inf") for curve in curves]
        results[name] = {"recipe": recipe, "epochs": epochs, "accuracies": curves}
        rows.append([name, common.spread(epochs), " ".join(f"{curve[-1]:.4f}" for curve in curves)])
    common.show(("recipe", f"epochs to {target}, median [min, max]", "accuracies"), rows)
    common.write("deepobs", options, n=SEEDS, target=target, published_accuracy=says, results=results)


if __name__ == "__main__":
    main()
