"""Cells of tables made noisy, or swapped with those of other rows. What a column of the table became, `Form` says."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from ..errors import InputError, between, positive
from ..forms import Form
from .core import Augmentation, Batch, Source, augmentation

if TYPE_CHECKING:
    from ..objectives import Objective


@augmentation
class _OfTables(Augmentation):
    """What changes tables. Abstract."""

    kinds: ClassVar[tuple[str, ...]] = ("table",)
    changes: ClassVar[str] = "tables"


@augmentation
class Jitter(_OfTables):
    """Add to each measured number one of its own, drawn from a normal distribution of mean 0.

    Marks of categories, numbers of categories, dates, words and cells that were missing stay as they are.

    Args:
        std: its standard deviation, > 0, in the numbers a network reads: of a standardised column, shares of its deviation.

    Source: Bishop, Training with Noise is Equivalent to Tikhonov Regularization, 1995, https://doi.org/10.1162/neco.1995.7.1.108.

    >>> jitter(0.1)
    jitter(0.1)
    """

    std: float

    def __post_init__(self) -> None:
        positive("std", self.std)

    def check(self, source: Source, objective: Objective) -> None:
        super().check(source, objective)
        if not source.form.numbers:
            raise InputError(f"{self!r} changes measured numbers that are scaled, and the table has none; leave it out")

    def apply(self, batch: Batch) -> Batch:
        import torch

        form, x = batch.source.form, batch.inputs
        numbers = torch.tensor(form.numbers, device=x.device)
        added = self.std * batch.draws.normal_each(len(numbers)).to(x.dtype)
        if flags := flags_of(form):
            at = [form.numbers.index(number) for number in flags]
            added[:, at] *= 1 - x[:, list(flags.values())]
        return batch.with_inputs(x.index_add(1, numbers, added))


def flags_of(form: Form) -> dict[int, int]:
    """Return of each column of measured numbers, where it has one, the column that says where it is missing."""
    ends = dict(zip(form.groups, (*form.groups[1:], form.shape[0]), strict=False))
    return {number: number + 1 for number in form.numbers if ends.get(number, number + 1) == number + 2}


@augmentation
class Swap(_OfTables):
    """Replace each cell, with probability `share`, by the cell of the same column of another training row, any one.

    A cell is all that a column of the table became: the marks of its categories, a number with the mark that it is missing, the
    parts of a date are swapped together. Cells come as they are, without the augmentations before.

    Args:
        share: in (0, 1]; a tenth is a common one, the source takes 0.6 for training without labels.

    Source: Bahri et al., SCARF: Self-Supervised Contrastive Learning using Random Feature Corruption, 2022, arXiv:2106.15147.

    >>> swap(0.1)
    swap(0.1)
    """

    share: float

    def __post_init__(self) -> None:
        between("share", self.share, 0, 1, open_start=True)

    def apply(self, batch: Batch) -> Batch:
        import torch

        x, part, draws = batch.inputs, batch.source.part, batch.draws
        assert isinstance(part.inputs, torch.Tensor)
        columns = torch.arange(x.shape[1], device=x.device)
        starts = torch.tensor(batch.source.form.groups, device=x.device) if batch.source.form.groups else columns
        group = torch.searchsorted(starts, columns, right=True) - 1  # the table's column that each is of
        swapped = (draws.uniform_each(len(starts), 0) < self.share)[:, group]
        others = draws.other_rows_each(len(starts), len(part), 1)[:, group]
        return batch.with_inputs(part.inputs[others, columns].where(swapped, x))


jitter = Jitter
swap = Swap
