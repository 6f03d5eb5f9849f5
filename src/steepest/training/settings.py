"""Settings of the whole process: torch's threads and tf32 while a step is made, memory that is kept while a training runs."""

from __future__ import annotations

import ctypes
import functools
import os
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


class KeptMemory:
    """`with kept:` what a step on a CPU frees stays with the process for the next step; afterwards what is free goes back.

    glibc hands free memory at the end of its heap back, and has large pieces mapped anew each time. Either way the system makes
    and zeroes every page again when it is first touched: in a step of a transformer (4 x 128, 32 rows of 128) 11,000 pages, a
    tenth of the step. Pieces of 32 MiB and more are mapped anew all the same: glibc allows no more. Afterwards its two
    thresholds stay where glibc itself brings them in time, and no longer move. Where there is no glibc, or its thresholds are
    set from outside (`MALLOC_TRIM_THRESHOLD_`, `GLIBC_TUNABLES`), nothing is done. Blocks may overlap; the last one to end
    gives back.

    Source: mallopt(3), malloc_trim(3) of the Linux manual pages, https://man7.org/linux/man-pages/man3/mallopt.3.html
    """

    _blocks = 0

    def __init__(self, device: torch.device) -> None:
        self.libc = _glibc() if device.type == "cpu" else None

    def __enter__(self) -> None:
        if self.libc is not None:
            KeptMemory._blocks += 1
            self.libc.mallopt(TRIM_THRESHOLD, KEPT)
            self.libc.mallopt(MAPPED_FROM, MOST_MAPPED_FROM)

    def __exit__(self, *error: Any) -> None:
        if self.libc is not None:
            KeptMemory._blocks -= 1
            if not KeptMemory._blocks:
                self.libc.mallopt(TRIM_THRESHOLD, 2 * MOST_MAPPED_FROM)  # what glibc comes to by itself
                self.libc.malloc_trim(0)


TRIM_THRESHOLD, MAPPED_FROM = -1, -3  # M_TRIM_THRESHOLD and M_MMAP_THRESHOLD of malloc.h
SET_OUTSIDE = {"MALLOC_TRIM_THRESHOLD_", "MALLOC_MMAP_THRESHOLD_", "MALLOC_TOP_PAD_", "MALLOC_MMAP_MAX_"}
KEPT, MOST_MAPPED_FROM = 2**31 - 1, 2**25  # bytes; the most that glibc allows


@functools.cache
def _glibc() -> ctypes.CDLL | None:
    try:
        library = ctypes.CDLL(None)
    except (OSError, TypeError):  # Windows
        return None
    theirs = SET_OUTSIDE & set(os.environ) or "glibc.malloc" in os.environ.get("GLIBC_TUNABLES", "")
    return library if hasattr(library, "gnu_get_libc_version") and not theirs else None
