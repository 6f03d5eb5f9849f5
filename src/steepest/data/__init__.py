"""Data: what is learned from, loaded, checked, cleaned, split in four and handed out by index."""

from .core import Data
from .loading import builtin, load, read_images
from .memory import arrays
from .tables import read_table

__all__ = ["Data", "arrays", "builtin", "load", "read_images", "read_table"]
