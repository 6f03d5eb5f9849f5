"""Contenders: who races, and the learning rates each is tuned over - five, evenly spread (in logarithm) over its own
published range, which is the same search budget for everyone (the AlgoPerf rule).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from ..errors import InputError
from ..recipes import Recipe, as_recipe, split_text
from ..rules import (
    Rule,
    adadelta,
    adagrad,
    adam,
    adamax,
    adamw,
    amsgrad,
    ema_momentum,
    lion,
    mars,
    momentum,
    muon,
    nadam,
    nesterov,
    radam,
    rmsprop,
    schedule_free_adamw,
    sgd,
    soap,
    split,
)
from ..rules.transforms import ScaleByLearningRate

NUM_LEARNING_RATES = 5


@dataclass(frozen=True)
class Space:
    """A rule's published range of learning rates, and where it was published."""

    make: Callable[[float], Rule]
    low: float
    high: float
    source: str


_DEEPOBS = "tuned values on DeepOBS's classification problems (Schneider, Balles, Hennig, 2019)"
_DEEPOBS_MOMENTUM = _DEEPOBS + ", 4e-4 to 4e-2 at momentum 0.99, at the same lr / (1 - momentum)"
_VALLEY = "Schmidt, Schneider, Hennig, Descending through a Crowded Valley, 2021"
_ALGOPERF = "AlgoPerf's AdamW baseline (Dahl et al., 2023, arXiv:2306.07179)"


def _muon_with_adamw(lr: float) -> Rule:
    return split(matrices=muon(lr), convolutions=muon(lr), rest=adamw(0.003))


SPACES = {
    "sgd": Space(sgd, 0.025, 1.6, _DEEPOBS),
    "momentum": Space(momentum, 0.004, 0.4, _DEEPOBS_MOMENTUM),
    "ema_momentum": Space(ema_momentum, 0.04, 4.0, "ten times that of momentum, whose steps are ten times as long"),
    "nesterov": Space(nesterov, 0.004, 0.4, _DEEPOBS_MOMENTUM),
    "adagrad": Space(adagrad, 1e-4, 1.0, _VALLEY),
    "adadelta": Space(adadelta, 1e-4, 1.0, _VALLEY),
    "rmsprop": Space(rmsprop, 1e-4, 1e-2, "that of Adam, which divides by the same root mean square"),
    "adam": Space(adam, 1e-4, 1e-2, _ALGOPERF),
    "adamw": Space(adamw, 1e-4, 1e-2, _ALGOPERF),
    "lion": Space(lion, 1e-5, 3.3e-3, "3 to 10 times below AdamW's (Chen et al., 2023, arXiv:2302.06675)"),
    **{
        rule.__name__: Space(rule, 1e-4, 1e-2, "that of Adam, which it varies")
        for rule in (adamax, nadam, amsgrad, radam, mars, soap)
    },
    "schedule_free_adamw": Space(
        schedule_free_adamw, 1e-4, 1e-1, "1 to 10 times AdamW's (Defazio et al., 2024, arXiv:2405.15682)"
    ),
    "muon": Space(_muon_with_adamw, 0.002, 0.2, "the authors' 0.02 (Jordan et al., 2024), a decade either way"),
}
DEFAULT = ("sgd", "momentum", "nesterov", "adagrad", "adadelta", "rmsprop", "adam", "adamw", "lion", "muon")
BASELINE = "momentum"


@dataclass(frozen=True)
class Contender:
    """One entry of a race: its name, the recipes it may be run as - one a learning rate, or just one - and its last step."""

    name: str
    recipes: tuple[Recipe, ...]
    max_steps: int = 1

    @property
    def tuned(self) -> bool:
        return len(self.recipes) > 1


def learning_rates(space: Space, count: int = NUM_LEARNING_RATES) -> list[float]:
    """Return learning rates evenly spread in logarithm over a range, ends included, to two digits.

    >>> learning_rates(SPACES["adamw"])
    [0.0001, 0.00032, 0.001, 0.0032, 0.01]
    """
    ratio = math.log(space.high / space.low)
    return [float(f"{space.low * math.exp(ratio * i / (count - 1)):.2g}") for i in range(count)]


def learning_rate(rule: Rule) -> float:
    """Return the (first) learning rate of a rule."""
    return next(link.lr for link in rule.transforms() if isinstance(link, ScaleByLearningRate))


def contender(entry: str | Recipe | Rule, frame: Recipe) -> Contender:
    """Return the contender that a name, a recipe's text, a rule or a recipe stands for.

    A bare name such as `"adamw"` is tuned over its published range; anything that names its learning rate races as it is.
    `frame` gives batch, epochs and so on to what does not say.
    """
    if isinstance(entry, str):
        name = entry.strip()
        if name in SPACES:
            space = SPACES[name]
            recipes = tuple(replace(frame, rule=space.make(lr), name=name) for lr in learning_rates(space))
            return Contender(name, recipes)
    recipe = as_recipe(entry)
    if recipe is None:
        raise InputError(f"a race takes recipes, rules or their names (got {entry!r})")
    return Contender(recipe.label, (recipe.filled(frame),))


def contenders(entries: str | Recipe | Rule | Sequence[str | Recipe | Rule] | None, frame: Recipe) -> list[Contender]:
    """Return the contenders of a race, with names made unique; None: the ten classic rules."""
    if isinstance(entries, str):
        entries = split_text(entries)
    elif isinstance(entries, Recipe | Rule):
        entries = [entries]
    found = [contender(entry, frame) for entry in (DEFAULT if entries is None else entries)]
    if not found:
        raise InputError("a race needs at least one recipe (got none)")
    seen: dict[str, int] = {}
    unique = []
    for one in found:
        seen[one.name] = seen.get(one.name, 0) + 1
        unique.append(replace(one, name=f"{one.name} ({seen[one.name]})") if seen[one.name] > 1 else one)
    return unique
