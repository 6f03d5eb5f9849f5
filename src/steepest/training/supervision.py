"""Who watches over a training of `fit`: checkpoints, stops from outside, and a step back where the loss is no number."""

from __future__ import annotations

import logging
import math
import signal
from dataclasses import dataclass
from typing import Any

from ..errors import Interrupted, reason_of
from ..progress import Progress
from ..stopping import Stops
from .autopsy import in_words
from .following import DIVERGED, FAILED, FINISHED, INTERRUPTED, Follower
from .keeping import Keeper
from .loop import EvaluationEvent, Events, StepEvent
from .recovery import Begin, Recovery
from .run import has_weights, save_weights

log = logging.getLogger("steepest")


@dataclass
class Supervisor:
    """Pulls the events of one training to its end.

    Attributes:
        follower: keeps the curve, and says when the training is over.
        keeper: writes checkpoints; None: nothing is recorded.
        recovery: steps back where the loss is no number.
        bar: shows how far it is.
        stops: notes Ctrl-C and SIGTERM.
    """

    follower: Follower
    keeper: Keeper | None
    recovery: Recovery
    bar: Progress
    stops: Stops
    last: int  # the step that a training ends with
    pressed_twice: bool = False  # whether a second Ctrl-C came in a step
    diagnosis: dict[str, Any] | None = None  # where a training broke that did not go on

    def supervise(self, begin: Begin) -> None:
        """Pull events until the end, the target, early stopping, divergence or a stop; `begin` has the loop go on from here."""
        self.recovery.keep()
        while self._breaks(begin(lambda gradient: gradient)):
            if not self.recovery.step_back():
                self.follower.status = DIVERGED
                break
            if self.keeper is not None and self.keeper.every:  # those of before have the rate that broke it
                self.keeper.keep(self.follower.training, self.follower, at_once=True)
        if self.follower.status == DIVERGED:
            self.diagnosis = self.recovery.give_up(begin)
            log.warning("%s", in_words(self.diagnosis))
        self.follower.end()

    def begin_at(self, step: int) -> None:
        """Go on from a step that lies on the disk."""
        if self.keeper is not None:
            self.keeper.begin_at(step)

    @property
    def is_preempted(self) -> bool:
        """Whether who asked for a stop does not wait for what is left to measure, and the state is kept."""
        hurried = self.stops.asked == signal.SIGTERM or self.pressed_twice
        return self.follower.status == INTERRUPTED and hurried and self._is_kept

    @property
    def _is_kept(self) -> bool:
        return self.keeper is not None and bool(self.keeper.store)

    def interrupted(self, command: str | None) -> Interrupted:
        """Return what is raised when a training was stopped, and tell the record; the message says how to go on."""
        book, step, by = self.follower.book, self.follower.step, self.stops.asked == signal.SIGTERM
        said = f"stopped after {step} steps"
        if self.keeper is not None:
            self.keeper.close()
        if book is None:
            return Interrupted(said, by_scheduler=by)
        if self.follower.status != INTERRUPTED:
            return Interrupted(f"stopped when run {book.id} was complete: steepest evaluate {book.id}", by_scheduler=by)
        if not self._is_kept:
            kept = f"; kept as run {book.id}: steepest evaluate {book.id}" if has_weights(book) else "; nothing of it was kept"
            return Interrupted(said + kept, by_scheduler=by)
        if self.is_preempted:
            book.note("stopped", step=step)
        go_on = f"steepest fit --resume {book.id}" if command else f"fit(resume={book.id!r})"
        return Interrupted(f"{said}; go on with: {go_on}", resumable=True, by_scheduler=by)

    def give_up(self, error: Exception) -> None:
        """Close the record of a training that failed: nothing is left of one that never began."""
        book, follower = self.follower.book, self.follower
        if self.keeper is not None:
            self.keeper.close()
        if book is not None and (follower.curve or follower.resumed or self._is_kept):
            book.note("end", status=FAILED, error=str(error), steps=follower.step)
        elif book is not None:
            book.delete()

    def keep_weights(self) -> bool:
        """Write the trained network beside the record; return whether the disk has taken it, and say so where not."""
        book, model = self.follower.book, self.follower.training.model
        assert book is not None
        try:
            save_weights(model, book)
        except OSError as error:
            log.warning(
                "the weights cannot be written to %s (%s): the run that is returned holds them", book.folder, reason_of(error)
            )
            return False
        return True

    def to_dict(self) -> dict[str, Any]:
        """Return what a record keeps of it."""
        follower, keeper = self.follower, self.keeper
        return {
            "checkpoints": None if keeper is None else keeper.to_dict(),
            "resumed": follower.resumed,
            "stepped_back": follower.stepped_back,
            "diverged": self.diagnosis,
        }

    def _breaks(self, loop: Events) -> bool:
        """Pull the events of a loop; return whether it ended in a loss that is no number, and may be tried again."""
        try:
            for event in loop:
                if isinstance(event, EvaluationEvent):
                    if not math.isfinite(event.train_loss) and self.recovery.is_possible:
                        return True
                    if self._evaluated(event):
                        return False
                elif self._stepped(event):
                    return self.follower.status == FINISHED
        except KeyboardInterrupt:
            self.follower.status, self.pressed_twice = INTERRUPTED, self.stops.asked is not None
        finally:
            loop.close()
        return False

    def _evaluated(self, event: EvaluationEvent) -> bool:
        """Take an evaluation; return whether the training ends with it."""
        self.bar.update(event.step, _glance(event))
        if self.follower.sees(event):
            return True
        self.recovery.keep()
        return self._stops()

    def _stepped(self, event: StepEvent) -> bool:
        """Take a step; return whether the loop ends with it: the loss is no number, or somebody has asked for a stop."""
        follower = self.follower
        follower.step = event.step
        follower.rows += event.result.weight
        self.bar.update(event.step)
        if follower.training.position.is_broken:
            return True
        if self._stops():
            return True
        if self.keeper is not None:
            self.keeper.see(follower.training, follower)
        return False

    def _stops(self) -> bool:
        """Return whether somebody has asked for a stop; then the state is kept, unless the last step was made."""
        follower = self.follower
        if self.stops.asked is None or follower.training.position.evaluated == self.last:
            return False
        follower.status = INTERRUPTED
        if self.keeper is not None:
            self.keeper.keep(follower.training, follower, at_once=True)
        return True


def _glance(event: EvaluationEvent) -> str:
    shown = [f"loss {event.train_loss:.4g}"]
    shown += [f"{name} {value:.4g}" for name, value in list(event.metrics.items())[:1]]
    return "  ".join(shown)
