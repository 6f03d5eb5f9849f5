"""The rules people know by name: each a chain of links, learning rate first, defaults as in torch.

Every function takes `lr` (> 0) and `schedule` (a `Schedule` that multiplies it). `weight_decay` is the L2 penalty `u + wd p`
before the rule where torch has it so, and decoupled (after the rule) in `lion` and `sophia`, as in their papers. Adam and what
is made of it stand in `adam_family`, rules for whole matrices in `matrix_family`. Where decay is decoupled, `exclude_vectors`
leaves biases and the scales of norms without it.
"""

from __future__ import annotations

from ..errors import switch
from ..schedules import Schedule
from .adam_family import adam, adamax, adamw, amsgrad, dadapt_adam, lamb, mars, nadam, prodigy, radam
from .adaptive import scale_by_adadelta, scale_by_adagrad, scale_by_lion, scale_by_rms, scale_by_rprop
from .averaging import schedule_free_adamw, schedule_free_sgd
from .core import Chain, Transform, chain, named
from .curvature import scale_by_sophia
from .layerwise import scale_by_trust_ratio
from .matrix_family import adafactor, muon, shampoo, soap
from .projections import scale_by_asgd
from .transforms import ALWAYS, decaying, ema, heavy_ball, scale_by_learning_rate


def _momentum(ball: tuple[Transform, ...], lr: float, schedule: Schedule, lr_inside: bool) -> tuple[Transform, ...]:
    """Return momentum and the learning rate in the order asked for; they differ while the learning rate changes."""
    switch("lr_inside", lr_inside)
    rate = scale_by_learning_rate(lr, schedule)
    return (rate, *ball) if lr_inside else (*ball, rate)


@named
def sgd(lr: float = 1e-3, *, weight_decay: float = 0.0, schedule: Schedule = ALWAYS) -> Chain:
    """Gradient descent: `p <- p - lr g`. Full batch, mini-batch and single sample differ only in the batch size.

    Source: Cauchy, 1847; Robbins, Monro, A Stochastic Approximation Method, 1951.

    >>> sgd(0.1)
    sgd(0.1)
    """
    return chain(*decaying(weight_decay), scale_by_learning_rate(lr, schedule))


@named
def momentum(
    lr: float = 1e-3,
    *,
    momentum: float = 0.9,
    dampening: float = 0.0,
    lr_inside: bool = False,
    weight_decay: float = 0.0,
    schedule: Schedule = ALWAYS,
) -> Chain:
    """Heavy-ball momentum: `B <- momentum B + g; p <- p - lr B` (Polyak, 1964). torch: `SGD(momentum=0.9)`.

    `lr_inside` accumulates `lr g` instead, as keras does: the same at a constant learning rate.

    >>> momentum(0.01, momentum=0.95)
    momentum(0.01, momentum=0.95)
    """
    return chain(*decaying(weight_decay), *_momentum((heavy_ball(momentum, dampening),), lr, schedule, lr_inside))


@named
def ema_momentum(lr: float = 1e-2, *, momentum: float = 0.9, weight_decay: float = 0.0, schedule: Schedule = ALWAYS) -> Chain:
    """Averaged gradients: `v <- momentum v + (1 - momentum) g; p <- p - lr v`.

    Equal to `momentum` at `1 / (1 - momentum)` times its learning rate (once the average has warmed up).

    >>> ema_momentum(0.1)
    ema_momentum(0.1)
    """
    return chain(*decaying(weight_decay), ema(momentum), scale_by_learning_rate(lr, schedule))


@named
def nesterov(
    lr: float = 1e-3,
    *,
    momentum: float = 0.9,
    lr_inside: bool = False,
    weight_decay: float = 0.0,
    schedule: Schedule = ALWAYS,
) -> Chain:
    """Nesterov momentum: `B <- momentum B + g; p <- p - lr (g + momentum B)` (Nesterov, 1983; Sutskever et al., 2013).

    >>> nesterov(0.01)
    nesterov(0.01)
    """
    return chain(*decaying(weight_decay), *_momentum((heavy_ball(momentum, nesterov=True),), lr, schedule, lr_inside))


@named
def adagrad(
    lr: float = 1e-2,
    *,
    eps: float = 1e-10,
    eps_mode: str = "outside",
    initial_accumulator_value: float = 0.0,
    weight_decay: float = 0.0,
    schedule: Schedule = ALWAYS,
) -> Chain:
    """Adagrad: `a <- a + g^2; p <- p - lr g / (sqrt(a) + eps)` (Duchi, Hazan, Singer, 2011).

    `eps_mode="inside"`, eps=1e-7 and initial_accumulator_value=0.1 are the conventions of optax and keras; torch's
    `lr_decay` is `schedule=inverse_time(lr_decay, steps=1)`.

    >>> adagrad(0.03)
    adagrad(0.03)
    """
    scaled = scale_by_adagrad(eps, initial_accumulator_value, eps_mode)
    return chain(*decaying(weight_decay), scaled, scale_by_learning_rate(lr, schedule))


@named
def adadelta(
    lr: float = 1.0, *, rho: float = 0.9, eps: float = 1e-6, weight_decay: float = 0.0, schedule: Schedule = ALWAYS
) -> Chain:
    """Adadelta: steps scaled by the running size of past steps; the paper's learning rate is 1 (Zeiler, 2012).

    >>> adadelta()
    adadelta()
    """
    return chain(*decaying(weight_decay), scale_by_adadelta(rho, eps), scale_by_learning_rate(lr, schedule))


