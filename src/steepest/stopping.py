"""Stops from outside: Ctrl-C and a scheduler's SIGTERM are noted, and met between two steps."""

from __future__ import annotations

import signal
import threading
from typing import Any

OURS = {signal.SIGINT: (signal.default_int_handler,), signal.SIGTERM: (signal.SIG_DFL,)}


class Stops:
    """`with stops:` the first SIGINT or SIGTERM sets `asked`; a second one stops at once, as it would have without this.

    Only in the main thread, and only in the place of Python's own handlers and of those in `handlers`: whoever has set
    another one is left alone.

    >>> with Stops() as stops:
    ...     signal.raise_signal(signal.SIGTERM)
    >>> stops.asked == signal.SIGTERM
    True
    """

    handlers: set[Any] = set()  # noqa: RUF012  (of the command line, which sets its own)

    def __init__(self) -> None:
        self.asked: signal.Signals | None = None
        self._before: dict[signal.Signals, Any] = {}

    def __enter__(self) -> Stops:
        if threading.current_thread() is threading.main_thread():
            for number, ours in OURS.items():
                now = signal.getsignal(number)
                if now in ours or now in self.handlers:
                    self._before[number] = now
                    signal.signal(number, self._note)
        return self

    def __exit__(self, *error: Any) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _note(self, number: int, frame: Any) -> None:
        del frame
        if self.asked is not None:
            raise KeyboardInterrupt
        self.asked = signal.Signals(number)
