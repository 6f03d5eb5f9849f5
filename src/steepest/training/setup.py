"""Setting a training up: the network, the objective, the optimizer and the parts, all made from task, recipe and seed."""

from __future__ import annotations

import logging
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, nn

from ..augmentations import Source, augmented, check_all
from ..backpropagation import Dense, dense_end
from ..clock import Clock
from ..data.batches import batch_bounds
from ..data.fingerprints import fingerprint
from ..data.parts import Part
from ..defaults import default_recipe
from ..errors import InputError, check_seed
from ..forms import PADDED
from ..gradient import (
    ROUNDED,
    GradientFunction,
    LossScaler,
    SharpnessAware,
    StepContext,
    StepResult,
    check_result,
    plain,
)  # fmt: skip
from ..machine import free_memory, wait_for
from ..models import ModelSpec
from ..models.checkpoints import can_be_checkpointed
from ..models.cost import Cost, cost_of, example
from ..models.graphs import Graphed
from ..models.modes import as_in_evaluation, is_listened_to
from ..objectives import LossFunction, Objective, as_objective, default_objective
from ..optimizer import Optimizer
from ..plans import AS_IT_STANDS, BFLOAT16, FLOAT16, Plan
from ..reach import check_kind
from ..recipes import Recipe
from ..tasks import Task
from .building import build_model, choose_device, chosen_model, first_rows, loss_of, placed, try_out, width_of
from .noticing import notes_of
from .position import PlateauState, Position
from .randomness import RandomStream
from .trying import check_checkpointing

log = logging.getLogger("steepest")

IMAGES = 4  # dimensions of a batch of them


