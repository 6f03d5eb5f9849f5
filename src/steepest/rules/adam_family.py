"""Adam and what is made of it, by name: each a chain of links, learning rate first, defaults as in torch.

`weight_decay` is the L2 penalty `u + wd p` before the rule, as in torch; decoupled (after the rule) in `adamw`, `lamb` and
`mars`, as in their papers, and with `decoupled_weight_decay`. `eps_mode` says where `eps` stands: `"outside"` the corrected
root, `"inside"` the root, or `"hat"`, outside the root before it is corrected (see `Moments`).
"""

from __future__ import annotations

import math

from ..errors import switch
from ..schedules import Schedule
from .core import Chain, Transform, chain, named
from .gradients import reduce_variance
from .layerwise import scale_by_trust_ratio
from .moments import scale_by_adam, scale_by_adamax, scale_by_amsgrad, scale_by_nadam, scale_by_radam
from .selftuning import scale_by_dadapt_adam, scale_by_prodigy
from .transforms import ALWAYS, decaying, scale_by_learning_rate


def _moments(amsgrad: bool, *numbers: float, bias_correction: bool = True, eps_mode: str) -> Transform:
    """Return the link of Adam or of AMSGrad."""
    switch("amsgrad", amsgrad)
    link = scale_by_amsgrad if amsgrad else scale_by_adam
    return link(*numbers, bias_correction=bias_correction, eps_mode=eps_mode)


def _decayed(
    core: Transform, lr: float, schedule: Schedule, weight_decay: float, decoupled: bool, exclude_vectors: bool = False
) -> Chain:
    switch("decoupled_weight_decay", decoupled)
    decay, rate = decaying(weight_decay, exclude_vectors), scale_by_learning_rate(lr, schedule)
    return chain(core, *decay, rate) if decoupled else chain(*decay, core, rate)


@named
def adam(
    lr: float = 1e-3,
    *,
    b1: float = 0.9,
    b2: float = 0.999,
    eps: float = 1e-8,
    eps_mode: str = "outside",
    bias_correction: bool = True,
    amsgrad: bool = False,
    weight_decay: float = 0.0,
    schedule: Schedule = ALWAYS,
) -> Chain:
    """Adam: a running mean over a running root mean square, both bias-corrected (Kingma, Ba, 2015, arXiv:1412.6980).

    >>> adam(0.003, bias_correction=False)
    adam(0.003, bias_correction=False)
    """
    core = _moments(amsgrad, b1, b2, eps, bias_correction=bias_correction, eps_mode=eps_mode)
    return _decayed(core, lr, schedule, weight_decay, decoupled=False)


@named
def adamw(
    lr: float = 1e-3,
    *,
    b1: float = 0.9,
    b2: float = 0.999,
    eps: float = 1e-8,
    eps_mode: str = "outside",
    amsgrad: bool = False,
    weight_decay: float = 1e-2,
    exclude_vectors: bool = False,
    schedule: Schedule = ALWAYS,
) -> Chain:
    """AdamW: Adam with decoupled weight decay, `p <- p - lr (adam + weight_decay p)` (Loshchilov, Hutter, 2019).

    `exclude_vectors` leaves biases and the scales of norms without decay, as is commonly done; they become a further group.

    >>> adamw(3e-4, weight_decay=0.1)
    adamw(0.0003, weight_decay=0.1)
    """
    return _decayed(_moments(amsgrad, b1, b2, eps, eps_mode=eps_mode), lr, schedule, weight_decay, True, exclude_vectors)


@named
def amsgrad(
    lr: float = 1e-3,
    *,
    b1: float = 0.9,
    b2: float = 0.999,
    eps: float = 1e-8,
    eps_mode: str = "outside",
    max_of_corrected: bool = False,
    weight_decay: float = 0.0,
    schedule: Schedule = ALWAYS,
) -> Chain:
    """AMSGrad: Adam over the largest mean square so far (Reddi, Kale, Kumar, 2018). torch: `Adam(amsgrad=True)`.

    `max_of_corrected` takes the largest of the bias-corrected ones, as optax does.

    >>> amsgrad(0.003)
    amsgrad(0.003)
    """
    core = scale_by_amsgrad(b1, b2, eps, max_of_corrected=max_of_corrected, eps_mode=eps_mode)
    return _decayed(core, lr, schedule, weight_decay, decoupled=False)


@named
def adamax(
    lr: float = 2e-3,
    *,
    b1: float = 0.9,
    b2: float = 0.999,
    eps: float = 1e-8,
    eps_mode: str = "inside",
    weight_decay: float = 0.0,
    schedule: Schedule = ALWAYS,
) -> Chain:
    """Adamax: Adam over the largest recent gradient (Kingma, Ba, 2015).

    `eps` stands inside the maximum, as in torch; `eps_mode="outside"` adds it to the divisor, as keras does.

    >>> adamax(0.002)
    adamax(0.002)
    """
    return _decayed(scale_by_adamax(b1, b2, eps, eps_mode=eps_mode), lr, schedule, weight_decay, decoupled=False)


@named
def nadam(
    lr: float = 2e-3,
    *,
    b1: float = 0.9,
    b2: float = 0.999,
    eps: float = 1e-8,
    eps_mode: str = "outside",
    momentum_decay: float | None = 4e-3,
    weight_decay: float = 0.0,
    decoupled_weight_decay: bool = False,
    schedule: Schedule = ALWAYS,
) -> Chain:
    """NAdam: Adam with Nesterov's look ahead (Dozat, 2016); the momentum warms up as in torch.

    `momentum_decay=None` keeps the momentum at `b1`, as optax does.

    >>> nadam(0.002)
    nadam(0.002)
    """
    core = scale_by_nadam(b1, b2, eps, momentum_decay, eps_mode=eps_mode)
    return _decayed(core, lr, schedule, weight_decay, decoupled_weight_decay)


