"""A program as plain C: one function a phase, over a table of tensor rows cut into chunks.

The arithmetic is that of the eager execution, operation by operation in the same order; numbers in half precision are computed
in float. A total is summed in double, chunk by chunk, and the chunks in their order, so that it does not depend on threads.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from .expression import Node
from .trace import Phase, Program, in_order

HEADER = """\
#include <math.h>
#include <stdint.h>
#include <string.h>

typedef struct {
  void **memory;            /* rows x memories */
  const int64_t *chunk;     /* chunks x (row, begin, end) */
  const int32_t *group;     /* row -> row of scalars */
  const double *scalars;    /* groups x scalars */
  const double *totals;     /* sums of earlier phases */
  double *partials;         /* chunks x sums of this phase */
  int64_t num_chunks;
} table;
"""

# dtype -> what memory holds, what is computed with, how to read and write it
TYPES = {
    "float32": ("float", "float", "", ""),
    "float64": ("double", "double", "", ""),
    "float16": ("_Float16", "float", "", ""),
    "bfloat16": ("uint16_t", "float", "from_bfloat16", "to_bfloat16"),
}
BFLOAT16 = """\
static inline float from_bfloat16(uint16_t x) {
  uint32_t bits = (uint32_t)x << 16;
  float y;
  memcpy(&y, &bits, 4);
  return y;
}
static inline uint16_t to_bfloat16(float y) {
  uint32_t bits;
  memcpy(&bits, &y, 4);
  uint32_t rounded = (bits + 0x7fff + ((bits >> 16) & 1)) >> 16;
  return (bits & 0x7fffffff) > 0x7f800000 ? 0x7fc0 : (uint16_t)rounded;
}
"""
# One parallel region a phase, through torch's own OpenMP: two of them in a process would fight over the cores.
DRIVER = """\
typedef void (*parallel_function)(void (*)(void *), void *, unsigned, unsigned);
typedef struct { const table *t; int phase; int (*thread)(void); int (*threads)(void); } job;

static void share(void *argument) {
  const job *j = argument;
  int64_t n = j->t->num_chunks, k = j->thread(), of = j->threads(); /* may be fewer than were asked for */
  for (int64_t c = n * k / of; c < n * (k + 1) / of; c++) phases[j->phase](j->t, c);
}

void run(const table *t, int phase, int asked, parallel_function parallel, int (*thread)(void), int (*threads)(void)) {
  if (asked > 1) {
    job j = {t, phase, thread, threads};
    parallel(share, &j, asked, 0);
  } else {
    for (int64_t c = 0; c < t->num_chunks; c++) phases[phase](t, c);
  }
}

void add_up(const table *t, int64_t sums, double *result) {
  for (int64_t s = 0; s < sums; s++) {
    double sum = 0;
    for (int64_t c = 0; c < t->num_chunks; c++) sum += t->partials[c * sums + s];
    result[s] = sum;
  }
}
"""


def source(program: Program, dtype: str) -> str:
    """Return the C source of a program for parameters of this dtype."""
    stored, real, read, write = TYPES[dtype]
    parts = [HEADER, f"typedef {stored} stored;\ntypedef {real} real;\n"]
    if dtype == "bfloat16":
        parts.append(BFLOAT16)
    parts += [_phase(i, phase, program, read, write) for i, phase in enumerate(program.phases)]
    names = ", ".join(f"phase_{i}" for i in range(len(program.phases)))
    parts.append(f"static void (*const phases[])(const table *, int64_t) = {{{names}}};\n")
    return "\n".join([*parts, DRIVER])


def _phase(index: int, phase: Phase, program: Program, read: str, write: str) -> str:
    nodes = in_order(phase.roots)
    loads = [node for node in nodes if node.op == "load"]
    touched = sorted({*(node.key for node in loads), *phase.stores}, key=program.memories.index)
    sums = list(phase.totals)
    lines = [f"static void phase_{index}(const table *t, int64_t c) {{"]
    lines += ["  const int64_t row = t->chunk[3 * c], begin = t->chunk[3 * c + 1], end = t->chunk[3 * c + 2];"]
    lines += [f"  void **memory = t->memory + row * {len(program.memories)};"]
    lines += [f"  const double *scalar = t->scalars + t->group[row] * {max(len(program.scalars), 1)};", "  (void)scalar;"]
    for name in touched:
        lines.append(f"  stored *restrict {_memory(name)} = (stored *)memory[{program.memories.index(name)}];")
    lines += [f"  const double v{node.number} = {_uniform(node, program)};" for node in nodes if node.uniform]
    used = {arg for node in nodes if not node.uniform for arg in node.args if arg.uniform} | {
        root for root in phase.roots if root.uniform
    }
    lines += [f"  const real u{node.number} = (real)v{node.number};" for node in sorted(used, key=lambda node: node.number)]
    lines += [f"  double sum{i} = 0;" for i in range(len(sums))]
    reductions = f" reduction(+ : {', '.join(f'sum{i}' for i in range(len(sums)))})" if sums else ""
    lines += [f"#pragma omp simd{reductions}", "  for (int64_t i = begin; i < end; i++) {"]
    for node in nodes:
        if not node.uniform:
            lines.append(f"    const real e{node.number} = {_element(node, read)};")
    lines += [f"    {_memory(name)}[i] = (stored){write}({_name(node)});" for name, node in phase.stores.items()]
    lines += [f"    sum{i} += (double){_name(node)};" for i, node in enumerate(phase.totals.values())]
    lines.append("  }")
    lines += [f"  t->partials[c * {len(sums)} + {i}] = sum{i};" for i in range(len(sums))]
    return "\n".join([*lines, "}\n"])


def _memory(name: str) -> str:
    return "m_" + name.replace(".", "_")


def _name(node: Node) -> str:
    return f"{'u' if node.uniform else 'e'}{node.number}"


def _uniform(node: Node, program: Program) -> str:
    if node.op == "const":
        return _constant(node.key)
    if node.op == "scalar":
        return f"scalar[{program.scalars.index(node.key)}]"
    if node.op == "total":
        return f"t->totals[{program.totals.index(node.key)}]"
    return _operation(node, [f"v{arg.number}" for arg in node.args], "")


def _constant(value: float) -> str:
    if math.isfinite(value):
        return repr(value)
    return "NAN" if math.isnan(value) else "INFINITY" if value > 0 else "-INFINITY"


def _element(node: Node, read: str) -> str:
    if node.op == "load":
        return f"(real){read}({_memory(node.key)}[i])"
    return _operation(node, [_name(arg) for arg in node.args], "f")


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
