"""Recipe: how to learn it. A frozen value that prints as the Python that makes it, and is read back from that text."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from . import augmentations, models, objectives, rules, schedules
from .augmentations import Augmentation, as_augmentations
from .calls import read_call, read_named
from .errors import InputError, at_least, between, positive, shown, unknown, whole
from .models import as_model
from .objectives import Objective, as_objective
from .rules import Rule
from .values import printed_call


@dataclass(frozen=True, repr=False)
class Plateau:
    """Lower the learning rate when a watched number stops improving: `lr <- lr * factor` after more than `patience`
    evaluations without improvement.

    Unlike a schedule this has state (the best value so far, how long ago, the factor reached), which is kept in the Run. It
    equals torch's `ReduceLROnPlateau` in relative mode.

    Args:
        metric: what is watched on the validation part; `"loss"` by default.
        factor: in (0, 1).
        patience: evaluations to wait, >= 0.
        threshold: the relative change that counts as an improvement.
        min_factor: how far the learning rate may fall, as a share of where it began.
    """

    metric: str = "loss"
    factor: float = 0.1
    patience: int = 10
    threshold: float = 1e-4
    min_factor: float = 0.0

    def __post_init__(self) -> None:
        from .reach import metric

        metric(self.metric)
        positive("plateau factor", self.factor)
        between("plateau factor", self.factor, 0, 1, open_end=True)
        at_least("plateau patience", self.patience, 0)
        at_least("plateau threshold", self.threshold, 0)
        at_least("plateau min_factor", self.min_factor, 0)

    def __repr__(self) -> str:
        return printed_call(self)


plateau = Plateau


def check_batch(name: str, batch: Any) -> None:
    """Raise unless a batch is a whole number >= 1, `"full"`, or None."""
    if batch is not None and batch != "full" and (not isinstance(batch, int) or isinstance(batch, bool) or batch < 1):
        raise InputError(f"{name} must be a whole number >= 1, or 'full' (got {batch!r})")


@dataclass(frozen=True, repr=False)
class Recipe:
    """How to learn: the rule, and what goes with it.

    Args:
        rule: such as `adamw(0.003)`, or the text of one.
        batch: rows a step, >= 1, or `"full"`: full batch, mini-batch and single sample are three settings of one number;
            None: that of the default recipe for the data, or what a race gives everyone.
        epochs: how often every row is seen at most, > 0; None: likewise.
        model: replaces the task's model, so that networks can race; a value or its text, such as `"mlp((64, 64))"`.
        objective: replaces the task's objective, so that losses and regularisers can race; also its text or your function.
        plateau: lowers the learning rate when a watched number stalls.
        patience: stop after this many evaluations without a better validation loss, and go back to the best weights;
            None: train to the end and keep the last weights.
        augment: random changes to the rows of each batch, such as `(flip(), shift(2))`; None: those of the default recipe for
            the data, `()`: none.
        gradient: how a gradient is obtained: a function of `steepest.gradient`, or the text of one, such as
            `"sharpness_aware(0.05)"` or `"selective(0.5)"`; None: one pass forward and back.
        name: what tables call it; None: the rule's name.

    >>> from steepest import adamw
    >>> Recipe(adamw(0.003), batch=64)
    Recipe(adamw(0.003), batch=64)
    """

    rule: Rule
    batch: int | str | None = None
    epochs: float | None = None
    model: Any = None
    objective: Objective | Callable[..., Any] | None = None
    plateau: Plateau | None = None
    patience: int | None = None
    augment: tuple[Augmentation, ...] | Augmentation | None = None
    gradient: Callable[..., Any] | None = None
    name: str | None = None

    def __post_init__(self) -> None:
        if isinstance(self.rule, str):
            self._read_rule(self.rule)
        if not isinstance(self.rule, Rule):
            raise _no_rule("a recipe needs a rule such as adamw(1e-3), or its text", self.rule)
        check_batch("batch", self.batch)
        if self.epochs is not None:
            positive("epochs", self.epochs)
        if self.patience is not None:
            whole("patience", self.patience, 1)
        if self.plateau is not None and not isinstance(self.plateau, Plateau):
            raise InputError(f"plateau must be one such as plateau(factor=0.5) (got {self.plateau!r})")
        if self.name is not None and not isinstance(self.name, str):
            raise InputError(f"a recipe's name must be text (got {self.name!r})")
        object.__setattr__(self, "model", as_model(self.model))
        object.__setattr__(self, "objective", as_objective(self.objective))
        object.__setattr__(self, "augment", as_augmentations(self.augment))
        object.__setattr__(self, "gradient", as_gradient(self.gradient))

    def _read_rule(self, text: str) -> None:
        """Put the rule that a text names in its place, with the name that tables call it."""
        made = parse_recipe(text)
        if made != Recipe(made.rule, name=made.name):
            raise InputError(f"a recipe needs a rule such as adamw(1e-3); {shown(text)} is a whole recipe: parse_recipe(text)")
        object.__setattr__(self, "rule", made.rule)
        object.__setattr__(self, "name", self.name or made.name)

    @property
    def changes(self) -> tuple[Augmentation, ...]:
        """How rows are changed in training, one after the other."""
        return as_augmentations(self.augment) or ()

    @property
    def label(self) -> str:
        """What tables call it."""
        return self.name or str(self.rule).split("(")[0]

    def batch_size(self, num_rows: int) -> int:
        """Return the rows a step takes of a part of this size; all of them, where the recipe does not say."""
        return num_rows if self.batch == "full" else min(int(self.batch or num_rows), num_rows)

    def filled(self, frame: Recipe) -> Recipe:
        """Return the recipe with the batch, the epochs and the augmentations of another where it does not say."""
        frame_of = {name: getattr(frame, name) for name in ("batch", "epochs", "augment") if getattr(self, name) is None}
        return replace(self, **frame_of)

    def num_steps(self, num_rows: int) -> int:
        """Return how many steps its epochs take over a part of this size."""
        from .data.batches import batch_bounds

        per_epoch = len(batch_bounds(num_rows, self.batch_size(num_rows)))
        return max(1, math.ceil((self.epochs or 1) * per_epoch))

    def __repr__(self) -> str:
        return printed_call(self, "Recipe")


def _maker(name: str) -> Callable[..., Any]:
    """Return a function of `steepest.gradient` that makes another, which is imported, and torch with it, when it is called."""

    def make(*args: Any, **options: Any) -> Any:
        from . import gradient

        return getattr(gradient, name)(*args, **options)

    return make


GRADIENTS = {name: _maker(name) for name in ("accumulated", "selective", "sharpness_aware")}


def as_gradient(value: Any) -> Callable[..., Any] | None:
    """Return the gradient function that a text such as `"selective(0.5)"` stands for; a function, and None, as they are."""
    if isinstance(value, str):
        value = read_named(value, GRADIENTS, what="gradient function", example="selective(0.5)")
    if value is not None and not callable(value):
        raise InputError(f"gradient takes a function such as sharpness_aware(0.05), or its text (got {value!r})")
    return value


# -- reading recipes from text ----------------------------------------------------------------------------------------


EXAMPLE = "adamw(0.003)"


def callables() -> dict[str, Callable[..., Any]]:
    """Return every function that a recipe's text may call."""
    named = {name: getattr(rules, name) for name in rules.__all__ if name[0].islower()}
    named |= {name: getattr(schedules, name) for name in schedules.__all__ if name[0].islower()}
    named |= {name: getattr(models, name) for name in models.NAMES}
    named |= {name: getattr(objectives, name) for name in objectives.NAMES}
    named |= {name: getattr(augmentations, name) for name in augmentations.NAMES}
    named |= {**GRADIENTS, "Recipe": Recipe, "plateau": Plateau}
    return {name: named[name] for name in sorted(named)}


