"""Parts of a spectrogram set to zero: bands of pitch, stretches of time. Shapes: x (B, T, F), steps at the end may be padding.

Zero is the mean of each band over the training part, as spectrograms are standardised.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from ..errors import InputError, between, whole
from .core import Augmentation, Source, augmentation
from .draws import Draws

if TYPE_CHECKING:
    from torch import Tensor

    from ..objectives import Objective


@augmentation
class _Mask(Augmentation):
    """What masks spectrograms. Abstract."""

    kinds: ClassVar[tuple[str, ...]] = ("sound",)
    changes: ClassVar[str] = "sounds"

    width: int
    count: int = 1

    def __post_init__(self) -> None:
        whole("width", self.width, 1)
        whole("count", self.count, 1)


@augmentation
class MaskFrequencies(_Mask):
    """Set `count` runs of bands to zero in all frames of a recording, each as wide as drawn from 0 to `width`, anywhere.

    Args:
        width: of the widest run, in bands, >= 1; the source takes 15 to 27 of 80.
        count: how many, >= 1; altogether fewer bands than there are.

    Source: Park et al., SpecAugment: A Simple Data Augmentation Method for Automatic Speech Recognition, 2019,
    arXiv:1904.08779.

    >>> mask_frequencies(8, count=2)
    mask_frequencies(8, count=2)
    """

    def check(self, source: Source, objective: Objective) -> None:
        super().check(source, objective)
        bands = source.form.shape[-1]
        if self.width * self.count >= bands:
            raise InputError(f"{self!r} may mask all {bands} bands; mask fewer")

    def change(self, x: Tensor, draws: Draws) -> Tensor:
        bands = x.shape[2]
        for mask in range(self.count):
            wide = draws.whole(0, self.width, 2 * mask)
            x = x.masked_fill(_run(draws.whole(0, bands - wide, 2 * mask + 1), wide, bands)[:, None, :], 0.0)
        return x


@augmentation
class MaskTimes(_Mask):
    """Set `count` runs of frames of a recording to zero, each as long as drawn from 0 to `width`, before its last frame.

    That one stays, since zeros at the end of a row say that it has ended: a recording keeps its length.

    Args:
        width: of the longest run, in frames, >= 1: 10 ms each, or 20 where transcripts are learned; the source takes 40 to 100.
        count: how many, >= 1.
        share: of a recording's frames, the longest that a run may be, in (0, 1].

    Source: Park et al., SpecAugment: A Simple Data Augmentation Method for Automatic Speech Recognition, 2019,
    arXiv:1904.08779.

    >>> mask_times(20, count=2)
    mask_times(20, count=2)
    """

    share: float = 1.0

    def __post_init__(self) -> None:
        super().__post_init__()
        between("share", self.share, 0, 1, open_start=True)

    def change(self, x: Tensor, draws: Draws) -> Tensor:
        import torch

        from ..models.heads import present

        before_last = (present(x, is_tokens=False).sum(1) - 1).clamp(min=0)
        most = ((before_last + 1) * self.share).to(torch.int64).minimum(before_last).clamp(max=self.width)
        for mask in range(self.count):
            long = draws.whole(0, most, 2 * mask)
            x = x.masked_fill(_run(draws.whole(0, before_last - long, 2 * mask + 1), long, x.shape[1])[:, :, None], 0.0)
        return x


def _run(begin_B: Tensor, length_B: Tensor, size: int) -> Tensor:
    """Return which of `size` places lie in a run, (B, size)."""
    import torch

    places = torch.arange(size, device=begin_B.device)
    return (places >= begin_B[:, None]) & (places < (begin_B + length_B)[:, None])


mask_frequencies = MaskFrequencies
mask_times = MaskTimes
