"""Keras, on JAX or on torch (setting `backend`). `fit` compiles at the first batch; how long that took is told apart."""

from __future__ import annotations

import time
from typing import Any

import numpy as np
from common import scores, tell
from keras_networks import asked, inputs, keras, network


class FirstStep(keras.callbacks.Callback):
    """Remember when the second call began, and after how many batches: until then, Keras compiled."""

    def __init__(self) -> None:
        super().__init__()
        self.at, self.batches = 0.0, 0

    def on_train_batch_begin(self, batch: int, logs: Any = None) -> None:
        if batch and not self.at:
            self.at, self.batches = time.perf_counter(), batch


def main() -> None:
    keras.utils.set_random_seed(asked.seed)
    model = network(asked)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    optimizer = keras.optimizers.Adam(asked.lr, epsilon=1e-8)
    model.compile(optimizer, loss, steps_per_execution=asked.settings.get("steps_per_execution", 1))
    X, y, first = inputs("X_train"), asked.array("y_train").astype(np.int32), FirstStep()
    began = time.perf_counter()
    model.fit(X, y, batch_size=asked.batch, epochs=asked.epochs, shuffle=True, verbose=0, callbacks=[first])
    seconds = time.perf_counter() - began
    whole = max(size for size in range(1, 257) if asked.test_rows % size == 0)  # no smaller last batch to compile for
    found = model.predict(inputs("X_test"), batch_size=whole, verbose=0)
    model.save(asked.out / "model.keras")
    packages = ("keras", asked.settings["backend"])
    told = {"parameters": model.count_params(), "first_step_seconds": first.at - began}
    told["first_rows"] = first.batches * asked.batch
    tell(asked, seconds, scores(found, asked.array("y_test")), packages, **told)


if __name__ == "__main__":
    main()
