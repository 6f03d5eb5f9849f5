"""What a step keeps in memory for its way back, counted on a few rows, and how many rows of it fit."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from ..data.archives import free_memory
from ..models.checkpoints import can_be_checkpointed
from ..models.modes import as_in_evaluation
from ..objectives.own import OwnFunction
from ..plans import Plan
from .randomness import RandomStream
from .setup import Training

SHARE = 0.8  # of the free memory that a step may take
BESIDE = 1.5  # times what is kept, for what lives only for a while: the gradients of what is kept


def bytes_kept(training: Training) -> float:
    """Return the bytes that a pass forward keeps for the way back, a row; 0 for a network that cannot be tried out.

    What a pass over two rows keeps beyond one over a single row: masks, say, do not grow with the rows.
    """
    try:
        rows = training.longest_rows()[:1]
        return float(max(0, _kept_by(training, torch.cat([rows, rows])) - _kept_by(training, rows)))
    except (MemoryError, torch.OutOfMemoryError):
        return math.inf
    except Exception:
        return 0.0


def _kept_by(training: Training, rows: Tensor) -> int:
    """Return the bytes that a pass forward over these rows keeps."""
    model = training.model
    weights = {p.untyped_storage().data_ptr() for p in (*model.parameters(), *model.buffers())}
    found: dict[int, int] = {}

    def keep(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in weights:
            found[storage.data_ptr()] = storage.nbytes()
        return tensor

    with (
        RandomStream(training.seed, training.device),
        as_in_evaluation(model),  # batch normalisation takes no single row in training
        torch.enable_grad(),
        torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor),
    ):
        held = model(rows)  # what it holds is not given to another tensor meanwhile
    del held
    return sum(found.values())


def room(device: torch.device) -> int:
    """Return the bytes that are free on a device."""
    if device.type == "cuda":
        kept = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)  # by torch, for tensors to come
        return torch.cuda.mem_get_info(device)[0] + kept
    return free_memory()


def within_memory(training: Training) -> Plan:
    """Return the plan of a step that fits into the free memory: all rows at once where they do, else some, or checkpoints.

    A network that normalises over the batch is another one in pieces: it is checkpointed, where it has blocks. What does not
    fit, and cannot be made to, is tried as it stands; so is a loss of the caller's own, which may compare rows with each other.
    """
    row, free = bytes_kept(training) * BESIDE, SHARE * room(training.device)
    if row * training.batch <= free:
        return Plan()
    mixes = any(isinstance(m, nn.modules.batchnorm._BatchNorm) for m in training.model.modules())
    if mixes:
        return Plan(checkpointing=can_be_checkpointed(training.model))
    if isinstance(training.objective, OwnFunction):  # which may compare rows with each other
        return Plan()
    return Plan(micro_batch=1 << max(0, int(free // row).bit_length() - 1))
