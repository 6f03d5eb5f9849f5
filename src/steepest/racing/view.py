"""Watching a race: a live table on a terminal, a line now and then in a plain log."""

from __future__ import annotations

import sys
import time
from collections import defaultdict
from typing import Any

from ..progress import LINE_EVERY_S, short_time, way_to_show
from .plan import FINALS, SCREENING, SEARCH, Plan, best_of_search, times
from .statistics import median_interval
from .trials import Outcome


class View:
    """Shows how far a race is. `show` None: where somebody watches; `lines`: a line every ten seconds elsewhere."""

    def __init__(self, plan: Plan, headline: str, show: bool | None = None, *, lines: bool = False) -> None:
        self.plan, self.headline = plan, headline
        self._live: Any = None
        self._way = way_to_show(show, lines)
        self._began = self._told = time.monotonic()
        self._outcomes: list[Outcome] = []
        self._total, self._stage = plan.num_trials(), "starting processes"

    def __enter__(self) -> View:
        if self._way == "bar":
            from rich.console import Console
            from rich.live import Live

            self._live = Live(self.table(), console=Console(stderr=True), refresh_per_second=8, transient=True)
            self._live.start()
        elif self._way == "lines":
            print(self.headline, file=sys.stderr, flush=True)
        return self

    def __exit__(self, *_: object) -> None:
        if self._live is not None:
            self._live.stop()

    def stage(self, name: str) -> None:
        """Say what is going on now."""
        if not self._outcomes:
            self._began = time.monotonic()  # starting processes says nothing about how long a trial takes
        self._stage = name
        if self._live is not None:
            self._live.update(self.table())
        elif self._way == "lines":
            print(f"{name} ...", file=sys.stderr, flush=True)

    def see(self, outcome: Outcome) -> None:
        """Take one finished trial."""
        self._outcomes.append(outcome)
        if self._live is not None:
            self._live.update(self.table())
        elif self._way == "lines" and time.monotonic() - self._told >= LINE_EVERY_S:
            self._told = time.monotonic()
            print(self._status(), file=sys.stderr, flush=True)

    def _status(self) -> str:
        trials = {(o.trial.contender, o.trial.stage, o.trial.recipe, o.trial.seed) for o in self._outcomes}  # the paused once
        done, spent = len(trials), time.monotonic() - self._began
        left = short_time(spent * max(self._total - done, 0) / done) if done else "?"
        return f"{self._stage}: trial {done} of about {self._total}, {short_time(spent)} so far, about {left} left"

    def table(self) -> Any:
        """Return what the terminal shows now."""
        from rich import box
        from rich.console import Group
        from rich.table import Table
        from rich.text import Text

        table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
        table.add_column("recipe")
        for stage in (SEARCH, SCREENING, FINALS):
            table.add_column(stage, justify="right")
        table.add_column("steps to target")
        done: dict[tuple[str, str], int] = defaultdict(int)
        for outcome in self._outcomes:
            done[outcome.trial.contender, outcome.trial.stage] += 1
        for name in self.plan.names:
            stage = next((s for s in (FINALS, SCREENING, SEARCH) if done[name, s]), None)
            table.add_row(name, *(self._count(done, name, s) for s in (SEARCH, SCREENING, FINALS)), self._steps(name, stage))
        return Group(Text(self.headline), table, Text(self._status()))

    def _count(self, done: dict[tuple[str, str], int], name: str, stage: str) -> str:
        if not done[name, stage]:
            return ""
        one = self.plan.contender(name)
        whole = {SEARCH: len(one.recipes), SCREENING: self.plan.seeds}
        if one.pool is not None:  # its trials are paused and gone on with, as many times as it takes
            del whole[SEARCH]
        return f"{done[name, stage]}/{whole[stage]}" if stage in whole else str(done[name, stage])  # as many as it takes

    def _steps(self, name: str, stage: str | None) -> str:
        if stage is None:
            return ""
        steps = times(self._outcomes, name, stage)
        if stage == SEARCH:
            steps = best_of_search(self._outcomes, name)
        middle, low, high = median_interval(steps)
        if middle == float("inf"):
            return "-"
        return f"{middle:.0f}" if len(steps) < 2 else f"{middle:.0f} [{low:.0f}, {high:.0f}]"
