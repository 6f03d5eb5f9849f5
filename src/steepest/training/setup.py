"""Setting a training up: the network, the objective, the optimizer and the parts, all made from task, recipe and seed."""

from __future__ import annotations

import copy
import math
import weakref
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, nn

from ..augmentations import Source, augmented, check_all
from ..backpropagation import Dense, dense_end
from ..clock import Clock
from ..data.batches import batch_bounds
from ..data.parts import Part
from ..defaults import default_recipe
from ..errors import InputError, blaming, check_seed
from ..forms import PADDED, Form
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
from ..machine import wait_for
from ..models import ModelSpec
from ..models.checkpoints import can_be_checkpointed
from ..models.cost import Cost, cost_of, example
from ..models.graphs import Graphed
from ..models.modes import as_in_evaluation, is_listened_to
from ..objectives import LossFunction, Objective, OwnObjective, as_objective, default_objective
from ..optimizer import Optimizer
from ..plans import AS_IT_STANDS, BFLOAT16, FLOAT16, Plan
from ..reach import check_kind
from ..recipes import Recipe
from ..tasks import Task
from .noticing import notes_of
from .randomness import RandomStream
from .trying import check_checkpointing

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
    notes: tuple[str, ...] = ()  # what is worth telling before it begins
    plan: Plan = AS_IT_STANDS
    network: Callable[..., Tensor] | None = None  # the model as torch has compiled or recorded it, where the plan says so
    dense: Dense | None = None  # the layers at its end whose gradient is written out
    scaler: LossScaler | None = None  # of losses in float16
    waits: int = 0  # how often a device was waited for
    lanes: weakref.ref[Any] | None = None  # the `Lanes` that it is one of now

    def __repr__(self) -> str:
        return f"Training({self.task.name}, {self.recipe!r}, seed={self.seed}, {self.device}; {_called(self)})"

    def __repr__(self) -> str:
        return f"Training({self.task.name}, {self.recipe!r}, seed={self.seed}, {self.device}; {_called(self)})"

    @property
    def first_rows(self) -> Tensor:
        """The places of the rows that a network is tried out with."""
        return _first_rows(self.train)

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

    def step(self, gradient: GradientFunction, inputs: Tensor, targets: Tensor) -> StepResult:
        """Find the gradient of a batch, and make one update."""
        if self.plan.graphs and gradient is not plain:
            raise InputError("CUDA graphs replay one pass a step, and no other gradient function; take a plan without graphs")
        context = self.context(inputs, targets)
        if gradient is not plain and not isinstance(gradient, SharpnessAware):
            context.dense = None  # which writes into the memory of the last gradient, that somebody else may keep
        result = gradient(context)
        check_result(result)
        self.update()
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

    def settle(self) -> None:
        """Wait until the device has done what it was asked to, and count that as training; then nothing is being done."""
        self.clock.to("train")
        self.waits += wait_for(self.device)
        self.clock.to("waiting")


def _called(t: Training) -> str:
    return type(t.model).__name__ if t.spec is None else repr(t.spec)


def choose_device(device: str | torch.device | None = None) -> torch.device:
    """Return the device named, else the first CUDA device, else the CPU."""
    if device is not None:
        with blaming(f"device {str(device)!r}"):
            where = torch.device(device)
            torch.zeros(1, device=where)  # asks the backend whether it is there
        if where.type == "meta":
            raise InputError("a meta device holds no numbers to train; name one such as 'cpu'")
        return where
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


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
    chosen = _chosen(task, recipe)
    recipe = recipe.filled(default_recipe(task.data.form, task.data.size("train"), chosen))
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
        model = model.to(where)
        outputs, targets = _probe(model, train, task.data.form)
        num_outputs = _width(outputs, task.data.form)
        objective = wanted or default_objective(task.kind, num_outputs)
        loss = _loss(objective, task, outputs, targets)
    check_all(recipe.changes, _source(task, train), objective)
    if recipe.plateau is not None:
        check_kind(recipe.plateau.metric, task.kind)
    batch, total_steps = recipe.batch_size(len(train)), recipe.num_steps(len(train))
    steps_per_epoch = len(batch_bounds(len(train), batch))
    optimizer = Optimizer(model, recipe.rule, steps_per_epoch=steps_per_epoch, total_steps=total_steps)
    if any(hasattr(link, "observe") for link in recipe.rule.transforms()):
        raise InputError(f"{recipe.rule!r} needs its curvature observed (optimizer.update_hessian), which fit does not do")
    made = Training(
        task, recipe, seed, where, model, spec, num_outputs, objective, loss, optimizer, train, validation, batch,
        steps_per_epoch, total_steps, clock, notes_of(task.data, objective, model, outputs),
    )  # fmt: skip
    made.follow(AS_IT_STANDS)
    return made


