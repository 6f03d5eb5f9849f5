"""Settings of the whole process that a plan names - torch's threads, tf32 - held while a training runs, then given back."""

from __future__ import annotations

import torch

from ..plans import TF32, Plan


class Conditions:
    """The settings of a plan: `hold()` before each step, because trainings may take turns; `release()` at the end.

    Holding what is held already takes 0.2 microseconds.
    """

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self._threads, self._products = torch.get_num_threads(), torch.get_float32_matmul_precision()

    def hold(self) -> None:
        """Have torch work as the plan says."""
        if self.plan.threads is not None:
            torch.set_num_threads(self.plan.threads)
        if self.plan.precision == TF32:
            torch.set_float32_matmul_precision("high")

    def release(self) -> None:
        """Have torch work as it did before."""
        if self.plan.threads is not None:
            torch.set_num_threads(self._threads)
        if self.plan.precision == TF32:
            torch.set_float32_matmul_precision(self._products)
