"""The links that precondition a matrix from both sides, by what the products of its gradients have been.

A tensor of more dimensions (of a convolution) is worked on as a matrix, its trailing dimensions folded into the columns. A side
without a preconditioner keeps empty tensors for it. Notation as in `transforms`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from ..errors import at_least, between, one_of, positive, whole
from .core import Slot, Transform
from .language import Formula, Symbol, as_matrix, clamp, eigenbasis, inverse_root, lerp, picked, refreshed, sqrt, total

Shape = tuple[int, ...]


def _preconditioned(shape: Shape, most: int) -> tuple[int, int]:
    """Return how many rows and columns get a preconditioner: 0 where there are more than `most`, or the tensor is no matrix."""
    if len(shape) < 2 or 0 in shape:
        return 0, 0
    rows, columns = shape[0], math.prod(shape[1:])
    return rows if rows <= most else 0, columns if columns <= most else 0


def _square(side: int, most: int) -> Callable[[Shape], Shape]:
    """Return the shape of a matrix over a side of the parameter."""

    def shape(of: Shape) -> Shape:
        return (_preconditioned(of, most)[side],) * 2

    return shape


@dataclass(frozen=True, repr=False)
class ScaleByShampoo(Transform):
    """Precondition a matrix from both sides: `L <- L + G G^T; R <- R + G^T G; u <- (eps I + L)^(-1/4) G (eps I + R)^(-1/4)`.

    Args:
        beta: None sums, as in the paper; a number averages, `L <- beta L + (1 - beta) G G^T`, and corrects the bias.
        eps: what is added to the eigenvalues; the paper's start of `L` and `R` at `eps I`.
        every: how many steps the roots are kept before they are taken anew.
        graft: None; `"rms"` or `"adam"` keep the direction and take the length of RMSprop's or Adam's step (both corrected for
            bias), tensor by tensor; with `"adam"` it is Adam's mean that is preconditioned.
        max_dimension: a side with more rows (or columns) has no preconditioner; the other then takes the power -1/2. What has
            none at all (vectors, numbers) is divided by the root of its own squares, `u / sqrt(eps + sum u^2)`, or takes the
            step that is grafted.

    Source: Gupta, Koren, Singer, Shampoo: Preconditioned Stochastic Tensor Optimization, 2018, arXiv:1802.09568; grafting and
    averages: Anil et al., Scalable Second Order Optimization for Deep Learning, 2020, arXiv:2002.09018.

    >>> scale_by_shampoo(every=10, graft="adam")
    scale_by_shampoo(every=10, graft='adam')
    """

    beta: float | None = None
    eps: float = 1e-4
    every: int = 1
    graft: str | None = None
    max_dimension: int = 1024
    graft_b1: float = 0.9
    graft_b2: float = 0.999
    graft_eps: float = 1e-8

    def __post_init__(self) -> None:
        if self.beta is not None:
            between("beta", self.beta, 0, 1, open_end=True)
        positive("eps", self.eps)
        whole("every", self.every, 1)
        whole("max_dimension", self.max_dimension, 0)
        one_of("graft", self.graft, (None, "rms", "adam"))
        between("graft_b1", self.graft_b1, 0, 1, open_end=True)
        between("graft_b2", self.graft_b2, 0, 1, open_end=True)
        at_least("graft_eps", self.graft_eps, 0)

    def initial_state(self) -> Mapping[str, float | Slot]:
        most = self.max_dimension
        left, right = Slot(shape=_square(0, most)), Slot(shape=_square(1, most))
        alone = Slot(shape=lambda shape: (0,) if any(_preconditioned(shape, most)) else shape)
        squares = {"exp_avg_sq": Slot(nonnegative=True)} if self.graft else {"sum": alone}
        means = {"exp_avg": 0.0} if self.graft == "adam" else {}
        return {"left": left, "right": right, "left_root": left, "right_root": right, **squares, **means}

    def scalars(self, t: int, lr: float) -> dict[str, Any]:
        sums = {"kept": 1.0, "taken": 1.0, "c": 1.0}
        if self.beta is not None:
            sums = {"kept": self.beta, "taken": 1 - self.beta, "c": 1 - self.beta**t}
        corrections = {"over_c1": 1 / (1 - self.graft_b1**t), "over_c2": 1 / (1 - self.graft_b2**t)}
        return {**vars(self), **sums, **corrections, "fresh": (t - 1) % self.every == 0}

    def formula(self, u: Symbol, p: Symbol, s: Any, k: Any) -> Formula:
        left, right = _preconditioned(tuple(u.shape), self.max_dimension)
        grafted, direction = self._grafted(u, s, k)
        if not left and not right:
            if self.graft:
                return grafted
            s.sum = k.kept * s.sum + k.taken * (u * u)
            return u / sqrt(s.sum / k.c + k.eps)
        g, order, step = as_matrix(u), 4 if left and right else 2, as_matrix(direction)
        if left:
            s.left = k.kept * s.left + k.taken * (g @ g.mT)
            if k.fresh:
                s.left_root = yield inverse_root(s.left / k.c, order, self.eps)
            step = s.left_root @ step
        if right:
            s.right = k.kept * s.right + k.taken * (g.mT @ g)
            if k.fresh:
                s.right_root = yield inverse_root(s.right / k.c, order, self.eps)
            step = step @ s.right_root
        step = step.reshape(u.shape)
        if not self.graft:
            return step
        wanted, found = yield total(grafted * grafted, step * step, over="tensor")
        return step * sqrt(wanted / clamp(found, low=1e-38))

    def _grafted(self, u: Symbol, s: Any, k: Any) -> tuple[Symbol, Symbol]:
        """Return the step whose length is taken, and what is to be preconditioned."""
        if not self.graft:
            return u, u
        s.exp_avg_sq = k.graft_b2 * s.exp_avg_sq + (1 - k.graft_b2) * (u * u)
        mean_ = u
        if self.graft == "adam":
            s.exp_avg = lerp(s.exp_avg, u, 1 - k.graft_b1)
            mean_ = s.exp_avg * k.over_c1
        return mean_ / (sqrt(s.exp_avg_sq * k.over_c2) + k.graft_eps), mean_


@dataclass(frozen=True, repr=False)
class ScaleBySoap(Transform):
    """Run Adam in the slowly turning eigenbases of Shampoo's two preconditioners.

    `M <- b1 M + (1 - b1) G; V <- b2 V + (1 - b2) (Ql^T G Qr)^2; u <- Ql (Ql^T M Qr * sqrt(c2) / c1 / (sqrt(V) + eps)) Qr^T`;
    only then `L <- beta L + (1 - beta) G G^T`, `R` likewise. Every `every` steps `Ql` is refreshed by one power iteration,
    `QR(L Ql)`, its columns sorted by their eigenvalues, and `V` with them. The first step makes `L`, `R` and their eigenbases,
    and leaves the parameters where they are. All this is as in the authors' code, where a convolution has a basis for each of
    its dimensions, though; here it is a matrix. A side longer than `max_dimension` is not turned; vectors take plain Adam.

    Source: Vyas et al., SOAP: Improving and Stabilizing Shampoo using Adam, 2024, arXiv:2409.11321.

    >>> scale_by_soap(every=5)
    scale_by_soap(every=5)
    """

    b1: float = 0.95
    b2: float = 0.95
    eps: float = 1e-8
    every: int = 10
    shampoo_beta: float | None = None  # None: b2
    max_dimension: int = 10_000

    def __post_init__(self) -> None:
        between("b1", self.b1, 0, 1, open_end=True)
        between("b2", self.b2, 0, 1, open_end=True)
        at_least("eps", self.eps, 0)
        whole("every", self.every, 1)
        whole("max_dimension", self.max_dimension, 0)
        if self.shampoo_beta is not None:
            between("shampoo_beta", self.shampoo_beta, 0, 1, open_end=True)

    def initial_state(self) -> Mapping[str, float | Slot]:
        left, right = (Slot(shape=_square(side, self.max_dimension)) for side in (0, 1))
        moments = {"exp_avg": 0.0, "exp_avg_sq": Slot(nonnegative=True)}
        return {**moments, "left": left, "right": right, "left_basis": left, "right_basis": right}

    def scalars(self, t: int, lr: float) -> dict[str, Any]:
        n = t - 1  # steps that move
        factor = math.sqrt(1 - self.b2**n) / (1 - self.b1**n) if n else 0.0
        beta = self.b2 if self.shampoo_beta is None else self.shampoo_beta
        return {**vars(self), "factor": factor, "beta": beta, "first": n == 0, "due": n > 0 and n % self.every == 0}

    def formula(self, u: Symbol, p: Symbol, s: Any, k: Any) -> Formula:
        left, right = _preconditioned(tuple(u.shape), self.max_dimension)
        g = as_matrix(u) if left or right else u
        step = g
        if not k.first:
            s.exp_avg = lerp(s.exp_avg, u, 1 - k.b1)
            turned, m = (_turned(x, s, left, right) for x in (g, s.exp_avg.reshape(g.shape)))
            v = k.b2 * s.exp_avg_sq.reshape(g.shape) + (1 - k.b2) * (turned * turned)
            s.exp_avg_sq = v.reshape(u.shape)
            step = _turned_back(k.factor * m / (sqrt(v) + k.eps), s, left, right)
        if left:
            s.left = lerp(s.left, g @ g.mT, 1 - k.beta)
            yield from _basis_kept(u, s, k, "left", 0)
        if right:
            s.right = lerp(s.right, g.mT @ g, 1 - k.beta)
            yield from _basis_kept(u, s, k, "right", 1)
        return 0.0 * u if k.first else step.reshape(u.shape)


def _turned(x: Symbol, s: Any, left: int, right: int) -> Symbol:
    """Return a matrix in the eigenbases of its sides."""
    x = s.left_basis.mT @ x if left else x
    return x @ s.right_basis if right else x


def _turned_back(x: Symbol, s: Any, left: int, right: int) -> Symbol:
    x = s.left_basis @ x if left else x
    return x @ s.right_basis.mT if right else x


def _basis_kept(u: Symbol, s: Any, k: Any, side: str, dim: int) -> Formula:
    """Make the eigenbasis of a side at first, and refresh it where that is due, the second moments with it."""
    matrix, name = getattr(s, side), f"{side}_basis"
    if k.first:
        setattr(s, name, (yield eigenbasis(matrix)))
    elif k.due:
        basis, order = yield refreshed(matrix, getattr(s, name))
        setattr(s, name, basis)
        s.exp_avg_sq = picked(as_matrix(s.exp_avg_sq), order, dim).reshape(u.shape)


scale_by_shampoo = ScaleByShampoo
scale_by_soap = ScaleBySoap
