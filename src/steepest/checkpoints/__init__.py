"""Checkpoints: the whole state of something, on the disk, so that a kill at any moment loses no more than the last one."""

from .store import Checkpoint, Checkpoints, Packed
from .trees import check_keys, leaves_of

__all__ = ["Checkpoint", "Checkpoints", "Packed", "check_keys", "leaves_of"]
