"""What a rule is: the mathematics of one update, gradient in, step out.

A `Transform` is one link with a formula; `chain` joins links; `split` gives each parameter its own chain. All three are
`Rule`s, and all a rule is asked is `links(parameter)`: the flat sequence of transforms that turn this parameter's gradient
`u` into the step that is subtracted, `p <- p - u`. An execution (see `steepest.kernels`) runs that sequence.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase
from types import MappingProxyType
from typing import Any, ClassVar, NamedTuple, TypeVar

from ..errors import InputError, nearest
from ..values import plain, printed_call
from .language import Formula, Symbol

KINDS = ("matrices", "vectors", "convolutions", "embeddings")


@dataclass(frozen=True)
class Parameter:
    """What a rule may know of a parameter: its name (None where the caller gave none), shape and kind (see `KINDS`)."""

    name: str | None
    shape: tuple[int, ...]
    kind: str

    def __str__(self) -> str:
        return f"{self.name or 'an unnamed parameter'} (one of the {self.kind}, shape {tuple(self.shape)})"


class Link(NamedTuple):
    """A transform at its place in a rule. Parameters served by the same place share its totals (a global norm, say).

    `storage` says how its state is kept (see `Slot`) where the slots themselves do not; None: as the parameter.
    """

    path: str
    transform: Transform
    storage: str | None = None

    def slots(self) -> dict[str, Slot]:
        """Return the state slots."""
        found = {}
        for name, given in self.transform.initial_state().items():
            slot = given if isinstance(given, Slot) else Slot(float(given))
            is_own = slot.storage is not None or slot.shape is not None
            # a mean of squares underflows in float16, and in bfloat16 a decay of 0.1% is less than half a rounding
            told = "wide" if slot.nonnegative and self.storage in ("bfloat16", "float16") else self.storage
            found[name] = slot if is_own else replace(slot, storage=told)
        return found


class Rule:
    """The mathematics of one update. Abstract: a `Transform`, a `chain` or a `split`."""

    def links(self, parameter: Parameter, path: str = "") -> tuple[Link, ...]:
        """Return the transforms that serve this parameter, first to last; `path` is the place of this rule in a larger one."""
        raise NotImplementedError

    def transforms(self) -> tuple[Transform, ...]:
        """Return every transform in the rule, whichever parameter it serves."""
        raise NotImplementedError


def one_number(shape: tuple[int, ...]) -> tuple[int, ...]:
    """Return the shape of a state slot that holds one number for a whole tensor."""
    del shape
    return ()


@dataclass(frozen=True)
class Slot:
    """One number of state for every element of a parameter, unless `shape` says otherwise.

    Args:
        initial: what it starts from: a number, or `"parameter"` for what the parameter holds when it is first updated.
        shape: the slot's shape as a function of the parameter's; None: the same. `one_number`: one for the whole tensor,
            kept in double precision.
        nonnegative: it never goes below 0, as a mean of squares.
        storage: how it is kept: a dtype, `"8-bit"`, `"wide"` (as the parameter, in float32 at least), `"parameter"` (as the
            parameter, whatever `keep_state` says); None: as `keep_state` says, else as the parameter.
        shared: one for the whole param group: a parameter that was not updated for a while takes over the others'.
    """

    initial: float | str = 0.0
    shape: Callable[[tuple[int, ...]], tuple[int, ...]] | None = None
    nonnegative: bool = False
    storage: str | None = None
    shared: bool = False


@dataclass(frozen=True)
class Transform(Rule):
    """One link of a chain. Abstract: subclasses are frozen dataclasses that give `formula`.

    `slots` names the state, under torch's own names: a number is the initial value, a `Slot` says more. `scalars` gives the
    numbers of the formula for one step: every field, and whatever depends on the step count. Booleans, strings and None shape
    the formula itself.
    """

    slots: ClassVar[Mapping[str, float | Slot]] = MappingProxyType({})
    moves_weights: ClassVar[bool] = False  # after the step, to where the links before it do not know
    takes_last: ClassVar[bool] = False  # the parameter as it is stored
    must_be_averaged: ClassVar[bool] = False  # the weights of the training are not meant to be evaluated

    def initial_state(self) -> Mapping[str, float | Slot]:
        """Return each state slot with what it starts from."""
        return self.slots

    def scalars(self, t: int, lr: float) -> dict[str, Any]:
        """Return the run-time scalars of step `t` (counted from 1) at learning rate `lr`."""
        del t, lr
        return dict(vars(self))

    def formula(self, u: Symbol, p: Symbol, s: Any, k: Any) -> Formula:
        """Return the new `u` from the incoming `u`, the parameter `p`, the state `s` and the scalars `k`."""
        raise NotImplementedError

    def evaluated(self, p: Symbol, s: Any, k: Any) -> Symbol | None:
        """Return the weights to evaluate with, or None where they are those of the training."""
        del p, s, k
        return None

    def serves(self, parameter: Parameter) -> bool:
        """Return whether the transform does anything to the parameter; its chain goes without it where not."""
        del parameter
        return True

    def refusal(self, parameter: Parameter) -> str | None:
        """Return why this transform cannot serve the parameter, or None when it can."""
        del parameter
        return None

    def links(self, parameter: Parameter, path: str = "") -> tuple[Link, ...]:
        if reason := self.refusal(parameter):
            raise InputError(reason)
        return (Link(path, self),) if self.serves(parameter) else ()

    def transforms(self) -> tuple[Transform, ...]:
        return (self,)

    def __repr__(self) -> str:
        return printed_call(self)


@dataclass(frozen=True, repr=False)
class Projection(Transform):
    """A link that acts on the parameter after the step, wherever it stands in a chain. Abstract: subclasses give `project`."""

    def formula(self, u: Symbol, p: Symbol, s: Any, k: Any) -> Formula:
        return u

    def project(self, q: Symbol, p: Symbol, s: Any, k: Any) -> Symbol:
        """Return what becomes of the parameter: `q = p - u` is where the step leads, `p` where it was."""
        raise NotImplementedError


def check_order(links: tuple[Link, ...]) -> None:
    """Refuse links that undo one another where they stand."""
    transforms = [link.transform for link in links]
    moving = [transform for transform in transforms if transform.moves_weights]
    for i, first in enumerate(transforms):
        later = transforms[i + 1 :]
        if first.must_be_averaged and moving:
            raise InputError(f"{first!r} does not go with {moving[0]!r}, which would move one of its two sets of weights alone")
        if first.must_be_averaged and (after := [one for one in later if type(one).formula is not Projection.formula]):
            raise InputError(f"{first!r} stands last, after the learning rate: put {after[0]!r} before it")
        if first.takes_last and (after := [one for one in later if one.takes_last]):
            raise InputError(f"{first!r} and {after[0]!r} both say how the parameter is rounded: keep one of them")
        keeps = first.takes_last or type(first).evaluated is not Transform.evaluated
        if keeps and (after := [one for one in later if one.moves_weights]):
            raise InputError(f"{after[0]!r} would change the weights that {first!r} has taken: put it before that one")


def _rules(where: str, rules: tuple[Any, ...]) -> None:
    for rule in rules:
        if not isinstance(rule, Rule):
            raise InputError(f"{where} takes rules such as adamw(1e-3) (got {rule!r})")


@dataclass(frozen=True, repr=False)
class Chain(Rule):
    """Rules one after the other; `made_by` is how the chain prints when a named function made it."""

    rules: tuple[Rule, ...]
    made_by: str | None = field(default=None, compare=False)

    def __post_init__(self) -> None:
        _rules("chain", self.rules)
        if not self.rules:
            raise InputError("chain needs at least one rule (got none)")

    def links(self, parameter: Parameter, path: str = "") -> tuple[Link, ...]:
        return tuple(link for i, rule in enumerate(self.rules) for link in rule.links(parameter, f"{path}/{i}"))

    def transforms(self) -> tuple[Transform, ...]:
        return tuple(link for rule in self.rules for link in rule.transforms())

    def __repr__(self) -> str:
        return self.made_by or f"chain({', '.join(map(repr, self.rules))})"


def chain(*rules: Rule) -> Chain:
    """Join rules: what the first returns is what the second takes.

    >>> from steepest import adam, chain, clip_global_norm
    >>> chain(clip_global_norm(1.0), adam(0.01))
    chain(clip_global_norm(1.0), adam(0.01))
    """
    return Chain(tuple(rules))


Pattern = str | tuple[int | None, ...]


def _check_pattern(pattern: Any) -> None:
    """Raise unless this is a name pattern, or a shape with None for any size."""
    if isinstance(pattern, str):
        return
    if not isinstance(pattern, tuple):
        raise InputError(f"split's keys are name patterns ('head.*') or shapes ((None, 1000)) (got {pattern!r})")
    for size in pattern:
        if size is not None and (not isinstance(size, int) or isinstance(size, bool) or size < 0):
            raise InputError(f"a shape's sizes are whole numbers >= 0, or None for any (got {size!r} in {pattern!r})")


def _matches(pattern: Pattern, parameter: Parameter) -> bool:
    if isinstance(pattern, str):
        if parameter.name is None:
            raise InputError(f"split by name ({pattern}) needs names: pass the model or model.named_parameters()")
        return fnmatchcase(parameter.name, pattern)
    sizes = parameter.shape
    return len(pattern) == len(sizes) and all(asked in (None, size) for asked, size in zip(pattern, sizes, strict=True))


@dataclass(frozen=True, repr=False)
class Split(Rule):
    """Each parameter to its own rule: the first name pattern or shape that matches, else its kind, else `rest`."""

    patterns: tuple[tuple[Pattern, Rule], ...]
    kinds: tuple[tuple[str, Rule], ...]
    rest: Rule | None = None

    def __post_init__(self) -> None:
        for pattern, _ in self.patterns:
            _check_pattern(pattern)
        if not (self.patterns or self.kinds or self.rest):
            raise InputError("split needs at least one branch: a name pattern, a shape, a kind or rest=")
        rest = () if self.rest is None else (self.rest,)
        _rules("split", (*(rule for _, rule in (*self.patterns, *self.kinds)), *rest))
        for kind, _ in self.kinds:
            if kind not in KINDS:
                hint = nearest(kind, KINDS)
                raise InputError(
                    f"split knows the kinds {', '.join(KINDS)} and rest (got {kind!r}); "
                    + (f"did you mean {hint!r}?" if hint else 'a name pattern goes in a dict: split({"head.*": ...})')
                )

    def branch(self, parameter: Parameter) -> tuple[str, Rule]:
        """Return the name of the branch that takes this parameter, and its rule; raise when none does."""
        for pattern, rule in self.patterns:
            if _matches(pattern, parameter):
                return str(pattern), rule
        for kind, rule in self.kinds:
            if kind == parameter.kind:
                return kind, rule
        if self.rest is None:
            raise InputError(f"split: nothing takes {parameter}; add rest=..., or a pattern or shape that matches it")
        return "rest", self.rest

    def links(self, parameter: Parameter, path: str = "") -> tuple[Link, ...]:
        name, rule = self.branch(parameter)
        return rule.links(parameter, f"{path}/{name}")

    def transforms(self) -> tuple[Transform, ...]:
        rest = () if self.rest is None else (self.rest,)
        branches = (*(rule for _, rule in self.patterns), *(rule for _, rule in self.kinds), *rest)
        return tuple(link for rule in branches for link in rule.transforms())

    def __repr__(self) -> str:
        parts = [repr(dict(self.patterns))] if self.patterns else []
        parts += [f"{kind}={rule!r}" for kind, rule in self.kinds]
        parts += [f"rest={self.rest!r}"] if self.rest is not None else []
        return f"split({', '.join(parts)})"


def split(patterns: Mapping[Pattern, Rule] | None = None, *, rest: Rule | None = None, **kinds: Rule) -> Split:
    """Give each parameter its own rule, by name pattern, by shape or by kind.

    `patterns` maps shell-style name patterns (`"head.*"`) and shapes (`(None, 1000)`, where None is any size) to rules, and is
    looked at first, in its order; then the keywords `matrices` (two dimensions), `vectors` (none or one: biases, norms),
    `convolutions` (three or more) and `embeddings` (weights of `nn.Embedding`, known when the model itself is given); then
    `rest`. A parameter that nothing takes is an error.

    >>> from steepest import adamw, muon, sgd, split
    >>> split(matrices=muon(0.02), rest=adamw(0.003))
    split(matrices=muon(0.02), rest=adamw(0.003))
    >>> split({(None, 1000): sgd(0.1), "head.*": sgd(0.01)}, rest=adamw(0.003))
    split({(None, 1000): sgd(0.1), 'head.*': sgd(0.01)}, rest=adamw(0.003))
    """
    if patterns is not None and not isinstance(patterns, Mapping):
        raise InputError(f"split takes name patterns as a dict such as {{'head.*': adamw(1e-3)}} (got {patterns!r})")
    return Split(tuple((patterns or {}).items()), tuple(kinds.items()), rest)


F = TypeVar("F", bound=Callable[..., Chain])


def named(function: F) -> F:
    """Make the chain that `function` returns print as the call that made it: `adamw(0.003, weight_decay=0.1)`."""
    signature = inspect.signature(function)

    @functools.wraps(function)
    def make(*args: Any, **kwargs: Any) -> Chain:
        args, kwargs = tuple(map(plain, args)), {name: plain(value) for name, value in kwargs.items()}
        made = function(*args, **kwargs)
        bound = signature.bind(*args, **kwargs).arguments
        first = next(iter(signature.parameters))
        shown = [
            repr(value) if name == first else f"{name}={value!r}"
            for name, value in bound.items()
            if name == first or value != signature.parameters[name].default
        ]
        return Chain(made.rules, f"{function.__name__}({', '.join(shown)})")

    return make  # type: ignore[return-value]
