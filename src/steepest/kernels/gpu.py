"""The Triton execution: a program's kernels, run over a table of tensor rows that lies on the device.

The table is that of `native.py`: pointers, chunks, a row of scalars for each param group. It is built once. What changes from
step to step - scalars, keys, pointers that moved - is written into one pinned buffer and copied over without waiting. Totals
stay on the device, and so does what a GradScaler has found. Each phase is one launch, each kind of total one more.
"""

from __future__ import annotations

import functools
import hashlib
import importlib.util
import itertools
import linecache
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..rules import Link
from .block import Block, are_plain
from .eager import wide
from .layout import DTYPES, Rows
from .program import SCRATCH
from .trace import Untraceable, trace
from .tritonsource import ARRAYS, source

KIND = "cuda"
BLOCK = 1024  # numbers that a kernel's program holds at once: eight for each of its 128 threads
CHUNK = 8 * BLOCK  # numbers of one program: what it looks up in the table is spread over them
OF_UNITS = 2 * BLOCK  # the same, where units are taken one after the other
OPTIONS = {"num_warps": 4, "enable_fp_fusion": False}  # a multiply-add rounds once where the definition rounds twice
ALIGNMENT = 16  # bytes that are read at a time
# what the arrays hold, where that is not int64
TYPES = {"group": torch.int32, "found_inf": torch.float32, "grad_scale": torch.float32}
TYPES |= dict.fromkeys(("scalars", "sums", "totals", "partials", "units"), torch.float64)


@dataclass(frozen=True)
class Scaling:
    """What a GradScaler hands over: not 0 where a gradient is not finite, and what gradients have been multiplied by."""

    found_inf: Tensor
    grad_scale: Tensor | None


class Outcome:
    """Whether a step was made: known once the device has come to it, and asked for when the next step begins."""

    def __init__(self, found_inf: Tensor) -> None:
        self._flag = torch.empty((), dtype=found_inf.dtype, pin_memory=found_inf.is_cuda).copy_(found_inf, non_blocking=True)
        self._event = torch.cuda.Event() if found_inf.is_cuda else None
        if self._event is not None:
            self._event.record(torch.cuda.current_stream(found_inf.device))

    def skipped(self) -> bool:
        """Wait until the device has come to the step (not further), and return whether it was left out."""
        if self._event is not None:
            self._event.synchronize()
        return bool(self._flag)


class Kernels:
    """The kernels of one sequence of transforms for one dtype and device."""

    def __init__(self, links: tuple[Link, ...], dtype: torch.dtype, device: torch.device) -> None:
        self.program, self.dtype, self.device = trace(links, rounds=wide(dtype) != dtype), dtype, device
        if self.program.matrices:
            raise Untraceable("no Triton for rules of whole matrices")
        module = loaded(source(self.program, DTYPES[dtype]))
        self.phases = [module[f"phase_{i}"] for i in range(len(self.program.phases))]
        self.finish, self.add_up = module["finish"], module["add_up"]
        if device.type == "cuda":
            with torch.cuda.device(device):
                self._warm_up()

    def _warm_up(self) -> None:
        """Compile now, so that a kernel that cannot be compiled is not found out half-way through a step."""
        given = [TYPES.get(name, torch.int64) for name in ARRAYS]
        for phase in self.phases:
            phase.warmup(*given, ALIGNED=True, SCALED=False, BLOCK=BLOCK, grid=(1,), **OPTIONS)
        if self.program.kept:
            self.finish.warmup(*given, SCALED=False, grid=(1,), **OPTIONS)
        # sums, totals and units are added up by one small kernel, compiled when it is first needed: it has no odd types


def loaded(text: str) -> dict[str, Any]:
    """Return the names of a generated module. Triton reads a kernel's source, which `linecache` hands it without a file."""
    name = f"<steepest {hashlib.sha256(text.encode()).hexdigest()[:32]}>"
    linecache.cache[name] = (len(text), None, text.splitlines(keepends=True), name)
    module: dict[str, Any] = {"__name__": name}
    exec(compile(text, name, "exec"), module)
    return module


