"""Ctrl-C at a moment of a test's choosing."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any


@dataclass
class Interrupted:
    """Calls a function, but is interrupted at its `count`-th call."""

    function: Callable[..., Any]
    count: float = float("inf")
    calls: int = 0

    def __call__(self, *args: Any, **options: Any) -> Any:
        self.calls += 1
        if self.calls == self.count:
            raise KeyboardInterrupt
        return self.function(*args, **options)