@named
def radam(
    lr: float = 1e-3,
    *,
    b1: float = 0.9,
    b2: float = 0.999,
    eps: float = 1e-8,
    eps_mode: str = "hat",
    threshold: float = 5.0,
    weight_decay: float = 0.0,
    decoupled_weight_decay: bool = False,
    schedule: Schedule = ALWAYS,
) -> Chain:
    """RAdam: Adam that begins as a running mean, until its second moment is known (Liu et al., 2020).

    `eps` stands as in torch; `eps_mode="outside"` is optax's.

    >>> radam(0.001)
    radam(0.001)
    """
    core = scale_by_radam(b1, b2, eps, threshold, eps_mode=eps_mode)
    return _decayed(core, lr, schedule, weight_decay, decoupled_weight_decay)


@named
def lamb(
    lr: float = 1e-3,
    *,
    b1: float = 0.9,
    b2: float = 0.999,
    eps: float = 1e-6,
    weight_decay: float = 0.0,
    exclude_vectors: bool = False,
    schedule: Schedule = ALWAYS,
) -> Chain:
    """LAMB: AdamW's step, scaled to the size of each tensor's weights, for very large batches (You et al., 2020).

    `r = adam + weight_decay p; p <- p - lr |p| / |r| r`. `exclude_vectors` leaves biases and norms without the ratio and
    without decay, as is commonly done. Some codes clip gradients too: `chain(clip_global_norm(1.0), lamb())`.

    Source: arXiv:1904.00962.

    >>> lamb(0.01, weight_decay=0.01)
    lamb(0.01, weight_decay=0.01)
    """
    ratio = scale_by_trust_ratio(exclude_vectors=exclude_vectors)
    return chain(
        scale_by_adam(b1, b2, eps), *decaying(weight_decay, exclude_vectors), ratio, scale_by_learning_rate(lr, schedule)
    )


@named
def mars(
    lr: float = 3e-3,
    *,
    b1: float = 0.95,
    b2: float = 0.99,
    eps: float = 1e-8,
    gamma: float = 0.025,
    weight_decay: float = 0.0,
    exclude_vectors: bool = False,
    schedule: Schedule = ALWAYS,
) -> Chain:
    """MARS: AdamW over gradients that lean on how they changed (Yuan et al., 2024, arXiv:2411.10438).

    The authors give biases and norms to AdamW: `split(vectors=adamw(0.003, b2=0.95, weight_decay=0.1), rest=mars(0.003))`.

    >>> mars(0.003)
    mars(0.003)
    """
    return chain(
        reduce_variance(gamma, b1),
        scale_by_adam(b1, b2, eps),
        *decaying(weight_decay, exclude_vectors),
        scale_by_learning_rate(lr, schedule),
    )


@named
def prodigy(
    lr: float = 1.0,
    *,
    b1: float = 0.9,
    b2: float = 0.999,
    b3: float | None = None,
    eps: float = 1e-8,
    d0: float = 1e-6,
    d_coef: float = 1.0,
    growth_rate: float = math.inf,
    bias_correction: bool = False,
    safeguard_warmup: bool = False,
    weight_decay: float = 0.0,
    decoupled_weight_decay: bool = True,
    schedule: Schedule = ALWAYS,
) -> Chain:
    """Prodigy: AdamW that finds its learning rate (Mishchenko, Defazio, 2023, arXiv:2306.06101). Leave `lr` at 1.

    The authors advise a cosine schedule, and `safeguard_warmup` where it warms up; `d_coef` is what to tune.

    >>> prodigy(weight_decay=0.01)
    prodigy(weight_decay=0.01)
    """
    l2, decoupled = _either(weight_decay, decoupled_weight_decay)
    found = scale_by_prodigy(b1, b2, b3, eps, d0, d_coef, growth_rate, decoupled, bias_correction, safeguard_warmup)
    return chain(*decaying(l2), found, scale_by_learning_rate(lr, schedule))


@named
def dadapt_adam(
    lr: float = 1.0,
    *,
    b1: float = 0.9,
    b2: float = 0.999,
    eps: float = 1e-8,
    d0: float = 1e-6,
    growth_rate: float = math.inf,
    bias_correction: bool = False,
    weight_decay: float = 0.0,
    decoupled_weight_decay: bool = False,
    schedule: Schedule = ALWAYS,
) -> Chain:
    """D-Adaptation: Adam that finds its learning rate (Defazio, Mishchenko, 2023, arXiv:2301.07733). Leave `lr` at 1.

    >>> dadapt_adam(growth_rate=1.02)
    dadapt_adam(growth_rate=1.02)
    """
    l2, decoupled = _either(weight_decay, decoupled_weight_decay)
    return chain(*decaying(l2), scale_by_dadapt_adam(lr, schedule, b1, b2, eps, d0, growth_rate, decoupled, bias_correction))


def _either(weight_decay: float, decoupled: bool) -> tuple[float, float]:
    """Return the weight decay as an L2 penalty and as a decoupled one."""
    switch("decoupled_weight_decay", decoupled)
    return (0.0, weight_decay) if decoupled else (weight_decay, 0.0)
