"""The runner of a race: feeds the plan's trials to the workers, stage by stage, and keeps what comes back."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, BrokenExecutor, Future, wait
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from . import plan as stages
from .pace import Pace, measure_pace
from .plan import FINALS, SCREENING, SEARCH, Chain
from .result import CRASHED, FINISHED, INTERRUPTED, OUT_OF_TIME, Race
from .trials import Outcome, Trial, run_trial
from .view import View
from .workers import Workers

Known = dict[tuple[Any, ...], Outcome]


def key_of(trial: Trial) -> tuple[Any, ...]:
    return trial.stage, trial.contender, trial.recipe, trial.seed


@dataclass
class Runner:
    """Drives the stages of one race: feeds chains of trials to the workers and writes down what comes back."""

    result: Race
    known: Known
    view: View
    deadline: float | None
    pool: Workers | None = None

    def run(self, processes: int, threads: int, device: Any) -> None:
        """Run search, pace, screening and finals; stop early on Ctrl-C or when time is up."""
        result, plan = self.result, self.result.plan
        kill = True  # unless all went well
        try:
            with timed(result.seconds, "workers"):
                self.view.stage("starting processes")
                self.pool = Workers(result.task, processes, threads, device)
                self.pool.wait()
            self._stage(SEARCH, [stages.search(plan, name) for name in plan.names])
            chosen = {name: stages.best_recipe(plan, result.outcomes, name) for name in plan.names}
            running = {name: recipe for name, recipe in chosen.items() if recipe is not None}
            if not running or self._time_is_up():
                return
            with timed(result.seconds, "pace"):
                self.view.stage("measuring the cost of a step, in turns")
                recipes = [plan.contender(name).recipes[i] for name, i in running.items()]
                rounds = self.pool.submit(measure_pace, recipes).result()
                result.pace = Pace(dict(zip(running, rounds, strict=True)))
            self._stage(SCREENING, stages.by_seed(plan, SCREENING, running))
            finalists = stages.finalists(plan, result.outcomes, result.pace)
            self._stage(FINALS, stages.by_seed(plan, FINALS, {name: running[name] for name in finalists}))
            kill = False
        except KeyboardInterrupt:
            result.status = INTERRUPTED
        except BrokenExecutor:
            result.status = CRASHED
        finally:
            if self.pool is not None:
                self.pool.close(kill)

    def _time_is_up(self) -> bool:
        if self.deadline is not None and time.time() > self.deadline:
            self.result.status = OUT_OF_TIME
        return self.result.status == OUT_OF_TIME

    def _stage(self, name: str, chains: Iterable[Chain]) -> None:
        if self.result.status != FINISHED:
            return
        self.view.stage(name)
        with timed(self.result.seconds, name):
            self._drain(list(chains))

    def _drain(self, chains: list[Chain]) -> None:
        """Run chains side by side, in their order, never more at once than there are processes."""
        assert self.pool is not None
        waiting = chains[::-1]
        running: dict[Future[Outcome | None], Chain] = {}
        while waiting or running:
            while waiting and len(running) < self.pool.processes and not self._time_is_up():
                self._advance(waiting.pop(), None, running)
            if not running:
                return
            done, _ = wait(running, return_when=FIRST_COMPLETED)
            for future in done:
                chain, outcome = running.pop(future), future.result()
                if outcome is not None:
                    self._keep(outcome, new=True)
                    self._advance(chain, outcome, running)

    def _advance(self, chain: Chain, outcome: Outcome | None, running: dict[Future[Outcome | None], Chain]) -> None:
        """Send a chain its last outcome and start its next trial; known outcomes are handed in without running."""
        assert self.pool is not None
        while True:
            try:
                job = next(chain) if outcome is None else chain.send(outcome)
            except StopIteration:
                return
            if self._time_is_up():
                return
            found = self.known.get(key_of(job))
            if found is None:
                recipe = self.result.plan.contender(job.contender).recipes[job.recipe]
                running[self.pool.submit(run_trial, recipe, job, self.deadline)] = chain
                return
            self._keep(found, new=False)
            outcome = found

    def _keep(self, outcome: Outcome, *, new: bool) -> None:
        self.result.outcomes.append(outcome)
        if new and self.result.book is not None:
            self.result.book.append("trial", outcome=outcome.to_dict())
        self.view.see(outcome)


@contextmanager
def timed(seconds: dict[str, float], stage: str) -> Iterator[None]:
    """Add the seconds of a block to a stage, however the block ends."""
    began = time.perf_counter()
    try:
        yield
    finally:
        seconds[stage] = seconds.get(stage, 0.0) + time.perf_counter() - began
