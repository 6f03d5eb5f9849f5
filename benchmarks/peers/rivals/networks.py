"""The networks in plain torch, and what the loops over them share: the loss, tensors, evaluation, saving.

Legend: B rows, T steps, D width, H heads, K width of a head, V characters.
"""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import torch
from common import Job
from torch import Tensor, nn
from torch.nn import functional as F

WIDTH, LAYERS, HEADS, STATES, VECTOR = 128, 4, 4, 128, 64


def dense(*widths: int) -> nn.Sequential:
    """Linear layers with ReLU between."""
    layers: list[nn.Module] = []
    for a, b in pairwise(widths):
        layers += [nn.Linear(a, b), nn.ReLU()]
    return nn.Sequential(*layers[:-1])


def convolutional(channels: int, side: int, classes: int) -> nn.Sequential:
    """2c2d of DeepOBS (Schneider, Balles, Hennig, 2019, arXiv:1903.05499), of square images."""
    return nn.Sequential(
        nn.Conv2d(channels, 32, 5, padding=2), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(32, 64, 5, padding=2), nn.ReLU(), nn.MaxPool2d(2),
        nn.Flatten(), nn.Linear(64 * (side // 4) ** 2, 1024), nn.ReLU(), nn.Linear(1024, classes),
    )  # fmt: skip


class Words(nn.Module):
    """Words (B, T), 0 where a text has ended, to classes: the mean of their vectors, a linear layer."""

    def __init__(self, vocabulary: int, classes: int) -> None:
        super().__init__()
        self.words, self.answer = nn.Embedding(vocabulary, VECTOR), nn.Linear(VECTOR, classes)
        nn.init.uniform_(self.words.weight, -0.05, 0.05)

    def forward(self, x_BT: Tensor) -> Tensor:
        there = (x_BT > 0).unsqueeze(-1)
        return self.answer((self.words(x_BT) * there).sum(dim=1) / there.sum(dim=1).clamp(min=1))


class Attention(nn.Module):
    """Every step looks at those up to itself. How it is computed is a choice: the numbers are the same.

    `"torch"`: torch's fused attention, in the precision around it; `"float32"`: the same, always in float32; `"products"`:
    matrix products and softmax, written out.
    """

    def __init__(self, how: str) -> None:
        super().__init__()
        self.how = how
        self.ask, self.give = nn.Linear(WIDTH, 3 * WIDTH), nn.Linear(WIDTH, WIDTH)

    def forward(self, x_BTD: Tensor) -> Tensor:
        B, T, D = x_BTD.shape
        q, k, v = self.ask(x_BTD).view(B, T, 3, HEADS, D // HEADS).permute(2, 0, 3, 1, 4)
        if self.how == "products":
            later = torch.ones(T, T, dtype=torch.bool, device=q.device).triu(1)
            scores = (q @ k.mT * (D // HEADS) ** -0.5).masked_fill(later, float("-inf"))
            found = scores.softmax(dim=-1).to(v.dtype) @ v
        elif self.how == "float32":
            with torch.autocast("cpu", enabled=False):
                found = F.scaled_dot_product_attention(q.float(), k.float(), v.float(), is_causal=True)
        else:
            found = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        return self.give(found.transpose(1, 2).reshape(B, T, D))


class Block(nn.Module):
    def __init__(self, how: str) -> None:
        super().__init__()
        self.norm1, self.attention, self.norm2 = nn.LayerNorm(WIDTH), Attention(how), nn.LayerNorm(WIDTH)
        self.network = nn.Sequential(nn.Linear(WIDTH, 4 * WIDTH), nn.GELU(), nn.Linear(4 * WIDTH, WIDTH))

    def forward(self, x_BTD: Tensor) -> Tensor:
        x_BTD = x_BTD + self.attention(self.norm1(x_BTD))
        return x_BTD + self.network(self.norm2(x_BTD))


class Transformer(nn.Module):
    """Characters (B, T) to what comes next (B, T, V): learned positions, norms first, causal."""

    def __init__(self, vocabulary: int, context: int, how: str) -> None:
        super().__init__()
        self.tokens, self.positions = nn.Embedding(vocabulary, WIDTH), nn.Embedding(context, WIDTH)
        self.blocks = nn.Sequential(*(Block(how) for _ in range(LAYERS)))
        self.norm, self.answer = nn.LayerNorm(WIDTH), nn.Linear(WIDTH, vocabulary)
        for module in self.modules():
            if isinstance(module, nn.Linear | nn.Embedding):
                nn.init.normal_(module.weight, std=0.02)
            if isinstance(module, nn.Linear):
                nn.init.zeros_(module.bias)

    def forward(self, x_BT: Tensor) -> Tensor:
        return self.answer(self.norm(self.blocks(self.tokens(x_BT) + self.positions.weight[: x_BT.shape[1]])))


class Recurrent(nn.Module):
    """Frames (B, T, bands) to classes: one LSTM, the mean of its states, a linear layer."""

    def __init__(self, bands: int, classes: int) -> None:
        super().__init__()
        self.lstm, self.answer = nn.LSTM(bands, STATES, batch_first=True), nn.Linear(STATES, classes)

    def forward(self, x_BTD: Tensor) -> Tensor:
        return self.answer(self.lstm(x_BTD)[0].mean(dim=1))


class Loss(nn.Module):
    """Mean cross-entropy of outputs (..., classes) against classes (...); of numbers, the mean squared error."""

    def forward(self, outputs: Tensor, targets: Tensor) -> Tensor:
        if targets.is_floating_point():
            return F.mse_loss(outputs.view_as(targets), targets)
        return F.cross_entropy(outputs.reshape(-1, outputs.shape[-1]), targets.reshape(-1))


def network(asked: Job) -> nn.Module:
    """Return the network of a work with torch's own initial weights, those of the transformer apart."""
    if asked.network == "mlp":
        return dense(784, 64, 64, 10)
    if asked.network == "table":
        return dense(asked.shape[0], 128, 128, 2)
    if asked.network == "dense":
        return nn.Sequential(nn.Flatten(), *dense(*asked.widths))
    if asked.network == "cnn":
        return convolutional(asked.shape[0], asked.shape[1], asked.classes)
    if asked.network == "words":
        return Words(asked.vocabulary, asked.classes)
    if asked.network == "lstm":
        return Recurrent(asked.shape[1], asked.classes)
    return Transformer(asked.vocabulary, asked.shape[0], asked.settings.get("attention", "torch"))


def begin(asked: Job) -> nn.Module:
    """Set threads and seed, and return the network."""
    torch.set_num_threads(asked.settings.get("threads", asked.threads))
    torch.manual_seed(asked.seed)
    return network(asked)


def tensors(asked: Job, part: str) -> tuple[Tensor, Tensor]:
    return torch.from_numpy(asked.array(f"X_{part}")), torch.from_numpy(asked.array(f"y_{part}"))


def outputs(model: nn.Module, X: Tensor) -> Tensor:
    """Return what a network gives for all rows, some hundred at a time."""
    model.eval()
    with torch.no_grad():
        return torch.cat([model(rows).float() for rows in X.split(256 if X.ndim < 3 else 64)])


def count(model: nn.Module) -> int:
    """Return how many numbers are learned."""
    return sum(p.numel() for p in model.parameters())


def save(model: nn.Module, folder: Path) -> None:
    torch.save(model.state_dict(), folder / "model.pt")
