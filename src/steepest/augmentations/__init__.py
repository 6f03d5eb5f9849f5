"""Augmentations: random changes to the rows of a batch, in training alone, as frozen values.

What is drawn is a function of (seed, epoch, row, which augmentation): neither the size of batches nor the order of the work
changes it.
"""

from .affine import Affine, Crop, Rotate, Scale, crop, rotate, scale
from .applying import augmented, check_all
from .core import Augmentation, Batch, Source, as_augmentations
from .draws import Draws
from .images import Cutout, Flip, Noise, Shift, cutout, flip, noise, shift
from .mixing import Cutmix, Mixup, cutmix, mixup
from .sounds import MaskFrequencies, MaskTimes, mask_frequencies, mask_times
from .tables import Jitter, Swap, jitter, swap

NAMES = (
    "crop", "cutmix", "cutout", "flip", "jitter", "mask_frequencies", "mask_times", "mixup", "noise", "rotate", "scale",
    "shift", "swap",
)  # for recipes  # fmt: skip

__all__ = [
    "NAMES",
    "Affine",
    "Augmentation",
    "Batch",
    "Crop",
    "Cutmix",
    "Cutout",
    "Draws",
    "Flip",
    "Jitter",
    "MaskFrequencies",
    "MaskTimes",
    "Mixup",
    "Noise",
    "Rotate",
    "Scale",
    "Shift",
    "Source",
    "Swap",
    "as_augmentations",
    "augmented",
    "check_all",
    "crop",
    "cutmix",
    "cutout",
    "flip",
    "jitter",
    "mask_frequencies",
    "mask_times",
    "mixup",
    "noise",
    "rotate",
    "scale",
    "shift",
    "swap",
]
