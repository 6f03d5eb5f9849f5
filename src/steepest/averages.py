"""The watch over a model whose weights in training are not those to evaluate with: mixing them up is an error."""

from __future__ import annotations

import weakref
from typing import Any

import torch
from torch import nn

from .errors import InputError


class Watch:
    """A hook before a model's forward pass: refuses to evaluate with the weights of the training, and to train with the others.

    It holds neither the model nor the optimizer, and a copy of the model is not watched.
    """

    def __init__(self, model: nn.Module | None = None, optimizer: Any = None) -> None:
        self._model = weakref.ref(model) if model is not None else None
        self._optimizer = weakref.ref(optimizer) if optimizer is not None else None

    def __call__(self, module: nn.Module, inputs: Any) -> None:
        del inputs
        optimizer = self._optimizer() if self._optimizer else None
        if optimizer is None or not optimizer.state or self._model is None or self._model() is not module:
            return
        if not module.training and not torch.is_grad_enabled() and not optimizer.evaluating:
            raise InputError("the model is about to be evaluated with the weights of the training; call optimizer.eval() first")
        if module.training and torch.is_grad_enabled() and optimizer.evaluating:
            raise InputError("the model is about to be trained with the weights for evaluation; call optimizer.train() first")

    def __reduce__(self) -> tuple[type[Watch], tuple[()]]:
        return Watch, ()
