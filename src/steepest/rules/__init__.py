"""Rules: the mathematics of one update, written once. This floor imports no torch."""

from .adam_family import adam, adamax, adamw, amsgrad, dadapt_adam, lamb, mars, nadam, prodigy, radam
from .adaptive import scale_by_adadelta, scale_by_adagrad, scale_by_lion, scale_by_rms, scale_by_rprop
from .averaging import ema_weights, lookahead, schedule_free, schedule_free_adamw, schedule_free_sgd
from .catalogue import (
    CATALOGUE,
    adadelta,
    adagrad,
    asgd,
    ema_momentum,
    lars,
    lion,
    momentum,
    nesterov,
    rmsprop,
    rprop,
    sgd,
    sophia,
)
from .core import KINDS, Chain, Link, Parameter, Projection, Rule, Slot, Split, Transform, chain, split
from .curvature import scale_by_sophia
from .gradients import adaptive_clip, add_noise, centralize_gradients, clip_global_norm, clip_value, maximize, reduce_variance
from .layerwise import scale_by_trust_ratio
from .matrices import orthogonal, scale_by_adafactor
from .matrix_family import adafactor, muon, shampoo, soap
from .moments import scale_by_adam, scale_by_adamax, scale_by_amsgrad, scale_by_nadam, scale_by_radam
from .precision import compensated, keep_state, stochastic_rounding
from .preconditioners import scale_by_shampoo, scale_by_soap
from .projections import clamp_weights, proximal_l1, scale_by_asgd
from .selftuning import scale_by_dadapt_adam, scale_by_prodigy
from .transforms import decay_weights, ema, heavy_ball, scale_by_learning_rate

__all__ = [
    "CATALOGUE",
    "KINDS",
    "Chain",
    "Link",
    "Parameter",
    "Projection",
    "Rule",
    "Slot",
    "Split",
    "Transform",
    "adadelta",
    "adafactor",
    "adagrad",
    "adam",
    "adamax",
    "adamw",
    "adaptive_clip",
    "add_noise",
    "amsgrad",
    "asgd",
    "centralize_gradients",
    "chain",
    "clamp_weights",
    "clip_global_norm",
    "clip_value",
    "compensated",
    "dadapt_adam",
    "decay_weights",
    "ema",
    "ema_momentum",
    "ema_weights",
    "heavy_ball",
    "keep_state",
    "lamb",
    "lars",
    "lion",
    "lookahead",
    "mars",
    "maximize",
    "momentum",
    "muon",
    "nadam",
    "nesterov",
    "orthogonal",
    "prodigy",
    "proximal_l1",
    "radam",
    "reduce_variance",
    "rmsprop",
    "rprop",
    "scale_by_adadelta",
    "scale_by_adafactor",
    "scale_by_adagrad",
    "scale_by_adam",
    "scale_by_adamax",
    "scale_by_amsgrad",
    "scale_by_asgd",
    "scale_by_dadapt_adam",
    "scale_by_learning_rate",
    "scale_by_lion",
    "scale_by_nadam",
    "scale_by_prodigy",
    "scale_by_radam",
    "scale_by_rms",
    "scale_by_rprop",
    "scale_by_shampoo",
    "scale_by_soap",
    "scale_by_sophia",
    "scale_by_trust_ratio",
    "schedule_free",
    "schedule_free_adamw",
    "schedule_free_sgd",
    "sgd",
    "shampoo",
    "soap",
    "sophia",
    "split",
    "stochastic_rounding",
]
