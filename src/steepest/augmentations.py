"""Augmentations: random changes to the images of a batch that leave their labels true, as frozen values.

What is drawn is a function of (seed, epoch, row, which augmentation): neither the size of batches nor the order of the work
changes it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from .errors import InputError, switch, whole
from .forms import Form
from .values import printed_call

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class Draws:
    """Random numbers for some rows in one epoch."""

    seed: int
    epoch: int
    rows: Tensor
    place: int = 0  # which augmentation of the recipe draws

    def uniform(self, draw: int = 0, *, epoch: int | None = None) -> Tensor:
        """Return a number in [0, 1) for each row; other draws, and other epochs, give others."""
        from .kernels.random import key_of, uniform

        return uniform(self.rows, key_of(self.seed, self.place, self.epoch if epoch is None else epoch, draw))

    def whole(self, low: int, high: int, draw: int = 0) -> Tensor:
        """Return a whole number for each row, from `low` to `high`, both included."""
        import torch

        return (low + self.uniform(draw) * (high - low + 1)).to(torch.int64)


@dataclass(frozen=True, repr=False)
class Augmentation:
    """A random change to a batch of images. Abstract: subclasses give `change`."""

    def check(self, form: Form) -> None:
        """Raise unless rows are what this changes."""
        if form.kind != "image":
            raise InputError(f"{self!r} changes images; the data are of the kind {form.kind}, leave augment out")

    def change(self, x_BCHW: Tensor, draws: Draws) -> Tensor:
        """Return the changed batch."""
        raise NotImplementedError

    def __repr__(self) -> str:
        return printed_call(self)


@dataclass(frozen=True, repr=False)
class Flip(Augmentation):
    """Mirror half of the images, left to right.

    Args:
        alternating: each image is mirrored in every other epoch, instead of by a new draw: over two epochs a network then sees
            both sides of all of them (Jordan, 94% on CIFAR-10 in 3.29 seconds on a single GPU, 2024, arXiv:2404.00498).

    >>> flip()
    flip()
    """

    alternating: bool = True

    def __post_init__(self) -> None:
        switch("alternating", self.alternating)

    def change(self, x_BCHW: Tensor, draws: Draws) -> Tensor:
        mirrored = draws.uniform(epoch=0 if self.alternating else None) < 0.5
        if self.alternating and draws.epoch % 2:
            mirrored = ~mirrored
        return x_BCHW.flip(3).where(mirrored[:, None, None, None], x_BCHW)


@dataclass(frozen=True, repr=False)
class Shift(Augmentation):
    """Move each image by up to `pixels` up or down and left or right; what comes in is the image mirrored at its edge.

    Args:
        pixels: >= 1, below height and width of the images.

    >>> shift(2)
    shift(2)
    """

    pixels: int

    def __post_init__(self) -> None:
        whole("pixels", self.pixels, 1)

    def check(self, form: Form) -> None:
        super().check(form)
        if self.pixels >= min(form.shape[-2:]):
            raise InputError(f"{self!r} moves images of {form.shape[-2]} x {form.shape[-1]} out of sight; move them less")

    def change(self, x_BCHW: Tensor, draws: Draws) -> Tensor:
        import torch

        padded = torch.nn.functional.pad(x_BCHW, (self.pixels,) * 4, mode="reflect")
        height, width = x_BCHW.shape[2:]
        down, right = (draws.whole(0, 2 * self.pixels, draw) for draw in (0, 1))
        image = torch.arange(len(x_BCHW), device=x_BCHW.device)[:, None, None]
        rows = down[:, None, None] + torch.arange(height, device=x_BCHW.device)[:, None]
        columns = right[:, None, None] + torch.arange(width, device=x_BCHW.device)
        return padded.permute(0, 2, 3, 1)[image, rows, columns].permute(0, 3, 1, 2)


@dataclass(frozen=True, repr=False)
class Cutout(Augmentation):
    """Set a square of each image, anywhere on it, to zero: the mean over the training part, as images are standardised.

    Args:
        pixels: side of the square, >= 1; at the edge it is cut off.

    Source: DeVries, Taylor, Improved Regularization of Convolutional Neural Networks with Cutout, 2017, arXiv:1708.04552.

    >>> cutout(8)
    cutout(8)
    """

    pixels: int

    def __post_init__(self) -> None:
        whole("pixels", self.pixels, 1)

    def check(self, form: Form) -> None:
        super().check(form)
        height, width = form.shape[-2:]
        if self.pixels > max(height, width):
            raise InputError(f"{self!r} is larger than the images of {height} x {width}; give a smaller square")

    def change(self, x_BCHW: Tensor, draws: Draws) -> Tensor:
        import torch

        inside = []
        for draw, size in enumerate(x_BCHW.shape[2:]):
            begin = draws.whole(0, size - 1, draw)[:, None] - self.pixels // 2
            places = torch.arange(size, device=x_BCHW.device)
            inside.append((places >= begin) & (places < begin + self.pixels))
        return x_BCHW.masked_fill((inside[0][:, :, None] & inside[1][:, None, :])[:, None], 0.0)


def as_augmentations(value: Any) -> tuple[Augmentation, ...] | None:
    """Return one augmentation or several as a tuple; None stays None."""
    if value is None:
        return None
    found: tuple[Any, ...] = tuple(value) if isinstance(value, list | tuple) else (value,)
    for each in found:
        if not isinstance(each, Augmentation):
            raise InputError(f"augment must be augmentations such as (flip(), shift(2)) (got {each!r})")
    return found


def augmented(x: Tensor, augment: Sequence[Augmentation], seed: int, epoch: int, rows: Tensor) -> Tensor:
    """Return a batch changed by each augmentation in turn; `rows` are the places of its rows in the training part."""
    for place, each in enumerate(augment):
        x = each.change(x, Draws(seed, epoch, rows, place))
    return x


flip = Flip
shift = Shift
cutout = Cutout
