"""How activations and gradients fare through many layers: `python -m benchmarks.depth` prints the table of docs/networks.md.

Scales are root mean squares: of the last hidden layer's activations relative to the first's, and of the loss's gradient at
the first relative to the last. 1 is kept; far below vanishes, far above explodes.
"""

from __future__ import annotations

from statistics import median

import torch
from torch import Tensor, nn

import steepest
from steepest.models.networks import Residual

WIDTH, ROWS, OUTPUTS = 64, 128, 10
DEPTHS = (2, 8, 16, 32, 64)
NETWORKS: dict[str, dict[str, object]] = {
    "tanh, torch's init": {"activation": "tanh", "init": "torch"},
    "ReLU, torch's init": {"init": "torch"},
    "tanh, he": {"activation": "tanh"},
    "ReLU, he": {},
    "GELU, he": {"activation": "gelu"},
    "SiLU, he": {"activation": "silu"},
    "tanh, orthogonal": {"activation": "tanh", "init": "orthogonal"},
    "ReLU, orthogonal": {"init": "orthogonal"},
    "ReLU, torch's init, layer norm": {"init": "torch", "norm": "layer"},
    "ReLU, he, batch norm": {"norm": "batch"},
    "ReLU, torch's init, residual": {"init": "torch", "residual": True},
    "ReLU, he, residual": {"residual": True},
    "SiLU, he, residual": {"activation": "silu", "residual": True},
    "ReLU, he, residual, layer norm": {"residual": True, "norm": "layer"},
    "ReLU, he, residual, batch norm": {"residual": True, "norm": "batch"},
}


def rms(x: Tensor) -> float:
    return float(x.detach().double().square().mean().sqrt())


def through(layers: list[nn.Module], x: Tensor) -> tuple[float, float]:
    """Return the last activation relative to the first and the first gradient relative to the last, layer after layer."""
    seen = []
    for layer in layers:
        x = layer(x)
        x.retain_grad()
        seen.append(x)
    x.flatten(1).matmul(torch.randn(x[0].numel(), OUTPUTS)).logsumexp(dim=1).mean().backward()
    first, last = seen[0], seen[-1]
    assert first.grad is not None
    assert last.grad is not None
    return rms(last) / rms(first), rms(first.grad) / max(rms(last.grad), 1e-300)


def hidden_layers(net: nn.Sequential) -> list[nn.Module]:
    """Return the hidden layers of an MLP, each one module: a linear layer and all that follows it, or a residual block."""
    found: list[nn.Module] = []
    for module in list(net)[1:-1]:
        if isinstance(module, nn.Linear | Residual):
            found.append(module)
        else:
            found[-1] = nn.Sequential(found[-1], module)
    return found


def scales(depth: int, options: dict[str, object], seeds: int = 5) -> tuple[float, float]:
    """Return both scales of an MLP of so many hidden layers, the median over seeds."""
    found = []
    for seed in range(seeds):
        torch.manual_seed(seed)
        net = steepest.mlp((WIDTH,) * depth, **options).build((WIDTH,), OUTPUTS)  # type: ignore[arg-type]
        assert isinstance(net, nn.Sequential)
        found.append(through(hidden_layers(net), torch.randn(ROWS, WIDTH)))
    return median(a for a, _ in found), median(g for _, g in found)


def shown(value: float) -> str:
    return f"{value:.2f}" if 0.01 <= value < 10 else f"{value:.0f}" if 10 <= value < 1000 else f"{value:.0e}"


def main() -> None:
    """Print the table."""
    print("| hidden layers | " + " | ".join(map(str, DEPTHS)) + " |\n" + "|---" * (len(DEPTHS) + 1) + "|")
    for name, options in NETWORKS.items():
        cells = [f"{shown(a)} / {shown(g)}" for a, g in (scales(depth, options) for depth in DEPTHS)]
        print(f"| {name} | " + " | ".join(cells) + " |")


if __name__ == "__main__":
    main()
