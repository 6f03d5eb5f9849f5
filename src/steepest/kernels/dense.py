"""Dense layers in C: all of a network's forward pass in one call, and all of its backward pass in another.

A small layer's products take ten microseconds, and torch's calls for what stands between them - a bias, a rectifier, a sum -
another ten each. Here they are loops beside the products, which the BLAS that torch itself brings makes, with torch's threads.
"""

from __future__ import annotations

import ctypes
import functools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from .compiler import CannotCompileError, load

SOURCE = """\
#include <math.h>
#include <stdint.h>

/* BLAS as Fortran calls it: matrices lie column by column, so ours, which lie row by row, are their transposes. */
typedef void Sgemm(const char *, const char *, const int *, const int *, const int *, const float *, const float *, const int *,
                   const float *, const int *, const float *, float *, const int *);

typedef struct {
    int64_t inputs, outputs, rectified;
    const float *weight, *bias;            /* (outputs, inputs), (outputs) */
    float *weight_gradient, *bias_gradient;
    float *gave, *back;                    /* (rows, outputs): what the layer gave, and what came back to it */
} Layer;

static const float one = 1, zero = 0;

/* h = f(x W^T + b), layer after layer. NaN stays NaN. */
void forward(Sgemm *sgemm, Layer *layers, int64_t num_layers, const float *x, int64_t num_rows)
{
    int rows = (int)num_rows;
    for (int64_t l = 0; l < num_layers; x = layers[l++].gave) {
        Layer *at = layers + l;
        int inputs = (int)at->inputs, outputs = (int)at->outputs;
        sgemm("T", "N", &outputs, &rows, &inputs, &one, at->weight, &inputs, x, &inputs, &zero, at->gave, &outputs);
        for (int r = 0; r < rows; r++) {
            float *z = at->gave + (int64_t)r * outputs;
            const float *bias = at->bias;
            if (at->rectified)
                for (int i = 0; i < outputs; i++) {
                    float v = z[i] + bias[i];
                    z[i] = v <= 0 ? 0 : v;
                }
            else
                for (int i = 0; i < outputs; i++)
                    z[i] += bias[i];
        }
    }
}

/* dW = dz^T x, db = sum dz, dx = dz W; dz = dh where h > 0. `back` came back to the last layer; that of x goes to `dx`,
   unless that is null. */
void backward(Sgemm *sgemm, Layer *layers, int64_t num_layers, const float *x, int64_t num_rows, const float *back, float *dx)
{
    int rows = (int)num_rows;
    for (int64_t l = num_layers; l--;) {
        Layer *at = layers + l;
        int inputs = (int)at->inputs, outputs = (int)at->outputs;
        const float *h = l ? layers[l - 1].gave : x;
        float *next = l ? layers[l - 1].back : dx, *sums = at->bias_gradient;
        for (int i = 0; i < outputs; i++)
            sums[i] = 0;
        for (int r = 0; r < rows; r++) {
            const float *dz = back + (int64_t)r * outputs;
            for (int i = 0; i < outputs; i++)
                sums[i] += dz[i];
        }
        sgemm("N", "T", &inputs, &outputs, &rows, &one, h, &inputs, back, &outputs, &zero, at->weight_gradient, &inputs);
        if (!next)
            continue;
        sgemm("N", "N", &inputs, &rows, &outputs, &one, at->weight, &inputs, back, &outputs, &zero, next, &inputs);
        if (l && layers[l - 1].rectified)
            for (int64_t i = 0; i < (int64_t)rows * inputs; i++)
                next[i] = h[i] <= 0 ? 0 : next[i];
        back = next;
    }
}

/* Mean of -log softmax(z)[target] over the rows; `back` becomes (softmax(z) - one_hot(target)) / rows. NaN for a class that is
   none, where torch says what is wrong. */
double cross_entropy(const float *z, const int64_t *targets, int64_t rows, int64_t classes, float *back)
{
    double loss = 0;
    for (int64_t r = 0; r < rows; r++, z += classes, back += classes) {
        float most = z[0], sum = 0;
        if (targets[r] < 0 || targets[r] >= classes)
            return NAN;
        for (int64_t c = 1; c < classes; c++)
            most = z[c] > most ? z[c] : most;
        for (int64_t c = 0; c < classes; c++)
            sum += back[c] = expf(z[c] - most);
        loss += logf(sum) + most - z[targets[r]];
        float share = 1 / (sum * rows);
        for (int64_t c = 0; c < classes; c++)
            back[c] *= share;
        back[targets[r]] -= 1.0f / rows;
    }
    return loss / rows;
}
"""
FIELDS = 9  # of a layer
INPUTS, OUTPUTS, RECTIFIED, WEIGHT, BIAS, WEIGHT_GRADIENT, BIAS_GRADIENT, GAVE, BACK = range(FIELDS)
MOST = 2**31 - 1  # a BLAS counts in 32 bits
LINES = 2  # dimensions of rows of numbers
FEW_OUTPUTS = 2**14  # of a batch; torch takes the exponential of more in vectors, and with all threads


