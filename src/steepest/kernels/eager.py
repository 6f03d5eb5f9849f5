"""The eager execution: a rule's formula run tensor by tensor, on every device torch has. It is the definition.

Formulas that ask for something (see `rules.language`) are generators. All of them run until each has asked or returned;
then the requests are answered - totals added up over every tensor that shares the asking link, matrices one by one - and
the answers sent back in; and so on until the last has returned its step.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import dataclass
from inspect import isgenerator
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor

from ..rules.language import Total
from .block import Block
from .matrix import newton_schulz


@dataclass
class Asked:
    """A request on its way up, with the path of the link that made it: totals are summed per path."""

    path: str
    request: Any


def run(blocks: Sequence[Block]) -> None:
    """Apply one step to every parameter of every block, in place. Totals run over all blocks that share a link."""
    pipelines: list[Generator[Asked, Any, None]] = []
    for block in blocks:
        scalars = block.scalars()
        for i in range(len(block.params)):
            pipelines.append(_pipeline(block, i, scalars))
    waiting = _advance([(pipeline, None) for pipeline in pipelines])
    while waiting:
        answers = _answers([asked for _, asked in waiting])
        waiting = _advance([(pipeline, answer) for (pipeline, _), answer in zip(waiting, answers, strict=True)])


def _pipeline(block: Block, i: int, scalars: list[SimpleNamespace]) -> Generator[Asked, Any, None]:
    """Take one parameter through all links, then subtract the step."""
    p = block.params[i]
    u: Any = block.grads[i]
    for link, columns, k in zip(block.links, block.slots, scalars, strict=True):
        before = {name: column[i] for name, column in columns.items()}
        state = SimpleNamespace(**before)
        u = link.transform.formula(u, p, state, k)
        if isgenerator(u):
            u = yield from _labelled(link.path, u)
        for name, old in before.items():
            new = getattr(state, name)
            if new is not old:
                old.copy_(new)  # in place: others (checkpoints, CUDA graphs) hold the very tensor
    p.sub_(u)


def _labelled(path: str, formula: Generator[Any, Any, Any]) -> Generator[Asked, Any, Any]:
    request = next(formula)
    while True:
        answer = yield Asked(path, request)
        try:
            request = formula.send(answer)
        except StopIteration as done:
            return done.value


def _advance(resume: list[tuple[Generator[Asked, Any, None], Any]]) -> list[tuple[Generator[Asked, Any, None], Asked]]:
    """Run each pipeline to its next request; return those that have one."""
    waiting = []
    for pipeline, answer in resume:
        try:
            waiting.append((pipeline, pipeline.send(answer)))
        except StopIteration:
            continue
    return waiting


def _answers(asked: list[Asked]) -> list[Tensor]:
    sums: dict[str, Tensor] = {}
    for one in asked:
        if isinstance(one.request, Total):
            part = _sum(one.request.value)
            known = sums.get(one.path)
            sums[one.path] = part if known is None else known + part.to(known.device)
    return [
        sums[one.path].to(one.request.value.device) if isinstance(one.request, Total) else newton_schulz(one.request)
        for one in asked
    ]


def _sum(value: Tensor) -> Tensor:
    """Sum in at least float32: half-precision sums of many squares overflow."""
    return value.sum(dtype=torch.float32 if value.dtype in (torch.float16, torch.bfloat16) else value.dtype)
