"""skorch without validation split and the callbacks that print and score; torch's fused Adam."""

from __future__ import annotations

import time

import torch
from common import job, scores, tell
from networks import Loss, begin, count, outputs
from skorch import NeuralNet


def main() -> None:
    asked = job()
    net = NeuralNet(
        begin(asked),
        criterion=Loss,
        optimizer=torch.optim.Adam,
        optimizer__fused=True,
        lr=asked.lr,
        batch_size=asked.batch,
        max_epochs=asked.epochs,
        iterator_train__shuffle=True,
        train_split=None,
        callbacks__print_log=None,
        callbacks__train_loss=None,
        callbacks__valid_loss=None,
        callbacks__epoch_timer=None,
        verbose=0,
    ).initialize()
    X, y = asked.array("X_train"), asked.array("y_train")
    began = time.perf_counter()
    net.partial_fit(X, y)  # goes on with the network that stands there
    seconds = time.perf_counter() - began
    found = outputs(net.module_, torch.from_numpy(asked.array("X_test")))
    net.save_params(f_params=str(asked.out / "model.pt"))
    tell(asked, seconds, scores(found.numpy(), asked.array("y_test")), ("skorch", "torch"), parameters=count(net.module_))


if __name__ == "__main__":
    main()
