"""The C execution: a program compiled once, run over a table of tensor rows.

The table holds a pointer for every memory of every tensor (parameter, gradient, state), the chunks they are cut into, and a
row of scalars for every param group. Pointers of gradients and parameters are read anew at every step; all else stays. Tensors
are cut into chunks that threads share out, so that one large tensor is as parallel as many small ones; few numbers stay on
one thread.
"""

from __future__ import annotations

import ctypes
import functools
import itertools
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..rules import Link
from . import matrix, storage
from .block import Block, are_plain
from .compiler import CannotCompileError, load, say_once
from .csource import source
from .eager import wide
from .random import key_of
from .trace import ANSWERED, ASKED, GRADIENT, PARAMETER, SCRATCH, Untraceable, trace

CHUNK = 2**15  # numbers: with four memories of four bytes, half a megabyte
NUMBERS_PER_THREAD = 2**15  # fewer are done sooner than a second thread is woken
OPENMP = ("GOMP_parallel", "omp_get_thread_num", "omp_get_num_threads")
ARRAYS = (
    "memory", "chunk", "group", "scalars", "totals", "partials", "units", "kept", "keys", "size", "length", "unit_at",
)  # fmt: skip
DTYPES = {torch.float32: "float32", torch.float64: "float64", torch.bfloat16: "bfloat16", torch.float16: "float16"}


class _CTable(ctypes.Structure):
    _fields_ = (
        *((name, ctypes.c_void_p) for name in ARRAYS),
        ("num_chunks", ctypes.c_int64),
        ("num_rows", ctypes.c_int64),
    )


class Native:
    """The compiled program of one sequence of transforms for one dtype."""

    def __init__(self, links: tuple[Link, ...], dtype: torch.dtype) -> None:
        self.program, self.dtype = trace(links, rounds=wide(dtype) != dtype), dtype
        library = load(source(self.program, DTYPES[dtype]))
        self.run, self.add_up, self.finish = library.run, library.add_up, library.finish
        self.run.argtypes = (ctypes.c_void_p, ctypes.c_int, ctypes.c_int, *[ctypes.c_void_p] * len(OPENMP))
        self.add_up.argtypes = (ctypes.c_void_p, ctypes.c_int64, ctypes.c_void_p, ctypes.c_void_p)
        self.finish.argtypes = (ctypes.c_void_p,)
        self.run.restype = self.add_up.restype = self.finish.restype = None


@functools.lru_cache(maxsize=1024)
def compiled(links: tuple[Link, ...], dtype: torch.dtype) -> Native | str:
    """Return the compiled program of these links, or the reason why there is none."""
    if dtype not in DTYPES:
        return f"no C for {dtype}"
    try:
        return Native(links, dtype)
    except CannotCompileError as reason:
        say_once(str(reason))
        return str(reason)
    except Untraceable as reason:
        return str(reason)


@functools.cache
def openmp() -> tuple[int, ...]:
    """Return the addresses of torch's own functions named in `OPENMP`, zeros where there are none to be found."""
    nothing = (0,) * len(OPENMP)
    try:
        lines = Path("/proc/self/maps").read_text().splitlines()
        loaded = {line.split(maxsplit=5)[-1] for line in lines if "omp" in line}  # a path may hold spaces
    except OSError:
        return nothing
    for path in sorted(name for name in loaded if Path(name).name.startswith(("libgomp", "libiomp", "libomp"))):
        try:
            library = ctypes.CDLL(path)
        except OSError:  # replaced on disk since it was loaded
            continue
        if all(hasattr(library, name) for name in OPENMP):
            return tuple(ctypes.cast(getattr(library, name), ctypes.c_void_p).value or 0 for name in OPENMP)
    return nothing


