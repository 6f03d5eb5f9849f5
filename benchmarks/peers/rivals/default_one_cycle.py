"""fastai's way in a loop of the tutorials: one cycle of AdamW up to 0.001 and down, over five epochs, batches of 64.

Settings are those of fastai's `fit_one_cycle`: a quarter of the steps up, cosines, from a 25th to a 100,000th of the highest
rate, momentum from 0.95 to 0.85 and back, second moments of 0.99, epsilon 1e-5, decay 0.01.
"""

from __future__ import annotations

import torch
from common import job
from curves import Curve
from networks import Loss, begin, outputs, tensors
from torch.utils.data import DataLoader, TensorDataset


def main() -> None:
    asked = job()
    model, loss_of, curve = begin(asked), Loss(), Curve(asked)
    tested = torch.from_numpy(asked.array("X_test"))
    loader = DataLoader(TensorDataset(*tensors(asked, "train")), batch_size=64, shuffle=True)
    epochs = min(5, asked.epochs)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, betas=(0.95, 0.99), eps=1e-5, weight_decay=0.01)
    cycle = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, 1e-3, epochs * len(loader), pct_start=0.25, div_factor=25, final_div_factor=4_000
    )
    for _ in range(epochs):
        for inputs, targets in loader:
            optimizer.zero_grad()
            loss_of(model(inputs), targets).backward()
            optimizer.step()
            cycle.step()
        curve.add(outputs(model, tested).numpy())
        model.train()
    curve.tell("torch")


if __name__ == "__main__":
    main()
