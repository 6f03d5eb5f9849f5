"""How steepest's frozen values print: as the Python call that makes them."""

from __future__ import annotations

import numbers
import re
from collections.abc import Mapping
from dataclasses import MISSING, fields
from typing import Any


def snake_case(name: str) -> str:
    """Return the function-style spelling of a class name.

    >>> snake_case("ClipGlobalNorm")
    'clip_global_norm'
    """
    return re.sub(r"(?<!^)(?=[A-Z])", "_", name).lower()


def name_of(function: Any) -> str:
    """Return what tables call a function or an object: its name, that of what a `partial` calls, or its type's."""
    inner = getattr(function, "func", function)
    return getattr(inner, "__name__", type(inner).__name__)


def plain(value: Any) -> Any:
    """Return a number of NumPy's or another library's as Python's own, which prints as Python reads it.

    >>> from fractions import Fraction
    >>> plain(Fraction(1, 4)), plain(True), plain("a")
    (0.25, True, 'a')
    """
    if isinstance(value, tuple):
        return tuple(map(plain, value))
    if type(value) in (int, float, bool) or not isinstance(value, numbers.Real):
        return value
    return int(value) if isinstance(value, numbers.Integral) else float(value)


def tupled(value: Mapping[str, Any], *names: str) -> dict[str, Any]:
    """Return a dict that was read from JSON with the lists of these names as tuples again.

    >>> tupled({"shape": [2, 3], "kind": "array"}, "shape")
    {'shape': (2, 3), 'kind': 'array'}
    """
    return {name: tuple(item) if name in names else item for name, item in value.items()}


def printed_call(value: Any, name: str | None = None) -> str:
    """Return the call that makes a dataclass value: what has no default by position, other changes by name."""
    parts = []
    for item in fields(value):
        now = plain(getattr(value, item.name))
        default = item.default_factory() if item.default_factory is not MISSING else item.default
        if default is MISSING:
            parts.append(repr(now))
        elif item.repr and now != default:
            parts.append(f"{item.name}={now!r}")
    return f"{name or snake_case(type(value).__name__)}({', '.join(parts)})"


def si(count: float) -> str:
    """Return a number shortly, ready for its unit.

    >>> si(18_200) + "FLOP", si(1.68e9) + "FLOP", si(900) + "FLOP"
    ('18 kFLOP', '1.7 GFLOP', '900 FLOP')
    """
    for prefix, power in (("T", 1e12), ("G", 1e9), ("M", 1e6), ("k", 1e3)):
        if count >= power:
            value = count / power
            return f"{value:.0f} {prefix}" if value >= 9.95 else f"{value:.1f} {prefix}"
    return f"{count:.0f} "
