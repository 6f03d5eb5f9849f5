"""The C execution: a program compiled once, run over a table of tensor rows.

The table holds a pointer for every memory of every tensor (parameter, gradient, state), the chunks they are cut into, and a
row of scalars for every param group. Pointers of gradients and parameters are read anew at every step; all else stays. Tensors
are cut into chunks that threads share out, so that one large tensor is as parallel as many small ones; few numbers stay on
one thread.
"""

from __future__ import annotations

import ctypes
import functools
import weakref
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ..rules import Link
from . import matrix
from .block import Block, are_plain
from .compiler import CannotCompileError, load, say_once
from .csource import source
from .eager import wide
from .layout import DTYPES, Rows
from .program import ANSWERED, ASKED, SCRATCH
from .trace import Untraceable, trace

CHUNK = 2**15  # numbers: with four memories of four bytes, half a megabyte
NUMBERS_PER_THREAD = 2**15  # fewer are done sooner than a second thread is woken
OPENMP = ("GOMP_parallel", "omp_get_thread_num", "omp_get_num_threads", "GOMP_barrier")
ARRAYS = (
    "memory", "moving", "chunk", "group", "scalars", "totals", "overall", "partials", "units", "kept", "keys", "size", "length",
    "unit_at",
)  # fmt: skip


class _CTable(ctypes.Structure):
    _fields_ = (
        *((name, ctypes.c_void_p) for name in ARRAYS),
        ("num_chunks", ctypes.c_int64),
        ("num_rows", ctypes.c_int64),
    )


class _OpenMP(ctypes.Structure):
    _fields_ = tuple((name, ctypes.c_void_p) for name in OPENMP)


class Native:
    """The compiled program of one sequence of transforms for one dtype."""

    def __init__(self, links: tuple[Link, ...], dtype: torch.dtype) -> None:
        self.program, self.dtype = trace(links, rounds=wide(dtype) != dtype), dtype
        self.source = source(self.program, DTYPES[dtype])
        self.run = load(self.source).run
        self.run.argtypes = (ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int, ctypes.c_int, ctypes.c_int)
        self.run.restype = None


_made: weakref.WeakValueDictionary[tuple[str, ...], Native] = weakref.WeakValueDictionary()


def _one_of_its_kind(native: Native) -> Native:
    """Return the program that was made first of those that do the same to other scalars: one table then serves them all."""
    program = native.program
    read = (program.scalars, program.totals, program.memories, list(program.kept), program.seeds, program.kinds)
    return _made.setdefault((native.source, repr(read), repr(program.matrices), repr(program.shaping)), native)


@functools.lru_cache(maxsize=1024)
def compiled(links: tuple[Link, ...], dtype: torch.dtype) -> Native | str:
    """Return the compiled program of these links, or the reason why there is none."""
    if dtype not in DTYPES:
        return f"no C for {dtype}"
    try:
        return _one_of_its_kind(Native(links, dtype))
    except CannotCompileError as reason:
        say_once(str(reason))
        return str(reason)
    except Untraceable as reason:
        return str(reason)


@functools.cache
def openmp() -> _OpenMP | None:
    """Return torch's own functions named in `OPENMP`, if they are to be found."""
    try:
        lines = Path("/proc/self/maps").read_text().splitlines()
        loaded = {line.split(maxsplit=5)[-1] for line in lines if "omp" in line}  # a path may hold spaces
    except OSError:
        return None
    found = (name for name in loaded if Path(name).name.startswith(("libgomp", "libiomp", "libomp")))
    own = str(Path(torch.__file__).parent)  # scikit-learn and others bring one, too
    for path in sorted(found, key=lambda name: (not name.startswith(own), name)):
        try:
            library = ctypes.CDLL(path)
        except OSError:  # replaced on disk since it was loaded
            continue
        if all(hasattr(library, name) for name in OPENMP):
            return _OpenMP(*(ctypes.cast(getattr(library, name), ctypes.c_void_p) for name in OPENMP))
    return None