# Names a recipe may be called by on the command line, beside every rule's own: rules that only make sense together.
COMBINED = {"muon": "split(matrices=muon(0.02), convolutions=muon(0.02), rest=adamw(0.003))"}


def read(text: str) -> Any:
    """Evaluate the text of a steepest value: calls of steepest's own functions on numbers, strings, tuples and dicts.

    >>> read("Recipe(adamw(0.003, schedule=cosine(warmup=0.1)), batch=64)")
    Recipe(adamw(0.003, schedule=cosine(warmup=0.1)), batch=64)
    """
    return read_call(text, callables(), example=EXAMPLE)


def as_recipe(value: Recipe | Rule | str | None) -> Recipe | None:
    """Return the recipe that a recipe, a rule or a text stands for; None stays None.

    >>> as_recipe(rules.adamw(0.003))
    Recipe(adamw(0.003))
    """
    if isinstance(value, str):
        return parse_recipe(value)
    if isinstance(value, Rule):
        return Recipe(value)
    if value is None or isinstance(value, Recipe):
        return value
    raise _no_rule("a recipe is a Recipe, a rule or a text such as 'adamw(0.003)'", value)


def is_torch_optimizer(value: Any) -> bool:
    """Return whether a value is an optimizer of torch's kind, or a class of them."""
    kinds = value.__mro__ if isinstance(value, type) else type(value).__mro__
    return any(kind.__name__ == "Optimizer" and kind.__module__.startswith("torch.") for kind in kinds)


