"""A program as Triton kernels: one for each phase, over a table of tensor rows cut into chunks.

The arithmetic is that of `csource.py`, operation by operation: half precision computed in float32, quotients and roots rounded
to the nearest, no contraction into multiply-adds (a launch option), totals in double. A kernel's program takes one chunk, in
blocks of `BLOCK` numbers: whole ones without a mask, which lets memory be read sixteen bytes at a time, then the rest. Its
share of a total goes to `partials`; `add_up` adds those in their order. Nothing comes back to the host.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from .expression import ELEMENT, ROW, UNIT, Node
from .program import GRADIENT, Phase, Program, in_order
from .storage import BLOCK, SCALE, SIGNED, UNSIGNED
from .tritonpieces import ADD_UP, EIGHT_BIT, EXACT, HEADER, POWER, RANDOM

# what memory holds -> its type in Triton
TYPES = {
    "float32": "tl.float32",
    "float64": "tl.float64",
    "float16": "tl.float16",
    "bfloat16": "tl.bfloat16",
    SIGNED: "tl.int8",
    UNSIGNED: "tl.uint8",
}
ARRAYS = (
    "moved",  # rows x (parameter, gradient): pointers of this step
    "fixed",  # rows x the other memories: pointers
    "chunk",  # chunks x (row, begin, end)
    "group",  # row -> row of scalars
    "scalars",  # groups x scalars
    "keys",  # rows x keys of random numbers
    "sums",  # totals over all tensors
    "totals",  # rows x totals over each tensor
    "partials",  # chunks x sums of this phase
    "units",  # units of all rows x totals over them
    "kept",  # rows x pointers to state of one number
    "size",  # row -> how many numbers
    "length",  # row -> how many in a unit
    "unit_at",  # row -> the first of its units
    "found_inf",  # of a GradScaler: not 0 where no step is to be made
    "grad_scale",  # of a GradScaler: what gradients have been multiplied by
)
INSIDE, WHOLE = ", mask=inside", ""


def source(program: Program, dtype: str) -> str:
    """Return the kernels of a program for parameters of this dtype, as a Python module."""
    wide = "float64" if dtype == "float64" else "float32"
    printer = _Printer(program, dtype, wide, program.held(dtype))
    phases = [printer.phase(i, phase) for i, phase in enumerate(program.phases)]
    return "\n\n".join([HEADER, EXACT[wide], POWER, RANDOM, EIGHT_BIT, ADD_UP, *phases, printer.finish()])


class _Printer:
    """Prints the phases of one program."""

    def __init__(self, program: Program, dtype: str, real: str, held: Mapping[str, str]) -> None:
        self.program, self.dtype, self.real, self.held = program, dtype, f"tl.{real}", held

    def phase(self, index: int, phase: Phase) -> str:
        """Return a phase as a kernel over chunks."""
        nodes = in_order(phase.roots)
        loaded = [node.key for node in nodes if node.op == "load"]
        touched = sorted({*loaded, *phase.stores}, key=self.program.memories.index)
        by_unit = any(node.level == UNIT for node in nodes) or bool(self.program.over(index, "unit"))
        head = f"def phase_{index}({', '.join(ARRAYS)}, ALIGNED: tl.constexpr, SCALED: tl.constexpr, BLOCK: tl.constexpr):"
        lines = ["@triton.jit", head, *_CHUNK]
        lines += [f"        unscale = (1.0 / tl.load(grad_scale).to(tl.float64)).to({self.real})"]
        lines += [] if by_unit else ["    begin = tl.multiple_of(begin, 16)"]
        lines += [f"    {line}" for name in touched for line in self._pointer(name)]
        lines += self._numbers(nodes, phase.roots, ROW, 1)
        sums = self.program.added_up(index)
        lines += [f"    sum{i} = tl.zeros((BLOCK,), tl.float64)" for i in range(len(sums))]
        if by_unit:
            lines += self._units(index, phase, nodes)
        else:
            lines += self._loop(phase, nodes, "begin", "end", 1)
        lines += [f"    tl.store(partials + c * {len(sums)} + {i}, tl.sum(sum{i}, axis=0))" for i in range(len(sums))]
        return "\n".join([*lines, ""])

    def finish(self) -> str:
        """Return the kernel that writes the state of one number a tensor, when the last phase is done."""
        kept = self.program.kept
        lines = ["@triton.jit", f"def finish({', '.join(ARRAYS)}, SCALED: tl.constexpr):", "    row = tl.program_id(0)"]
        lines += ["    active = True", "    if SCALED:", "        active = tl.load(found_inf) == 0"]
        lines += [f"    v{node.number} = {self._row(node)}" for node in in_order(list(kept.values()))]
        for name, node in kept.items():
            lines.append(f"    tl.store({self._kept(name)}, v{node.number}, mask=active)")
        return "\n".join([*lines, ""])

    def _pointer(self, name: str) -> list[str]:
        """Return the lines that look up where a memory of this row lies."""
        m = _memory(name)
        table, names = ("moved", self.program.moving) if name in self.program.moving else ("fixed", self.program.staying)
        at = "tl.load({} + row * {} + {}).to(tl.pointer_type({}))"
        lines = [f"{m} = {at.format(table, len(names), names.index(name), TYPES[self.held[name]])}"]
        lines += ["if ALIGNED:", f"    {m} = tl.multiple_of({m}, 16)"]
        if self.held[name] in (SIGNED, UNSIGNED):
            scale = at.format("fixed", len(self.program.staying), self.program.staying.index(name + SCALE), "tl.float32")
            lines.append(f"{m}_scale = {scale}")
        return lines

    def _numbers(self, nodes: Sequence[Node], roots: Sequence[Node], level: int, depth: int) -> list[str]:
        """Return what is one number for a row, or for a unit: in double, and rounded to meet an element."""
        lines = [f"v{node.number} = {self._row(node)}" for node in nodes if node.level == level]
        used = {arg for node in nodes if node.level == ELEMENT for arg in node.args if arg.level == level}
        used |= {root for root in roots if root.level == level}
        lines += [f"u{node.number} = v{node.number}.to({self.real})" for node in sorted(used, key=lambda node: node.number)]
        return _indented(lines, depth)

    def _units(self, index: int, phase: Phase, nodes: Sequence[Node]) -> list[str]:
        sums = self.program.over(index, "unit")
        places = [list(self.program.totals).index(path) for path in sums]
        lines = ["    n = tl.load(length + row)", "    for unit in range(begin // n, end // n):"]
        lines += [f"        of_unit = units + (tl.load(unit_at + row) + unit) * {len(self.program.totals)}"]
        lines += self._numbers(nodes, phase.roots, UNIT, 2)
        lines += [f"        of_unit{i} = tl.zeros((BLOCK,), tl.float64)" for i in range(len(sums))]
        lines += self._loop(phase, nodes, "unit * n", "(unit + 1) * n", 2)
        lines += [f"        tl.store(of_unit + {place}, tl.sum(of_unit{i}, axis=0))" for i, place in enumerate(places)]
        return lines

    def _loop(self, phase: Phase, nodes: Sequence[Node], begin: str, end: str, depth: int) -> list[str]:
        """Return the loop over the elements from `begin` to `end`: whole blocks, then the rest."""
        return _indented(
            [
                f"first = {begin}",
                f"last = {end}",
                "full = first + (last - first) // BLOCK * BLOCK",
                "for start in range(first, full, BLOCK):",
                *_indented(self._block(phase, nodes, "start", WHOLE), 1),
                "if full < last:",
                "    inside = lane < (last - full).to(tl.int32)",
                *_indented(self._block(phase, nodes, "full", INSIDE), 1),
            ],
            depth,
        )

    def _block(self, phase: Phase, nodes: Sequence[Node], at: str, mask: str) -> list[str]:
        """Return the arithmetic of one block of elements that begins at `at`."""
        lines = []
        for node in nodes:
            if node.level == ELEMENT:
                lines.append(f"e{node.number} = {self._element(node, at, mask)}")
                if node.op == "load" and node.key == GRADIENT:
                    lines += ["if SCALED:", f"    e{node.number} = e{node.number} * unscale"]
        for name, node in phase.stores.items():
            if self.held[name] in (SIGNED, UNSIGNED):
                lines += self._store_in_8_bits(name, node, at, mask)
            else:
                value = f"{_name(node)}.to({TYPES[self.held[name]]})"
                lines.append(f"tl.store({_memory(name)} + {at} + lane, {value}{mask})")
        counts = {"unit": 0, "other": 0}
        for path, node in phase.totals.items():
            kind = "unit" if self.program.totals[path] == "unit" else "other"
            value = f"{_name(node)}.to(tl.float64)"
            value = f"tl.where(inside, {value}, 0.0)" if mask else value
            lines.append(f"{'of_unit' if kind == 'unit' else 'sum'}{counts[kind]} += {value}")
            counts[kind] += 1
        return lines

    def _store_in_8_bits(self, name: str, node: Node, at: str, mask: str) -> list[str]:
        """Return the lines that write whole blocks of codes, and the scale of each."""
        m, held = _memory(name), self.held[name]
        value = f"tl.broadcast_to({_name(node)}, (BLOCK,))"
        value = f"tl.where(inside, {value}, 0.0)" if mask else value
        inside = f", mask=blocks * {BLOCK} < last - {at}" if mask else ""
        return [
            f"blocks = tl.arange(0, BLOCK // {BLOCK})",
            f"rows = tl.reshape({value}, (BLOCK // {BLOCK}, {BLOCK}))",
            "peak = peaks(rows)",
            f"tl.store({m} + {at} + lane, tl.reshape({held}(rows, peak), (BLOCK,)){mask})",
            f"tl.store({m}_scale + {at} // {BLOCK} + blocks, peak{inside})",
        ]

    def _row(self, node: Node) -> str:
        """Return a number of a row or a unit as Triton, in double."""
        match node.op:
            case "const":
                return f"tl.full((), {_constant(node.key)}, tl.float64)"
            case "scalar":
                count = len(self.program.scalars)
                return f"tl.load(scalars + tl.load(group + row) * {count} + {self.program.scalars.index(node.key)})"
            case "kept":
                return f"tl.load({self._kept(node.key)})"
            case "count":
                return f"tl.load({'length' if node.key == 'unit' else 'size'} + row).to(tl.float64)"
            case "total":
                place, over = list(self.program.totals).index(node.key), self.program.totals[node.key]
                if over == "tensor":
                    return f"tl.load(totals + row * {len(self.program.totals)} + {place})"
                return f"tl.load({'of_unit' if over == 'unit' else 'sums'} + {place})"
        return _operation(node, [f"v{arg.number}" for arg in node.args], "tl.float64")

    def _element(self, node: Node, at: str, mask: str) -> str:
        other = f"{mask}, other=0" if mask else ""
        match node.op:
            case "load":
                held, m = self.held[node.key], _memory(node.key)
                number = f"tl.load({m} + {at} + lane{other}).to({self.real})"
                if held not in (SIGNED, UNSIGNED):
                    return number
                scale = f"tl.load({m}_scale + {at} // {BLOCK} + lane // {BLOCK}{other}).to({self.real})"
                return f"{held}_value({number}, {scale})"
            case "normal":
                return f"normal(({at} + lane).to(tl.uint32), {self._key(node)}).to({self.real})"
            case "stored" | "stochastic" if self.dtype == "bfloat16" and node.op == "stochastic":
                return f"stochastic_bfloat16({_name(node.args[0])}, ({at} + lane).to(tl.uint32), {self._key(node)})"
            case "stored" | "stochastic":
                return f"{_name(node.args[0])}.to({TYPES[self.dtype]}).to({self.real})"
        return _operation(node, [_name(arg) for arg in node.args], self.real)

    def _key(self, node: Node) -> str:
        return f"tl.load(keys + row * {len(self.program.seeds)} + {node.key[0]})"

    def _kept(self, name: str) -> str:
        place = list(self.program.kept).index(name)
        return f"tl.load(kept + row * {len(self.program.kept)} + {place}).to(tl.pointer_type(tl.float64))"


_CHUNK = (
    "    c = tl.program_id(0)",
    "    row = tl.load(chunk + 3 * c)",
    "    begin = tl.load(chunk + 3 * c + 1)",
    "    end = tl.load(chunk + 3 * c + 2)",
    "    lane = tl.arange(0, BLOCK)",
    "    if SCALED:",
    "        end = tl.where(tl.load(found_inf) == 0, end, begin)",
)


def _indented(lines: Sequence[str], depth: int) -> list[str]:
    return ["    " * depth + line for line in lines]


def _memory(name: str) -> str:
    return "m_" + name.replace(".", "_")


def _name(node: Node) -> str:
    return f"{'e' if node.level == ELEMENT else 'u'}{node.number}"


def _constant(value: float) -> str:
    return repr(value) if math.isfinite(value) else f'float("{value}")'


def _operation(node: Node, args: Sequence[str], real: str) -> str:
    """Return an operation as Triton. Minimum, maximum and sign treat NaN as torch does."""
    a, b, c = [*args, "", ""][:3]
    infix = {"add": "+", "sub": "-", "mul": "*"}
    comparisons = {"gt": ">", "lt": "<", "ge": ">=", "le": "<="}
    if node.op in infix:
        return f"{a} {infix[node.op]} {b}"
    if node.op in comparisons:
        return f"({a} {comparisons[node.op]} {b}).to({real})"
    own = node.level == ELEMENT
    match node.op:
        case "div":
            return f"quotient({a}, {b})" if own else f"{a} / {b}"
        case "sqrt":
            return f"root({a})" if own else f"tl.sqrt({a})"
        case "neg":
            return f"-{a}"
        case "abs":
            return f"tl.abs({a})"
        case "pow":
            return f"power({a}.to(tl.float64), {b}.to(tl.float64)).to({real})"
        case "sign":
            return f"({a} > 0).to({real}) - ({a} < 0).to({real})"
        case "minimum":
            return f"tl.where({a} > {b}, {b}, tl.where({b} != {b}, {b}, {a}))"
        case "maximum":
            return f"tl.where({a} < {b}, {b}, tl.where({b} != {b}, {b}, {a}))"
        case "where":
            return f"tl.where({a} != 0, {b}, {c})"
        case "lerp":
            return f"tl.where({c} < 0.5, {a} + {c} * ({b} - {a}), {b} - ({b} - {a}) * (1 - {c}))"
    raise AssertionError(node.op)
