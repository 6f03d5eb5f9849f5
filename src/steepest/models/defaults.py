"""The network that suits the data, sized in closed form from their shape and their number."""

from __future__ import annotations

import math

from ..forms import Form
from .sequences import bag_of_words, gru
from .specs import MAX_STAGES, ModelSpec, linear_model, mlp, residual_cnn

MANY_ROWS = 10_000
SMALL_IMAGE = 12  # images no wider than this go to an MLP by default


def default_model(form: Form, num_rows: int) -> ModelSpec:
    """Return the network that suits rows of this form, so many of them to train on.

    That for images halves them until 4 to 7 pixels are left of the shorter side.

    Tables of 10,000 rows or more get a wider MLP with dropout; on tables of a few hundred rows the small one was as good.
    """
    match form.kind:
        case "image":
            return _image_model(*form.shape[-2:])
        case "sound":
            return residual_cnn(width=16, stages=3)
        case "text":
            return bag_of_words()
        case "language":
            return gru(width=256, embedding=128, ngrams=4, buckets=2**14, dropout=0.3)
        case "series":
            return linear_model()
    return mlp((256, 256), dropout=0.2) if num_rows >= MANY_ROWS else mlp((128, 64))


def _image_model(height: int, width: int) -> ModelSpec:
    if max(height, width) <= SMALL_IMAGE:
        return mlp((128, 128), norm="batch")
    return residual_cnn(stages=max(1, min(MAX_STAGES, int(math.log2(min(height, width) / 4)))))
