"""How networks begin and end: what reads a row, and what sums it up."""

from __future__ import annotations

from torch import Tensor, nn

from ..forms import PADDED, Form


class Reader(nn.Module):
    """A row as steps of `width` numbers, (B, T, D), and which of them are there, (B, T): tokens are looked up."""

    def __init__(self, form: Form, width: int) -> None:
        super().__init__()
        self.padded = form.kind in PADDED
        if form.is_tokens:
            self.read: nn.Module = nn.Embedding(form.vocabulary, width, padding_idx=0 if self.padded else None)
            nn.init.normal_(self.read.weight, std=width**-0.5)
        else:
            self.read = nn.Linear(form.shape[-1], width)
        self.is_tokens = form.is_tokens

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor | None]:
        return self.read(x), present(x, self.is_tokens) if self.padded else None


def present(x: Tensor, is_tokens: bool) -> Tensor:
    """Return which steps of rows are there, (B, T): those before the zeros that rows end in."""
    given = x != 0 if is_tokens else (x != 0).any(dim=-1)
    return given.flip(1).cummax(dim=1).values.flip(1)  # a step of zeros in the middle is one


class FromLast(nn.Module):
    """A network that gives differences from the last value seen of the first feature, of inputs less their last step.

    Source: Zeng et al., Are Transformers Effective for Time Series Forecasting?, 2023, arXiv:2205.13504 (NLinear).
    """

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, x_BTF: Tensor) -> Tensor:
        last = x_BTF[:, -1:]
        return self.network(x_BTF - last) + last[:, 0, :1]


from_last = FromLast


def averaged(x_BTD: Tensor, there_BT: Tensor | None) -> Tensor:
    """Return the mean over the steps that are there, (B, D)."""
    if there_BT is None:
        return x_BTD.mean(dim=1)
    weight = there_BT.to(x_BTD.dtype)[..., None]
    return (x_BTD * weight).sum(dim=1) / weight.sum(dim=1).clamp(min=1)
