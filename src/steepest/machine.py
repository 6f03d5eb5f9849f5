"""What this machine is, and the most it can do: rates of matrix products and of memory, measured in a second or two."""

from __future__ import annotations

import functools
import os
import platform
import re
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from .errors import InputError

SIDE = 1024  # of the square matrices whose product is timed
COPIED = 2**26  # numbers that are copied: 256 MiB, beyond any cache
REPEATS = 3
BFLOAT16_UNITS = ("amx_bf16", "avx512_bf16", "bf16")  # without them, products in bfloat16 are slower than in float32


@dataclass(frozen=True)
class Ceilings:
    """Measured rates: floating-point operations a second of large products, and bytes a second read and written by a copy."""

    device: str
    threads: int
    float32_flops: float
    bfloat16_flops: float | None
    memory_bytes_s: float

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


@functools.cache
def cpu_flags() -> set[str]:
    """Return what the processor says it knows, such as `avx2` and `amx_bf16`; empty where the system does not tell."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return set()
    return set(next((line.split(":", 1)[1].split() for line in lines if line.startswith(("flags", "Features"))), []))


def name_of_device(device: Any) -> str:
    """Return what a device is called: a GPU's name, or `CPU` and the processor's; of other devices, their kind."""
    if device.type == "cuda":
        import torch

        return torch.cuda.get_device_name(device)
    if device.type != "cpu":
        return str(device)
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        name = next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        name = platform.processor() or platform.machine()
    return f"CPU ({name})"


def parse_bytes(name: str, text: str | int | None) -> int | None:
    """Return bytes from `"512MiB"`, `"2GiB"` or a number.

    >>> parse_bytes("memory", "2GiB") == 2**31
    True
    """
    if text is None:
        return None
    found = re.fullmatch(r"(\d+(?:\.\d+)?) ?(?:([KMGT])i?B?|B)?", str(text).strip(), re.IGNORECASE)
    if found is None or isinstance(text, bool) or float(found[1]) <= 0:
        raise InputError(f"{name} must be a size such as 512MiB or 2GiB (got {text!r})")
    return int(float(found[1]) * 1024 ** " KMGT".index((found[2] or " ").upper()))


def lacks_cores(threads: int) -> bool:
    """Return whether others use so many cores at this moment that this many threads of ours would wait for one another.

    Where the system does not tell, it is False.
    """
    try:
        running = int(Path("/proc/loadavg").read_text().split()[3].partition("/")[0])
        ours = [path.read_text().rpartition(")")[2].split()[0] for path in Path("/proc/self/task").glob("*/stat")]
    except (OSError, ValueError, IndexError):
        return False
    return running - ours.count("R") + threads > (os.cpu_count() or 1)


def memory_bytes() -> int | None:
    """Return the memory of the machine, or None where the system does not tell."""
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, OSError, ValueError):
        return None


def has_bfloat16(device: Any) -> bool:
    """Return whether products of bfloat16 are done by units of their own there, and not by float32's."""
    import torch

    if device.type == "cuda":
        return torch.cuda.get_device_capability(device)[0] >= 8
    return device.type == "cpu" and not cpu_flags().isdisjoint(BFLOAT16_UNITS)


def wait_for(device: Any) -> bool:
    """Wait until a device has done what it was asked to; return whether it had to be waited for: a CPU does it at once."""
    import torch

    if device.type == "cuda":
        torch.cuda.synchronize(device)
    elif device.type != "cpu":
        torch.accelerator.synchronize(device)
    return device.type != "cpu"


def is_out_of_memory(error: BaseException) -> bool:
    """Return whether an error says that memory could not be had, on the device or on the CPU."""
    import torch

    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    text = str(error)
    return isinstance(error, RuntimeError) and ("DefaultCPUAllocator" in text or "out of memory" in text.lower())


def free_memory(device: Any) -> None:
    """Give back what was kept of a device's memory for later."""
    import torch

    if device.type == "cuda":
        torch.cuda.empty_cache()


def ceilings(device: Any = "cpu") -> Ceilings:
    """Measure the rates of a device: the best of three products of 1,024 x 1,024, and of three copies of 256 MiB.

    >>> found = ceilings()
    >>> found.float32_flops > 1e8 and found.memory_bytes_s > 1e8
    True
    """
    import torch

    where = torch.device(device)
    rates = {}
    for dtype in (torch.float32, torch.bfloat16) if has_bfloat16(where) else (torch.float32,):
        a, b = (torch.randn(SIDE, SIDE, device=where).to(dtype) for _ in range(2))
        rates[dtype] = 2 * SIDE**3 / _best_s(lambda a=a, b=b: a @ b, where)
    source = torch.ones(COPIED, device=where)
    target = torch.empty_like(source)
    copied = 2 * 4 * COPIED / _best_s(lambda: target.copy_(source), where)
    return Ceilings(name_of_device(where), torch.get_num_threads(), rates[torch.float32], rates.get(torch.bfloat16), copied)


def _best_s(work: Callable[[], Any], device: Any) -> float:
    """Return the seconds of the fastest of some repetitions, after one that warms up."""
    found = []
    for _ in range(REPEATS + 1):
        began = time.perf_counter()
        work()
        wait_for(device)
        found.append(time.perf_counter() - began)
    return min(found[1:])
