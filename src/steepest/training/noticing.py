"""What is worth telling before a training begins: things that train, though hardly as they were meant."""

from __future__ import annotations

import numpy as np
from torch import Tensor, nn

from ..data import Data
from ..objectives import Objective

FAR, NARROW = 10.0, 0.01  # of labels as they are: a mean or deviation beyond, a deviation below


def notes_of(data: Data, objective: Objective, model: nn.Module, outputs: Tensor) -> tuple[str, ...]:
    """Return what to tell, a line each; `outputs` is what the network gives for a few rows."""
    found = [_of_labels(data, objective)]
    if objective.reads_logits:
        found.append(_of_outputs(objective, model, outputs))
    return tuple(note for note in found if note)


def _of_labels(data: Data, objective: Objective) -> str:
    """Numbers that are learned as they are, far from where networks begin."""
    if data.targets.kind != "regression" or data.scaling != "none" or not objective.scales_targets:
        return ""
    if np.ndim(data.target_scale[0]) or data.target_scale != (0.0, 1.0):  # of a series, which has its own
        return ""
    values = data.targets.values[data.parts["train"]]
    columns = values.reshape(len(values), -1)
    means, deviations = columns.mean(axis=0), columns.std(axis=0)
    far = np.flatnonzero((np.abs(means) > FAR) | (deviations > FAR) | (deviations < NARROW))
    if not len(far):
        return ""
    at = far[0]
    return (
        f"the labels are learned as they are, and lie far from mean 0 and deviation 1 (mean {means[at]:.4g}, deviation "
        f"{deviations[at]:.4g}), where training is slow or fails; scale them, or have them scaled: "
        "steepest.fit(net, steepest.arrays(X, y))"
    )


def _of_outputs(objective: Objective, model: nn.Module, outputs: Tensor) -> str:
    """Probabilities where logits are read: another softmax or logistic function then flattens loss and gradients."""
    last = next((module for module in reversed(list(model.modules())) if not list(module.children())), None)
    sums = outputs.sum(dim=-1)
    normal = bool((outputs >= 0).all()) and bool(((sums - 1).abs() < 1e-4).all()) and outputs.ndim > 1
    squashed = bool((outputs >= 0).all()) and bool((outputs <= 1).all())
    if normal and (outputs.shape[-1] > 1 or isinstance(last, nn.Softmax)):
        end = "Softmax"
    elif squashed and isinstance(last, nn.Sigmoid):
        end = "Sigmoid"
    else:
        return ""
    return f"the network ends in {end}, and {objective!r} makes probabilities of its outputs itself; leave {end} out"