@named
def rmsprop(
    lr: float = 1e-2,
    *,
    alpha: float = 0.99,
    eps: float = 1e-8,
    eps_mode: str = "outside",
    centered: bool = False,
    initial_accumulator_value: float = 0.0,
    momentum: float = 0.0,
    lr_inside: bool = False,
    weight_decay: float = 0.0,
    schedule: Schedule = ALWAYS,
) -> Chain:
    """RMSprop: `v <- alpha v + (1 - alpha) g^2; p <- p - lr g / (sqrt(v) + eps)` (Tieleman, Hinton, 2012).

    `centered` takes the running mean off first (Graves, 2013); `momentum` accumulates the scaled gradients, as in torch, or,
    with `lr_inside`, the steps, as in optax and keras, which also have `eps_mode="inside"`.

    >>> rmsprop(0.001, centered=True)
    rmsprop(0.001, centered=True)
    """
    ball = (heavy_ball(momentum),) if momentum else ()
    scaled = scale_by_rms(alpha, eps, centered, initial_accumulator_value, eps_mode)
    return chain(*decaying(weight_decay), scaled, *_momentum(ball, lr, schedule, lr_inside))


@named
def rprop(
    lr: float = 1e-2,
    *,
    etas: tuple[float, float] = (0.5, 1.2),
    step_sizes: tuple[float, float] = (1e-4, 5e3),
    schedule: Schedule = ALWAYS,
) -> Chain:
    """Rprop, for full batches: signs alone, each with a size that grows while the sign holds (Riedmiller, Braun, 1993).

    `step_sizes` bounds the sizes in units of the learning rate: torch's (1e-6, 50) are the default ones at its 0.01.

    >>> rprop(0.01)
    rprop(0.01)
    """
    return chain(scale_by_rprop(etas, step_sizes), scale_by_learning_rate(lr, schedule))


@named
def asgd(
    lr: float = 1e-2,
    *,
    lambd: float = 1e-4,
    alpha: float = 0.75,
    t0: float = 1e6,
    weight_decay: float = 0.0,
    schedule: Schedule = ALWAYS,
) -> Chain:
    """Averaged gradient descent: shrinking steps, and their average from step `t0` on (Polyak, Juditsky, 1992).

    `optimizer.eval()` puts the average in place, `optimizer.train()` takes it out.

    >>> asgd(0.01, t0=100)
    asgd(0.01, t0=100)
    """
    return chain(*decaying(weight_decay), scale_by_asgd(lambd, alpha, t0), scale_by_learning_rate(lr, schedule))


@named
def lion(
    lr: float = 1e-4,
    *,
    b1: float = 0.9,
    b2: float = 0.99,
    weight_decay: float = 0.0,
    exclude_vectors: bool = False,
    schedule: Schedule = ALWAYS,
) -> Chain:
    """Lion: the sign of an interpolated momentum (Chen et al., 2023, arXiv:2302.06675).

    The authors advise a learning rate 3 to 10 times smaller than AdamW's and a weight decay as many times larger.

    >>> lion(3e-4)
    lion(0.0003)
    """
    return chain(scale_by_lion(b1, b2), *decaying(weight_decay, exclude_vectors), scale_by_learning_rate(lr, schedule))


@named
def lars(
    lr: float = 1.0,
    *,
    momentum: float = 0.9,
    nesterov: bool = False,
    trust_coefficient: float = 1e-3,
    eps: float = 0.0,
    weight_decay: float = 0.0,
    exclude_vectors: bool = False,
    schedule: Schedule = ALWAYS,
) -> Chain:
    """LARS: momentum over steps in proportion to each tensor's weights, for very large batches (You et al., 2017).

    `r = trust_coefficient |p| / (|g + wd p| + eps); B <- momentum B + lr r (g + wd p); p <- p - B`, as in optax: the learning
    rate stands inside the momentum; the paper's ratio has `|g| + wd |p|` below. `exclude_vectors` leaves biases and norms
    without the ratio and without decay, as is commonly done.

    Source: arXiv:1708.03888.

    >>> lars(2.0, weight_decay=1e-4, exclude_vectors=True)
    lars(2.0, weight_decay=0.0001, exclude_vectors=True)
    """
    ratio = scale_by_trust_ratio(trust_coefficient, eps, exclude_vectors)
    ball = heavy_ball(momentum, nesterov=nesterov)
    return chain(*decaying(weight_decay, exclude_vectors), ratio, scale_by_learning_rate(lr, schedule), ball)


@named
def sophia(
    lr: float = 1e-3,
    *,
    b1: float = 0.96,
    b2: float = 0.99,
    gamma: float = 0.05,
    eps: float = 1e-12,
    estimator: str = "gauss_newton",
    bias_correction: bool = False,
    weight_decay: float = 0.1,
    exclude_vectors: bool = False,
    schedule: Schedule = ALWAYS,
) -> Chain:
    """Sophia: a running mean over an estimate of the curvature, clipped (Liu et al., 2023, arXiv:2305.14342).

    The curvature is observed every 10 steps or so, in gradients of their own: see `scale_by_sophia`.

    >>> sophia(1e-3)
    sophia(0.001)
    """
    scaled = scale_by_sophia(b1, b2, gamma, eps, estimator, bias_correction)
    return chain(scaled, *decaying(weight_decay, exclude_vectors), scale_by_learning_rate(lr, schedule))


# Every rule that goes by one name, in the order of its time.
CATALOGUE = {
    rule.__name__: rule
    for rule in (
        sgd, momentum, ema_momentum, nesterov, asgd, rprop, adagrad, adadelta, rmsprop, adam, adamax, nadam, lars, amsgrad,
        adamw, lamb, radam, dadapt_adam, lion, sophia, prodigy, muon, mars, shampoo, adafactor, soap,
        schedule_free_sgd, schedule_free_adamw,
    )
}  # fmt: skip
