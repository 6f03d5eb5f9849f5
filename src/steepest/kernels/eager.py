"""The eager execution: a rule's formula run tensor by tensor, on every device torch has. It is the definition.

Formulas that ask for something (see `rules.language`) are generators. All of them run until each has asked or returned;
then what can be answered is answered - matrices by shape, a total once every tensor that its link serves has come to it -
and the answers are sent back in; and so on until the last has returned its step. Parameters in half precision are computed
in float32 and rounded where they are stored.
"""

from __future__ import annotations

import itertools
from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass, replace
from inspect import isgenerator
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor

from ..errors import InputError
from ..rules import Projection
from ..rules.language import Normal, Sides, Stored, Total
from . import matrix, storage
from .block import Block, check_all_gradients_are_there
from .random import key_of, standard_normal, stochastic_bfloat16

HALF = (torch.float16, torch.bfloat16)


@dataclass
class Asked:
    """A request on its way up, with the link that made it and the links still to come; totals are summed per path."""

    path: str
    later: tuple[str, ...]
    request: Any
    like: Tensor  # the parameter
    draw: tuple[int, int]  # its place and the step: what random numbers are drawn by
    number: int = 0  # how many draws its chain has made before


Pipeline = Generator[Asked, Any, None]


def run(blocks: Sequence[Block]) -> None:
    """Apply one step to every parameter of every block, in place. Totals run over all blocks that share a link."""
    try:
        _run(blocks)
    except RuntimeError as error:
        if "DTensor" not in str(error):
            raise
        links = " + ".join(dict.fromkeys(repr(link.transform) for block in blocks for link in block.links))
        raise InputError(f"{links} cannot run over parameters that are spread over devices (DTensor)") from error


def _run(blocks: Sequence[Block]) -> None:
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
    return _is_global(asked.request) and asked.path in awaited


def _pipeline(block: Block, i: int, scalars: list[SimpleNamespace]) -> Pipeline:
    """Take one parameter through all links, subtract the step, and project."""
    p: Any = _wide(block.params[i])
    u: Any = _wide(block.grads[i]).to(p.dtype)
    paths = tuple(link.path for link in block.links)
    place, draws = block.places[i] if block.places else i, itertools.count()
    states = [
        SimpleNamespace(**{name: read(column[i], p.dtype) for name, column in columns.items()}) for columns in block.slots
    ]
    before = [dict(vars(state)) for state in states]
    for at, (link, state, k) in enumerate(zip(block.links, states, scalars, strict=True)):
        u = link.transform.formula(u, p, state, k)
        if isgenerator(u):
            u = yield from _labelled(Asked(link.path, paths[at + 1 :], None, block.params[i], (place, block.t)), u, draws)
        u = u.to(p.dtype)  # state of one number is in double, which a parameter without dimensions would follow
    q = p - u
    for link, state, k in zip(block.links, states, scalars, strict=True):
        if isinstance(link.transform, Projection):
            q = link.transform.project(q, p, state, k)
            if isgenerator(q):
                q = yield from _labelled(Asked(link.path, (), None, block.params[i], (place, block.t)), q, draws)
    _store(block, i, q, states, before)


def _store(block: Block, i: int, q: Tensor, states: list[SimpleNamespace], before: list[dict[str, Tensor]]) -> None:
    """Write the parameter and its state, in place: others (checkpoints, CUDA graphs) hold the very tensors."""
    changes = [
        (columns[name][i], getattr(state, name), old)
        for columns, state, olds in zip(block.slots, states, before, strict=True)
        for name, old in olds.items()
        if getattr(state, name) is not old
    ]
    gone = {id(old) for _, _, old in changes} | {id(block.params[i])}
    values = [value.clone() if id(value) in gone else value for value in (q, *(value for _, value, _ in changes))]
    for target, value in zip((block.params[i], *(target for target, _, _ in changes)), values, strict=True):
        write(target, value)


