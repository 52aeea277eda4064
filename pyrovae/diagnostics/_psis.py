"""Pareto-smoothed importance weights of each datum: ArviZ's, with the cases that it does not take told apart first."""

from __future__ import annotations

import math

import numpy as np
from arviz_stats.base import array_stats

__all__ = ["CONSTANT", "FEWEST", "psis"]

CONSTANT = 1e-3
"""Log weights whose standard deviation is below this many nats are constant: their tail is one of rounding errors."""

FEWEST = 30
"""Draws, below which the tail is too short to fit."""


def psis(log_weight: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Smoothed log weights (…, draw) that add up to 1, k̂ (…) and whether the weights are constant (…).

    Of log weights (…, draw), −∞ for a weight of 0. Constant weights have k̂ = 0, and so has a tail of equal ones, which
    is bounded, as that of few discrete states: they stay as they are. A datum with a weight of +∞ or NaN, or without a
    positive one, has k̂ = ∞ and equal weights.

    References
    ----------
    Vehtari, Simpson, Gelman, Yao & Gabry 2024, 1507.02646.
    """
    block = np.array(log_weight, dtype=float)
    broken = np.isnan(block).any(-1) | np.isposinf(block).any(-1) | np.isneginf(block).all(-1)
    block[broken] = 0.0
    block -= block.max(-1, keepdims=True)
    block[np.isneginf(block)] = -700.0
    constant = ~broken & (block.std(-1) < CONSTANT)
    khat = np.where(broken, np.inf, 0.0)
    out = block - np.log(np.exp(block).sum(-1, keepdims=True))
    for at in zip(*np.nonzero(~broken & ~constant), strict=True):
        out[at], khat[at] = _smoothed(block[at], out[at])
    return out, khat, constant


def _smoothed(log_weight: np.ndarray, normalised: np.ndarray) -> tuple[np.ndarray, float]:
    draws = len(log_weight)
    size = math.ceil(min(draws / 5, 3 * math.sqrt(draws)))
    if np.partition(log_weight, draws - size)[draws - size] == log_weight.max():
        return normalised, 0.0
    try:  # it takes log-likelihoods, and negates them to get leave-one-out weights
        weights, khat = array_stats.psislw(-log_weight)
    except ValueError:  # too many ties to fit
        return normalised, math.inf
    return np.asarray(weights), math.inf if np.isnan(khat) else float(khat)
