"""The runner of a race: feeds the plan's trials to the workers, stage by stage, and keeps what comes back."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, wait
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from ..errors import InputError
from . import plan as stages
from .bundles import MOST, Bundles, Ready, measured
from .finals import next_block
from .pace import Pace, measure_pace
from .plan import FINALS, SCREENING, SEARCH, Chain
from .processes import LostError
from .result import CRASHED, FINISHED, INTERRUPTED, OUT_OF_TIME, Race
from .trials import FAILED, GIVEN_UP, LOST, Outcome, Trial, run_lanes, run_trial
from .view import View
from .workers import Workers

Known = dict[tuple[Any, ...], Outcome]
PATIENCE = 2  # lost trials after which a contender is given up


def key_of(trial: Trial) -> tuple[Any, ...]:
    return trial.stage, trial.contender, trial.recipe, trial.seed


@dataclass
class Runner:
    """Drives the stages of one race: feeds chains of trials to the workers and writes down what comes back.

    A trial that is lost is an outcome of its recipe, and the race goes on. Lanes that are lost together run one by one, so that
    it is seen which was at fault; a contender with two lost trials is not tried again.
    """

    result: Race
    known: Known
    view: View
    deadline: float | None
    pool: Workers | None = None
    lanes: bool = True  # where that pays
    bundles: Bundles = field(default_factory=Bundles)
    limits: dict[str, Any] = field(default_factory=dict)  # of each process: `memory`, `stall_s`
    _alone: set[tuple[Any, ...]] = field(default_factory=set)  # trials that run by themselves
    _lost: Counter[str] = field(default_factory=Counter)  # trials, by contender

    def run(self, processes: int, threads: int, device: Any) -> None:
        """Run search, screening, pace and finals; stop early on Ctrl-C or when time is up."""
        result, plan = self.result, self.result.plan

        def flow() -> None:
            self.stage(SEARCH, [stages.search(plan, name) for name in plan.names])
            chosen = {name: stages.best_recipe(plan, result.outcomes, name) for name in plan.names}
            running = {name: recipe for name, recipe in chosen.items() if recipe is not None}
            self.stage(SCREENING, stages.screening(plan, running))
            self.check_that_one_trains()
            self.measure_pace(running)
            while result.status == FINISHED and (block := next_block(plan, result.outcomes, result.pace)):
                self.stage(FINALS, stages.alone(plan, FINALS, running, block))

        self.work(flow, processes, threads, device)

    def work(self, flow: Callable[[], None], processes: int, threads: int, device: Any) -> None:
        """Have processes, and do with them what is to be done; how that ends is the race's status."""
        result = self.result
        try:
            with timed(result.seconds, "workers"):
                self.view.stage("starting processes")
                self.pool = Workers(result.task, processes, threads, device, **self.limits)
                self.pool.start()
            self._choose_lanes()
            flow()
        except KeyboardInterrupt:
            result.status = INTERRUPTED
        except LostError as error:
            result.status, result.facts["crash"] = CRASHED, str(error)
        finally:
            if self.pool is not None:
                self.pool.close()

    def check_that_one_trains(self) -> None:
        """Raise what the first trial failed of, where every one has failed."""
        outcomes = self.result.outcomes
        if outcomes and all(outcome.status in (FAILED, GIVEN_UP) for outcome in outcomes):
            raise InputError(f"every trial failed: {outcomes[0].error}")

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

    def measure_pace(self, running: dict[str, int]) -> None:
        """Measure what a step costs of each that was not given up.

        A race that goes on keeps what it had measured, which its verdicts depend on.
        """
        result, plan = self.result, self.result.plan
        whole = {name: recipe for name, recipe in running.items() if self._lost[name] < PATIENCE}
        if self._time_is_up() or result.status != FINISHED or not whole or set(result.pace.rounds) == set(whole):
            return
        assert self.pool is not None
        with timed(result.seconds, "pace"):
            self.view.stage("measuring the cost of a step, in turns")
            recipes = [plan.contender(name).recipes[i] for name, i in whole.items()]
            result.pace = Pace(dict(zip(whole, self.pool.call(measure_pace, recipes), strict=True)))
        if result.book is not None:
            result.book.append("pace", rounds=result.pace.rounds)

    def _time_is_up(self) -> bool:
        if self.deadline is not None and time.time() > self.deadline:
            self.result.status = OUT_OF_TIME
        return self.result.status == OUT_OF_TIME

    def stage(self, name: str, chains: Iterable[Chain]) -> None:
        """Run the chains of a stage, side by side."""
        if self.result.status != FINISHED:
            return
        self.view.stage(name)
        with timed(self.result.seconds, name):
            self._drain(list(chains))

    def _drain(self, chains: list[Chain]) -> None:
        """Run chains side by side, in their order, never more calls at once than there are processes."""
        assert self.pool is not None
        ready = [one for chain in chains if (one := self._advance(chain, None)) is not None]
        running: dict[Future[Any], list[Ready]] = {}
        while ready or running:
            while ready and len(running) < self.pool.processes and not self._time_is_up():
                taken = self._take(ready)
                if (hopeless := self._given_up(taken[0][0])) is not None and len(taken) == 1:
                    ready[:0] = self._kept(taken, [hopeless])
                else:
                    running[self._submit(taken)] = taken
            if not running:
                return
            done, _ = wait(running, return_when=FIRST_COMPLETED)
            for future in done:
                ready[:0] = self._came(running.pop(future), future)

    def _take(self, ready: list[Ready]) -> list[Ready]:
        """Take trials off the list that run as one."""
        assert self.pool is not None
        if key_of(ready[0][0]) in self._alone:
            return [ready.pop(0)]
        others = [one for one in ready if key_of(one[0]) not in self._alone]
        taken = self.bundles.take(others, self.pool.processes)
        for one in taken:
            ready.remove(one)
        return taken

    def _submit(self, taken: list[Ready]) -> Future[Any]:
        """Start trials where they run: one alone, or several as lanes of one computation."""
        assert self.pool is not None
        if len(taken) == 1:
            trial, recipe, _ = taken[0]
            return self.pool.submit(run_trial, recipe, trial, self.deadline)
        trials, recipes = [trial for trial, _, _ in taken], [recipe for _, recipe, _ in taken]
        return self.pool.submit(run_lanes, recipes, trials, self.deadline)

    def _came(self, taken: list[Ready], future: Future[Any]) -> list[Ready]:
        """Keep what came back, or that nothing did; return what may begin now, lanes that were lost one by one."""
        try:
            came = future.result()
        except Exception as error:
            if len(taken) > 1:  # of them, one is at fault
                self._alone |= {key_of(trial) for trial, _, _ in taken}
                return taken
            came = Outcome.lost(taken[0][0], error)
        return self._kept(taken, came if isinstance(came, list) else [came])

    def _kept(self, taken: list[Ready], outcomes: list[Outcome | None]) -> list[Ready]:
        """Keep outcomes, None where time was up before; return what may begin now."""
        found = []
        for (_, _, chain), outcome in zip(taken, outcomes, strict=True):
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
            known = self.known.get(key_of(job))
            outcome = known or self._given_up(job)
            if outcome is None:
                return job, self.result.plan.contender(job.contender).recipes[job.recipe], chain
            self._keep(outcome, new=known is None)

    def _given_up(self, trial: Trial) -> Outcome | None:
        """Return the outcome of a trial that is not run, because others of its contender were lost."""
        return Outcome.given_up(trial) if self._lost[trial.contender] >= PATIENCE else None

    def _keep(self, outcome: Outcome, *, new: bool) -> None:
        self.result.outcomes.append(outcome)
        self._lost[outcome.trial.contender] += outcome.status in LOST
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
