"""Attention as products is torch's attention: what it gives, and what goes back through it."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from steepest.models.products import AttentionByProducts, attention

HOW: list[dict[str, Any]] = [
    {},
    {"is_causal": True},
    {"scale": 0.3},
    {"attn_mask": torch.rand(2, 1, 5, 7, generator=torch.Generator().manual_seed(0)) > 0.4},
    {"attn_mask": torch.rand(2, 1, 1, 7, generator=torch.Generator().manual_seed(0)) > 0.4},
    {"attn_mask": torch.zeros(5, 7, dtype=torch.bool)},
    {"attn_mask": torch.randn(5, 7, generator=torch.Generator().manual_seed(0))},
    {"attn_mask": torch.full((2, 1, 5, 7), -torch.inf)},
    {"enable_gqa": True},
]


def asked(how: dict[str, Any], dtype: torch.dtype = torch.float64) -> tuple[tuple[Tensor, Tensor, Tensor], dict[str, Any]]:
    """Return queries, keys and values, and how they are asked; a mask of numbers has the numbers' type."""
    torch.manual_seed(0)
    heads = 2 if how.get("enable_gqa") else 4
    q, k, v = torch.randn(2, 4, 5, 6), torch.randn(2, heads, 7, 6), torch.randn(2, heads, 7, 3)
    mask = how.get("attn_mask")
    how = how | {"attn_mask": mask.to(dtype)} if mask is not None and mask.is_floating_point() else how
    q, k, v = (x.to(dtype).requires_grad_() for x in (q, k, v))
    return (q, k, v), how


@pytest.mark.parametrize("how", HOW)
def test_attention_as_products_is_torchs_there_and_back(how: dict[str, Any]) -> None:
    leaves, how = asked(how)
    expected = F.scaled_dot_product_attention(*leaves, **how)
    with AttentionByProducts():
        found = F.scaled_dot_product_attention(*leaves, **how)
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12)
    back = torch.randn_like(expected)
    for mine, theirs in zip(*(torch.autograd.grad(one, leaves, back) for one in (found, expected)), strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("how", HOW)
def test_in_bfloat16_it_is_as_near_as_rounded_numbers_are(how: dict[str, Any]) -> None:
    leaves, how = asked(how, torch.float32)
    expected = F.scaled_dot_product_attention(*leaves, **how)
    with torch.autocast("cpu", torch.bfloat16), AttentionByProducts():
        found = F.scaled_dot_product_attention(*leaves, **how)
    assert found.dtype == torch.bfloat16
    back = torch.randn_like(expected)
    mine = [found.float(), *torch.autograd.grad(found, leaves, back.bfloat16())]
    theirs = [expected, *torch.autograd.grad(expected, leaves, back)]
    for one, other in zip(mine, theirs, strict=True):
        assert (one - other).abs().max() <= 0.03 * other.abs().max()


def test_the_gradient_of_a_mask_that_learns() -> None:
    leaves, how = asked({"attn_mask": torch.randn(4, 5, 7)})
    mask = how["attn_mask"].requires_grad_()
    (expected,), (found,) = (
        torch.autograd.grad(call(*leaves, attn_mask=mask).square().sum(), [mask])
        for call in (F.scaled_dot_product_attention, attention)
    )
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12)


def test_a_mask_beside_is_causal_is_refused_as_torch_does() -> None:
    x = torch.randn(2, 5, 6)
    with pytest.raises(RuntimeError, match="not both"):
        attention(x, x, x, attn_mask=torch.ones(5, 5, dtype=torch.bool), is_causal=True)


def test_shapes_without_heads_and_with_shared_keys() -> None:
    x = torch.randn(5, 6, dtype=torch.float64)
    torch.testing.assert_close(attention(x, x, x), F.scaled_dot_product_attention(x, x, x))
    q, k = torch.randn(2, 4, 5, 6), torch.randn(2, 1, 7, 6)
    shared = k.expand(2, 4, 7, 6)
    torch.testing.assert_close(attention(q, k, k), F.scaled_dot_product_attention(q, shared, shared))


def test_dropout_keeps_the_mean_and_goes_back_through_what_it_kept() -> None:
    torch.manual_seed(0)
    q, v = torch.zeros(1, 1, 400, 4), torch.ones(1, 1, 400, 4)
    found = attention(q, q, v, dropout_p=0.5)
    assert found.mean() == pytest.approx(1.0, abs=0.02)
    assert found.std() > 0.01
    leaves, _ = asked({})

    def dropped(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        torch.manual_seed(1)
        return attention(q, k, v, dropout_p=0.4)

    assert torch.autograd.gradcheck(dropped, leaves)
    assert not attention(*leaves, dropout_p=1.0).any()


def test_nothing_heavy_is_imported_for_it() -> None:
    code = "import sys, torch; from steepest.models.products import attention as a; q = torch.ones(2, 3, 4); a(q, q, q)"
    code += "; sys.exit('sympy' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False, timeout=120).returncode == 0
