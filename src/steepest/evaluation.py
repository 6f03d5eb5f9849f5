"""Evaluation: run a network over a part and measure its predictions, without touching its state."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from . import metrics
from .data import Data
from .data.gathering import Rows
from .data.parts import Part, pieces
from .forms import Form
from .metrics import Measure, Predictions
from .models.modes import as_in_evaluation
from .objectives import Focal, LossFunction, Objective, OwnObjective
from .transcripts import collapsed, written

NUMBERS_AT_ONCE = 2**18  # of input; larger pieces ran a small CNN four times as slowly, out of cache


TOKEN_WIDTH = 128  # about as many numbers a network makes of a token


def rows_at_once(form: Form) -> int:
    """Return how many rows of this form go through a network at once."""
    numbers = form.shape[0] * TOKEN_WIDTH if form.is_tokens else math.prod(form.shape)
    return min(max(NUMBERS_AT_ONCE // max(numbers, 1), 8 if form.is_tokens else 64), 4096)


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Switch dropout and batch normalisation to evaluation and back, without gradients."""
    with as_in_evaluation(model), torch.inference_mode():
        yield


def outputs(model: nn.Module, inputs: Rows, form: Form) -> Tensor:
    """Return the network's outputs for every row, shape (rows, ...)."""
    with evaluating(model):
        return torch.cat([model(piece) for piece in pieces(inputs, rows_at_once(form))])


def predict(
    model: nn.Module, part: Part, data: Data, loss: LossFunction | None = None, objective: Objective | None = None
) -> Predictions:
    """Return what a network predicts for a part, beside the truth; the objective says what its outputs stand for."""
    if data.targets.kind == "language":
        return _next_tokens(model, part, data.form, loss if isinstance(objective, OwnObjective | Focal) else None)
    if data.targets.kind == "transcription":
        return _transcripts(model, part, data, loss)
    return as_predictions(outputs(model, part.inputs, data.form), part, data, loss, objective)


def _next_tokens(model: nn.Module, part: Part, form: Form, loss: LossFunction | None) -> Predictions:
    """Return how probable every next token was, piece by piece: to hold all probabilities would take much memory."""
    found, right, truth, lost = [], [], [], 0.0
    with evaluating(model):
        for inputs, targets in part.in_order(rows_at_once(form)):
            raw = model(inputs).float()
            likelihood = torch.log_softmax(raw, dim=-1)
            found.append(likelihood.gather(-1, targets[..., None]).reshape(-1).cpu())
            right.append((likelihood.argmax(dim=-1) == targets).reshape(-1).cpu())
            truth.append(targets.reshape(-1).cpu())
            if loss is not None:
                lost += float(loss(raw, targets)) * len(targets)
    each = torch.cat(found).double().numpy()
    mean_loss = float(-each.mean()) if loss is None else lost / len(part)
    return Predictions(torch.cat(truth).numpy(), log_likelihood=each, right=torch.cat(right).numpy(), loss=mean_loss)


def _transcripts(model: nn.Module, part: Part, data: Data, loss: LossFunction | None) -> Predictions:
    """Return what a network reads in each recording, piece by piece: their frames differ in number."""
    said, truth, lost = [], [], 0.0 if loss is not None else float("nan")
    with evaluating(model):
        for inputs, targets in part.in_order(rows_at_once(data.form)):
            raw = model(inputs)
            said += _read_off(raw, data.targets.symbols)
            truth += [written(codes, data.targets.symbols) for codes in targets.tolist()]
            if loss is not None:
                lost += float(loss(raw, targets)) * len(targets) / len(part)
    found, texts = np.array(truth, dtype=object), np.array(said, dtype=object)
    return Predictions(found, texts=texts, right=found == texts, loss=lost)


def transcribe(model: nn.Module, inputs: Rows, form: Form, classes: Sequence[str]) -> np.ndarray:
    """Return the text that a network reads in each row, an array of str."""
    with evaluating(model):
        found = [text for piece in pieces(inputs, rows_at_once(form)) for text in _read_off(model(piece), classes)]
    return np.array(found, dtype=object)


def _read_off(raw_BTC: Tensor, symbols: Sequence[str]) -> list[str]:
    """Return what the most probable path spells: the surest class of every step, runs made one, blanks left out."""
    return [written(codes.tolist(), symbols) for codes in collapsed(raw_BTC.argmax(dim=-1).cpu().numpy())]


def probabilities(raw: Tensor, num_classes: int) -> np.ndarray:
    """Return class probabilities, shape (rows, classes), from raw outputs: softmax, or the logistic function for one."""
    raw = raw.double()  # in float32 a confident network's scores tie, and 1 - p is 0
    if raw.ndim == 1 or raw.shape[1] == 1:
        score = raw.reshape(len(raw))
        return torch.stack([torch.sigmoid(-score), torch.sigmoid(score)], dim=1).cpu().numpy()
    assert raw.shape[1] == num_classes
    return torch.softmax(raw, dim=1).cpu().numpy()


def as_predictions(
    raw: Tensor, part: Part, data: Data, loss: LossFunction | None = None, objective: Objective | None = None
) -> Predictions:
    """Return raw outputs beside the truth, in the label's own units."""
    assert isinstance(part.targets, Tensor)
    with torch.inference_mode():
        mean_loss = float(loss(raw, part.targets)) if loss is not None else float("nan")
    if data.targets.classes:
        truth = part.targets.cpu().numpy()
        return Predictions(truth, probabilities=probabilities(raw, data.targets.num_classes), loss=mean_loss)
    shift, scale = data.target_scale
    said = raw if objective is None else objective.values(raw)
    values = said.reshape(part.targets.shape).double().cpu().numpy() * scale + shift
    truth = part.targets.double().cpu().numpy() * scale + shift
    levels = () if objective is None else objective.quantiles
    spread = quantiles(raw, len(levels), part.targets.ndim, shift, scale) if levels else None
    return Predictions(truth, values=values, quantiles=spread, levels=levels, loss=mean_loss)


def quantiles(raw: Tensor, levels: int, dimensions: int, shift: Any, scale: Any) -> np.ndarray:
    """Return predicted quantiles in the label's own units: (rows, levels), of several targets (rows, targets, levels)."""
    each = raw.double().reshape(*((len(raw),) if dimensions == 1 else (len(raw), -1)), levels).cpu().numpy()
    return each * np.asarray(scale)[..., None] + np.asarray(shift)[..., None]


def measure(
    model: nn.Module,
    part: Part,
    data: Data,
    chosen: Sequence[str | Measure],
    loss: LossFunction | None = None,
    objective: Objective | None = None,
) -> dict[str, Any]:
    """Return these metrics of a network on a part; what is not defined there (AUC of a single class, say) is NaN."""
    return metrics.measure(chosen, predict(model, part, data, loss, objective))
