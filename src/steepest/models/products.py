"""Attention as products, in whatever network: on a CPU torch's own bfloat16 form goes back at a fraction of their speed.

Legend: S steps that ask, T steps that are asked, K width of a head.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode


class AttentionByProducts(TorchFunctionMode):
    """Inside `with AttentionByProducts():` calls of torch's attention are products and a softmax, to the same numbers.

    Every call of torch's in it takes a microsecond longer. `nn.MultiheadAttention` is one call, and does what it does.

    >>> q = torch.randn(2, 3, 5, 4)
    >>> expected = F.scaled_dot_product_attention(q, q, q, is_causal=True)
    >>> with AttentionByProducts():
    ...     found = F.scaled_dot_product_attention(q, q, q, is_causal=True)
    >>> torch.allclose(found, expected, atol=1e-6)
    True
    """

    def __torch_function__(
        self, func: Callable[..., Any], types: Sequence[type], args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        if func is F.scaled_dot_product_attention:
            return attention(*args, **(kwargs or {}))
        return func(*args, **(kwargs or {}))


def attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attn_mask: Tensor | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    scale: float | None = None,
    enable_gqa: bool = False,
) -> Tensor:
    """Return `softmax(q k^T scale + mask) v`, as `torch.nn.functional.scaled_dot_product_attention` does.

    A step that may look nowhere gets zeros. Shapes: (..., S, K), (..., T, K) and (..., T, V) to (..., S, V).
    """
    if enable_gqa:
        key, value = (each.repeat_interleave(query.shape[-3] // each.shape[-3], -3) for each in (key, value))
    factor = query.shape[-1] ** -0.5 if scale is None else scale
    scores_ST = (query * factor) @ key.transpose(-2, -1)
    if is_causal:
        attn_mask = torch.ones(scores_ST.shape[-2:], dtype=torch.bool, device=query.device).tril()
    if attn_mask is not None and attn_mask.dtype == torch.bool:
        scores_ST = scores_ST.masked_fill(~attn_mask, -torch.inf)
    elif attn_mask is not None:
        scores_ST = scores_ST + attn_mask
    shares_ST = scores_ST.softmax(dim=-1, dtype=torch.float32)
    if attn_mask is not None and not is_causal:
        nowhere = ~attn_mask if attn_mask.dtype == torch.bool else attn_mask == -torch.inf
        shares_ST = shares_ST.masked_fill(nowhere.all(dim=-1, keepdim=True), 0.0)
    if dropout_p:
        shares_ST = F.dropout(shares_ST, dropout_p)
    return shares_ST.to(value.dtype) @ value
