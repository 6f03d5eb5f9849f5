"""Race: what came of it - every finished trial, the leaderboard, the winner."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..data.findings import counted
from ..errors import InputError
from ..reach import Reach
from ..recipes import Recipe, read
from ..records import Record, find, reading
from ..tasks import Task
from ..training.run import Run
from .leaderboard import Leaderboard, leaderboard
from .pace import Pace
from .plan import SEARCH, Plan, best_recipe
from .sizes import Size
from .trials import Outcome
from .verdicts import FASTEST, troubles

FINISHED, OUT_OF_TIME, INTERRUPTED, CRASHED = "finished", "out of time", "interrupted", "a worker process died"


@dataclass
class Race:
    """What came of a race.

    Attributes:
        id: the record's id, or None when nothing was recorded.
        task: what was raced on.
        plan: the conditions.
        outcomes: every finished trial.
        pace: what an update of each contender costs, measured in turns.
        seconds: wall-clock seconds by stage.
        status: `"finished"`, `"out of time"`, `"interrupted"` or `"a worker process died"`.
    """

    id: str | None
    task: Task
    plan: Plan
    outcomes: list[Outcome]
    pace: Pace
    seconds: dict[str, float]
    status: str
    facts: dict[str, Any] = field(repr=False, default_factory=dict)
    book: Record | None = field(repr=False, default=None)

    def keep_winner(self, run: Run) -> None:
        """Note in the record which run was trained with the winner, so that a report can show it."""
        if self.book is not None and run.id is not None:
            self.book.append("winner", run=run.id)

    def leaderboard(self) -> Leaderboard:
        """Return the table of who reached the target when, with intervals and verdicts."""
        sizes = {name: Size(**size) for name, size in self.facts.get("sizes", {}).items()}
        return leaderboard(self.plan, self.outcomes, self.pace, sizes)

    @property
    def best(self) -> Recipe:
        """The winner's recipe, to train with: `fit(task, race.best)`."""
        winner = self.leaderboard().winner
        if winner is None:
            raise InputError(self.why_nobody_won())
        chosen = best_recipe(self.plan, self.outcomes, winner)
        return self.plan.contender(winner).recipes[chosen or 0]

    def why_nobody_won(self) -> str:
        """Return why there is no winner, with the nearest that anybody came."""
        goal = Reach.recorded(self.plan.reach)
        if hits := [outcome for outcome in self.outcomes if outcome.reached_at is not None]:
            first = min(hits, key=lambda outcome: outcome.reached_at or 0)
            best = f"{first.trial.contender} at lr {first.trial.lr:g} after {first.reached_at} steps"
            return f"{self.status} before anyone was judged; the first to reach {self.plan.reach} so far was {best}"
        values = [outcome.best for outcome in self.outcomes if outcome.best == outcome.best]
        best = (max if goal.larger_is_better else min)(values, default=None)
        nearest = f" (the nearest was {best:.4g})" if best is not None else ""
        return f"no recipe reached {self.plan.reach}{nearest}; lower the target, or allow more epochs or time"

    def found(self) -> list[str]:
        """Return what was found in each space, a line each."""
        lines = []
        for one in self.plan.contenders:
            if one.pool is None or not one.is_tuned or (chosen := best_recipe(self.plan, self.outcomes, one.name)) is None:
                continue
            tried = {o.trial.recipe for o in self.outcomes if (o.trial.contender, o.trial.stage) == (one.name, SEARCH)}
            lost = troubles(self.outcomes, one.name, SEARCH)
            ranks = self.facts.get("early_ranks", {}).get(one.name)
            told = f"; ranks after a third of the time told the end by {ranks[0]:.2f}, {ranks[1]} recipes" if ranks else ""
            lines.append(f"{one.name}: {one.recipes[chosen]!r}, the best of {counted(len(tried), 'recipes')}{lost}{told}")
        sure = [row for row in self.leaderboard().rows if row.reached == row.seeds >= self.plan.seeds]
        if sizes := [(row.size.num_parameters, row.recipe, row.size.cells) for row in sure if row.size is not None]:
            _, name, (count, latency) = min(sizes)
            told = f"{count} parameters, {latency} ms a row"
            lines.append(f"smallest network that reached the target with every seed: {name} ({told})")
        return lines

    @property
    def proven(self) -> bool:
        """Whether the winner is proven to be the fastest of the finalists."""
        board = self.leaderboard()
        return board.winner is not None and board.rows[0].verdict.startswith(FASTEST)

    def to_dict(self) -> dict[str, Any]:
        """Return the race as a document, the same as `steepest race --json`."""
        board = self.leaderboard()
        return {
            "id": self.id,
            "task": self.task.name,
            "reach": self.plan.reach,
            "baseline": self.plan.baseline,
            "leaderboard": board.to_list(),
            "best": None if board.winner is None else {"recipe": board.winner, "text": repr(self.best)},
            "proven": self.proven,
            "spaces": {one.name: one.pool.space.text for one in self.plan.contenders if one.pool is not None},
            "found": self.found(),
            "why_nobody": None if board.winner is not None else self.why_nobody_won(),
            "status": self.status,
            "search_seconds": self.seconds.get(SEARCH, 0.0),
            "search_trials": sum(outcome.trial.stage == SEARCH for outcome in self.outcomes),
            "total_seconds": sum(self.seconds.values()),
            "stages": self.seconds,
            "trial_seconds": self._trial_seconds(),
            **self.facts,
        }

    def _trial_seconds(self) -> dict[str, float]:
        """Seconds inside trials, added up over all processes."""
        train = sum(outcome.train_seconds for outcome in self.outcomes)
        return {"train": train, "evaluate and set up": sum(outcome.seconds for outcome in self.outcomes) - train}

    def __repr__(self) -> str:
        return f"Race({self.id}, {self.task.name}, {len(self.outcomes)} trials, winner {self.leaderboard().winner})"

    def __str__(self) -> str:
        return "\n".join([f"{self.headline()}\n\n{self.leaderboard()}", *self.found()])

    def headline(self) -> str:
        """Return what raced under which conditions, in one line."""
        return headline(self.task, self.plan, self.facts["processes"], self.facts["threads"])

    def _repr_html_(self) -> str:
        from html import escape

        return f"<p>{escape(self.headline())}</p>{self.leaderboard()._repr_html_()}"


def headline(job: Task, plan: Plan, processes: int, threads: int) -> str:
    """Return what races under which conditions, in one line."""
    side_by_side = f"{processes} process{'es' * (processes > 1)} x {threads} thread{'s' * (threads > 1)}"
    spaces = sum(one.pool is not None for one in plan.contenders)
    who = [counted(len(plan.contenders) - spaces, "recipes")] + [counted(spaces, "spaces")] * (spaces > 0)
    return (
        f"{job.data.describe()}   reach {plan.reach}   {' and '.join(who)} (baseline {plan.baseline}), "
        f"{counted(plan.seeds, 'seeds')} (finalists {plan.seeds} to {plan.most_seeds} fresh), {side_by_side}"
    )


def winning_recipe(name: str, home: str | Path | None = None) -> Recipe:
    """Return the winner's recipe of a recorded race."""
    book = find(name, home, kind="race")
    with reading(book):
        end = book.last("end")
        if end is None or end.get("best") is None:
            raise InputError(f"{name} is not a finished race with a winner")
        return read(end["best"]["text"])
