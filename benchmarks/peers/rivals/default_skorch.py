"""skorch as its README begins: SGD without momentum, batches of 128, a learning rate of 0.1; of numbers, its default 0.01."""

from __future__ import annotations

from typing import Any

import torch
from common import job
from curves import Curve
from networks import Loss, begin, outputs
from skorch import NeuralNet
from skorch.callbacks import Callback


class EachEpoch(Callback):
    def __init__(self, curve: Curve, X: torch.Tensor) -> None:
        self.curve, self.X = curve, X

    def on_epoch_end(self, net: NeuralNet, *args: Any, **kwargs: Any) -> None:
        self.curve.add(outputs(net.module_, self.X).numpy())
        net.module_.train()


def main() -> None:
    asked = job()
    curve, X_test = Curve(asked), torch.from_numpy(asked.array("X_test"))
    net = NeuralNet(
        begin(asked),
        criterion=Loss,
        lr=0.01 if asked.metric == "rmse" else 0.1,
        max_epochs=asked.epochs,
        iterator_train__shuffle=True,
        train_split=None,
        callbacks=[("each_epoch", EachEpoch(curve, X_test))],
        callbacks__print_log=None,
        verbose=0,
    ).initialize()
    net.partial_fit(asked.array("X_train"), asked.array("y_train"))  # goes on with the network that stands there
    curve.tell("skorch", "torch")


if __name__ == "__main__":
    main()
