"""steepest: find the cheapest way to train a network to a target, train it that way, and show the evidence.

Public names load on first use, so that `steepest --help` and argument errors never wait for torch or scikit-learn.
"""

from __future__ import annotations

import importlib
import logging
import sys
from typing import Any

__version__ = "0.1.0"


class _Aloud(logging.Handler):
    """Prints warnings on stderr, a line each, where nobody has set up logging."""

    def emit(self, record: logging.LogRecord) -> None:
        if not logging.getLogger().handlers:
            print(f"steepest: {record.getMessage()}", file=sys.stderr, flush=True)


logging.getLogger("steepest").addHandler(_Aloud(logging.WARNING))

# module -> the public names it holds
_PUBLIC = {
    "errors": ("InputError", "Interrupted", "MissingExtraError"),
    "rules": (
        "Rule", "adadelta", "adafactor", "adagrad", "adam", "adamax", "adamw", "adaptive_clip", "add_noise", "amsgrad",
        "asgd", "centralize_gradients", "chain", "clamp_weights", "clip_global_norm", "clip_value", "compensated",
        "dadapt_adam", "decay_weights", "ema", "ema_momentum", "ema_weights", "heavy_ball", "keep_state", "lamb", "lars",
        "lion", "lookahead", "mars", "maximize", "momentum", "muon", "nadam", "nesterov", "orthogonal", "prodigy",
        "proximal_l1", "radam", "reduce_variance", "rmsprop", "rprop", "scale_by_adadelta", "scale_by_adafactor",
        "scale_by_adagrad", "scale_by_adam", "scale_by_adamax", "scale_by_amsgrad", "scale_by_asgd", "scale_by_dadapt_adam",
        "scale_by_learning_rate", "scale_by_lion", "scale_by_nadam", "scale_by_prodigy", "scale_by_radam", "scale_by_rms",
        "scale_by_rprop", "scale_by_shampoo", "scale_by_soap", "scale_by_sophia", "scale_by_trust_ratio", "schedule_free",
        "schedule_free_adamw", "schedule_free_sgd", "sgd", "shampoo", "soap", "sophia", "split", "stochastic_rounding",
    ),
    "schedules": (
        "Schedule", "constant", "cosine", "exponential", "inverse_time", "linear", "one_cycle", "polynomial", "step_decay",
        "warmup_hold_cooldown",
    ),
    "data": (
        "Data", "arrays", "read_characters", "read_images", "read_series", "read_sounds", "read_table", "read_texts",
        "stream",
    ),
    "models": (
        "ModelSpec", "additive_model", "bag_of_words", "gru", "linear_model", "lstm", "mlp", "residual_cnn", "rnn",
        "text_cnn", "transformer",
    ),
    "models.cost": ("Cost", "cost"),
    "objectives": (
        "Objective", "binary_cross_entropy", "cross_entropy", "ctc", "focal", "huber", "mse", "pinball", "poisson",
    ),
    "augmentations": (
        "crop", "cutmix", "cutout", "flip", "jitter", "mask_frequencies", "mask_times", "mixup", "noise", "rotate", "scale",
        "shift", "swap",
    ),
    "downloads": ("download",),
    "reach": ("Reach",),
    "tasks": ("Task", "task"),
    "recipes": ("Recipe", "parse_recipe", "plateau"),
    "plans": ("Plan",),
    "optimizer": ("Optimizer",),
    "gradient": ("accumulated", "selective", "sharpness_aware"),
    "training.loop": ("EvaluationEvent", "StepEvent", "steps"),
    "training.lanes": ("Lanes", "prepare_lanes"),
    "training.choosing": ("choose_lanes",),
    "training.run": ("Run", "load_run"),
    "training.fitting": ("fit",),
    "training.finding": ("find_lr",),
    "training.verifying": ("ResumeReport", "verify_resume"),
    "assessment": ("cross_validate", "evaluate"),
    "diagnosis": ("doctor",),
    "racing.race": ("race",),
    "racing.ablation": ("Ablation", "ablate"),
    "racing.methods": ("methods",),
    "racing.result": ("Race",),
    "racing.spaces": ("Space",),
    "reporting.report": ("report",),
    "estimators": ("SteepestClassifier", "SteepestRegressor"),
}  # fmt: skip
_WHERE = {name: module for module, names in _PUBLIC.items() for name in names}

__all__ = list(_WHERE)  # pyright: ignore[reportUnsupportedDunderAll]


def __getattr__(name: str) -> Any:
    if name not in _WHERE:
        raise AttributeError(f"module 'steepest' has no attribute {name!r}")
    value = getattr(importlib.import_module(f".{_WHERE[name]}", __name__), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({"__version__", *_WHERE})
