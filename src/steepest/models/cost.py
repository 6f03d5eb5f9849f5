"""What a network costs: numbers to learn, and arithmetic a row. Matrix products and convolutions are counted, by closed forms.

A product of (n, k) and (k, m) takes `2 n k m` floating-point operations (FLOP), a multiplication and an addition each; what is
done number by number (activations, norms, sums) is left out, as is usual. A recurrent layer takes
`2 T gates hidden (input + hidden)` a row of T steps, attention `4 T^2 width` beside its linear layers. torch's own counter
sees dispatched operations, but not the recurrent layers of a CPU, and takes two seconds to import torch's compiler.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from ..errors import InputError
from ..forms import Form
from ..values import si
from .modes import as_in_evaluation
from .specs import ModelSpec


@dataclass(frozen=True)
class Cost:
    """What a network costs: numbers to learn, and floating-point operations of one pass forward, a row."""

    num_parameters: int
    flops_a_row: int
    attends: bool = False  # whether torch's attention is asked on the way, `scaled_dot_product_attention`

    def __str__(self) -> str:
        return f"{self.num_parameters:,} parameters, {si(self.flops_a_row)}FLOP a row"


def cost(model: ModelSpec | nn.Module, form: Form | tuple[int, ...], num_outputs: int = 1) -> Cost:
    """Return what a network costs on rows of this form.

    Args:
        model: a model value such as `mlp((64, 64))`, or a module.
        form: of a row, or its shape; rows that may be shorter are counted at their full length.
        num_outputs: how many numbers a value is built to give; not used for a module.

    >>> import steepest
    >>> print(cost(steepest.mlp((64, 64)), (64,), 10))
    8,970 parameters, 18 kFLOP a row
    """
    form = Form.of(form)
    if not isinstance(model, ModelSpec | nn.Module):
        raise InputError(f"cost takes a model such as mlp((64, 64)), or a module (got {model!r})")
    module = model.build(form, num_outputs) if isinstance(model, ModelSpec) else model
    return cost_of(module, example(form, module))


def example(form: Form, module: nn.Module) -> Tensor:
    """Return one row of this form, of full length, where and in the precision that a module has."""
    p = next(module.parameters(), torch.zeros(()))
    row = torch.ones(1, *form.shape, dtype=torch.int64 if form.is_tokens else p.dtype, device=p.device)
    for column, _ in form.codes:
        row[:, column] = 0
    return row


def cost_of(module: nn.Module, rows: Tensor) -> Cost:
    """Return what a network costs, counted in one pass over these rows."""
    with as_in_evaluation(module), torch.no_grad(), _Counter() as counter:
        module(rows)
    return Cost(sum(p.numel() for p in module.parameters()), round(counter.total / len(rows)), counter.attends)


class _Counter(TorchFunctionMode):
    """Adds up what the functions of torch that are called in its block take."""

    def __init__(self) -> None:
        super().__init__()
        self.total, self.attends = 0, False

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Mapping[str, Any] | None = None) -> Any:
        result = func(*args, **(kwargs or {}))
        formula = _FORMULAS.get(getattr(func, "__name__", ""))
        if formula is not None:
            self.attends |= formula is _attention
            self.total += formula(result, *args, **(kwargs or {}))
        return result


# -- closed forms: each is given the result, and what made it ---------------------------------------------------------


def _linear(out: Tensor, x: Tensor, weight: Tensor, bias: Any = None) -> int:
    return 2 * out.numel() * weight.shape[-1]


def _convolution(out: Tensor, x: Tensor, weight: Tensor, *_: Any, **__: Any) -> int:
    return 2 * out.numel() * weight[0].numel()


def _transposed(out: Tensor, x: Tensor, weight: Tensor, *_: Any, **__: Any) -> int:
    return 2 * x.numel() * weight[0].numel()


def _product(out: Tensor, a: Tensor, *_: Any, **__: Any) -> int:
    return 2 * out.numel() * a.shape[-1]


def _added_product(out: Tensor, added: Tensor, a: Tensor, *_: Any, **__: Any) -> int:
    return 2 * out.numel() * a.shape[-1]


def _einsum(out: Tensor, equation: str, *operands: Any) -> int:
    tensors = operands[0] if len(operands) == 1 and isinstance(operands[0], list | tuple) else operands
    sizes: dict[str, int] = {}
    for letters, tensor in zip(equation.replace(" ", "").split("->")[0].split(","), tensors, strict=True):
        sizes |= dict(zip(letters, tensor.shape, strict=False)) if "." not in letters else {}
    total = 2 if len(tensors) > 1 else 0
    for size in sizes.values():
        total *= size
    return total


def _bag(out: Tensor, rows: Tensor, *_: Any, per_sample_weights: Tensor | None = None, **__: Any) -> int:
    """A sum of lines that are looked up is a product with a matrix of almost nothing but zeros, where they are weighted."""
    return 0 if per_sample_weights is None else 2 * rows.numel() * out.shape[-1]


def _attention(out: Tensor, q: Tensor, k: Tensor, *_: Any, **__: Any) -> int:
    return 2 * (q.numel() + out.numel()) * k.shape[-2]


def _multi_head(out: Any, q: Tensor, k: Tensor, v: Tensor, width: int, *_: Any, **__: Any) -> int:
    """Three projections in and one out, and attention over (steps, ..., width)."""
    projections = 2 * (q.numel() * width + (k.numel() + v.numel() + q.numel()) * width)
    return projections + 4 * q.numel() * k.shape[0]


def _recurrent(out: Any, x: Tensor, *args: Any, **_: Any) -> int:
    """Every weight matrix of every layer and direction meets every step once: `2 T gates hidden (input + hidden)`."""
    weights = [w for each in args if isinstance(each, list | tuple) for w in each if isinstance(w, Tensor) and w.ndim == 2]
    steps = x.numel() // x.shape[-1]
    return sum(2 * steps * w.numel() for w in weights)


_FORMULAS: dict[str, Callable[..., int]] = {
    "linear": _linear,
    **dict.fromkeys(("conv1d", "conv2d", "conv3d"), _convolution),
    **dict.fromkeys(("conv_transpose1d", "conv_transpose2d", "conv_transpose3d"), _transposed),
    **dict.fromkeys(("matmul", "__matmul__", "mm", "bmm", "mv"), _product),
    **dict.fromkeys(("addmm", "baddbmm"), _added_product),
    "einsum": _einsum,
    "embedding_bag": _bag,
    "scaled_dot_product_attention": _attention,
    "multi_head_attention_forward": _multi_head,
    **dict.fromkeys(("lstm", "gru", "rnn_tanh", "rnn_relu"), _recurrent),
}
