"""Pareto k̂: whether the guide's draws can stand for the posterior, datum by datum."""

from __future__ import annotations

import math

import numpy as np
import xarray as xr
from arviz_stats.base import array_stats

from pyrovae.diagnostics._tree import NotAvailable, by_blocks, stats

__all__ = ["CONSTANT", "good_k", "pareto_k"]

CONSTANT = 1e-3
"""Log weights whose standard deviation is below this many nats are constant: their tail is one of rounding errors."""

FEWEST = 30


def good_k(draws: int) -> float:
    """The largest k̂ at which so many draws are enough: min(1 − 1/log10 S, 0.7).

    Examples
    --------
    >>> round(good_k(1000), 3), good_k(100_000)
    (0.667, 0.7)

    References
    ----------
    Vehtari, Simpson, Gelman, Yao & Gabry 2024, 1507.02646, section 3.2.4.
    """
    return min(1 - 1 / math.log10(max(draws, 2)), 0.7) if draws > 10 else 0.0


def pareto_k(tree: xr.DataTree) -> xr.Dataset:
    """Pareto k̂ of the importance weights p(x, z)/q(z|x) of each datum.

    k̂ estimates how many moments the weights have: the guide is usable for a datum, and weighting its draws gives the
    posterior, where k̂ < `good_k`; above 1 the weights have not even a mean that could be estimated.

    Returns
    -------
    xarray.Dataset
        ``pareto_k`` (chain, obs_id); ``exact`` (chain, obs_id): the weights are constant to rounding, so that the guide
        is the posterior, there is no tail to fit, and ``pareto_k`` is 0. Weights that are infinite or NaN give +∞.
        ``attrs["good_k"]`` is the threshold.

    Raises
    ------
    NotAvailable
        With fewer than 30 draws, of which the tail is too short to fit.

    References
    ----------
    Yao, Vehtari, Simpson & Gelman 2018, 1802.02538, section 3; Vehtari et al. 2024, 1507.02646.
    """
    log_weight = stats(tree, "log_weight")
    draws = log_weight.sizes["draw"]
    if draws < FEWEST:
        raise NotAvailable(
            f"Pareto k̂ needs at least {FEWEST} draws per datum, got {draws}: raise draws= in pv.posterior"
        )
    parts = list(by_blocks([log_weight], _khat))
    khat = np.concatenate([k for k, _ in parts], -1)
    exact = np.concatenate([e for _, e in parts], -1)
    template = log_weight.isel(draw=0, drop=True)
    return xr.Dataset(
        {"pareto_k": template.copy(data=khat), "exact": template.copy(data=exact)},
        attrs={"good_k": good_k(draws), "draws": draws},
    )


def _khat(block: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """k̂ and exactness by (chain, datum) of log weights (chain, draw, datum)."""
    block = np.moveaxis(block.astype(float), 1, -1)
    broken = np.isnan(block).any(-1) | np.isposinf(block).any(-1) | np.isneginf(block).all(-1)
    top = np.where(broken, 0, np.max(np.where(np.isfinite(block), block, -np.inf), -1))
    block = np.where(np.isfinite(block), block, (top - 700)[..., None])
    exact = ~broken & (block.std(-1) < CONSTANT)
    fit = ~broken & ~exact
    khat = np.where(broken, np.inf, 0.0)
    if fit.any():
        khat[fit] = [_tail_index(weights) for weights in block[fit]]
    return np.where(np.isnan(khat), np.inf, khat), exact


def _tail_index(log_weight: np.ndarray) -> float:
    """k̂ of one datum. A tail of equal weights is bounded, as those of few discrete states are: 0."""
    draws = len(log_weight)
    tail = np.sort(log_weight)[-math.ceil(min(draws / 5, 3 * math.sqrt(draws))) :]
    if tail[0] == tail[-1]:
        return 0.0
    try:  # ArviZ's routine takes log-likelihoods, and negates them to get leave-one-out weights
        return float(array_stats.psislw(-log_weight)[1])
    except ValueError:  # too many ties to fit
        return math.inf
