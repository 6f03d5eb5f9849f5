"""The network that suits the data, sized in closed form from their shape and their number."""

from __future__ import annotations

import math

from ..forms import Form
from .sequences import bag_of_words, gru
from .specs import MAX_STAGES, ModelSpec, linear_model, mlp, residual_cnn

SOME_ROWS, MANY_ROWS = 2_000, 10_000
FEW_NUMBERS = 64  # beyond, reading each as waves costs more than the layers that follow
FEW_ROWS_LOOKUP = 2  # numbers of a category: with more, those that say nothing were learned by heart
SMALL_IMAGE = 12  # images no wider than this go to an MLP by default


def default_model(form: Form, num_rows: int) -> ModelSpec:
    """Return the network that suits rows of this form, so many of them to train on.

    That for images halves them until 4 to 8 pixels are left of the shorter side.

    Few rows of a table go through an MLP with much dropout, categories that are looked up as two numbers each; from 2,000 rows
    on it reads numbers as waves, unless they are very many, and from 10,000 on it is wider.
    """
    match form.kind:
        case "image":
            return _image_model(*form.shape[-2:])
        case "sound" if form.each_step:
            return gru(bidirectional=True, dropout=0.2)
        case "sound":
            return residual_cnn(width=16, stages=3)
        case "text":
            return bag_of_words()
        case "language":
            return gru(width=256, embedding=128, ngrams=4, buckets=2**14, dropout=0.2)
        case "series":
            return linear_model()
    return _table_model(form, num_rows)


def _image_model(height: int, width: int) -> ModelSpec:
    if max(height, width) <= SMALL_IMAGE:
        return mlp((128, 128), norm="batch")
    return residual_cnn(stages=max(1, min(MAX_STAGES, int(math.log2(min(height, width) / 4)))))


def _table_model(form: Form, num_rows: int) -> ModelSpec:
    if num_rows < SOME_ROWS:
        return mlp((128, 128), dropout=0.4, lookup=FEW_ROWS_LOOKUP if form.codes else None)
    few = 0 < len(form.numbers) <= FEW_NUMBERS
    if num_rows < MANY_ROWS:
        return mlp((128, 128), dropout=0.3, waves=16 if few else 0)
    return mlp((192, 192), dropout=0.1, waves=32 if few else 0)
