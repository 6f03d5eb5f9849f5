"""The words a rule's formula is written in.

A formula runs over *symbols*: torch tensors today, expression nodes of a tracer later. Every word here is an operator
(`+ - * / **`), or calls a method that both kinds of symbol have, or is *asked for* with a `yield`; so a rule never imports
torch and knows no device. Numbers that change from step to step (learning rate, bias corrections) arrive as run-time
scalars, never as constants of the formula.

What one element cannot compute alone is a request, and a request ends a phase:

- `norm2 = yield total(u * u)`: a reduction. The execution runs the formula of every tensor up to the yield, adds the parts
  up over all tensors the rule serves, and sends the sum back in.
- `u = yield orthogonalize(u)`: the one opaque matrix operation. The execution is free to batch it by shape.
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


def maximum(a: Symbol, b: Symbol) -> Symbol:
    return a.maximum(b)


def where(condition: Symbol, a: Symbol, b: Symbol) -> Symbol:
    """Return `a` where the condition holds, else `b`; a condition on scalars alone holds for all elements or for none."""
    if isinstance(condition, bool):
        return a if condition else b
    return a.where(condition, b)


def clamp(x: Symbol, low: float | None = None, high: float | None = None) -> Symbol:
    return x.clamp(low, high)


@dataclass(frozen=True)
class Total:
    """The request for the sum of `value` over all elements of all tensors that one rule serves."""

    value: Symbol


def total(x: Symbol) -> Total:
    """Ask for one number over every tensor, to be yielded."""
    return Total(x)


# Coefficients of Muon's Newton-Schulz iteration (Jordan, 2024, https://kellerjordan.github.io/posts/muon/).
NEWTON_SCHULZ = (3.4445, -4.7750, 2.0315)


@dataclass(frozen=True)
class Orthogonalize:
    """The request for the (nearly) orthogonal polar factor of a matrix by Newton-Schulz iteration.

    `X <- U / |U|`; then `steps` times `A = X X^T; X <- a X + (b A + c A^2) X`. Trailing dimensions (of a convolution) are
    folded into the columns. `dtype` None leaves the precision to the execution: bfloat16 where the device multiplies it fast.
    """

    value: Symbol
    steps: int = 5
    coefficients: tuple[float, float, float] = NEWTON_SCHULZ
    eps: float = 1e-7
    dtype: str | None = None


def orthogonalize(u: Symbol, **options: Any) -> Orthogonalize:
    """Ask for the orthogonal polar factor of a matrix, to be yielded."""
    return Orthogonalize(u, **options)


Request = Total | Orthogonalize
# A formula that asks for something is a generator; one that does not simply returns its symbol.
Formula = Symbol | Generator[Request, Symbol, Symbol]
