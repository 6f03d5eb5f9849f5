"""The matrix operations of the rule language, batched by shape: whatever asks alike in one step is stacked and done at once.

Small matrices are stacked because a call costs more than its arithmetic. Orthogonalisation runs its iteration in one of two
forms, equal but for rounding:

- *on the matrix*, as published: `A = X X^T; X <- a X + (b A + c A^2) X`. This is the form in half precision; on a CPU one
  matrix after the other there: a stacked product may round otherwise, and so it equals torch's Muon bit by bit.
- *on its Gram matrix*, where the matrix is wider than high: `X_k = Q_k X_0`, and `Q_k` is a polynomial of `G_0 = X_0 X_0^T`, so
  `P = a + b G + c G^2; Q <- Q P; G <- P G P` never touches the wide matrix. Squaring loses small singular values to rounding,
  and every step magnifies the loss: after `LEG` steps the product is taken, and a new Gram matrix. In half precision that would
  be needed too often.

Time against torch's form in the same precision, one core (AMD Zen 3, torch 2.13, float32): 768 x 1,536 0.84, 768 x 3,072 0.61;
100 of 32 x 32, stacked, a fifth; 256 x 256 and larger the same. Computing only half of the symmetric products, by blocks, took
another fifth off on one core, but cost up to as much again on two busy ones: every further product is one more place where
threads wait for each other. For the same reason large matrices are stacked, as far as memory allows.
"""

from __future__ import annotations

import functools
from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor

from ..rules.language import Eigenbasis, InverseRoot, Orthogonalize, Refreshed

REQUESTS = (Orthogonalize, InverseRoot, Eigenbasis, Refreshed)
STACK = 2**24  # numbers: 64 megabytes in float32, and about three times as much while it is worked on
WIDE = 2  # columns for each row, from which the Gram matrix is the cheaper one to iterate on
LEG = 5


def answers(requests: Sequence[Any]) -> list[Any]:
    """Return what each request asks for."""
    found: list[Any] = [None] * len(requests)
    for places in _shares(requests):
        for i, answer in zip(places, _together([requests[i] for i in places]), strict=True):
            found[i] = answer
    return found


def work_in_place(requests: Sequence[Orthogonalize]) -> None:
    """Put each answer where its matrix was."""
    for places in _shares(requests):
        some = [requests[i] for i in places]
        for request, answer in zip(some, _together(some), strict=True):
            request.value.copy_(answer)


