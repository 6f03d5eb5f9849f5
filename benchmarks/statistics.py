"""Are the verdicts of a race right? Thousands of simulated races with the seed noise of real training, and real races.

The noise comes from a real measurement made first: steps to 97% on digits, 20 seeds, each classic rule at its best learning
rate. Run: python -m benchmarks.statistics
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch

import steepest
from benchmarks import common
from steepest.racing.contenders import DEFAULT, Contender, contender
from steepest.racing.finals import next_block
from steepest.racing.leaderboard import leaderboard
from steepest.racing.pace import Pace
from steepest.racing.plan import FINALS, SCREENING, Plan, search
from steepest.racing.statistics import FASTER_SHARE, LEVEL, log_evidence, weighed_p
from steepest.racing.trials import Outcome, run_trial
from steepest.recipes import Recipe
from steepest.rules import adam, sgd

RACES, SEEDS, EVERY, MEDIAN_STEPS = 1000, 20, 5, 80


def measure_noise(seeds: int) -> tuple[dict[str, list[float]], float, float]:
    """Return steps to the target by rule and seed, and from them the deviation of log steps and the share seeds share."""
    torch.set_num_threads(1)
    task = steepest.task("digits")
    frame = Recipe(adam(), batch=32, epochs=40)
    steps: dict[str, list[float]] = {}
    for name in DEFAULT:
        one = contender(name, frame)
        plan = Plan((replace(one, max_steps=1360),), name, "accuracy >= 0.97", EVERY)
        chain, found, outcome = search(plan, name), [], None
        while True:
            try:
                job = next(chain) if outcome is None else chain.send(outcome)
            except StopIteration:
                break
            outcome = run_trial(task, one.recipes[job.recipe], job)
            assert outcome is not None
            found.append(outcome)
        best = min(found, key=lambda o: o.reached_at or 10**9).trial.recipe
        trials = [run_trial(task, one.recipes[best], plan.trial(FINALS, name, best, i)) for i in range(seeds)]
        steps[name] = [float("nan") if o is None or o.reached_at is None else float(o.reached_at) for o in trials]
        print(f"{name}: median {np.nanmedian(steps[name]):.0f} steps, deviation of log {np.nanstd(np.log(steps[name])):.2f}")
    logs = np.log(np.array(list(steps.values())))
    logs -= np.nanmean(logs, axis=1, keepdims=True)
    deviation = float(np.median(np.nanstd(logs, axis=1)))
    correlations = np.ma.corrcoef(np.ma.masked_invalid(logs)).filled(np.nan)
    shared = float(np.nanmedian(correlations[np.triu_indices(len(logs), 1)]))
    return steps, deviation, max(shared, 0.0)


@dataclass(frozen=True)
class Noise:
    """How steps to the target differ between seeds: the deviation of their logarithm, and what a seed's runs share of it."""

    deviation: float
    shared: float


def plan_of(contenders: int, seeds: int = 5) -> Plan:
    """Return the plan of a race of the baseline and `rule 1`, `rule 2`, ..., each of one recipe."""
    recipe = Recipe(sgd(0.1))
    names = ["momentum", *(f"rule {i}" for i in range(1, contenders))]
    return Plan(tuple(Contender(name, (recipe,), 10_000) for name in names), "momentum", "accuracy >= 0.97", EVERY, seeds=seeds)


def drawn(
    plan: Plan, stage: str, names: Sequence[str], speed: Mapping[str, float], rng: np.random.Generator, noise: Noise
) -> list[Outcome]:
    """Draw steps to the target for all seeds of a stage: log-normal, partly common to a seed, rounded to the evaluations."""
    count = plan.most_seeds if stage == FINALS else plan.seeds
    common_noise = rng.normal(0, noise.deviation * np.sqrt(noise.shared), count)
    found = []
    for name in names:
        own = rng.normal(0, noise.deviation * np.sqrt(1 - noise.shared), count)
        steps = MEDIAN_STEPS / speed.get(name, 1.0) * np.exp(common_noise + own)
        for i, value in enumerate(np.maximum(EVERY, np.rint(steps / EVERY) * EVERY)):
            found.append(Outcome(plan.trial(stage, name, 0, i), int(value), int(value) + EVERY, 1.0, 1.0, 1.0))
    return found


def with_finals(plan: Plan, screened: Sequence[Outcome], pace: Pace, finals: Sequence[Outcome]) -> list[Outcome]:
    """Run the finals as a race does: whoever the plan asks for, block by block, out of what was drawn."""
    by_trial = {(o.trial.contender, o.trial.seed): o for o in finals}
    found = list(screened)
    while block := next_block(plan, found, pace):
        found += [by_trial[name, plan.seed_of(FINALS, index)] for name, index in block]
    return found


def simulate(contenders: int, speed: Mapping[str, float], noise: Noise, seed: int) -> tuple[dict[str, str], dict[str, int]]:
    """Run one simulated race through the functions that plan and judge real ones; return verdicts and fresh seeds."""
    rng, plan = np.random.default_rng(seed), plan_of(contenders)
    pace = Pace.of(dict.fromkeys(plan.names, 0.001))
    screened = drawn(plan, SCREENING, plan.names, speed, rng, noise)
    outcomes = with_finals(plan, screened, pace, drawn(plan, FINALS, plan.names, speed, rng, noise))
    verdicts = {row.recipe: row.verdict for row in leaderboard(plan, outcomes, pace).rows}
    finals = [o.trial.contender for o in outcomes if o.trial.stage == FINALS]
    return verdicts, {name: finals.count(name) for name in plan.names}


