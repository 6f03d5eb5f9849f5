"""Bags of words, and of runs of words, in plain torch."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ..forms import Form

PRIME = 1_000_003


class BagOfWords(nn.Module):
    """The mean of the numbers of each word and of each run of words, then linear; shapes (B, T) to (B, outputs)."""

    def __init__(self, form: Form, width: int, ngrams: int, buckets: int, outputs: int, dropout: float) -> None:
        super().__init__()
        self.ngrams, self.buckets, self.left_out = ngrams, buckets, dropout
        self.words = nn.Embedding(form.vocabulary, width, padding_idx=0)
        self.runs = nn.ModuleList(nn.Embedding(buckets, width) for _ in range(ngrams - 1))
        self.answer = nn.Linear(width, outputs)
        for table in (self.words, *self.runs):
            nn.init.normal_(next(table.parameters()), std=0.1)

    def forward(self, x_BT: Tensor) -> Tensor:
        there = x_BT != 0
        total, count = self._added(self.words(x_BT), there)
        run = x_BT
        for table in self.runs:
            run, there = (run[:, :-1] * PRIME + x_BT[:, x_BT.shape[1] - run.shape[1] + 1 :]), there[:, 1:]
            if not run.shape[1]:
                break
            more, others = self._added(table(run % self.buckets), there)
            total, count = total + more, count + others
        return self.answer(total / count.clamp(min=1))

    def _added(self, x_BTD: Tensor, there_BT: Tensor) -> tuple[Tensor, Tensor]:
        if self.training and self.left_out:
            there_BT = there_BT & (torch.rand(there_BT.shape, device=x_BTD.device) >= self.left_out)
        weight = there_BT.to(x_BTD.dtype)[..., None]
        return (x_BTD * weight).sum(dim=1), weight.sum(dim=1)
