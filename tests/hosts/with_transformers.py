"""Trains through Transformers' Trainer: a ready optimizer with a scheduler or Trainer's own, a class, checkpoints."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from common import ADAMW, BATCH, PAIRS, STEPS, Checks, Make, Training, digits, main, network, weights
from torch import Tensor, nn
from torch.optim.lr_scheduler import LambdaLR, OneCycleLR
from transformers import PrinterCallback, Trainer, TrainerCallback, TrainingArguments
from transformers.trainer_utils import get_last_checkpoint

import steepest

OUTPUT = Path("trainer")
SCHEDULE = steepest.cosine(steps=STEPS, warmup=5)
RULE = steepest.adamw(3e-3, b1=0.85, b2=0.98, weight_decay=0.1)

Schedule = Callable[[torch.optim.Optimizer], Any]


class Model(nn.Module):
    """The network as Trainer wants it: labels in, loss out."""

    def __init__(self) -> None:
        super().__init__()
        self.network = network()
        self.losses: list[float] = []

    def forward(self, pixels: Tensor, labels: Tensor) -> dict[str, Tensor]:
        logits = self.network(pixels)
        loss = nn.functional.cross_entropy(logits, labels)
        self.losses.append(loss.item())
        return {"loss": loss, "logits": logits}


class Rates(TrainerCallback):
    """Remember the learning rate after every step."""

    def __init__(self) -> None:
        self.rates: list[float] = []

    def on_step_end(self, args: Any, state: Any, control: Any, **parts: Any) -> None:
        self.rates.append(float(parts["optimizer"].param_groups[0]["lr"]))


def arguments(**options: Any) -> TrainingArguments:
    return TrainingArguments(
        output_dir=str(OUTPUT),
        per_device_train_batch_size=BATCH,
        max_steps=STEPS,
        use_cpu=True,
        report_to="none",
        disable_tqdm=True,
        dataloader_pin_memory=False,
        max_grad_norm=0.5,
        seed=0,
        **{"save_strategy": "no", "logging_strategy": "no", **options},
    )


def rows() -> list[dict[str, Tensor]]:
    return [{"pixels": pixels, "labels": label} for pixels, label in zip(*digits(), strict=True)]


def train(model: Model, options: dict[str, Any], resume: str | None = None, **parts: Any) -> Training:
    rates = Rates()
    trainer = Trainer(model, arguments(**options), train_dataset=rows(), callbacks=[rates], **parts)
    trainer.remove_callback(PrinterCallback)
    trainer.train(resume_from_checkpoint=resume)
    return Training(model.losses, rates.rates, weights(model))


def with_ready(make: Make, schedule: Schedule | None = None, resume: str | None = None, **options: Any) -> Training:
    """Train with `optimizers=(optimizer, scheduler)`; without a scheduler Trainer makes its own."""
    model = Model()
    optimizer = make(model.parameters())
    return train(model, options, resume, optimizers=(optimizer, schedule(optimizer) if schedule else None))


SCHEDULES: dict[str, Schedule | None] = {
    "Trainer's linear scheduler": None,
    "OneCycleLR": lambda optimizer: OneCycleLR(optimizer, 5e-3, total_steps=STEPS, cycle_momentum=False),
    "steepest's cosine in a LambdaLR": lambda optimizer: LambdaLR(optimizer, SCHEDULE),
}

OPTIONS: dict[str, dict[str, Any]] = {
    "accumulated, with a warm-up": {"gradient_accumulation_steps": 2, "warmup_steps": 5},
    "cosine with restarts": {"lr_scheduler_type": "cosine_with_restarts", "lr_scheduler_kwargs": {"num_cycles": 2}},
}


def check_optimizers(checks: Checks) -> None:
    """A ready optimizer with a scheduler, or Trainer's own; gradients accumulated; other types of scheduler."""
    for pair in PAIRS:
        for name, schedule in SCHEDULES.items():
            expected = with_ready(pair.torch, schedule)
            assert len(set(expected.rates)) > STEPS // 2
            checks.equal(f"{pair.name}, {name}", with_ready(pair.steepest, schedule), expected)
        for name, options in OPTIONS.items():
            checks.equal(f"{pair.name}, {name}", with_ready(pair.steepest, **options), with_ready(pair.torch, **options))


def check_class(checks: Checks) -> None:
    """`optimizer_cls_and_kwargs`: the whole model is handed over, since the rule itself decides about weight decay."""
    model, expected = Model(), with_ready(ADAMW.torch)
    ways = {
        "the class, with a model": (steepest.Optimizer, {"model": model, "rule": RULE}),
        "a factory": (lambda: steepest.Optimizer, {"rule": RULE}),
    }
    for name, way in ways.items():
        checks.equal(f"optimizer_cls_and_kwargs, {name}", train(model, {}, optimizer_cls_and_kwargs=way), expected)
        model = Model()

    def without_model() -> Training:
        return train(model, {}, optimizer_cls_and_kwargs=(steepest.Optimizer, {"rule": RULE}))

    checks.raises("groups with a weight decay are refused", without_model, "'weight_decay'")


def check_checkpoints(checks: Checks) -> None:
    """Trainer saves in the middle of a run; another Trainer resumes there."""
    for pair in PAIRS:
        for name, schedule in SCHEDULES.items():
            shutil.rmtree(OUTPUT, ignore_errors=True)
            expected = with_ready(pair.torch, schedule)
            saving = {"save_strategy": "steps", "save_steps": STEPS // 2, "save_total_limit": 5}
            first = with_ready(pair.steepest, schedule, **saving)
            checks.equal(f"{pair.name}, {name}, saving", first, expected)
            shutil.rmtree(OUTPUT / f"checkpoint-{STEPS}")
            second = with_ready(pair.steepest, schedule, resume=get_last_checkpoint(str(OUTPUT)))
            assert len(second.losses) == STEPS // 2
            second.losses = first.losses[: STEPS // 2] + second.losses
            second.rates = first.rates[: STEPS // 2] + second.rates
            checks.equal(f"{pair.name}, {name}, resumed", second, expected)


def check_two_schedules(checks: Checks) -> None:
    """Trainer always brings a scheduler, so a rule with its own schedule is refused."""
    scheduled = steepest.adamw(3e-3, schedule=SCHEDULE)

    def call() -> Training:
        return with_ready(lambda params: steepest.Optimizer(params, scheduled), lr_scheduler_type="constant")

    checks.raises("two schedules are refused", call, "keep one of the two")


if __name__ == "__main__":
    main(check_optimizers, check_class, check_checkpoints, check_two_schedules)
