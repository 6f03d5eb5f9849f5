"""Which execution runs which tensors: C where a program was compiled, torch's fused operations, else the eager definition."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from ..rules import Link
from . import eager, fused, native
from .block import Block

EAGER, C = "eager", "C"


def choose(links: tuple[Link, ...], params: Sequence[Tensor]) -> tuple[native.Native | fused.Fused | None, str]:
    """Return what is to run these links over these parameters (None: eagerly), and why not something faster."""
    why_not_c = "not plain dense tensors of one floating dtype on a CPU"
    if native.takes(params):
        found = native.compiled(links, params[0].dtype)
        if not isinstance(found, str):
            return found, ""
        why_not_c = found
    operation = fused.recognise(links)
    if isinstance(operation, fused.Fused) and operation.takes(params):
        return operation, ""
    return None, why_not_c


def name_of(chosen: native.Native | fused.Fused | None) -> str:
    """Return what `plan()` calls an execution."""
    return EAGER if chosen is None else C if isinstance(chosen, native.Native) else chosen.operation


class Executor:
    """Runs the blocks of one optimizer, and keeps the tables of those that run in C from step to step."""

    def __init__(self) -> None:
        self._tables: dict[native.Native, native.Table] = {}

    def run(self, blocks: Sequence[Block]) -> None:
        """Apply one step to every parameter of every block, in place."""
        in_c = [block for block in blocks if isinstance(block.chosen, native.Native)]
        by_torch = [block for block in blocks if isinstance(block.chosen, fused.Fused) and fused.aligned(block)]
        eagerly = [block for block in blocks if block not in in_c and block not in by_torch]
        if eagerly and in_c:  # a norm that spans both is summed in one place
            spanned = {link.path for block in eagerly for link in block.links}
            shared = [block for block in in_c if not spanned.isdisjoint(_totals(block))]
            eagerly, in_c = eagerly + shared, [block for block in in_c if block not in shared]
        for block in by_torch:
            assert isinstance(block.chosen, fused.Fused)
            block.chosen.run(block)
        if in_c:
            native.run(self._bound(in_c))
        if eagerly:
            eager.run(eagerly)

    def _bound(self, blocks: Sequence[Block]) -> list[native.Table]:
        """Return the tables of these blocks, those of the step before where nothing has changed."""
        groups: dict[native.Native, list[Block]] = {}
        for block in blocks:
            assert isinstance(block.chosen, native.Native)
            groups.setdefault(block.chosen, []).append(block)
        for program, members in groups.items():
            known = self._tables.get(program)
            if known is None or known.blocks != members:
                self._tables[program] = native.Table(program, members)
        return [self._tables[program] for program in groups]


def _totals(block: Block) -> set[str]:
    """Return the paths of the links that ask for a total."""
    assert isinstance(block.chosen, native.Native)
    return {name.rsplit("#", 1)[0] for name in block.chosen.program.totals}
