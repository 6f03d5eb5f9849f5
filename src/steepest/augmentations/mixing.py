"""Rows mixed with others of the training part, labels with them: mixup and cutmix.

The other row is drawn by the row's own key from the whole training part, where the papers' code takes one of the same batch: so
neither the size nor the order of batches changes what a row becomes. It comes as the augmentations before have changed it.
Labels of classes become shares of classes, (rows, classes); numbers become numbers between.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, ClassVar

from ..errors import InputError, between
from .core import Augmentation, Batch, Source, augmentation
from .draws import Draws

if TYPE_CHECKING:
    from torch import Tensor

    from ..objectives import Objective

OTHER, SHARE, CODES, DOWN, ACROSS = 0, 1, 3, 4, 5  # draws; a share takes two


def blended(own: Tensor, other: Tensor, share_B: Tensor) -> Tensor:
    """Return `share own + (1 - share) other`, row by row."""
    return other.lerp(own, share_B.to(own.dtype).reshape(-1, *[1] * (own.ndim - 1)))


def as_shares(targets: Tensor, num_classes: int) -> Tensor:
    """Return class numbers (rows,) as shares of classes, (rows, classes); shares and numbers as they are."""
    from torch.nn.functional import one_hot

    return targets if targets.is_floating_point() else one_hot(targets, num_classes).float()


def blended_targets(batch: Batch, other: Batch, share_B: Tensor) -> Tensor:
    """Return the labels of mixed rows."""
    own, others = (as_shares(each.targets, batch.source.num_classes) for each in (batch, other))
    return blended(own, others, share_B)


@augmentation
class _Mixing(Augmentation):
    """What mixes rows and labels. Abstract: subclasses give `apply`."""

    alpha: float

    def __post_init__(self) -> None:
        between("alpha", self.alpha, 0.01, 100)

    def check(self, source: Source, objective: Objective) -> None:
        super().check(source, objective)
        dtype = source.part.inputs.dtype  # type: ignore[union-attr]
        if not dtype.is_floating_point:
            raise InputError(f"{self!r} mixes real numbers; rows here hold whole ones ({dtype}), leave it out")
        if not objective.takes_mixtures:
            instead = "cross_entropy()" if source.num_classes else "mse()"
            raise InputError(
                f"{self!r} mixes labels, which {objective!r} cannot learn from; leave it out, or use {instead} where it fits"
            )


@augmentation
class Mixup(_Mixing):
    """Mix each row with another: `l x + (1 - l) x'`, and the labels alike, l drawn from Beta(alpha, alpha).

    Where columns of a table hold numbers of categories, a mixture of which means nothing, each is the row's own with
    probability l, else the other's. A sound is as long as the longer of the two.

    Args:
        alpha: in [0.01, 100]; small ones leave most rows nearly as they are; the source takes 0.1 to 0.4 for photographs, 1 for
            CIFAR-10.

    Source: Zhang, Cisse, Dauphin, Lopez-Paz, mixup: Beyond Empirical Risk Minimization, 2018, arXiv:1710.09412.

    >>> mixup(0.2)
    mixup(0.2)
    """

    kinds: ClassVar[tuple[str, ...]] = ("image", "table", "array", "series", "sound")
    changes: ClassVar[str] = "images, tables, arrays, series and sounds"

    def apply(self, batch: Batch) -> Batch:
        draws, source = batch.draws, batch.source
        other = batch.others(draws.other_rows(len(source.part), OTHER))
        share = draws.share(self.alpha, SHARE)
        own, others = _equally_long(batch.inputs, other.inputs)
        inputs = blended(own, others, share)
        if source.form.codes:
            codes = [column for column, _ in source.form.codes]
            kept = draws.uniform_each(len(codes), CODES) < share[:, None]
            inputs[:, codes] = own[:, codes].where(kept, others[:, codes])
        return replace(batch, inputs=inputs, targets=blended_targets(batch, other, share))


def _equally_long(own: Tensor, other: Tensor) -> tuple[Tensor, Tensor]:
    """Return rows of steps, (B, T, D), with zeros at the end of the shorter ones; others as they are."""
    from torch.nn.functional import pad

    if own.shape == other.shape:
        return own, other
    longest = max(own.shape[1], other.shape[1])
    return pad(own, (0, 0, 0, longest - own.shape[1])), pad(other, (0, 0, 0, longest - other.shape[1]))


@augmentation
class Cutmix(_Mixing):
    """Put a rectangle of another image into each, at the same place; labels are shared by area.

    Its sides are `sqrt(1 - l)` of those of the image, l drawn from Beta(alpha, alpha), its middle is anywhere; what lies beyond
    the edge is cut off, and the share of the own label is that of the pixels that are left.

    Args:
        alpha: in [0.01, 100]; the source takes 1: areas are drawn evenly.

    Source: Yun et al., CutMix: Regularization Strategy to Train Strong Classifiers with Localizable Features, 2019,
    arXiv:1905.04899.

    >>> cutmix(1.0)
    cutmix(1.0)
    """

    def apply(self, batch: Batch) -> Batch:
        draws, (height, width) = batch.draws, batch.inputs.shape[-2:]
        other = batch.others(draws.other_rows(len(batch.source.part), OTHER))
        side = (1 - draws.share(self.alpha, SHARE)).sqrt()
        lines, columns = (inside(draws, side, size, draw) for size, draw in ((height, DOWN), (width, ACROSS)))
        within = (lines[:, :, None] & columns[:, None, :])[:, None]
        own = 1 - lines.sum(1) * columns.sum(1) / (height * width)
        return replace(batch, inputs=other.inputs.where(within, batch.inputs), targets=blended_targets(batch, other, own))


def inside(draws: Draws, share_B: Tensor, size: int, draw: int) -> Tensor:
    """Return which of `size` places lie within a stretch of such a share of them, its middle anywhere, (B, size)."""
    import torch

    length = (size * share_B).to(torch.int64)
    begin = draws.whole(0, size - 1, draw) - length // 2
    places = torch.arange(size, device=share_B.device)
    return (places >= begin[:, None]) & (places < (begin + length)[:, None])


mixup = Mixup
cutmix = Cutmix
