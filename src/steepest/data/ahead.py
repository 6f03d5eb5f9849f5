"""Reading ahead: one thread that prepares what will be asked for next, while the step before it is computed."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Self

import numpy as np

HELD_BYTES = 2**26  # of batches that wait
MOST_BATCHES = 8
PATIENCE_S = 0.1  # between two looks at whether anybody still waits
OVER = (np.array([-1]), None)  # no batch is asked for by these places


class ReadAhead:
    """Batches read by a thread in the order in which they will be asked for; a few wait, never more.

    What the thread fails with is raised where the batch is asked for. Leaving the `with` stops the thread.

    Args:
        read: returns the rows at some places.
        batches: the places of each batch to come; may be without end.
        row_bytes: the size of a row, which settles how many batches wait.
    """

    def __init__(self, read: Callable[[np.ndarray], np.ndarray], batches: Iterable[np.ndarray], row_bytes: int) -> None:
        self._read, self._batches, self._row_bytes = read, iter(batches), row_bytes
        self._ready: queue.Queue[Any] = queue.Queue(MOST_BATCHES)
        self._stop = threading.Event()
        self._next: Any = None  # taken from the queue, and not asked for yet
        self._thread: threading.Thread | None = None

    def __enter__(self) -> Self:
        first = next(self._batches, None)
        if first is not None:
            held = max(1, min(MOST_BATCHES, HELD_BYTES // max(len(first) * self._row_bytes, 1)))
            self._ready = queue.Queue(held)
            self._thread = threading.Thread(target=self._work, args=(first,), name="steepest-read-ahead", daemon=True)
            self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        if self._thread is not None:
            self._thread.join()

    def take(self, places: np.ndarray) -> np.ndarray | None:
        """Return the rows at these places if they are those that come next, else None."""
        if self._next is None and self._thread is not None:
            self._next = self._ready.get()
        if isinstance(self._next, BaseException):
            raise self._next
        if self._next is None or not np.array_equal(self._next[0], places):
            return None
        (_, rows), self._next = self._next, None
        return rows

    def _work(self, first: np.ndarray) -> None:
        try:
            for places in self._each(first):
                if not self._put((places, self._read(places))):
                    return
            self._put(OVER)
        except BaseException as error:  # whoever asks for this batch is told
            self._put(error)

    def _each(self, first: np.ndarray) -> Iterator[np.ndarray]:
        yield first
        yield from self._batches

    def _put(self, item: Any) -> bool:
        """Wait until there is room; return whether anybody still waits."""
        while not self._stop.is_set():
            try:
                self._ready.put(item, timeout=PATIENCE_S)
                return True
            except queue.Full:
                continue
        return False
