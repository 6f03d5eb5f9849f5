"""How fast an update is: steepest against torch's best, in turns, on many small and on few large tensors.

Each pair of optimizers runs side by side on the same gradients, each round the median of a few steps; the ratio is taken round
by round. The byte floor of an elementwise rule is the bytes it must move over the bandwidth of a triad measured in the same
round. Rules for whole matrices have a section of their own: products cost there, not bytes.
Run: python -m benchmarks.optimizers
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any
from unittest import mock

import torch
from torch import Tensor

import steepest
from benchmarks import common

STEPS = 5
SIZES = {"400 x 1,000": (400, 1_000), "50 x 1,000,000": (50, 1_000_000)}
ROUNDS = {"400 x 1,000": 51, "50 x 1,000,000": 11}  # a step of small tensors is short, and so are the moods of a machine


@dataclass(frozen=True)
class Pair:
    """One comparison: our rule, the other's best step, how many numbers a parameter moves at least, and the bars."""

    name: str
    rule: steepest.Rule
    other: Callable[[list[Tensor]], Callable[[], Any]]
    moved: int  # numbers read and written for each parameter
    bars: dict[str, float]  # size -> how many times faster than the other's


def torch_best(make: Callable[..., torch.optim.Optimizer], **options: Any) -> Callable[[list[Tensor]], Callable[[], Any]]:
    """Return a maker of torch's fastest step of an optimizer: fused where it has that, else foreach."""

    def prepare(params: list[Tensor]) -> Callable[[], Any]:
        for mode in ({"fused": True}, {"foreach": True}, {}):
            try:
                return make(params, **options, **mode).step
            except (TypeError, RuntimeError):
                continue
        raise AssertionError

    return prepare


def clipped(prepare: Callable[[list[Tensor]], Callable[[], Any]]) -> Callable[[list[Tensor]], Callable[[], Any]]:
    def both(params: list[Tensor]) -> Callable[[], Any]:
        step = prepare(params)

        def run() -> None:
            torch.nn.utils.clip_grad_norm_(params, 1.0)
            step()

        return run

    return both


class ReferenceLion(torch.optim.Optimizer):
    """Lion as its authors print it, with torch's foreach operations."""

    def __init__(self, params: list[Tensor], lr: float) -> None:
        super().__init__(params, {"lr": lr})

    @torch.no_grad()
    def step(self) -> None:  # type: ignore[override]
        params = self.param_groups[0]["params"]
        grads = [p.grad for p in params]
        moments = [self.state[p].setdefault("exp_avg", torch.zeros_like(p)) for p in params]
        update = torch._foreach_lerp(moments, grads, 0.1)
        torch._foreach_sign_(update)
        torch._foreach_add_(params, update, alpha=-self.param_groups[0]["lr"])
        torch._foreach_lerp_(moments, grads, 0.01)


adamw = torch_best(torch.optim.AdamW, lr=1e-3)
RMSPROP = {"400 x 1,000": 12.0, "50 x 1,000,000": 2.5}
PAIRS = (
    Pair("AdamW", steepest.adamw(1e-3), adamw, 7, {"400 x 1,000": 8.0, "50 x 1,000,000": 1 / 1.05}),
    Pair("RMSprop", steepest.rmsprop(1e-3), torch_best(torch.optim.RMSprop, lr=1e-3), 5, RMSPROP),
    Pair("NAdam", steepest.nadam(1e-3), torch_best(torch.optim.NAdam, lr=1e-3), 7, {"50 x 1,000,000": 2.5}),
    Pair(
        "clip to norm 1, AdamW",
        steepest.chain(steepest.clip_global_norm(1.0), steepest.adamw(1e-3)),
        clipped(adamw),
        8,
        {"400 x 1,000": 12.0},
    ),
    Pair("Adadelta", steepest.adadelta(1.0), torch_best(torch.optim.Adadelta, lr=1.0), 7, {"50 x 1,000,000": 2.5}),
    Pair("Lion", steepest.lion(1e-4), lambda params: ReferenceLion(params, 1e-4).step, 5, {"50 x 1,000,000": 2.5}),
    Pair("momentum", steepest.momentum(1e-3), torch_best(torch.optim.SGD, lr=1e-3, momentum=0.9), 5, {}),
    Pair("SGD", steepest.sgd(1e-3), torch_best(torch.optim.SGD, lr=1e-3), 3, {}),
    Pair("Adagrad", steepest.adagrad(1e-2), torch_best(torch.optim.Adagrad, lr=1e-2), 5, {}),
)  # fmt: skip


@dataclass(frozen=True)
class MatrixPair:
    """One comparison on matrices of these shapes, a step of each a round."""

    name: str
    size: str
    shapes: tuple[tuple[int, int], ...]
    rule: steepest.Rule
    other: Callable[[list[Tensor]], Callable[[], Any]]
    rounds: int
    bar: float | None = None


def torch_muon(params: list[Tensor]) -> Callable[[], Any]:
    return torch.optim.Muon(params, lr=0.02).step


def torch_muon_in_float32(params: list[Tensor]) -> Callable[[], Any]:
    """Torch's own code, kept from rounding to bfloat16."""
    step = torch_muon(params)

    def run() -> None:
        with mock.patch.object(Tensor, "bfloat16", Tensor.clone):
            step()

    return run