def wins(verdict: str) -> bool:
    return verdict.startswith(("faster", "fastest"))


def simulated(noise: Noise, races: int) -> list[dict[str, Any]]:
    """Return how often somebody wins among equals, and the fast one among others; and the fresh seeds that took."""
    rows = []
    for contenders in (2, 10):
        for effect in (1.0, 1.2, 1.5, 2.0):
            count = 10 * races if effect == 1.0 else races  # an error rate near 5% needs more races to be told from 6%
            speed = {} if effect == 1.0 else {"rule 1": effect}
            found = [simulate(contenders, speed, noise, 100_000 * contenders + i) for i in range(count)]
            if effect == 1.0:
                share = sum(any(map(wins, verdicts.values())) for verdicts, _ in found) / count
            else:
                share = sum(wins(verdicts["rule 1"]) for verdicts, _ in found) / count
            seeds = [max(counts.values()) for _, counts in found]
            trials = float(np.mean([sum(counts.values()) for _, counts in found]))
            quartiles = [int(q) for q in np.percentile(seeds, (25, 50, 75), method="higher")]
            row = {"contenders": contenders, "effect": effect, "races": count, "found": share, "seeds": quartiles}
            rows.append(row | {"trials": trials})
    return rows


def watched(noise: Noise, races: int, looks: int = 100) -> list[dict[str, Any]]:
    """Return how often who looks after every seed finds a difference, how many seeds it takes, how often intervals hold."""
    rows = []
    for effect in (1.0, 1.2, 1.5, 2.0):
        rng = np.random.default_rng(int(10 * effect))
        deviation = noise.deviation * np.sqrt(2 * (1 - noise.shared))  # of the difference of two that share a seed
        needed, held = [], 0
        for _ in range(races):
            d = rng.normal(np.log(effect), deviation, looks)
            evidence = log_evidence(d)
            over = np.flatnonzero(evidence >= -np.log(LEVEL * FASTER_SHARE))
            needed.append(int(over[0]) + 1 if len(over) else np.inf)
            held += weighed_p(d - np.log(effect)) > LEVEL  # at all looks: what the interval holds is what is not rejected
        told = [float(q) for q in np.quantile(needed, (0.5, 0.8, 0.95), method="higher")]
        rows.append({"effect": effect, "races": races, "within 30": float(np.mean(np.array(needed) <= 30)), "seeds": told})
        rows[-1] |= {"found": float(np.mean(np.isfinite(needed))), "coverage": held / races}
    return rows


def drawn_anew() -> torch.nn.Module:
    """Return the default network for digits with other initial weights than the same seed usually gives."""
    torch.rand(1)
    return steepest.mlp((128, 128), norm="batch").build((1, 8, 8), 10)


def real(races: int, seeds: int) -> list[dict[str, Any]]:
    """Race a recipe against itself (with other initial weights), and against one that is truly slower."""
    rows = []
    usual = Recipe(adam(0.0032), batch=32, epochs=40, name="adam")
    kinds = {
        "a recipe against itself": (races, Recipe(adam(0.0032), batch=32, epochs=40, model=drawn_anew, name="the same")),
        "a truly slower one": (1, Recipe(adam(0.001), batch=32, epochs=40, name="a third of the learning rate")),
    }
    for kind, (count, other) in kinds.items():
        for seed in range(count):
            race = steepest.race(
                "digits", [usual, other], baseline=other.name, seeds=seeds, seed=seed, record=False, progress=False
            )
            row = next(row for row in race.leaderboard().rows if row.recipe == "adam")
            versus = row.versus_baseline
            assert versus is not None
            told = {"ratio": versus.ratio, "interval": list(versus.interval), "seeds": versus.pairs, "verdict": row.verdict}
            rows.append({"race": kind, **told})
    return rows


def main() -> None:
    options = common.arguments(__doc__ or "")
    races = 100 if options.quick else RACES
    steps, deviation, shared = measure_noise(6 if options.quick else SEEDS)
    noise = Noise(deviation, shared)
    print(f"\nnoise: log steps deviate by {deviation:.2f} between seeds; {shared:.2f} of the variance is shared by a seed\n")
    rows = simulated(noise, races)
    head = ["contenders", "true ratio", "races", "somebody wins, or the fast one is found", "fresh seeds, quartiles", "trials"]
    shown = [[r["contenders"], r["effect"], r["races"], f"{r['found']:.1%}", r["seeds"], f"{r['trials']:.0f}"] for r in rows]
    common.show(head, shown)
    print()
    looks = watched(noise, races)
    head = [
        "true ratio",
        "races",
        "found within 30 seeds",
        "within 100",
        "seeds for 50%, 80%, 95%",
        "interval holds at all looks",
    ]
    shown = [
        [r["effect"], r["races"], f"{r['within 30']:.1%}", f"{r['found']:.1%}", r["seeds"], f"{r['coverage']:.1%}"]
        for r in looks
    ]
    common.show(head, shown)
    print()
    found = real(1 if options.quick else 10, 2 if options.quick else 5)
    common.show(["real race", "ratio", "interval", "seeds", "verdict"], [list(r.values()) for r in found])
    told = {"deviation": deviation, "shared": shared, "steps": steps, "seeds": SEEDS}
    common.write("statistics", options, n=races, noise=told, simulated=rows, watched=looks, real=found)


if __name__ == "__main__":
    main()
