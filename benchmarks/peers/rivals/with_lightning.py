"""Lightning's Trainer without what a plain training does not need: logger, checkpoints, progress bar, summary, sanity check.

Seconds are those between its hooks at the start and the end of training: setting the Trainer up is not counted.
"""

from __future__ import annotations

import logging
import time
import warnings

import lightning
import torch
from common import job, scores, tell
from networks import Loss, begin, count, outputs, tensors
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset


class Module(lightning.LightningModule):
    def __init__(self, network: nn.Module, lr: float) -> None:
        super().__init__()
        self.network, self.lr, self.loss_of = network, lr, Loss()

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.Adam(self.network.parameters(), lr=self.lr, fused=True)

    def training_step(self, batch: list[Tensor], number: int) -> Tensor:
        return self.loss_of(self.network(batch[0]), batch[1])

    def on_train_start(self) -> None:
        self.began = time.perf_counter()

    def on_train_end(self) -> None:
        self.seconds = time.perf_counter() - self.began


def main() -> None:
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    warnings.filterwarnings("ignore")  # advice to load with worker processes, which rows in memory do not need
    asked = job()
    module = Module(begin(asked), asked.lr)
    loader = DataLoader(TensorDataset(*tensors(asked, "train")), batch_size=asked.batch, shuffle=True)
    trainer = lightning.Trainer(
        max_epochs=asked.epochs,
        accelerator="cpu",
        devices=1,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
    )
    trainer.fit(module, loader)
    X_test, y_test = tensors(asked, "test")
    found = outputs(module.network, X_test)
    trainer.save_checkpoint(asked.out / "model.ckpt", weights_only=True)
    tell(asked, module.seconds, scores(found.numpy(), y_test.numpy()), ("lightning", "torch"), parameters=count(module.network))


if __name__ == "__main__":
    main()
