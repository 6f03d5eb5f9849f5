"""Files of sound: wav, read by the standard library."""

from __future__ import annotations

import wave
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import InputError, shown
from .folders import Sought

WAVES = Sought("wav file", (".wav", ".wave"))
LOWEST_RATE, HIGHEST_RATE = 1_000, 1_000_000  # samples a second: below, a second has no frames to hear anything in


def read_wav(path: str | Path) -> tuple[np.ndarray, int]:
    """Return the samples of a wav file (16 bits, or 8 or 32 made so; channels averaged) and its rate."""
    path = Path(path)
    try:
        with wave.open(str(path), "rb") as file:
            width, channels, rate, count = file.getsampwidth(), file.getnchannels(), file.getframerate(), file.getnframes()
            content = file.readframes(count)
    except FileNotFoundError:
        raise InputError(f"no such file: {path}") from None
    except (wave.Error, EOFError, OSError) as error:
        raise InputError(f"{path} is not a readable wav file ({str(error) or 'it ends early'})") from None
    check_rate(rate, str(path))
    if not content:
        raise InputError(f"{path} holds no sound (0 samples)")
    if len(content) < count * width * channels:
        raise InputError(f"{path} is a damaged wav file: its header promises {count:,} samples, it holds fewer")
    if width not in (1, 2, 4):
        raise InputError(f"{path}: expected samples of 8, 16 or 32 bits (got {8 * width})")
    if width == 1:
        samples = (np.frombuffer(content, dtype=np.uint8).astype(np.int16) - 128) << 8
    else:
        samples = np.frombuffer(content, dtype="<i2" if width == 2 else "<i4")
        samples = samples if width == 2 else (samples >> 16).astype(np.int16)
    mixed = samples.reshape(-1, channels).mean(axis=1).astype(np.int16) if channels > 1 else samples
    return np.asarray(mixed, dtype=np.int16), rate


def check_rate(rate: Any, what: str) -> None:
    """Raise unless recordings have a number of samples a second that sound has."""
    whole = isinstance(rate, int | np.integer) and not isinstance(rate, bool)
    if not whole or not LOWEST_RATE <= rate <= HIGHEST_RATE:
        raise InputError(
            f"{what}: expected {LOWEST_RATE:,} to {HIGHEST_RATE:,} samples a second (got {shown(rate)}); numbers measured less "
            "often are a series, or arrays"
        )
