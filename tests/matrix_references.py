"""Published formulas in NumPy, for rules that no other library is there to be compared with. They share no code with ours."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy import ndarray

# Amsel, Persson, Musco, Gower, The Polar Express, 2025, arXiv:2505.16932, algorithm 1.
POLAR_EXPRESS = """
8.28721201814563 -23.595886519098837 17.300387312530933
4.107059111542203 -2.9478499167379106 0.5448431082926601
3.9486908534822946 -2.908902115962949 0.5518191394370137
3.3184196573706015 -2.488488024314874 0.51004894012372
2.300652019954817 -1.6689039845747493 0.4188073119525673
1.891301407787398 -1.2679958271945868 0.37680408948524835
1.8750014808534479 -1.2500016453999487 0.3750001645474248
"""


def polar_express(matrix: ndarray, steps: int) -> ndarray:
    """Apply the table's polynomials to the singular values, each of its argument over 1.01 but for the last that repeats."""
    u, singular, vt = np.linalg.svd(matrix, full_matrices=False)
    singular = singular / (np.linalg.norm(matrix) * 1.01)
    table = [tuple(map(float, line.split())) for line in POLAR_EXPRESS.strip().splitlines()]
    for i in range(steps):
        x, (a, b, c) = (singular / 1.01, table[i]) if i < len(table) else (singular, (1.875, -1.25, 0.375))
        singular = a * x + b * x**3 + c * x**5
    return (u * singular) @ vt


def newton_schulz(matrix: ndarray, steps: int) -> ndarray:
    """Muon's iteration (Jordan, 2024), on the singular values."""
    u, singular, vt = np.linalg.svd(matrix, full_matrices=False)
    singular = singular / np.linalg.norm(matrix)
    for _ in range(steps):
        singular = 3.4445 * singular - 4.7750 * singular**3 + 2.0315 * singular**5
    return (u * singular) @ vt


def power(matrix: ndarray, exponent: float) -> ndarray:
    values, vectors = np.linalg.eigh(matrix)
    return vectors @ np.diag(values**exponent) @ vectors.T


class Shampoo:
    """Gupta, Koren, Singer, 2018, arXiv:1802.09568, algorithm 1, which starts from `eps I`."""

    def __init__(self, w: ndarray, lr: float, eps: float, every: int = 1, sides: str = "both") -> None:
        self.w, self.lr, self.every, self.sides, self.t = w.copy(), lr, every, sides, 0
        self.left, self.right = eps * np.eye(w.shape[0]), eps * np.eye(w.shape[1])

    def step(self, g: ndarray) -> None:
        self.left += g @ g.T
        self.right += g.T @ g
        exponent = -1 / 4 if self.sides == "both" else -1 / 2
        if self.t % self.every == 0:
            self.roots = power(self.left, exponent), power(self.right, exponent)
        self.t += 1
        left = self.roots[0] if self.sides in ("both", "left") else np.eye(len(self.left))
        right = self.roots[1] if self.sides in ("both", "right") else np.eye(len(self.right))
        self.w -= self.lr * left @ g @ right


class Soap:
    """Vyas et al., 2024, arXiv:2409.11321, algorithm 3, with the first step, the sorting and the place of eps of their code."""

    def __init__(self, w: ndarray, lr: float, b1: float, b2: float, eps: float, every: int) -> None:
        self.w, self.lr, self.b1, self.b2, self.eps, self.every = w.copy(), lr, b1, b2, eps, every
        self.m, self.v, self.n = np.zeros_like(w), np.zeros_like(w), -1
        self.left, self.right = np.zeros((w.shape[0],) * 2), np.zeros((w.shape[1],) * 2)
        self.bases: list[ndarray] = []

    def step(self, g: ndarray) -> None:
        self.n += 1
        if self.n:
            ql, qr = self.bases
            self.m = self.b1 * self.m + (1 - self.b1) * g
            self.v = self.b2 * self.v + (1 - self.b2) * (ql.T @ g @ qr) ** 2
            size = self.lr * np.sqrt(1 - self.b2**self.n) / (1 - self.b1**self.n)
            self.w -= size * ql @ ((ql.T @ self.m @ qr) / (np.sqrt(self.v) + self.eps)) @ qr.T
        self.left = self.b2 * self.left + (1 - self.b2) * g @ g.T
        self.right = self.b2 * self.right + (1 - self.b2) * g.T @ g
        if not self.n:
            self.bases = [np.linalg.eigh(matrix)[1][:, ::-1] for matrix in (self.left, self.right)]
        elif self.n % self.every == 0:
            for axis, matrix in enumerate((self.left, self.right)):
                image = matrix @ self.bases[axis]
                order = np.argsort(-np.sum(self.bases[axis] * image, axis=0))
                self.bases[axis] = np.linalg.qr(image[:, order])[0]
                self.v = np.take(self.v, order, axis)


def worst(ours: Any, theirs: Any) -> float:
    """Return the largest difference."""
    return float(np.max(np.abs(np.asarray(ours) - np.asarray(theirs))))
