"""The one `torch.optim.Optimizer` shell that runs any rule, drop-in in any PyTorch loop."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn

from .averages import Watch, swap_in, swap_out
from .errors import InputError, at_least, positive, unknown
from .groups import OF_THE_RULE, Group, Groups, Plan, check_saved, learning_rate_of, planned, take_back
from .hooks import observable
from .kernels import Block, Executor, Outcome, Scaling, scales
from .rules import Link, Parameter, Rule, Transform
from .rules.core import check_order
from .schedules import constant
from .state import TRAINING, names_of, observe, uncast, unshared

GROUP_KEYS = ("params", "lr", "name")
# torch wraps these methods to keep its compiler out, and imports the whole compiler to do so: 1 to 1.6 s at their first call
_add_param_group = inspect.unwrap(torch.optim.Optimizer.add_param_group)
_state_dict, _load_state_dict = map(inspect.unwrap, (torch.optim.Optimizer.state_dict, torch.optim.Optimizer.load_state_dict))


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

    _step_supports_amp_scaling = True  # a GradScaler hands over its scale and what it found, see `_run`
    _handed_out = False  # whether somebody else may hold a part of the state
    _unsettled: tuple[Outcome, list[Block]] | None = None  # a step that the device may have left out, and its blocks

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
        self._groups = Groups()
        self._executor = Executor()
        self._averages = any(type(link).evaluated is not Transform.evaluated for link in rule.transforms())
        self._embeddings: set[int] = set()
        if isinstance(model := params, nn.Module):
            self._embeddings = {id(m.weight) for m in model.modules() if isinstance(m, nn.Embedding | nn.EmbeddingBag)}
            params = [(name, p) for name, p in model.named_parameters() if p.requires_grad]
            if any(link.must_be_averaged for link in rule.transforms()):
                model.register_forward_pre_hook(Watch(model, self))
            if not params:
                raise InputError("the model has no parameters that require gradients; nothing to optimize")
        super().__init__(params, {})
        self._handed_out = False  # the state is made of nothing yet

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
        if "lr" in param_group and len({learning_rate_of(links).lr for links in shares}) > 1:
            raise InputError("a group's lr would be that of every branch of the split: give each branch its own, in the rule")
        for links, share in shares.items():
            learning_rate = learning_rate_of(links)
            check_order(links)
            lr = param_group.get("lr", learning_rate.lr)
            at_least("lr", lr.item() if isinstance(lr, Tensor) else lr, 0)  # 0 at the start is what warm-ups by hand begin with
            group = {**param_group, "params": share, "lr": lr, "updates": 0}
            _add_param_group(self, group)
            schedule = learning_rate.schedule.resolved(*self._lengths)
            self._groups.append(Group(links, names_of(links), schedule))

    def _kind(self, tensor: Tensor) -> str:
        if id(tensor) in self._embeddings:
            return "embeddings"
        return "vectors" if tensor.ndim <= 1 else "matrices" if tensor.ndim == 2 else "convolutions"

    # -- one update ---------------------------------------------------------------------------------------------------

    @observable
    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:  # type: ignore[override]
        """Update every parameter that has a gradient; with a closure, evaluate it first and return its loss."""
        self._check_training()
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        self._settle()
        found_inf = getattr(self, "found_inf", None)
        if torch.cuda.is_initialized() and torch.cuda.is_current_stream_capturing():
            self._capture()
        elif found_inf is not None and scales(self._groups.known(), found_inf):
            self._run(Scaling(found_inf, getattr(self, "grad_scale", None)))
        elif self._unscaled():
            self._run(None)
        return loss

    def begin_step(self) -> list[Block]:
        """Count a step and return its blocks, for somebody who runs them beside those of other optimizers."""
        self._check_training()
        self._settle()
        return self._blocks()

    def take_back_step(self, blocks: list[Block]) -> None:
        """Undo the counting of a step that was not made."""
        take_back(blocks, self.param_groups, self._states)

    def _check_training(self) -> None:
        if self.evaluating:
            raise InputError("the parameters hold the weights for evaluation; call optimizer.train() before the next step")

    def _run(self, scaling: Scaling | None) -> None:
        """Run one step; with a scaling, without waiting for what the GradScaler has found: the device leaves the step out."""
        with self._executor.one_at_a_time:
            blocks = self._blocks()
            if scaling is not None and not scales(blocks, scaling.found_inf):  # something has moved since the last step
                scaling = None
                if not self._unscaled():
                    take_back(blocks, self.param_groups, self._states)
                    return
            try:
                self._executor.run(blocks, scaling)
            except InputError:
                take_back(blocks, self.param_groups, self._states)
                raise
            if scaling is not None:
                self._unsettled = Outcome(scaling.found_inf), blocks

    def before_replay(self) -> None:
        """Count a step and bring its numbers to the device, before a CUDA graph that holds `step()` is replayed.

        A graph repeats kernels; counts, learning rates and bias corrections are made here. Make a step before the capture, and
        leave parameters and gradients where they are after it.
        """
        self._settle()
        blocks = self._blocks()
        if blocks != self._groups.known() or not self._executor.refresh(blocks):
            take_back(blocks, self.param_groups, self._states)
            raise InputError("the graph no longer fits the parameters or their gradients: capture it anew")

    def _capture(self) -> None:
        """Launch a step into a CUDA graph, without counting it."""
        blocks = self._groups.known()
        if getattr(self, "found_inf", None) is not None or not self._executor.captures(blocks):
            raise InputError(
                "a CUDA graph can hold a step when all groups run in Triton (see plan()), have made a step before, and no "
                "GradScaler is used; capture forward and backward alone, and call step() outside"
            )
        self._executor.capture(blocks)

    def _settle(self) -> None:
        """Take the counts back, if the device left the last step out: asked for one step late, when it has long passed it."""
        if self._unsettled is not None:
            (outcome, blocks), self._unsettled = self._unsettled, None
            if outcome.skipped():
                take_back(blocks, self.param_groups, self._states)

    def _unscaled(self) -> bool:
        """Take the scale of a GradScaler off the gradients; return whether they are finite, so that a step may be made."""
        found_inf, scale = getattr(self, "found_inf", None), getattr(self, "grad_scale", None)
        if found_inf is not None and found_inf.item():
            return False
        if scale is not None:
            grads = [p.grad for group in self.param_groups for p in group["params"] if p.grad is not None]
            torch._foreach_mul_(grads, scale.double().reciprocal().item())
        return True

    def _blocks(self) -> list[Block]:
        """Return the blocks of all groups for this step."""
        return self._groups.blocks(self.param_groups, self._states, shared=self._handed_out)

    @torch.no_grad()
    def update_hessian(self, scale: float = 1.0) -> None:
        """Take the gradients that lie in the parameters as an estimate of the curvature, for a rule that divides by it.

        No step is made or counted. What the gradients are to be, and `scale`, is told by `scale_by_sophia`: every ten steps or
        so, those of the mean loss over labels drawn from the network's own predictions, and the number of rows.
        """
        positive("scale", scale)
        if not any(hasattr(link, "observe") for link in self.rule.transforms()):
            raise InputError(f"no link of {self.rule!r} takes the curvature in; scale_by_sophia does")
        for group, mine in zip(self.param_groups, self._groups, strict=True):
            for p in group["params"]:
                if p.grad is not None:
                    observe(p, self._states[p], mine.links, mine.names, scale)

    # -- weights for evaluation ---------------------------------------------------------------------------------------

    @torch.no_grad()
    def eval(self) -> Optimizer:
        """Have the parameters hold the weights to evaluate with, where the rule keeps others for the training."""
        self._settle()
        if not self.evaluating:
            for group, mine in zip(self.param_groups, self._groups, strict=True):
                swap_in(group["params"], self._states, mine.links, mine.names, float(group["lr"]))
        return self

    @torch.no_grad()
    def train(self) -> Optimizer:
        """Have the parameters hold the weights of the training again."""
        for group in self.param_groups:
            swap_out(group["params"], self._states)
        return self

    @property
    def evaluating(self) -> bool:
        """Whether the parameters hold the weights to evaluate with, as `eval` puts them in."""
        return self._averages and any(TRAINING in state for state in self._states.values() if isinstance(state, dict))

    @property
    def state(self) -> Any:  # pyright: ignore[reportIncompatibleVariableOverride]
        """The state of each parameter, under torch's names. Who has it may change it: from now on, steps look through it."""
        self._handed_out = True
        return self._states

    @state.setter
    def state(self, value: Any) -> None:  # pyright: ignore[reportIncompatibleVariableOverride]
        self._handed_out = True
        self.__dict__["state"] = value

    @property
    def _states(self) -> Any:
        try:
            return self.__dict__["state"]
        except KeyError:  # Lightning's wrappers inherit from the class of what they wrap, and hand on what they do not have
            raise AttributeError("state") from None

    @property
    def begun(self) -> bool:
        """Whether a step was made, or loaded."""
        return any(state.get("step", 0) > 0 for state in self._states.values() if isinstance(state, dict))

    # -- saving and loading -------------------------------------------------------------------------------------------

    def state_dict(self) -> dict[str, Any]:
        """Return the state under torch's names; what parameters share here is each one's own there."""
        self._settle()
        saved = _state_dict(self)
        saved["state"] = {key: unshared(state) for key, state in saved["state"].items()}
        return saved

    def state_to_copy(self) -> dict[str, Any]:
        """Return the `state_dict` to somebody who copies it at once and lets it go: later steps need not look through it."""
        handed_out, saved = self._handed_out, self.state_dict()
        self._handed_out = handed_out
        return saved

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Load a state; one of other parameters is refused before anything is changed. Its numbers keep their dtypes."""
        self._settle()
        check_saved(state_dict, self.param_groups, self._groups)
        given: list[dict[str, Any]] = []
        last = self.register_load_state_dict_pre_hook(lambda _, state: given.append(state))
        try:
            _load_state_dict(self, state_dict)
        finally:
            last.remove()
        saved = (key for group in given[-1]["param_groups"] for key in group["params"])
        for key, p in zip(saved, (p for group in self.param_groups for p in group["params"]), strict=True):
            self.state[p].update(uncast(given[-1]["state"].get(key, {}), p))

    def take_state(self, state_dict: dict[str, Any]) -> None:
        """Load a state whose tensors nobody else keeps: later steps need not look through it."""
        self.load_state_dict(state_dict)
        self._handed_out = False

    def ignore_schedules(self) -> None:
        """Turn the rule's schedules off: `group["lr"]` then is the learning rate itself."""
        for group in self._groups:
            group.schedule = constant()

    # -- looking and copying ------------------------------------------------------------------------------------------

    def plan(self) -> Plan:
        """Return which execution each group takes, and why: there is no silent slow path."""
        return planned(self.param_groups, self._groups)

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        for group, mine in zip(self.param_groups, self._groups, strict=True):
            mine.block = None  # the state tensors were replaced
            for key in OF_THE_RULE.intersection(group):  # of the state of a torch optimizer
                del group[key]
            if "updates" not in group:  # the state of a torch optimizer
                group["updates"] = int(
                    max((self.state[p].get("step", 1) for p in group["params"] if p in self.state), default=0)
                )

    def __getstate__(self) -> dict[str, Any]:
        self._settle()
        return {
            **super().__getstate__(),
            "rule": self.rule,
            "_lengths": self._lengths,
            "_embeddings": set(),
            "_groups": Groups(group.bare() for group in self._groups),
            "_executor": Executor(),
            "_averages": self._averages,
            "_handed_out": True,  # a copy may share the tensors of the state
        }

    def __repr__(self) -> str:
        return f"Optimizer({self.rule!r}, {sum(len(group['params']) for group in self.param_groups)} parameters)"
