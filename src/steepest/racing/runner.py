"""The runner of a race: feeds the plan's trials to the workers, stage by stage, and keeps what comes back."""

from __future__ import annotations

import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, wait
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from ..errors import InputError
from . import plan as stages
from .bundles import MOST, Bundles, Ready, measured
from .contenders import Contender
from .costs import ROUNDS, STEPS, StepCosts
from .finals import next_block
from .pace import Pace, measure_pace
from .parking import Parking, ParkingLot
from .plan import FINALS, SCREENING, SEARCH, Chain
from .processes import LostError
from .result import CRASHED, FINISHED, INTERRUPTED, OUT_OF_TIME, Race
from .samplers import Asked
from .searching import rank_correlation, waves
from .sizes import measure_size, networks_race
from .trials import FAILED, GIVEN_UP, LOST, Outcome, Trial, run_lanes, run_trial
from .view import View
from .workers import Workers

Known = dict[tuple[Any, ...], Outcome]
Culprit = tuple[str, int | None]  # a contender; of a space one of its recipes
PATIENCE = 2  # lost trials after which a contender is given up


def key_of(trial: Trial) -> tuple[Any, ...]:
    return trial.stage, trial.contender, trial.recipe, trial.seed, trial.max_steps


@dataclass
class Runner:
    """Drives the stages of one race: feeds chains of trials to the workers and writes down what comes back.

    A trial that is lost is an outcome of its recipe, and the race goes on. Lanes that are lost together run one by one, so that
    it is seen which was at fault; a contender with two lost trials is not tried again, of a space the one recipe.
    """

    result: Race
    known: Known
    view: View
    deadline: float | None
    pool: Workers | None = None
    lanes: bool = True  # where that pays
    bundles: Bundles = field(default_factory=Bundles)
    limits: dict[str, Any] = field(default_factory=dict)  # of each process: `memory`, `stall_s`
    sampler: Any = None  # of Optuna's
    _alone: set[tuple[Any, ...]] = field(default_factory=set)  # trials that run by themselves
    _lost: Counter[Culprit] = field(default_factory=Counter)  # trials, by whose they were
    _paused: ParkingLot | None = None

    def run(self, processes: int, threads: int, device: Any) -> None:
        """Run search, screening, pace and finals; stop early on Ctrl-C or when time is up."""
        result, plan = self.result, self.result.plan

        def flow() -> None:
            self.stage(SEARCH, [stages.search(plan, one.name) for one in plan.contenders if one.pool is None])
            self.search_spaces()
            chosen = {name: stages.best_recipe(plan, result.outcomes, name) for name in plan.names}
            running = {name: recipe for name, recipe in chosen.items() if recipe is not None}
            self.stage(SCREENING, stages.screening(plan, running))
            self.check_that_one_trains()
            self.measure_pace(running)
            self.measure_sizes(running)
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
            if self._paused is not None and (result.book is None or result.status == FINISHED):
                self._paused.clear()

    def search_spaces(self) -> None:
        """Search the spaces, one after the other, wave by wave. What a search found out is a fact of the race."""
        for one in self.result.plan.contenders:
            if one.pool is None or not one.is_tuned:
                continue
            for number, wave in enumerate(self._waves(one), 1):
                self._alone |= {key_of(trial) for trial in wave}  # lanes cannot be paused
                self.stage(SEARCH, map(stages.single, wave), f"search of {one.name}, wave {number}")
                if self.result.status != FINISHED:
                    return
            told = rank_correlation(self.result.plan, self.result.outcomes, one.name)
            self.result.facts.setdefault("early_ranks", {})[one.name] = told
            self._lot().clear(self.result.plan.names.index(one.name))

    def _lot(self) -> ParkingLot:
        """Return where paused trials wait: beside the record, so that a race that was killed goes on with them."""
        if self._paused is None:
            book = self.result.book
            self._paused = ParkingLot(book.folder / "paused" if book else Path(tempfile.mkdtemp(prefix="steepest-")))
        return self._paused

    def _waves(self, one: Contender) -> Iterator[list[Trial]]:
        """Yield the waves of a search, each after the one before has come back."""
        pool = self.pool
        assert pool is not None
        known = self.result.facts.setdefault("step_costs", {}).setdefault(one.name, {})
        costs = StepCosts(one.recipes, known, lambda recipes: pool.call(measure_pace, recipes, ROUNDS, STEPS), self._keep_costs)
        search = waves(self.result.plan, one, costs, None if self.sampler is None else Asked(self.sampler))
        wave = next(search, None)
        while wave is not None:
            yield wave
            found = {key_of(o.trial): o for o in self.result.outcomes}
            try:
                wave = search.send([found[key_of(trial)] for trial in wave])
            except StopIteration:
                return

    def _keep_costs(self) -> None:
        """Keep what was measured of steps: a race that goes on must not measure it again."""
        if self.result.book is not None:
            self.result.book.append("step_costs", costs=self.result.facts["step_costs"])

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
            recipes = [one.recipes[0 if one.pool else len(one.recipes) // 2] for one in plan.contenders]
            most = min(MOST, -(-len(recipes) * plan.seeds // pool.processes))
            self.bundles = measured(recipes, [plan.seed_of(SCREENING, i) for i in range(plan.seeds)], pool.call, most)
        self.result.facts["lanes"] = [choice.to_dict() for choice in self.bundles.choices]

    def measure_pace(self, running: dict[str, int]) -> None:
        """Measure what a step costs of each that was not given up.

        A race that goes on keeps what it had measured, which its verdicts depend on.
        """
        result, plan = self.result, self.result.plan
        trials = {name: plan.trial(SCREENING, name, recipe, 0) for name, recipe in running.items()}
        whole = {name: recipe for name, recipe in running.items() if self._given_up(trials[name]) is None}
        if self._time_is_up() or result.status != FINISHED or not whole or set(result.pace.rounds) == set(whole):
            return
        assert self.pool is not None
        with timed(result.seconds, "pace"):
            self.view.stage("measuring the cost of a step, in turns")
            recipes = [plan.contender(name).recipes[i] for name, i in whole.items()]
            result.pace = Pace(dict(zip(whole, self.pool.call(measure_pace, recipes), strict=True)))
        if result.book is not None:
            result.book.append("pace", rounds=result.pace.rounds)

    def measure_sizes(self, running: dict[str, int]) -> None:
        """Measure the networks, where they are what races."""
        result, plan = self.result, self.result.plan
        if self._time_is_up() or result.status != FINISHED or not networks_race(plan.contenders):
            return
        assert self.pool is not None
        sizes: dict[str, Any] = {}
        with timed(result.seconds, "pace"):
            for one in plan.contenders:
                with suppress(Exception):  # a network that fails, or whose process is lost, has told so by its trials
                    sizes[one.name] = asdict(self.pool.call(measure_size, one.recipes[running.get(one.name, 0)]))
        result.facts["sizes"] = sizes

    def _time_is_up(self) -> bool:
        if self.deadline is not None and time.time() > self.deadline:
            self.result.status = OUT_OF_TIME
        return self.result.status == OUT_OF_TIME

    def stage(self, name: str, chains: Iterable[Chain], told: str | None = None) -> None:
        """Run the chains of a stage, side by side; `told` is what it is called where somebody watches."""
        if self.result.status != FINISHED:
            return
        self.view.stage(told or name)
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
            return self.pool.submit(run_trial, recipe, trial, self.deadline, self._place_of(trial))
        trials, recipes = [trial for trial, _, _ in taken], [recipe for _, recipe, _ in taken]
        return self.pool.submit(run_lanes, recipes, trials, self.deadline)

    def _place_of(self, trial: Trial) -> Parking | None:
        """Return where a trial waits when it is paused: those of a space's search are."""
        plan = self.result.plan
        is_paused = plan.contender(trial.contender).pool is not None and trial.seed == plan.seed_of(SEARCH, 0)
        return self._lot().place_of(plan.names.index(trial.contender), trial.recipe) if is_paused else None

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
        return Outcome.given_up(trial) if self._lost[self._culprit(trial)] >= PATIENCE else None

    def _culprit(self, trial: Trial) -> Culprit:
        return trial.contender, trial.recipe if self.result.plan.contender(trial.contender).pool is not None else None

    def _keep(self, outcome: Outcome, *, new: bool) -> None:
        self.result.outcomes.append(outcome)
        self._lost[self._culprit(outcome.trial)] += outcome.status in LOST
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