@functools.lru_cache(maxsize=1024)
def compiled(links: tuple[Link, ...], dtype: torch.dtype, device: torch.device) -> Kernels | str:
    """Return the kernels of these links, or the reason why there are none."""
    if dtype not in DTYPES:
        return f"no Triton for {dtype}"
    try:
        return Kernels(links, dtype, device)
    except Untraceable as reason:
        return str(reason)
    except ImportError:
        return "Triton is not installed"
    except Exception as error:  # what a device, a driver or a missing compiler may say is open
        told = (str(error).strip().splitlines() or [""])[0]
        return f"Triton cannot compile here ({type(error).__name__}: {told})"


class Table:
    """The tensors of one or more blocks, bound to kernels."""

    def __init__(self, kernels: Kernels, blocks: Sequence[Block]) -> None:
        self.kernels, self.program, self.blocks = kernels, kernels.program, list(blocks)
        self.scaling: Scaling | None = None
        self.rows = Rows(self.program, blocks)
        self.device = self.rows.params[0].device
        self.memories = {name: self.rows.working() for name in self.program.memories if name.startswith(SCRATCH)}
        self._lay_out()
        self._lay_out_totals()
        fixed = self.rows.staying(self.memories)
        self.fixed_aligned = not (fixed & (ALIGNMENT - 1)).any()
        self.aligned = self.captured_aligned = False
        self.arrays |= {
            "fixed": self._on_device(fixed),
            "kept": self._on_device(self.rows.state(list(self.program.kept))),
            "found_inf": torch.zeros((), device=self.device),
            "grad_scale": torch.ones((), device=self.device),
        }

    def _lay_out(self) -> None:
        """Cut the tensors into chunks, and make room for what changes from step to step."""
        program, rows = self.program, self.rows
        self.block = min(BLOCK, max(16, 1 << int(rows.lengths.max() - 1).bit_length())) if program.by_units else BLOCK
        self.chunk = rows.chunks(CHUNK, OF_UNITS)
        # an even number of each, so that every array begins at a multiple of 16 bytes
        counts = (len(self.blocks) * len(program.scalars), len(rows) * len(program.seeds), len(rows) * len(program.moving))
        self.ends = list(itertools.accumulate(count + count % 2 for count in counts))
        self.known = np.zeros(self.ends[-1], dtype=np.int64)
        self.fresh = torch.zeros(self.ends[-1], dtype=torch.int64, device=self.device)
        self.arrays = {
            "scalars": self.fresh[: self.ends[0]].view(torch.float64),
            "keys": self.fresh[self.ends[0] : self.ends[1]],
            "moved": self.fresh[self.ends[1] :],
            "chunk": self._on_device(self.chunk),
            "group": self._on_device(rows.group),
            "size": self._on_device(rows.sizes),
            "length": self._on_device(rows.lengths),
            "unit_at": self._on_device(rows.unit_at),
        }
        self.num_units = int(rows.units.sum()) if program.by_units else 0

    def _lay_out_totals(self) -> None:
        """Make room for totals, and write down which are added up over what after each phase."""
        program, width = self.program, len(self.program.totals)
        most = max((len(phase.totals) for phase in program.phases), default=0)
        sizes = {
            "sums": width,
            "totals": len(self.rows) * width if "tensor" in program.totals.values() else 0,
            "partials": len(self.chunk) * most,
            "units": self.num_units * width,
        }
        self.arrays |= {name: torch.zeros(size, dtype=torch.float64, device=self.device) for name, size in sizes.items()}
        counts = np.bincount(self.chunk[:, 0], minlength=len(self.rows))
        bounds = {"all": np.array([0, len(self.chunk)]), "tensor": np.concatenate([[0], np.cumsum(counts)])}
        self.bounds = {over: self._on_device(bound.astype(np.int64)) for over, bound in bounds.items()}
        self.columns: list[dict[str, Tensor]] = []
        for i in range(len(program.phases)):
            mine = program.added_up(i)
            pairs = {
                over: [(i, list(program.totals).index(path)) for i, path in enumerate(mine) if program.totals[path] == over]
                for over in ("all", "tensor")
            }
            self.columns.append({over: self._on_device(np.array(found)) for over, found in pairs.items() if found})

    def _on_device(self, numbers: np.ndarray) -> Tensor:
        return torch.from_numpy(np.ascontiguousarray(numbers).reshape(-1)).to(self.device)

    def refresh(self) -> None:
        """Bring this step's scalars to the device, and where parameters and gradients lie now, if they have moved."""
        now, (numbers, keys, _) = np.zeros_like(self.known), self.ends
        if self.program.scalars:
            now[:numbers].view(np.float64)[: len(self.blocks) * len(self.program.scalars)] = np.ravel(self.rows.scalars())
        if self.program.seeds:
            drawn = np.array(self.rows.keys(), dtype=np.uint64).reshape(-1)
            now[numbers : numbers + len(drawn)] = drawn.view(np.int64)
        pointers = self.rows.moving().T
        now[keys : keys + pointers.size] = pointers.reshape(-1)
        moved = not np.array_equal(now[keys:], self.known[keys:])
        if moved:
            self.aligned = self.fixed_aligned and not (pointers & (ALIGNMENT - 1)).any()
        if moved or not np.array_equal(now[:keys], self.known[:keys]):
            count = len(now) if moved else keys
            # torch's pool of pinned memory hands a buffer out again only when the copy is done
            pinned = torch.empty(count, dtype=torch.int64, pin_memory=self.device.type == "cuda")
            pinned.numpy()[:] = now[:count]
            self.fresh[:count].copy_(pinned, non_blocking=True)
            self.known = now

    def captures(self) -> bool:
        """Return whether a CUDA graph can hold this table's kernels: every gradient is read where it lies."""
        return self.rows.in_place

    def know(self, sums: Mapping[str, Tensor]) -> None:
        """Take over the totals of earlier phases, where other tables have added to them."""
        for at, (path, over) in enumerate(self.program.totals.items()):
            mine = self.arrays["sums"][at]
            if over == "all" and path in sums and sums[path].data_ptr() != mine.data_ptr():
                mine.copy_(sums[path], non_blocking=True)

    def run(self, phase: int) -> dict[str, Tensor]:
        """Launch one phase over all rows; return what it adds up over all of them, by path, on the device."""
        arrays = self.arrays
        if self.scaling is not None:
            scale = arrays["grad_scale"] if self.scaling.grad_scale is None else self.scaling.grad_scale
            arrays = arrays | {"found_inf": self.scaling.found_inf, "grad_scale": scale}
        given, scaled = [arrays[name] for name in ARRAYS], self.scaling is not None
        with torch.cuda.device(self.device) if self.device.type == "cuda" else nullcontext():
            if len(self.chunk):
                launch = self.kernels.phases[phase][(len(self.chunk),)]
                launch(*given, ALIGNED=self.aligned, SCALED=scaled, BLOCK=self.block, **OPTIONS)
            self._add_up(phase)
            if phase + 1 == len(self.program.phases) and self.program.kept:
                self.kernels.finish[(len(self.rows),)](*given, SCALED=scaled, **OPTIONS)
        places = {path: place for place, path in enumerate(self.program.totals)}
        return {path: self.arrays["sums"][places[path]] for path in self.program.over(phase, "all")}

    def _add_up(self, phase: int) -> None:
        count = len(self.program.added_up(phase))
        for over, columns in self.columns[phase].items():
            bounds, result = self.bounds[over], self.arrays["sums" if over == "all" else "totals"]
            grid = (bounds.numel() - 1, columns.numel() // 2)
            width = len(self.program.totals)
            partials = self.arrays["partials"]
            self.kernels.add_up[grid](partials, bounds, columns, result, SUMS=count, WIDTH=width, BLOCK=BLOCK, **OPTIONS)


def is_installed() -> bool:
    """Return whether Triton is there; torch's builds for CUDA on Linux bring it."""
    return importlib.util.find_spec("triton") is not None


def takes(params: Sequence[Tensor]) -> bool:
    """Return whether Triton can walk these parameters: plain dense tensors of one dtype it knows on one CUDA device."""
    return params[0].dtype in DTYPES and params[0].device.type == KIND and are_plain(params)
