"""What every rival shares, whatever it is written with: its arguments, the arrays, and the line it prints. NumPy alone.

A rival is a script that runs alone in its environment: it loads the arrays, trains, measures the test rows, saves the model,
and prints one line of JSON.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Job:
    """What a rival is asked for: `facts` are those of the work, `settings` what the rival may choose itself."""

    facts: dict[str, Any]
    folder: Path
    seed: int
    threads: int
    out: Path
    settings: dict[str, Any]

    def __getattr__(self, name: str) -> Any:
        """Return a fact of the work: `network`, `rows`, `batch`, `epochs`, `lr`, `classes`, `shape`, ..."""
        try:
            return self.facts[name]
        except KeyError:
            raise AttributeError(name) from None

    def array(self, name: str) -> np.ndarray:
        """Return `X_train`, `y_train`, `X_test` or `y_test`."""
        return np.load(self.folder / f"{name}.npy")


def job() -> Job:
    """Read the command line."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--work", type=Path, required=True, help="the folder of its arrays")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--out", type=Path, required=True, help="the folder that the model is saved in")
    parser.add_argument("--settings", type=json.loads, default={}, help="JSON")
    given = parser.parse_args()
    facts = json.loads((given.work / "facts.json").read_text())
    return Job(facts, given.work, given.seed, given.threads, given.out, given.settings)


def scores(outputs: np.ndarray, truth: np.ndarray) -> dict[str, float]:
    """Return accuracy and mean cross-entropy of outputs (..., classes) against classes (...)."""
    logits = outputs.reshape(-1, outputs.shape[-1]).astype(np.float64)
    truth = truth.reshape(-1)
    largest = logits.max(axis=1)
    totals = largest + np.log(np.exp(logits - largest[:, None]).sum(axis=1))
    loss = float((totals - logits[np.arange(len(truth)), truth]).mean())
    return {"accuracy": float((logits.argmax(axis=1) == truth).mean()), "loss": loss}


def megabytes() -> float | None:
    """Return the most memory that this process has held. What a parent is told of it counts the parent's own, too."""
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
    except OSError:
        return None
    return next((int(line.split()[1]) / 1024 for line in lines if line.startswith("VmHWM:")), None)


def tell(asked: Job, train_seconds: float, measured: dict[str, float], packages: tuple[str, ...], **more: Any) -> None:
    """Print the one line: seconds of training, rows trained, what the test rows gave, versions, parameters."""
    found = {
        "train_seconds": train_seconds,
        "rows": asked.rows * asked.epochs,
        "accuracy": measured["accuracy"],
        "loss": measured["loss"],
        "megabytes": megabytes(),
        "versions": {name: version(name) for name in packages},
        **more,
    }
    print(json.dumps(found), flush=True)
