"""Keras, on JAX or on torch (setting `backend`), with its own layers; initial weights drawn as torch draws them.

`fit` compiles at the first batch; how long that took is told apart.
"""

from __future__ import annotations

import os
import time
from typing import Any

from common import Job, job, scores, tell

asked = job()
os.environ["KERAS_BACKEND"] = asked.settings["backend"]
if asked.settings["backend"] == "jax":
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: asked.threads])  # how XLA is told its threads

import keras  # noqa: E402
import numpy as np  # noqa: E402
from keras import initializers, layers  # noqa: E402

WIDTH, LAYERS, HEADS, STATES = 128, 4, 4, 128


# An initializer draws the same numbers each time it is asked, so every tensor gets one of its own.


def uniform(inputs: int) -> initializers.Initializer:
    """Draw as torch's Linear and Conv2d do."""
    return initializers.RandomUniform(-(inputs**-0.5), inputs**-0.5)


def dense(inputs: int, width: int, activation: str | None = None) -> layers.Layer:
    """A layer with the initial weights of torch's Linear."""
    return layers.Dense(width, activation, kernel_initializer=uniform(inputs), bias_initializer=uniform(inputs))


def convolution(channels: int, filters: int) -> layers.Layer:
    begin = {name: uniform(25 * channels) for name in ("kernel_initializer", "bias_initializer")}
    return layers.Conv2D(filters, 5, padding="same", activation="relu", **begin)


def convolutional() -> keras.Model:
    parts = [convolution(1, 32), layers.MaxPooling2D(2), convolution(32, 64), layers.MaxPooling2D(2), layers.Flatten()]
    shape = (1, 28, 28) if keras.config.image_data_format() == "channels_first" else (28, 28, 1)
    return keras.Sequential([layers.Input(shape), *parts, dense(3136, 1024, "relu"), dense(1024, 10)])


def small() -> initializers.Initializer:
    return initializers.RandomNormal(stddev=0.02)


def mixed(width: int, activation: str | None = None) -> layers.Layer:
    return layers.Dense(width, activation, kernel_initializer=small())


class Positions(layers.Layer):
    """Adds a learned line of numbers for each step."""

    def build(self, shape: tuple[int, ...]) -> None:
        self.lines = self.add_weight(shape=shape[1:], initializer=small(), name="lines")

    def call(self, steps: Any) -> Any:
        return steps + self.lines


def transformer(vocabulary: int, context: int) -> keras.Model:
    tokens = layers.Input((context,), dtype="int32")
    x = Positions()(layers.Embedding(vocabulary, WIDTH, embeddings_initializer=small())(tokens))
    for _ in range(LAYERS):
        h = layers.LayerNormalization(epsilon=1e-5)(x)
        x = x + layers.MultiHeadAttention(HEADS, WIDTH // HEADS, kernel_initializer=small())(h, h, use_causal_mask=True)
        h = layers.LayerNormalization(epsilon=1e-5)(x)
        x = x + mixed(WIDTH)(mixed(4 * WIDTH, "gelu")(h))
    x = layers.LayerNormalization(epsilon=1e-5)(x)
    return keras.Model(tokens, mixed(vocabulary)(x))


def recurrent(shape: tuple[int, int], classes: int) -> keras.Model:
    begin = {f"{name}_initializer": uniform(STATES) for name in ("kernel", "recurrent", "bias")}
    lstm = layers.LSTM(STATES, return_sequences=True, unit_forget_bias=False, **begin)
    mean = layers.GlobalAveragePooling1D("channels_last")  # else the format of images says what it is taken over
    return keras.Sequential([layers.Input(shape), lstm, mean, dense(STATES, classes)])


def network(asked: Job) -> keras.Model:
    if asked.network == "mlp":
        return keras.Sequential([layers.Input((784,)), dense(784, 64, "relu"), dense(64, 64, "relu"), dense(64, 10)])
    if asked.network == "table":
        inputs = asked.shape[0]
        return keras.Sequential([layers.Input((inputs,)), dense(inputs, 128, "relu"), dense(128, 128, "relu"), dense(128, 2)])
    if asked.network == "cnn":
        return convolutional()
    if asked.network == "lstm":
        return recurrent(tuple(asked.shape), asked.classes)
    return transformer(asked.vocabulary, asked.shape[0])


class FirstStep(keras.callbacks.Callback):
    """Remember when the second call began, and after how many batches: until then, Keras compiled."""

    def __init__(self) -> None:
        super().__init__()
        self.at, self.batches = 0.0, 0

    def on_train_batch_begin(self, batch: int, logs: Any = None) -> None:
        if batch and not self.at:
            self.at, self.batches = time.perf_counter(), batch


def inputs(name: str) -> np.ndarray:
    X = asked.array(name)
    if X.ndim == 4 and keras.config.image_data_format() == "channels_last":
        return X.transpose(0, 2, 3, 1).copy()
    return X


def main() -> None:
    keras.utils.set_random_seed(asked.seed)
    if asked.settings["backend"] == "torch":
        import torch

        torch.set_num_threads(asked.threads)
        keras.config.set_image_data_format("channels_first")
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
