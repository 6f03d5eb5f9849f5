"""`ablate`: what each ingredient of a recipe buys on a task - taken out alone, and alone put in.

The whole recipe, the recipe without each ingredient, the bare one and the bare one with each are run on the same seeds, from
the same initial weights and in the same order of batches. Seeds are added where they can change what is said. What buys nothing
is left out of the recommended recipe, which is then run against the whole one.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

from ..errors import InputError, Interrupted, positive, whole
from ..recipes import Recipe, as_recipe
from ..rules import Rule
from ..tasks import Task, task
from ..training.building import choose_device
from ..training.setup import prepare
from .contenders import Contender
from .finals import fresh_seeds
from .ingredients import ingredients, without
from .pace import Pace
from .plan import FINALS, Plan, alone, times
from .race import EPOCHS, check_contenders, evaluations, side_by_side
from .result import FINISHED, INTERRUPTED, Race, headline
from .runner import Runner
from .statistics import LEVEL, Comparison, median_interval, ratio_interval
from .verdicts import troubles, versus_other
from .view import View

WHOLE, BARE, LEAN = "whole", "bare", "recommended"
LITTLE = 1.05  # who buys less than this, and is not proven to buy anything, is left out of what is recommended
NEEDED, HARMFUL, IDLE, UNPROVEN = "needed", "harmful", "buys nothing that shows", "not proven"


@dataclass(frozen=True)
class Row:
    """What one ingredient buys.

    Attributes:
        ingredient: its text.
        bought: the whole recipe against the one without it, above 1 where it is missed; None where one of them was lost.
        alone: the bare recipe with it against the bare one, above 1 where it helps; None likewise.
        verdict: "needed" and "harmful" are proven, over all ingredients together.
        trouble: what went wrong without it.
    """

    ingredient: str
    bought: Comparison | None
    alone: Comparison | None
    verdict: str
    trouble: str


@dataclass(frozen=True)
class Ablation:
    """What each ingredient of a recipe buys on a task. `str` is a table.

    Attributes:
        recipe: the whole one.
        rows: one an ingredient.
        recommended: the recipe without those that buy nothing, or the whole one where they are missed together.
        race: every trial, and what a step costs.
    """

    recipe: Recipe
    rows: tuple[Row, ...]
    recommended: Recipe
    race: Race

    def to_dict(self) -> dict[str, Any]:
        """Return it as a document, the same as `steepest ablate --json`."""
        rows = [
            {
                "ingredient": row.ingredient,
                "bought": self._document(row.bought),
                "alone": self._document(row.alone),
                "verdict": row.verdict + row.trouble,
            }
            for row in self.rows
        ]
        return {
            "task": self.race.task.name,
            "reach": self.race.plan.reach,
            "recipe": repr(self.recipe),
            "ingredients": rows,
            "seconds_to_target": {name: seconds_of(self.race, name) for name in self.race.plan.names},
            "recommended": repr(self.recommended),
            "total_seconds": sum(self.race.seconds.values()),
            "stages": self.race.seconds,
            **self.race.facts,
        }

    def __str__(self) -> str:
        table = [["ingredient", "seconds without", "it buys", "put in alone", "verdict"]]
        for row in self.rows:
            seconds = _seconds(self.race, f"without {row.ingredient}")
            table.append([row.ingredient, seconds, self._cell(row.bought), self._cell(row.alone), row.verdict + row.trouble])
        widths = [max(len(line[i]) for line in table) for i in range(len(table[0]))]
        lines = ["  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in table]
        took = "   ".join(f"{name} {_seconds(self.race, name)}" for name in (WHOLE, BARE, LEAN) if name in self.race.plan.names)
        return "\n".join([*lines, "", f"seconds to {self.race.plan.reach}: {took}", f"recommended: {self.recommended!r}"])

    def __repr__(self) -> str:
        return f"Ablation({self.race.task.name}, {self.recipe.label}, {len(self.rows)} ingredients)"

    def _cell(self, comparison: Comparison | None) -> str:
        if comparison is None:
            return "-"
        ratio, low, high = ratio_interval(comparison.differences, level_of(len(self.rows)))
        return f"{ratio:.2f}x [{low:.2f}, {high:.2f}]"

    def _document(self, comparison: Comparison | None) -> dict[str, Any] | None:
        if comparison is None:
            return None
        ratio, low, high = ratio_interval(comparison.differences, level_of(len(self.rows)))
        p = {"p_helps": comparison.p_faster, "p_harms": comparison.p_slower}
        return {"ratio": ratio, "interval": [low, high], **p, "seeds": comparison.pairs}


def ablate(
    subject: Any,
    recipe: Recipe | Rule | str,
    *,
    reach: str | None = None,
    seeds: int = 5,
    seed: int = 0,
    batch: int | str | None = None,
    epochs: float = EPOCHS,
    processes: int | None = None,
    device: Any = None,
    progress: bool | None = None,
) -> Ablation:
    """Measure what each ingredient of a recipe buys on a task: seconds to the target with and without it.

    Each ingredient - a schedule, weight decay, a link of a chain, an augmentation, dropout, label smoothing - is taken out of
    the whole recipe, and put alone into the bare one. Comparisons are paired by seed and corrected for their number; seeds are
    added, up to six times as many, where it is not settled whether an ingredient is missed.

    Args:
        subject: a Task, or anything `steepest.task` takes.
        recipe: the recipe to take apart; one that can be read back from its text.
        reach: the target; None: the task's.
        seeds: seeds that everyone runs.
        seed: everything random follows from it.
        batch: rows a step, where the recipe does not say; None: 32.
        epochs: a trial that has not reached the target by then has missed it; where the recipe does not say.
        processes: how many trials run side by side; None: one a core.
        device: where; None: CUDA when there is one.
        progress: show a live table; None: where somebody watches.

    Raises:
        InputError: the recipe has no ingredients, or does not come to the target.
        Interrupted: Ctrl-C; nothing is kept.

    >>> import steepest
    >>> recipe = "Recipe(adamw(0.05, schedule=cosine()), batch=16, epochs=10, model=mlp((16,)))"
    >>> [row.ingredient for row in ablate("iris", recipe, seeds=1, processes=1).rows]
    ['schedule=cosine()']
    """
    whole("seeds", seeds, 1)
    positive("epochs", epochs)
    began = time.perf_counter()
    job, given = task(subject, reach=reach), as_recipe(recipe)
    if given is None:
        raise InputError("ablate takes a recipe apart (got None)")
    if job.goal is None:
        raise InputError("an ablation needs a target: reach=")
    where = choose_device(device)
    plan, names = _plan(job, given, seed, seeds, batch, epochs, where)
    count, threads = side_by_side(processes, where, plan, None)
    facts: dict[str, Any] = {"processes": count, "threads": threads, "seed": seed}
    result = Race(None, job, plan, [], Pace({}), {"data": time.perf_counter() - began}, FINISHED, facts)
    with View(plan, headline(job, plan, count, threads), progress) as view:
        runner = Runner(result, {}, view, None)
        runner.work(lambda: _run(runner, names), count, threads, where)
    if result.status == INTERRUPTED:
        raise Interrupted("stopped; nothing of the ablation was kept")
    if result.status != FINISHED:
        raise InputError(f"the ablation was not finished: {result.status} ({result.facts.get('crash')})")
    return _judged(result, names)


def _plan(job: Task, recipe: Recipe, seed: int, seeds: int, batch: Any, epochs: float, device: Any) -> tuple[Plan, list[str]]:
    """Return the plan of an ablation, and the ingredients."""
    filled = recipe.filled(replace(recipe, batch=batch or 32, epochs=float(epochs), augment=recipe.augment or ()))
    spec = prepare(job, filled, device=device).spec
    filled = filled if spec is None else replace(filled, model=spec)  # what its network could be without, too
    names = ingredients(filled)
    if not names:
        raise InputError(f"nothing can be taken out of {recipe!r}: it has no schedule, weight decay, augmentation or the like")
    variants = {WHOLE: filled, BARE: without(filled, names)}
    for name in names:
        variants[f"without {name}"] = without(filled, [name])
        variants[f"only {name}"] = without(filled, [other for other in names if other != name])
    every = evaluations(job, filled)
    contenders = tuple(_contender(name, variant, job, every) for name, variant in variants.items())
    plan = Plan(contenders, WHOLE, str(job.goal), every, seed, seeds)
    check_contenders(job, plan, device)
    return plan, names


def _contender(name: str, recipe: Recipe, job: Task, every: int) -> Contender:
    return Contender(name, (replace(recipe, name=name),), every * math.ceil(recipe.num_steps(job.data.size("train")) / every))


def _run(runner: Runner, names: list[str]) -> None:
    """Run all variants, those that are not settled on more seeds, and what comes of it against the whole recipe."""
    result = runner.result

    def run(block: list[tuple[str, int]]) -> None:
        running = dict.fromkeys(result.plan.names, 0)
        runner.stage(FINALS, alone(result.plan, FINALS, running, block))
        runner.check_that_one_trains()
        runner.measure_pace(running)

    run([(name, index) for index in range(result.plan.seeds) for name in result.plan.names])
    if result.status == FINISHED and math.isinf(seconds_of(result, WHOLE)):
        raise InputError(f"the recipe does not come to {result.plan.reach} as it is; lower the target, or allow more epochs")
    while result.status == FINISHED and (block := _next_block(result, names)):
        run(block)
    lean = _lean(result, names)
    if result.status == FINISHED and lean is not None:
        every = result.plan.evaluate_every
        result.plan = replace(result.plan, contenders=(*result.plan.contenders, _contender(LEAN, lean, result.task, every)))
        run([(LEAN, index) for index in range(len(times(result.outcomes, WHOLE, FINALS)))])


def _pairs(names: list[str]) -> Iterator[tuple[str, str]]:
    """Yield the comparisons that settle whether an ingredient is missed."""
    for name in names:
        yield WHOLE, f"without {name}"


def level_of(ingredients: int) -> float:
    """Return the level of one comparison, so that all "needed" and "harmful" together err in at most 5%."""
    return LEVEL / max(1, ingredients)


def _next_block(result: Race, names: list[str]) -> list[tuple[str, int]]:
    """Return who runs which seeds next: those whose comparison is not settled, and may be."""
    plan, level = result.plan, level_of(len(names)) / 2
    wanted: set[str] = set()
    for pair in _pairs(names):
        comparison = versus_other(result.outcomes, result.pace, *pair, FINALS)
        if comparison is None or comparison.is_told(level):
            continue
        if comparison.pairs < 2 * plan.seeds or comparison.seeds_to_tell(level) <= plan.most_seeds:
            wanted |= set(pair)
    done = fresh_seeds(plan, result.outcomes)
    return [(name, i) for i in range(done, min(done + plan.block, plan.most_seeds)) for name in plan.names if name in wanted]


def _lean(result: Race, names: list[str]) -> Recipe | None:
    """Return the recipe without what buys nothing; None where that is nothing."""
    idle = [row.ingredient for row in _rows(result, names) if row.verdict in (IDLE, HARMFUL)]
    return without(result.plan.contender(WHOLE).recipes[0], idle) if idle else None


def _rows(result: Race, names: list[str]) -> list[Row]:
    level = level_of(len(names)) / 2
    found = []
    for name, pair in zip(names, _pairs(names), strict=True):
        bought = versus_other(result.outcomes, result.pace, *pair, FINALS)
        put_in = versus_other(result.outcomes, result.pace, f"only {name}", BARE, FINALS)
        found.append(Row(name, bought, put_in, _verdict(bought, level), troubles(result.outcomes, pair[1], FINALS)))
    return found


def _verdict(bought: Comparison | None, level: float) -> str:
    if bought is None:
        return UNPROVEN
    if (bought.p_faster <= level) != (bought.p_slower <= level):
        return NEEDED if bought.p_faster <= level else HARMFUL
    return UNPROVEN if bought.ratio >= LITTLE else IDLE


def _judged(result: Race, names: list[str]) -> Ablation:
    recipe = replace(result.plan.contender(WHOLE).recipes[0], name=None)
    recommended = recipe
    if LEAN in result.plan.names:
        missed = versus_other(result.outcomes, result.pace, WHOLE, LEAN, FINALS)
        if missed is not None and missed.ratio < LITTLE:
            recommended = replace(result.plan.contender(LEAN).recipes[0], name=None)
    return Ablation(recipe, tuple(_rows(result, names)), recommended, result)


def seconds_of(result: Race, name: str) -> float:
    """Return the median seconds to the target of a variant; infinite where it misses."""
    steps = times(result.outcomes, name, FINALS)
    seconds = median_interval(steps)[0] * result.pace.seconds(name) if steps else math.inf
    return math.inf if math.isnan(seconds) else seconds


def _seconds(result: Race, name: str) -> str:
    seconds = seconds_of(result, name)
    return f"{seconds:.3g}" if math.isfinite(seconds) else "-"
