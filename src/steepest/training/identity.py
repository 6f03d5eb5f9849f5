"""What tells one training's machine and network from another's."""

from __future__ import annotations

import hashlib
import platform

import numpy as np
import torch
from torch import nn

from ..machine import name_of_device


def versions(device: torch.device) -> dict[str, str]:
    """Return what a result depends on beside the seed: package versions, device, threads."""
    from .. import __version__

    return {
        "steepest": __version__,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "numpy": np.__version__,
        "platform": platform.platform(),
        "device": name_of_device(device),
        "threads": str(torch.get_num_threads()),
    }


def weights_sha256(model: nn.Module) -> str:
    """Return a fingerprint of all weights and buffers: names, shapes, dtypes and bytes."""
    digest = hashlib.sha256()
    for name, tensor in sorted(model.state_dict().items()):
        if not isinstance(tensor, torch.Tensor):  # of `get_extra_state`
            digest.update(f"{name} {tensor!r}".encode())
            continue
        digest.update(f"{name} {tuple(tensor.shape)} {tensor.dtype}".encode())
        digest.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def layers_sha256(model: nn.Module) -> str:
    """Return a fingerprint of what a network says it is made of, and of the kinds of its numbers."""
    kinds = [(name, str(p.dtype), p.requires_grad) for name, p in model.named_parameters()]
    return hashlib.sha256(f"{model!r} {kinds}".encode()).hexdigest()
