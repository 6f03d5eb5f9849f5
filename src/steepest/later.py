"""Libraries that are imported when something of theirs is first used.

`import polars` takes a fifth of a second, which who trains on arrays, images or texts need not wait for:

    from .later import pl
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any


class Later:
    """Stands for a module; its attributes are the module's."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __getattr__(self, attribute: str) -> Any:
        return getattr(importlib.import_module(self._name), attribute)


if TYPE_CHECKING:
    import polars as pl
else:
    pl = Later("polars")
