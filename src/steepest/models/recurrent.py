"""Recurrent networks in plain torch, which never read the padding of rows of unequal length."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from ..forms import Form
from .heads import Reader, averaged, blank_beyond

CELLS: dict[str, type[nn.RNNBase]] = {"rnn": nn.RNN, "lstm": nn.LSTM, "gru": nn.GRU}
READ: dict[str, Callable[..., Any]] = {"RNN_TANH": torch.rnn_tanh, "LSTM": torch.lstm, "GRU": torch.gru}  # one layer, one way


class Recurrent(nn.Module):
    """`read -> recurrent layers -> dropout -> linear`; the linear layer reads the mean, the peak and the last of the states.

    Shapes: (B, T) tokens or (B, T, features) to (B, outputs); where each step is answered, to (B, T, outputs).
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
        self.reader = Reader(form, embedding, ngrams, buckets, dropout)
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
            states, there = self.layers(steps)[0], None
            lengths = torch.full((len(x),), x.shape[1], device=x.device)
        else:
            lengths = there.sum(dim=1).clamp(min=1)  # of an empty row, one step of zeros
            states = self._packed(steps, lengths) if steps.is_cuda else self._padded(steps, lengths)
        if self.each_step:
            return blank_beyond(self.answer(self.dropout(states)), there)
        width = self.layers.hidden_size
        rows = torch.arange(len(x), device=x.device)
        ends = torch.cat([states[rows, lengths - 1, :width], states[:, 0, width:]], dim=1)  # where each direction has read all
        peaks = states if there is None else states.masked_fill(~there[..., None], float("-inf"))
        peak = peaks.amax(dim=1)
        peak = peak.masked_fill(peak == float("-inf"), 0.0)  # of an empty row
        return self.answer(self.dropout(torch.cat([averaged(states, there), peak, ends], dim=1)))

    def _packed(self, steps_BTD: Tensor, lengths_B: Tensor) -> Tensor:
        """Return the states at every step of rows that end in padding, by torch's packed rows."""
        packed, _ = self.layers(pack_padded_sequence(steps_BTD, lengths_B.cpu(), batch_first=True, enforce_sorted=False))
        return pad_packed_sequence(packed, batch_first=True, total_length=steps_BTD.shape[1])[0]

    def _padded(self, steps_BTD: Tensor, lengths_B: Tensor) -> Tensor:
        """Return what `_packed` does, layer by layer and way by way; rows are turned round within their length for one way.

        On a CPU the pass backward over packed rows takes four times as long (32 rows of up to 425 steps, 128 units, both ways).
        On a device these calls would have cuDNN gather its weights anew each time.
        """
        at = torch.arange(steps_BTD.shape[1], device=steps_BTD.device)
        last_B1 = lengths_B[:, None] - 1
        turned_BT1 = torch.where(at <= last_B1, last_B1 - at, at)[..., None]
        for layer in range(self.layers.num_layers):
            if layer:
                steps_BTD = nn.functional.dropout(steps_BTD, self.layers.dropout, self.training)
            ways = [self._way(steps_BTD, f"l{layer}")]
            if self.layers.bidirectional:
                back = self._way(steps_BTD.take_along_dim(turned_BT1, dim=1), f"l{layer}_reverse")
                ways.append(back.take_along_dim(turned_BT1, dim=1))
            steps_BTD = torch.cat(ways, dim=2)
        return steps_BTD

    def _way(self, steps_BTD: Tensor, layer: str) -> Tensor:
        """Return the states of one layer that reads in one direction."""
        weights = [getattr(self.layers, f"{name}_{layer}") for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")]
        begin = steps_BTD.new_zeros(1, len(steps_BTD), self.layers.hidden_size)
        function, given = READ[self.layers.mode], (begin, begin) if self.layers.mode == "LSTM" else begin
        return function(steps_BTD, given, weights, True, 1, 0.0, self.training, False, True)[0]
