"""The loop of Accelerate's quick tour, in float32 on the CPU; torch's fused Adam."""

from __future__ import annotations

import time

import torch
from accelerate import Accelerator
from common import job, scores, tell
from networks import Loss, begin, count, outputs, tensors
from torch.utils.data import DataLoader, TensorDataset


def main() -> None:
    asked = job()
    model, loss_of = begin(asked), Loss()
    loader = DataLoader(TensorDataset(*tensors(asked, "train")), batch_size=asked.batch, shuffle=True)
    accelerator = Accelerator(cpu=True, mixed_precision="no")
    optimizer = torch.optim.Adam(model.parameters(), lr=asked.lr, fused=True)
    model, optimizer, loader = accelerator.prepare(model, optimizer, loader)
    began = time.perf_counter()
    for _ in range(asked.epochs):
        for inputs, targets in loader:
            loss = loss_of(model(inputs), targets)
            optimizer.zero_grad()
            accelerator.backward(loss)
            optimizer.step()
    seconds = time.perf_counter() - began
    X_test, y_test = tensors(asked, "test")
    found = outputs(model, X_test)
    accelerator.save_model(model, asked.out)
    tell(asked, seconds, scores(found.numpy(), y_test.numpy()), ("accelerate", "torch"), parameters=count(model))


if __name__ == "__main__":
    main()
