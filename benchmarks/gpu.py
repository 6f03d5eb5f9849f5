"""How fast an update is on a CUDA device: Triton kernels against torch's fused operations and against the byte floor.

Two optimizers run in turns on the same gradients; a round is the time of some steps between two events, so that what the host
needs counts too where the device waits for it; ratios are taken round by round. The byte floor of a rule is the bytes that it
must move over the bandwidth of a copy measured in the same round. Run: python -m benchmarks.gpu (with --sweep: other block and
chunk sizes)
"""

from __future__ import annotations

import statistics
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

import steepest
from benchmarks import common
from benchmarks.optimizers import adamw, clipped, torch_best
from steepest.kernels import gpu

ROUNDS, STEPS = 15, 20
LARGE, SMALL = "100 x 1,000,000", "1,000 x 1,000"
SIZES = {LARGE: (100, 1_000_000), SMALL: (1_000, 1_000)}


@dataclass(frozen=True)
class Case:
    """One comparison, and its bars: at most so many times the other's time, at most so many times the byte floor."""

    name: str
    rule: steepest.Rule
    size: str
    moved: int  # numbers read and written for each parameter
    other: Callable[[list[Tensor]], Callable[[], Any]] | None = None
    of_other: float | None = None
    of_floor: float | None = None
    dtype: torch.dtype = torch.float32


CLIPPED = steepest.chain(steepest.clip_global_norm(1.0), steepest.adamw(1e-3))
RMSPROP = torch_best(torch.optim.RMSprop, lr=1e-3)
CASES = (
    Case("AdamW", steepest.adamw(1e-3), LARGE, 7, adamw, of_other=1.1),
    Case("AdamW, bfloat16", steepest.adamw(1e-3), LARGE, 7, adamw, dtype=torch.bfloat16),
    Case("RMSprop", steepest.rmsprop(1e-3), LARGE, 5, RMSPROP, of_floor=1.15),
    Case("Lion", steepest.lion(1e-4), LARGE, 5, of_floor=1.15),
    Case("clip to norm 1, AdamW", CLIPPED, LARGE, 8, clipped(adamw)),
    Case("AdamW", steepest.adamw(1e-3), SMALL, 7, adamw, of_other=0.5),
    Case("RMSprop", steepest.rmsprop(1e-3), SMALL, 5, RMSPROP),
    Case("clip to norm 1, AdamW", CLIPPED, SMALL, 8, clipped(adamw)),
)


def milliseconds(step: Callable[[], Any], steps: int) -> float:
    """Return the time of one of several steps in a row."""
    begin, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
    torch.cuda.synchronize()
    begin.record()
    for _ in range(steps):
        step()
    end.record()
    end.synchronize()
    return begin.elapsed_time(end) / steps


def copying() -> tuple[Callable[[], Any], int]:
    """Return a copy, and the bytes it moves."""
    source, target = (torch.ones(2**27, device="cuda") for _ in range(2))
    return lambda: target.copy_(source), 2 * source.nbytes


def measure(case: Case, rounds: int) -> dict[str, Any]:
    count, numbers = SIZES[case.size]
    torch.manual_seed(0)
    mine = [torch.randn(numbers, device="cuda").to(case.dtype).requires_grad_() for _ in range(count)]
    theirs = [p.detach().clone().requires_grad_() for p in mine]
    for a, b in zip(mine, theirs, strict=True):
        a.grad = b.grad = torch.randn_like(a)
    optimizer = steepest.Optimizer(mine, case.rule)
    other = case.other(theirs) if case.other else None
    copy, copied = copying()
    ours, others, floors = [], [], []
    for at in range(-2, rounds):  # two to warm up
        times = milliseconds(optimizer.step, STEPS), milliseconds(other, STEPS) if other else None, milliseconds(copy, STEPS)
        if at >= 0:
            ours.append(times[0])
            others.append(times[1])
            floors.append(times[2] * case.moved * count * numbers * mine[0].element_size() / copied)
    return {
        "rule": case.name,
        "size": case.size,
        "execution": optimizer.plan().rows[0]["execution"],
        "ours_ms": ours,
        "other_ms": others if other else None,
        "floor_ms": floors,
        "of_other": [a / b for a, b in zip(ours, others, strict=True)] if other else None,
        "of_floor": [a / b for a, b in zip(ours, floors, strict=True)],
        "bars": {"of_other": case.of_other, "of_floor": case.of_floor},
    }


def verdict(row: dict[str, Any]) -> str:
    bars = [(statistics.median(row[name]), bar, name) for name, bar in row["bars"].items() if bar]
    return "; ".join(f"{'met' if found <= bar else 'MISSED'}: {bar:g} {name}".replace("_", " ") for found, bar, name in bars)


def line(row: dict[str, Any]) -> list[str]:
    middle = {name: f"{statistics.median(row[name]):.4g}" if row[name] else "-" for name in ("ours_ms", "other_ms", "floor_ms")}
    ratios = [common.spread(row[name]) if row[name] else "-" for name in ("of_other", "of_floor")]
    return [row["size"], row["rule"], row["execution"], *middle.values(), *ratios, verdict(row)]


HEAD = ["tensors", "rule", "run as", "ms", "other, ms", "floor, ms", "of the other's [min, max]", "of the floor", "bar"]


def sweep(rounds: int) -> None:
    """Print how AdamW fares on large tensors with other blocks, chunks and warps."""
    rows = []
    for block in (512, 1024, 2048):
        for blocks in (1, 4, 8, 16, 32):
            for warps in (4, 8):
                gpu.BLOCK, gpu.CHUNK, gpu.OPTIONS["num_warps"] = block, block * blocks, warps
                rows.append([block, blocks, warps, *line(measure(CASES[0], rounds))[3:]])
    common.show(["block", "blocks a chunk", "warps", *HEAD[3:]], rows)


def main(cases: Sequence[Case] = CASES) -> None:
    sweeping = "--sweep" in sys.argv
    sys.argv = [word for word in sys.argv if word != "--sweep"]
    options = common.arguments(__doc__ or "")
    if not torch.cuda.is_available():
        print("skipped: no CUDA device")
        return
    rounds = 3 if options.quick else ROUNDS
    if sweeping:
        sweep(rounds)
        return
    results = [measure(case, rounds) for case in cases]
    common.show(HEAD, [line(row) for row in results])
    device = {"device": torch.cuda.get_device_name(), "cuda": torch.version.cuda, "triton": _triton()}
    common.write("gpu", options, **device, rounds=rounds, steps=STEPS, results=results)


def _triton() -> str | None:
    if not gpu.is_installed():
        return None
    import triton

    return triton.__version__


if __name__ == "__main__":
    main()