def _no_rule(expected: str, value: Any) -> InputError:
    """Return the error of something else where a rule stands; of torch's optimizers the rule of that name is told."""
    if not is_torch_optimizer(value):
        return InputError(f"{expected} (got {value!r})")
    name = (value if isinstance(value, type) else type(value)).__name__
    same = name.lower() if name.lower() in rules.CATALOGUE else "adam"
    return InputError(
        f"{expected} (got torch's {name}); an optimizer is given by its rule, which makes it: steepest.{same}(0.001)"
    )


def parse_recipe(text: str) -> Recipe:
    """Read a recipe from a rule's name (`"adamw"`), a rule (`"adamw(0.003)"`) or a whole recipe.

    >>> parse_recipe("lion(3e-4)")
    Recipe(lion(0.0003), name='lion')
    """
    text = text.strip()
    if re.search(r"\b(one_of|between)\(", text):
        raise InputError(f"{shown(text)} has open places, which only a race searches: steepest race ... --recipes")
    rule_names = list(rules.CATALOGUE)
    if text.isidentifier():
        if text not in rule_names:
            raise unknown("recipe", text, rule_names)
        return Recipe(read(COMBINED.get(text, f"{text}()")), name=text)
    made = read(text)
    if isinstance(made, Rule):
        return Recipe(made, name=None if text.startswith(("chain", "split")) else text.split("(")[0])
    if not isinstance(made, Recipe):
        raise InputError(f"expected a recipe such as adamw(0.003) (got {text!r})")
    return made


def split_text(text: str) -> list[str]:
    """Part text at the commas outside brackets.

    >>> split_text("adamw, sgd(0.1, schedule=cosine())")
    ['adamw', 'sgd(0.1, schedule=cosine())']
    """
    pieces, depth, start = [], 0, 0
    for at, character in enumerate(text):
        depth += (character in "([{") - (character in ")]}")
        if character == "," and depth == 0:
            pieces.append(text[start:at])
            start = at + 1
    return [piece.strip() for piece in [*pieces, text[start:]] if piece.strip()]


def named(recipe: Recipe, **changes: Any) -> Recipe:
    """Return the recipe with the given fields replaced; None leaves a field as it is."""
    return replace(recipe, **{name: value for name, value in changes.items() if value is not None})
