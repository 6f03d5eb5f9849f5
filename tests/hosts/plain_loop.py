"""Trains in a loop of one's own, with what torch puts around an optimizer: schedulers, closures, scaled gradients."""

from __future__ import annotations

import copy
import io
import itertools
from collections.abc import Callable
from typing import Any

import torch
from common import ADAMW, BATCH, PAIRS, STEPS, Checks, Make, Training, batches, main, network, plain, weights
from torch import nn
from torch.optim import lr_scheduler
from torch.optim.swa_utils import SWALR
from torch.utils.data import DataLoader

import steepest

cross_entropy = nn.functional.cross_entropy
Schedule = Callable[[torch.optim.Optimizer], Any]


def warm_up_then_cosine(optimizer: torch.optim.Optimizer) -> Any:
    first = lr_scheduler.LinearLR(optimizer, 0.1, total_iters=8)
    second = lr_scheduler.CosineAnnealingLR(optimizer, T_max=STEPS - 8)
    return lr_scheduler.SequentialLR(optimizer, [first, second], milestones=[8])


SCHEDULES: dict[str, Schedule] = {
    "no scheduler": lambda optimizer: None,
    "SequentialLR": warm_up_then_cosine,
    "ReduceLROnPlateau": lambda optimizer: lr_scheduler.ReduceLROnPlateau(optimizer, factor=0.5, patience=1, threshold=0.2),
    "LambdaLR": lambda optimizer: lr_scheduler.LambdaLR(optimizer, lambda step: 1 / (1 + step)),
    "MultiStepLR": lambda optimizer: lr_scheduler.MultiStepLR(optimizer, [10, 20]),
    "ExponentialLR": lambda optimizer: lr_scheduler.ExponentialLR(optimizer, 0.9),
    "CyclicLR": lambda optimizer: lr_scheduler.CyclicLR(optimizer, 1e-4, 1e-2, 5, cycle_momentum=False),
    "OneCycleLR": lambda optimizer: lr_scheduler.OneCycleLR(optimizer, 1e-2, total_steps=STEPS, cycle_momentum=False),
    "CosineAnnealingWarmRestarts": lambda optimizer: lr_scheduler.CosineAnnealingWarmRestarts(optimizer, 10),
    "SWALR": lambda optimizer: SWALR(optimizer, swa_lr=1e-3, anneal_epochs=10),
}


class Loop:
    """A training loop that can be saved, and continued from what was saved."""

    def __init__(self, make: Make, schedule: Schedule) -> None:
        self.model = network()
        self.optimizer = make(self.model.parameters())
        self.scheduler = schedule(self.optimizer)
        self.training = Training()

    def train(self, first: int, last: int) -> Training:
        for pixels, labels in itertools.islice(batches(), first, last):
            self.optimizer.zero_grad()
            loss = cross_entropy(self.model(pixels), labels)
            loss.backward()
            nn.utils.clip_grad_norm_(self.model.parameters(), 0.5)
            self.training.rates.append(float(self.optimizer.param_groups[0]["lr"]))
            self.optimizer.step()
            if isinstance(self.scheduler, lr_scheduler.ReduceLROnPlateau):
                self.scheduler.step(loss.detach())
            elif self.scheduler is not None:
                self.scheduler.step()
            self.training.losses.append(loss.item())
        self.training.weights = weights(self.model)
        return self.training

    def saved(self) -> io.BytesIO:
        parts = {"model": self.model.state_dict(), "optimizer": self.optimizer.state_dict()}
        if self.scheduler is not None:
            parts["scheduler"] = self.scheduler.state_dict()
        file = io.BytesIO()
        torch.save(parts, file)
        file.seek(0)
        return file

    def load(self, file: io.BytesIO) -> None:
        parts = torch.load(file, weights_only=True)
        self.model.load_state_dict(parts["model"])
        self.optimizer.load_state_dict(parts["optimizer"])
        if self.scheduler is not None:
            self.scheduler.load_state_dict(parts["scheduler"])


