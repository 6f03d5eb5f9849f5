"""What the optimizer shell knows of param groups: their links, and the blocks of tensors that they keep from step to step."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from .errors import InputError
from .kernels import Block, Contents, Whereabouts, choose, has_memory, name_of
from .rules import Link
from .rules.transforms import ScaleByLearningRate
from .schedules import Schedule
from .state import check, column, fill, take_over

# what torch's optimizers keep in a group and a rule keeps itself: set there, it would change nothing
OF_THE_RULE = frozenset(
    {"alpha", "amsgrad", "betas", "dampening", "eps", "maximize", "momentum", "nesterov", "rho", "rule", "weight_decay"}
)

Settings = dict[str, Any]  # torch's own dict of a param group
States = Any  # optimizer.state: parameter -> its state


@dataclass
class Group:
    """One param group beside torch's dict of it."""

    links: tuple[Link, ...]
    names: list[dict[str, str]]  # per link: slot -> the key it has in optimizer.state
    schedule: Schedule
    block: Block | None = None
    at: list[int] | None = None  # the places of the block's parameters in the group; None: all of them
    known: Whereabouts | None = None  # of the block's parameters and their gradients
    count: np.ndarray | None = None  # the step: the memory of one tensor for all of them
    idle: bool = False  # whether no parameter had a gradient at the last step

    def bare(self) -> Group:
        """Return it without what is built anew at the next step."""
        return replace(self, block=None, at=None, known=None, count=None)

    def blocks(self, settings: Settings, states: States, place: int) -> Iterator[Block]:
        """Yield the group's blocks for this step: one, unless parameters have been updated unequally often.

        `place` is that of its first parameter among all of the optimizer's.
        """
        lr = float(settings["lr"]) * self.factor(settings)
        everyone: list[Tensor] = settings["params"]
        params = everyone if self.at is None else [everyone[i] for i in self.at if i < len(everyone)]
        block, grads = self.block, self._gradients(params, everyone)
        if block is not None and grads is not None:
            block.t, block.lr, block.grads = block.t + 1, lr, grads
            self.count[()] = block.t  # type: ignore[index]
            yield block
            return
        self.block = None
        by_count: dict[int, list[int]] = {}
        for at, p in enumerate(everyone):
            if p.grad is not None:
                _check_gradient(p)
                by_count.setdefault(_count(states[p]) + 1, []).append(at)
        self.idle = not by_count
        for t, at in by_count.items():
            block = self._gather([everyone[i] for i in at], everyone, states, t, lr)
            block.places = [place + i for i in at]
            if len(by_count) == 1:
                self.block, self.at = block, at if len(at) < len(everyone) else None
                self.known = Whereabouts(block.params, gradients=True)
                block.addresses = self.known.addresses
            yield block

    def factor(self, settings: Settings) -> float:
        """Return what the schedule multiplies the learning rate by now."""
        if "initial_lr" in settings and not self.schedule.is_constant:
            raise InputError(
                f"a torch scheduler on top of a rule with its own schedule ({self.schedule!r}): keep one of the two, "
                "for example by leaving out schedule="
            )
        if not OF_THE_RULE.isdisjoint(settings):
            found = min(OF_THE_RULE.intersection(settings))
            raise InputError(
                f"{found!r} was set in a param group, but belongs to the rule: make an optimizer with another rule"
            )
        return self.schedule(settings["updates"])

    def _gradients(self, params: list[Tensor], everyone: list[Tensor]) -> list[Tensor] | None:
        """Return the gradients, if the block still holds these very parameters, as they were, and no others have one."""
        if self.block is None or self.known is None or self.count is None or self.count[()] != self.block.t:
            return None
        grads = self.known.ask(params)
        if grads is None or self.at is None:
            return grads
        return grads if sum(p.grad is not None for p in everyone) == len(params) else None

    def _gather(self, members: list[Tensor], everyone: list[Tensor], states: States, t: int, lr: float) -> Block:
        """Return the block of these parameters, with their state in columns."""
        others = [states[p] for p in everyone if p in states]
        mine = [states[p] for p in members]
        for p, state in zip(members, mine, strict=True):
            fill(state, p, self.links, self.names)
        slots = (keys[slot] for link, keys in self._named() for slot, spec in link.slots().items() if spec.shared)
        take_over(mine, others, slots)
        step = torch.tensor(float(t), dtype=torch.float32, device="cpu")  # whatever torch's defaults are
        self.count = step.numpy()
        for state in mine:
            state["step"] = step
        columns = [
            {slot: column(mine, keys[slot], spec) for slot, spec in link.slots().items()} for link, keys in self._named()
        ]
        grads = [p.grad for p in members if p.grad is not None]
        alike = all(g.dtype == p.dtype and has_memory(g) for g, p in zip(grads, members, strict=True))  # else eagerly
        return Block(self.links, members, columns, grads, t, lr, choose(self.links, members)[0] if alike else None)

    def _named(self) -> Iterator[tuple[Link, dict[str, str]]]:
        return zip(self.links, self.names, strict=True)


