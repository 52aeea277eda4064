"""Whether numbers between 0 and 1 are uniform: an exact test by the ECDF, and its simultaneous bands."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from arviz_stats.ecdf_utils import compute_ecdf, get_pointwise_confidence_band
from scipy.special import bdtr
from scipy.stats import binom, poisson

__all__ = ["SMALLEST", "bands", "holm", "p_uniform"]

SMALLEST = 1e-12
"""p-values below it are rounding: they are given as this."""

JUMP = 40  # counts of a Poisson of mean 1; beyond it their probability is below 1e-48
HALVINGS = 50


def p_uniform(pit: np.ndarray) -> float:
    """The exact p-value of the ECDF test that n values are independent and uniform.

    The statistic is the smallest of the two-sided binomial tails of the ECDF at i/n, i = 1 … n − 1: below 1 − prob of
    `bands`, the ECDF leaves them.

    References
    ----------
    Säilynoja, Bürkner & Vehtari 2022, 2103.10522, section 2.
    """
    n = len(pit)
    at = _at(n)
    counts = np.rint(compute_ecdf(pit, at) * n)
    tail = min(bdtr(counts, n, at).min(), bdtr(n - counts, n, at[::-1]).min())
    if 2 * n * tail < SMALLEST:  # no less than the probability that any of the tails is as small
        return SMALLEST
    return max(1 - _inside(n, float(tail)), SMALLEST)


@lru_cache(maxsize=32)
def bands(n: int, prob: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Points between 0 and 1, and the lowest and the highest ECDF there: n uniform values stay inside with ``prob``.

    ArviZ's bands, with the level of each point set by the exact probability in place of a simulated one.
    """
    low, high = np.log(SMALLEST), np.log(0.5)
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        low, high = (middle, high) if _inside(n, float(np.exp(middle))) >= prob else (low, middle)
    at = _at(n)
    lower, upper = get_pointwise_confidence_band(1 - 2 * np.exp(low), n, at)
    return tuple(np.concatenate([[0.0], values, [1.0]]) for values in (at, lower, upper))  # type: ignore[return-value]


def _at(n: int) -> np.ndarray:
    return np.arange(1, n) / n


def _inside(n: int, tail: float) -> float:
    """The probability that all binomial tails of the ECDF of n uniform values are above ``tail``.

    The counts below i/n are a Poisson process that ends at n: the paths between the bounds are summed step by step.
    """
    low = _lowest(n, tail)
    high = n - low[::-1]
    step = poisson.pmf(np.arange(JUMP + 1), 1.0)
    paths, start = np.ones(1), 0
    for least, most in zip(low.tolist(), high.tolist(), strict=True):
        paths = np.convolve(paths, step)[max(least - start, 0) : most - start + 1]
        start = max(least, start)
        if not paths.size:
            return 0.0
    last = poisson.pmf(n - start - np.arange(len(paths)), 1.0)
    return float((paths @ last) / poisson.pmf(n, n))


def _lowest(n: int, tail: float) -> np.ndarray:
    """The least count at each point whose lower tail is above ``tail``, by the same function that made the tail."""
    at = _at(n)
    count = binom.ppf(tail, n, at).clip(0)
    while (short := bdtr(count, n, at) <= tail).any():
        count += short
    while (long := (count > 0) & (bdtr(np.maximum(count - 1, 0), n, at) > tail)).any():
        count -= long
    return count.astype(int)


def holm(p: np.ndarray) -> np.ndarray:
    """Holm's adjusted p-values of all."""
    flat = p.ravel()
    order = np.argsort(flat, kind="stable")
    stepped = np.maximum.accumulate(flat[order] * np.arange(len(flat), 0, -1))
    out = np.empty_like(flat)
    out[order] = np.minimum(stepped, 1.0)
    return out.reshape(p.shape)