@functools.cache
def _library() -> Any | None:
    """Return the compiled functions and torch's BLAS, or None where there is no compiler, or a torch that hides its BLAS."""
    try:
        blas = ctypes.CDLL(str(next(Path(torch.__file__).parent.glob("lib/libtorch_cpu.*"))))
        sgemm = ctypes.cast(blas.sgemm_, ctypes.c_void_p)
        found: Any = load(SOURCE)
    except (CannotCompileError, OSError, AttributeError, StopIteration):
        return None
    pointer, number = ctypes.c_void_p, ctypes.c_int64
    found.forward.argtypes = (pointer, pointer, number, pointer, number)
    found.backward.argtypes = (pointer, pointer, number, pointer, number, pointer, pointer)
    found.cross_entropy.argtypes = (pointer, pointer, number, number, pointer)
    found.forward.restype = found.backward.restype = None
    found.cross_entropy.restype = ctypes.c_double
    found.sgemm = sgemm
    return found


def cross_entropy(outputs: Tensor, targets: Tensor) -> tuple[Tensor, Tensor] | None:
    """Return the mean cross-entropy of outputs (rows, classes) and classes (rows), and its gradient by the outputs.

    None where C does not do it: no compiler, other shapes or numbers, many outputs, a class that is none, a loss that is NaN.
    """
    library = _library()
    if library is None or outputs.ndim != LINES or targets.shape != outputs.shape[:1] or not 0 < outputs.numel() <= FEW_OUTPUTS:
        return None
    if (outputs.dtype, targets.dtype, outputs.device.type) != (torch.float32, torch.int64, "cpu"):
        return None
    outputs, targets = outputs.contiguous(), targets.contiguous()
    back = torch.empty_like(outputs)
    loss = library.cross_entropy(outputs.data_ptr(), targets.data_ptr(), *outputs.shape, back.data_ptr())
    return None if loss != loss else (torch.tensor(loss, dtype=torch.float32), back)  # noqa: PLR0124


class DenseInC:
    """Dense layers in float32 on a CPU, each rectified or not, as one computation.

    Args:
        layers: for each the weight (outputs, inputs), the bias (outputs), and whether a rectifier follows.
    """

    def __init__(self, layers: Sequence[tuple[Tensor, Tensor, bool]]) -> None:
        self._c: Any = _library()
        self._layers = layers
        self._weights = [tensor for weight, bias, _ in layers for tensor in (weight, bias)]
        self._table = np.zeros((len(layers), FIELDS), dtype=np.int64)
        for row, (weight, _, rectified) in zip(self._table, layers, strict=True):
            row[[INPUTS, OUTPUTS, RECTIFIED]] = weight.shape[1], weight.shape[0], rectified
        self._hidden: list[Tensor] = []

    def __reduce__(self) -> tuple[type[DenseInC], tuple[Sequence[tuple[Tensor, Tensor, bool]]]]:
        return DenseInC, (self._layers,)  # a copy has memory of its own

    @classmethod
    def of(cls, layers: Sequence[tuple[Tensor, Tensor, bool]]) -> DenseInC | None:
        """Return these layers in C, or None where that cannot be."""
        weights = [tensor for weight, bias, _ in layers for tensor in (weight, bias)]
        fit = all(w.dtype == torch.float32 and w.device.type == "cpu" and w.is_contiguous() for w in weights)
        return cls(layers) if fit and all(0 < w.numel() <= MOST for w in weights) and _library() is not None else None

    def takes(self, x: Tensor) -> bool:
        """Return whether these inputs, shape (rows, inputs), can be read as they lie, and the weights too."""
        plain = x.dtype == torch.float32 and x.device.type == "cpu" and x.is_contiguous()
        fits = x.ndim == LINES and x.shape[1] == self._table[0, INPUTS] and 0 < x.numel() <= MOST
        return plain and fits and all(w.is_contiguous() for w in self._weights)

    def forward(self, x: Tensor) -> Tensor:
        """Return what the layers give, shape (rows, outputs of the last)."""
        rows, table = len(x), self._table
        self._make_room(rows)
        found = x.new_empty(rows, int(table[-1, OUTPUTS]))
        table[-1, GAVE] = found.data_ptr()
        table[:, [WEIGHT, BIAS]] = np.array([w.data_ptr() for w in self._weights]).reshape(-1, 2)
        self._c.forward(self._c.sgemm, table.ctypes.data, len(table), x.data_ptr(), rows)
        return found

    def backward(self, x: Tensor, back: Tensor, room: Sequence[Tensor], *, needed: bool) -> Tensor | None:
        """Write the gradients of weights and biases into `room`, in their order; return that of the inputs, if it is needed."""
        table, back = self._table, back.contiguous()
        dx = torch.empty_like(x) if needed else None
        table[:, [WEIGHT_GRADIENT, BIAS_GRADIENT]] = np.array([g.data_ptr() for g in room]).reshape(-1, 2)
        where = None if dx is None else dx.data_ptr()
        self._c.backward(self._c.sgemm, table.ctypes.data, len(table), x.data_ptr(), len(x), back.data_ptr(), where)
        return dx

    def _make_room(self, rows: int) -> None:
        """Have memory for what lies between the layers, on the way there and back; fewer rows use a part of it."""
        if self._hidden and len(self._hidden[0]) >= rows:
            return
        widths = [int(width) for width in self._table[:-1, OUTPUTS] for _ in range(2)]
        self._hidden = [torch.empty(rows, width) for width in widths] or [torch.empty(rows, 0)]
        if widths:
            self._table[:-1, [GAVE, BACK]] = np.array([h.data_ptr() for h in self._hidden]).reshape(-1, 2)
