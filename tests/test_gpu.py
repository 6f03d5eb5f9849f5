"""Everything that needs a CUDA device, in one call: `make test-gpu`."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

import steepest

pytestmark = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")]

RULES = [
    steepest.sgd(0.1),
    steepest.momentum(0.05),
    steepest.nesterov(0.05),
    steepest.ema_momentum(0.1),
    steepest.adagrad(0.1),
    steepest.adadelta(),
    steepest.rmsprop(0.01, centered=True),
    steepest.adam(0.01),
    steepest.adamw(0.01),
    steepest.lion(0.01),
    steepest.chain(steepest.clip_global_norm(0.5), steepest.adamw(0.01)),
    steepest.muon(0.02, dtype="float32"),
]


@pytest.mark.parametrize("execution", ["fused", "eager"])
@pytest.mark.parametrize("rule", RULES, ids=str)
def test_a_rule_takes_the_same_steps_on_the_gpu(rule: steepest.Rule, execution: str, force: Callable[[str], None]) -> None:
    force(execution)
    results = []
    for device in ("cpu", "cuda"):
        generator = torch.Generator().manual_seed(0)
        start = torch.randn(6, 5, generator=generator, dtype=torch.float64)
        p = start.to(device).requires_grad_()
        optimizer = steepest.Optimizer([p], rule)
        for _ in range(20):
            p.grad = torch.randn(6, 5, generator=generator, dtype=torch.float64).to(device)
            optimizer.step()
        results.append(p.detach().cpu())
    tolerance = 1e-5 if "muon" in str(rule) else 1e-10
    torch.testing.assert_close(*results, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("name", ["digits", "wine", "diabetes"])
def test_fit_uses_the_gpu_and_learns_as_on_the_cpu(name: str) -> None:
    runs = [steepest.fit(name, device=device, record=False) for device in ("cuda", "cpu")]
    assert next(runs[0].model.parameters()).is_cuda
    metric = "r2" if name == "diabetes" else "accuracy"
    assert runs[0].metrics[metric] == pytest.approx(runs[1].metrics[metric], abs=0.05)
    assert steepest.evaluate(runs[0]).rows == steepest.evaluate(runs[1]).rows


def test_a_run_from_the_gpu_comes_back_on_the_cpu() -> None:
    run = steepest.fit("iris", device="cuda")
    assert steepest.load_run(str(run.id)).metrics == run.metrics


def test_a_race_on_the_gpu() -> None:
    race = steepest.race("iris", ["adam(0.01)", "momentum(0.05)"], seeds=1, epochs=20, device="cuda", record=False)
    assert race.facts["processes"] == 1
    assert race.reached
