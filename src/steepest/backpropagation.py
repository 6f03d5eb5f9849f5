"""Backpropagation written out: the gradient of dense layers in a row, without a record of what was done.

Autograd records every operation and replays the record backwards. For small layers that costs more than the products: a
step of a perceptron 784-64-64-10 with 128 rows took 1.2 times as long (one core). Where a network ends in
`linear -> activation -> dropout -> ... -> linear`, what autograd would find is known beforehand:

    z = x W^T + b,   h = f(z)         forward
    dW = dz^T x,   db = sum dz,   dx = dz W,   dz = dh f'(z)         backward

What comes before these layers - a table's look-ups, say - is left to autograd, which is handed `dx`. In bfloat16 only the
products of large layers are rounded: those of small ones cost less than turning their numbers into others. Where all layers are
linear or rectifiers and none is rounded, C does it (`kernels/dense.py`), where there is a compiler.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from .kernels import DenseInC, cross_entropy
from .models.modes import Listeners
from .objectives import CrossEntropy, LossFunction, Objective

BACK = torch.ops.aten
# activation -> (what it gives, what goes back through it: of what came back, what went in, and what it gave)
ACTIVATIONS: dict[type[nn.Module], tuple[Callable[..., Tensor], Callable[..., Tensor]]] = {
    nn.ReLU: (torch.relu, lambda back, _, gave: BACK.threshold_backward(back, gave, 0)),
    nn.Tanh: (torch.tanh, lambda back, _, gave: BACK.tanh_backward(back, gave)),
    nn.GELU: (nn.functional.gelu, lambda back, went_in, _: BACK.gelu_backward(back, went_in)),
    nn.SiLU: (nn.functional.silu, lambda back, went_in, _: BACK.silu_backward(back, went_in)),
}
HALF = torch.bfloat16
HALF_PAYS = 20_000_000  # multiplications of a product, rows x inputs x outputs; of fewer, C in float32 was faster (AMD Zen 4)


@dataclass
class Dense:
    """The dense layers that a network ends in, and what comes before them."""

    model: nn.Sequential
    before: nn.Sequential
    layers: tuple[nn.Module, ...]
    objective: Objective
    loss: LossFunction
    half: bool = False  # whether large products are computed in bfloat16
    saved: list[Any] = field(default_factory=list)  # for each layer what the way back needs

    def __post_init__(self) -> None:
        self._weights = [p for layer in self.layers for p in layer.parameters()]
        self._others = list(self.before.parameters())
        self._begins = any(
            type(layer) is not nn.Flatten or layer.start_dim != 1 or layer.end_dim != -1 for layer in self.before
        )
        self.in_c = _in_c(self.layers)
        skipped = () if self._begins else self.before
        self._listened = Listeners((self.model, *skipped, *self.layers), self._weights)

    @property
    def free(self) -> bool:
        """Whether nobody listens to the layers, and all of them learn: only then they need not be called."""
        return not self._listened and all(p.requires_grad for p in self._weights)

    def rounds(self, rows: int) -> bool:
        """Whether a product of so many rows is computed in bfloat16."""
        return self.half and any(rounds(layer, rows) for layer in self.layers)

    def serves(self, model: nn.Module, objective: Objective, loss: LossFunction) -> bool:
        """Whether this is what a step asks for: these layers, free, and this very loss."""
        return self.model is model and self.objective is objective and self.loss is loss and self.free

    def outputs(self, x: Tensor) -> Tensor:
        """Return what the network gives, and keep what the way back needs."""
        for p in self._others:
            p.grad = None
        start = self.before(x) if self._begins else x.reshape(len(x), -1)
        with torch.no_grad():
            h, self.saved = start, [start]
            if self.in_c is not None and self.in_c.takes(start) and not self.rounds(len(start)):
                return self.in_c.forward(start)
            for layer in self.layers:
                h, kept = _forward(layer, h, self.half)
                self.saved.append(kept)
        return h

    def _backward_in_c(self, start: Tensor, back: Tensor) -> Tensor:
        assert self.in_c is not None
        for p in self._weights:
            if p.grad is not None and not (p.grad.is_contiguous() and p.grad.dtype == p.dtype):  # somebody else's
                p.grad = None
        found = self.in_c.backward(start, back, [_room(p) for p in self._weights], needed=start.requires_grad)
        return back if found is None else found

    def backward(self, back: Tensor) -> None:
        """Set the gradients of all weights, given that of the mean loss by the outputs."""
        start, *kept = self.saved
        if not kept:
            back = self._backward_in_c(start, back)
        with torch.no_grad():
            for place in range(len(kept) - 1, -1, -1):
                needed = place > 0 or start.requires_grad
                back = _backward(self.layers[place], back, kept[place], needed)
        if start.requires_grad:
            start.backward(back)
        self.saved = []


def dense_end(
    model: nn.Module, rows: tuple[Tensor, Tensor], objective: Objective, loss: LossFunction, *, half: bool = False
) -> Dense | None:
    """Return the dense layers that a network ends in, or None where they are not torch's own, plain ones in float32.

    `rows`, inputs and targets, are tried out: what comes before these layers must give lines of numbers (a norm counts them, if
    it is in training), and the loss must know nothing of the network but its outputs.
    With `half`, large products are rounded; then a network that learns before these layers is left to torch's autocast.
    """
    if type(model) is not nn.Sequential or not len(model) or type(model[-1]) is not nn.Linear or not _plain(model[-1]):
        return None
    layers = list(model)
    first = len(layers)
    while first and _plain(layers[first - 1]):
        first -= 1
    while type(layers[first]) is not nn.Linear:
        first += 1
    weights = [p for layer in layers[first:] for p in layer.parameters()]
    uses = [p for module in _each_use(model) for p in module._parameters.values() if p is not None]
    if len({id(p) for p in uses}) < len(uses) or any(p.dtype != torch.float32 for p in weights):
        return None  # a weight that is used twice has two gradients to be added
    before = nn.Sequential(*layers[:first])
    if half and any(True for _ in before.parameters()):
        return None
    with torch.no_grad():
        start = before(rows[0])
    if start.ndim != LINES or start.dtype != torch.float32 or _knows_more(loss, model, rows):
        return None
    return Dense(model, before, tuple(layers[first:]), objective, loss, half)


def _knows_more(loss: LossFunction, model: nn.Module, rows: tuple[Tensor, Tensor]) -> bool:
    """Return whether a loss has a gradient by more than the outputs it is given: weights that it penalises itself, say."""
    with torch.no_grad():
        outputs = model(rows[0])
    with torch.enable_grad():
        return loss(outputs, rows[1]).requires_grad


LINES = 2  # dimensions of lines of numbers: rows, features


def _each_use(model: nn.Module) -> Iterator[nn.Module]:
    """Yield every module as often as it stands in a network."""
    yield model
    for child in model._modules.values():
        if child is not None:
            yield from _each_use(child)


def _plain(layer: nn.Module) -> bool:
    if type(layer) is nn.Linear:
        return set(layer._parameters) == {"weight", "bias"} and layer.bias is not None and not layer._modules
    if type(layer) is nn.GELU and layer.approximate != "none":
        return False
    return type(layer) is nn.Dropout or type(layer) in ACTIVATIONS


def _in_c(layers: Sequence[nn.Module]) -> DenseInC | None:
    """Return layers that are linear or rectifiers as one computation in C, where there is one."""
    found: list[tuple[Tensor, Tensor, bool]] = []
    for layer in layers:
        if isinstance(layer, nn.Linear):
            found.append((layer.weight, layer.bias, False))
        elif type(layer) is nn.ReLU:
            found[-1] = (*found[-1][:2], True)  # twice is as good as once
        else:
            return None
    return DenseInC.of(found)


def rounds(layer: nn.Module, rows: int) -> bool:
    """Return whether a layer's products are so large that they are computed faster in bfloat16."""
    return isinstance(layer, nn.Linear) and rows * layer.weight.numel() >= HALF_PAYS


