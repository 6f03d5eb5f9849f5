"""The tracer: runs the formulas of a chain once, over expression nodes, and keeps what they compute as a program.

A program is a list of phases. A phase reads every memory of an element (parameter, gradient, state), computes, writes, and
may add something up over all elements; a request for a total ends it, and the next phase reads the sum as one more number.
What a later phase needs is recomputed from memory where memory still has it, and kept in a scratch memory where not.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from inspect import isgenerator
from types import SimpleNamespace
from typing import Any

from ..rules import Link
from ..rules.language import Total
from .expression import Graph, Node

PARAMETER, GRADIENT = "p", "g"
SCRATCH = "scratch"


class Untraceable(Exception):  # noqa: N818  not an error: the chain runs eagerly, and says why
    """Why a chain cannot become a program."""


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
    """Phases over memories: `p`, `g`, `LINK.SLOT` for each state slot, `scratchN`; and the run-time scalars they read."""

    phases: tuple[Phase, ...]
    memories: tuple[str, ...]
    scalars: tuple[tuple[int, str], ...]
    totals: tuple[str, ...]

    @property
    def num_scratch(self) -> int:
        return sum(name.startswith(SCRATCH) for name in self.memories)


def memory_of(link: int, slot: str) -> str:
    """Return the name of a state slot's memory."""
    return f"{link}.{slot}"


def trace(links: Sequence[Link]) -> Program:
    """Run the formulas of these links over nodes; raise `Untraceable` where one needs what only tensors have."""
    graph, phases = Graph(), [Phase()]
    p, u = graph.load(PARAMETER), graph.load(GRADIENT)
    known_paths: list[str] = []
    for i, link in enumerate(links):
        before = {slot: graph.load(memory_of(i, slot)) for slot in link.transform.initial_state()}
        state = SimpleNamespace(**before)
        try:
            u = _through(link, u, p, state, _scalars(graph, i, link), graph, phases, known_paths)
        except (TypeError, AttributeError) as error:
            raise Untraceable(f"{link.transform!r}: {error}") from None
        for slot, old in before.items():
            if (new := getattr(state, slot)) is not old:
                phases[-1].stores[memory_of(i, slot)] = new
    phases[-1].stores[PARAMETER] = p - u
    settler = _Settler(graph)
    for phase in phases:
        settler.add(phase)
    settled = settler.settled
    memories = _leaves(settled, "load") | {name for phase in settled for name in phase.stores}
    order = sorted(memories, key=lambda name: (name not in (PARAMETER, GRADIENT), name != PARAMETER, name))
    return Program(tuple(settled), tuple(order), tuple(sorted(_leaves(settled, "scalar"))), tuple(known_paths))


def _scalars(graph: Graph, i: int, link: Link) -> SimpleNamespace:
    """Return the link's scalars as nodes; what shapes the formula (booleans, text, None) as it is."""
    found = {}
    for name, value in link.transform.scalars(1, 1.0).items():
        number = isinstance(value, int | float) and not isinstance(value, bool)
        found[name] = graph.scalar((i, name)) if number else value
    return SimpleNamespace(**found)


def _through(link: Link, u: Node, p: Node, s: Any, k: Any, graph: Graph, phases: list[Phase], known_paths: list[str]) -> Node:
    """Take the step through one link; every total it asks for ends a phase."""
    result: Any = link.transform.formula(u, p, s, k)
    if not isgenerator(result):
        return result
    answer: Any = None
    asked = 0
    while True:
        try:
            request = result.send(answer)
        except StopIteration as done:
            return done.value
        if not isinstance(request, Total):
            raise Untraceable(f"{link.transform!r} works on whole matrices")
        path = f"{link.path}#{asked}"
        asked += 1
        known_paths.append(path)
        phases[-1].totals[path] = graph.as_node(request.value)
        phases.append(Phase())
        answer = graph.total(path)


class _Settler:
    """Rewrites phases one after the other over what memory holds when each begins."""

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.settled: list[Phase] = []
        self._held: dict[Node, str] = {}  # a value -> the memory that has held it since an earlier phase
        self._overwritten: dict[str, int] = {}  # a memory -> the phase that writes it
        self._now: dict[Node, Node] = {}

    def add(self, phase: Phase) -> None:
        """Settle one more phase."""
        self._now = {}
        stores = {name: self._rewritten(node) for name, node in phase.stores.items()}
        totals = {name: self._rewritten(node) for name, node in phase.totals.items()}
        self.settled.append(Phase(stores, totals))
        for name, node in phase.stores.items():
            self._overwritten[name] = len(self.settled) - 1
            self._held = {value: memory for value, memory in self._held.items() if memory != name}
            self._held[node] = name

    def _rewritten(self, node: Node) -> Node:
        """Return a node over what memory holds now."""
        if node not in self._now:
            self._now[node] = self._over_memory(node)
        return self._now[node]

    def _over_memory(self, node: Node) -> Node:
        if node in self._held:
            return self.graph.load(self._held[node])
        if node.op == "load" and node.key in self._overwritten:
            return self.graph.load(self._kept(node))
        if not node.args:
            return node
        return self.graph.make(node.op, *map(self._rewritten, node.args), key=node.key)

    def _kept(self, load: Node) -> str:
        """Have the phase that overwrites a memory keep what it held in a scratch memory, and return that one's name."""
        name = f"{SCRATCH}{sum(memory.startswith(SCRATCH) for memory in self._held.values())}"
        self.settled[self._overwritten[load.key]].stores[name] = load
        self._held[load] = name
        return name


def _leaves(phases: list[Phase], op: str) -> set[Any]:
    return {node.key for phase in phases for node in in_order(phase.roots) if node.op == op}


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
