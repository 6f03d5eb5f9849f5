"""Sounds as log-mel spectrograms: how loud each band of pitch is, frame by frame.

`log(mel @ |FFT(window * frame)|^2 + 1e-6)`, then shift and scale per band; the bands are triangles, evenly spaced on the mel
scale `2595 log10(1 + f / 700)` (Stevens, Volkmann, Newman, 1937; the formula of O'Shaughnessy, 1987).
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from ..forms import Form
from ..values import tupled
from .cleaning import CleaningReport
from .inputs import Sounds
from .scaling import scaler_numbers

if TYPE_CHECKING:
    from torch import Tensor

    from .gathering import Ragged

FRAME_S, HOP_S = 0.032, 0.010  # how long a frame is, and how far frames lie apart
ANSWERED_S = 0.020  # how far they lie apart where each is answered: a syllable lasts ten times as long
BANDS = 40
FLOOR = 1e-6
MAX_FRAMES = 1_000
FRAMES_AT_ONCE = 2**13


@dataclass(frozen=True)
class SoundPreprocessing:
    """Recordings to rows of frames, each a log-mel spectrum of `len(shift)` bands; at most `longest` frames,
    unless each is to be answered.
    """

    rate: int
    longest: int
    shift: tuple[float, ...]
    scale: tuple[float, ...]
    each_step: bool = False

    @property
    def form(self) -> Form:
        return Form("sound", (self.longest, len(self.shift)), each_step=self.each_step)

    def __call__(self, sounds: Sounds) -> Ragged:
        import torch

        from .gathering import Ragged

        frames, offsets = log_mel(replace(sounds, each_step=self.each_step), len(self.shift), self.longest)
        shift, scale = (torch.tensor(numbers, dtype=torch.float32) for numbers in (self.shift, self.scale))
        return Ragged((frames - shift) / scale, torch.from_numpy(offsets))

    def to_dict(self) -> dict[str, Any]:
        return {"kind": "sound", **asdict(self)}

    @classmethod
    def from_dict(cls, value: dict[str, Any]) -> SoundPreprocessing:
        return cls(**tupled(value, "shift", "scale"))


def fit_sounds(sounds: Sounds, scaling: str, report: CleaningReport) -> SoundPreprocessing:
    """Fit shift and scale of every band on the frames of the training recordings."""
    frames, offsets = log_mel(sounds, BANDS, MAX_FRAMES)
    shift, scale = scaler_numbers(frames.double().numpy(), scaling)
    cut = 0 if sounds.each_step else int((frame_counts(sounds) > MAX_FRAMES).sum())
    report.add(f"recordings longer than {MAX_FRAMES * HOP_S:g} s", cut, "cut there")
    found = tuple(shift.tolist()), tuple(scale.tolist())
    return SoundPreprocessing(sounds.rate, int(np.diff(offsets).max()), *found, each_step=sounds.each_step)


def frame_counts(sounds: Sounds) -> np.ndarray:
    """Return how many frames each recording has; a recording shorter than a frame has one."""
    size, hop = frame_size(sounds)
    return 1 + np.maximum(np.diff(sounds.offsets) - size, 0) // hop


def frame_size(sounds: Sounds) -> tuple[int, int]:
    """Return how many samples a frame has, and how many lie from one to the next."""
    return round(FRAME_S * sounds.rate), max(1, round((ANSWERED_S if sounds.each_step else HOP_S) * sounds.rate))


def log_mel(sounds: Sounds, bands: int, longest: int) -> tuple[Tensor, np.ndarray]:
    """Return the log-mel frames of all recordings, one after the other, and where each recording begins among them.

    Of a recording at most the first `longest` frames are taken, unless each is to be answered.
    """
    import torch

    size, hop = frame_size(sounds)
    lengths, counts = np.diff(sounds.offsets), frame_counts(sounds)
    counts = counts if sounds.each_step else np.minimum(counts, longest)
    offsets = np.concatenate([[0], np.cumsum(counts)])
    row = np.repeat(np.arange(len(lengths)), counts)
    within = (np.arange(offsets[-1]) - offsets[row]) * hop
    begins = torch.from_numpy(sounds.offsets[row] + within)
    left = torch.from_numpy(lengths[row] - within)  # samples from a frame's begin to the end of its recording
    samples = torch.from_numpy(np.ascontiguousarray(sounds.samples))
    unit = 1 / 32768 if samples.dtype == torch.int16 else 1.0
    window, filters = torch.hann_window(size), torch.from_numpy(mel_filters(bands, size, sounds.rate))
    step, found = torch.arange(size), []
    for begin in range(0, len(begins), FRAMES_AT_ONCE):
        at = begins[begin : begin + FRAMES_AT_ONCE, None] + step
        inside = step < left[begin : begin + FRAMES_AT_ONCE, None]
        frames = samples[at.clamp_(max=len(samples) - 1)].float() * unit * inside
        power = torch.fft.rfft(frames * window).abs().square()
        found.append(torch.log(power @ filters + FLOOR))
    return torch.cat(found), offsets


def mel_filters(bands: int, size: int, rate: int) -> np.ndarray:
    """Return the weight of each frequency of a frame's spectrum in each band, shape (size // 2 + 1, bands), float32."""

    def mel(hertz: float) -> float:
        return 2595 * math.log10(1 + hertz / 700)

    edges = 700 * (10 ** (np.linspace(mel(20), mel(rate / 2), bands + 2) / 2595) - 1)
    hertz = np.linspace(0, rate / 2, size // 2 + 1)[:, None]
    rising = (hertz - edges[:-2]) / (edges[1:-1] - edges[:-2])
    falling = (edges[2:] - hertz) / (edges[2:] - edges[1:-1])
    return np.maximum(0, np.minimum(rising, falling)).astype(np.float32)
