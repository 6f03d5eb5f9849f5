"""torch's own fused operations for the chains that torch has them for: Adam, AdamW and the SGD family.

A translation of the eager execution, kept because it pays: on the six tensors of an MLP (55,000 numbers) a fused Adam step
took a third of the time of torch's default. `recognise` says which operation runs a chain, or why none does.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from ..rules import Link, Transform
from ..rules.moments import ScaleByAdam
from ..rules.transforms import DecayWeights, HeavyBall, ScaleByLearningRate
from .block import Block, are_plain

FULL = (torch.float32, torch.float64)
HALF = (torch.bfloat16, torch.float16)


@dataclass(frozen=True)
class Fused:
    """A recognised chain: the name of torch's operation, the function that runs it on a block, the dtypes it takes."""

    operation: str
    run: Callable[[Block], None]
    dtypes: tuple[torch.dtype, ...]

    def takes(self, params: Sequence[Tensor]) -> bool:
        """Return whether the operation takes these parameters: plain, dense, of its dtypes, on one device."""
        first = params[0]
        return first.dtype in self.dtypes and first.device.type in ("cpu", "cuda") and are_plain(params)


# What stands before scale_by_learning_rate -> where the core link is, where the weight decay is.
_CHAINS: dict[tuple[type[Transform], ...], tuple[int | None, int | None]] = {
    (): (None, None),
    (DecayWeights,): (None, 0),
    (HeavyBall,): (0, None),
    (DecayWeights, HeavyBall): (1, 0),
    (ScaleByAdam,): (0, None),
    (DecayWeights, ScaleByAdam): (1, 0),
    (ScaleByAdam, DecayWeights): (0, 1),
}


def recognise(links: tuple[Link, ...]) -> Fused | str:
    """Return the fused operation for these links, or the reason why there is none."""
    if any(slot.storage is not None for link in links for slot in link.slots().values()):
        return "torch has no fused form with state in a format of its own"
    transforms = [link.transform for link in links]
    kinds = tuple(type(transform) for transform in transforms)
    if kinds[-1] is not ScaleByLearningRate or kinds[:-1] not in _CHAINS:
        return f"torch has no fused form of {' + '.join(map(repr, transforms[:-1]))}"
    core, at = _CHAINS[kinds[:-1]]
    decay = transforms[at].weight_decay if at is not None else 0.0  # type: ignore[attr-defined]
    link = transforms[core] if core is not None else None
    if isinstance(link, ScaleByAdam):
        if not link.bias_correction:
            return "torch has no fused Adam without bias correction"
        if link.b1 == 0:
            return "torch has no fused Adam without a running mean"
        if link.eps_mode != "outside":
            return f"torch has no fused Adam with eps_mode={link.eps_mode!r}"
        run = partial(_adam, link=link, i=core or 0, decay=decay, decoupled=at == 1)
        return Fused("torch fused adamw" if at == 1 else "torch fused adam", run, FULL + HALF)
    if isinstance(link, HeavyBall) and link.momentum == 0:
        return "torch keeps no buffer at momentum 0"
    ball = link if isinstance(link, HeavyBall) else None
    # full precision only: on a CPU, torch 2.13's fused SGD takes wrong steps in bfloat16 and float16 (16 numbers or more)
    return Fused("torch fused sgd", partial(_sgd, ball=ball, i=core, decay=decay), FULL)


def aligned(block: Block) -> bool:
    """Return whether this step's gradients lie in memory as their parameters do, which the fused operations rely on."""
    return all(g.stride() == p.stride() for g, p in zip(block.grads, block.params, strict=True))


def _adam(block: Block, *, link: ScaleByAdam, i: int, decay: float, decoupled: bool) -> None:
    operation = torch._fused_adamw_ if decoupled else torch._fused_adam_
    step = torch.tensor(float(block.t), device=block.params[0].device)
    operation(
        block.params,
        block.grads,
        block.slots[i]["exp_avg"],
        block.slots[i]["exp_avg_sq"],
        [],
        [step] * len(block.params),
        lr=block.lr,
        beta1=link.b1,
        beta2=link.b2,
        weight_decay=decay,
        eps=link.eps,
        amsgrad=False,
        maximize=False,
    )


def _sgd(block: Block, *, ball: HeavyBall | None, i: int | None, decay: float) -> None:
    torch._fused_sgd_(
        block.params,
        block.grads,
        block.slots[i]["momentum_buffer"] if i is not None else [],
        weight_decay=decay,
        momentum=ball.momentum if ball else 0.0,
        lr=block.lr,
        dampening=ball.dampening if ball else 0.0,
        nesterov=ball.nesterov if ball else False,
        maximize=False,
        is_first_step=block.t == 1,
    )
