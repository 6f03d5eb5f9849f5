"""The one `torch.optim.Optimizer` shell that runs any rule, drop-in in any PyTorch loop."""

from __future__ import annotations

import dataclasses
import inspect
import itertools
import operator
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from .errors import InputError, at_least, unknown
from .kernels import Block, Executor, choose, name_of
from .rules import Link, Parameter, Rule
from .rules.transforms import ScaleByLearningRate
from .schedules import Schedule, constant

_IS_SPARSE = operator.attrgetter("is_sparse")
_KIND = operator.attrgetter("dtype", "device")
GROUP_KEYS = ("params", "lr", "name")
# torch wraps this method to keep its compiler out, and imports the whole compiler to do so: 1.6 s at the first optimizer
_add_param_group = inspect.unwrap(torch.optim.Optimizer.add_param_group)


@dataclass
class _Group:
    """What the shell knows of one param group beside torch's dict: its links and, once built, its columns."""

    links: tuple[Link, ...]
    names: list[dict[str, str]]  # per link: slot -> the key it has in optimizer.state
    schedule: Schedule
    block: Block | None = None
    states: list[dict[str, Any]] = dataclasses.field(default_factory=list)  # of the block's parameters, in its order
    likeness: list[Any] = dataclasses.field(default_factory=list)  # what `_likeness` said of them


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


