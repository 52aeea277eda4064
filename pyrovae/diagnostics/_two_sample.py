"""Two samples, one law? Energy distance and Gaussian-kernel discrepancy, with an exact permutation test."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
from scipy.spatial.distance import cdist, pdist

__all__ = ["STATISTICS", "TwoSample", "pair_effects", "standardised", "two_sample"]

STATISTICS = ("energy", "mmd")
BLOCK = 512
"""Rows of the matrix of distances that are held at a time."""
MEDIAN_OF = 500
"""Points whose distances the bandwidth is the median of."""


class TwoSample(NamedTuple):
    """The unbiased ``statistic``, its share ``effect`` of the largest that it could be, and ``p_value``."""

    statistic: float
    effect: float
    p_value: float


def two_sample(
    x: np.ndarray,
    y: np.ndarray,
    statistic: str,
    permutations: int,
    rng: np.random.Generator,
    *,
    paired: bool = False,
    gamma: float | None = None,
) -> TwoSample:
    """Compare points x (n, d) and y (m, d), at least two of each.

    "energy": 2 E|x − y| − E|x − x′| − E|y − y′|. "mmd": E k(x, x′) + E k(y, y′) − 2 E k(x, y) with
    k = exp(−|a − b|²/2γ), γ the squared median distance. Both as U-statistics, which may be negative. The effect is the
    energy over 2 E|x − y|, the coefficient of inhomogeneity, or the discrepancy over E k(x, x′) + E k(y, y′); in
    [0, 1], and not dependent on n and m but for noise.

    ``paired``: x_i may be exchanged with y_i only.

    References
    ----------
    Székely & Rizzo 2013, "Energy statistics", section 4 and 8; Gretton et al. 2012, JMLR 13, lemma 6; Phipson & Smyth
    2010, 1603.05766, for (1 + #)/(1 + B).
    """
    n, m = len(x), len(y)
    pooled = np.concatenate([x, y])
    labels = np.empty((1 + permutations, n + m))
    labels[0] = np.arange(n + m) < n
    if paired:
        labels[1:, :n] = rng.random((permutations, n)) < 0.5
        labels[1:, n:] = 1 - labels[1:, :n]
    else:
        labels[1:] = rng.permuted(np.broadcast_to(labels[0], (permutations, n + m)), axis=1)
    if statistic == "mmd" and gamma is None:
        gamma = _bandwidth(pooled, rng)
    within, total, all_pairs = np.zeros(len(labels)), np.zeros(len(labels)), 0.0
    for rows, similar in _similarities(pooled, gamma if statistic == "mmd" else None):
        within += ((labels @ similar.T) * labels[:, rows]).sum(1)
        total += labels[:, rows] @ similar.sum(1)
        all_pairs += float(similar.sum())
    across = total - within
    rest = all_pairs - within - 2 * across
    diagonal = float(statistic == "mmd")  # of a point with itself: 1, or no distance
    xx, yy, xy = (within - diagonal * n) / (n * (n - 1)), (rest - diagonal * m) / (m * (m - 1)), across / (n * m)
    values = xx + yy - 2 * xy
    largest = -2 * xy[0] if statistic == "energy" else xx[0] + yy[0]
    rounding = 1e-12 * (abs(xx[0]) + abs(yy[0]) + 2 * abs(xy[0]))
    as_large = int((values[1:] >= values[0] - rounding).sum())
    return TwoSample(
        float(values[0]),
        float(np.clip(values[0] / largest, 0, 1)) if largest > 0 else 0.0,
        (1 + as_large) / (1 + permutations),
    )


def pair_effects(x: np.ndarray, y: np.ndarray, groups: Sequence[tuple[int, ...]]) -> np.ndarray:
    """The energy effect of `two_sample` in each group of dimensions alone."""
    n, m = len(x), len(y)
    pooled = np.concatenate([x, y]).astype(np.float32)
    wide = {j for g in groups if len(g) > 1 for j in g}  # of dimensions that come alone, one matrix at a time is enough
    kept = {j: _squared(pooled[:, j]) for j in sorted(wide)}
    out = []
    for group in groups:
        distance = np.sqrt(sum(kept[j] if j in kept else _squared(pooled[:, j]) for j in group))
        xx, yy, xy = (float(d.sum(dtype=float)) for d in (distance[:n, :n], distance[n:, n:], distance[:n, n:]))
        across = 2 * xy / (n * m)
        value = across - xx / (n * (n - 1)) - yy / (m * (m - 1))
        out.append(float(np.clip(value / across, 0, 1)) if across > 0 else 0.0)
    return np.array(out)


def _squared(values: np.ndarray) -> np.ndarray:
    difference: np.ndarray = np.subtract.outer(values, values)
    return difference**2


def standardised(x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Both divided by the standard deviation of all: which sample a point is from does not matter to it."""
    pooled = np.concatenate([x, y])
    spread = pooled.std(0)
    spread[spread <= 1e-12 * np.abs(pooled).max(0)] = 1.0
    return (x - pooled.mean(0)) / spread, (y - pooled.mean(0)) / spread


def _similarities(points: np.ndarray, gamma: float | None) -> Iterator[tuple[slice, np.ndarray]]:
    """Rows of the matrix of kernel values, or of negated distances."""
    for start in range(0, len(points), BLOCK):
        rows = slice(start, start + BLOCK)
        if gamma is None:
            yield rows, -cdist(points[rows], points)
        else:
            yield rows, np.exp(-cdist(points[rows], points, "sqeuclidean") / (2 * gamma))


def _bandwidth(points: np.ndarray, rng: np.random.Generator) -> float:
    """The squared median distance; where most points coincide, the mean of the others; 1 where all do."""
    some = points[rng.choice(len(points), min(len(points), MEDIAN_OF), replace=False)]
    distances = pdist(some)
    median = float(np.median(distances))
    if median > 0:
        return median**2
    return float(distances[distances > 0].mean()) ** 2 if (distances > 0).any() else 1.0
