"""The rules people know by name: each a chain of links, learning rate first, defaults as in torch.

Every function takes `lr` (> 0) and `schedule` (a `Schedule` that multiplies it). `weight_decay` is the L2 penalty `u + wd p`
before the rule where torch has it so, and decoupled (after the rule) in `adamw`, `lion` and the rules for matrices.
"""

from __future__ import annotations

from ..errors import at_least
from ..schedules import Schedule
from .adaptive import scale_by_adadelta, scale_by_adagrad, scale_by_lion, scale_by_rms
from .core import Chain, Rule, chain, named
from .matrices import orthogonal, scale_by_adafactor
from .moments import scale_by_adam, scale_by_adamax, scale_by_amsgrad, scale_by_nadam, scale_by_radam
from .preconditioners import scale_by_shampoo, scale_by_soap
from .transforms import ALWAYS, decay_weights, ema, heavy_ball, scale_by_learning_rate


def _decay(weight_decay: float) -> tuple[Rule, ...]:
    at_least("weight_decay", weight_decay, 0)
    return (decay_weights(weight_decay),) if weight_decay else ()


@named
def sgd(lr: float = 1e-3, *, weight_decay: float = 0.0, schedule: Schedule = ALWAYS) -> Chain:
    """Gradient descent: `p <- p - lr g`. Full batch, mini-batch and single sample differ only in the batch size.

    Source: Cauchy, 1847; Robbins, Monro, A Stochastic Approximation Method, 1951.

    >>> sgd(0.1)
    sgd(0.1)
    """
    return chain(*_decay(weight_decay), scale_by_learning_rate(lr, schedule))


@named
def momentum(
    lr: float = 1e-3,
    *,
    momentum: float = 0.9,
    dampening: float = 0.0,
    weight_decay: float = 0.0,
    schedule: Schedule = ALWAYS,
) -> Chain:
    """Heavy-ball momentum: `B <- momentum B + g; p <- p - lr B` (Polyak, 1964). torch: `SGD(momentum=0.9)`.

    >>> momentum(0.01, momentum=0.95)
    momentum(0.01, momentum=0.95)
    """
    return chain(*_decay(weight_decay), heavy_ball(momentum, dampening), scale_by_learning_rate(lr, schedule))


@named
def ema_momentum(lr: float = 1e-2, *, momentum: float = 0.9, weight_decay: float = 0.0, schedule: Schedule = ALWAYS) -> Chain:
    """Averaged gradients: `v <- momentum v + (1 - momentum) g; p <- p - lr v`.

    Equal to `momentum` at `1 / (1 - momentum)` times its learning rate (once the average has warmed up).

    >>> ema_momentum(0.1)
    ema_momentum(0.1)
    """
    return chain(*_decay(weight_decay), ema(momentum), scale_by_learning_rate(lr, schedule))


@named
def nesterov(lr: float = 1e-3, *, momentum: float = 0.9, weight_decay: float = 0.0, schedule: Schedule = ALWAYS) -> Chain:
    """Nesterov momentum: `B <- momentum B + g; p <- p - lr (g + momentum B)` (Nesterov, 1983; Sutskever et al., 2013).

    >>> nesterov(0.01)
    nesterov(0.01)
    """
    return chain(*_decay(weight_decay), heavy_ball(momentum, nesterov=True), scale_by_learning_rate(lr, schedule))


@named
def adagrad(
    lr: float = 1e-2,
    *,
    eps: float = 1e-10,
    initial_accumulator_value: float = 0.0,
    weight_decay: float = 0.0,
    schedule: Schedule = ALWAYS,
) -> Chain:
    """Adagrad: `a <- a + g^2; p <- p - lr g / (sqrt(a) + eps)` (Duchi, Hazan, Singer, 2011).

    >>> adagrad(0.03)
    adagrad(0.03)
    """
    return chain(*_decay(weight_decay), scale_by_adagrad(eps, initial_accumulator_value), scale_by_learning_rate(lr, schedule))


@named
def adadelta(
    lr: float = 1.0, *, rho: float = 0.9, eps: float = 1e-6, weight_decay: float = 0.0, schedule: Schedule = ALWAYS
) -> Chain:
    """Adadelta: steps scaled by the running size of past steps; the paper's learning rate is 1 (Zeiler, 2012).

    >>> adadelta()
    adadelta()
    """
    return chain(*_decay(weight_decay), scale_by_adadelta(rho, eps), scale_by_learning_rate(lr, schedule))


