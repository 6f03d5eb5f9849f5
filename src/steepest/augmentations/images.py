"""Images mirrored, moved, covered and made noisy: pixels stay what they are, become zero, or get a number added."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..errors import InputError, positive, switch, whole
from .core import Augmentation, Source, augmentation
from .draws import Draws

if TYPE_CHECKING:
    from torch import Tensor

    from ..objectives import Objective


@augmentation
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

    def change(self, x: Tensor, draws: Draws) -> Tensor:
        mirrored = draws.uniform(epoch=0 if self.alternating else None) < 0.5
        if self.alternating and draws.epoch % 2:
            mirrored = ~mirrored
        return x.flip(3).where(mirrored[:, None, None, None], x)


@augmentation
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

    def check(self, source: Source, objective: Objective) -> None:
        super().check(source, objective)
        height, width = source.form.shape[-2:]
        if self.pixels >= min(height, width):
            raise InputError(f"{self!r} moves images of {height} x {width} out of sight; move them less")

    def change(self, x: Tensor, draws: Draws) -> Tensor:
        import torch

        padded = torch.nn.functional.pad(x, (self.pixels,) * 4, mode="reflect")
        height, width = x.shape[2:]
        down, right = (draws.whole(0, 2 * self.pixels, draw) for draw in (0, 1))
        image = torch.arange(len(x), device=x.device)[:, None, None]
        rows = down[:, None, None] + torch.arange(height, device=x.device)[:, None]
        columns = right[:, None, None] + torch.arange(width, device=x.device)
        return padded.permute(0, 2, 3, 1)[image, rows, columns].permute(0, 3, 1, 2)


@augmentation
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

    def check(self, source: Source, objective: Objective) -> None:
        super().check(source, objective)
        height, width = source.form.shape[-2:]
        if self.pixels > max(height, width):
            raise InputError(f"{self!r} is larger than the images of {height} x {width}; give a smaller square")

    def change(self, x: Tensor, draws: Draws) -> Tensor:
        import torch

        inside = []
        for draw, size in enumerate(x.shape[2:]):
            begin = draws.whole(0, size - 1, draw)[:, None] - self.pixels // 2
            places = torch.arange(size, device=x.device)
            inside.append((places >= begin) & (places < begin + self.pixels))
        return x.masked_fill((inside[0][:, :, None] & inside[1][:, None, :])[:, None], 0.0)


@augmentation
class Noise(Augmentation):
    """Add to each number of an image one of its own, drawn from a normal distribution of mean 0.

    Args:
        std: its standard deviation, > 0, in the numbers a network reads: shares of the deviation of the training part's pixels,
            as images are standardised.

    Source: Bishop, Training with Noise is Equivalent to Tikhonov Regularization, 1995, https://doi.org/10.1162/neco.1995.7.1.108.

    >>> noise(0.1)
    noise(0.1)
    """

    std: float

    def __post_init__(self) -> None:
        positive("std", self.std)

    def change(self, x: Tensor, draws: Draws) -> Tensor:
        return x + self.std * draws.normal_each(x[0].numel()).reshape(x.shape).to(x.dtype)


flip = Flip
shift = Shift
cutout = Cutout
noise = Noise