class Table:
    """The tensors of one or more blocks, bound to a compiled program."""

    def __init__(self, native: Native, blocks: Sequence[Block]) -> None:
        self.native, self.program, self.blocks = native, native.program, list(blocks)
        self.rows = Rows(self.program, blocks)
        self.memories = {name: self.rows.working() for name in self.program.memories if name.startswith((SCRATCH, ASKED))}
        self.arrays = self._arrays()
        self.openmp = openmp()
        self.most_threads = max(1, int(self.rows.sizes.sum()) // NUMBERS_PER_THREAD) if self.openmp else 1
        self.openmp_address = ctypes.addressof(self.openmp) if self.openmp else None
        lengths = len(self.arrays["chunk"]), len(self.rows)
        self.c = _CTable(*(self.arrays[name].ctypes.data for name in ARRAYS), *lengths)
        self.address = ctypes.addressof(self.c)

    def _arrays(self) -> dict[str, np.ndarray]:
        """Return the arrays of the table, with what stays written down in them."""
        program, rows = self.program, self.rows
        chunk = rows.chunks(CHUNK)
        most = max(len(phase.totals) for phase in program.phases)
        return {
            "memory": self._bound(),
            "moving": np.zeros((len(program.moving), len(rows)), dtype=np.int64),
            "chunk": chunk,
            "group": rows.group,
            "scalars": np.zeros((len(rows.blocks), max(len(program.scalars), 1))),
            "totals": np.zeros((len(rows), max(len(program.totals), 1))),
            "overall": np.zeros(max(len(program.totals), 1)),
            "partials": np.zeros((len(chunk), max(most, 1))),
            "units": np.zeros((int(rows.units.sum()) if program.by_units else 1, max(len(program.totals), 1))),
            "kept": rows.state(list(program.kept)) if program.kept else np.zeros((len(rows), 1), dtype=np.int64),
            "keys": np.zeros((len(rows), max(len(program.seeds), 1)), dtype=np.uint64),
            "size": rows.sizes,
            "length": rows.lengths,
            "unit_at": rows.unit_at,
        }

    def _bound(self) -> np.ndarray:
        """Return where each memory that stays lies, for each row; an answer, in the place of its question."""
        answers = [name for name in self.program.memories if name.startswith(ANSWERED)]
        answered = {name: self.memories[name.replace(ANSWERED, ASKED)] for name in answers}
        return np.ascontiguousarray(self.rows.staying(self.memories | answered))

    def refresh(self) -> None:
        """Read this step's scalars, and where parameters and gradients lie now; a gradient laid out otherwise is copied."""
        if self.program.scalars:
            self.arrays["scalars"][:] = self.rows.scalars()
        self.arrays["moving"][:] = self.rows.moving()
        if self.program.seeds:
            self.arrays["keys"][:] = self.rows.keys()

    def know(self, sums: Mapping[str, float]) -> None:
        """Take over the totals of earlier phases, where other tables have added to them."""
        for at, (path, over) in enumerate(self.program.totals.items()):
            if over == "all":
                self.arrays["totals"][:, at] = sums.get(path, 0.0)

    def run(self, phase: int) -> dict[str, float]:
        """Run one phase over all rows, and the work on matrices that follows it; return what it adds up, by path."""
        self._run(phase, phase + 1)
        places = {path: place for place, path in enumerate(self.program.totals)}
        return {path: float(self.arrays["overall"][places[path]]) for path in self.program.over(phase, "all")}

    def run_alone(self) -> None:
        """Run all phases, when no other table adds to their sums: several at once, unless work on matrices stands between."""
        begin = 0
        for end in (*(phase + 1 for phase in self.program.matrices), len(self.program.phases)):
            if begin < end:
                self._run(begin, end)
            begin = end

    def _run(self, begin: int, end: int) -> None:
        self.native.run(self.address, self.openmp_address, begin, end, min(torch.get_num_threads(), self.most_threads))
        if end - 1 in self.program.matrices:
            number, request = self.program.matrices[end - 1]
            matrix.work_in_place([replace(request, value=value) for value in self.memories[f"{ASKED}{number}"]])


def takes(params: Sequence[Tensor]) -> bool:
    """Return whether C can walk these parameters: plain dense tensors on a CPU, of one dtype it knows."""
    return params[0].dtype in DTYPES and params[0].device.type == "cpu" and are_plain(params)
