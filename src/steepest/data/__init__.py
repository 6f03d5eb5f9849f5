"""Data: what is learned from, loaded, checked, cleaned, split in four and handed out by index."""

from .core import Data
from .labelled import read_texts
from .language import read_characters
from .loading import builtin, load, read_images
from .memory import arrays
from .recordings import read_sounds
from .series import read_series
from .streams import stream
from .tables import read_table

__all__ = [
    "Data",
    "arrays",
    "builtin",
    "load",
    "read_characters",
    "read_images",
    "read_series",
    "read_sounds",
    "read_table",
    "read_texts",
    "stream",
]
