"""The networks in Keras's own layers, on JAX or on torch (setting `backend`); initial weights drawn as torch draws them.

Reads the command line when it is imported: Keras is told its backend, and JAX its threads, before either is.
"""

from __future__ import annotations

import itertools
import os
from typing import Any

from common import Job, job

asked = job()
os.environ["KERAS_BACKEND"] = asked.settings["backend"]
if asked.settings["backend"] == "jax":
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: asked.threads])  # how XLA is told its threads

import keras  # noqa: E402
import numpy as np  # noqa: E402
from keras import initializers, layers  # noqa: E402

WIDTH, LAYERS, HEADS, STATES, VECTOR = 128, 4, 4, 128, 64


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


def several(*widths: int) -> keras.Model:
    """Dense layers with ReLU between."""
    pairs = list(itertools.pairwise(widths))
    parts = [dense(a, b, "relu") for a, b in pairs[:-1]]
    return keras.Sequential([layers.Input(widths[:1]), *parts, dense(*pairs[-1])])


def convolutional(channels: int, side: int, classes: int) -> keras.Model:
    first, second = convolution(channels, 32), convolution(32, 64)
    parts = [first, layers.MaxPooling2D(2), second, layers.MaxPooling2D(2), layers.Flatten()]
    shape = (channels, side, side) if keras.config.image_data_format() == "channels_first" else (side, side, channels)
    return keras.Sequential([layers.Input(shape), *parts, dense(64 * (side // 4) ** 2, 1024, "relu"), dense(1024, classes)])


def words(length: int, vocabulary: int, classes: int) -> keras.Model:
    table = layers.Embedding(vocabulary, VECTOR, mask_zero=True)
    mean = layers.GlobalAveragePooling1D("channels_last")
    return keras.Sequential([layers.Input((length,), dtype="int32"), table, mean, dense(VECTOR, classes)])


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
    """Set threads, and return the network of a work."""
    if asked.settings["backend"] == "torch":
        import torch

        torch.set_num_threads(asked.threads)
        keras.config.set_image_data_format("channels_first")
    if asked.network == "mlp":
        return several(784, 64, 64, 10)
    if asked.network == "table":
        return several(asked.shape[0], 128, 128, 2)
    if asked.network == "dense":
        return several(*asked.widths)
    if asked.network == "cnn":
        return convolutional(asked.shape[0], asked.shape[1], asked.classes)
    if asked.network == "words":
        return words(asked.shape[0], asked.vocabulary, asked.classes)
    if asked.network == "lstm":
        return recurrent(tuple(asked.shape), asked.classes)
    return transformer(asked.vocabulary, asked.shape[0])


def inputs(name: str) -> np.ndarray:
    X = asked.array(name)
    if X.ndim == 4 and keras.config.image_data_format() == "channels_last":
        return X.transpose(0, 2, 3, 1).copy()
    return X
