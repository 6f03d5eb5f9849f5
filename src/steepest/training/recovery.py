"""A loss that is no number: back to the last good state at half the rate, and if that does not help, what went wrong where."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from ..checkpoints import Packed
from ..data.archives import free_memory
from ..errors import InputError
from ..gradient import GradientFunction, plain
from .autopsy import Watch, told, without_shortcuts
from .following import Follower
from .loop import Events
from .setup import Training
from .snapshots import is_good, restore, taken

log = logging.getLogger("steepest")

MOST = 3  # steps back in one training
SHARE = 0.25  # of the free memory that a second state may take

# has the loop go on from where the training stands, with the gradient function that is made of the caller's
Begin = Callable[[Callable[[GradientFunction], GradientFunction]], Events]


@dataclass
class Recovery:
    """Keeps the last good state of a training in memory, and goes back to it.

    A state is good where the loss since the evaluation before, and every weight, is a finite number. On a CPU the loss of
    every step is looked at, on a device the mean at an evaluation: to look is to wait.

    Attributes:
        follower: of the training.
        most: how often it steps back before it gives up.
    """

    follower: Follower
    most: int = MOST
    _good: Packed | None = None
    _tries: int = 0  # since the good state was kept

    @property
    def is_possible(self) -> bool:
        """Whether another step back may be made."""
        return self._good is not None and len(self.follower.stepped_back) < self.most

    def keep(self) -> None:
        """Keep the state between two steps, if it is good."""
        t = self.follower.training
        if self._good is None and _nbytes(t) > SHARE * free_memory():
            self.most = 0  # there is no room for another one
        if not self.most or not is_good(t):
            return
        try:
            self._good, self._tries = taken(t, self.follower, self._good), 0
        except InputError:  # it holds what cannot be copied
            self.most = 0

    def step_back(self) -> bool:
        """Go back to the last good state and halve the learning rate there; return whether that was possible."""
        if not self.is_possible:
            return False
        t, follower = self.follower.training, self.follower
        at, made = t.position.step, follower.stepped_back
        self._tries += 1
        self._go_back(0.5**self._tries)
        told = {"at": at, "to": t.position.step, "lr": [float(group["lr"]) for group in t.optimizer.param_groups]}
        follower.stepped_back = [*made, told]
        if follower.book is not None:
            follower.book.note("stepped back", **told)
        log.warning("the loss at step %d is no finite number: back to step %d, at half the learning rate", at, told["to"])
        return True

    def _go_back(self, factor: float) -> None:
        """Put the last good state back, and multiply its learning rates."""
        assert self._good is not None
        t = self.follower.training
        restore(t, self._good.copied().unpacked(), self.follower, times=False)
        for group in t.optimizer.param_groups:
            group["lr"] = group["lr"] * factor

    def give_up(self, begin: Begin) -> dict[str, Any]:
        """Return where a training broke that does not go on; its network is then that of the last good state.

        From there the training is made again, this time with an eye on every gradient.
        """
        t = self.follower.training
        watch = Watch(plain, t.model)
        if self._good is not None:
            step, rows, curve = self.follower.step, self.follower.rows, self.follower.curve
            back = self.follower.stepped_back
            self._go_back(0.5**self._tries)
            without_shortcuts(t)
            self._make_again(begin, watch, step)
            found = told(t, watch)
            self._go_back(1.0)
            found["good"] = t.position.step  # whose network it is
            self.follower.step, self.follower.rows, self.follower.curve = step, rows, curve
            self.follower.stepped_back = back
            return found
        return told(t, watch) | {"good": 0}

    def _make_again(self, begin: Begin, watch: Watch, last: int) -> None:
        """Make steps until the watch has found something, at most to the step where it broke before."""

        def watching(gradient: GradientFunction) -> GradientFunction:
            watch.gradient = gradient
            return watch

        loop = begin(watching)
        try:
            for event in loop:
                if watch.found is not None or event.step >= last:
                    return
        finally:
            loop.close()


def _nbytes(t: Training) -> int:
    """Return about how many bytes a training's state takes: weights and two moments."""
    return 3 * sum(p.numel() * p.element_size() for p in t.parameters)