def write(target: Tensor | storage.EightBit, value: Tensor) -> None:
    """Keep a value where it belongs, in the format it is kept in."""
    if isinstance(target, storage.EightBit):
        storage.write(target, value)
    else:
        target.copy_(value)


def read(held: Tensor | storage.EightBit, dtype: torch.dtype) -> Tensor:
    """Return state in the precision it is computed in: one number a tensor as it is, in double."""
    if isinstance(held, storage.EightBit):
        return storage.read(held, dtype)
    return held if held.dtype == torch.float64 else held.to(dtype)


def wide(dtype: torch.dtype) -> torch.dtype:
    """Return the precision that a dtype is computed in."""
    return torch.float32 if dtype in HALF else dtype


def _wide(x: Tensor) -> Tensor:
    return x.to(wide(x.dtype))


def _labelled(asking: Asked, formula: Generator[Any, Any, Any], draws: Iterator[int]) -> Generator[Asked, Any, Any]:
    answer: Any = None
    while True:
        try:
            request = formula.send(answer)
        except StopIteration as done:
            return done.value
        drawing = isinstance(request, Normal | Stored) and request.seed is not None
        answer = yield replace(asking, request=request, number=next(draws) if drawing else 0)


def _advance(resume: list[tuple[Pipeline, Any]]) -> list[tuple[Pipeline, Asked]]:
    """Run each pipeline to its next request; return those that have one."""
    waiting = []
    for pipeline, answer in resume:
        try:
            waiting.append((pipeline, pipeline.send(answer)))
        except StopIteration:
            continue
    return waiting


def _answers(asked: list[Asked]) -> list[Any]:
    sums: dict[str, list[Tensor]] = {}
    for one in asked:
        if _is_global(one.request):
            check_all_gradients_are_there()
            parts, known = [_whole(value.sum()) for value in one.request.values], sums.get(one.path)
            sums[one.path] = parts if known is None else [a + b.to(a.device) for a, b in zip(known, parts, strict=True)]
    matrices = [one.request for one in asked if isinstance(one.request, matrix.REQUESTS)]
    worked_out = iter(matrix.answers(matrices))
    return [
        next(worked_out) if isinstance(one.request, matrix.REQUESTS) else _answer(one, sums.get(one.path, [])) for one in asked
    ]


def _whole(x: Tensor) -> Tensor:
    """Return a number that is spread over devices as a plain tensor."""
    return x.full_tensor() if hasattr(x, "full_tensor") else x  # type: ignore[attr-defined]


def _is_global(request: Any) -> bool:
    return isinstance(request, Total) and request.over == "all"


def _answer(one: Asked, sums: list[Tensor]) -> Any:
    """Return what a formula asked for; `sums` are those over all tensors."""
    request = one.request
    if isinstance(request, Normal):
        return standard_normal(one.like, key_of(request.seed, *one.draw, one.number), wide(one.like.dtype))
    if isinstance(request, Stored):
        if request.seed is None or one.like.dtype != torch.bfloat16:
            return _wide(request.value.to(one.like.dtype))
        return stochastic_bfloat16(request.value, one.like, key_of(request.seed, *one.draw, one.number))
    if isinstance(request, Sides):
        rows = one.like.shape[0]
        return torch.tensor([rows, one.like.numel() // max(rows, 1)], dtype=torch.float64).unbind()
    assert isinstance(request, Total)
    if request.over == "all":
        found = [value.to(one.like.device) for value in sums]
    else:
        found = [_reduced(value, request) for value in request.values]
    return found[0] if len(found) == 1 else tuple(found)


def _reduced(value: Tensor, request: Total) -> Tensor:
    """Return the sum or mean over a tensor, or over each of its units in a shape that meets the tensor again."""
    reduce = torch.mean if request.mean else torch.sum
    if request.over == "tensor" or value.ndim <= 1:
        return reduce(value)
    return reduce(value, dim=tuple(range(1, value.ndim)), keepdim=True)
