"""The eager execution: a rule's formula run tensor by tensor, on every device torch has. It is the definition.

Formulas that ask for something (see `rules.language`) are generators. All of them run until each has asked or returned;
then what can be answered is answered - matrices one by one, a total once every tensor that its link serves has come to it -
and the answers are sent back in; and so on until the last has returned its step. Parameters in half precision are computed
in float32 and rounded where they are stored.
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

HALF = (torch.float16, torch.bfloat16)


@dataclass
class Asked:
    """A request on its way up, with the link that made it and the links still to come; totals are summed per path."""

    path: str
    later: tuple[str, ...]
    request: Any


Pipeline = Generator[Asked, Any, None]


def run(blocks: Sequence[Block]) -> None:
    """Apply one step to every parameter of every block, in place. Totals run over all blocks that share a link."""
    pipelines: list[Pipeline] = []
    for block in blocks:
        scalars = block.scalars()
        for i in range(len(block.params)):
            pipelines.append(_pipeline(block, i, scalars))
    waiting = _advance([(pipeline, None) for pipeline in pipelines])
    while waiting:
        awaited = {path for _, asked in waiting for path in asked.later}
        held = [(pipeline, asked) for pipeline, asked in waiting if _is_early(asked, awaited)]
        ready = [(pipeline, asked) for pipeline, asked in waiting if not _is_early(asked, awaited)]
        answers = _answers([asked for _, asked in ready])
        waiting = held + _advance([(pipeline, answer) for (pipeline, _), answer in zip(ready, answers, strict=True)])


def _is_early(asked: Asked, awaited: set[str]) -> bool:
    """Return whether a total must wait for tensors that have yet to come to its link."""
    return isinstance(asked.request, Total) and asked.path in awaited


def _pipeline(block: Block, i: int, scalars: list[SimpleNamespace]) -> Pipeline:
    """Take one parameter through all links, then subtract the step."""
    p: Any = _wide(block.params[i])
    u: Any = _wide(block.grads[i])
    paths = tuple(link.path for link in block.links)
    for at, (link, columns, k) in enumerate(zip(block.links, block.slots, scalars, strict=True)):
        before = {name: _wide(column[i]) for name, column in columns.items()}
        state = SimpleNamespace(**before)
        u = link.transform.formula(u, p, state, k)
        if isgenerator(u):
            u = yield from _labelled(link.path, paths[at + 1 :], u)
        changed = {name: getattr(state, name) for name, old in before.items() if getattr(state, name) is not old}
        gone = [before[name] for name in changed]
        u, *values = [value.clone() if any(value is old for old in gone) else value for value in (u, *changed.values())]
        for name, value in zip(changed, values, strict=True):
            columns[name][i].copy_(value)  # in place: others (checkpoints, CUDA graphs) hold the very tensor
    block.params[i].copy_(p - u)


def _wide(x: Tensor) -> Tensor:
    """Return a tensor in the precision it is computed in."""
    return x.float() if x.dtype in HALF else x


def _labelled(path: str, later: tuple[str, ...], formula: Generator[Any, Any, Any]) -> Generator[Asked, Any, Any]:
    request = next(formula)
    while True:
        answer = yield Asked(path, later, request)
        try:
            request = formula.send(answer)
        except StopIteration as done:
            return done.value


def _advance(resume: list[tuple[Pipeline, Any]]) -> list[tuple[Pipeline, Asked]]:
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
            part, known = one.request.value.sum(), sums.get(one.path)
            sums[one.path] = part if known is None else known + part.to(known.device)
    return [
        sums[one.path].to(one.request.value.device) if isinstance(one.request, Total) else newton_schulz(one.request)
        for one in asked
    ]
