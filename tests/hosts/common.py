"""What every host trains, a small network on digits, and how torch's optimizer and steepest's are compared."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from sklearn.datasets import load_digits
from torch import Tensor, nn

import steepest

BATCH = 32
STEPS = 40
# Relative to the largest number compared. float64 is the sharp comparison; in float32 the same training with torch's own AdamW
# ends 1e-6 from the float64 one.
TOLERANCES = {torch.float64: 1e-12, torch.float32: 5e-6}

Make = Callable[[Any], torch.optim.Optimizer]


@dataclass(frozen=True)
class Pair:
    """The same rule as torch's optimizer and as steepest's; both take parameters."""

    name: str
    torch: Make
    steepest: Make


ADAMW = Pair(
    "adamw",
    lambda params: torch.optim.AdamW(params, lr=3e-3, betas=(0.85, 0.98), weight_decay=0.1),
    lambda params: steepest.Optimizer(params, steepest.adamw(3e-3, b1=0.85, b2=0.98, weight_decay=0.1)),
)
NESTEROV = Pair(
    "nesterov",
    lambda params: torch.optim.SGD(params, lr=0.05, momentum=0.9, nesterov=True, weight_decay=1e-3),
    lambda params: steepest.Optimizer(params, steepest.nesterov(0.05, momentum=0.9, weight_decay=1e-3)),
)
PAIRS = (ADAMW, NESTEROV)


def network() -> nn.Sequential:
    """Return the network, always with the same first weights, in torch's default precision."""
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(64, 32), nn.Tanh(), nn.Linear(32, 10))


def digits(rows: int = BATCH * STEPS) -> tuple[Tensor, Tensor]:
    """Return pixels from 0 to 1 and labels."""
    images, labels = load_digits(return_X_y=True)
    return torch.tensor(images[:rows] / 16, dtype=torch.get_default_dtype()), torch.tensor(labels[:rows])


def batches() -> list[tuple[Tensor, Tensor]]:
    """Return the batches of one pass, always in the same order."""
    pixels, labels = digits()
    return list(zip(pixels.split(BATCH), labels.split(BATCH), strict=True))


def weights(model: nn.Module) -> list[Tensor]:
    """Return copies of the weights."""
    return [p.detach().clone() for p in model.parameters()]


@dataclass
class Training:
    """What two trainings are compared by."""

    losses: list[float] = field(default_factory=list)
    rates: list[float] = field(default_factory=list)
    weights: list[Tensor] = field(default_factory=list)


@dataclass
class Checks:
    """Compares, prints each comparison and remembers the largest difference of each precision."""

    count: int = 0
    largest: dict[torch.dtype, float] = field(default_factory=dict)

    def equal(self, what: str, got: Training, expected: Training) -> None:
        """Fail unless both trainings had the same losses, learning rates and weights, and neither was empty or stood still."""
        assert len(got.losses) == len(expected.losses) >= 2, f"{what}: {len(got.losses)} and {len(expected.losses)} losses"
        assert len(set(expected.losses)) > 1, f"{what}: the loss stood still"
        assert len(got.rates) == len(expected.rates), f"{what}: {len(got.rates)} and {len(expected.rates)} learning rates"
        assert len(got.weights) == len(expected.weights) > 0, f"{what}: no weights to compare"
        pairs = [(torch.tensor(got.losses), torch.tensor(expected.losses)), *zip(got.weights, expected.weights, strict=True)]
        if expected.rates:
            pairs.append((torch.tensor(got.rates), torch.tensor(expected.rates)))
        dtype, largest = torch.get_default_dtype(), max(difference(a, b) for a, b in pairs)
        print(f"{dtype}: {what}: {largest:.1e}")
        assert got.weights[0].dtype == dtype, f"{what}: trained in {got.weights[0].dtype}"
        assert largest <= TOLERANCES[dtype], f"{what}: differs by {largest:.2e}, more than {TOLERANCES[dtype]:.0e}"
        self.count += 1
        self.largest[dtype] = max(self.largest.get(dtype, 0.0), largest)

    def true(self, what: str, fact: bool) -> None:
        """Fail unless it is so."""
        assert fact, what
        print(what)
        self.count += 1

    def raises(self, what: str, call: Callable[[], Any], words: str) -> None:
        """Fail unless the call is refused with these words."""
        try:
            call()
        except steepest.InputError as error:
            self.true(what, words in str(error))
        else:
            raise AssertionError(f"{what}: was not refused")


def main(*parts: Callable[[Checks], None]) -> None:
    """Run the parts of a script in both precisions and end with one line for the table."""
    checks = Checks()
    for dtype in TOLERANCES:
        torch.set_default_dtype(dtype)
        for part in parts:
            part(checks)
    shown = ", ".join(f"{str(dtype).removeprefix('torch.')} within {largest:.0e}" for dtype, largest in checks.largest.items())
    print(f"{checks.count} checks, {shown}")


def difference(got: Tensor, expected: Tensor) -> float:
    """Return the largest difference, relative to the largest number expected."""
    size = expected.abs().max().item()
    largest = (got - expected).abs().max().item() / (size or 1.0)
    return largest if math.isfinite(largest) else math.inf


def plain(state: Any) -> bool:
    """Return whether a state holds nothing but tensors, numbers and text, as `torch.load(weights_only=True)` wants it."""
    if isinstance(state, Mapping):
        return all(plain(value) for value in state.values())
    if isinstance(state, list | tuple):
        return all(plain(value) for value in state)
    return state is None or isinstance(state, Tensor | bool | int | float | str)
