"""The runner of a race: feeds the plan's trials to the workers, stage by stage, and keeps what comes back."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, BrokenExecutor, Future, wait
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from . import plan as stages
from .bundles import MOST, Bundles, Ready, measured
from .pace import Pace, measure_pace
from .plan import FINALS, SCREENING, SEARCH, Chain
from .result import CRASHED, FINISHED, INTERRUPTED, OUT_OF_TIME, Race
from .trials import Outcome, Trial, run_lanes, run_trial
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
    lanes: bool = True  # where that pays
    bundles: Bundles = field(default_factory=Bundles)

    def run(self, processes: int, threads: int, device: Any) -> None:
        """Run search, pace, screening and finals; stop early on Ctrl-C or when time is up."""
        result, plan = self.result, self.result.plan
        kill = True  # unless all went well
        try:
            with timed(result.seconds, "workers"):
                self.view.stage("starting processes")
                self.pool = Workers(result.task, processes, threads, device)
                self.pool.wait()
            self._choose_lanes()
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

    def _choose_lanes(self) -> None:
        """Measure whether trials are better run as lanes, where there are enough of them."""
        pool, plan = self.pool, self.result.plan
        if not self.lanes or pool is None or pool.device.type != "cpu":
            return  # on a device nothing has been measured of them
        with timed(self.result.seconds, "lanes"):
            self.view.stage("measuring whether trials run faster side by side")
            recipes = [contender.recipes[len(contender.recipes) // 2] for contender in plan.contenders]
            most = min(MOST, -(-len(recipes) * plan.seeds // pool.processes))
            self.bundles = measured(recipes, [plan.seed_of(SCREENING, i) for i in range(plan.seeds)], pool.call, most)
        self.result.facts["lanes"] = [choice.to_dict() for choice in self.bundles.choices]

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
        """Run chains side by side, in their order, never more calls at once than there are processes."""
        assert self.pool is not None
        ready = [one for chain in chains if (one := self._advance(chain, None)) is not None]
        running: dict[Future[Any], list[Chain]] = {}
        while ready or running:
            while ready and len(running) < self.pool.processes and not self._time_is_up():
                taken = self.bundles.take(ready, self.pool.processes)
                running[self._submit(taken)] = [chain for _, _, chain in taken]
            if not running:
                return
            done, _ = wait(running, return_when=FIRST_COMPLETED)
            for future in done:
                chains, came = running.pop(future), future.result()
                ready[:0] = self._finished(chains, came if isinstance(came, list) else [came])

    def _submit(self, taken: list[Ready]) -> Future[Any]:
        """Start trials where they run: one alone, or several as lanes of one computation."""
        assert self.pool is not None
        if len(taken) == 1:
            trial, recipe, _ = taken[0]
            return self.pool.submit(run_trial, recipe, trial, self.deadline)
        trials, recipes = [trial for trial, _, _ in taken], [recipe for _, recipe, _ in taken]
        return self.pool.submit(run_lanes, recipes, trials, self.deadline)

    def _finished(self, chains: list[Chain], outcomes: list[Outcome | None]) -> list[Ready]:
        """Keep what came back; return what may begin now."""
        found = []
        for chain, outcome in zip(chains, outcomes, strict=True):
            if outcome is None:
                self._time_is_up()  # in the middle of the trial
            else:
                self._keep(outcome, new=True)
                found.append(self._advance(chain, outcome))
        return [one for one in found if one is not None]

    def _advance(self, chain: Chain, outcome: Outcome | None) -> Ready | None:
        """Send a chain its last outcome and return its next trial; known outcomes are handed in without running."""
        while True:
            try:
                job = next(chain) if outcome is None else chain.send(outcome)
            except StopIteration:
                return None
            found = self.known.get(key_of(job))
            if found is None:
                return job, self.result.plan.contender(job.contender).recipes[job.recipe], chain
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