class Table:
    """The tensors of one or more blocks, bound to a compiled program."""

    def __init__(self, native: Native, blocks: Sequence[Block]) -> None:
        self.native, self.program, self.blocks = native, native.program, list(blocks)
        program, params = native.program, [p for block in blocks for p in block.params]
        rows = len(params)
        sizes = np.array([p.numel() for p in params], dtype=np.int64)
        units = np.array([p.shape[0] if p.ndim > 1 else 1 for p in params], dtype=np.int64)
        lengths = np.maximum(sizes // np.maximum(units, 1), 1)
        most = max((len(phase.totals) for phase in program.phases), default=0)
        chunk = chunks_of(sizes, lengths if program.by_units else None, CHUNK)
        self.plain = all(map(Tensor.is_contiguous, (*params, *(g for block in blocks for g in block.grads))))
        self.scratch = [torch.empty_like(p, dtype=wide(p.dtype)) for p in params for _ in range(program.num_scratch)]
        self.asked = [[torch.empty_like(p, dtype=wide(p.dtype)) for p in params] for _ in program.matrices]
        self.arrays = {
            "memory": np.zeros((rows, len(program.memories)), dtype=np.int64),
            "chunk": chunk,
            "group": np.repeat(np.arange(len(blocks), dtype=np.int32), [len(block.params) for block in blocks]),
            "scalars": np.zeros((len(blocks), max(len(program.scalars), 1))),
            "totals": np.zeros((rows, max(len(program.totals), 1))),
            "partials": np.zeros((len(chunk), max(most, 1))),
            "units": np.zeros((int(units.sum()) if program.by_units else 1, max(len(program.totals), 1))),
            "kept": np.zeros((rows, max(len(program.kept), 1)), dtype=np.int64),
            "keys": np.zeros((rows, max(len(program.seeds), 1)), dtype=np.uint64),
            "size": sizes,
            "length": lengths,
            "unit_at": np.cumsum(units) - units,
        }
        self._bind_state()
        self.openmp = openmp()
        self.most_threads = max(1, int(sizes.sum()) // NUMBERS_PER_THREAD) if all(self.openmp) else 1
        self.c = _CTable(*(self.arrays[name].ctypes.data for name in ARRAYS), len(chunk), rows)
        self.address = ctypes.addressof(self.c)
        self.columns = [program.memories.index(name) for name in (PARAMETER, GRADIENT) if name in program.memories]
        self.places = [
            np.array([-1 if program.totals[path] == "all" else place for path, place in sums], dtype=np.int64)
            for sums in (
                [(path, list(program.totals).index(path)) for path in phase.totals if program.totals[path] != "unit"]
                for phase in program.phases
            )
        ]

    def _bind_state(self) -> None:
        """Write down where each state slot and scratch memory lies; they stay there."""
        program, row, scratch = self.native.program, 0, iter(self.scratch)
        for block in self.blocks:
            for i in range(len(block.params)):
                for column, name in enumerate(program.memories):
                    if name.startswith(SCRATCH):
                        self.arrays["memory"][row, column] = next(scratch).data_ptr()
                    elif name.startswith((ASKED, ANSWERED)):
                        asked = self.asked[int(name.removeprefix(ASKED).removeprefix(ANSWERED))]
                        self.arrays["memory"][row, column] = asked[row].data_ptr()
                    elif name not in (PARAMETER, GRADIENT):
                        self.arrays["memory"][row, column] = lies_at(block, name, i)
                for column, name in enumerate(program.kept):
                    self.arrays["kept"][row, column] = lies_at(block, name, i)
                row += 1

    def refresh(self) -> None:
        """Read this step's scalars, and where parameters and gradients lie now; a gradient laid out otherwise is copied."""
        program, arrays = self.native.program, self.arrays
        for row, block in enumerate(self.blocks):
            if not self.plain:
                block.grads = [laid_out_as(p, g) for p, g in zip(block.params, block.grads, strict=True)]
            arrays["scalars"][row, : len(program.scalars)] = program.read(block.scalars())
        found = [*map(Tensor.data_ptr, itertools.chain.from_iterable(block.params for block in self.blocks))]
        if len(self.columns) > 1:
            found += map(Tensor.data_ptr, itertools.chain.from_iterable(block.grads for block in self.blocks))
        arrays["memory"].T[self.columns] = np.fromiter(found, np.int64, len(found)).reshape(len(self.columns), -1)
        if program.seeds:
            places = [(block.t, place) for block in self.blocks for place in block.places]
            seeds = list(enumerate(program.seeds))
            arrays["keys"][:] = [[key_of(seed, place, t, n) for n, seed in seeds] for t, place in places]

    def asked_from(self, phase: int) -> set[str]:
        """Return the totals over all tensors that this phase and later ones make."""
        program = self.native.program
        return {path for later in range(phase, len(program.phases)) for path in program.over(later, "all")}

    def know(self, sums: Mapping[str, float]) -> None:
        """Take over the totals of earlier phases."""
        for at, (path, over) in enumerate(self.native.program.totals.items()):
            if over == "all":
                self.arrays["totals"][:, at] = sums.get(path, 0.0)

    def run(self, phase: int) -> dict[str, float]:
        """Run one phase over all rows, and the work on matrices that follows it; return what it adds up, by path."""
        self.native.run(self.address, phase, min(torch.get_num_threads(), self.most_threads), *self.openmp)
        program, places = self.native.program, self.places[phase]
        if phase in program.matrices:
            number, request = program.matrices[phase]
            asked = self.asked[number]
            matrix.work_in_place([replace(request, value=value) for value in asked])
        paths = [path for path in program.phases[phase].totals if program.totals[path] != "unit"]
        sums = np.zeros(len(paths))
        if paths:
            self.native.add_up(self.address, len(paths), places.ctypes.data, sums.ctypes.data)
        if phase + 1 == len(program.phases) and program.kept:
            self.native.finish(self.address)
        return {path: value for path, value in zip(paths, sums.tolist(), strict=True) if program.totals[path] == "all"}


def lies_at(block: Block, name: str, i: int) -> int:
    """Return where parameter `i` of a block has the state that a memory stands for."""
    link, slot = name.removesuffix(storage.SCALE).split(".", 1)
    held: Any = block.slots[int(link)][slot][i]
    if isinstance(held, storage.EightBit):
        held = held.scales if name.endswith(storage.SCALE) else held.codes
    return held.data_ptr()


def laid_out_as(p: Tensor, g: Tensor) -> Tensor:
    """Return a gradient in the layout of its parameter."""
    return g if g.stride() == p.stride() else torch.empty_like(p).copy_(g)


def chunks_of(sizes: np.ndarray, lengths: np.ndarray | None, piece: int) -> np.ndarray:
    """Return (row, begin, end) of pieces of about so many numbers, in order; of whole units, where their lengths are given."""
    pieces = np.full_like(sizes, piece) if lengths is None else np.maximum(piece // lengths, 1) * lengths
    counts = -(-sizes // pieces)
    rows = np.repeat(np.arange(len(sizes), dtype=np.int64), counts)
    first = np.repeat(np.cumsum(counts) - counts, counts)
    begin = (np.arange(len(rows), dtype=np.int64) - first) * pieces[rows]
    return np.ascontiguousarray(np.stack([rows, begin, np.minimum(begin + pieces[rows], sizes[rows])], axis=1))


def takes(params: Sequence[Tensor]) -> bool:
    """Return whether C can walk these parameters: plain dense tensors on a CPU, of one dtype it knows."""
    return params[0].dtype in DTYPES and params[0].device.type == "cpu" and are_plain(params)
