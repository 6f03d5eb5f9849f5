"""How long a rule's first compiled step takes: cold (traced, compiled, loaded), warm (from the cache), and torch.compile's.

Every start is a process of its own; what is timed begins when torch and steepest are imported and ends when a step over ten
matrices has been made. Run: python -m benchmarks.compiling
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile

from benchmarks import common

RULES = {
    "AdamW": "steepest.adamw(1e-3)",
    "RMSprop, centered, momentum": "steepest.rmsprop(1e-3, centered=True, momentum=0.9)",
    "clip to norm 1, AdamW, EMA of weights": (
        "steepest.chain(steepest.clip_global_norm(1.0), steepest.adamw(1e-3), steepest.ema_weights())"
    ),
    "clip to norm 1, Lion, 8-bit state": (
        "steepest.keep_state(steepest.chain(steepest.clip_global_norm(1.0), steepest.lion(1e-4)), min_size=0)"
    ),
    "Schedule-Free AdamW": "steepest.schedule_free_adamw(1e-3)",
}
OURS = """
import time, torch, steepest
from steepest import optimizer
params = [torch.randn(100, 100).requires_grad_() for _ in range(10)]
for p in params: p.grad = torch.randn(100, 100)
rule = {rule}
began = time.perf_counter()
made = steepest.Optimizer(params, rule)
made.step()
print(time.perf_counter() - began)
assert made.plan().rows[0]["execution"] == "C", made.plan()
"""
TORCHS = """
import time, torch
params = [torch.randn(100, 100).requires_grad_() for _ in range(10)]
for p in params: p.grad = torch.randn(100, 100)
made = torch.optim.AdamW(params, lr=torch.tensor(1e-3))
step = torch.compile(made.step)
began = time.perf_counter()
step()
print(time.perf_counter() - began)
"""


def start(script: str, cache: str) -> float:
    """Return the milliseconds that a fresh process printed."""
    environment = {**os.environ, "STEEPEST_CACHE": cache, "TORCHINDUCTOR_CACHE_DIR": f"{cache}/inductor"}
    done = subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, text=True, check=True)
    return float(done.stdout.split()[-1]) * 1e3


def measure(script: str, rounds: int) -> dict[str, list[float]]:
    """Return cold and warm starts: each round has a new cache, and starts over it twice."""
    found: dict[str, list[float]] = {"cold": [], "warm": []}
    for _ in range(rounds):
        with tempfile.TemporaryDirectory() as cache:
            found["cold"].append(start(script, cache))
            found["warm"].append(start(script, cache))
    return found


def main() -> None:
    options = common.arguments(__doc__ or "")
    rounds = 2 if options.quick else 7
    results = {name: measure(OURS.format(rule=rule), rounds) for name, rule in RULES.items()}
    results["torch.compile of AdamW"] = measure(TORCHS, 1 if options.quick else 3)
    common.show(
        ["rule", "cold, ms: median [min, max]", "warm, ms"],
        [[name, common.spread(row["cold"]), common.spread(row["warm"])] for name, row in results.items()],
    )
    cold, warm = (max(statistics.median(results[name][kind]) for name in RULES) for kind in ("cold", "warm"))
    print(f"\nslowest cold start {cold:.0f} ms (bar 1,000), slowest warm start {warm:.0f} ms (bar 30)")
    common.write("compiling", options, rounds=rounds, results=results)


if __name__ == "__main__":
    main()
