"""The augmentations of a recipe, one after the other; affine ones that are neighbours are one resampling."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import groupby
from typing import TYPE_CHECKING

from .affine import Affine, composed, resampled
from .core import Augmentation, Batch, Source
from .draws import Draws

if TYPE_CHECKING:
    from torch import Tensor

    from ..objectives import Objective


def check_all(augment: Sequence[Augmentation], source: Source, objective: Objective) -> None:
    """Raise unless every augmentation suits the rows and the objective."""
    for each in augment:
        each.check(source, objective)


def augmented(source: Source, augment: Sequence[Augmentation], seed: int, epoch: int, rows: Tensor) -> tuple[Tensor, Tensor]:
    """Return inputs and targets of these rows of the training part, changed by each augmentation in turn."""
    if not augment:
        return source.part.take(rows)
    batch = _changed(source, augment, seed, epoch, rows)
    return batch.inputs, batch.targets


def _changed(source: Source, augment: Sequence[Augmentation], seed: int, epoch: int, rows: Tensor) -> Batch:
    def others(these: Tensor) -> Batch:
        return _changed(source, augment[:place], seed, epoch, these)

    place = 0
    batch = Batch(*source.part.take(rows), Draws(seed, epoch, rows), source, others)
    for affine, run in groupby(augment, lambda each: isinstance(each, Affine)):
        if affine:
            batch, place = _moved(batch, list(run), place)  # type: ignore[arg-type]
            continue
        for each in run:
            batch = each.apply(replace(batch, draws=replace(batch.draws, place=place)))
            place += 1
    return batch


def _moved(batch: Batch, run: list[Affine], place: int) -> tuple[Batch, int]:
    """Return the batch as neighbours move it, all at once: pixels are interpolated but once, and nothing is cut off between."""
    shape = (batch.inputs.shape[-2], batch.inputs.shape[-1])
    matrix = run[0].matrix(shape, replace(batch.draws, place=place))
    for further, each in enumerate(run[1:], place + 1):
        matrix = composed(matrix, each.matrix(shape, replace(batch.draws, place=further)))
    return batch.with_inputs(resampled(batch.inputs, matrix)), place + len(run)
