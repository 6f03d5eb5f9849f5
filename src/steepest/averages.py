"""Weights to evaluate with, where a rule keeps others than those of the training; and the watch that they are not mixed up."""

from __future__ import annotations

import weakref
from collections.abc import Iterable, Sequence
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor, nn

from .errors import InputError
from .rules import Link
from .state import TRAINING, held


def averaged(
    p: Tensor, state: dict[str, Any], links: Iterable[Link], names: Iterable[dict[str, str]], lr: float
) -> Tensor | None:
    """Return the weights to evaluate a parameter with, those of the last link that keeps others; None: the parameter's own."""
    found = None
    for link, keys in zip(links, names, strict=True):
        scalars = SimpleNamespace(**link.transform.scalars(int(state["step"]), lr))
        weights = link.transform.evaluated(p, SimpleNamespace(**held(state, link, keys)), scalars)
        found = found if weights is None else weights
    return found


def swap_in(params: Iterable[Tensor], states: Any, links: Sequence[Link], names: Sequence[dict[str, str]], lr: float) -> None:
    """Put the weights to evaluate with into parameters that were updated; those of the training wait in their state."""
    for p in params:
        if (state := states.get(p, {})).get("step", 0) > 0:
            weights = averaged(p, state, links, names, lr)
            if weights is not None:
                state[TRAINING] = p.detach().clone()
                p.copy_(weights)


def swap_out(params: Iterable[Tensor], states: Any) -> None:
    """Put the weights of the training back."""
    for p in params:
        if TRAINING in states.get(p, {}):
            p.copy_(states[p].pop(TRAINING))


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
        if optimizer is None or not optimizer.begun or self._model is None or self._model() is not module:
            return
        if not module.training and not torch.is_grad_enabled() and not optimizer.evaluating:
            raise InputError("the model is about to be evaluated with the weights of the training; call optimizer.eval() first")
        if module.training and torch.is_grad_enabled() and optimizer.evaluating:
            raise InputError("the model is about to be trained with the weights for evaluation; call optimizer.train() first")

    def __reduce__(self) -> tuple[type[Watch], tuple[()]]:
        return Watch, ()