def _shares(requests: Sequence[Any]) -> Iterator[list[int]]:
    """Yield the places of requests that differ in nothing but their matrices, as many as are to be stacked."""
    alike: dict[Any, list[int]] = defaultdict(list)
    for i, request in enumerate(requests):
        options = tuple(value for value in vars(request).values() if not isinstance(value, Tensor))
        alike[type(request), options, tuple(sorted(_sides(request))), request.value.dtype, request.value.device].append(i)
    for places in alike.values():
        share = max(1, STACK // max(1, requests[places[0]].value.numel()))
        yield from (places[begin : begin + share] for begin in range(0, len(places), share))


def _together(requests: Sequence[Any]) -> Sequence[Any]:
    """Answer requests that are alike."""
    first = requests[0]
    if isinstance(first, Orthogonalize):
        return _orthogonal(requests)
    stacked = torch.stack([request.value for request in requests])
    if isinstance(first, InverseRoot):
        return inverse_root(stacked, first.order, first.eps).unbind()
    if isinstance(first, Eigenbasis):
        return _eigh(stacked)[1].flip(-1).unbind()
    basis, order = refreshed(stacked, torch.stack([request.basis for request in requests]))
    return list(zip(basis.unbind(), order.unbind(), strict=True))


def _sides(request: Any) -> tuple[int, int]:
    value = request.value
    return value.shape[0], value.numel() // max(value.shape[0], 1)


def _orthogonal(requests: Sequence[Orthogonalize]) -> list[Tensor]:
    """Return the (nearly) orthogonal polar factors of matrices of equal or transposed shapes, as they came in."""
    first = requests[0]
    dtype = getattr(torch, first.dtype) if first.dtype else fast_dtype(first.value.device.type)
    matrices = [request.value.reshape(_sides(request)) for request in requests]
    flipped = [matrix.shape[0] > matrix.shape[1] for matrix in matrices]
    stack = torch.stack([(m.mT if flip else m).to(dtype) for m, flip in zip(matrices, flipped, strict=True)])
    norm = torch.linalg.vector_norm(stack, dim=(-2, -1), keepdim=True)
    stack = iterated(stack / (first.margin * norm).clamp(min=first.eps), first.coefficients)
    turned = [x.mT if flip else x for x, flip in zip(stack.unbind(), flipped, strict=True)]
    return [x.reshape(request.value.shape).to(request.value.dtype) for x, request in zip(turned, requests, strict=True)]


def iterated(x: Tensor, coefficients: Sequence[tuple[float, float, float]]) -> Tensor:
    """Apply `x <- a x + b (x x^T) x + c (x x^T)^2 x` for each `(a, b, c)` to a stack of matrices, none higher than wide."""
    if x.dtype == torch.float32 and x.device.type == "cpu" and x.shape[-1] >= WIDE * x.shape[-2] and _exact_products():
        for begin in range(0, len(coefficients), LEG):
            x = _on_gram(x, coefficients[begin : begin + LEG])
        return x
    if x.dtype != torch.float32 and x.device.type == "cpu":
        return torch.stack([_one_by_one(matrix, coefficients) for matrix in x])
    for a, b, c in coefficients:
        gram = torch.bmm(x, x.mT)
        x = torch.baddbmm(x, _quadratic(gram, b, c), x, beta=a)
    return x


def _one_by_one(x: Tensor, coefficients: Sequence[tuple[float, float, float]]) -> Tensor:
    for a, b, c in coefficients:
        gram = x @ x.mT
        x = x.addmm(gram.addmm(gram, gram, beta=b, alpha=c), x, beta=a)
    return x


def _on_gram(x: Tensor, coefficients: Sequence[tuple[float, float, float]]) -> Tensor:
    gram, product = torch.bmm(x, x.mT), None
    for i, (a, b, c) in enumerate(coefficients):
        factor = _quadratic(gram, b, c)
        factor.diagonal(dim1=-2, dim2=-1).add_(a)
        product = factor if product is None else torch.bmm(product, factor)
        if i + 1 < len(coefficients):
            gram = torch.bmm(factor, torch.bmm(factor, gram))
    return x if product is None else torch.bmm(product, x)


def _quadratic(gram: Tensor, b: float, c: float) -> Tensor:
    """Return `b A + c A^2`."""
    return torch.baddbmm(gram, gram, gram, beta=b, alpha=c)


def _exact_products() -> bool:
    """Return whether float32 is multiplied as float32: the user may have torch round it to fewer digits first."""
    try:
        return torch.get_float32_matmul_precision() == "highest"
    except RuntimeError:  # the user has set it where torch keeps it for each backend
        return False


def inverse_root(matrix: Tensor, order: int, eps: float) -> Tensor:
    """Return `(M + eps I)^(-1 / order)` of symmetric matrices whose negative eigenvalues, rounding's, count as 0."""
    values, vectors = _eigh(matrix)
    powers = (values.clamp(min=0) + eps) ** (-1.0 / order)
    return (vectors * powers.unsqueeze(-2)) @ vectors.mT


def refreshed(matrix: Tensor, basis: Tensor) -> tuple[Tensor, Tensor]:
    """Return an eigenbasis after one power iteration from `basis`, and which column of that each of its columns continues."""
    image = matrix @ basis
    order = (basis * image).sum(-2).argsort(dim=-1, descending=True, stable=True)
    image = image.gather(-1, order.unsqueeze(-2).expand_as(image))
    return torch.linalg.qr(image)[0], order


def _eigh(matrix: Tensor) -> tuple[Tensor, Tensor]:
    """Return eigenvalues, smallest first, and eigenvectors; NaN where a matrix is not finite, as any other rule would give."""
    finite = matrix.isfinite().all(-1).all(-1)
    safe = torch.where(finite[..., None, None], matrix, 0.0)
    values, vectors = torch.linalg.eigh(safe)
    return torch.where(finite[..., None], values, torch.nan), torch.where(finite[..., None, None], vectors, torch.nan)


@functools.cache
def fast_dtype(device_type: str) -> torch.dtype:
    """Return bfloat16 where the device multiplies it fast, else float32.

    A CPU without bf16 units needed 8 to 12 times as long in bfloat16 (AMD Zen 3, 64x64 to 768x768, one thread).
    """
    if device_type != "cpu":
        return torch.bfloat16
    units = torch.cpu.get_capabilities() if hasattr(torch.cpu, "get_capabilities") else {}
    return torch.bfloat16 if units.get("amx_bf16") or units.get("avx512_bf16") else torch.float32