def _chosen(task: Task, recipe: Recipe) -> Any:
    """Return the network of the recipe, of the task, or the default one, as it was given."""
    chosen = recipe.model if recipe.model is not None else task.model
    return task.default_model() if chosen is None else chosen


def build_model(
    task: Task, recipe: Recipe, objective: Objective | None = None, *, in_place: bool = False
) -> tuple[nn.Module, ModelSpec | None]:
    """Return the network of the recipe, of the task, or the default one, and the value that built it if one did.

    A module is copied, so that every training starts from the weights it was given with.
    """
    chosen = _chosen(task, recipe)
    if isinstance(chosen, ModelSpec):
        targets = task.data.targets
        num_outputs = targets.num_outputs if objective is None else objective.num_outputs(targets)
        with blaming(repr(chosen)):
            return chosen.build(task.data.form, num_outputs), chosen
    if isinstance(chosen, nn.Module):
        return (chosen if in_place else copy.deepcopy(chosen)), None
    if callable(chosen):
        with blaming("the model function"):
            made = chosen()
        if isinstance(made, nn.Module):
            return made, None
        raise InputError(f"the model function must return an nn.Module (got {type(made).__name__})")
    raise InputError(f"a model is a value such as mlp((64, 64)), an nn.Module or a function returning one (got {chosen!r})")


def _loss(objective: Objective, task: Task, outputs: Tensor, targets: Tensor) -> LossFunction:
    """Return the loss function of an objective; raise unless it fits the labels, and what the network gave for a few rows."""
    objective.check(task.data.targets, _width(outputs, task.data.form))
    loss = objective.loss(task.data, outputs.device)
    if isinstance(objective, OwnObjective):
        objective.try_out(loss, outputs, targets)
    return loss


def _source(task: Task, train: Part) -> Source:
    return Source(train, task.data.form, task.data.targets.num_classes)


def _first_rows(train: Part) -> Tensor:
    return torch.arange(min(2, len(train)), device=train.targets.device)


def _probe(model: nn.Module, train: Part, form: Form) -> tuple[Tensor, Tensor]:
    """Run two rows through the network and return what it gives, and their targets; also settles lazy layers."""
    inputs, targets = train.take(_first_rows(train))
    what = f"the network, on inputs of shape {tuple(inputs.shape)},"
    with as_in_evaluation(model), torch.no_grad(), blaming(what):
        result = model(inputs)
    if not isinstance(result, Tensor) or result.ndim == 0 or len(result) != len(inputs):
        got = tuple(result.shape) if isinstance(result, Tensor) else type(result).__name__
        raise InputError(f"the network must return a tensor with one row per input (got {got} for {len(inputs)} inputs)")
    if not result.is_floating_point():
        raise InputError(f"the network must return real numbers (got {result.dtype})")
    if form.each_step and result.ndim != 3:
        raise InputError(f"the network must answer every step, (rows, steps, classes) (got shape {tuple(result.shape)})")
    if not form.each_step and train.targets.dtype == torch.int64 and result.ndim > 2:
        raise InputError(f"the network must return one number a class, (rows, classes) (got shape {tuple(result.shape)})")
    return result, targets


def _width(outputs: Tensor, form: Form) -> int:
    """Return how many numbers a network gives a row, or a step where each is answered."""
    if form.each_step:
        return outputs.shape[-1]
    return 1 if outputs.ndim == 1 else math.prod(outputs.shape[1:])
