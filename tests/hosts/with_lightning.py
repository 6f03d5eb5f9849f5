"""Trains through Lightning: automatic and manual optimization, schedulers, clipping, accumulation, callbacks, checkpoints."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import lightning
import torch
from common import ADAMW, BATCH, NESTEROV, PAIRS, STEPS, Checks, Make, Training, batches, digits, main, network, weights
from lightning.pytorch.callbacks import LearningRateMonitor, ModelCheckpoint, StochasticWeightAveraging
from lightning.pytorch.loggers import CSVLogger
from torch import nn
from torch.optim import lr_scheduler
from torch.utils.data import DataLoader, TensorDataset

EPOCHS = 4
ROWS = BATCH * STEPS // EPOCHS

Schedule = Callable[[torch.optim.Optimizer], dict[str, Any]]

SCHEDULES: dict[str, Schedule] = {
    "no scheduler": lambda optimizer: {},
    "a scheduler at every step": lambda optimizer: {
        "scheduler": lr_scheduler.CosineAnnealingLR(optimizer, T_max=STEPS),
        "interval": "step",
    },
    "a scheduler at every epoch": lambda optimizer: {"scheduler": lr_scheduler.StepLR(optimizer, 1, gamma=0.5)},
    "ReduceLROnPlateau": lambda optimizer: {
        "scheduler": lr_scheduler.ReduceLROnPlateau(optimizer, patience=0, threshold=0.9),
        "monitor": "loss",
    },
}


class Module(lightning.LightningModule):
    """The network with automatic optimization: Lightning calls backward, clips and steps."""

    def __init__(self, make: Make, schedule: Schedule = SCHEDULES["no scheduler"]) -> None:
        super().__init__()
        self.make, self.schedule, self.training_seen = make, schedule, Training()
        self.network = network()

    def configure_optimizers(self) -> Any:
        optimizer = self.make(self.parameters())
        scheduler = self.schedule(optimizer)
        return {"optimizer": optimizer, "lr_scheduler": scheduler} if scheduler else optimizer

    def training_step(self, batch: list[torch.Tensor], number: int) -> torch.Tensor:
        loss = nn.functional.cross_entropy(self.network(batch[0]), batch[1])
        self.log("loss", loss, on_step=False, on_epoch=True)
        self.training_seen.losses.append(loss.item())
        self.training_seen.rates.append(float(self.trainer.optimizers[0].param_groups[0]["lr"]))
        return loss


class ManualModule(Module):
    """The network with manual optimization: two optimizers, one for each layer, the second at every other batch."""

    def __init__(self, make: Make, schedule: Schedule = SCHEDULES["a scheduler at every step"]) -> None:
        super().__init__(make, schedule)
        self.automatic_optimization = False

    def configure_optimizers(self) -> Any:
        first, second = (self.make(layer.parameters()) for layer in (self.network[0], self.network[2]))
        return [first, second], [self.schedule(first)]

    def training_step(self, batch: list[torch.Tensor], number: int) -> None:
        optimizers = self.optimizers()
        for optimizer in optimizers if number % 2 else optimizers[:1]:
            self.toggle_optimizer(optimizer)
            loss = nn.functional.cross_entropy(self.network(batch[0]), batch[1])
            self.manual_backward(loss)
            self.clip_gradients(optimizer, 0.5, gradient_clip_algorithm="norm")
            optimizer.step()
            optimizer.zero_grad()
            self.untoggle_optimizer(optimizer)
            self.training_seen.losses.append(loss.item())
        self.lr_schedulers().step()
        self.training_seen.rates.append(float(optimizers[0].param_groups[0]["lr"]))


class ManualClosure(Module):
    """Manual optimization with a closure, which Lightning hands to the optimizer."""

    def __init__(self, make: Make) -> None:
        super().__init__(make)
        self.automatic_optimization = False

    def training_step(self, batch: list[torch.Tensor], number: int) -> None:
        optimizer = self.optimizers()

        def closure() -> torch.Tensor:
            loss = nn.functional.cross_entropy(self.network(batch[0]), batch[1])
            optimizer.zero_grad()
            self.manual_backward(loss)
            self.training_seen.losses.append(loss.item())
            return loss

        optimizer.step(closure=closure)


def trainer(epochs: int = EPOCHS, callbacks: tuple[Any, ...] = (), **options: Any) -> lightning.Trainer:
    precision = {torch.float32: "32-true", torch.float64: "64-true"}[torch.get_default_dtype()]
    return lightning.Trainer(
        max_epochs=epochs,
        accelerator="cpu",
        devices=1,
        precision=precision,
        callbacks=list(callbacks),
        logger=options.pop("logger", False),
        enable_checkpointing=any(isinstance(callback, ModelCheckpoint) for callback in callbacks),
        enable_progress_bar=False,
        enable_model_summary=False,
        **options,
    )


def loader() -> DataLoader:
    return DataLoader(TensorDataset(*digits(ROWS)), batch_size=BATCH)


def fitted(module: Module, tool: lightning.Trainer, checkpoint: str | Path | None = None) -> Training:
    tool.fit(module, loader(), ckpt_path=checkpoint)
    assert tool.state.finished
    module.training_seen.weights = weights(module)
    return module.training_seen


def check_automatic(checks: Checks) -> None:
    """Schedulers, clipping by norm and by value, accumulation."""
    ways: dict[str, dict[str, Any]] = {
        "plain": {},
        "clipped by norm": {"gradient_clip_val": 0.5},
        "clipped by value": {"gradient_clip_val": 0.01, "gradient_clip_algorithm": "value"},
        "accumulated": {"accumulate_grad_batches": 3, "gradient_clip_val": 0.5},
    }
    for pair in PAIRS:
        for name, schedule in SCHEDULES.items():
            got = fitted(Module(pair.steepest, schedule), trainer(gradient_clip_val=0.5))
            expected = fitted(Module(pair.torch, schedule), trainer(gradient_clip_val=0.5))
            assert len(set(expected.rates)) > 1 or name == "no scheduler"
            checks.equal(f"{pair.name}, {name}", got, expected)
        for name, way in ways.items():
            expected = fitted(Module(pair.torch), trainer(**way))
            checks.equal(f"{pair.name}, {name}", fitted(Module(pair.steepest), trainer(**way)), expected)


def check_manual(checks: Checks) -> None:
    """Two optimizers taken in turns, and a closure."""
    for pair in PAIRS:
        for module in (ManualModule, ManualClosure):
            got, expected = fitted(module(pair.steepest), trainer()), fitted(module(pair.torch), trainer())
            checks.equal(f"{pair.name}, {module.__name__}", got, expected)


def check_checkpoints(checks: Checks) -> None:
    """Half the epochs, a checkpoint, another module and trainer that resume from it."""
    step = SCHEDULES["a scheduler at every step"]
    for pair in PAIRS:
        for module in (Module, ManualModule):
            expected = fitted(module(pair.torch, step), trainer())
            folder = Path(pair.name, module.__name__, str(torch.get_default_dtype()))
            first, second = module(pair.steepest, step), module(pair.steepest, step)
            fitted(first, trainer(EPOCHS // 2, (ModelCheckpoint(folder, filename="half"),)))
            second.training_seen = first.training_seen
            got = fitted(second, trainer(), folder / "half.ckpt")
            checks.equal(f"{pair.name}, {module.__name__}, resumed from a checkpoint", got, expected)


def check_callbacks(checks: Checks) -> None:
    """Callbacks that read or change param groups: learning rates in the log, averaged weights with a schedule of their own."""
    for pair in (ADAMW, NESTEROV):
        found = []
        for make in (pair.steepest, pair.torch):
            callbacks = (LearningRateMonitor("step"), StochasticWeightAveraging(1e-3, swa_epoch_start=2, annealing_epochs=2))
            module = Module(make, SCHEDULES["a scheduler at every epoch"])
            found.append(fitted(module, trainer(callbacks=callbacks, logger=CSVLogger("log"), log_every_n_steps=1)))
        checks.equal(f"{pair.name}, LearningRateMonitor and StochasticWeightAveraging", *found)


def with_fabric(make: Make, interrupted: bool) -> Training:
    """A loop of one's own through Fabric; interrupted, it is saved in the middle and goes on in new objects."""
    seen, file = Training(), Path("fabric.ckpt")
    for first, last in ((0, STEPS // 2), (STEPS // 2, STEPS)) if interrupted else ((0, STEPS),):
        fabric = lightning.Fabric(accelerator="cpu", devices=1)
        model = network()
        model, optimizer = fabric.setup(model, make(model.parameters()))
        scheduler = lr_scheduler.CosineAnnealingLR(optimizer, T_max=STEPS)
        parts = {"model": model, "optimizer": optimizer, "scheduler": scheduler}
        if first:
            fabric.load(file, parts)
        for pixels, labels in batches()[first:last]:
            optimizer.zero_grad()
            loss = nn.functional.cross_entropy(model(pixels), labels)
            fabric.backward(loss)
            fabric.clip_gradients(model, optimizer, max_norm=0.5)
            optimizer.step()
            scheduler.step()
            seen.losses.append(loss.item())
            seen.rates.append(float(optimizer.param_groups[0]["lr"]))
        fabric.save(file, parts)
    seen.weights = weights(model)
    return seen


def check_fabric(checks: Checks) -> None:
    """Fabric, in one go and interrupted."""
    for pair in PAIRS:
        expected = with_fabric(pair.torch, interrupted=False)
        checks.equal(f"{pair.name}, Fabric", with_fabric(pair.steepest, interrupted=False), expected)
        checks.equal(f"{pair.name}, Fabric, saved and loaded", with_fabric(pair.steepest, interrupted=True), expected)


if __name__ == "__main__":
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", module="lightning")
    main(check_automatic, check_manual, check_checkpoints, check_callbacks, check_fabric)
