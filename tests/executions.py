"""Executions one at a time: what the parity tests compare, here, on a device and in Triton's interpreter."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pytest
import torch
from torch import Tensor

import steepest
from steepest.kernels import fused, gpu, native

Change = Callable[[Tensor], Tensor]


def leave(execution: str, patch: pytest.MonkeyPatch) -> None:
    """Leave optimizers one execution beside the eager one: "C", "Triton", "fused" or "eager" for none."""
    for name, module, function in (("C", native, "compiled"), ("Triton", gpu, "compiled"), ("fused", fused, "recognise")):
        if name != execution:
            patch.setattr(module, function, lambda *anything: "turned off")


def trained(
    rule: steepest.Rule, dtype: torch.dtype, shapes: Sequence[tuple[int, ...]], *, change: Change | None = None,
    steps: int = 5, device: str = "cpu", execution: str | None = None,
) -> tuple[list[Tensor], list[dict[str, Tensor]]]:  # fmt: skip
    """Return parameters and state after a few steps on the same gradients, on the CPU; `change` is what happens to these."""
    generator = torch.Generator().manual_seed(0)
    params = [torch.randn(shape, generator=generator).to(device, dtype).requires_grad_() for shape in shapes]
    optimizer = steepest.Optimizer(params, rule)
    if execution is not None:
        assert {row["execution"] for row in optimizer.plan().rows} == {execution}, optimizer.plan()
    for _ in range(steps):
        for p in params:
            gradient = torch.randn(p.shape, generator=generator).to(device, dtype)
            p.grad = gradient if change is None else change(gradient)
        optimizer.step()
    states = [{k: v.cpu() for k, v in optimizer.state[p].items() if isinstance(v, Tensor)} for p in params]
    return [p.detach().cpu() for p in params], states


def both(execution: str, rule: steepest.Rule, dtype: torch.dtype, shapes: Sequence[tuple[int, ...]], **options: Any) -> Any:
    """Return what an execution and the definition come to."""
    found = []
    for name in (execution, "eager"):
        with pytest.MonkeyPatch.context() as patch:
            leave(name, patch)
            found.append(trained(rule, dtype, shapes, execution=name, **options))
    return found


def farthest(mine: Tensor, defined: Tensor, dtype: torch.dtype | None = None, spared: float = 0.0) -> float:
    """Return how far two tensors are apart at most, in roundings of a dtype; infinite where NaN or infinity differ.

    For whole numbers - codes of 8 bits - one step counts as 50 roundings. Of many numbers, the share `spared` is not looked at:
    where numbers are rounded to few bits, or at random, the last bit may tip one over.
    """
    a, b = mine.double(), defined.double()
    odd = ~(a.isfinite() & b.isfinite())
    if not torch.equal(a[odd].nan_to_num(1e300), b[odd].nan_to_num(1e300)):
        return float("inf")
    unit = torch.finfo(dtype or defined.dtype).eps if defined.is_floating_point() else 0.02
    apart = (a - b).abs()[~odd] / (unit * (b.abs()[~odd].clamp(min=1.0) if defined.is_floating_point() else 1.0))
    apart = apart.flatten().sort().values[: apart.numel() - int(spared * apart.numel())]
    return apart[-1].item() if apart.numel() else 0.0


def apart(
    execution: str,
    rule: steepest.Rule,
    dtype: torch.dtype,
    shapes: Sequence[tuple[int, ...]],
    *,
    spared: float = 0.0,
    **options: Any,
) -> float:
    """Return how far parameters and state of an execution are from those of the definition, in roundings."""
    (mine, states), (defined, others) = both(execution, rule, dtype, shapes, **options)
    kept = [value for state in others for key, value in state.items() if key != "step"]
    coarsest = max([dtype, *(v.dtype for v in kept if v.is_floating_point())], key=lambda known: torch.finfo(known).eps)
    found = [farthest(a, b, coarsest, spared) for a, b in zip(mine, defined, strict=True)]
    for state, other in zip(states, others, strict=True):
        for key, value in other.items():  # what is kept in few digits is where the last one may tip over
            found.append(farthest(state[key], value, coarsest, spared))
    return max(found)
