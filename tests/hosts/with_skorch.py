"""Trains through skorch: factories, learning-rate callbacks, clipping, groups by name, saving, pickling and a grid search."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from common import BATCH, PAIRS, STEPS, Checks, Training, digits, main, network, weights
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV
from skorch import NeuralNetClassifier
from skorch.callbacks import Callback, GradientNormClipping, LRScheduler
from torch import nn

import steepest

EPOCHS = 4
ROWS = BATCH * STEPS // EPOCHS


class Rates(Callback):
    """Remember the loss and the learning rate of every batch."""

    def initialize(self) -> Rates:
        self.losses: list[float] = []
        self.rates: list[float] = []
        return self

    def on_batch_end(self, net: NeuralNetClassifier, training: bool = False, loss: Any = None, **_: Any) -> None:
        self.losses.append(loss.item())
        self.rates.extend(float(group["lr"]) for group in net.optimizer_.param_groups)


def classifier(optimizer: Any, *callbacks: Any, **options: Any) -> NeuralNetClassifier:
    return NeuralNetClassifier(
        network,
        criterion=nn.CrossEntropyLoss,
        optimizer=optimizer,
        lr=options.pop("lr", 3e-3),
        batch_size=BATCH,
        max_epochs=EPOCHS,
        train_split=None,
        iterator_train__shuffle=False,
        callbacks=[("rates", Rates), *callbacks],
        verbose=0,
        **options,
    )


def rows() -> tuple[np.ndarray, np.ndarray]:
    pixels, labels = digits(ROWS)
    return pixels.numpy(), labels.numpy()


def seen(net: NeuralNetClassifier) -> Training:
    rates = dict(net.callbacks_)["rates"]
    return Training(rates.losses, rates.rates, weights(net.module_))


def torch_adamw(params: Any, **options: Any) -> torch.optim.Optimizer:
    return torch.optim.AdamW(params, betas=(0.85, 0.98), weight_decay=0.1, **options)


def steepest_adamw(params: Any, lr: float) -> steepest.Optimizer:
    """Make the optimizer of a net: what skorch wants to vary, the learning rate here, is an argument."""
    return steepest.Optimizer(params, steepest.adamw(lr, b1=0.85, b2=0.98, weight_decay=0.1))


def steepest_decayed(params: Any, lr: float, weight_decay: float = 0.0) -> steepest.Optimizer:
    return steepest.Optimizer(params, steepest.adamw(lr, weight_decay=weight_decay))


CALLBACKS: dict[str, Callable[[], tuple[Any, ...]]] = {
    "no callback": lambda: (),
    "LRScheduler at every batch": lambda: (LRScheduler("CosineAnnealingLR", T_max=STEPS, step_every="batch"),),
    "LRScheduler at every epoch": lambda: (LRScheduler("StepLR", step_size=1, gamma=0.5),),
    "LRScheduler on plateau": lambda: (
        LRScheduler("ReduceLROnPlateau", monitor="train_loss", patience=0, factor=0.5, threshold=0.9),
    ),
    "GradientNormClipping": lambda: (GradientNormClipping(0.5),),
}


def check_callbacks(checks: Checks) -> None:
    """The same training with every callback that has to do with the optimizer."""
    for name, callbacks in CALLBACKS.items():
        expected = seen(classifier(torch_adamw, *callbacks()).fit(*rows()))
        checks.equal(f"adamw, {name}", seen(classifier(steepest_adamw, *callbacks()).fit(*rows())), expected)
    for pair in PAIRS:  # skorch hands the learning rate over; a factory may have one of its own
        nets = [classifier(lambda params, lr, make=make: make(params)) for make in (pair.steepest, pair.torch)]
        checks.equal(f"{pair.name}, a factory with its own rate", *(seen(net.fit(*rows())) for net in nets))


def check_groups(checks: Checks) -> None:
    """Groups by name pattern, with learning rates of their own, changed between two fits."""

    def train(factory: Any) -> Training:
        net = classifier(factory, optimizer__param_groups=[("0.*", {"lr": 1e-3})]).fit(*rows())
        net.set_params(optimizer__param_groups__0__lr=5e-3)
        return seen(net.partial_fit(*rows()))

    got, expected = train(steepest_adamw), train(torch_adamw)
    checks.true("groups have rates of their own", set(expected.rates) == {1e-3, 3e-3, 5e-3})
    checks.equal("groups by name pattern", got, expected)


def check_saving(checks: Checks, folder: Path = Path()) -> None:
    """Saved and loaded in the middle, and pickled in the middle, a training goes on as if nothing had been."""

    def net(factory: Any) -> NeuralNetClassifier:
        return classifier(factory, LRScheduler("ExponentialLR", gamma=0.97, step_every="batch"))

    expected = tail(seen(net(torch_adamw).fit(*rows()).partial_fit(*rows())))
    first = net(steepest_adamw).fit(*rows())
    files = {f"f_{part}": folder / f"{part}.saved" for part in ("params", "optimizer", "history")}
    first.save_params(**files)
    loaded = net(steepest_adamw).initialize()
    loaded.load_params(**files)
    nets = {"save_params and load_params": loaded, "pickled": pickle.loads(pickle.dumps(first)), "fitted twice": first}
    for shown, second in nets.items():
        checks.equal(shown, tail(seen(second.partial_fit(*rows()))), expected)
    checks.equal("cloned", tail(seen(clone(first).fit(*rows()).partial_fit(*rows()))), expected)


def tail(training: Training) -> Training:
    """Return the second half: another net knows nothing of what was recorded before."""
    return Training(training.losses[-STEPS:], training.rates[-STEPS:], training.weights)


def check_search(checks: Checks) -> None:
    """A grid search over what the factory takes finds what torch's optimizer finds."""
    grid = {"lr": [1e-4, 1e-2], "optimizer__weight_decay": [0.0, 0.5]}
    results = []
    for factory in (steepest_decayed, torch.optim.AdamW):
        search = GridSearchCV(classifier(factory), grid, cv=2, scoring="accuracy", refit=False, error_score="raise")
        results.append(search.fit(*rows()).cv_results_["mean_test_score"])
    checks.true("a grid search", np.array_equal(*results) and len(set(results[0])) > 1)


if __name__ == "__main__":
    main(check_callbacks, check_groups, check_saving, check_search)