@named
def rmsprop(
    lr: float = 1e-2,
    *,
    alpha: float = 0.99,
    eps: float = 1e-8,
    centered: bool = False,
    momentum: float = 0.0,
    weight_decay: float = 0.0,
    schedule: Schedule = ALWAYS,
) -> Chain:
    """RMSprop: `v <- alpha v + (1 - alpha) g^2; p <- p - lr g / (sqrt(v) + eps)` (Tieleman, Hinton, 2012).

    `centered` takes the running mean off first (Graves, 2013); `momentum` accumulates the scaled gradients, as in torch.

    >>> rmsprop(0.001, centered=True)
    rmsprop(0.001, centered=True)
    """
    ball = (heavy_ball(momentum),) if momentum else ()
    return chain(*_decay(weight_decay), scale_by_rms(alpha, eps, centered), *ball, scale_by_learning_rate(lr, schedule))


@named
def adam(
    lr: float = 1e-3,
    *,
    b1: float = 0.9,
    b2: float = 0.999,
    eps: float = 1e-8,
    bias_correction: bool = True,
    weight_decay: float = 0.0,
    schedule: Schedule = ALWAYS,
) -> Chain:
    """Adam: a running mean over a running root mean square, both bias-corrected (Kingma, Ba, 2015, arXiv:1412.6980).

    >>> adam(0.003, bias_correction=False)
    adam(0.003, bias_correction=False)
    """
    return chain(*_decay(weight_decay), scale_by_adam(b1, b2, eps, bias_correction), scale_by_learning_rate(lr, schedule))


@named
def adamw(
    lr: float = 1e-3,
    *,
    b1: float = 0.9,
    b2: float = 0.999,
    eps: float = 1e-8,
    weight_decay: float = 1e-2,
    schedule: Schedule = ALWAYS,
) -> Chain:
    """AdamW: Adam with decoupled weight decay, `p <- p - lr (adam + weight_decay p)` (Loshchilov, Hutter, 2019).

    >>> adamw(3e-4, weight_decay=0.1)
    adamw(0.0003, weight_decay=0.1)
    """
    return chain(scale_by_adam(b1, b2, eps), *_decay(weight_decay), scale_by_learning_rate(lr, schedule))


@named
def amsgrad(
    lr: float = 1e-3,
    *,
    b1: float = 0.9,
    b2: float = 0.999,
    eps: float = 1e-8,
    weight_decay: float = 0.0,
    schedule: Schedule = ALWAYS,
) -> Chain:
    """AMSGrad: Adam over the largest mean square so far (Reddi, Kale, Kumar, 2018). torch: `Adam(amsgrad=True)`.

    >>> amsgrad(0.003)
    amsgrad(0.003)
    """
    return chain(*_decay(weight_decay), scale_by_amsgrad(b1, b2, eps), scale_by_learning_rate(lr, schedule))


@named
def adamax(
    lr: float = 2e-3,
    *,
    b1: float = 0.9,
    b2: float = 0.999,
    eps: float = 1e-8,
    weight_decay: float = 0.0,
    schedule: Schedule = ALWAYS,
) -> Chain:
    """Adamax: Adam over the largest recent gradient (Kingma, Ba, 2015).

    >>> adamax(0.002)
    adamax(0.002)
    """
    return chain(*_decay(weight_decay), scale_by_adamax(b1, b2, eps), scale_by_learning_rate(lr, schedule))


@named
def nadam(
    lr: float = 2e-3,
    *,
    b1: float = 0.9,
    b2: float = 0.999,
    eps: float = 1e-8,
    momentum_decay: float = 4e-3,
    weight_decay: float = 0.0,
    schedule: Schedule = ALWAYS,
) -> Chain:
    """NAdam: Adam with Nesterov's look ahead (Dozat, 2016); the momentum warms up as in torch.

    >>> nadam(0.002)
    nadam(0.002)
    """
    return chain(*_decay(weight_decay), scale_by_nadam(b1, b2, eps, momentum_decay), scale_by_learning_rate(lr, schedule))


@named
def radam(
    lr: float = 1e-3,
    *,
    b1: float = 0.9,
    b2: float = 0.999,
    eps: float = 1e-8,
    weight_decay: float = 0.0,
    schedule: Schedule = ALWAYS,
) -> Chain:
    """RAdam: Adam that begins as a running mean, until its second moment is known (Liu et al., 2020).

    >>> radam(0.001)
    radam(0.001)
    """
    return chain(*_decay(weight_decay), scale_by_radam(b1, b2, eps), scale_by_learning_rate(lr, schedule))


