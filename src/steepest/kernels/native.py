"""The C execution: a program compiled once, run over a table of tensor rows.

The table holds a pointer for every memory of every tensor (parameter, gradient, state), the chunks they are cut into, and a
row of scalars for every param group. Pointers of gradients and parameters are read anew at every step; all else stays. Tensors
are cut into chunks that threads share out, so that one large tensor is as parallel as many small ones; few numbers stay on
one thread.
"""

from __future__ import annotations

import ctypes
import functools
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ..rules import Link
from .block import Block
from .compiler import CannotCompileError, load
from .csource import TYPES, source
from .trace import GRADIENT, PARAMETER, SCRATCH, Program, Untraceable, trace

CHUNK = 2**15  # numbers: with four memories of four bytes, half a megabyte
NUMBERS_PER_THREAD = 2**15  # fewer are done sooner than a second thread is woken
OPENMP = ("GOMP_parallel", "omp_get_thread_num", "omp_get_num_threads")
DTYPES = {torch.float32: "float32", torch.float64: "float64", torch.bfloat16: "bfloat16", torch.float16: "float16"}


class _CTable(ctypes.Structure):
    _fields_ = (
        ("memory", ctypes.c_void_p),
        ("chunk", ctypes.c_void_p),
        ("group", ctypes.c_void_p),
        ("scalars", ctypes.c_void_p),
        ("totals", ctypes.c_void_p),
        ("partials", ctypes.c_void_p),
        ("num_chunks", ctypes.c_int64),
    )


class Native:
    """The compiled program of one sequence of transforms for one dtype."""

    def __init__(self, program: Program, dtype: torch.dtype) -> None:
        self.program, self.dtype = program, dtype
        library = load(source(program, DTYPES[dtype]))
        self.run, self.add_up = library.run, library.add_up
        self.run.argtypes = (ctypes.c_void_p, ctypes.c_int, ctypes.c_int, *[ctypes.c_void_p] * len(OPENMP))
        self.add_up.argtypes = (ctypes.c_void_p, ctypes.c_int64, ctypes.c_void_p)
        self.run.restype = self.add_up.restype = None


@functools.lru_cache(maxsize=1024)
def compiled(links: tuple[Link, ...], dtype: torch.dtype) -> Native | str:
    """Return the compiled program of these links, or the reason why there is none."""
    if dtype not in DTYPES or DTYPES[dtype] not in TYPES:
        return f"no C for {dtype}"
    try:
        return Native(trace(links), dtype)
    except (Untraceable, CannotCompileError) as reason:
        return str(reason)


@functools.cache
def openmp() -> tuple[int, ...]:
    """Return the addresses of torch's own functions named in `OPENMP`, zeros where there are none to be found."""
    nothing = (0,) * len(OPENMP)
    try:
        loaded = {line.split()[-1] for line in Path("/proc/self/maps").read_text().splitlines() if "omp" in line}
    except OSError:
        return nothing
    for path in sorted(name for name in loaded if Path(name).name.startswith(("libgomp", "libiomp", "libomp"))):
        library = ctypes.CDLL(path)
        if all(hasattr(library, name) for name in OPENMP):
            return tuple(ctypes.cast(getattr(library, name), ctypes.c_void_p).value or 0 for name in OPENMP)
    return nothing


