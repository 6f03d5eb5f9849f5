"""Expression nodes: what a formula becomes when it is run over symbols instead of tensors.

A node stands for one number of a whole row of the table (`level` ROW: a scalar of this step, a constant, a total), of a unit of
it (UNIT), or of every element (ELEMENT). Equal nodes are the same object, so an expression that a formula spells out twice is
computed once. What is not of an element is computed in double precision, as Python does it; it meets an element rounded to
its precision, as a Python number meets a torch tensor.
"""

from __future__ import annotations

from typing import Any

ROW, UNIT, ELEMENT = 0, 1, 2


class Node:
    """One operation on other nodes. `key` names a leaf: a memory, a scalar, a total, or the value of a constant."""

    __slots__ = ("args", "graph", "key", "level", "number", "op")

    def __init__(self, graph: Graph, op: str, args: tuple[Node, ...], key: Any, level: int, number: int) -> None:
        self.graph, self.op, self.args, self.key, self.level, self.number = graph, op, args, key, level, number

    def _with(self, op: str, other: Any, reverse: bool = False) -> Node:
        right = self.graph.as_node(other)
        return self.graph.make(op, right, self) if reverse else self.graph.make(op, self, right)

    def __add__(self, other: Any) -> Node:
        return self._with("add", other)

    def __radd__(self, other: Any) -> Node:
        return self._with("add", other, reverse=True)

    def __sub__(self, other: Any) -> Node:
        return self._with("sub", other)

    def __rsub__(self, other: Any) -> Node:
        return self._with("sub", other, reverse=True)

    def __mul__(self, other: Any) -> Node:
        return self._with("mul", other)

    def __rmul__(self, other: Any) -> Node:
        return self._with("mul", other, reverse=True)

    def __truediv__(self, other: Any) -> Node:
        return self._with("div", other)

    def __rtruediv__(self, other: Any) -> Node:
        return self._with("div", other, reverse=True)

    def __pow__(self, other: Any) -> Node:
        return self._with("pow", other)

    def __neg__(self) -> Node:
        return self.graph.make("neg", self)

    def __gt__(self, other: Any) -> Node:
        return self._with("gt", other)

    def __lt__(self, other: Any) -> Node:
        return self._with("lt", other)

    def __ge__(self, other: Any) -> Node:
        return self._with("ge", other)

    def __le__(self, other: Any) -> Node:
        return self._with("le", other)

    def sqrt(self) -> Node:
        return self.graph.make("sqrt", self)

    def abs(self) -> Node:
        return self.graph.make("abs", self)

    def sign(self) -> Node:
        return self.graph.make("sign", self)

    def lerp(self, end: Any, weight: Any) -> Node:
        return self.graph.make("lerp", self, self.graph.as_node(end), self.graph.as_node(weight))

    def clamp(self, min: Any = None, max: Any = None) -> Node:  # the names of torch's own arguments
        low = self if min is None else self._with("maximum", min)
        return low if max is None else low._with("minimum", max)

    def maximum(self, other: Any) -> Node:
        return self._with("maximum", other)

    def minimum(self, other: Any) -> Node:
        return self._with("minimum", other)

    def where(self, condition: Any, other: Any) -> Node:
        """Return this where the condition holds, else the other: as `Tensor.where`."""
        return self.graph.make("where", self.graph.as_node(condition), self, self.graph.as_node(other))

    @property
    def shape(self) -> Any:
        raise TypeError("it works on whole matrices")

    def __bool__(self) -> bool:
        raise TypeError("a formula cannot branch on a number that is only known at run time; use where")

    def __repr__(self) -> str:
        inside = [repr(self.key)] if self.key is not None else [f"%{arg.number}" for arg in self.args]
        return f"%{self.number} = {self.op}({', '.join(inside)})"


class Graph:
    """All nodes of one program; asking for an operation that is there already returns it."""

    def __init__(self) -> None:
        self._known: dict[tuple[Any, ...], Node] = {}

    def make(self, op: str, *args: Node, key: Any = None, level: int | None = None) -> Node:
        """Return the node of an operation; its level is the highest of its arguments'."""
        found = (op, key, *(arg.number for arg in args))
        if found not in self._known:
            own = max((arg.level for arg in args), default=ROW) if level is None else level
            self._known[found] = Node(self, op, args, key, own, len(self._known))
        return self._known[found]

    def load(self, memory: str) -> Node:
        """Return what an element of a memory (parameter, gradient, state slot) holds at the beginning."""
        return self.make("load", key=memory, level=ELEMENT)

    def kept(self, memory: str) -> Node:
        """Return a state slot's one number for the whole tensor, as it is at the beginning of the step."""
        return self.make("kept", key=memory)

    def scalar(self, name: tuple[int, str]) -> Node:
        """Return a run-time scalar of a link."""
        return self.make("scalar", key=name)

    def total(self, name: str, over: str) -> Node:
        """Return the sum that an earlier phase made."""
        return self.make("total", key=name, level=UNIT if over == "unit" else ROW)

    def count(self, over: str) -> Node:
        """Return how many elements a tensor, or a unit of it, has."""
        return self.make("count", key=over)

    def as_node(self, value: Any) -> Node:
        if isinstance(value, Node):
            return value
        if isinstance(value, int | float):
            return self.make("const", key=float(value))
        raise TypeError(f"a formula works on symbols and numbers (got {type(value).__name__})")
