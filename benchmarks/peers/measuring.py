"""One run of one rival as a process of its own, and many in strict turns.

The clock of the whole process runs from its start to its end: imports, loading, training, measuring the test rows, saving.
"""

from __future__ import annotations

import itertools
import json
import math
import os
import statistics
import subprocess
import tempfile
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.peers.environments import ENVIRONMENTS, ROOT
from benchmarks.peers.works import Work

RIVALS_FOLDER = Path(__file__).parent / "rivals"
LIMIT_S = 900  # of one run


@dataclass(frozen=True)
class Rival:
    """A script, the environment it runs in, and its settings."""

    name: str
    title: str
    environment: str
    script: str
    settings: dict[str, Any] = field(default_factory=dict)


RIVALS = (
    Rival("steepest", "steepest.fit", "steepest", "with_steepest.py"),
    Rival("expert", "expert's tensor loop", "torch", "tensor_loop.py"),
    Rival("float32", "float32 tensor loop", "torch", "tensor_loop.py"),
    Rival("dataloader", "DataLoader loop", "torch", "dataloader_loop.py"),
    Rival("accelerate", "Accelerate", "accelerate", "with_accelerate.py"),
    Rival("keras-jax", "Keras on JAX", "keras-jax", "with_keras.py", {"backend": "jax"}),
    Rival("skorch", "skorch", "skorch", "with_skorch.py"),
    Rival("lightning", "Lightning", "lightning", "with_lightning.py"),
    Rival("keras-torch", "Keras on torch", "keras-torch", "with_keras.py", {"backend": "torch"}),
)
OURS = RIVALS[0].name


@dataclass(frozen=True)
class Conditions:
    """What is the same for all: where environments and arrays lie, how many threads."""

    envs: Path
    arrays: Path
    threads: int = 2


class RivalError(Exception):
    """A rival's process ended with an error; the text is its last line."""


def run(rival: Rival, under: Conditions, *, seed: int, settings: Mapping[str, Any]) -> dict[str, Any]:
    """Run a rival once; return what it printed, with `process_seconds`."""
    with tempfile.TemporaryDirectory() as out, tempfile.TemporaryFile() as told, tempfile.TemporaryFile() as complaints:
        asked = {"--work": under.arrays, "--seed": seed, "--threads": under.threads, "--out": out}
        options = [str(part) for pair in asked.items() for part in pair] + ["--settings", json.dumps(settings)]
        command = [str(ENVIRONMENTS[rival.environment].python(under.envs)), str(RIVALS_FOLDER / rival.script), *options]
        surroundings = _surroundings(rival, settings.get("threads", under.threads))
        began = time.perf_counter()
        process = subprocess.Popen(command, cwd=out, stdout=told, stderr=complaints, env=surroundings)
        limit = threading.Timer(LIMIT_S, process.kill)
        limit.start()
        status = process.wait()
        seconds = time.perf_counter() - began
        limit.cancel()
        told.seek(0)
        complaints.seek(0)
        if process.returncode:
            said = complaints.read().decode(errors="replace").strip().splitlines()
            raise RivalError(f"not done after {LIMIT_S} s" if seconds >= LIMIT_S else said[-1] if said else f"exit {status}")
        found = json.loads(told.read().decode().strip().splitlines()[-1])
    return found | {"seed": seed, "process_seconds": seconds}


def _surroundings(rival: Rival, threads: int) -> dict[str, str]:
    """Return the environment variables of a rival: the same threads for all, nothing of ours but for steepest."""
    kept = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "KERAS_BACKEND", "XLA_FLAGS")}
    return kept | {"OMP_NUM_THREADS": str(threads)} | ({"PYTHONPATH": str(ROOT / "src")} if rival.name == OURS else {})


def in_turns(
    rivals: Sequence[Rival], under: Conditions, *, rounds: int, warm: int, settings: Mapping[str, Mapping[str, Any]]
) -> dict[str, dict[str, Any]]:
    """Run A B C A B C ...; the first `warm` rounds are not counted. The seed of a round is its number, from 0.

    Who fails is left out of the later rounds, and the reason is told.
    """
    found: dict[str, dict[str, Any]] = {
        rival.name: {"title": rival.title, "settings": dict(settings.get(rival.name, {})), "runs": []} for rival in rivals
    }
    for round_ in range(-warm, rounds):
        for rival in rivals:
            kept = found[rival.name]
            if "failed" in kept:
                continue
            try:
                result = run(rival, under, seed=max(round_, 0), settings=rival.settings | kept["settings"])
            except RivalError as failure:
                kept["failed"] = str(failure)
                print(f"  {rival.title}: FAILED: {failure}", flush=True)
                continue
            if round_ >= 0:
                kept["runs"].append(result | {"rows_per_second": speed(result)})
            at = f"round {round_ + 1}" if round_ >= 0 else "warming up"
            seconds = f"{result['train_seconds']:.2f} s of {result['process_seconds']:.2f} s"
            print(f"  {at}: {rival.title}: {seconds}, accuracy {result['accuracy']:.4f}, loss {result['loss']:.4f}", flush=True)
    return found


def speed(result: Mapping[str, Any]) -> float:
    """Return the rows a second of the training loop; who compiles at the first step is not charged for that step."""
    first = result.get("first_step_seconds", 0.0)
    return (result["rows"] - (result["first_rows"] if first else 0)) / (result["train_seconds"] - first)


CANDIDATES: dict[str, tuple[dict[str, Any], ...]] = {
    network: tuple(dict(zip(choices, values, strict=True)) for values in itertools.product(*choices.values()))
    for network, choices in {
        "mlp": {"precision": ("float32", "bfloat16"), "gather": ("batch", "epoch"), "threads": (1, 2)},
        "table": {"precision": ("float32", "bfloat16"), "gather": ("batch", "epoch"), "threads": (1, 2)},
        "cnn": {"precision": ("float32", "bfloat16"), "channels_last": (False, True)},
        "transformer": {"precision": ("float32", "bfloat16"), "attention": ("torch", "float32", "products")},
        "lstm": {"precision": ("float32", "bfloat16"), "threads": (1, 2)},
    }.items()
}


def best_settings(work: Work, under: Conditions, rounds: int) -> dict[str, Any]:
    """Return what the expert chooses on this machine: of some settings, in turns, that of the lowest median of training."""
    expert = next(rival for rival in RIVALS if rival.name == "expert")
    seconds: dict[str, list[float]] = {json.dumps(one): [] for one in CANDIDATES[work.network]}
    for _ in range(rounds):
        for text, found in seconds.items():
            try:
                found.append(run(expert, under, seed=0, settings=json.loads(text))["train_seconds"])
            except RivalError as failure:  # such as a processor without bfloat16
                print(f"  expert: {text} FAILED: {failure}", flush=True)
                found.append(math.inf)
    tried = sorted(seconds, key=lambda text: statistics.median(seconds[text]))
    for text in tried:
        print(f"  expert: {statistics.median(seconds[text]):.2f} s with {text}", flush=True)
    return {"chosen": json.loads(tried[0]), "tried": {text: seconds[text] for text in tried}}
