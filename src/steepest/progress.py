"""Progress with time left: a bar on a terminal and in a notebook, a line every few seconds in a plain log."""

from __future__ import annotations

import importlib.util
import sys
import time
from typing import Any

LINE_EVERY_S = 10.0


def in_notebook() -> bool:
    """Return whether this process is a Jupyter kernel (without importing IPython)."""
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython is not None else None
    return shell is not None and type(shell).__name__ == "ZMQInteractiveShell"


def way_to_show(show: bool | None, lines: bool) -> str:
    """Return "bar", "lines" or "nothing", for what the caller asked and where this process runs.

    A bar needs a terminal, or a notebook with ipywidgets; a notebook without them gets lines.
    """
    if show is False:
        return "nothing"
    if sys.stderr.isatty() or (in_notebook() and importlib.util.find_spec("ipywidgets") is not None):
        return "bar"
    return "lines" if lines or show or in_notebook() else "nothing"


def short_time(seconds: float) -> str:
    """Return a duration as people say it.

    >>> short_time(4.2), short_time(75), short_time(7300)
    ('4.2 s', '1 min 15 s', '2 h 1 min')
    """
    if seconds < 10:
        return f"{seconds:.1f} s"
    if seconds < 60:
        return f"{seconds:.0f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"


class Progress:
    """Shows how far long work is; a context manager.

    Args:
        total: units of work.
        label: what is being done.
        show: True, False, or None for "where somebody watches": a bar on a terminal or in a notebook, else nothing.
        lines: in place of nothing, a line every ten seconds (the command line asks for this).
    """

    def __init__(self, total: int, label: str, show: bool | None = None, *, lines: bool = False) -> None:
        self.total, self.label = total, label
        self._bar: Any = None
        self._way = way_to_show(show, lines)
        self._began = self._told = self._drawn = time.monotonic()

    def __enter__(self) -> Progress:
        if self._way == "bar":
            from rich.console import Console
            from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
            from rich.progress import Progress as Bar

            columns = (
                TextColumn("{task.description}"),
                BarColumn(bar_width=24),
                MofNCompleteColumn(),
                TimeRemainingColumn(compact=True),
                TextColumn("{task.fields[text]}"),
            )
            self._bar = Bar(*columns, console=Console(stderr=True), transient=True, refresh_per_second=8)
            self._bar.start()
            self._task = self._bar.add_task(self.label, total=self.total, text="")
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar is not None:
            self._bar.stop()

    def update(self, done: int, text: str | None = None) -> None:
        """Say that `done` units are finished; cheap enough to be called at every step."""
        now = time.monotonic()
        if self._bar is not None and (now - self._drawn > 0.1 or text is not None or done >= self.total):
            self._drawn = now
            fields = {} if text is None else {"text": text}
            self._bar.update(self._task, completed=done, **fields)
        elif self._way == "lines" and now - self._told >= LINE_EVERY_S:
            self._told = now
            left = (now - self._began) * (self.total - done) / max(done, 1)
            extra = f"  {text}" if text else ""
            print(f"{self.label}  {done}/{self.total}{extra}  about {short_time(left)} left", file=sys.stderr, flush=True)