class Optimizer(torch.optim.Optimizer):
    """Run a rule as a `torch.optim.Optimizer`.

    Args:
        params: a model, named parameters, parameters, or groups `{"params": ..., "lr": ..., "name": ...}`. A `split` by name
            needs names; embeddings are told from other matrices only when the model itself is given.
        rule: the rule. It must multiply by the learning rate exactly once (`scale_by_learning_rate`; every named rule does).
        steps_per_epoch: the number of steps in an epoch, for schedules whose durations are in epochs.
        total_steps: the number of steps in all, for schedules that span the whole run.

    `group["lr"]` is the only learning rate; the rule's schedule multiplies it. A torch `LRScheduler`, which sets it outright,
    on top of a rule that has its own schedule is an error; `ReduceLROnPlateau` multiplies, and goes with either.

    Raises:
        InputError: no or two learning rates in the rule, a parameter that no branch of a split takes, an unknown group key.

    >>> import torch, steepest
    >>> model = torch.nn.Linear(3, 1)
    >>> optimizer = steepest.Optimizer(model, steepest.adamw(0.01))
    >>> loss = model(torch.ones(2, 3)).square().mean()
    >>> loss.backward()
    >>> optimizer.step()
    >>> print(optimizer.plan())
    group 0  2 parameters  4 numbers  lr 0.01  C
    """

    def __init__(
        self,
        params: nn.Module | Iterable[Any],
        rule: Rule,
        *,
        steps_per_epoch: float | None = None,
        total_steps: float | None = None,
    ) -> None:
        if not isinstance(rule, Rule):
            raise InputError(f"Optimizer takes a rule such as adamw(1e-3) (got {rule!r})")
        self.rule = rule
        self._lengths = (steps_per_epoch, total_steps)
        self._groups: list[_Group] = []
        self._executor = Executor()
        self._embeddings: set[int] = set()
        if isinstance(params, nn.Module):
            modules = params.modules()
            self._embeddings = {id(m.weight) for m in modules if isinstance(m, nn.Embedding | nn.EmbeddingBag)}
            params = [(name, p) for name, p in params.named_parameters() if p.requires_grad]
            if not params:
                raise InputError("the model has no parameters that require gradients; nothing to optimize")
        super().__init__(params, {})

    # -- param groups -------------------------------------------------------------------------------------------------

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Add parameters; a split's branches become groups of their own, each with its own `lr`."""
        if isinstance(param_group, dict):
            for key in param_group:
                if key not in GROUP_KEYS:
                    raise unknown("key of a param group", key, GROUP_KEYS)
        given = param_group["params"]
        given = [given] if isinstance(given, Tensor) else given
        if isinstance(given, set):
            raise InputError("parameters must come in an order; got a set, pass a list")
        entries = [entry if isinstance(entry, tuple) else (None, entry) for entry in given]
        shares: dict[tuple[Link, ...], list[Any]] = {}
        if len({id(tensor) for _, tensor in entries}) < len(entries):
            raise InputError("a parameter is given twice; give each once")
        for name, tensor in entries:
            if not isinstance(tensor, Tensor):
                raise InputError(f"parameters must be tensors (got {type(tensor).__name__})")
            links = self.rule.links(Parameter(name, tuple(tensor.shape), self._kind(tensor)))
            shares.setdefault(links, []).append(tensor if name is None else (name, tensor))
        if not shares:
            raise InputError("a param group needs at least one parameter (got none)")
        for links, share in shares.items():
            learning_rate = _learning_rate(links)
            lr = param_group.get("lr", learning_rate.lr)
            at_least("lr", lr.item() if isinstance(lr, Tensor) else lr, 0)  # 0 at the start is what warm-ups by hand begin with
            group = {**param_group, "params": share, "lr": lr, "updates": 0}
            _add_param_group(self, group)
            schedule = learning_rate.schedule.resolved(*self._lengths)
            self._groups.append(_Group(links, _state_names(links), schedule))

    def _kind(self, tensor: Tensor) -> str:
        if id(tensor) in self._embeddings:
            return "embeddings"
        return "vectors" if tensor.ndim <= 1 else "matrices" if tensor.ndim == 2 else "convolutions"

    # -- one update ---------------------------------------------------------------------------------------------------

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:  # type: ignore[override]
        """Update every parameter that has a gradient; with a closure, evaluate it first and return its loss."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        self._executor.run([block for i in range(len(self._groups)) for block in self._blocks(i)])
        return loss

    def _blocks(self, i: int) -> Iterator[Block]:
        """Yield the blocks of group `i` for this step: one, unless parameters have been updated unequally often."""
        group, mine = self.param_groups[i], self._groups[i]
        lr = float(group["lr"]) * self._factor(group, mine)
        params: list[Tensor] = group["params"]
        grads = [p.grad for p in params]
        group["updates"] += 1
        block = mine.block
        if block is not None and self._is_current(mine, params, grads):
            block.t, block.lr, block.grads = block.t + 1, lr, grads  # type: ignore[assignment]
            for state in mine.states:
                state["step"] = block.t
            yield block
            return
        mine.block = None
        by_count: dict[int, list[Tensor]] = {}
        for p in params:
            if p.grad is not None:
                _check_gradient(p)
                state = self._state(p, mine)
                state["step"] = int(state["step"]) + 1
                by_count.setdefault(state["step"], []).append(p)
        for t, members in by_count.items():
            block = self._gather(mine, members, t, lr)
            if len(members) == len(params):
                mine.block, mine.states = block, [self.state[p] for p in members]
                mine.likeness = _likeness(members)
            yield block

    def _is_current(self, mine: _Group, params: list[Tensor], grads: list[Tensor | None]) -> bool:
        """Return whether the block still holds these very parameters, in their size and with their state, all with gradients.

        This runs at every step: `map` over C functions, a few hundredths of a microsecond a parameter.
        """
        known = mine.block.params if mine.block is not None else []
        return (
            len(known) == len(params)
            and all(map(operator.is_, params, known))
            and _likeness(params) == mine.likeness
            and all(map(operator.is_not, grads, itertools.repeat(None)))
            and not any(map(_IS_SPARSE, grads))
            and all(mine.states)
            and self.state.get(params[0]) is mine.states[0]
            and self.state.get(params[-1]) is mine.states[-1]
        )

    def _gather(self, mine: _Group, members: list[Tensor], t: int, lr: float) -> Block:
        """Return the block of these parameters, with their state in columns."""
        columns = [{slot: [self.state[p][key] for p in members] for slot, key in names.items()} for names in mine.names]
        grads = [p.grad for p in members if p.grad is not None]
        return Block(mine.links, members, columns, grads, t, lr, choose(mine.links, members)[0])

    def _factor(self, group: dict[str, Any], mine: _Group) -> float:
        if "initial_lr" in group and not mine.schedule.is_constant:
            raise InputError(
                f"a torch scheduler on top of a rule with its own schedule ({mine.schedule!r}): keep one of the two, "
                "for example by leaving out schedule="
            )
        return mine.schedule(group["updates"])

    def _state(self, p: Tensor, mine: _Group) -> dict[str, Any]:
        """Return the state of a parameter, with what is missing filled in (torch's SGD keeps its buffer without a count)."""
        state = self.state[p]
        state.setdefault("step", 1 if state else 0)
        for link, names in zip(mine.links, mine.names, strict=True):
            for slot, value in link.transform.initial_state().items():
                known = state.get(names[slot])
                if known is None:
                    state[names[slot]] = torch.full_like(p, value, memory_format=torch.preserve_format)
                elif known.shape != p.shape:  # compiled code would write past the end
                    raise InputError(f"state {names[slot]!r} has shape {tuple(known.shape)}, its parameter {tuple(p.shape)}")
                elif _KIND(known) != _KIND(p) or known.stride() != p.stride():  # a model that was moved takes its state along
                    state[names[slot]] = torch.empty_like(p, memory_format=torch.preserve_format).copy_(known)
        return state

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Load a state; one of other parameters is refused before anything is changed."""
        try:
            packed, groups = state_dict["state"], state_dict["param_groups"]
            counts = [len(group["params"]) for group in groups]
        except (KeyError, TypeError):
            raise InputError("expected the state_dict of an optimizer, with 'state' and 'param_groups'") from None
        own = [len(group["params"]) for group in self.param_groups]
        if counts != own:
            raise InputError(f"the state is of param groups with {counts} parameters; this optimizer has {own}")
        saved = (key for group in groups for key in group["params"])
        for key, p in zip(saved, (p for group in self.param_groups for p in group["params"]), strict=True):
            for slot, value in packed.get(key, {}).items():
                if isinstance(value, Tensor) and value.ndim and value.shape != p.shape:
                    raise InputError(f"state {slot!r} has shape {tuple(value.shape)}, its parameter {tuple(p.shape)}")
        super().load_state_dict(state_dict)

    def ignore_schedules(self) -> None:
        """Turn the rule's schedules off: `group["lr"]` then is the learning rate itself."""
        for group in self._groups:
            group.schedule = constant()

    # -- looking and copying ------------------------------------------------------------------------------------------

    def plan(self) -> Plan:
        """Return which execution each group takes, and why: there is no silent slow path."""
        rows = []
        for i, (group, mine) in enumerate(zip(self.param_groups, self._groups, strict=True)):
            params = group["params"]
            chosen, reason = choose(mine.links, params)
            execution = name_of(chosen)
            size = {"parameters": len(params), "elements": sum(p.numel() for p in params)}
            rows.append({"group": i, **size, "lr": float(group["lr"]), "execution": execution, "reason": reason})
        return Plan(tuple(rows))

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        for group, mine in zip(self.param_groups, self._groups, strict=True):
            mine.block = None  # the state tensors were replaced
            if "updates" not in group:  # the state of a torch optimizer
                group["updates"] = int(
                    max((self.state[p].get("step", 1) for p in group["params"] if p in self.state), default=0)
                )

    def __getstate__(self) -> dict[str, Any]:
        groups = [dataclasses.replace(group, block=None, states=[], likeness=[]) for group in self._groups]
        return {
            **super().__getstate__(),
            "rule": self.rule,
            "_lengths": self._lengths,
            "_embeddings": set(),
            "_groups": groups,
            "_executor": Executor(),
        }

    def __repr__(self) -> str:
        return f"Optimizer({self.rule!r}, {sum(len(group['params']) for group in self.param_groups)} parameters)"


def _likeness(params: list[Tensor]) -> list[Any]:
    """Return what compiled code relies on in parameters beside where they lie: dtype, device, size and layout."""
    return [*map(_KIND, params), *map(Tensor.numel, params), *map(Tensor.is_contiguous, params)]


def _learning_rate(links: tuple[Link, ...]) -> ScaleByLearningRate:
    found = [link.transform for link in links if isinstance(link.transform, ScaleByLearningRate)]
    if len(found) != 1:
        raise InputError(
            f"a rule multiplies by the learning rate exactly once (got {len(found)} times): "
            "end the chain with scale_by_learning_rate(lr)"
        )
    return found[0]


def _state_names(links: tuple[Link, ...]) -> list[dict[str, str]]:
    """Return each link's slots with their key in `optimizer.state`: torch's name, numbered where two links share one."""
    seen: dict[str, int] = {}
    names = []
    for link in links:
        mine = {}
        for slot in link.transform.initial_state():
            seen[slot] = seen.get(slot, 0) + 1
            mine[slot] = slot if seen[slot] == 1 else f"{slot}_{seen[slot]}"
        names.append(mine)
    return names


def _check_gradient(p: Tensor) -> None:
    if p.grad is not None and p.grad.is_sparse:
        raise InputError("sparse gradients are not supported: build the embedding with sparse=False")
    if p.is_complex():
        raise InputError("complex parameters are not supported: hold real and imaginary parts as two parameters")