class Table:
    """The tensors of one or more blocks, bound to a compiled program."""

    def __init__(self, native: Native, blocks: Sequence[Block]) -> None:
        self.native, self.blocks = native, list(blocks)
        program = native.program
        params = [p for block in blocks for p in block.params]
        self.memory = np.zeros((len(params), len(program.memories)), dtype=np.int64)
        self.plain = all(map(Tensor.is_contiguous, params))
        self.scratch = [torch.empty_like(p) for p in params for _ in range(program.num_scratch)]
        self._bind_state()
        group = np.repeat(np.arange(len(blocks), dtype=np.int32), [len(block.params) for block in blocks])
        sizes = np.array([p.numel() for p in params], dtype=np.int64)
        self.chunk = _chunks(sizes)
        self.group = group
        self.scalars = np.zeros((len(blocks), max(len(program.scalars), 1)))
        self.totals = np.zeros(max(len(program.totals), 1))
        self.partials = np.zeros((len(self.chunk), max((len(phase.totals) for phase in program.phases), default=1) or 1))
        self.openmp = openmp()
        self.most_threads = max(1, int(sizes.sum()) // NUMBERS_PER_THREAD) if all(self.openmp) else 1
        self.c = _CTable(
            *(array.ctypes.data for array in (self.memory, self.chunk, self.group, self.scalars, self.totals, self.partials)),
            len(self.chunk),
        )
        self.address = ctypes.addressof(self.c)
        self._place = {name: program.memories.index(name) for name in (PARAMETER, GRADIENT) if name in program.memories}

    def _bind_state(self) -> None:
        """Write down where each state slot and scratch memory lies; they stay there."""
        program, row, scratch = self.native.program, 0, iter(self.scratch)
        for block in self.blocks:
            for i in range(len(block.params)):
                for column, name in enumerate(program.memories):
                    if name.startswith(SCRATCH):
                        self.memory[row, column] = next(scratch).data_ptr()
                    elif name not in (PARAMETER, GRADIENT):
                        link, slot = name.split(".", 1)
                        self.memory[row, column] = block.slots[int(link)][slot][i].data_ptr()
                row += 1

    def refresh(self) -> None:
        """Read this step's scalars, and where parameters and gradients lie now; a gradient laid out otherwise is copied."""
        for block in self.blocks:
            if not (self.plain and all(map(Tensor.is_contiguous, block.grads))):
                block.grads = [_laid_out_as(p, g) for p, g in zip(block.params, block.grads, strict=True)]
        for row, block in enumerate(self.blocks):
            scalars = block.scalars()
            self.scalars[row, : len(self.native.program.scalars)] = [
                getattr(scalars[link], name) for link, name in self.native.program.scalars
            ]
        self.memory[:, self._place[PARAMETER]] = [at for block in self.blocks for at in map(Tensor.data_ptr, block.params)]
        if GRADIENT in self._place:
            self.memory[:, self._place[GRADIENT]] = [at for block in self.blocks for at in map(Tensor.data_ptr, block.grads)]

    def asked_from(self, phase: int) -> set[str]:
        """Return the totals that this phase and later ones make."""
        return {path for later in self.native.program.phases[phase:] for path in later.totals}

    def know(self, sums: Mapping[str, float]) -> None:
        """Take over the totals of earlier phases."""
        for at, path in enumerate(self.native.program.totals):
            self.totals[at] = sums.get(path, 0.0)

    def run(self, phase: int) -> dict[str, float]:
        """Run one phase over all rows; return what it adds up, by path."""
        self.native.run(self.address, phase, min(torch.get_num_threads(), self.most_threads), *self.openmp)
        paths = list(self.native.program.phases[phase].totals)
        sums = np.zeros(len(paths))
        if paths:
            self.native.add_up(self.address, len(paths), sums.ctypes.data)
        return dict(zip(paths, sums.tolist(), strict=True))


def _laid_out_as(p: Tensor, g: Tensor) -> Tensor:
    """Return a gradient in the layout of its parameter."""
    return g if g.stride() == p.stride() else torch.empty_like(p).copy_(g)


def _chunks(sizes: np.ndarray) -> np.ndarray:
    """Return (row, begin, end) of pieces of at most CHUNK numbers, in order."""
    counts = -(-sizes // CHUNK)
    rows = np.repeat(np.arange(len(sizes), dtype=np.int64), counts)
    first = np.repeat(np.cumsum(counts) - counts, counts)
    begin = (np.arange(len(rows), dtype=np.int64) - first) * CHUNK
    return np.ascontiguousarray(np.stack([rows, begin, np.minimum(begin + CHUNK, sizes[rows])], axis=1))


def run(tables: Sequence[Table]) -> None:
    """Apply one step to every row of every table.

    A total is summed over all tables that ask for it by the same path; a table whose next phase reads one waits for the others.
    """
    sums: dict[str, float] = {}
    unfinished = [(table, 0) for table in tables]
    for table in tables:
        table.refresh()
    while unfinished:
        to_come = {path for table, phase in unfinished for path in table.asked_from(phase)}
        going_on = []
        for table, phase in unfinished:
            phases = table.native.program.phases
            if phase and not to_come.isdisjoint(phases[phase - 1].totals):
                going_on.append((table, phase))
                continue
            table.know(sums)
            for path, value in table.run(phase).items():
                sums[path] = sums.get(path, 0.0) + value
            if phase + 1 < len(phases):
                going_on.append((table, phase + 1))
        unfinished = going_on


def takes(params: Sequence[Tensor]) -> bool:
    """Return whether C can walk these parameters: plain dense tensors on a CPU, of one dtype it knows."""
    first = params[0]
    return first.dtype in DTYPES and all(
        type(p) in (Tensor, torch.nn.Parameter)
        and p.device.type == "cpu"
        and p.dtype == first.dtype
        and p.layout == torch.strided
        and (p.is_contiguous() or (p.ndim == 4 and p.is_contiguous(memory_format=torch.channels_last)))
        for p in params
    )
