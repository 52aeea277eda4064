"""Pareto k̂: whether the guide's draws can stand for the posterior, datum by datum."""

from __future__ import annotations

import math

import numpy as np
import xarray as xr

from pyrovae._numbers import at_least
from pyrovae.diagnostics._psis import FEWEST, psis
from pyrovae.diagnostics._tree import NotAvailable, by_blocks, refuse_truncated, stats

__all__ = ["good_k", "pareto_k"]

KNOWN = "pareto_k"
"""The group of a tree in which those who ask several times put the answer."""


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
    draws = at_least("draws", draws, 0)
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
        With fewer than 30 draws, of which the tail is too short to fit, or of a q that is truncated.

    References
    ----------
    Yao, Vehtari, Simpson & Gelman 2018, 1802.02538 (PSIS); Vehtari et al. 2024, 1507.02646.
    """
    if isinstance(tree, xr.DataTree) and KNOWN in tree.children:
        return tree[KNOWN].to_dataset()
    refuse_truncated(tree)
    log_weight = stats(tree, "log_weight")
    draws = log_weight.sizes["draw"]
    if draws < FEWEST:
        raise NotAvailable(
            f"Pareto k̂ needs at least {FEWEST} draws per datum, got {draws}: raise draws= in pv.posterior"
        )
    parts = list(by_blocks([log_weight], lambda block: psis(np.moveaxis(block, 1, -1))[1:]))
    khat = np.concatenate([k for k, _ in parts], -1)
    exact = np.concatenate([e for _, e in parts], -1)
    template = log_weight.isel(draw=0, drop=True)
    return xr.Dataset(
        {"pareto_k": template.copy(data=khat), "exact": template.copy(data=exact)},
        attrs={"good_k": good_k(draws), "draws": draws},
    )
