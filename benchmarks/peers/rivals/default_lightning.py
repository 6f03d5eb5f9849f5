"""Lightning as its examples do: Adam with a learning rate of 0.001, batches of 64. What is not needed is left out."""

from __future__ import annotations

import logging
import warnings

import lightning
import torch
from common import Job, job
from curves import Curve
from networks import Loss, begin, outputs, tensors
from torch import Tensor
from torch.utils.data import DataLoader, TensorDataset


class Module(lightning.LightningModule):
    def __init__(self, asked: Job) -> None:
        super().__init__()
        self.network, self.loss_of = begin(asked), Loss()
        self.curve, self.tested = Curve(asked), torch.from_numpy(asked.array("X_test"))

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.Adam(self.parameters(), lr=1e-3)

    def training_step(self, batch: list[Tensor], number: int) -> Tensor:
        return self.loss_of(self.network(batch[0]), batch[1])

    def on_train_epoch_end(self) -> None:
        self.curve.add(outputs(self.network, self.tested).numpy())
        self.network.train()


def main() -> None:
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    warnings.filterwarnings("ignore")  # advice to load with worker processes, which rows in memory do not need
    asked = job()
    module = Module(asked)
    loader = DataLoader(TensorDataset(*tensors(asked, "train")), batch_size=64, shuffle=True)
    unneeded = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False, "enable_model_summary": False}
    lightning.Trainer(max_epochs=asked.epochs, accelerator="cpu", devices=1, **unneeded).fit(module, loader)
    module.curve.tell("lightning", "torch")


if __name__ == "__main__":
    main()
