"""Networks that tell texts apart, in plain torch: bags of words, and convolutions over words."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from ..forms import Form
from .heads import hashed_runs


class BagOfWords(nn.Module):
    """Words, their spelling and runs of words, looked up and added up; (B, T), or spelled (B, T, numbers), to (B, outputs)."""

    def __init__(
        self, form: Form, width: int | None, outputs: int, *, ngrams: int, subwords: int, buckets: int, dropout: float
    ) -> None:
        super().__init__()
        self.left_out, numbers = dropout, width or outputs
        self.words = nn.Embedding(form.vocabulary, numbers, padding_idx=0)
        self.runs = nn.ModuleList(nn.Embedding(buckets, numbers) for _ in range(ngrams - 1))
        self.grams = nn.Embedding(subwords, numbers) if form.spelled else None
        for table in (self.words, *self.runs, *([] if self.grams is None else [self.grams])):
            nn.init.normal_(next(table.parameters()), std=0.1 * width**-0.5 if width else 0.0)
        self.answer = Bias(outputs) if width is None else nn.Linear(width, outputs)

    def forward(self, x: Tensor) -> Tensor:
        words_BT, hashes_BT = (x, x) if self.grams is None else (x[..., 0], x[..., 1])
        there_BT = words_BT != 0
        share_BT = self._shares(there_BT)
        found_BD = bagged(self.words.weight, words_BT, there_BT, share_BT)
        for table, run_BT in zip(self.runs, hashed_runs(hashes_BT, 1 + len(self.runs)), strict=True):
            found_BD = found_BD + bagged(next(table.parameters()), run_BT, there_BT, share_BT)
        if self.grams is not None:
            grams_BTG = x[..., 2:]
            given_BTG = grams_BTG != 0
            share_BT = share_BT / given_BTG.sum(dim=2).clamp(min=1).sqrt()
            found_BD = found_BD + bagged(self.grams.weight, grams_BTG, given_BTG, share_BT[..., None].expand(given_BTG.shape))
        return self.answer(found_BD)

    def _shares(self, there_BT: Tensor) -> Tensor:
        """Return what each word counts, `1 / sqrt(number of words)`; in training some count nothing, and the others more."""
        share_BT = there_BT.to(self.words.weight.dtype)
        share_BT = share_BT / share_BT.sum(dim=1, keepdim=True).clamp(min=1).sqrt()
        return nn.functional.dropout(share_BT, self.left_out, self.training)


def bagged(table: Tensor, hashes: Tensor, given: Tensor, share: Tensor) -> Tensor:
    """Return for each row the sum of `share * table[hash % places]` over what is given, (B, D).

    What is not given is dropped first: most of a batch of spelled words is padding, and torch's sum over padded bags took twice
    as long (32 texts of up to 50 words, 64 numbers: 8 and 17 ms with gradients, one core).
    """
    begins = given.reshape(len(given), -1).sum(dim=1).cumsum(dim=0)
    return nn.functional.embedding_bag(
        hashes[given] % len(table), table, nn.functional.pad(begins[:-1], (1, 0)), mode="sum",
        per_sample_weights=share[given],
    )  # fmt: skip


class Bias(nn.Module):
    """What is added to every row, (B, D): it begins at zero."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.bias = nn.Parameter(torch.zeros(width))

    def forward(self, x_BD: Tensor) -> Tensor:
        return x_BD + self.bias


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
