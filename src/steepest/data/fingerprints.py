"""The fingerprint of a part: whether a training that goes on has the very rows that it began with."""

from __future__ import annotations

import dataclasses
import hashlib
from typing import Any

import numpy as np
import torch
from torch import Tensor

from .lines import Lines
from .parts import Part


def fingerprint(part: Part) -> str:
    """Return the SHA-256 of a part's inputs and targets as they are held; of rows on disk, of the file's name and their places.

    Of a Dataset, whose items are made when they are asked for, and of a stream it sees what is there alone.
    """
    digest = hashlib.sha256(str(len(part)).encode())
    for rows in (part.inputs, part.targets):
        _add(digest, rows)
    return digest.hexdigest()


def _add(digest: Any, value: Any) -> None:
    digest.update(type(value).__name__.encode())
    if isinstance(value, Tensor):
        digest.update(f"{value.dtype} {tuple(value.shape)}".encode())
        if value.numel():
            digest.update(value.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy())
    elif isinstance(value, np.ndarray):
        digest.update(np.ascontiguousarray(value).tobytes())
    elif isinstance(value, Lines):
        digest.update(f"{value.path.rpartition('/')[2]} {value.offset} {value.stored} {value.kind}".encode())
        _add(digest, value.rows)
    elif dataclasses.is_dataclass(value):
        for item in dataclasses.fields(value):
            if item.repr:  # the others are what is kept for speed
                _add(digest, getattr(value, item.name))
