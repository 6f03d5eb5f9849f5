"""A loop written out by hand over tensors in memory: in float32, or with whatever an expert finds fastest on this machine.

Settings: `precision` ("float32", "bfloat16": autocast), `channels_last`, `attention` (see `networks.Attention`), `gather`
("batch": rows of each batch by index_select; "epoch": all rows once an epoch, batches are slices), `threads`.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator

import torch
from common import job, scores, tell
from networks import Loss, begin, count, outputs, save, tensors
from torch import Tensor


def main() -> None:
    asked = job()
    chosen = asked.settings
    model, loss_of = begin(asked), Loss()
    X, y = tensors(asked, "train")
    if chosen.get("channels_last"):
        model, X = model.to(memory_format=torch.channels_last), X.contiguous(memory_format=torch.channels_last)
    half = chosen.get("precision") == "bfloat16"
    optimizer = torch.optim.Adam(model.parameters(), lr=asked.lr, fused=True)
    began = time.perf_counter()
    for _ in range(asked.epochs):
        for inputs, targets in batches(X, y, asked.batch, whole=chosen.get("gather") == "epoch"):
            with torch.autocast("cpu", torch.bfloat16) if half else contextlib.nullcontext():
                loss = loss_of(model(inputs), targets)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    seconds = time.perf_counter() - began
    X_test, y_test = tensors(asked, "test")
    with torch.autocast("cpu", torch.bfloat16) if half else contextlib.nullcontext():
        found = outputs(model, X_test)
    save(model, asked.out)
    tell(asked, seconds, scores(found.numpy(), y_test.numpy()), ("torch", "numpy"), parameters=count(model))


def batches(X: Tensor, y: Tensor, size: int, *, whole: bool) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield inputs and targets of each batch of one epoch, in random order."""
    order = torch.randperm(len(X))
    if whole:
        yield from zip(X.index_select(0, order).split(size), y.index_select(0, order).split(size), strict=True)
        return
    for rows in order.split(size):
        yield X.index_select(0, rows), y.index_select(0, rows)


if __name__ == "__main__":
    main()