@named
def lion(
    lr: float = 1e-4, *, b1: float = 0.9, b2: float = 0.99, weight_decay: float = 0.0, schedule: Schedule = ALWAYS
) -> Chain:
    """Lion: the sign of an interpolated momentum (Chen et al., 2023, arXiv:2302.06675).

    The authors advise a learning rate 3 to 10 times smaller than AdamW's and a weight decay as many times larger.

    >>> lion(3e-4)
    lion(0.0003)
    """
    return chain(scale_by_lion(b1, b2), *_decay(weight_decay), scale_by_learning_rate(lr, schedule))


@named
def muon(
    lr: float = 1e-3,
    *,
    momentum: float = 0.95,
    nesterov: bool = True,
    steps: int = 5,
    adjust: str = "original",
    coefficients: str | tuple[float, float, float] = "newton_schulz",
    dtype: str | None = None,
    weight_decay: float = 0.1,
    schedule: Schedule = ALWAYS,
) -> Chain:
    """Muon, for matrices: momentum, orthogonalised by Newton-Schulz iteration (Jordan et al., 2024).

    `coefficients="polar_express"` chooses each step's polynomial anew (Amsel et al., 2025).
    Biases, norms, embeddings and the like need another rule: `split(matrices=muon(0.02), rest=adamw(3e-4))`.

    >>> muon(0.02)
    muon(0.02)
    """
    return chain(
        ema(momentum, nesterov),
        orthogonal(steps=steps, adjust=adjust, coefficients=coefficients, dtype=dtype),
        *_decay(weight_decay),
        scale_by_learning_rate(lr, schedule),
    )


@named
def shampoo(
    lr: float = 0.1,
    *,
    momentum: float = 0.0,
    beta: float | None = None,
    eps: float = 1e-4,
    every: int = 1,
    graft: str | None = None,
    max_dimension: int = 1024,
    weight_decay: float = 0.0,
    schedule: Schedule = ALWAYS,
) -> Chain:
    """Shampoo: `L^(-1/4) G R^(-1/4)`, with sums of `G G^T` and `G^T G` (Gupta, Koren, Singer, 2018, arXiv:1802.09568).

    With `beta=0.95, every=10, graft="adam"` it takes Adam's learning rates; see `scale_by_shampoo` for the options.

    >>> shampoo(3e-3, beta=0.95, every=10, graft="adam")
    shampoo(0.003, beta=0.95, every=10, graft='adam')
    """
    ball = (heavy_ball(momentum),) if momentum else ()
    scaled = scale_by_shampoo(beta, eps, every, graft, max_dimension)
    return chain(scaled, *ball, *_decay(weight_decay), scale_by_learning_rate(lr, schedule))


@named
def soap(
    lr: float = 3e-3,
    *,
    b1: float = 0.95,
    b2: float = 0.95,
    eps: float = 1e-8,
    every: int = 10,
    max_dimension: int = 10_000,
    weight_decay: float = 0.01,
    schedule: Schedule = ALWAYS,
) -> Chain:
    """SOAP: Adam in the eigenbases of Shampoo's preconditioners (Vyas et al., 2024, arXiv:2409.11321).

    The first step only prepares. Each weight matrix keeps four square ones: sides beyond `max_dimension` are left alone.

    >>> soap(0.003, every=5)
    soap(0.003, every=5)
    """
    scaled = scale_by_soap(b1, b2, eps, every, max_dimension=max_dimension)
    return chain(scaled, *_decay(weight_decay), scale_by_learning_rate(lr, schedule))


@named
def adafactor(
    lr: float = 1e-2,
    *,
    beta2_decay: float = -0.8,
    eps: tuple[float | None, float] = (None, 1e-3),
    d: float = 1.0,
    weight_decay: float = 0.0,
    schedule: Schedule = ALWAYS,
) -> Chain:
    """Adafactor: second moments kept as a row and a column, steps as large as their parameter (Shazeer, Stern, 2018).

    >>> adafactor(0.02)
    adafactor(0.02)
    """
    return chain(scale_by_adafactor(beta2_decay, eps, d), *_decay(weight_decay), scale_by_learning_rate(lr, schedule))


# Every rule that goes by one name, in the order of its time.
CATALOGUE = {
    rule.__name__: rule
    for rule in (
        sgd, momentum, ema_momentum, nesterov, adagrad, adadelta, rmsprop,
        adam, adamax, nadam, amsgrad, adamw, radam, lion, muon,
        shampoo, adafactor, soap,
    )
}  # fmt: skip