def check_schedulers(checks: Checks) -> None:
    """Every scheduler of torch, in one go and interrupted: half, save, load into new objects, the other half."""
    for name, schedule in SCHEDULES.items():
        for pair in PAIRS:
            expected = Loop(pair.torch, schedule).train(0, STEPS)
            checks.equal(f"{pair.name}, {name}", Loop(pair.steepest, schedule).train(0, STEPS), expected)
            first, second = Loop(pair.steepest, schedule), Loop(pair.steepest, schedule)
            first.train(0, STEPS // 2)
            second.load(first.saved())
            second.training = copy.deepcopy(first.training)
            checks.equal(f"{pair.name}, {name}, saved and loaded", second.train(STEPS // 2, STEPS), expected)


def check_a_state_of_torch(checks: Checks) -> None:
    """A training begun with torch's optimizer goes on with steepest's."""
    for pair in PAIRS:
        expected = Loop(pair.torch, warm_up_then_cosine).train(0, STEPS)
        first, second = Loop(pair.torch, warm_up_then_cosine), Loop(pair.steepest, warm_up_then_cosine)
        first.train(0, STEPS // 2)
        second.load(first.saved())
        second.training = copy.deepcopy(first.training)
        checks.equal(f"{pair.name}, begun with torch's optimizer", second.train(STEPS // 2, STEPS), expected)


def with_closure(make: Make) -> Training:
    model, seen = network(), Training()
    optimizer = make(model.parameters())
    for pixels, labels in batches():

        def closure(pixels: torch.Tensor = pixels, labels: torch.Tensor = labels) -> torch.Tensor:
            optimizer.zero_grad()
            loss = cross_entropy(model(pixels), labels)
            loss.backward()
            return loss

        seen.losses.append(optimizer.step(closure).item())
    seen.weights = weights(model)
    return seen


def with_scaled_gradients(make: Make, clip: bool = False) -> Training:
    """GradScaler on the CPU; the gradients of one step overflow, so that it must be left out."""
    model, seen = network(), Training()
    optimizer, scaler = make(model.parameters()), torch.amp.GradScaler("cpu", init_scale=2.0**10)
    for number, (pixels, labels) in enumerate(batches()):
        optimizer.zero_grad()
        loss = cross_entropy(model(pixels), labels)
        scaler.scale(loss * (torch.inf if number == 10 else 1)).backward()
        if clip:
            scaler.unscale_(optimizer)
            nn.utils.clip_grad_norm_(model.parameters(), 0.5)
        before = weights(model)
        scaler.step(optimizer)
        scaler.update()
        if number == 10:
            assert all(map(torch.equal, before, weights(model))), "a step with infinite gradients was taken"
        seen.losses.append(loss.item())
        seen.rates.append(scaler.get_scale())
    seen.weights = weights(model)
    return seen


def with_accumulation(make: Make) -> Training:
    model, seen = network(), Training()
    optimizer = make(model.parameters())
    for number, (pixels, labels) in enumerate(batches()):
        loss = cross_entropy(model(pixels), labels)
        (loss / 4).backward()
        if number % 4 == 3:
            optimizer.step()
            optimizer.zero_grad()
        seen.losses.append(loss.item())
    seen.weights = weights(model)
    return seen


def with_groups(make: Make) -> Training:
    """Two groups with learning rates of their own; the second layer rests, then a group is added."""
    model, seen = network(), Training()
    first, second = model[0], model[2]
    optimizer = make([{"params": list(first.parameters()), "lr": 1e-3}, {"params": [second.weight]}])
    for number, (pixels, labels) in enumerate(batches()):
        if number == 5:
            optimizer.add_param_group({"params": [second.bias], "lr": 2e-3})
        second.weight.requires_grad_(not 10 <= number < 20)  # parameters that have rested count their own steps
        optimizer.zero_grad()
        loss = cross_entropy(model(pixels), labels)
        loss.backward()
        optimizer.step()
        seen.losses.append(loss.item())
        seen.rates.extend(group["lr"] for group in optimizer.param_groups)
    seen.weights = weights(model)
    return seen


def check_hooks(checks: Checks) -> None:
    """Hooks before and after a step, of one optimizer and of its state_dict, are called."""
    model, calls = network(), []
    optimizer = ADAMW.steepest(model.parameters())
    optimizer.register_step_pre_hook(lambda *_: calls.append("pre"))
    optimizer.register_step_post_hook(lambda *_: calls.append("post"))
    optimizer.register_state_dict_post_hook(lambda *_: calls.append("saved"))
    optimizer.register_load_state_dict_post_hook(lambda *_: calls.append("loaded"))
    for pixels, labels in itertools.islice(batches(), 2):
        cross_entropy(model(pixels), labels).backward()
        optimizer.step()
    optimizer.load_state_dict(optimizer.state_dict())
    checks.true("hooks are called", calls == ["pre", "post", "pre", "post", "saved", "loaded"])
    checks.true("a state_dict holds nothing but tensors, numbers and text", plain(optimizer.state_dict()))


def check_copies(checks: Checks) -> None:
    """A model and its optimizer, copied together in the middle of a training, go on alike."""
    for pair in PAIRS:
        loop = Loop(pair.steepest, warm_up_then_cosine)
        loop.train(0, STEPS // 2)
        parts = (loop.model, loop.optimizer, loop.scheduler)
        twin = copy.copy(loop)
        twin.model, twin.optimizer, twin.scheduler = copy.deepcopy(parts)
        twin.training = copy.deepcopy(loop.training)
        checks.equal(f"{pair.name}, a deep copy", twin.train(STEPS // 2, STEPS), loop.train(STEPS // 2, STEPS))


def with_steps_in_hooks(make: Make) -> Training:
    """An optimizer for each parameter, which steps as soon as its gradient is there; batches come from a DataLoader."""
    model, seen = network(), Training()
    optimizers = {p: make([p]) for p in model.parameters()}

    def step(p: torch.Tensor) -> None:
        optimizers[p].step()
        optimizers[p].zero_grad()

    for p in optimizers:
        p.register_post_accumulate_grad_hook(step)
    rows = [pair for pixels, labels in batches() for pair in zip(pixels, labels, strict=True)]
    for pixels, labels in DataLoader(rows, batch_size=BATCH):
        loss = cross_entropy(model(pixels), labels)
        loss.backward()
        seen.losses.append(loss.item())
    seen.weights = weights(model)
    return seen


def check_two_schedules(checks: Checks) -> None:
    """A scheduler of torch on top of a rule's own schedule is refused, with words that say what to do."""
    model = network()
    optimizer = steepest.Optimizer(model, steepest.adamw(1e-3, schedule=steepest.cosine(steps=STEPS)))
    lr_scheduler.StepLR(optimizer, 10)
    cross_entropy(model(batches()[0][0]), batches()[0][1]).backward()
    checks.raises("two schedules are refused", optimizer.step, "keep one of the two")


LOOPS: dict[str, Callable[[Make], Training]] = {
    "closure": with_closure,
    "GradScaler('cpu')": with_scaled_gradients,
    "GradScaler('cpu') and clipping": lambda make: with_scaled_gradients(make, clip=True),
    "accumulation": with_accumulation,
    "groups": with_groups,
    "steps in hooks of gradients": with_steps_in_hooks,
}


def check_loops(checks: Checks) -> None:
    """What a loop may do around a step: closures, scaled gradients, accumulation, groups, a step for each gradient."""
    for pair in PAIRS:
        for name, train in LOOPS.items():
            checks.equal(f"{pair.name}, {name}", train(pair.steepest), train(pair.torch))


if __name__ == "__main__":
    main(check_schedulers, check_a_state_of_torch, check_loops, check_hooks, check_copies, check_two_schedules)