@dataclass(repr=False)
class Training:
    """Everything one training holds: what `steps` works on and `Run` keeps."""

    task: Task
    recipe: Recipe
    seed: int
    device: torch.device
    model: nn.Module
    spec: ModelSpec | None  # what built the model, when steepest did
    num_outputs: int
    objective: Objective
    loss: LossFunction
    optimizer: Optimizer
    train: Part
    validation: Part | None
    batch: int
    steps_per_epoch: int
    total_steps: int
    clock: Clock
    position: Position
    notes: tuple[str, ...] = ()  # what is worth telling before it begins
    plan: Plan = AS_IT_STANDS
    network: Callable[..., Tensor] | None = None  # the model as torch has compiled or recorded it, where the plan says so
    dense: Dense | None = None  # the layers at its end whose gradient is written out
    scaler: LossScaler | None = None  # of losses in float16
    waits: int = 0  # how often a device was waited for
    lanes: weakref.ref[Any] | None = None  # the `Lanes` that it is one of now

    def __repr__(self) -> str:
        return f"Training({self.task.name}, {self.recipe!r}, seed={self.seed}, {self.device}; {_called(self)})"

    @property
    def first_rows(self) -> Tensor:
        """The places of the rows that a network is tried out with."""
        return first_rows(self.train)

    def longest_rows(self) -> Tensor:
        """Return a row or two of inputs, as long as rows get."""
        form = self.task.data.form
        return example(form, self.model) if form.kind in PADDED else self.train.take(self.first_rows)[0]

    @cached_property
    def parameters(self) -> list[Tensor]:
        return [p for group in self.optimizer.param_groups for p in group["params"]]

    @cached_property
    def weigh(self) -> Callable[[Tensor], Any] | None:
        """What the mean loss of some targets is divided by; None: it is a sum."""
        return self.objective.weigh(self.task.data, self.device)

    def batch_at(self, rows: Tensor, epoch: int) -> tuple[Tensor, Tensor]:
        """Return inputs and targets of these rows of the training part, as the recipe changes them in this epoch."""
        inputs, targets = augmented(self.source, self.recipe.changes, self.seed, epoch, rows)
        if self.plan.channels_last and inputs.ndim == IMAGES:
            inputs = inputs.contiguous(memory_format=torch.channels_last)
        return inputs, targets

    @cached_property
    def cost(self) -> Cost | None:
        """What the network costs, None for one of the caller's own that cannot be counted; found once, before it is trained."""
        plain_model = getattr(self.model, "_orig_mod", self.model)  # of one that torch compiles, what was written
        try:
            with RandomStream(self.seed, self.device):
                return cost_of(plain_model, self.longest_rows())
        except Exception:
            return None

    @cached_property
    def attends(self) -> bool:
        """Whether the network asks torch's attention."""
        return self.cost is not None and self.cost.attends

    @property
    def by_products(self) -> bool:
        """Whether torch's attention is computed as products: in bfloat16 on a CPU."""
        return self.plan.precision == BFLOAT16 and self.device.type == "cpu" and not self.plan.compile and self.attends

    @cached_property
    def rows_sha256(self) -> str:
        """A fingerprint of the training part, found when it is first asked for."""
        return fingerprint(self.train)

    @cached_property
    def source(self) -> Source:
        """Where the rows of batches come from."""
        return _source(self.task, self.train)

    def context(self, inputs: Tensor, targets: Tensor) -> StepContext:
        """Return what a gradient function is given for a batch."""
        return StepContext(
            model=self.model if self.network is None else self.network,  # type: ignore[arg-type]
            parameters=self.parameters,
            objective=self.objective,
            loss=self.loss,
            inputs=inputs,
            targets=targets,
            precision=self.plan.precision,
            micro_batch=self.plan.micro_batch,
            weigh=self.weigh,
            dense=self.dense,
            by_products=self.by_products,
            checkpointing=self.plan.checkpointing,
            scaler=self.scaler,
        )

    @property
    def gradient(self) -> GradientFunction:
        """How its recipe has gradients obtained."""
        return self.recipe.gradient or plain

    def step(self, gradient: GradientFunction, inputs: Tensor, targets: Tensor) -> StepResult:
        """Find the gradient of a batch, and make one update."""
        result = self.find_gradient(gradient, inputs, targets)
        self.update()
        return result

    def find_gradient(self, gradient: GradientFunction, inputs: Tensor, targets: Tensor) -> StepResult:
        """Have a gradient function fill the gradients of a batch."""
        if self.plan.graphs and gradient is not plain:
            raise InputError("CUDA graphs replay one pass a step, and no other gradient function; take a plan without graphs")
        context = self.context(inputs, targets)
        if gradient is not plain and not isinstance(gradient, SharpnessAware):
            context.dense = None  # which writes into the memory of the last gradient, that somebody else may keep
        result = gradient(context)
        check_result(result)
        return result

    def update(self) -> None:
        """Make one update with the gradient that was found."""
        if self.scaler is None:
            self.optimizer.step()
        else:
            self.scaler.update_with(self.optimizer)

    def follow(self, plan: Plan) -> None:
        """Have the training carried out as a plan says from now on; one that cannot be followed changes nothing."""
        self._check(plan)
        if plan.channels_last != self.plan.channels_last:
            layout = torch.channels_last if plan.channels_last else torch.contiguous_format
            self.model.to(memory_format=layout)  # pyright: ignore[reportCallIssue]
        self.plan = plan
        self.network = torch.compile(self.model) if plan.compile else Graphed(self.model) if plan.graphs else None
        self.scaler = LossScaler(self.device.type) if plan.precision == FLOAT16 else None
        self.dense = None
        half = plan.precision in ROUNDED
        by_autograd = plan.compile or plan.graphs or plan.checkpointing or plan.precision == FLOAT16
        if plan.written_out and not by_autograd and (not half or self.device.type == "cpu"):
            with RandomStream(self.seed, self.device), as_in_evaluation(self.model):
                rows = self.train.take(self.first_rows)
                self.dense = dense_end(self.model, rows, self.objective, self.loss, half=half)

    def _check(self, plan: Plan) -> None:
        """Raise where this training cannot be carried out as a plan says."""
        if plan.checkpointing and not can_be_checkpointed(self.model):
            raise InputError(f"checkpointing needs blocks in an nn.Sequential or nn.ModuleList, which {_called(self)} lacks")
        if plan.checkpointing and not self.plan.checkpointing:
            check_checkpointing(self, plan)
        if plan.graphs and (self.device.type != "cuda" or is_listened_to(self.model)):
            why = "modules without hooks" if self.device.type == "cuda" else f"a CUDA device (this is a {self.device.type})"
            raise InputError(f"CUDA graphs need {why}; take a plan without graphs")

    def goes_in_smaller_pieces(self, rows: int) -> bool:
        """Have half as many rows go through the network at once from now on; return whether that can be."""
        now = min(self.plan.micro_batch or rows, rows)
        if now < 2:
            return False
        for p in self.parameters:
            p.grad = None
        free_memory(self.device)
        scaler, half = self.scaler, (now + 1) // 2
        self.follow(replace(self.plan, micro_batch=half, graphs=False))
        self.scaler = scaler  # its factor has been found
        log.warning(
            "memory did not suffice for %d rows at once: from here on %d, the gradient is that of the whole batch", now, half
        )
        return True

    def settle(self) -> None:
        """Wait until the device has done what it was asked to, and count that as training; then nothing is being done."""
        self.clock.to("train")
        self.waits += wait_for(self.device)
        self.clock.to("waiting")


