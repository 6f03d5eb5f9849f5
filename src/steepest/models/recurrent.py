"""Recurrent networks in plain torch: rows of unequal length are packed, so that padding is never read."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from ..forms import Form
from .heads import Reader, averaged, blank_beyond

CELLS: dict[str, type[nn.RNNBase]] = {"rnn": nn.RNN, "lstm": nn.LSTM, "gru": nn.GRU}


class Recurrent(nn.Module):
    """`read -> recurrent layers -> dropout -> linear`; the linear layer reads the mean, the peak and the last of the states.

    Shapes: (B, T) tokens or (B, T, features) to (B, outputs); where each step is answered, by its own state, to (B, T, outputs).
    """

    def __init__(
        self,
        form: Form,
        cell: str,
        width: int,
        layers: int,
        outputs: int,
        *,
        dropout: float,
        bidirectional: bool,
        embedding: int,
        ngrams: int,
        buckets: int,
    ) -> None:
        super().__init__()
        self.each_step = form.each_step
        self.reader = Reader(form, embedding, ngrams, buckets)
        between = dropout if layers > 1 else 0.0
        made: Any = CELLS[cell]
        self.layers: nn.RNNBase = made(embedding, width, layers, batch_first=True, dropout=between, bidirectional=bidirectional)
        ways = 2 if bidirectional else 1
        self.dropout = nn.Dropout(dropout)
        self.answer = nn.Linear(ways * width if self.each_step else 3 * ways * width, outputs)
        self._initialise(cell, width)

    def _initialise(self, cell: str, width: int) -> None:
        """Begin with orthogonal recurrent weights (Saxe et al., 2014, arXiv:1312.6120) and open forget gates."""
        for name, p in self.layers.named_parameters():
            if name.startswith("weight_hh"):
                for gate in p.detach().split(width):
                    nn.init.orthogonal_(gate)
            elif name.startswith("weight_ih"):
                for gate in p.detach().split(width):
                    nn.init.xavier_uniform_(gate)
            else:
                nn.init.zeros_(p)
                if cell == "lstm" and name.startswith("bias_ih"):
                    nn.init.ones_(p.detach()[width : 2 * width])

    def forward(self, x: Tensor) -> Tensor:
        steps, there = self.reader(x)
        steps = self.dropout(steps)
        if there is None or bool(there.all()):
            states, last = self.layers(steps)
            there = None
        else:
            lengths = there.sum(dim=1).clamp(min=1).cpu()
            packed, last = self.layers(pack_padded_sequence(steps, lengths, batch_first=True, enforce_sorted=False))
            states, _ = pad_packed_sequence(packed, batch_first=True, total_length=x.shape[1])
        if self.each_step:
            return blank_beyond(self.answer(self.dropout(states)), there)
        last = last[0] if isinstance(last, tuple) else last
        ways = 2 if self.layers.bidirectional else 1
        ends = last[-ways:].transpose(0, 1).reshape(len(x), -1)
        peaks = states if there is None else states.masked_fill(~there[..., None], float("-inf"))
        peak = peaks.amax(dim=1)
        peak = peak.masked_fill(peak == float("-inf"), 0.0)  # of an empty row
        return self.answer(self.dropout(torch.cat([averaged(states, there), peak, ends], dim=1)))
