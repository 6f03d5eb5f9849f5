"""What is known without measuring: which plan suits a device and a kind of network, and how long a training is at most."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import torch
from torch import nn

from ..backpropagation import rounds
from ..machine import has_bfloat16
from ..plans import BFLOAT16, FLOAT32, TF32, Plan
from .footprint import within_memory
from .setup import Training
from .trying import can_follow

# of a step; below, two threads took 0.76 to 1.01 of one thread's speed (AMD Zen 4), above 1.0 to 1.5; and of dense layers in C
ALONE_FLOPS, ALONE_FLOPS_IN_C = 4e8, 1e7
SLOW_FLOPS, SLOW_STEP_S = 5e9, 2e-3  # of a core, and beside its arithmetic: what no training is slower than


def default_plan(training: Training) -> Plan:
    """Return the plan that suits the device, and the kind of network, without measuring; one that two rows show to fail gives
    way to a plainer one.
    """
    plan = _suited(training)
    plainer = (plan, replace(plan, channels_last=False), replace(plan, channels_last=False, precision=FLOAT32))
    for one in dict.fromkeys(plainer):
        if can_follow(training, one):
            return one
    return replace(plainer[-1], checkpointing=False)


def _suited(training: Training) -> Plan:
    """Return what is known to suit a device and a kind of network.

    On CPUs with units for bfloat16, networks of convolutions, recurrent layers, attention and large dense layers take it,
    images with their channels innermost. A step of little arithmetic is done by one thread: a second one is waited for longer
    than it helps. On GPUs that know tf32, products take it.
    """
    device, fits = training.device, within_memory(training)
    if device.type == "cuda":
        return replace(fits, precision=TF32 if torch.cuda.get_device_capability(device)[0] >= 8 else FLOAT32)
    if device.type != "cpu":
        return fits
    fits = replace(fits, threads=1 if torch.get_num_threads() > 1 and _is_little(training) else None)
    if has_bfloat16(device) and _is_heavy(training) and may_round(training):
        return replace(fits, precision=BFLOAT16, channels_last=has(training.model, nn.Conv2d))
    return fits


def may_round(training: Training) -> bool:
    """Return whether products, the last layer's among them, may be rounded: not where numbers lie far from zero, compared with
    how they differ, so that a rounded output misses them.
    """
    if {p.dtype for p in training.parameters} != {torch.float32}:
        return False
    wanted = training.train.targets
    if training.task.kind != "regression" or not isinstance(wanted, torch.Tensor) or not wanted.is_floating_point():
        return True
    return bool((wanted.mean(0).abs() <= FAR * wanted.std(0, unbiased=False).clamp(min=1e-12)).all())


FAR = 5.0  # standard deviations
HEAVY = (nn.Conv1d, nn.Conv2d, nn.RNNBase, nn.MultiheadAttention)


def _is_heavy(training: Training) -> bool:
    """Return whether a network has layers whose products are known to be faster in bfloat16."""
    layers = training.dense.layers if training.dense is not None else ()
    return training.attends or has(training.model, HEAVY) or any(rounds(layer, training.batch) for layer in layers)


def has(model: nn.Module, kinds: Any) -> bool:
    return any(isinstance(module, kinds) for module in model.modules())


def flops_of(training: Training) -> float:
    """Return the floating-point operations of a step; infinite for a network of the caller's that cannot be counted."""
    return math.inf if training.cost is None else 3.0 * training.batch * training.cost.flops_a_row


def _is_little(training: Training) -> bool:
    """Return whether a second thread is waited for longer than it helps."""
    return flops_of(training) < (ALONE_FLOPS_IN_C if runs_in_c(training) else ALONE_FLOPS)


def runs_in_c(training: Training) -> bool:
    """Return whether a step is dense layers in C, and hardly anything else."""
    return training.dense is not None and training.dense.in_c is not None and not has(training.model, HEAVY)


def longest_s(training: Training, num_steps: int) -> float:
    """Return the seconds a training cannot take more of: from its arithmetic, on a slow core."""
    return num_steps * (SLOW_STEP_S + flops_of(training) / SLOW_FLOPS)
