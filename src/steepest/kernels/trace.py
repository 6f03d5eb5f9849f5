"""The tracer: runs the formulas of a chain once, over expression nodes, and keeps what they compute as a program.

A program is a list of phases. A phase reads every memory of an element (parameter, gradient, state), computes, writes, and
may add something up over all elements; a request for a total ends it, and the next phase reads the sum as one more number.
What a later phase needs is recomputed from memory where memory still has it, and kept in a scratch memory where not. A request
for the polar factor of a matrix ends a phase likewise: the matrix is written to a memory, worked on there, and read again.
State that is one number a tensor is read as it was before the step throughout, and written when the last phase is done.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from inspect import isgenerator
from types import SimpleNamespace
from typing import Any

from ..rules import Link, Projection
from ..rules.core import one_number
from ..rules.language import Normal, Orthogonalize, Sides, Stored, Total
from . import storage
from .expression import ELEMENT, Graph, Node
from .program import ANSWERED, ASKED, GRADIENT, PARAMETER, SCRATCH, Phase, Program, in_order


class Untraceable(Exception):  # noqa: N818  not an error: the chain runs eagerly, and says why
    """Why a chain cannot become a program."""


def memory_of(link: int, slot: str) -> str:
    """Return the name of a state slot's memory."""
    return f"{link}.{slot}"


def trace(links: Sequence[Link], rounds: bool = False) -> Program:
    """Run the formulas of these links over nodes; raise `Untraceable` where one needs what only tensors have.

    `rounds` says that memory holds fewer digits than are computed with, as in half precision: then nothing is read back.
    """
    tracer, kinds = _Tracer(), _kinds(links)
    tracer.run(links)
    if rounds:
        tracer.write_last()
    if "unit" in tracer.totals.values() and not {storage.SIGNED, storage.UNSIGNED}.isdisjoint(kinds.values()):
        raise Untraceable("sums over units and state in 8 bits do not go together")
    lossy = {*kinds, *(f"{ASKED}{n}" for n, _ in tracer.matrices.values())}
    settler = _Settler(tracer.graph, frozenset(lossy))
    for phase in tracer.phases:
        settler.add(phase)
    settled = settler.settled
    memories = _leaves(settled, "load") | {name for phase in settled for name in phase.stores}
    memories |= {name + storage.SCALE for name in memories if kinds.get(name) in (storage.SIGNED, storage.UNSIGNED)}
    order = sorted(memories, key=lambda name: (name not in (PARAMETER, GRADIENT), name != PARAMETER, name))
    read = _leaves([*settled, Phase(stores=tracer.kept)], "kept")
    kept = tracer.kept | {name: tracer.graph.kept(name) for name in read if name not in tracer.kept}
    scalars = _leaves([*settled, Phase(stores=kept)], "scalar")
    return Program(
        phases=tuple(settled), memories=tuple(order), scalars=tuple(sorted(scalars)), totals=tracer.totals, kept=kept,
        seeds=tuple(tracer.seeds), kinds=kinds, matrices=tracer.matrices, shaping=tracer.shaping,
    )  # fmt: skip


def _kinds(links: Sequence[Link]) -> dict[str, str]:
    """Return what each memory holds that is not of the parameter's dtype."""
    found = {}
    for i, link in enumerate(links):
        for slot, spec in link.slots().items():
            if spec.storage == storage.EIGHT_BIT:
                found[memory_of(i, slot)] = storage.UNSIGNED if spec.nonnegative else storage.SIGNED
            elif spec.storage not in (None, "parameter") and spec.shape is None:
                found[memory_of(i, slot)] = spec.storage
    return found


@contextmanager
def _blaming(link: Link) -> Iterator[None]:
    """Say of which link a formula does what only tensors can."""
    try:
        yield
    except (TypeError, AttributeError) as error:
        raise Untraceable(f"{link.transform!r}: {error}") from None


