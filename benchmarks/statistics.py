"""Are the verdicts of a race right? Thousands of simulated races with the seed noise of real training, and real races.

The noise comes from a real measurement made first: steps to 97% on digits, 20 seeds, each classic rule at its best learning
rate. Run: python -m benchmarks.statistics
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import torch

import steepest
from benchmarks import common
from steepest.racing.contenders import DEFAULT, Contender, contender
from steepest.racing.leaderboard import leaderboard
from steepest.racing.pace import Pace
from steepest.racing.plan import FINALS, SCREENING, Plan, finalists, search
from steepest.racing.statistics import weighed_p
from steepest.racing.trials import Outcome, run_trial
from steepest.recipes import Recipe
from steepest.rules import adam, sgd

RACES, SEEDS, EVERY = 1000, 20, 5


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


def simulate(contenders: int, effect: float, deviation: float, shared: float, seed: int) -> tuple[dict[str, str], float]:
    """Run one simulated race through the functions that plan and judge real ones.

    Returns the verdicts, and the p-value that the fast rule would have had if all rules had been tested jointly (Holm).
    """
    rng = np.random.default_rng(seed)
    recipe = Recipe(sgd(0.1))
    names = ["momentum", *(f"rule {i}" for i in range(1, contenders))]
    plan = Plan(tuple(Contender(name, (recipe,), 10_000) for name in names), "momentum", "accuracy >= 0.97", EVERY)
    pace = Pace.of(dict.fromkeys(names, 0.001))

    def draw(stage: str, who: list[str]) -> list[Outcome]:
        count = plan.final_seeds if stage == FINALS else plan.seeds
        common_noise = rng.normal(0, deviation * np.sqrt(shared), count)
        found = []
        for name in who:
            noise = common_noise + rng.normal(0, deviation * np.sqrt(1 - shared), count)
            steps = 80 / (effect if name == "rule 1" else 1.0) * np.exp(noise)
            for i, value in enumerate(np.maximum(EVERY, np.rint(steps / EVERY) * EVERY)):
                found.append(Outcome(plan.trial(stage, name, 0, i), int(value), int(value), 1.0, 1.0, 1.0))
        return found

    outcomes = draw(SCREENING, names)
    outcomes += draw(FINALS, finalists(plan, outcomes, pace))
    verdicts = {row.recipe: row.verdict for row in leaderboard(plan, outcomes, pace).rows}
    everyone = draw(FINALS, names)
    steps = {name: np.array([float(o.steps) for o in everyone if o.trial.contender == name]) for name in names}
    p = {name: weighed_p(np.log(steps["momentum"] / steps[name])) for name in names[1:]}
    ordered = sorted(p, key=lambda name: p[name])
    holm = max((len(p) - i) * p[name] for i, name in enumerate(ordered[: ordered.index("rule 1") + 1]))
    return verdicts, holm


def wins(verdict: str) -> bool:
    return verdict.startswith(("faster", "fastest"))


def simulated(deviation: float, shared: float, races: int) -> list[dict[str, Any]]:
    rows = []
    for contenders in (2, 10):
        for effect in (1.0, 1.5, 2.0):
            count = 10 * races if effect == 1.0 else races  # an error rate near 5% needs more races to be told from 6%
            found = [simulate(contenders, effect, deviation, shared, 100_000 * contenders + i) for i in range(count)]
            if effect == 1.0:
                share = sum(any(map(wins, verdicts.values())) for verdicts, _ in found) / count
            else:
                share = sum(wins(verdicts["rule 1"]) for verdicts, _ in found) / races
            joint = sum(p <= 0.05 for _, p in found) / races if effect > 1 else None
            rows.append({"contenders": contenders, "effect": effect, "races": count, "found": share, "joint_correction": joint})
    return rows


def drawn_anew() -> torch.nn.Module:
    """Return the default network for digits with other initial weights than the same seed usually gives."""
    torch.rand(1)
    return steepest.mlp((128, 128), norm="batch").build((1, 8, 8), 10)


def real(seeds: int) -> list[dict[str, Any]]:
    """Race a recipe against itself (with other initial weights), and against one that is truly slower."""
    rows = []
    usual = Recipe(adam(0.0032), batch=32, epochs=40, name="adam")
    kinds = {
        "a recipe against itself": Recipe(adam(0.0032), batch=32, epochs=40, model=drawn_anew, name="the same"),
        "a truly slower one": Recipe(adam(0.001), batch=32, epochs=40, name="a third of the learning rate"),
    }
    for kind, other in kinds.items():
        race = steepest.race("digits", [usual, other], baseline=other.name, seeds=seeds, record=False, progress=False)
        board = race.leaderboard()
        row = next(row for row in board.rows if row.recipe == "adam")
        versus = row.versus_baseline
        assert versus is not None
        rows.append({"race": kind, "ratio": versus.ratio, "interval": [versus.low, versus.high], "verdict": row.verdict})
    return rows


def main() -> None:
    options = common.arguments(__doc__ or "")
    races = 100 if options.quick else RACES
    steps, deviation, shared = measure_noise(6 if options.quick else SEEDS)
    print(f"\nnoise: log steps deviate by {deviation:.2f} between seeds; {shared:.2f} of the variance is shared by a seed\n")
    rows = simulated(deviation, shared, races)
    head = ["contenders", "true ratio", "races", "somebody wins, or the fast one is found", "with a joint correction"]
    common.show(head, [[r["contenders"], r["effect"], r["races"], f"{r['found']:.1%}", r["joint_correction"]] for r in rows])
    print()
    found = real(2 if options.quick else 5)
    common.show(["real race", "ratio", "interval", "verdict"], [list(r.values()) for r in found])
    noise = {"deviation": deviation, "shared": shared, "steps": steps, "seeds": SEEDS}
    common.write("statistics", options, n=races, noise=noise, simulated=rows, real=found)


if __name__ == "__main__":
    main()
