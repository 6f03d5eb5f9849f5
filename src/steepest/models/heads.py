"""How networks begin and end: what reads a row, and what sums it up."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor, nn

from ..forms import PADDED, Form

PRIME = 1_000_003
SURELY = 1e4  # a logit beyond which nothing is left for other classes, and that half precision holds


def hashed_runs(x_BT: Tensor, longest: int) -> Iterator[Tensor]:
    """Yield for runs of 2, 3, ..., `longest` tokens the hash of the one that ends at each place, (B, T)."""
    run = x_BT
    for back in range(1, longest):
        before = nn.functional.pad(x_BT, (back, 0))[:, : x_BT.shape[1]]
        run = run * PRIME + before + 1
        yield run


class Runs(nn.Module):
    """What is learned of each token, and of each run of 2 to `ngrams` tokens that ends with it, added up; (B, T) to (B, T, D).

    Runs share `buckets` places, by their hash. They tell a network at once what it would take many steps to learn. In training
    a run is left out with probability `dropout`, and with it all longer ones of that token: what was learned by heart of
    long runs must then be told from shorter ones, as a language model of counts falls back on them.

    Source: Joulin et al., Bag of Tricks for Efficient Text Classification, 2016, arXiv:1607.01759 (hashed n-grams).
    """

    def __init__(
        self, vocabulary: int, width: int, ngrams: int, buckets: int, padding: int | None = None, dropout: float = 0.0
    ) -> None:
        super().__init__()
        self.buckets, self.dropout = buckets, dropout
        self.tokens = nn.Embedding(vocabulary, width, padding_idx=padding)
        self.runs = nn.ModuleList(nn.Embedding(buckets, width) for _ in range(ngrams - 1))
        for table in (self.tokens, *self.runs):
            nn.init.normal_(next(table.parameters()), std=(ngrams * width) ** -0.5)

    def forward(self, x_BT: Tensor) -> Tensor:
        found = self.tokens(x_BT)
        kept_BT1 = torch.ones(())
        for table, run in zip(self.runs, hashed_runs(x_BT, 1 + len(self.runs)), strict=True):
            learned = table(run % self.buckets)
            if self.training and self.dropout:
                kept_BT1 = kept_BT1 * (torch.rand((*x_BT.shape, 1), device=x_BT.device) >= self.dropout)
                learned = learned * kept_BT1
            found = found + learned
        return found


class Reader(nn.Module):
    """A row as steps of `width` numbers, (B, T, D), and which of them are there, (B, T): tokens are looked up."""

    def __init__(self, form: Form, width: int, ngrams: int = 1, buckets: int = 1, dropout: float = 0.0) -> None:
        super().__init__()
        self.padded = form.kind in PADDED
        if form.is_tokens:
            padding = 0 if self.padded else None
            self.read: nn.Module = Runs(form.vocabulary, width, ngrams, buckets, padding, dropout)
        else:
            self.read = nn.Linear(form.shape[-1], width)
        self.is_tokens = form.is_tokens

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor | None]:
        return self.read(x), present(x, self.is_tokens) if self.padded else None


def present(x: Tensor, is_tokens: bool) -> Tensor:
    """Return which steps of rows are there, (B, T): those before the zeros that rows end in."""
    given = x != 0 if is_tokens else (x != 0).any(dim=-1)
    return given.flip(1).cummax(dim=1).values.flip(1)  # a step of zeros in the middle is one


def blank_beyond(scores_BTC: Tensor, there_BT: Tensor | None) -> Tensor:
    """Return scores that say class 0, surely, at steps that are not there.

    What is decoded, and any loss over steps, then needs no lengths, and gets no gradient from padding.
    """
    if there_BT is None:
        return scores_BTC
    blank_C = scores_BTC.new_zeros(scores_BTC.shape[-1])
    blank_C[0] = SURELY
    return torch.where(there_BT[..., None], scores_BTC, blank_C)


class FromLast(nn.Module):
    """A network that gives differences from the last value seen of the first feature, of inputs less their last step.

    Its last linear layer, of as many `outputs`, begins with zeros: then nothing better is known than the last value itself.

    Source: Zeng et al., Are Transformers Effective for Time Series Forecasting?, 2023, arXiv:2205.13504 (NLinear).
    """

    def __init__(self, network: nn.Module, outputs: int) -> None:
        super().__init__()
        self.network = network
        answers = [m for m in network.modules() if isinstance(m, nn.Linear) and m.out_features == outputs]
        for p in answers[-1].parameters() if answers else ():
            nn.init.zeros_(p)

    def forward(self, x_BTF: Tensor) -> Tensor:
        last = x_BTF[:, -1:]
        return self.network(x_BTF - last) + last[:, 0, :1]


from_last = FromLast


class LastValue(nn.Module):
    """The last value seen of the first feature, for each of so many steps ahead."""

    def __init__(self, steps: int) -> None:
        super().__init__()
        self.steps = steps

    def forward(self, x_BTF: Tensor) -> Tensor:
        return x_BTF[:, -1, :1].expand(-1, self.steps)


def averaged(x_BTD: Tensor, there_BT: Tensor | None) -> Tensor:
    """Return the mean over the steps that are there, (B, D)."""
    if there_BT is None:
        return x_BTD.mean(dim=1)
    weight = there_BT.to(x_BTD.dtype)[..., None]
    return (x_BTD * weight).sum(dim=1) / weight.sum(dim=1).clamp(min=1)
