"""What a training is built of: the device, the network, and the loss function, tried out on two rows."""

from __future__ import annotations

import copy
import math
from typing import Any

import torch
from torch import Tensor, nn

from ..data.parts import Part
from ..errors import InputError, blaming
from ..forms import Form
from ..models import ModelSpec
from ..models.modes import as_in_evaluation
from ..models.whitening import Whiten
from ..objectives import LossFunction, Objective, OwnObjective
from ..recipes import Recipe
from ..tasks import Task

FIRST_ROWS = 1024  # of which layers learn that learn before the training


def choose_device(device: str | torch.device | None = None) -> torch.device:
    """Return the device named, else the first CUDA device, else the CPU."""
    if device is not None:
        with blaming(f"device {str(device)!r}"):
            where = torch.device(device)
            torch.zeros(1, device=where)  # asks the backend whether it is there
        if where.type == "meta":
            raise InputError("a meta device holds no numbers to train; name one such as 'cpu'")
        return where
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def chosen_model(task: Task, recipe: Recipe) -> Any:
    """Return the network of the recipe, of the task, or the default one, as it was given."""
    chosen = recipe.model if recipe.model is not None else task.model
    return task.default_model() if chosen is None else chosen


def build_model(
    task: Task, recipe: Recipe, objective: Objective | None = None, *, in_place: bool = False
) -> tuple[nn.Module, ModelSpec | None]:
    """Return the network of the recipe, of the task, or the default one, and the value that built it if one did.

    A module is copied, so that every training starts from the weights it was given with.
    """
    chosen = chosen_model(task, recipe)
    if isinstance(chosen, ModelSpec):
        targets = task.data.targets
        num_outputs = targets.num_outputs if objective is None else objective.num_outputs(targets)
        with blaming(repr(chosen)):
            return chosen.build(task.data.form, num_outputs), chosen
    if isinstance(chosen, nn.Module):
        return (chosen if in_place else copy.deepcopy(chosen)), None
    if callable(chosen):
        with blaming("the model function"):
            made = chosen()
        if isinstance(made, nn.Module):
            return made, None
        raise InputError(f"the model function must return an nn.Module (got {type(made).__name__})")
    raise InputError(f"a model is a value such as mlp((64, 64)), an nn.Module or a function returning one (got {chosen!r})")


def loss_of(objective: Objective, task: Task, outputs: Tensor, targets: Tensor) -> LossFunction:
    """Return the loss function of an objective; raise unless it fits the labels, and what the network gave for a few rows."""
    objective.check(task.data.targets, width_of(outputs, task.data.form))
    loss = objective.loss(task.data, outputs.device)
    if isinstance(objective, OwnObjective):
        objective.try_out(loss, outputs, targets)
    return loss


def first_rows(train: Part) -> Tensor:
    return torch.arange(min(2, len(train)), device=train.targets.device)


def placed(model: nn.Module, spec: ModelSpec | None, train: Part, device: torch.device) -> nn.Module:
    """Return the network where it is trained. One that was built anew learns what it learns before its training, from the first
    rows of the training part; one that was given stays as it was.
    """
    model = model.to(device)
    layers = [module for module in model.modules() if isinstance(module, Whiten)]
    if spec is not None and layers:
        rows = train.take(torch.arange(min(FIRST_ROWS, len(train)), device=train.targets.device))[0]
        for layer in layers:
            layer.begin_from(rows)
    return model


def try_out(model: nn.Module, train: Part, form: Form) -> tuple[Tensor, Tensor]:
    """Run two rows through the network and return what it gives, and their targets; also settles lazy layers."""
    inputs, targets = train.take(first_rows(train))
    what = f"the network, on inputs of shape {tuple(inputs.shape)},"
    with as_in_evaluation(model), torch.no_grad(), blaming(what):
        result = model(inputs)
    if not isinstance(result, Tensor) or result.ndim == 0 or len(result) != len(inputs):
        got = tuple(result.shape) if isinstance(result, Tensor) else type(result).__name__
        raise InputError(f"the network must return a tensor with one row per input (got {got} for {len(inputs)} inputs)")
    if not result.is_floating_point():
        raise InputError(f"the network must return real numbers (got {result.dtype})")
    if form.each_step and result.ndim != 3:
        raise InputError(f"the network must answer every step, (rows, steps, classes) (got shape {tuple(result.shape)})")
    if not form.each_step and train.targets.dtype == torch.int64 and result.ndim > 2:
        raise InputError(f"the network must return one number a class, (rows, classes) (got shape {tuple(result.shape)})")
    return result, targets


def width_of(outputs: Tensor, form: Form) -> int:
    """Return how many numbers a network gives a row, or a step where each is answered."""
    if form.each_step:
        return outputs.shape[-1]
    return 1 if outputs.ndim == 1 else math.prod(outputs.shape[1:])
