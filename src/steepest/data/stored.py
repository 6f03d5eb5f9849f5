"""Preprocessing brought back from its JSON form."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from .language import CharacterPreprocessing
from .preprocessing import ArrayPreprocessing, ImagePreprocessing, ItemsPreprocessing, Preprocessing, TablePreprocessing
from .series import SeriesPreprocessing
from .sounds import SoundPreprocessing
from .texts import TextPreprocessing

KINDS: dict[str, Callable[[dict[str, Any]], Preprocessing]] = {
    "table": TablePreprocessing.from_dict,
    "image": ImagePreprocessing.from_dict,
    "array": ArrayPreprocessing.from_dict,
    "items": ItemsPreprocessing.from_dict,
    "text": TextPreprocessing.from_dict,
    "language": CharacterPreprocessing.from_dict,
    "series": SeriesPreprocessing.from_dict,
    "sound": SoundPreprocessing.from_dict,
}


def from_dict(value: dict[str, Any]) -> Preprocessing:
    """Read a preprocessing back from its JSON form."""
    return KINDS[value["kind"]]({name: item for name, item in value.items() if name != "kind"})
