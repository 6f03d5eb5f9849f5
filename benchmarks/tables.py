"""How long does a large table take, and how much memory? A csv of 1,000,000 rows and 10 columns: read, cleaned, split, encoded.

The file is made here, of numbers, categories (3 to 2,000 of them), booleans, dates and short quoted texts, 3% of the cells
missing. Every round is a process of its own, with so many threads, so that the memory is its peak resident size; the time of
`read` runs from the path to `Data` in four parts, warnings included, that of `encode` to the training part as a tensor. Imports
are timed apart. Run: python -m benchmarks.tables
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from benchmarks import common

ROWS, ROUNDS = 1_000_000, 5
MISSING = 0.03

ONE_ROUND = """
import json, resource, sys, time
began = time.perf_counter()
import torch
import steepest
torch.set_num_threads(int(sys.argv[2]))
steepest.read_table, steepest.data.preprocessing
import sklearn.impute, sklearn.preprocessing
imported = time.perf_counter()
data = steepest.read_table(sys.argv[1], "bought")
read = time.perf_counter()
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
data.part("train", by="benchmark")
encoded = time.perf_counter()
print(json.dumps({
    "import_s": imported - began, "read_s": read - imported, "encode_s": encoded - read, "read_peak_bytes": peak,
    "peak_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024, "rows": len(data), "features": data.form.shape[0],
}))
"""


def make(path: Path, rows: int) -> None:
    """Write the table."""
    rng = np.random.default_rng(0)
    frame = pl.DataFrame(
        {
            "amount": rng.normal(100, 30, rows).round(2),
            "age": rng.integers(18, 90, rows),
            "rate": rng.random(rows).round(6),
            "plan": rng.choice(["basic", "plus", "pro"], rows),
            "city": rng.choice([f"city {i}" for i in range(30)], rows),
            "shop": rng.choice([f"shop {i}" for i in range(2_000)], rows),
            "member": rng.random(rows) < 0.4,
            "when": np.datetime64("2020-01-01") + rng.integers(0, 1500, rows).astype("m8[D]"),
            "note": rng.choice(["good", "late delivery", "broken, returned", "asked twice"], rows),
            "bought": rng.choice(["no", "yes"], rows, p=[0.7, 0.3]),
        }
    )
    holes = [pl.when(pl.Series(rng.random(rows) < MISSING)).then(None).otherwise(pl.col(name)) for name in frame.columns[:-1]]
    frame.with_columns(hole.alias(name) for hole, name in zip(holes, frame.columns, strict=False)).write_csv(path)


def measured(path: Path, threads: int) -> dict[str, Any]:
    """Return what one process took."""
    environment = os.environ | {"OMP_NUM_THREADS": str(threads), "POLARS_MAX_THREADS": str(threads)}
    command = [sys.executable, "-c", ONE_ROUND, str(path), str(threads)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    return json.loads(done.stdout)


def main() -> None:
    options = common.arguments(__doc__ or "")
    rounds, results = 1 if options.quick else ROUNDS, []
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "table.csv"
        make(path, ROWS)
        size = path.stat().st_size
        for threads in (1, 2):
            found = [measured(path, threads) for _ in range(rounds)]
            results.append({"threads": threads} | {name: [one[name] for one in found] for name in found[0]})
    rows = [
        [r["threads"], common.spread(r["read_s"]), f"{max(r['read_peak_bytes']) / 2**30:.2f}", common.spread(r["encode_s"]),
         f"{max(r['peak_bytes']) / 2**30:.2f}", f"{statistics.median(r['import_s']):.1f}"]
        for r in results
    ]  # fmt: skip
    head = ["threads", "read s: median [min, max]", "peak GiB", "encode s: median [min, max]", "peak GiB", "imports s"]
    common.show(head, rows)
    common.write("tables", options, n=ROUNDS, rows=ROWS, file_bytes=size, missing=MISSING, results=results)


if __name__ == "__main__":
    main()
