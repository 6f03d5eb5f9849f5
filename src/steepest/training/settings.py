"""Settings of the whole process that a plan names - torch's threads, tf32 - held while a step is made, then given back."""

from __future__ import annotations

from typing import Any

import torch


class Threads:
    """`with threads:` torch works with so many; None: with as many as it has. Entering and leaving take half a microsecond."""

    __slots__ = ("_before", "number")

    def __init__(self, number: int | None) -> None:
        self.number = number

    def __enter__(self) -> None:
        if self.number is not None:
            self._before = torch.get_num_threads()
            torch.set_num_threads(self.number)

    def __exit__(self, *error: Any) -> None:
        if self.number is not None:
            torch.set_num_threads(self._before)


class Tf32:
    """`with tf32:` products of float32 on a GPU keep 10 bits of mantissa, if that is `wanted`; else they are as they were."""

    __slots__ = ("_before", "wanted")

    def __init__(self, wanted: bool) -> None:
        self.wanted = wanted

    def __enter__(self) -> None:
        if self.wanted:
            self._before = torch.backends.cuda.matmul.fp32_precision
            torch.backends.cuda.matmul.fp32_precision = "tf32"

    def __exit__(self, *error: Any) -> None:
        if self.wanted:
            torch.backends.cuda.matmul.fp32_precision = self._before