def _forward(layer: nn.Module, x: Tensor, half: bool) -> tuple[Tensor, Any]:
    """Return what a layer gives, and what its way back needs."""
    if isinstance(layer, nn.Linear):
        if half and rounds(layer, len(x)):
            x, weight = x.to(HALF), layer.weight.to(HALF)
            return torch.mm(x, weight.t()).float().add_(layer.bias), (x, weight)
        return torch.addmm(layer.bias, x, layer.weight.t()), x
    if isinstance(layer, nn.Dropout):
        if not layer.training or not layer.p:
            return x, None
        kept = torch.empty_like(x).bernoulli_(1 - layer.p).div_(1 - layer.p) if layer.p < 1 else torch.zeros_like(x)
        return x * kept, kept
    gave = ACTIVATIONS[type(layer)][0](x)
    return gave, (x, gave)


def _backward(layer: nn.Module, back: Tensor, kept: Any, needed: bool) -> Tensor:
    """Set a layer's gradients and return that of what went in, if it is needed."""
    if isinstance(layer, nn.Linear):
        torch.sum(back, dim=0, out=_room(layer.bias))
        if isinstance(kept, tuple):
            (x, weight), back = kept, back.to(HALF)
            _room(layer.weight).copy_(back.t() @ x)
            return (back @ weight).float() if needed else back
        torch.mm(back.t(), kept, out=_room(layer.weight))
        return back @ layer.weight if needed else back
    if isinstance(layer, nn.Dropout):
        return back if kept is None else back * kept
    return ACTIVATIONS[type(layer)][1](back, *kept)


def _room(p: Tensor) -> Tensor:
    """Return where a gradient is to be written: the memory of the last one, if there is one."""
    if p.grad is None:
        p.grad = torch.empty_like(p)
    return p.grad


def loss_and_gradient(objective: Objective, loss: LossFunction, outputs: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    """Return the mean loss of a batch and its gradient by the outputs, written out where the objective has it so."""
    with torch.no_grad():
        found = cross_entropy(outputs, targets) if isinstance(objective, CrossEntropy) and objective.counts_alike else None
        found = found or objective.written_out(outputs, targets)
    if found is not None:
        return found
    leaf = outputs.detach().requires_grad_()
    value = loss(leaf, targets)
    return value.detach(), torch.autograd.grad(value, leaf)[0]
