"""Which execution runs which tensors: C or Triton where a program was compiled, torch's fused operations, else eager."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from contextlib import AbstractContextManager, ExitStack, nullcontext
from typing import Any

import torch
from torch import Tensor

from ..rules import Link
from . import eager, fused, gpu, native
from .block import Block, check_all_gradients_are_there

EAGER, C, TRITON = "eager", "C", "Triton"
Compiled = native.Native | gpu.Kernels


def choose(links: tuple[Link, ...], params: Sequence[Tensor]) -> tuple[Compiled | fused.Fused | None, str]:
    """Return what is to run these links over these parameters (None: eagerly), and why not something faster."""
    why_not = "not plain dense tensors of one floating dtype on one device, a CPU or CUDA"
    if native.takes(params):
        found = native.compiled(links, params[0].dtype)
        if not isinstance(found, str):
            return found, ""
        why_not = found
    if gpu.takes(params):
        found = gpu.compiled(links, params[0].dtype, params[0].device)
        if not isinstance(found, str):
            return found, ""
        why_not = found
    operation = fused.recognise(links)
    if isinstance(operation, fused.Fused) and operation.takes(params):
        return operation, why_not if params[0].device.type == "cuda" else ""
    return None, why_not


def name_of(chosen: Compiled | fused.Fused | None) -> str:
    """Return what `plan()` calls an execution."""
    if isinstance(chosen, fused.Fused):
        return chosen.operation
    return EAGER if chosen is None else C if isinstance(chosen, native.Native) else TRITON


def scales(blocks: Sequence[Block], found_inf: Tensor) -> bool:
    """Return whether all these blocks can look on their own device at what a GradScaler found."""
    return bool(blocks) and all(
        isinstance(block.chosen, gpu.Kernels) and block.chosen.device == found_inf.device for block in blocks
    )


class Executor:
    """Runs the blocks of one optimizer, and keeps the tables of compiled programs from step to step."""

    def __init__(self) -> None:
        self._tables: dict[Compiled, native.Table | gpu.Table] = {}
        self.one_at_a_time = threading.RLock()  # while a loop runs, another thread must not exchange what it reads

    def __reduce__(self) -> tuple[type[Executor], tuple[()]]:
        return Executor, ()  # a copy makes its own tables

    def run(self, blocks: Sequence[Block], scaling: gpu.Scaling | None = None) -> None:
        """Apply one step to every parameter of every block, in place; with a scaling, if that allows it (see `scales`)."""
        with _without_autocast():
            self._run(blocks, scaling)

    def _run(self, blocks: Sequence[Block], scaling: gpu.Scaling | None) -> None:
        in_c = [block for block in blocks if isinstance(block.chosen, native.Native)]
        in_triton = [block for block in blocks if isinstance(block.chosen, gpu.Kernels)]
        by_torch = [block for block in blocks if isinstance(block.chosen, fused.Fused) and fused.aligned(block)]
        eagerly = [block for block in blocks if block not in in_c and block not in in_triton and block not in by_torch]
        if in_c and in_triton:  # a sum that spans both would have to cross over: it is made in one place
            both = set().union(*map(_totals, in_c)) & set().union(*map(_totals, in_triton))
            eagerly += [block for block in in_c + in_triton if not both.isdisjoint(_totals(block))]
        eagerly = _with_their_totals(eagerly, in_c + in_triton)
        for block in by_torch:
            assert isinstance(block.chosen, fused.Fused)
            block.chosen.run(block)
        for compiled in (in_c, in_triton):
            if remaining := [block for block in compiled if block not in eagerly]:
                for block in remaining:  # while they are near: just now they were asked where they lie
                    torch._C._increment_version(block.params)  # as torch's operations: autograd sees that they were changed
                tables = self._bound(remaining, scaling)
                for table in tables:
                    table.refresh()
                launch_tables(tables)
        if eagerly:
            eager.run(eagerly)
        for block in blocks:
            if block not in in_triton:  # a CUDA graph reads them again
                block.grads = []  # or they would outlive zero_grad(set_to_none=True)
        used = {block.chosen for block in blocks}
        self._tables = {program: table for program, table in self._tables.items() if program in used}

    def captures(self, blocks: Sequence[Block]) -> bool:
        """Return whether a CUDA graph can hold a step of these blocks: kernels that read all that changes from the device."""
        known = [self._tables.get(block.chosen) for block in blocks]
        return bool(known) and all(isinstance(table, gpu.Table) and table.captures() for table in known)

    def capture(self, blocks: Sequence[Block]) -> None:
        """Launch the kernels of a step, without bringing anything to the device."""
        tables = self._bound(blocks, None)
        for table in tables:
            table.captured_aligned = table.aligned
        launch_tables(tables)

    def refresh(self, blocks: Sequence[Block]) -> bool:
        """Bring the numbers of a step to the device, for kernels captured earlier; return whether those still fit."""
        tables = self._bound(blocks, None)
        for table in tables:
            table.refresh()
        return all(table.aligned or not table.captured_aligned for table in tables)

    def _bound(self, blocks: Sequence[Block], scaling: gpu.Scaling | None) -> list[Any]:
        """Return the tables of these blocks, those of the step before where nothing has changed."""
        groups: dict[Compiled, list[Block]] = {}
        for block in blocks:
            groups.setdefault(block.chosen, []).append(block)
        for program, members in groups.items():
            known = self._tables.get(program)
            if known is None or known.blocks != members:
                known = native.Table(program, members) if isinstance(program, native.Native) else gpu.Table(program, members)
                self._tables[program] = known
            if isinstance(known, gpu.Table):
                known.scaling = scaling
        return [self._tables[program] for program in groups]


def _without_autocast() -> AbstractContextManager[Any]:
    """Return a context in which torch multiplies in the precision it is given, also inside the user's autocast."""
    chosen = [kind for kind in ("cpu", "cuda") if torch.is_autocast_enabled(kind)]
    if not chosen:
        return nullcontext()
    stack = ExitStack()
    for kind in chosen:
        stack.enter_context(torch.autocast(kind, enabled=False))
    return stack


