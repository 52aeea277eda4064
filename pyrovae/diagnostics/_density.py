"""Which dimensions of two samples differ most, and smoothed densities of pairs of them."""

from __future__ import annotations

import itertools

import numpy as np
from scipy.ndimage import gaussian_filter

from pyrovae._rng import Stream, derive
from pyrovae.diagnostics._two_sample import pair_effects, standardised

__all__ = ["dimension_effects", "grids", "ranked"]

RANKED = 400
"""Points of either sample by which pairs of dimensions are ranked."""
MOST_DIMS = 20
"""Dimensions of which all pairs are ranked; of more, those that differ most by themselves."""
EDGE = 0.002
"""Share of either sample that may lie outside the grid on each side."""


def dimension_effects(own: np.ndarray, prior: np.ndarray, seed: int = 0) -> np.ndarray:
    """The effect of `prior_match` in each dimension alone, of points (n, dimension) and (m, dimension)."""
    return pair_effects(*_some(own, prior, seed), [(j,) for j in range(own.shape[1])])


def ranked(
    own: np.ndarray, prior: np.ndarray, pairs: int | list[tuple[int, int]], seed: int
) -> tuple[list[tuple[int, int]], np.ndarray]:
    """The pairs of dimensions asked for, or those that differ most, and their effects."""
    x, y = _some(own, prior, seed)
    if not isinstance(pairs, int):
        return pairs, pair_effects(x, y, pairs)
    dims = np.sort(np.argsort(-dimension_effects(own, prior, seed), kind="stable")[:MOST_DIMS])
    every = [(int(i), int(j)) for i, j in itertools.combinations(dims, 2)]
    effects = pair_effects(x, y, every)
    order = np.argsort(-effects, kind="stable")[:pairs]
    return [every[k] for k in order], effects[order]


def _some(own: np.ndarray, prior: np.ndarray, seed: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(derive(seed, Stream.PERMUTATION))
    few = [points[rng.permutation(len(points))[:RANKED]] for points in (own, prior)]
    return standardised(*few)


def grids(own: np.ndarray, prior: np.ndarray, pairs: list[tuple[int, int]], bins: int) -> dict[str, np.ndarray]:
    """Smoothed densities (pair, y, x) of points (copy, datum, dimension) and (draw, dimension), and their cells."""
    each = [_grid(own[..., list(pair)], prior[:, list(pair)], bins) for pair in pairs]
    return {name: np.stack([one[name] for one in each]) for name in each[0]}


def _grid(own: np.ndarray, prior: np.ndarray, bins: int) -> dict[str, np.ndarray]:
    """Smoothed densities of points (copy, datum, 2) and (draw, 2)."""
    n, draws = own.shape[1], len(prior)
    flat = own.reshape(-1, 2)
    low, high = (
        pick([np.quantile(points, q, axis=0) for points in (flat, prior)], axis=0)
        for pick, q in ((np.min, EDGE), (np.max, 1 - EDGE))
    )
    middle, half = (low + high) / 2, np.maximum((high - low) / 2, 1e-6 * (1 + np.abs(high))) * 1.1
    edges = [np.linspace(middle[k] - half[k], middle[k] + half[k], bins + 1) for k in (0, 1)]
    cell = [float(e[1] - e[0]) for e in edges]
    scott = min(n, draws) ** (-1 / 6)
    width = [min(max(scott * float(np.std(prior[:, k])), 0.5 * cell[k]), 0.25 * bins * cell[k]) for k in (0, 1)]
    shape = [gaussian_filter(_histogram(p, edges), [width[1] / cell[1], width[0] / cell[0]]) for p in (flat, prior)]
    rough = 1 / (4 * np.pi * width[0] * width[1])  # ∫K² of the kernel
    return {
        "aggregate": shape[0],
        "prior": shape[1],
        "gap": shape[0] - shape[1],
        "error": np.sqrt(rough * (shape[0] / n + shape[1] / draws)),
        "x_value": (edges[0][1:] + edges[0][:-1]) / 2,
        "y_value": (edges[1][1:] + edges[1][:-1]) / 2,
    }


def _histogram(points: np.ndarray, edges: list[np.ndarray]) -> np.ndarray:
    """Density (y, x) of points (n, 2); those outside count in the total."""
    counts = np.histogram2d(points[:, 1], points[:, 0], [edges[1], edges[0]])[0]
    area = (edges[0][1] - edges[0][0]) * (edges[1][1] - edges[1][0])
    density: np.ndarray = counts / (len(points) * area)
    return density
