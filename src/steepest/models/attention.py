"""The transformer in plain torch.

Legend: B rows, T steps, D width, H heads, K width of a head.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..forms import Form
from .heads import Reader, averaged, blank_beyond


class Attention(nn.Module):
    """Every step looks at all steps that are there, or at those before it; positions turn queries and keys."""

    def __init__(self, width: int, heads: int, causal: bool) -> None:
        super().__init__()
        self.heads, self.causal = heads, causal
        self.ask = nn.Linear(width, 3 * width, bias=False)
        self.give = nn.Linear(width, width, bias=False)

    def forward(self, x_BTD: Tensor, mask: Tensor | None, turn: tuple[Tensor, Tensor]) -> Tensor:
        B, T, D = x_BTD.shape
        q, k, v = self.ask(x_BTD).view(B, T, 3, self.heads, D // self.heads).permute(2, 0, 3, 1, 4)
        q, k = _turned(q, *turn), _turned(k, *turn)
        found = F.scaled_dot_product_attention(q, k, v, attn_mask=mask, is_causal=self.causal)
        return self.give(found.transpose(1, 2).reshape(B, T, D))


def turns(steps: int, width: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """Return cosine and sine of the angle of every position and pair of numbers, (T, K / 2)."""
    rates = 10_000.0 ** (-torch.arange(0, width, 2, device=device) / width)
    angles = torch.arange(steps, device=device)[:, None] * rates
    return angles.cos(), angles.sin()


def _turned(x_BHTK: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    a, b = x_BHTK.chunk(2, dim=-1)
    return torch.cat([a * cos - b * sin, a * sin + b * cos], dim=-1)


class Block(nn.Module):
    """`x + attention(norm(x))`, then `x + network(norm(x))`."""

    def __init__(self, width: int, heads: int, causal: bool, dropout: float) -> None:
        super().__init__()
        self.norm1, self.attention = nn.LayerNorm(width), Attention(width, heads, causal)
        self.norm2 = nn.LayerNorm(width)
        self.network = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))
        self.dropout = nn.Dropout(dropout)

    def forward(self, x_BTD: Tensor, mask: Tensor | None, turn: tuple[Tensor, Tensor]) -> Tensor:
        x_BTD = x_BTD + self.dropout(self.attention(self.norm1(x_BTD), mask, turn))
        return x_BTD + self.dropout(self.network(self.norm2(x_BTD)))


class Transformer(nn.Module):
    """`read -> blocks -> norm -> linear`; the mean of the steps is read, or every step is answered.

    Shapes: (B, T) tokens or (B, T, features) to (B, outputs); where each step is answered, to (B, T, outputs).
    """

    def __init__(
        self,
        form: Form,
        width: int,
        layers: int,
        heads: int,
        outputs: int,
        *,
        dropout: float,
        ngrams: int,
        buckets: int,
        shared: bool,
    ) -> None:
        super().__init__()
        self.each_step, self.of_a_head = form.each_step, width // heads
        self.passes = layers if shared else 1  # through the blocks
        causal = form.kind == "language"
        self.reader = Reader(form, width, ngrams, buckets, dropout)
        self.blocks = nn.ModuleList(Block(width, heads, causal, dropout) for _ in range(1 if shared else layers))
        self.norm, self.dropout = nn.LayerNorm(width), nn.Dropout(dropout)
        self.answer = nn.Linear(width, outputs)
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.normal_(module.weight, std=module.in_features**-0.5)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)
        for name, p in self.named_parameters():
            if name.endswith(("give.weight", "network.2.weight")):
                nn.init.normal_(p, std=(2 * layers * p.shape[1]) ** -0.5)

    def forward(self, x: Tensor) -> Tensor:
        steps, there = self.reader(x)
        mask = None if there is None or bool(there.all()) else there[:, None, None]
        turn = turns(x.shape[1], self.of_a_head, x.device)
        for _ in range(self.passes):
            for block in self.blocks:
                steps = block(steps, mask, turn)
        steps = self.norm(steps)
        if self.each_step:
            return blank_beyond(self.answer(self.dropout(steps)), None if mask is None else there)
        return self.answer(self.dropout(averaged(steps, there)))
