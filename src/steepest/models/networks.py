"""The networks behind the specs, in plain torch."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn

from ..forms import Form

MAX_WIDTH = 64  # numbers that stand for a category
WAVE_WIDTH = 8  # numbers that stand for a number read as waves
WORD_WIDTH = 64  # numbers that stand for a word, where the mean of a text's words is read

_ACTIVATIONS: dict[str, type[nn.Module]] = {"relu": nn.ReLU, "gelu": nn.GELU, "silu": nn.SiLU, "tanh": nn.Tanh}
# Gain of the weights and deviation of the biases at the edge of chaos: where `gain^2 E[f'(z)^2] = 1` for `z ~ N(0, q)`, so that
# gradients keep their scale, and `q = gain^2 E[f(z)^2] + bias^2`, so that activations keep theirs (q = 0.25 for tanh, 10 for
# GELU, 20 for SiLU, any for ReLU). Without random biases that q is unstable for GELU and SiLU: after 64 layers of SiLU
# activations had grown by 10^4 at one gain, or died at another. Hayou, Doucet, Rousseau, 2019, arXiv:1902.06853.
_EDGE = {"relu": (math.sqrt(2), 0.0), "gelu": (1.3985, 0.5687), "silu": (1.4055, 0.8240), "tanh": (1.1807, 0.0901)}
_NORMS: dict[str | None, type[nn.Module]] = {"batch": nn.BatchNorm1d, "layer": nn.LayerNorm}


class Columns(nn.Module):
    """A table's row as numbers alone: columns that hold numbers of categories are looked up, the others stay; those that were
    measured are read as waves too.

    With `lookup`, a category is at most so many numbers, which begin near zero: those of few rows then stay there.
    """

    def __init__(self, form: Form, waves: int = 0, lookup: int | None = None) -> None:
        super().__init__()
        widths = [min(embedding_width(count), lookup or MAX_WIDTH) for _, count in form.codes]
        self.coded = [column for column, _ in form.codes]
        self.plain = [i for i in range(form.shape[0]) if i not in self.coded]
        self.tables = nn.ModuleList(nn.Embedding(count, width) for (_, count), width in zip(form.codes, widths, strict=True))
        for table in self.tables:
            nn.init.normal_(table.weight, std=(0.1 if lookup else 1.0) * table.embedding_dim**-0.5)  # type: ignore[operator,arg-type]
        self.waves = Waves(form.numbers, waves) if waves and form.numbers else None
        self.width = len(self.plain) + sum(widths)
        self.width += WAVE_WIDTH * len(form.numbers) if self.waves else 0

    def forward(self, x_BF: Tensor) -> Tensor:
        found = [table(x_BF[:, column].long()) for column, table in zip(self.coded, self.tables, strict=True)]
        if self.waves is not None:
            found.append(self.waves(x_BF))
        return torch.cat([x_BF[:, self.plain], *found], dim=1)


class Waves(nn.Module):
    """Numbers that were measured, each as `relu(W [sin(2 pi c x), cos(2 pi c x)] + b)` with frequencies `c` of its own.

    Legend: N numbers, K waves of each, D numbers that stand for each. Frequencies begin as draws from `N(0, 0.5^2)`, for
    numbers that are standardised.
    """

    def __init__(self, numbers: Sequence[int], waves: int) -> None:
        super().__init__()
        self.numbers = list(numbers)
        self.frequency_NK = nn.Parameter(0.5 * torch.randn(len(numbers), waves))
        self.weight_NKD = nn.Parameter(torch.randn(len(numbers), 2 * waves, WAVE_WIDTH) / math.sqrt(2 * waves))
        self.bias = nn.Parameter(torch.zeros(len(numbers) * WAVE_WIDTH))

    def forward(self, x_BF: Tensor) -> Tensor:
        angle_BNK = 2 * math.pi * self.frequency_NK * x_BF[:, self.numbers, None]
        waves_BNK = torch.cat([angle_BNK.sin(), angle_BNK.cos()], dim=2)
        return torch.relu(torch.einsum("bnk,nkd->bnd", waves_BNK, self.weight_NKD).flatten(1) + self.bias)


def embedding_width(categories: int) -> int:
    """Return how many numbers stand for one of so many categories: `1.6 n^0.56`, at most 64 (fastai's rule of thumb)."""
    return min(MAX_WIDTH, round(1.6 * categories**0.56))


def _begin(form: Form, waves: int = 0, lookup: int | None = None) -> tuple[list[nn.Module], int]:
    """Return the layers that make a row one line of numbers, and how many those are."""
    if form.is_tokens:
        return [nn.EmbeddingBag(form.vocabulary, WORD_WIDTH, padding_idx=0)], WORD_WIDTH
    if form.codes or (waves and form.numbers):
        columns = Columns(form, waves, lookup)
        return [columns], columns.width
    return [nn.Flatten()], math.prod(form.shape)


def mlp(
    form: Form,
    hidden: Sequence[int],
    outputs: int,
    *,
    activation: str = "relu",
    dropout: float = 0.0,
    norm: str | None = None,
    residual: bool = False,
    init: str = "torch",
    waves: int = 0,
    lookup: int | None = None,
    rank: int | None = None,
) -> nn.Sequential:
    """Return `flatten -> (linear -> norm -> activation -> dropout)* -> linear`; shapes (B, ...) to (B, outputs).

    With `rank`, a hidden layer that is wider than it on both sides is the product of two, without anything between.
    """
    layers, inputs = _begin(form, waves, lookup)
    blocks = sum(before == width for before, width in pairwise((inputs, *hidden))) if residual else 0
    for width in hidden:
        is_block = residual and inputs == width
        narrow = _narrowed(inputs, width, rank)
        linear = nn.Linear(rank if narrow and rank else inputs, width)
        if init != "torch":
            start(linear, activation, init, blocks=blocks if is_block else 0, biased=norm is None)
        around = [_NORMS[norm](width)] if norm is not None else []
        after: list[nn.Module] = [_ACTIVATIONS[activation](), *([nn.Dropout(dropout)] if dropout else [])]
        layers += [Residual(*around, *narrow, linear, *after)] if is_block else [*narrow, linear, *around, *after]
        inputs = width
    return nn.Sequential(*layers, nn.Linear(inputs, outputs))


def _narrowed(inputs: int, width: int, rank: int | None) -> list[nn.Linear]:
    """Return the first of the two layers that a layer of low rank is, which keeps the scale of what it reads."""
    if rank is None or rank >= min(inputs, width):
        return []
    first = nn.Linear(inputs, rank)
    nn.init.normal_(first.weight, std=inputs**-0.5)
    nn.init.zeros_(first.bias)  # does no more than the next layer's, but products with one are made faster
    return [first]


def start(linear: nn.Linear, activation: str, init: str, *, blocks: int = 0, biased: bool = True) -> None:
    """Draw a hidden layer so that neither activations nor gradients grow or shrink from layer to layer, see `_EDGE`.

    Args:
        linear: the layer.
        activation: what follows it.
        init: `"he"`, independent weights, or `"orthogonal"`.
        blocks: of how many residual blocks it is one: weights are divided by that. What a ReLU adds is never negative, so
            that it adds up in step; divided by the root alone it grew as `exp(root(blocks) / 2)`.
        biased: whether its biases are random, where the activation needs that.
    """
    gain, bias = _EDGE[activation]
    if init == "orthogonal":
        nn.init.orthogonal_(linear.weight, gain)
    else:
        nn.init.normal_(linear.weight, std=gain / math.sqrt(linear.in_features))
    nn.init.normal_(linear.bias, std=bias if biased and not blocks else 0.0)
    if blocks:
        linear.weight.detach().div_(blocks)


class SkipRows(nn.Module):
    """In training each row is zero with probability `p`, and is divided by `1 - p` else.

    At the end of a residual block it has that block skipped by some of the rows (stochastic depth).

    Source: Huang et al., Deep Networks with Stochastic Depth, 2016, arXiv:1603.09382, which draws once a batch.
    """

    def __init__(self, p: float) -> None:
        super().__init__()
        self.p = p

    def forward(self, x: Tensor) -> Tensor:
        if not self.training:
            return x
        return x * nn.functional.dropout(x.new_ones((len(x), *[1] * (x.ndim - 1))), self.p)


class Residual(nn.Sequential):
    """`x + layers(x)`."""

    def forward(self, x: Tensor) -> Tensor:  # pyright: ignore[reportIncompatibleMethodOverride]
        return x + super().forward(x)


class Additive(nn.Module):
    """`b + sum_i f_i(x_i)`, every `f_i` a network of one hidden layer; shapes (B, F) to (B, outputs).

    Legend: F features, H hidden units, O outputs.
    """

    def __init__(self, form: Form, width: int, outputs: int) -> None:
        super().__init__()
        begin, features = _begin(form)
        self.begin = nn.Sequential(*begin)
        self.slope_FH = nn.Parameter(torch.randn(features, width))
        self.knot_FH = nn.Parameter(torch.randn(features, width))
        self.answer_FHO = nn.Parameter(torch.randn(features, width, outputs) / math.sqrt(features * width))
        self.bias_O = nn.Parameter(torch.zeros(outputs))

    def parts(self, x: Tensor) -> Tensor:
        """Return what each feature adds, (B, F, O)."""
        hidden = torch.relu((self.begin(x)[..., None] - self.knot_FH) * self.slope_FH)
        return torch.einsum("bfh,fho->bfo", hidden, self.answer_FHO)

    def forward(self, x: Tensor) -> Tensor:
        return self.parts(x).sum(dim=1) + self.bias_O
