"""Networks that tell texts apart, in plain torch: bags of words, and convolutions over words."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from ..forms import Form
from .heads import Runs, averaged


class BagOfWords(nn.Module):
    """The mean over a text of what is learned of each word and of each run of words, then linear; (B, T) to (B, outputs)."""

    def __init__(self, form: Form, width: int, ngrams: int, buckets: int, outputs: int, dropout: float) -> None:
        super().__init__()
        self.left_out = dropout
        self.read = Runs(form.vocabulary, width, ngrams, buckets, padding=0)
        self.answer = nn.Linear(width, outputs)

    def forward(self, x_BT: Tensor) -> Tensor:
        there = x_BT != 0
        if self.training and self.left_out:
            there = there & (torch.rand(there.shape, device=x_BT.device) >= self.left_out)
        return self.answer(averaged(self.read(x_BT), there))


class TextCnn(nn.Module):
    """Filters over words in a row, the strongest answer of each, then linear; (B, T) to (B, outputs)."""

    def __init__(self, form: Form, width: int, filters: int, lengths: Sequence[int], outputs: int, dropout: float) -> None:
        super().__init__()
        self.words = nn.Embedding(form.vocabulary, width, padding_idx=0)
        nn.init.normal_(self.words.weight, std=width**-0.5)
        self.filters = nn.ModuleList(nn.Conv1d(width, filters, length, padding=length) for length in lengths)
        self.dropout = nn.Dropout(dropout)
        self.answer = nn.Linear(filters * len(lengths), outputs)

    def forward(self, x_BT: Tensor) -> Tensor:
        there = (x_BT != 0)[..., None]
        words_BDT = (self.dropout(self.words(x_BT)) * there).transpose(1, 2)
        # every filter sees nothing but zeros once, at the begin: more of them at the end of a row change no answer
        found = [torch.relu(filters(words_BDT)).amax(dim=2) for filters in self.filters]
        return self.answer(self.dropout(torch.cat(found, dim=1)))
