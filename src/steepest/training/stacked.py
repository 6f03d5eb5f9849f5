"""Many networks of one shape as one: their tensors lie stacked, and one computation answers for all lanes.

Layers that have a form for all lanes at once are written here (a linear layer is one batched product); a module without one
goes through `torch.func.vmap`. The tensors of each network stay its own: they are rows of the stacked ones, so that what
changes them (an optimizer, an average of weights) need not know of any of this.

Legend: N lanes, B rows, F inputs and H outputs of a layer, C channels.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor, nn
from torch.func import functional_call, vmap
from torch.nn import functional as F

from ..models.networks import Residual, SkipRows

Layer = Callable[[Tensor], Tensor]  # (N, B, ...) to (N, B, ...)

WIDE_FROM = 64  # inputs: below, one product for all lanes that share their rows took longer than N small ones
TAKEN_FROM = 2**16  # numbers of a gradient: from there on, handing N views of a new one out is faster than to copy it

ELEMENTWISE = (nn.ReLU, nn.GELU, nn.SiLU, nn.Tanh, nn.Sigmoid, nn.LeakyReLU, nn.ELU, nn.Softplus, nn.Identity)


class Stacked:
    """Networks of one shape whose parameters and buffers are rows of stacked tensors, from their making until `release`.

    Dropout draws each lane's numbers from a generator of its own, in the order in which the network alone would draw them.

    Args:
        models: the networks; N of them, made alike.
        seeds: what each lane draws its random numbers by.
    """

    def __init__(self, models: Sequence[nn.Module], seeds: Sequence[int]) -> None:
        self.models = list(models)
        device = next(models[0].parameters()).device
        self.generators = [torch.Generator(device).manual_seed(seed) for seed in seeds]
        self._stack()

    def __call__(self, x_NB: Tensor) -> Tensor:
        """Return what each network gives for its rows; rows that all share are expanded, with a stride of 0."""
        return self._forward(x_NB)

    def backward(self, total: Tensor) -> None:
        """Fill the gradients of every network's parameters with those of a sum over lanes."""
        kept, new = [], []
        for i, g in enumerate(torch.autograd.grad(total, self._leaves, allow_unused=True)):
            mine = self._grads[i]
            if g is None:
                continue  # it takes no part in the loss
            if mine is None or (g.numel() >= TAKEN_FROM and g.is_contiguous()):
                mine = self._grads[i] = g.contiguous()
                for row, place in zip(self._owners[i], mine.unbind(0), strict=True):
                    row.grad = place
            else:
                kept.append(mine)
                new.append(g)
        if kept:
            torch._foreach_copy_(kept, new)

    def forget_gradients(self) -> None:
        """Take notice that each network's gradients lie in memories of their own now."""
        self._grads = [None] * len(self._leaves)

    def keep(self, lanes: Sequence[int]) -> None:
        """Go on with these lanes only; the others' networks get memories of their own, with what they hold now."""
        for lane, model in enumerate(self.models):
            if lane not in lanes:
                _set_free(model)
        self.models = [self.models[lane] for lane in lanes]
        self.generators = [self.generators[lane] for lane in lanes]
        if lanes:
            self._stack()

    def penalty(self, l1: float, l2: float) -> Tensor | float:
        """Return the regularisers of each lane's weights, shape (N,)."""
        found: Tensor | float = 0.0
        for whole in self._leaves:
            if whole.ndim >= 3:
                found = found + l1 * whole.abs().flatten(1).sum(1) + l2 * whole.square().flatten(1).sum(1)
        return found

    def noise(self, like_NB: Tensor, keep: float) -> Tensor:
        """Return a mask of each lane's own, 0 or `1 / keep`."""
        drawn = torch.empty_like(like_NB, memory_format=torch.contiguous_format)
        for row, generator in zip(drawn.unbind(0), self.generators, strict=True):
            row.bernoulli_(keep, generator=generator)
        return drawn.div_(keep)

    def of(self, tensor: Tensor) -> Tensor:
        """Return the stacked tensor whose first row is this tensor of the first network."""
        return self._stacked[id(tensor)]

    def _stack(self) -> None:
        """Lay the tensors of all networks together."""
        self._stacked: dict[int, Tensor] = {}
        self._leaves: list[Tensor] = []
        self._owners: list[list[Tensor]] = []
        for rows in zip(*map(_tensors, self.models), strict=True):
            whole = torch.stack([row.detach() for row in rows])
            for row, place in zip(rows, whole.unbind(0), strict=True):
                row.data = place
            if rows[0].requires_grad:
                self._leaves.append(whole.requires_grad_())
                self._owners.append(list(rows))
            self._stacked[id(rows[0])] = whole
        self._grads: list[Tensor | None] = [None] * len(self._leaves)
        self._forward = layer_of(self.models[0], self)


def _tensors(model: nn.Module) -> Iterator[Tensor]:
    """Yield parameters and buffers, those that modules share once."""
    seen: set[int] = set()
    for tensor in (*model.parameters(), *model.buffers()):
        if id(tensor) not in seen:
            seen.add(id(tensor))
            yield tensor


def _set_free(model: nn.Module) -> None:
    for tensor in _tensors(model):
        tensor.data, tensor.grad = tensor.data.clone(), None


# -- layers -----------------------------------------------------------------------------------------------------------


def layer_of(module: nn.Module, stacked: Stacked) -> Layer:
    """Return a module of the first network as a function of all lanes."""
    kind = type(module)
    if kind in ELEMENTWISE:
        return module
    if kind in (nn.Sequential, Residual):
        return _in_turn([layer_of(child, stacked) for child in module], add=kind is Residual)  # type: ignore[attr-defined]
    make = _LAYERS.get(kind)
    made = make(module, stacked) if make is not None else None
    return made or _vmapped(module, stacked)


