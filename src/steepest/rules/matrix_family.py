"""The rules for whole matrices that people know by name. Weight decay is decoupled, as in their papers."""

from __future__ import annotations

from ..schedules import Schedule
from .core import Chain, chain, named
from .matrices import orthogonal, scale_by_adafactor
from .preconditioners import scale_by_shampoo, scale_by_soap
from .transforms import ALWAYS, decaying, ema, heavy_ball, scale_by_learning_rate


@named
def muon(
    lr: float = 1e-3,
    *,
    momentum: float = 0.95,
    nesterov: bool = True,
    steps: int = 5,
    adjust: str = "original",
    coefficients: str | tuple[float, float, float] = "newton_schulz",
    dtype: str | None = None,
    weight_decay: float = 0.1,
    schedule: Schedule = ALWAYS,
) -> Chain:
    """Muon, for matrices: momentum, orthogonalised by Newton-Schulz iteration (Jordan et al., 2024).

    `coefficients="polar_express"` chooses each step's polynomial anew (Amsel et al., 2025).
    Biases, norms, embeddings and the like need another rule: `split(matrices=muon(0.02), rest=adamw(3e-4))`.

    >>> muon(0.02)
    muon(0.02)
    """
    return chain(
        ema(momentum, nesterov),
        orthogonal(steps=steps, adjust=adjust, coefficients=coefficients, dtype=dtype),
        *decaying(weight_decay),
        scale_by_learning_rate(lr, schedule),
    )


@named
def shampoo(
    lr: float = 0.1,
    *,
    momentum: float = 0.0,
    beta: float | None = None,
    eps: float = 1e-4,
    every: int = 1,
    graft: str | None = None,
    max_dimension: int = 1024,
    weight_decay: float = 0.0,
    schedule: Schedule = ALWAYS,
) -> Chain:
    """Shampoo: `L^(-1/4) G R^(-1/4)`, with sums of `G G^T` and `G^T G` (Gupta, Koren, Singer, 2018, arXiv:1802.09568).

    With `beta=0.95, every=10, graft="adam"` it takes Adam's learning rates; see `scale_by_shampoo` for the options.

    >>> shampoo(3e-3, beta=0.95, every=10, graft="adam")
    shampoo(0.003, beta=0.95, every=10, graft='adam')
    """
    ball = (heavy_ball(momentum),) if momentum else ()
    scaled = scale_by_shampoo(beta, eps, every, graft, max_dimension)
    return chain(scaled, *ball, *decaying(weight_decay), scale_by_learning_rate(lr, schedule))


@named
def soap(
    lr: float = 3e-3,
    *,
    b1: float = 0.95,
    b2: float = 0.95,
    eps: float = 1e-8,
    every: int = 10,
    max_dimension: int = 10_000,
    weight_decay: float = 0.01,
    exclude_vectors: bool = False,
    schedule: Schedule = ALWAYS,
) -> Chain:
    """SOAP: Adam in the eigenbases of Shampoo's preconditioners (Vyas et al., 2024, arXiv:2409.11321).

    The first step only prepares. Each weight matrix keeps four square ones: sides beyond `max_dimension` are left alone.

    >>> soap(0.003, every=5)
    soap(0.003, every=5)
    """
    scaled = scale_by_soap(b1, b2, eps, every, max_dimension=max_dimension)
    return chain(scaled, *decaying(weight_decay, exclude_vectors), scale_by_learning_rate(lr, schedule))


@named
def adafactor(
    lr: float = 1e-2,
    *,
    beta2_decay: float = -0.8,
    eps: tuple[float | None, float] = (None, 1e-3),
    d: float = 1.0,
    weight_decay: float = 0.0,
    schedule: Schedule = ALWAYS,
) -> Chain:
    """Adafactor: second moments kept as a row and a column, steps as large as their parameter (Shazeer, Stern, 2018).

    >>> adafactor(0.02)
    adafactor(0.02)
    """
    return chain(scale_by_adafactor(beta2_decay, eps, d), *decaying(weight_decay), scale_by_learning_rate(lr, schedule))