@contextmanager
def laid_out_as_before(t: Training, in_place: bool) -> Iterator[None]:
    """Have a network that is the caller's lie afterwards as it did before, with its channels where they were."""
    try:
        yield
    finally:
        if in_place and t.plan.channels_last:
            t.model.to(memory_format=torch.contiguous_format)  # pyright: ignore[reportCallIssue]


def _called(t: Training) -> str:
    return type(t.model).__name__ if t.spec is None else repr(t.spec)


def prepare(
    task: Task, recipe: Recipe, *, seed: int = 0, device: str | torch.device | None = None, in_place: bool = False
) -> Training:
    """Set a training up.

    Args:
        task: what to learn.
        recipe: how.
        seed: initial weights and the order of batches follow from it.
        device: where; None: CUDA when there is one.
        in_place: train the very module that the task holds, instead of a copy of it.
    """
    check_seed(seed)
    seed = int(seed)  # torch takes no other library's
    where, clock = choose_device(device), Clock("data")
    chosen = chosen_model(task, recipe)
    recipe = recipe.filled(default_recipe(task.data.form, task.data.size("train"), chosen, rule=recipe.rule))
    wanted = as_objective(recipe.objective or task.objective)
    if wanted is not None and not wanted.scales_targets:
        if task.data.kind == "series":
            raise InputError(
                f"{wanted!r} cannot learn differences from the last value of a series; forecast with mse() or huber()"
            )
        task = task.with_data(task.data.unscaled)
    if isinstance(chosen, ModelSpec):
        task = task.with_data(task.data.spelled if chosen.reads_spelling else task.data.unspelled)
    train = task.data.part("train", by="training", device=where).of_one_training()
    validation = task.data.part("validation", by="validation", device=where) if task.data.size("validation") else None
    with RandomStream(seed, where):
        model, spec = build_model(task, recipe, wanted, in_place=in_place)
        model = placed(model, spec, train, where)
        outputs, targets = try_out(model, train, task.data.form)
        num_outputs = width_of(outputs, task.data.form)
        objective = wanted or default_objective(task.kind, num_outputs)
        loss = loss_of(objective, task, outputs, targets)
    check_all(recipe.changes, _source(task, train), objective)
    if recipe.plateau is not None:
        check_kind(recipe.plateau.metric, task.kind)
    batch, total_steps = recipe.batch_size(len(train)), recipe.num_steps(len(train))
    steps_per_epoch = len(batch_bounds(len(train), batch))
    optimizer = Optimizer(model, recipe.rule, steps_per_epoch=steps_per_epoch, total_steps=total_steps)
    if any(hasattr(link, "observe") for link in recipe.rule.transforms()):
        raise InputError(f"{recipe.rule!r} needs its curvature observed (optimizer.update_hessian), which fit does not do")
    position = Position(RandomStream(seed, where), PlateauState(recipe.plateau) if recipe.plateau else None)
    made = Training(
        task, recipe, seed, where, model, spec, num_outputs, objective, loss, optimizer, train, validation, batch,
        steps_per_epoch, total_steps, clock, position, notes_of(task.data, objective, model, outputs),
    )  # fmt: skip
    made.follow(AS_IT_STANDS)
    return made


def _source(task: Task, train: Part) -> Source:
    return Source(train, task.data.form, task.data.targets.num_classes)