def _in_turn(layers: list[Layer], *, add: bool) -> Layer:
    def forward(x_NB: Tensor) -> Tensor:
        out = x_NB
        for layer in layers:
            out = layer(out)
        return x_NB + out if add else out

    return forward


def _linear(module: nn.Linear, stacked: Stacked) -> Layer:
    """Products stand the other way round, `W x^T`: so the gradient of the weights comes out as they lie, and is not copied."""
    weight_NHF = stacked.of(module.weight)
    bias_NH = stacked.of(module.bias) if module.bias is not None else None
    N, H, features = weight_NHF.shape

    def wide(x_BF: Tensor) -> Tensor:
        """Return the answer to rows that all lanes share: one product with all of their weights."""
        weight_KF, x_FB = weight_NHF.flatten(0, 1), x_BF.t()
        out_KB = weight_KF @ x_FB if bias_NH is None else torch.addmm(bias_NH.flatten()[:, None], weight_KF, x_FB)
        return out_KB.view(N, H, -1)

    def forward(x_NBF: Tensor) -> Tensor:
        rows = x_NBF if x_NBF.ndim == 3 else x_NBF.flatten(1, -2)
        if x_NBF.stride(0) == 0 and features >= WIDE_FROM:
            out_NHB = wide(rows[0])
        elif bias_NH is None:
            out_NHB = torch.bmm(weight_NHF, rows.transpose(1, 2))
        else:
            out_NHB = torch.baddbmm(bias_NH[:, :, None], weight_NHF, rows.transpose(1, 2))
        out = out_NHB.transpose(1, 2)
        return out if x_NBF.ndim == 3 else out.unflatten(1, x_NBF.shape[1:-1])

    return forward


def _flatten(module: nn.Flatten, stacked: Stacked) -> Layer | None:
    del stacked
    if module.start_dim < 1 or module.end_dim != -1:
        return None
    start = module.start_dim + 1
    return lambda x_NB: x_NB.flatten(start) if x_NB.ndim > start else x_NB


def _dropout(module: nn.Dropout, stacked: Stacked) -> Layer:
    def forward(x_NB: Tensor) -> Tensor:
        if not module.training or module.p == 0:
            return x_NB
        return x_NB * (stacked.noise(x_NB, 1 - module.p) if module.p < 1 else 0.0)

    return forward


def _skip_rows(module: SkipRows, stacked: Stacked) -> Layer:
    def forward(x_NB: Tensor) -> Tensor:
        if not module.training:
            return x_NB
        return x_NB * stacked.noise(x_NB.new_empty((*x_NB.shape[:2], *[1] * (x_NB.ndim - 2))), 1 - module.p)

    return forward


def _layer_norm(module: nn.LayerNorm, stacked: Stacked) -> Layer:
    scale = None if module.weight is None else stacked.of(module.weight)
    shift = None if module.bias is None else stacked.of(module.bias)

    def forward(x_NB: Tensor) -> Tensor:
        def spread(whole: Tensor) -> Tensor:
            return whole.reshape(len(whole), *[1] * (x_NB.ndim - whole.ndim), *whole.shape[1:])

        out = F.layer_norm(x_NB, module.normalized_shape, eps=module.eps)
        out = out if scale is None else out * spread(scale)
        return out if shift is None else out + spread(shift)

    return forward


def _batch_norm(module: nn.BatchNorm1d | nn.BatchNorm2d, stacked: Stacked) -> Layer | None:
    """Lanes stand where channels stand: those of one lane are never mixed with another's."""
    momentum = module.momentum
    if momentum is None:
        return None

    def of(tensor: Tensor | None) -> Tensor | None:
        return None if tensor is None else stacked.of(tensor)

    mean, var, count = of(module.running_mean), of(module.running_var), of(module.num_batches_tracked)
    scale, shift = of(module.weight), of(module.bias)

    def forward(x_NBC: Tensor) -> Tensor:
        N, B, C = x_NBC.shape[:3]
        if module.training and count is not None:
            count.add_(1)
        rows = x_NBC.transpose(0, 1).reshape(B, N * C, *x_NBC.shape[3:])
        mean_K, var_K, scale_K, shift_K = (None if t is None else t.view(N * C) for t in (mean, var, scale, shift))
        learns = module.training or mean is None
        out = F.batch_norm(rows, mean_K, var_K, scale_K, shift_K, learns, momentum, module.eps)
        return out.view(B, N, C, *x_NBC.shape[3:]).transpose(0, 1)

    return forward


def _vmapped(module: nn.Module, stacked: Stacked) -> Layer:
    """Return a module without a form of its own for all lanes."""
    named = {name: stacked.of(tensor) for name, tensor in (*module.named_parameters(), *module.named_buffers())}

    def one(tensors: dict[str, Tensor], x_B: Tensor) -> Tensor:
        return functional_call(module, tensors, (x_B,))

    run = vmap(one, randomness="different")
    return lambda x_NB: run(named, x_NB)


_LAYERS: dict[type[nn.Module], Callable[..., Layer | None]] = {
    nn.Linear: _linear,
    nn.Flatten: _flatten,
    nn.Dropout: _dropout,
    SkipRows: _skip_rows,
    nn.LayerNorm: _layer_norm,
    nn.BatchNorm1d: _batch_norm,
    nn.BatchNorm2d: _batch_norm,
}