LARGE, SMALL = ((768, 768),) * 12 + ((768, 3072),) * 12, ((64, 64),) * 100 + ((64, 256),) * 100
LARGE_SIZE, SMALL_SIZE = "12 of 768 x 768, 12 of 768 x 3,072", "100 of 64 x 64, 100 of 64 x 256"
muon32 = steepest.muon(0.02, dtype="float32")
# Without units for bfloat16, torch needs minutes for a step of the large ones: one of each must do there.
MATRIX_PAIRS = (
    MatrixPair("Muon, both in float32", LARGE_SIZE, LARGE, muon32, torch_muon_in_float32, 7, 1.35),
    MatrixPair("Muon, both in float32", SMALL_SIZE, SMALL, muon32, torch_muon_in_float32, 11),
    MatrixPair("Muon; torch in bfloat16", "768 x 768, 768 x 3,072", LARGE[11:13], steepest.muon(0.02), torch_muon, 3, 1.35),
)


def timed(step: Callable[[], Any], steps: int) -> float:
    """Return the median seconds of a step."""
    found = []
    for _ in range(steps):
        began = time.perf_counter()
        step()
        found.append(time.perf_counter() - began)
    return statistics.median(found)


def triad(numbers: int) -> Callable[[], Any]:
    """Return `a = b + s c` over this many numbers: two read, one written."""
    a, b, c = (torch.ones(numbers) for _ in range(3))
    return lambda: torch.add(b, c, alpha=0.5, out=a)


def measure(pair: Pair, size: str, rounds: int) -> dict[str, Any]:
    count, numbers = SIZES[size]
    torch.manual_seed(0)
    mine = [torch.randn(numbers).requires_grad_() for _ in range(count)]
    theirs = [p.detach().clone().requires_grad_() for p in mine]
    for a, b in zip(mine, theirs, strict=True):
        a.grad = b.grad = torch.randn(numbers)
    optimizer = steepest.Optimizer(mine, pair.rule)
    ours, other = optimizer.step, pair.other(theirs)
    total = count * numbers
    stream = triad(min(total, 50_000_000))
    for step in (ours, other, stream):
        timed(step, 2)
    rows = []
    for _ in range(rounds):
        rows.append((timed(ours, STEPS), timed(other, STEPS), timed(stream, STEPS)))
    floor = [triad_s / 3 * pair.moved * total / min(total, 50_000_000) for _, _, triad_s in rows]
    return {
        "rule": pair.name,
        "size": size,
        "execution": optimizer.plan().rows[0]["execution"],
        "ours_ms": [a * 1e3 for a, _, _ in rows],
        "other_ms": [b * 1e3 for _, b, _ in rows],
        "faster": [b / a for a, b, _ in rows],
        "over_floor": [a / f for (a, _, _), f in zip(rows, floor, strict=True)],
        "bar": pair.bars.get(size),
    }


def measure_matrices(pair: MatrixPair, rounds: int) -> dict[str, Any]:
    torch.manual_seed(0)
    mine = [torch.randn(shape).requires_grad_() for shape in pair.shapes]
    theirs = [p.detach().clone().requires_grad_() for p in mine]
    for a, b in zip(mine, theirs, strict=True):
        a.grad = b.grad = torch.randn(a.shape)
    optimizer = steepest.Optimizer(mine, pair.rule)
    ours, other = optimizer.step, pair.other(theirs)
    for step in (ours, other):
        timed(step, 1)
    rows = [(timed(ours, 1), timed(other, 1)) for _ in range(rounds)]
    return {
        "rule": pair.name,
        "size": pair.size,
        "execution": optimizer.plan().rows[0]["execution"],
        "ours_ms": [a * 1e3 for a, _ in rows],
        "other_ms": [b * 1e3 for _, b in rows],
        "faster": [b / a for a, b in rows],
        "bar": pair.bar,
    }


def main() -> None:
    options = common.arguments(__doc__ or "")
    rounds = dict.fromkeys(SIZES, 3) if options.quick else ROUNDS
    results = []
    for threads in (torch.get_num_threads(),):
        torch.set_num_threads(threads)
        for size in SIZES:
            for pair in PAIRS:
                results.append({"threads": threads, **measure(pair, size, rounds[size])})
    for matrices in MATRIX_PAIRS:
        found = measure_matrices(matrices, 1 if options.quick else matrices.rounds)
        results.append({"threads": torch.get_num_threads(), **found})
    common.show(
        ["tensors", "rule", "run as", "ms", "other, ms", "faster: median [quartiles]", "bar", "over the byte floor"],
        lines(results),
    )
    common.write("optimizers", options, rounds=rounds, steps=STEPS, results=results)


def quartiles(values: Sequence[float]) -> str:
    """Return the median of a sample and the quartiles around it."""
    low, middle, high = statistics.quantiles(values, n=4) if len(values) > 1 else [values[0]] * 3
    return f"{middle:.2f} [{low:.2f}, {high:.2f}]"


def lines(results: Sequence[dict[str, Any]]) -> list[list[str]]:
    return [
        [
            row["size"],
            row["rule"],
            row["execution"],
            f"{statistics.median(row['ours_ms']):.3g}",
            f"{statistics.median(row['other_ms']):.3g}",
            quartiles(row["faster"]),
            f"{row['bar']:.3g}" if row["bar"] else "-",
            f"{statistics.median(row['over_floor']):.2f}" if "000,000" in row["size"] else "-",
        ]
        for row in results
    ]


if __name__ == "__main__":
    main()
