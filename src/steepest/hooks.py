"""Enters torch's wrapper around `step()` - hooks, a name in a profile - only when somebody observes it."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import torch
from torch.optim.optimizer import _global_optimizer_post_hooks, _global_optimizer_pre_hooks


def observable(step: Callable[..., Any]) -> Callable[..., Any]:
    """Have torch wrap `step(self, closure)` only when somebody observes it.

    Its wrapper opens a name in a profile at every step, whether there is a profiler or not, and that takes as long as to update
    some fifty small parameters. `hooked` tells torch that hooks are seen to.
    """
    observed = torch.optim.Optimizer.profile_hook_step(step)
    everywhere = _global_optimizer_pre_hooks, _global_optimizer_post_hooks

    @functools.wraps(step)
    def either(self: Any, *args: Any, **kwargs: Any) -> Any:
        hooks = (*everywhere, self._optimizer_step_pre_hooks, self._optimizer_step_post_hooks)
        if any(hooks) or torch.autograd._profiler_enabled():
            return observed(self, *args, **kwargs)
        return step(self, *args, **kwargs)

    either.hooked = True  # type: ignore[attr-defined]
    return either
