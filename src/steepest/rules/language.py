"""The words a rule's formula is written in.

A formula runs over *symbols*: torch tensors, or expression nodes of a tracer. Every word here is an operator (`+ - * / **`), or
calls a method that both kinds of symbol have, or is *asked for* with a `yield`; so a rule never imports torch and knows no
device. Numbers that change from step to step (learning rate, bias corrections) arrive as run-time scalars, never as constants
of the formula.

What one element cannot compute alone is a request:

- `norm2 = yield total(u * u)`: a sum over all tensors that the rule serves; `over="tensor"`: over each tensor by itself;
  `over="unit"`: over all that enters one output of a layer. `mean` likewise. Several are answered at once:
  `a, b = yield total(x, y)`. A sum ends a phase: the execution runs the formula of every tensor up to the yield, adds up, and
  sends the sum back in.
- `noise = yield normal(seed)`: random numbers that depend on the seed, the tensor's place, the element and the step alone.
- `q = yield stored(q)`: what is left of a number when it is written down in the parameter's dtype.
- `rows, columns = yield sides()`: the parameter's shape as a matrix.
- `u = yield orthogonalize(u)` and the other matrix operations (`inverse_root`, `eigenbasis`, `refreshed`), which the execution
  batches by shape.
"""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass
from typing import Any

# A symbol is anything with a tensor's arithmetic. `Any` on purpose: tensors and expression nodes share no base class.
Symbol = Any


def sqrt(x: Symbol) -> Symbol:
    return x.sqrt()


def sign(x: Symbol) -> Symbol:
    return x.sign()


def lerp(a: Symbol, b: Symbol, weight: float) -> Symbol:
    """Return `a + weight * (b - a)`: with `weight = 1 - beta`, one step of an exponential moving average."""
    return a.lerp(b, weight)


def absolute(x: Symbol) -> Symbol:
    return x.abs()


def maximum(a: Symbol, b: Symbol | float) -> Symbol:
    return a.clamp(min=b) if isinstance(b, int | float) else a.maximum(b)


def where(condition: Symbol, a: Symbol, b: Symbol) -> Symbol:
    """Return `a` where the condition holds, else `b`; a condition on scalars alone holds for all elements or for none."""
    if isinstance(condition, bool):
        return a if condition else b
    return a.where(condition, b)


def clamp(x: Symbol, low: float | None = None, high: float | None = None) -> Symbol:
    return x.clamp(low, high)


@dataclass(frozen=True)
class Total:
    """The request for sums (or means) over all tensors that one rule serves, over each tensor, or over each unit of one.

    A unit is what enters one output: everything at one index of the first dimension; a bias or a number is one unit.
    """

    values: tuple[Symbol, ...]
    over: str = "all"
    mean: bool = False


def total(*values: Symbol, over: str = "all") -> Total:
    """Ask for the sum of each value, to be yielded: one symbol for one value, a tuple for several."""
    return Total(values, over)


def mean(*values: Symbol, over: str = "tensor") -> Total:
    """Ask for the mean of each value over a tensor or a unit, to be yielded."""
    assert over != "all", "how many numbers there are in all is not known to a tensor"
    return Total(values, over, mean=True)


@dataclass(frozen=True)
class Normal:
    """The request for standard normal numbers, one for every element."""

    seed: int


def normal(seed: int) -> Normal:
    """Ask for random numbers, to be yielded: the same ones for the same seed, tensor, element and step."""
    return Normal(seed)


@dataclass(frozen=True)
class Stored:
    """The request for a number as the parameter's dtype would hold it."""

    value: Symbol
    seed: int | None = None


def stored(x: Symbol, seed: int | None = None) -> Stored:
    """Ask for `x` rounded to the parameter's dtype, to be yielded: to the nearest, or, with a seed, up or down at random.

    At random, the mean over many roundings is `x` itself. Only bfloat16 is rounded at random.
    """
    return Stored(x, seed)


# One step of Muon's Newton-Schulz iteration (Jordan, 2024, https://kellerjordan.github.io/posts/muon/).
NEWTON_SCHULZ = (3.4445, -4.7750, 2.0315)


@dataclass(frozen=True)
class Sides:
    """The request for how many rows and columns the parameter has as a matrix: trailing dimensions count as columns."""


def sides() -> Sides:
    """Ask for the numbers of rows and columns, to be yielded."""
    return Sides()


@dataclass(frozen=True)
class Orthogonalize:
    """The request for the (nearly) orthogonal polar factor of a matrix by matrix products alone.

    `X <- U / max(margin |U|, eps)`; then for each `(a, b, c)` of `coefficients`, `A = X X^T; X <- a X + (b A + c A^2) X`.
    Trailing dimensions (of a convolution) are folded into the columns. `dtype` None leaves the precision to the execution:
    bfloat16 where the device multiplies it fast.
    """

    value: Symbol
    coefficients: tuple[tuple[float, float, float], ...] = (NEWTON_SCHULZ,) * 5
    margin: float = 1.0
    eps: float = 1e-7
    dtype: str | None = None


def orthogonalize(u: Symbol, **options: Any) -> Orthogonalize:
    """Ask for the orthogonal polar factor of a matrix, to be yielded."""
    return Orthogonalize(u, **options)


@dataclass(frozen=True)
class InverseRoot:
    """The request for `(M + eps I)^(-1 / order)` of a symmetric matrix without negative eigenvalues."""

    value: Symbol
    order: int
    eps: float = 0.0


def inverse_root(matrix: Symbol, order: int, eps: float = 0.0) -> InverseRoot:
    """Ask for the inverse root of a symmetric matrix, to be yielded."""
    return InverseRoot(matrix, order, eps)


@dataclass(frozen=True)
class Eigenbasis:
    """The request for the eigenvectors of a symmetric matrix, as columns, largest eigenvalue first."""

    value: Symbol


def eigenbasis(matrix: Symbol) -> Eigenbasis:
    """Ask for the eigenvectors of a symmetric matrix, to be yielded."""
    return Eigenbasis(matrix)


@dataclass(frozen=True)
class Refreshed:
    """The request for a basis one power iteration nearer to the eigenvectors of a matrix, made orthogonal again by QR."""

    value: Symbol
    basis: Symbol


def refreshed(matrix: Symbol, basis: Symbol) -> Refreshed:
    """Ask for a basis and an order of columns, to be yielded.

    The columns stand in the order of the eigenvalues that the old basis estimates; `order` says which old one each continues.
    """
    return Refreshed(matrix, basis)


# What only tensors have, beside `@` and `.mT`: a rule that uses it runs eagerly.


def as_matrix(u: Symbol) -> Symbol:
    """Return a tensor as a matrix: trailing dimensions become columns."""
    return u.reshape(u.shape[0], -1)


def picked(x: Symbol, order: Symbol, dim: int) -> Symbol:
    """Return the rows (`dim=0`) or columns (`dim=1`) of a matrix in another order."""
    return x.index_select(dim, order)


def mean_along(x: Symbol, dim: int) -> Symbol:
    """Return the means along a dimension, which stays with one index."""
    return x.mean(dim=dim, keepdim=True)


def precision(x: Symbol) -> float:
    """Return the distance from 1 to the next number in the precision that a tensor is computed in."""
    return 2.0**-52 if str(x.dtype) == "torch.float64" else 2.0**-23


Request = Total | Normal | Stored | Sides | Orthogonalize | InverseRoot | Eigenbasis | Refreshed
# A formula that asks for something is a generator; one that does not simply returns its symbol.
Formula = Symbol | Generator[Request, Any, Symbol]
