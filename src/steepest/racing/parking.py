"""Parking: where a trial that is paused waits on the disk, until it goes on exactly where it was."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from ..checkpoints import Checkpoints, Packed
from ..errors import InputError
from ..training.setup import Training
from ..training.snapshots import restore

Curve = list[tuple[int, float, float]]  # step, training loss, watched metric


@dataclass(frozen=True)
class Parking:
    """One trial's place. What cannot be written, or read back, costs time only: the trial begins anew, and makes the same
    steps.
    """

    folder: Path

    def leave(self, state: Packed, curve: Curve, step: int) -> None:
        """Leave a training's state after a step, and the evaluations that were made up to it."""
        seen = Packed.of({"curve": [list(point) for point in curve]})
        with suppress(OSError, InputError):
            before = Checkpoints(self.folder).newest()
            Checkpoints(self.folder).write(Packed(state.document | seen.document, state.tensors), step)
            if before is not None:
                shutil.rmtree(before.folder, ignore_errors=True)

    def empty(self) -> None:
        """Remove what was left: the trial is over."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def take_up(self, prepared: Callable[[], Training], most: int) -> tuple[Training, Curve]:
        """Return a training that goes on where it was left, at a step up to `most`, and what was seen of it; else one anew."""
        training = prepared()
        try:
            left = Checkpoints(self.folder).newest()
            if left is None or left.step > most:
                return training, []
            state = dict(left.state)
            curve = [(int(step), float(loss), float(value)) for step, loss, value in state.pop("curve")]
            restore(training, state, times=False)
        except (InputError, OSError, KeyError, TypeError, ValueError):
            return prepared(), []
        return training, curve


@dataclass(frozen=True)
class ParkingLot:
    """Where the paused trials of a race wait.

    Args:
        folder: of the race; what lies in it is removed when it is no longer needed.
    """

    folder: Path

    def place_of(self, contender: int, recipe: int) -> Parking:
        """Return the place of a recipe's training."""
        return Parking(self.folder / str(contender) / str(recipe))

    def clear(self, contender: int | None = None) -> None:
        """Remove what waits here, of one contender or of all."""
        shutil.rmtree(self.folder if contender is None else self.folder / str(contender), ignore_errors=True)
