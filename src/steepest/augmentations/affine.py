"""Images turned, zoomed and cropped: affine maps of the plane, through which the pixels are read anew.

A map goes from a place in the new image to the place in the old one that it shows; places are counted in pixels from the middle
of the image, to the right and down. Shapes: x (B, C, H, W), maps (B, 2, 3): `M = (A, b)`, `old = A new + b`.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from ..errors import between
from .core import Augmentation, augmentation
from .draws import Draws

if TYPE_CHECKING:
    from torch import Tensor


def resampled(x_BCHW: Tensor, matrix_B23: Tensor) -> Tensor:
    """Return images read through maps, by bilinear interpolation; beyond its edge an image goes on mirrored."""
    import torch

    height, width = x_BCHW.shape[2:]
    across, down = (torch.arange(size, device=x_BCHW.device) + 0.5 - size / 2 for size in (width, height))
    # one number after the other, not a product of matrices, whose rounding may depend on how many there are
    a, b, c, d, e, f = matrix_B23.to(x_BCHW.dtype).reshape(-1, 6, 1, 1).unbind(1)
    columns = (a * across + (b * down[:, None] + c)) * (2 / width)
    lines = (d * across + (e * down[:, None] + f)) * (2 / height)
    grid_BHW2 = torch.stack([columns, lines], dim=-1)
    return torch.nn.functional.grid_sample(x_BCHW, grid_BHW2, "bilinear", padding_mode="reflection", align_corners=False)


def composed(first: Tensor, second: Tensor) -> Tensor:
    """Return the map of an image that is changed by the first, and what comes out by the second; maps are (B, 2, 3)."""
    import torch

    linear = first[:, :, :2]
    moved = linear @ second
    return torch.cat([moved[:, :, :2], moved[:, :, 2:] + first[:, :, 2:]], dim=2)


def rotation(degrees: Tensor) -> Tensor:
    """Return the maps that turn images to the left by these angles, (B, 2, 3)."""
    import torch

    angle = degrees.double() * (math.pi / 180)
    cosine, sine, zero = angle.cos(), angle.sin(), torch.zeros_like(angle)
    return torch.stack([cosine, -sine, zero, sine, cosine, zero], dim=1).reshape(-1, 2, 3)


def stretching(across: Tensor, down: Tensor, right: Tensor | None = None, below: Tensor | None = None) -> Tensor:
    """Return the maps that show a window of such shares of width and height, its middle so far from that of the image."""
    import torch

    zero = torch.zeros_like(across)
    right, below = zero if right is None else right, zero if below is None else below
    return torch.stack([across, zero, right, zero, down, below], dim=1).reshape(-1, 2, 3)


@augmentation
class Affine(Augmentation):
    """A random affine map. Abstract: subclasses give `matrix`."""

    def matrix(self, shape: tuple[int, int], draws: Draws) -> Tensor:
        """Return a map for each row of images of (height, width), float64, (B, 2, 3)."""
        raise NotImplementedError

    def change(self, x: Tensor, draws: Draws) -> Tensor:
        return resampled(x, self.matrix((x.shape[-2], x.shape[-1]), draws))


@augmentation
class Rotate(Affine):
    """Turn each image about its middle by an angle drawn evenly from `-degrees` to `degrees`; what comes in is mirrored.

    Args:
        degrees: in (0, 180].

    Source: Simard, Steinkraus, Platt, Best Practices for Convolutional Neural Networks Applied to Visual Document Analysis,
    2003, https://doi.org/10.1109/ICDAR.2003.1227801.

    >>> rotate(15)
    rotate(15)
    """

    degrees: float

    def __post_init__(self) -> None:
        between("degrees", self.degrees, 0, 180, open_start=True)

    def matrix(self, shape: tuple[int, int], draws: Draws) -> Tensor:
        return rotation(draws.spread(self.degrees))


@augmentation
class Scale(Affine):
    """Zoom each image about its middle, in or out, by `exp(u)`, u drawn evenly from `-log factor` to `log factor`.

    What comes in where it shrinks is the image mirrored at its edge.

    Args:
        factor: at most so many times as large, or as small, in [1, 10].

    >>> scale(1.25)
    scale(1.25)
    """

    factor: float

    def __post_init__(self) -> None:
        between("factor", self.factor, 1, 10)

    def matrix(self, shape: tuple[int, int], draws: Draws) -> Tensor:
        shown = draws.spread(math.log(self.factor)).exp()
        return stretching(shown, shown)


@augmentation
class Crop(Affine):
    """Show a window of each image, anywhere in it, at the size of the whole: a random resized crop.

    Its area is a share drawn evenly from `area` to 1, its ratio of sides that of the image times `exp(u)`, u drawn evenly from
    `-log ratio` to `log ratio`; a side that would be longer than the image is as long as the image.

    Args:
        area: the smallest share, in (0, 1]; the source takes 0.08, for photographs of some hundred pixels.
        ratio: how far from the image's own the ratio of sides may be, in [1, 10].

    Source: Szegedy et al., Going Deeper with Convolutions, 2015, arXiv:1409.4842.

    >>> crop(0.5)
    crop(0.5)
    """

    area: float
    ratio: float = 4 / 3

    def __post_init__(self) -> None:
        between("area", self.area, 0, 1, open_start=True)
        between("ratio", self.ratio, 1, 10)

    def matrix(self, shape: tuple[int, int], draws: Draws) -> Tensor:
        height, width = shape
        share = self.area + (1 - self.area) * draws.uniform(0).double()
        side, narrower = share.sqrt(), (draws.spread(math.log(self.ratio), 1) / 2).exp()
        across, down = (side * narrower).clamp(max=1.0), (side / narrower).clamp(max=1.0)
        return stretching(across, down, (1 - across) * draws.spread(width / 2, 2), (1 - down) * draws.spread(height / 2, 3))


rotate = Rotate
scale = Scale
crop = Crop
