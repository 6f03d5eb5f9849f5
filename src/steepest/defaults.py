"""The recipe that suits the data: what is taken where the caller says nothing."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import torch
from torch import nn

from . import augmentations, models, rules, schedules
from .forms import Form
from .models.defaults import MANY_ROWS, SOME_ROWS
from .recipes import Recipe
from .rules import Rule


def default_recipe(form: Form, num_rows: int, model: Any = None, *, rule: Rule | None = None) -> Recipe:
    """Return the recipe `fit` uses when told none, by what a row looks like, how many there are, and the network.

    Where the rule is known already, no network is built to choose one by its matrices.

    A bag of words takes steps that are too large for other networks of texts: on TREC, over one fold of its training file, they
    brought a transformer from an accuracy of 0.819 to 0.786.
    """
    kind = form.kind
    if kind == "image":
        return _image_recipe(form, num_rows, rule or _muon(0.01, form, model))
    if kind == "text" and (model is None or isinstance(model, models.bag_of_words)):
        rule = rules.adamw(0.02, weight_decay=0.05, schedule=schedules.cosine(warmup=0.1))
        return Recipe(rule, batch=32, epochs=8, name="default")
    if kind == "text":
        rule = rules.adamw(0.003, weight_decay=0.1, schedule=schedules.cosine(warmup=0.1))
        return Recipe(rule, batch=32, epochs=6, name="default")
    if kind == "sound" and form.each_step:
        return Recipe(rule or _muon(0.01, form, model), batch=16, epochs=_epochs(SPEECH_HEARD, num_rows), name="default")
    if kind == "sound" or (form.kind == "array" and form.is_sequence):
        return Recipe(rule or _muon(0.01, form, model), batch=32, epochs=_epochs(SOUNDS_HEARD, num_rows), name="default")
    if kind == "series":
        return _series_recipe(model)
    if kind == "language":
        rule = rules.adamw(0.004, b2=0.99, weight_decay=0.5, schedule=schedules.one_cycle())
        epochs = _passes(num_rows * form.shape[0])
        return Recipe(rules.chain(rules.clip_global_norm(1.0), rule), batch=16, epochs=epochs, name="default")
    return _table_recipe(form, num_rows, model, rule)


# Rows altogether, of which so many were enough.
ROWS_READ, IMAGES_SEEN, SOUNDS_HEARD, SPEECH_HEARD = 150_000, 160_000, 20_000, 12_000
CHARACTERS_READ, GROWTH = 1_230_000, 2_050  # of a text that is to be continued: altogether at least, and of a longer one


def _epochs(altogether: int, num_rows: int, least: int = 3, most: int = 40) -> int:
    """Return the passes that read so many rows altogether, within bounds."""
    return min(most, max(least, round(altogether / num_rows)))


def _passes(characters: int) -> float:
    """Return the passes over all windows of a text: characters read grow with the square root of how many there are.

    Fewer than `CHARACTERS_READ` had not learned to spell. Of 100,000 characters of tinyshakespeare (359,000 in all windows) 1.7
    times as many were worse (1.61 instead of 1.57 nats); of the whole text in windows that do not overlap (1.0 million) half
    as many were (2.21 instead of 1.97).
    """
    return min(20.0, max(1.05, round(max(CHARACTERS_READ / characters, GROWTH / characters**0.5), 2)))


def _table_recipe(form: Form, num_rows: int, model: Any, known: Rule | None) -> Recipe:
    """A multilayer perceptron, or a network of your own, is held back where rows are few; others of ours stop early instead.

    Smaller steps yet for your own, which may have nothing that holds it back: over five folds of the training rows, three
    times, a plain 128-128 came to an AUC of 0.868 on titanic and 0.841 on pima, and to 0.845 and 0.836 with the steps of ours.
    """
    if isinstance(model, models.linear_model):
        return _linear_recipe(num_rows)
    if isinstance(model, models.additive_model) and num_rows < MANY_ROWS:
        rule = rules.adamw(0.005, weight_decay=0.3, schedule=schedules.cosine(warmup=0.05))
        return Recipe(rule, batch=32, epochs=_epochs(20_000, num_rows, 5, 100), name="default")
    if isinstance(model, models.ModelSpec) and not isinstance(model, models.mlp):
        many = num_rows >= MANY_ROWS
        rule = rules.adamw(0.005 if many else 0.002, weight_decay=0.02, schedule=schedules.cosine(warmup=0.05))
        return Recipe(rule, batch=128 if many else 32, epochs=25 if many else 40, patience=6 if many else 10, name="default")
    if num_rows >= MANY_ROWS:
        rule = known or _muon(0.1, form, model, filters=False)
        return Recipe(rule, batch=256, epochs=_epochs(ROWS_READ, num_rows), name="default")
    rule = rules.adamw(0.003, weight_decay=0.3, schedule=schedules.cosine(warmup=0.05))
    if num_rows >= SOME_ROWS:
        return Recipe(rule, batch=32, epochs=20, patience=5, name="default")
    if model is not None and not isinstance(model, models.ModelSpec):
        rule = rules.adamw(0.001, weight_decay=0.3, schedule=schedules.cosine(warmup=0.05))
        return Recipe(rule, batch=32, epochs=_epochs(8_000, num_rows, 10), name="default")
    return Recipe(rule, batch=32, epochs=_epochs(10_000, num_rows, 15), name="default")


def _linear_recipe(num_rows: int) -> Recipe:
    """Large steps that come to rest: what is linear in its weights has one minimum to go down to."""
    if num_rows >= MANY_ROWS:
        rule = rules.adamw(0.03, weight_decay=0.02, schedule=schedules.cosine(warmup=0.05))
        return Recipe(rule, batch=256, epochs=_epochs(ROWS_READ, num_rows, most=15), name="default")
    rule = rules.adamw(0.02, weight_decay=0.1, schedule=schedules.cosine(warmup=0.05))
    return Recipe(rule, batch=32, epochs=_epochs(25_000, num_rows, 5, 100), name="default")


def _series_recipe(model: Any) -> Recipe:
    """A linear model is drawn to what it begins with, the last value; other networks may stop early.

    On 24 short series (500 to 3,000 steps of three columns of ETTh1, alone or with the others) it left 0.44 of the last value's
    squared error, 0.46 where it began with random weights, and 0.44 to 0.50 with smaller steps and early stopping.
    """
    if model is None or isinstance(model, models.linear_model):
        rule = rules.adamw(0.01, weight_decay=1.0, schedule=schedules.cosine())
        return Recipe(rule, batch=256, epochs=20, name="default")
    return Recipe(rules.adamw(0.003, schedule=schedules.cosine()), batch=128, epochs=20, patience=5, name="default")


def _image_recipe(form: Form, num_rows: int, rule: Rule) -> Recipe:
    """Images are moved by a sixteenth of their side; those in colour, which are rarely text, mirrored too."""
    pixels = min(form.shape[-2:]) // 16
    augment = ((augmentations.flip(),) if form.shape[0] == 3 else ()) + ((augmentations.shift(pixels),) if pixels else ())
    return Recipe(rule, batch=128, epochs=_epochs(IMAGES_SEEN, num_rows), augment=augment, name="default")


LARGEST_SIDE = 512  # of a matrix's two, the smaller, up to which Muon's products are little beside those of the gradient


def _muon(weight_decay: float, form: Form, model: Any, *, filters: bool = True) -> Rule:
    """Muon for matrices and filters, AdamW for the rest, and for models whose matrices are lines: linear and additive ones.

    Muon multiplies a matrix of n by m (n the smaller) about thirty times `n^2 m` numbers a step, whatever the batch: on a layer
    of 1,024 by 3,136 that took about 0.6 s, several times its gradient. Where a matrix is larger than that, all are AdamW's.
    """
    schedule = schedules.one_cycle()
    rest = rules.adamw(0.003, schedule=schedule)
    if isinstance(model, models.linear_model | models.additive_model):
        return rest
    muon = rules.muon(0.02, weight_decay=weight_decay, schedule=schedule)
    small = _largest_side(form, model) <= LARGEST_SIDE
    if not filters:
        return rules.split(matrices=muon, rest=rest) if small else rest
    if not small:
        return rules.split(convolutions=muon, rest=rest)
    return rules.split(matrices=muon, convolutions=muon, rest=rest)


def _largest_side(form: Form, model: Any) -> int:
    """Return the smaller side of the largest matrix of a network; 0 where there is none, or where it cannot be built."""
    with suppress(Exception), torch.random.fork_rng(devices=[]):  # what is wrong is told where it is built to be trained
        if isinstance(model, models.ModelSpec):
            model = model.build(form, 1)
        elif model is not None and not isinstance(model, nn.Module):
            model = model()
        layers = () if model is None else model.modules()
        return max((min(layer.weight.shape) for layer in layers if isinstance(layer, nn.Linear)), default=0)
    return 0