def launch_tables(tables: Sequence[Any]) -> None:
    """Apply one step to every row of every table, phase by phase.

    A total is summed over all tables that ask for it by the same path; a table whose next phase reads one waits for the others.
    """
    if any(table.program.asked_from[0] for table in tables):
        check_all_gradients_are_there()
    if len(tables) == 1 and isinstance(tables[0], native.Table):
        tables[0].run_alone()
        return
    sums: dict[str, Any] = {}
    unfinished = [(table, 0) for table in tables]
    while unfinished:
        to_come = {path for table, phase in unfinished for path in table.program.asked_from[phase]}
        going_on = []
        for table, phase in unfinished:
            program = table.program
            if phase and not to_come.isdisjoint(program.over(phase - 1, "all")):
                going_on.append((table, phase))
                continue
            table.know(sums)
            for path, value in table.run(phase).items():
                sums[path] = _added(sums[path], value) if path in sums else value
            if phase + 1 < len(program.phases):
                going_on.append((table, phase + 1))
        unfinished = going_on


def _added(a: Any, b: Any) -> Any:
    return a + (b.to(a.device, non_blocking=True) if isinstance(b, Tensor) else b)


def _totals(block: Block) -> set[str]:
    """Return the paths of the links that ask for a total over all tensors."""
    return {path.rsplit("#", 1)[0] for path, over in block.chosen.program.totals.items() if over == "all"}


def _with_their_totals(eagerly: list[Block], compiled: Sequence[Block]) -> list[Block]:
    """Return the blocks that run eagerly: with those of compiled blocks that share a total, and so on."""
    while True:
        spanned = {link.path for block in eagerly for link in block.links}
        more = [block for block in compiled if block not in eagerly and not spanned.isdisjoint(_totals(block))]
        if not more:
            return eagerly
        eagerly = eagerly + more
