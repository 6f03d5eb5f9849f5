"""Methods that are said to speed training up, and their evidence cards: what each bought when it was raced on real tasks.

A method is a change to a recipe's text. Its card is made by a race of the recipe with it against the recipe without it, each
with its learning rate searched (`python -m benchmarks.methods`); cards lie beside this file as JSON, so that listing them
imports nothing.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..errors import unknown

CARDS = Path(__file__).with_name("cards.json")
UNTESTED = "not raced yet"


@dataclass(frozen=True)
class Method:
    """One method.

    Attributes:
        name: what it is called.
        spelled: how a recipe says it.
        costs: what it costs, beside nothing.
        claims: what is claimed of it, by whom.
        source: where.
        rule: what becomes of a recipe's rule, `{rule}`.
        more: further arguments of the recipe.
        model: further arguments of its network.
        kinds: of data that it goes with; none: all.
        network: that it is a part of, such as `mlp`; none: it goes with any.
    """

    name: str
    spelled: str
    costs: str
    claims: str
    source: str
    rule: str = "{rule}"
    more: Mapping[str, str] = field(default_factory=dict)
    model: str = ""
    kinds: tuple[str, ...] = ()
    network: str = ""

    def recipe(self, rule: str, model: str, **base: str) -> str:
        """Return the text of a recipe with the method: of a rule, of a network's open call such as `mlp((64,)`, and more.

        >>> METHODS["label smoothing"].recipe("adamw", "mlp((64,)", batch="32")
        'Recipe(adamw, model=mlp((64,)), batch=32, objective=cross_entropy(label_smoothing=0.1))'
        """
        words = {"model": f"{model}{self.model})", **base, **self.more}
        return f"Recipe({self.rule.format(rule=rule)}, {', '.join(f'{name}={text}' for name, text in words.items())})"


BARE = Method("nothing", "", "", "", "")
_LIST = (
    Method("EMA of the weights", "chain(adamw(0.003), ema_weights(0.99))", "one more copy of the weights",
           "a better network at any moment of a constant rate",
           "Polyak, Juditsky, 1992; Izmailov et al., 2018, arXiv:1803.05407", rule="chain({rule}, ema_weights(0.99))"),
    Method("Lookahead", "chain(adamw(0.003), lookahead())", "one more copy of the weights",
           "faster, and less sensitive to the rate", "Zhang, Lucas, Hinton, Ba, 2019, arXiv:1907.08610",
           rule="chain({rule}, lookahead())"),
    Method("clipping by norm", "chain(clip_global_norm(1.0), adamw(0.003))", "one pass over the gradients",
           "higher rates without divergence", "Pascanu, Mikolov, Bengio, 2013, arXiv:1211.5063",
           rule="chain(clip_global_norm(1.0), {rule})"),
    Method("gradient centralization", "chain(centralize_gradients(), adamw(0.003))", "one pass over the gradients",
           "faster and better on image networks", "Yong et al., 2020, arXiv:2004.01461",
           rule="chain(centralize_gradients(), {rule})"),
    Method("sharpness-aware gradients", "gradient=sharpness_aware(0.05)", "two passes forward and back a step",
           "lower error for the same epochs", "Foret et al., 2021, arXiv:2010.01412",
           more={"gradient": "sharpness_aware(0.05)"}),
    Method("selective backprop", "gradient=selective(0.5)", "a pass forward; saves half of the others",
           "the same error 1.5 (CIFAR-10) to 3.5 (SVHN) times sooner", "Jiang et al., 2019, arXiv:1910.00762",
           more={"gradient": "selective(0.5)"}),
    Method("label smoothing", "objective=cross_entropy(label_smoothing=0.1)", "nothing", "better accuracy at the end",
           "Szegedy et al., 2016, arXiv:1512.00567", more={"objective": "cross_entropy(label_smoothing=0.1)"}),
    Method("dropout", "model=mlp((64, 64), dropout=0.2)", "one draw a number", "less overfitting, more steps",
           "Srivastava et al., 2014", model=", dropout=0.2", network="mlp"),
    Method("batch normalisation", "model=mlp((64, 64), norm='batch')", "two passes over the activations",
           "14 times fewer steps on ImageNet", "Ioffe, Szegedy, 2015, arXiv:1502.03167", model=", norm='batch'", network="mlp"),
    Method("mixup", "augment=mixup(0.2)", "one blend of the inputs", "lower error at the end",
           "Zhang et al., 2018, arXiv:1710.09412", more={"augment": "mixup(0.2)"}),
    Method("shifted images", "augment=shift(1)", "one gather of the inputs", "lower error at the end, more steps",
           "as in LeCun et al., 1998", more={"augment": "shift(1)"}, kinds=("image",)),
    Method("cutmix", "augment=cutmix(1.0)", "one paste of the inputs", "lower error at the end",
           "Yun et al., 2019, arXiv:1905.04899", more={"augment": "cutmix(1.0)"}, kinds=("image",)),
    Method("alternating flip", "augment=flip()", "one copy of the inputs",
           "sooner on CIFAR-10 than with a new draw each time", "Jordan, 2024, arXiv:2404.00498", more={"augment": "flip()"},
           kinds=("image",)),
    Method("whitened first layer", "model=residual_cnn(whiten=True)", "a fixed convolution", "sooner on CIFAR-10",
           "Jordan, 2024, arXiv:2404.00498", model=", whiten=True", kinds=("image",), network="residual_cnn"),
    Method("Dirac initialisation", "model=residual_cnn(init='dirac')", "nothing", "sooner on CIFAR-10",
           "Zagoruyko, Komodakis, 2017, arXiv:1706.00388; Jordan, 2024", model=", init='dirac'", kinds=("image",),
           network="residual_cnn"),
    Method("stochastic depth", "model=residual_cnn(stochastic_depth=0.2)", "one draw a row and block",
           "lower error in deep networks", "Huang et al., 2016, arXiv:1603.09382", model=", stochastic_depth=0.2",
           kinds=("image",), network="residual_cnn"),
    Method("test-time augmentation", "model=residual_cnn(views=2), augment=flip()",
           "two passes an evaluation, which no clock of a race counts", "lower error for the same training",
           "as in Jordan, 2024, arXiv:2404.00498", model=", views=2", more={"augment": "flip()"}, kinds=("image",),
           network="residual_cnn"),
    Method("low-rank layers", "model=mlp((64, 64), rank=16)", "nothing; saves weights and products",
           "fewer weights for the same error", "Sainath et al., 2013, doi:10.1109/ICASSP.2013.6638949", model=", rank=16",
           network="mlp"),
    Method("shared layers", "model=transformer(shared=True)", "nothing; saves weights",
           "many times fewer weights for a little accuracy", "Lan et al., 2020, arXiv:1909.11942", model=", shared=True",
           network="transformer"),
)  # fmt: skip
METHODS = {method.name: method for method in _LIST}


@dataclass(frozen=True)
class Card:
    """What a method bought on one task: seconds to the target without it over those with it.

    Attributes:
        method: its name.
        task: on what, and to which target.
        ratio: above 1 where it helps; 0 where the target was never reached with it, infinite where never without it.
        interval: of the ratio, valid whenever one looks.
        p: against "no faster, no slower".
        seeds: pairs.
        seconds: to the target without, and with it, medians.
        verdict: in words.
    """

    method: str
    task: str
    ratio: float
    interval: tuple[float, float]
    p: float
    seeds: int
    seconds: tuple[float, float]
    verdict: str

    def __str__(self) -> str:
        low, high = self.interval
        return f"{self.task}: {self.ratio:.2f}x [{low:.2f}, {high:.2f}], {self.seeds} seeds, {self.verdict}"


def cards(path: Path = CARDS) -> list[Card]:
    """Return the cards that there are."""
    if not path.is_file():
        return []
    told = json.loads(path.read_text())["cards"]
    return [Card(**{name: _read(value) for name, value in one.items()}) for one in told]


def _read(value: Any) -> Any:
    """Return a value as JSON keeps it, lists as tuples, `"inf"` as a number."""
    if isinstance(value, list):
        return tuple(map(_read, value))
    return float(value) if value == "inf" else value


@dataclass(frozen=True)
class Methods:
    """Methods and their cards. `str` is a table."""

    methods: tuple[Method, ...]
    cards: tuple[Card, ...]

    def of(self, method: Method) -> list[Card]:
        """Return a method's cards."""
        return [card for card in self.cards if card.method == method.name]

    def to_dict(self) -> dict[str, Any]:
        """Return them as a document, the same as `steepest methods --json`."""
        return {"methods": [self._told(method) for method in self.methods]}

    def _told(self, method: Method) -> dict[str, Any]:
        told = {name: getattr(method, name) for name in ("name", "spelled", "costs", "claims", "source")}
        return told | {"cards": [vars(card) for card in self.of(method)]}

    def __str__(self) -> str:
        blocks = []
        for method in self.methods:
            lines = [f"{method.name}: {method.spelled}"]
            lines += [f"  costs {method.costs}; claimed: {method.claims} ({method.source})"]
            blocks.append(
                "\n".join([*lines, *(f"  {card}" for card in self.of(method))] + [f"  {UNTESTED}"] * (not self.of(method)))
            )
        return "\n".join(blocks)

    def __repr__(self) -> str:
        return f"Methods({len(self.methods)} methods, {len(self.cards)} cards)"


def methods(name: str | None = None) -> Methods:
    """Return the methods that are said to speed training up, or one of them, with what each bought on real tasks.

    Raises:
        InputError: no method has this name.

    >>> methods("mixup").methods[0].spelled
    'augment=mixup(0.2)'
    """
    if name is not None and name not in METHODS:
        raise unknown("method", name, METHODS)
    chosen = tuple(METHODS.values()) if name is None else (METHODS[name],)
    return Methods(chosen, tuple(cards()))
