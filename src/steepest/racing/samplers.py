"""Optuna's samplers in a space's search: asked which recipes to try next, and told what came of those that were tried.

A sampler sees the coordinates of a space: one float from 0 to 1 a place, or a category where a place chooses among things
without order. What it asks for is snapped to the nearest recipe that was drawn and not tried yet.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from ..errors import InputError, blaming, needs
from .candidates import Candidate
from .plan import INF
from .searching import Search
from .spaces import Settings, distance

EXTRA = "optuna"


class Asked:
    """Proposes recipes by asking a sampler; called with a search and how many, it returns them.

    Args:
        sampler: one of Optuna's, such as `optuna.samplers.TPESampler(seed=0)`; give it a seed, or no two searches are alike.

    Raises:
        InputError: it is none.
        MissingExtraError: Optuna is not installed.
    """

    def __init__(self, sampler: Any) -> None:
        with needs("optuna", "a sampler", EXTRA):
            import optuna
        if not isinstance(sampler, optuna.samplers.BaseSampler):
            raise InputError(f"sampler takes one of Optuna's, such as optuna.samplers.TPESampler(seed=0) (got {sampler!r})")
        self.optuna, self.sampler = optuna, sampler

    def __call__(self, search: Search, count: int) -> list[int]:
        assert search.contender.pool is not None
        settings = search.contender.pool.settings
        places = self._places(settings)
        study = self._study(search, settings, places)
        untried = [i for i in range(len(settings)) if i not in search.tried]
        found: list[int] = []
        for _ in range(min(count, len(untried))):
            with blaming("the sampler"):
                trial = study.ask(places)
            params = trial.params
            far = {i: distance(settings[i], _asked(settings[i], params)) for i in untried if i not in found}
            found.append(min(far, key=far.__getitem__))
            study.tell(trial, state=self.optuna.trial.TrialState.FAIL)  # the recipe that is tried in its place is told
        return found

    def _study(self, search: Search, settings: Sequence[Settings], places: dict[str, Any]) -> Any:
        """Return a study that was told of every recipe that was tried, as they rank now."""
        before = self.optuna.logging.get_verbosity()
        self.optuna.logging.set_verbosity(self.optuna.logging.WARNING)
        study = self.optuna.create_study(sampler=self.sampler)
        self.optuna.logging.set_verbosity(before)
        for one, value in zip(search.ranked(), _values(search.ranked()), strict=True):
            params = {f"x{k}": s.at for k, s in enumerate(settings[one.recipe]) if s is not None}
            known = {name: places[name] for name in params}
            study.add_trial(self.optuna.trial.create_trial(params=params, distributions=known, value=value))
        return study

    def _places(self, settings: Sequence[Settings]) -> dict[str, Any]:
        """Return what a sampler is asked for: a category where a coordinate always chooses among the same things without
        order.
        """
        places: dict[str, Any] = {}
        for k in range(len(settings[0])):
            seen = [one[k] for one in settings]
            kinds = {None if one is None else (one.place, one.ordered) for one in seen}
            values = sorted({one.at for one in seen if one is not None})
            is_category = len(kinds) == 1 and not next((one.ordered for one in seen if one is not None), True)
            of = self.optuna.distributions
            places[f"x{k}"] = of.CategoricalDistribution(values) if is_category else of.FloatDistribution(0.0, 1.0)
        return places


def _values(ranked: Sequence[Candidate]) -> list[float]:
    """Return what a sampler is to make small, of candidates from the best to the worst: the logarithm of the time, and who did
    not get there behind all who did, in their order.
    """
    slowest_s = max((one.reached_s for one in ranked if one.reached_s < INF), default=1.0)
    behind = math.log(slowest_s) + 1.0
    return [math.log(one.reached_s) if one.reached_s < INF else behind + k / len(ranked) for k, one in enumerate(ranked)]


def _asked(settings: Settings, params: dict[str, float]) -> Settings:
    """Return a recipe's settings as a sampler asks for them; nothing is asked of places that it does not have."""
    return tuple(None if one is None else replace(one, at=params[f"x{k}"]) for k, one in enumerate(settings))
