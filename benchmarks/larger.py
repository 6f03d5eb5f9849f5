"""Does a training from the cache on disk keep the pace of one from memory, and how much memory does it take?

Images 3 x 64 x 64 in 8 bits, 4 GiB of them unless `--gib` says otherwise, written to the cache once (in a temporary folder,
which is deleted at the end). A linear model, whose steps leave the disk the least time, and a small residual network are
trained on them: resident (all images in memory), from the cache, and from the cache after the kernel has let go of the file, so
that every row comes from the disk. Each training is a process of its own, in turns. Memory is what is anonymous (`RssAnon` in
/proc/self/status) at most, above what the same process had taken after it had trained on a few rows.
Run: python -m benchmarks.larger
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch

import steepest
from benchmarks import common
from steepest.data.cache import Wanted, stored
from steepest.data.lines import Lines

SHAPE, CLASSES, BATCH = (3, 64, 64), 10, 128
GIB, AT_ONCE = 2**30, 2048
NETWORKS = {"linear_model()": 1.0, "residual_cnn(width=8)": 0.02}  # and the share of an epoch that is trained
RIVALS = ("resident", "cache", "cache, cold")
PARTS = (0.98, 0.02, 0.0, 0.0)


def labels_of(rows: int) -> np.ndarray:
    return np.random.default_rng(1).integers(0, CLASSES, rows)


def images(labels: np.ndarray) -> Iterator[np.ndarray]:
    """Yield noise around a mean image of each class, some rows at a time."""
    rng = np.random.default_rng(0)
    means = rng.integers(60, 196, (CLASSES, *SHAPE), dtype=np.uint8)
    noise = rng.integers(0, 60, (4 * AT_ONCE, *SHAPE), dtype=np.uint8)
    for begin in range(0, len(labels), AT_ONCE):
        some = labels[begin : begin + AT_ONCE]
        at = int(rng.integers(0, len(noise) - len(some)))
        yield means[some] + noise[at : at + len(some)]


def written(labels: np.ndarray) -> Lines:
    made_of = ["benchmarks.larger", len(labels)]
    return stored(Wanted(made_of, SHAPE, np.dtype(np.uint8), len(labels), lambda _: images(labels))).lines


def anonymous() -> int:
    """Return the bytes of this process's memory that no file stands behind."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return 1024 * next(int(line.split()[1]) for line in lines if line.startswith("RssAnon"))


class Watch:
    """The most anonymous memory while it is open."""

    def __enter__(self) -> Watch:
        self.most, self._stop = anonymous(), threading.Event()
        self._thread = threading.Thread(target=self._look)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _look(self) -> None:
        while not self._stop.wait(0.02):
            self.most = max(self.most, anonymous())


def train(data: steepest.Data, network: str, steps: int) -> steepest.Run:
    task = steepest.task(data, model=network)
    recipe = steepest.Recipe(steepest.adam(1e-3), batch=BATCH, epochs=1)
    return steepest.fit(task, recipe=recipe, max_steps=steps, evaluate_every=10**9, record=False, progress=False)


def child(rival: str, network: str, rows: int, threads: int) -> dict[str, Any]:
    """Train once in this process; return its pace and memory."""
    torch.set_num_threads(threads)
    labels = labels_of(rows)
    lines = written(labels)
    few = lines[:2000].read()
    train(steepest.arrays(few, labels[:2000], parts=PARTS), network, 10)
    if rival == "cache, cold":
        with open(lines.path, "rb") as file:
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    before = anonymous()
    data = steepest.arrays(lines.read() if rival == "resident" else lines, labels, parts=PARTS)
    with Watch() as watch:
        run = train(data, network, max(int(NETWORKS[network] * rows / BATCH), 20))
    return {
        "samples_per_second": run.samples_per_second,
        "anonymous_bytes_above": watch.most - before,
        "weights": run.facts["weights_sha256"],
    }


def measured(rows: int, rounds: int, threads: int) -> list[dict[str, Any]]:
    results = []
    for network in NETWORKS:
        found: dict[str, list[dict[str, Any]]] = {rival: [] for rival in RIVALS}
        for _ in range(rounds):
            for rival in RIVALS:
                call = [sys.executable, "-m", "benchmarks.larger", "--child", rival, network, str(rows), str(threads)]
                found[rival].append(json.loads(subprocess.run(call, capture_output=True, text=True, check=True).stdout))
        assert len({one["weights"] for each in found.values() for one in each}) == 1, "the weights differ"
        for rival, each in found.items():
            pace = [one["samples_per_second"] for one in each]
            resident = [one["samples_per_second"] for one in found["resident"]]
            results.append(
                {
                    "network": network,
                    "rows_from": rival,
                    "samples_per_second": pace,
                    "over_resident": [a / b for a, b in zip(pace, resident, strict=True)],
                    "anonymous_bytes_above": [one["anonymous_bytes_above"] for one in each],
                }
            )
    return results


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--gib", type=float, default=4.0, help="size of the images")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--quick", action="store_true", help="a quarter of a GiB, one round; writes no result")
    parser.add_argument("--child", nargs=4, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        rival, network, rows, threads = options.child
        print(json.dumps(child(rival, network, int(rows), int(threads))))
        return
    gib, rounds = (0.25, 1) if options.quick else (options.gib, options.rounds)
    rows = int(gib * GIB) // int(np.prod(SHAPE))
    with tempfile.TemporaryDirectory() as folder:
        os.environ["STEEPEST_CACHE"] = folder
        written(labels_of(rows))
        results = measured(rows, rounds, options.threads)
    table = [
        [
            r["network"],
            r["rows_from"],
            f"{statistics.median(r['samples_per_second']):,.0f}",
            common.spread(r["over_resident"]),
            f"{max(r['anonymous_bytes_above']) / 2**20:,.0f}",
        ]
        for r in results
    ]
    common.show(["network", "rows from", "rows/s", "over resident, paired: median [min, max]", "MiB above, most"], table)
    common.write("larger", options, gib=gib, rows=rows, n=rounds, threads_used=options.threads, batch=BATCH, results=results)


if __name__ == "__main__":
    main()
