"""Keras as it comes: Adam with a learning rate of 0.001 and batches of 32, as `compile("adam")` and `fit` take them."""

from __future__ import annotations

from typing import Any

import numpy as np
from curves import Curve
from keras_networks import asked, inputs, keras, network


class EachEpoch(keras.callbacks.Callback):
    def __init__(self, X: np.ndarray, curve: Curve) -> None:
        super().__init__()
        self.X, self.curve = X, curve

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        self.curve.add(self.model.predict(self.X, batch_size=256, verbose=0))


def main() -> None:
    keras.utils.set_random_seed(asked.seed)
    model, curve, y = network(asked), Curve(asked), asked.array("y_train")
    numbers = asked.metric == "rmse"
    model.compile("adam", "mse" if numbers else keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    y = y if numbers else y.astype(np.int32)
    model.fit(inputs("X_train"), y, epochs=asked.epochs, verbose=0, callbacks=[EachEpoch(inputs("X_test"), curve)])
    curve.tell("keras", asked.settings["backend"])


if __name__ == "__main__":
    main()