class _Tracer:
    """Takes one parameter through all links, and writes down what happens to it."""

    def __init__(self) -> None:
        self.graph = Graph()
        self.phases = [Phase()]
        self.totals: dict[str, str] = {}  # path -> what the sum runs over
        self.written: dict[str, Node] = {}  # state -> what it has become so far
        self.kept: dict[str, Node] = {}  # state of one number a tensor -> what it becomes
        self.seeds: list[int] = []
        self.shaping: dict[tuple[int, str], Any] = {}
        self.matrices: dict[int, tuple[int, Orthogonalize]] = {}  # phase -> what follows it

    def run(self, links: Sequence[Link]) -> None:
        """Trace the step and the projections."""
        p, u = self.graph.load(PARAMETER), self.graph.load(GRADIENT)
        states = [self._state(i, link) for i, link in enumerate(links)]
        scalars = [self._scalars(i, link) for i, link in enumerate(links)]
        for i, link in enumerate(links):
            with _blaming(link):
                u = self._through(link, link.transform.formula(u, p, states[i], scalars[i]))
                self._write(i, link, states[i])
        q = p - u
        for i, link in enumerate(links):
            if isinstance(link.transform, Projection):
                with _blaming(link):
                    q = self._through(link, link.transform.project(q, p, states[i], scalars[i]))
                    self._write(i, link, states[i])
        self.phases[-1].stores[PARAMETER] = q

    def write_last(self) -> None:
        """Write all state in the last phase, so that every phase computes from what memory held before the step.

        LAMB in float16: a mean square that is rounded to 0 before the norms are known makes a step of 5 out of one of 0.01.
        """
        last = self.phases[-1]
        for phase in self.phases[:-1]:
            asked = {name: node for name, node in phase.stores.items() if name.startswith(ASKED)}
            last.stores = {name: node for name, node in phase.stores.items() if name not in asked} | last.stores
            phase.stores = asked

    def _state(self, i: int, link: Link) -> SimpleNamespace:
        """Return the link's state as nodes."""
        found = {}
        for slot, spec in link.slots().items():
            if spec.shape not in (None, one_number):
                raise Untraceable(f"{link.transform!r} works on whole matrices")
            found[slot] = (self.graph.kept if spec.shape else self.graph.load)(memory_of(i, slot))
        return SimpleNamespace(**found)

    def _scalars(self, i: int, link: Link) -> SimpleNamespace:
        """Return the link's scalars as nodes; what shapes the formula (booleans, text, None) as it is."""
        found = {}
        for name, value in link.transform.scalars(1, 1.0).items():
            number = isinstance(value, int | float) and not isinstance(value, bool)
            found[name] = self.graph.scalar((i, name)) if number else value
            if not number:
                self.shaping[i, name] = value
        return SimpleNamespace(**found)

    def _write(self, i: int, link: Link, state: SimpleNamespace) -> None:
        """Write down the state that the link has changed, in the phase that has begun last."""
        for slot, spec in link.slots().items():
            name, new = memory_of(i, slot), self.graph.as_node(getattr(state, slot))
            if new is self.written.get(name, self.graph.kept(name) if spec.shape else self.graph.load(name)):
                continue
            self.written[name] = new
            if spec.shape is None:
                self.phases[-1].stores[name] = new
            elif new.level:
                raise Untraceable(f"{link.transform!r} keeps one number a tensor in {slot!r}, and computes one an element")
            else:
                self.kept[name] = new

    def _through(self, link: Link, result: Any) -> Node:
        """Return what a formula comes to; every total it asks for ends a phase."""
        if not isgenerator(result):
            return result
        answer: Any = None
        while True:
            try:
                request = result.send(answer)
            except StopIteration as done:
                return done.value
            if isinstance(request, Normal | Stored) and request.seed is not None:
                value = (request.value,) if isinstance(request, Stored) else ()
                op = "stochastic" if isinstance(request, Stored) else "normal"
                answer = self.graph.make(op, *value, key=(len(self.seeds), request.seed), level=ELEMENT)
                self.seeds.append(request.seed)
            elif isinstance(request, Stored):
                answer = self.graph.make("stored", request.value)
            elif isinstance(request, Total):
                answer = self._total(link, request)
            elif isinstance(request, Sides):
                columns = self.graph.count("unit")
                answer = self.graph.count("tensor") / columns, columns
            elif isinstance(request, Orthogonalize):
                answer = self._matrix(request)
            else:
                raise Untraceable(f"{link.transform!r} works on whole matrices")

    def _matrix(self, request: Orthogonalize) -> Node:
        number = len(self.matrices)
        self.phases[-1].stores[f"{ASKED}{number}"] = self.graph.as_node(request.value)
        self.matrices[len(self.phases) - 1] = number, replace(request, value=None)
        self.phases.append(Phase())
        return self.graph.load(f"{ANSWERED}{number}")

    def _total(self, link: Link, request: Total) -> Any:
        sums = []
        for value in request.values:
            path = f"{link.path}#{sum(name.rsplit('#', 1)[0] == link.path for name in self.totals)}"
            self.totals[path] = request.over
            self.phases[-1].totals[path] = self.graph.as_node(value)
            sum_ = self.graph.total(path, request.over)
            sums.append(sum_ / self.graph.count(request.over) if request.mean else sum_)
        self.phases.append(Phase())
        return sums[0] if len(sums) == 1 else tuple(sums)


class _Settler:
    """Rewrites phases one after the other over what memory holds when each begins."""

    def __init__(self, graph: Graph, lossy: frozenset[str]) -> None:
        self.graph, self.lossy = graph, lossy
        self.settled: list[Phase] = []
        self._held: dict[Node, str] = {}  # a value -> the memory that has held it since an earlier phase
        self._overwritten: dict[str, int] = {}  # a memory -> the phase that writes it
        self._now: dict[Node, Node] = {}
        self._scratches = 0

    def add(self, phase: Phase) -> None:
        """Settle one more phase."""
        self._now = {}
        stores = {name: self._rewritten(node) for name, node in phase.stores.items()}
        totals = {name: self._rewritten(node) for name, node in phase.totals.items()}
        self.settled.append(Phase(stores, totals))
        for name, node in phase.stores.items():
            self._overwritten[name] = len(self.settled) - 1
            self._held = {value: memory for value, memory in self._held.items() if memory != name}
            if name not in self.lossy:
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
        name = f"{SCRATCH}{self._scratches}"
        self._scratches += 1
        self.settled[self._overwritten[load.key]].stores[name] = load
        self._held[load] = name
        return name


def _leaves(phases: list[Phase], op: str) -> set[Any]:
    return {node.key for phase in phases for node in in_order(phase.roots) if node.op == op}
