"""The opaque matrix operation of the rule language: orthogonalisation by Newton-Schulz iteration."""

from __future__ import annotations

import functools

import torch
from torch import Tensor

from ..rules.language import Orthogonalize


def newton_schulz(request: Orthogonalize) -> Tensor:
    """Return the (nearly) orthogonal polar factor of a matrix, in the shape and dtype that came in."""
    u = request.value
    a, b, c = request.coefficients
    matrix = u.reshape(u.shape[0], -1)
    x = matrix.to(getattr(torch, request.dtype) if request.dtype else fast_dtype(u.device.type))
    tall = x.shape[0] > x.shape[1]
    if tall:
        x = x.mT
    x = x / x.norm().clamp(min=request.eps)
    for _ in range(request.steps):
        gram = x @ x.mT
        x = x.addmm(gram.addmm(gram, gram, beta=b, alpha=c), x, beta=a)
    if tall:
        x = x.mT
    return x.reshape(u.shape).to(u.dtype)


@functools.cache
def fast_dtype(device_type: str) -> torch.dtype:
    """Return bfloat16 where the device multiplies it fast, else float32.

    A CPU without bf16 units needed 8 to 12 times as long in bfloat16 (AMD Zen 3, 64x64 to 768x768, one thread).
    """
    if device_type != "cpu":
        return torch.bfloat16
    units = torch.cpu.get_capabilities() if hasattr(torch.cpu, "get_capabilities") else {}
    return torch.bfloat16 if units.get("amx_bf16") or units.get("avx512_bf16") else torch.float32
