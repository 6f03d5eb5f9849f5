"""Published ranges of learning rates, and where they were published: what a rule that is named alone is tuned over."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

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
class Range:
    """A rule's published range of learning rates, and where it was published."""

    make: Callable[[float], Rule]
    low: float
    high: float
    source: str

    def at(self, share: float) -> float:
        """Return the learning rate at a share of the range, in logarithm, to two digits: 0 is the lowest, 1 the highest."""
        return two_digits(self.low * math.exp(math.log(self.high / self.low) * share))


_DEEPOBS = "tuned values on DeepOBS's classification problems (Schneider, Balles, Hennig, 2019)"
_DEEPOBS_MOMENTUM = _DEEPOBS + ", 4e-4 to 4e-2 at momentum 0.99, at the same lr / (1 - momentum)"
_VALLEY = "Schmidt, Schneider, Hennig, Descending through a Crowded Valley, 2021"
_ALGOPERF = "AlgoPerf's AdamW baseline (Dahl et al., 2023, arXiv:2306.07179)"


def _muon_with_adamw(lr: float) -> Rule:
    return split(matrices=muon(lr), convolutions=muon(lr), rest=adamw(0.003))


RANGES = {
    "sgd": Range(sgd, 0.025, 1.6, _DEEPOBS),
    "momentum": Range(momentum, 0.004, 0.4, _DEEPOBS_MOMENTUM),
    "ema_momentum": Range(ema_momentum, 0.04, 4.0, "ten times that of momentum, whose steps are ten times as long"),
    "nesterov": Range(nesterov, 0.004, 0.4, _DEEPOBS_MOMENTUM),
    "adagrad": Range(adagrad, 1e-4, 1.0, _VALLEY),
    "adadelta": Range(adadelta, 1e-4, 1.0, _VALLEY),
    "rmsprop": Range(rmsprop, 1e-4, 1e-2, "that of Adam, which divides by the same root mean square"),
    "adam": Range(adam, 1e-4, 1e-2, _ALGOPERF),
    "adamw": Range(adamw, 1e-4, 1e-2, _ALGOPERF),
    "lion": Range(lion, 1e-5, 3.3e-3, "3 to 10 times below AdamW's (Chen et al., 2023, arXiv:2302.06675)"),
    **{
        rule.__name__: Range(rule, 1e-4, 1e-2, "that of Adam, which it varies")
        for rule in (adamax, nadam, amsgrad, radam, mars, soap)
    },
    "schedule_free_adamw": Range(
        schedule_free_adamw, 1e-4, 1e-1, "1 to 10 times AdamW's (Defazio et al., 2024, arXiv:2405.15682)"
    ),
    "muon": Range(_muon_with_adamw, 0.002, 0.2, "the authors' 0.02 (Jordan et al., 2024), a decade either way"),
}


def learning_rates(range_: Range, count: int = NUM_LEARNING_RATES) -> list[float]:
    """Return learning rates evenly spread in logarithm over a range, ends included, to two digits.

    >>> learning_rates(RANGES["adamw"])
    [0.0001, 0.00032, 0.001, 0.0032, 0.01]
    """
    return [range_.at(i / (count - 1)) for i in range(count)]


def two_digits(value: float) -> float:
    """Return a number rounded to two digits.

    >>> two_digits(0.001778)
    0.0018
    """
    return float(f"{value:.2g}")


def learning_rate(rule: Rule) -> float:
    """Return the (first) learning rate of a rule."""
    return next(link.lr for link in rule.transforms() if isinstance(link, ScaleByLearningRate))
