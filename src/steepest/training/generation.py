"""Continuing a text: one token after the other, each drawn by the probabilities that the network gives it."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from torch import nn

from ..data.language import UNKNOWN, CharacterPreprocessing, encoded
from ..errors import InputError, at_least, check_seed, whole
from ..evaluation import evaluating


def generate(
    model: nn.Module,
    preprocessing: CharacterPreprocessing,
    prompt: str,
    *,
    length: int = 500,
    temperature: float = 0.8,
    seed: int = 0,
) -> Iterator[str]:
    """Return what yields the characters that follow a prompt, one by one.

    Each is drawn with probability `softmax(outputs / temperature)`; at 0 the most probable one is taken.

    Args:
        model: a network of what comes next, (B, T) to (B, T, tokens).
        preprocessing: its alphabet, and how much it reads at once.
        prompt: what to continue; empty: a line's beginning.
        length: characters to give, >= 1.
        temperature: >= 0; below 1 surer than the model is, above 1 less sure.
        seed: everything random follows from it.

    Raises:
        InputError: a character of the prompt that the training part does not hold, before anything is given.
    """
    if not isinstance(prompt, str):
        raise InputError(f"a prompt is a text to continue (got {type(prompt).__name__})")
    whole("length", length, 1)
    at_least("temperature", temperature, 0)
    check_seed(seed)
    alphabet = preprocessing.alphabet
    codes = encoded(prompt or ("\n" if "\n" in alphabet else alphabet[0]), alphabet)
    if (codes < 0).any():
        strange = prompt[int(np.flatnonzero(codes < 0)[0])]
        raise InputError(f"the model was trained on a text without {strange!r}; leave it out of the prompt")
    first = next(model.parameters(), torch.zeros(0))
    window = torch.from_numpy(codes.astype(np.int64)).to(first.device)[None]
    random = torch.Generator(first.device).manual_seed(seed)
    return _drawn(model, preprocessing, window, length, temperature, random)


def _drawn(
    model: nn.Module, preprocessing: CharacterPreprocessing, window: torch.Tensor, length: int, temperature: float,
    random: torch.Generator,
) -> Iterator[str]:  # fmt: skip
    """Yield the characters that follow a window of them, shape (1, T); never the one that stands for those it never saw."""
    unknown = [i for i, one in enumerate(preprocessing.alphabet) if one == UNKNOWN]
    for _ in range(length):
        with evaluating(model):
            window = window[:, -preprocessing.context :]
            scores = model(window)[0, -1].double()
            scores[unknown] = -torch.inf
            if temperature:
                chosen = torch.multinomial(torch.softmax(scores / temperature, dim=0), 1, generator=random)
            else:
                chosen = scores.argmax(dim=0, keepdim=True)
        window = torch.cat([window, chosen[None]], dim=1)
        yield preprocessing.alphabet[int(chosen)]
