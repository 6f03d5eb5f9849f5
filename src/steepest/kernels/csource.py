"""A program as plain C: one function a phase, over a table of tensor rows cut into chunks.

The arithmetic is that of the eager execution, operation by operation in the same order; numbers in half precision are computed
in float. A total is summed in double, chunk by chunk, and the chunks in their order, so that it does not depend on threads.
A phase is one loop over a chunk's elements; one loop for each unit where a sum runs over units; one for each block where state
is kept in 8 bits, because a block's scale is known only when all of it is computed.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from .cpieces import BFLOAT16, DRIVER, EIGHT_BIT, HEADER, RANDOM
from .expression import ELEMENT, ROW, UNIT, Node
from .program import Phase, Program, in_order
from .storage import BLOCK, SCALE, SIGNED, STEPS, UNSIGNED

# what memory holds -> its C type, how it is read, how it is written
TYPES = {
    "float32": ("float", "(real)({})", "(float)({})"),
    "float64": ("double", "(real)({})", "(double)({})"),
    "float16": ("_Float16", "(real)({})", "(_Float16)({})"),
    "bfloat16": ("uint16_t", "(real)from_bfloat16({})", "to_bfloat16((float)({}))"),
    SIGNED: ("int8_t", "", ""),
    UNSIGNED: ("uint8_t", "", ""),
}


def source(program: Program, dtype: str) -> str:
    """Return the C source of a program for parameters of this dtype."""
    real = "double" if dtype == "float64" else "float"
    held = program.held(dtype)
    printer = _Printer(program, dtype, held)
    widths = {"SCALARS": program.scalars, "TOTALS": program.totals, "KEPT": program.kept, "SEEDS": program.seeds}
    counts = {"MEMORIES": max(len(program.staying), 1)} | {name: max(len(columns), 1) for name, columns in widths.items()}
    counts |= {"PHASES": len(program.phases), "FINISHES": int(bool(program.kept))}
    sized = f"enum {{ {', '.join(f'{name} = {count}' for name, count in counts.items())} }};\n"
    phases = [printer.phase(i, phase) for i, phase in enumerate(program.phases)]
    names = ", ".join(f"phase_{i}" for i in range(len(program.phases)))
    listed = f"static void (*const phases[])(const table *, int64_t) = {{{names}}};\n"
    listed += _sums(program)
    parts = [HEADER, f"typedef {real} real;\n", sized, BFLOAT16, RANDOM, EIGHT_BIT, *phases, listed, printer.finish(), DRIVER]
    return "\n".join(parts)


def _sums(program: Program) -> str:
    """Return what is added up after each phase: how many sums, the column of each, and whether it is one for each row."""
    columns, lines = list(program.totals), []
    added = [program.added_up(i) for i in range(len(program.phases))]
    most = max(1, *map(len, added))
    for kind, name, rows in (
        ("int64_t", "sum_column", [[columns.index(path) for path in paths] for paths in added]),
        ("int", "of_each", [[int(program.totals[path] == "tensor") for path in paths] for paths in added]),
    ):
        listed = ", ".join(f"{{{', '.join(map(str, row)) or '0'}}}" for row in rows)
        lines.append(f"static const {kind} {name}[PHASES][{most}] = {{{listed}}};")
    return (
        f"static const int64_t num_sums[PHASES] = {{{', '.join(str(len(paths)) for paths in added)}}};\n"
        + "\n".join(lines)
        + "\n"
    )


class _Printer:
    """Prints the phases of one program."""

    def __init__(self, program: Program, dtype: str, held: Mapping[str, str]) -> None:
        self.program, self.dtype, self.held = program, dtype, held

    def phase(self, index: int, phase: Phase) -> str:
        """Return a phase as a C function over one chunk."""
        nodes = in_order(phase.roots)
        loaded = [node.key for node in nodes if node.op == "load"]
        touched = sorted({*loaded, *phase.stores}, key=self.program.memories.index)
        by_unit = any(node.level == UNIT for node in nodes) or bool(self.program.over(index, "unit"))
        blocks = [name for name in touched if self.held[name] in (SIGNED, UNSIGNED)]
        lines = [f"static void phase_{index}(const table *t, int64_t c) {{"]
        lines += ["  const int64_t row = t->chunk[3 * c], begin = t->chunk[3 * c + 1], end = t->chunk[3 * c + 2];", *_ROW]
        lines += [f"  {self._pointer(name)}" for name in touched]
        lines += self._numbers(nodes, phase.roots, ROW)
        sums = self.program.added_up(index)
        lines += [f"  double sum{i} = 0;" for i in range(len(sums))]
        if by_unit:
            lines += self._units(index, phase, nodes)
        elif blocks:
            lines += self._blocks(phase, nodes, blocks)
        else:
            lines += self._loop(phase, nodes, "begin", "end")
        lines += [f"  t->partials[c * {len(sums)} + {i}] = sum{i};" for i in range(len(sums))]
        return "\n".join([*lines, "}\n"])

    def finish(self) -> str:
        """Return the function that writes the state of one number a tensor, when the last phase is done."""
        kept = self.program.kept
        nodes = in_order(list(kept.values()))
        lines = ["static void finish_row(const table *t, int64_t row) {", *_ROW]
        lines += [f"  const double v{node.number} = {self._row(node)};" for node in nodes]
        lines += [f"  *kept[{list(kept).index(name)}] = v{node.number};" for name, node in kept.items()]
        return "\n".join([*lines, "}\n"])

    def _pointer(self, name: str) -> str:
        held, moving = self.held[name], self.program.moving
        at = f"t->moving[{moving.index(name)} * t->num_rows + row]" if name in moving else f"memory[{self._place(name)}]"
        line = f"{TYPES[held][0]} *restrict {_memory(name)} = {at};"
        if held not in (SIGNED, UNSIGNED):
            return line
        return f"{line} float *restrict {_memory(name)}_scale = memory[{self._place(name + SCALE)}];"

    def _place(self, name: str) -> int:
        return self.program.staying.index(name)

    def _numbers(self, nodes: Sequence[Node], roots: Sequence[Node], level: int) -> list[str]:
        """Return the declarations of what is one number for a row, or for a unit: in double, and rounded to meet an element."""
        lines = [f"  const double v{node.number} = {self._row(node)};" for node in nodes if node.level == level]
        used = {arg for node in nodes if node.level == ELEMENT for arg in node.args if arg.level == level}
        used |= {root for root in roots if root.level == level}
        ordered = sorted(used, key=lambda node: node.number)
        return lines + [f"  const real u{node.number} = (real)v{node.number};" for node in ordered]

    def _units(self, index: int, phase: Phase, nodes: Sequence[Node]) -> list[str]:
        sums = self.program.over(index, "unit")
        places = [list(self.program.totals).index(path) for path in sums]
        lines = ["  const int64_t length = t->length[row];"]
        lines += ["  for (int64_t unit = begin / length; unit < end / length; unit++) {"]
        lines += ["  double *of_unit = t->units + (t->unit_at[row] + unit) * TOTALS;", "  (void)of_unit;"]
        lines += self._numbers(nodes, phase.roots, UNIT)
        lines += [f"  double of_unit{i} = 0;" for i in range(len(sums))]
        lines += self._loop(phase, nodes, "unit * length", "(unit + 1) * length")
        return [*lines, *(f"  of_unit[{place}] = of_unit{i};" for i, place in enumerate(places)), "  }"]

    def _blocks(self, phase: Phase, nodes: Sequence[Node], blocks: Sequence[str]) -> list[str]:
        lines = [
            f"  for (int64_t b = begin; b < end; b += {BLOCK}) {{",
            f"  const int64_t stop = b + {BLOCK} < end ? b + {BLOCK} : end;",
        ]
        for name in blocks:
            m, steps = _memory(name), float(STEPS[self.held[name]])
            lines.append(f"  const real {m}_step = (real){m}_scale[b / {BLOCK}] / (real){steps};")
        written = [name for name in blocks if name in phase.stores]
        lines += [f"  real {_memory(name)}_new[{BLOCK}];" for name in written]
        lines += self._loop(phase, nodes, "b", "stop")
        for name in written:
            m = _memory(name)
            lines.append(f"  {m}_scale[b / {BLOCK}] = write_{self.held[name]}({m}_new, {m} + b, stop - b);")
        return [*lines, "  }"]

    def _loop(self, phase: Phase, nodes: Sequence[Node], begin: str, end: str) -> list[str]:
        """Return the loop over elements."""
        counts = {"unit": 0, "other": 0}
        adding = []
        for path, node in phase.totals.items():
            kind = "unit" if self.program.totals[path] == "unit" else "other"
            adding.append((f"{'of_unit' if kind == 'unit' else 'sum'}{counts[kind]}", node))
            counts[kind] += 1
        reductions = f" reduction(+ : {', '.join(name for name, _ in adding)})" if adding else ""
        lines = [f"#pragma omp simd{reductions}", f"  for (int64_t i = {begin}; i < {end}; i++) {{"]
        lines += [f"    const real e{node.number} = {self._element(node)};" for node in nodes if node.level == ELEMENT]
        for name, node in phase.stores.items():
            if self.held[name] in (SIGNED, UNSIGNED):
                lines.append(f"    {_memory(name)}_new[i - b] = {_name(node)};")
            else:
                lines.append(f"    {_memory(name)}[i] = {TYPES[self.held[name]][2].format(_name(node))};")
        return [*lines, *(f"    {name} += (double){_name(node)};" for name, node in adding), "  }"]

    def _row(self, node: Node) -> str:
        """Return a number of a row or a unit as C, in double."""
        match node.op:
            case "const":
                return _constant(node.key)
            case "scalar":
                return f"scalar[{self.program.scalars.index(node.key)}]"
            case "kept":
                return f"*kept[{list(self.program.kept).index(node.key)}]"
            case "count":
                return "(double)t->length[row]" if node.key == "unit" else "(double)t->size[row]"
            case "total":
                place = list(self.program.totals).index(node.key)
                return f"of_unit[{place}]" if node.level == UNIT else f"total[{place}]"
        return _operation(node, [f"v{arg.number}" for arg in node.args], "")

    def _element(self, node: Node) -> str:
        match node.op:
            case "load":
                held, m = self.held[node.key], _memory(node.key)
                return f"read_{held}({m}[i], {m}_step)" if held in (SIGNED, UNSIGNED) else TYPES[held][1].format(f"{m}[i]")
            case "normal":
                return f"(real)normal(i, key[{node.key[0]}])"
            case "stored" | "stochastic" if self.dtype == "bfloat16" and node.op == "stochastic":
                return f"(real)stochastic_bfloat16((float){_name(node.args[0])}, i, key[{node.key[0]}])"
            case "stored" | "stochastic":
                _, read, write = TYPES[self.dtype]
                return read.format(write.format(_name(node.args[0])))
        return _operation(node, [_name(arg) for arg in node.args], "f")


_ROW = (
    "  void **memory = t->memory + row * MEMORIES;",
    "  const double *scalar = t->scalars + t->group[row] * SCALARS, *total = t->totals + row * TOTALS;",
    "  double **kept = t->kept + row * KEPT;",
    "  const uint64_t *key = t->keys + row * SEEDS;",
    "  (void)memory, (void)scalar, (void)total, (void)kept, (void)key;",
)


def _memory(name: str) -> str:
    return "m_" + name.replace(".", "_")


def _name(node: Node) -> str:
    return f"{'e' if node.level == ELEMENT else 'u'}{node.number}"


def _constant(value: float) -> str:
    if math.isfinite(value):
        return repr(value)
    return "NAN" if math.isnan(value) else "INFINITY" if value > 0 else "-INFINITY"


def _operation(node: Node, args: Sequence[str], suffix: str) -> str:
    """Return an operation as C. Minimum, maximum and sign treat NaN as torch does."""
    a, b, c = [*args, "", ""][:3]
    infix = {"add": "+", "sub": "-", "mul": "*", "div": "/", "gt": ">", "lt": "<", "ge": ">=", "le": "<="}
    if node.op in infix:
        return f"({a} {infix[node.op]} {b})"
    function = "__builtin_{}" if not suffix else "(sizeof(real) == 4 ? __builtin_{0}f({1}) : __builtin_{0}({1}))"
    match node.op:
        case "neg":
            return f"(-{a})"
        case "sqrt" | "abs":
            name = {"sqrt": "sqrt", "abs": "fabs"}[node.op]
            return function.format(name, a) if suffix else f"{function.format(name)}({a})"
        case "pow":
            return f"pow({a}, {b})"
        case "sign":
            return f"(({a} > 0) - ({a} < 0))"
        case "minimum":
            return f"(({a} > {b} || {b} != {b}) ? {b} : {a})"
        case "maximum":
            return f"(({a} < {b} || {b} != {b}) ? {b} : {a})"
        case "where":
            return f"({a} != 0 ? {b} : {c})"
        case "lerp":
            return f"({c} < 0.5 ? {a} + {c} * ({b} - {a}) : {b} - ({b} - {a}) * (1 - {c}))"
    raise AssertionError(node.op)