class Groups(list[Group]):
    """The param groups of an optimizer, and what their state was when their blocks were made."""

    _seen: Contents | None = None

    def blocks(self, settings: Sequence[Settings], states: States, *, shared: bool) -> list[Block]:
        """Return the blocks of all groups for this step, and count it; where it is refused, nothing is counted.

        They are made anew where state that is `shared` with somebody was replaced.
        """
        if len(settings) != len(self):
            raise InputError(
                "a param group was taken out of param_groups, or put in: add_param_group() puts in; else begin anew"
            )
        if self._seen is None or (shared and not self._seen.match(states)):
            self._seen = None
            for group in self:
                group.block = None
        before, blocks, place = self._kept(), [], 0
        try:
            for group, mine in zip(settings, self, strict=True):
                blocks += mine.blocks(group, states, place)
                place += len(group["params"])
        except Exception:
            uncount(blocks, states)
            raise
        for group in settings:
            group["updates"] += 1
        if before != (now := self._kept()):
            self._seen = Contents(states) if None not in now else None
        return blocks

    def known(self) -> list[Block]:
        """Return the blocks of the step before, or none where a group has no such block."""
        known = self._kept()
        return [block for block in known if block is not None] if None not in known else []

    def _kept(self) -> list[Block | None]:
        """Return the blocks that the groups keep for the next step; None where one has to be made anew."""
        return [group.block for group in self if not group.idle]


@dataclass(frozen=True)
class Plan:
    """Which execution each param group takes, and why. `str` is a table."""

    rows: tuple[dict[str, Any], ...]

    def __str__(self) -> str:
        return "\n".join(
            f"group {row['group']}  {row['parameters']} parameters  {row['elements']:,} numbers  lr {row['lr']:g}  "
            f"{row['execution']}" + (f": {row['reason']}" if row["reason"] else "")
            for row in self.rows
        )


def planned(settings: Sequence[Settings], groups: Sequence[Group]) -> Plan:
    """Return which execution each group takes, and why."""
    rows = []
    for i, (group, mine) in enumerate(zip(settings, groups, strict=True)):
        chosen, reason = choose(mine.links, group["params"])
        size = {"parameters": len(group["params"]), "elements": sum(p.numel() for p in group["params"])}
        rows.append({"group": i, **size, "lr": float(group["lr"]), "execution": name_of(chosen), "reason": reason})
    return Plan(tuple(rows))


def check_saved(saved: Any, settings: Sequence[Settings], groups: Sequence[Group]) -> None:
    """Refuse a `state_dict` of other parameters, or of an optimizer that does what the rule does not."""
    try:
        counts = [len(group["params"]) for group in saved["param_groups"]]
        packed = saved["state"]
    except (KeyError, TypeError):
        raise InputError("expected the state_dict of an optimizer, with 'state' and 'param_groups'") from None
    own = [len(group["params"]) for group in settings]
    if counts != own:
        raise InputError(f"the state is of param groups with {counts} parameters; this optimizer has {own}")
    for theirs, group, mine in zip(saved["param_groups"], settings, groups, strict=True):
        if theirs.get("maximize"):
            raise InputError("the state is of an optimizer that maximizes; negate the loss and set maximize to False in it")
        if theirs.get("amsgrad") and not any("max_exp_avg_sq" in names for names in mine.names):
            raise InputError("the state is of AMSGrad; load it into a rule that has it, such as adamw(amsgrad=True)")
        for key, p in zip(theirs["params"], group["params"], strict=True):
            check(packed.get(key, {}), p, mine.links, mine.names)


def take_back(blocks: list[Block], settings: list[Settings], states: States) -> None:
    """Undo the counting of a step that was not made."""
    for group in settings:
        group["updates"] -= 1
    uncount(blocks, states)


def uncount(blocks: list[Block], states: States) -> None:
    """Set the counts of blocks back by one."""
    for block in blocks:
        block.t -= 1
        states[block.params[0]]["step"].fill_(block.t)  # one tensor for all of them


def learning_rate_of(links: tuple[Link, ...]) -> ScaleByLearningRate:
    """Return the one link that multiplies by the learning rate."""
    found = [link.transform for link in links if isinstance(link.transform, ScaleByLearningRate)]
    if len(found) != 1:
        raise InputError(
            f"a rule multiplies by the learning rate exactly once (got {len(found)} times): "
            "end the chain with scale_by_learning_rate(lr)"
        )
    return found[0]


def _count(state: dict[str, Any]) -> int:
    """Return how often a parameter was updated (torch's SGD keeps its buffer without a count)."""
    return int(state.get("step", 1 if state else 0))


def _check_gradient(p: Tensor) -> None:
    if p.grad is not None and p.grad.is_sparse:
        raise InputError("sparse gradients are not supported: build the embedding with sparse=False")
    if p.is_complex():
        raise InputError("complex parameters are not supported: hold real and imaginary parts as two parameters")
    if p.grad is not None and (p.grad.shape, p.grad.device) != (p.shape, p.device):  # its data was put in its place
        raise InputError(
            f"a gradient has shape {tuple(p.grad.shape)} on {p.grad.device}, its parameter {tuple(p.shape)} on {p.device}: "
            "call zero_grad() after changing a parameter"
        )
