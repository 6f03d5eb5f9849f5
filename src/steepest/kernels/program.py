"""A program: what a chain computes, phase by phase over memories; what printers print and tables are made for."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

from ..errors import InputError
from ..rules.language import Orthogonalize
from .expression import Node

PARAMETER, GRADIENT = "p", "g"
SCRATCH = "scratch"
ASKED, ANSWERED = "asked", "answered"  # one memory, before and after a matrix is worked on


@dataclass
class Phase:
    """What is written, memory by memory, and what is added up, by the path that asked."""

    stores: dict[str, Node] = field(default_factory=dict)
    totals: dict[str, Node] = field(default_factory=dict)

    @property
    def roots(self) -> list[Node]:
        return [*self.stores.values(), *self.totals.values()]


@dataclass(frozen=True)
class Program:
    """Phases over memories: `p`, `g`, `LINK.SLOT` for each state slot, `scratchN`; and the numbers of a row that they read.

    `totals` names the sums and what each runs over; `kept` the state slots of one number, with what they become; `seeds` those
    of the random numbers, in the order in which they were asked for; `kinds` what a memory holds, where that is not the
    parameter's dtype; `matrices` which phase ends with work on a matrix: the one that lies in `askedN`, and `answeredN` after.
    """

    phases: tuple[Phase, ...]
    memories: tuple[str, ...]
    scalars: tuple[tuple[int, str], ...]
    totals: dict[str, str]
    kept: dict[str, Node]
    seeds: tuple[int, ...]
    kinds: dict[str, str]
    matrices: dict[int, tuple[int, Orthogonalize]]
    shaping: dict[tuple[int, str], Any]

    def read(self, scalars: Sequence[SimpleNamespace]) -> list[float]:
        """Return this step's scalars in their order; refuse what shaped the formula and has changed since."""
        for (i, name), value in self.shaping.items():
            if (now := getattr(scalars[i], name)) != value:
                raise InputError(
                    f"{name!r} in scalars() was {value!r} when its formula was traced and is {now!r} now: what changes from "
                    "step to step must be a number (1.0 or 0.0, with where())"
                )
        return [getattr(scalars[i], name) for i, name in self.scalars]

    @property
    def moving(self) -> list[str]:
        """The memories that are asked where they lie at every step."""
        return [name for name in (PARAMETER, GRADIENT) if name in self.memories]

    @property
    def staying(self) -> list[str]:
        """The memories that stay where they are."""
        return [name for name in self.memories if name not in (PARAMETER, GRADIENT)]

    @property
    def by_units(self) -> bool:
        """Whether a sum runs over units."""
        return "unit" in self.totals.values()

    def over(self, phase: int, over: str) -> list[str]:
        """Return the sums of a phase that run over all tensors, or over each, or over units."""
        return [path for path in self.phases[phase].totals if self.totals[path] == over]

    def added_up(self, phase: int) -> list[str]:
        """Return the sums of a phase that take more than its chunks: over all tensors, or over each."""
        return [path for path in self.phases[phase].totals if self.totals[path] != "unit"]

    @functools.cached_property
    def asked_from(self) -> list[set[str]]:
        """For each phase, the sums over all tensors that it and later ones make."""
        alls = [set(self.over(phase, "all")) for phase in range(len(self.phases))]
        return [set().union(*alls[phase:]) for phase in range(len(alls) + 1)]

    def held(self, dtype: str) -> dict[str, str]:
        """Return what each memory holds, for parameters of this dtype."""
        wide = "float64" if dtype == "float64" else "float32"
        working = (SCRATCH, ASKED, ANSWERED)
        kinds = {name: self.kinds.get(name, "wide" if name.startswith(working) else dtype) for name in self.memories}
        return {name: wide if kind == "wide" else kind for name, kind in kinds.items()}


def in_order(roots: Sequence[Node]) -> list[Node]:
    """Return every node that the roots need, arguments first."""
    seen: set[Node] = set()
    ordered: list[Node] = []

    def visit(node: Node) -> Iterator[Node]:
        if node not in seen:
            seen.add(node)
            for arg in node.args:
                yield from visit(arg)
            yield node

    for root in roots:
        ordered += visit(root)
    return ordered
