"""Which latents carry information about the data."""

from __future__ import annotations

import math
import numbers
from typing import Any

import numpy as np
import xarray as xr

from pyrovae.diagnostics._codes import refuse_infinite
from pyrovae.diagnostics._tree import NotAvailable, by_blocks, one_site, variable
from pyrovae.diagnostics.elbo import kl

__all__ = ["active_units", "collapse"]


def active_units(tree: xr.DataTree, *, site: str | None = None, threshold: float = 0.01) -> xr.Dataset:
    """Var_x(E_q[z_j|x]) of each latent dimension, and whether it is above a share of the prior's variance.

    The variance over data of the draws' means is corrected for their Monte Carlo noise, E_x[Var_q(z_j|x)]/S, or, of
    draws resampled by `pyrovae.correct`, by their effective number in place of S; of several Markov chains, it is the
    covariance of the means of one with those of the others. Weights of "psis" are not used: the means are those of q.

    Parameters
    ----------
    tree
        Reads the posterior.
    site
        The latent site, needed where there are several.
    threshold
        Burda et al.'s .01, which they use with a standard Normal prior; here in units of the prior's variance, taken
        from the group ``prior`` where there is one (else 1), so that a rescaled latent has the same verdict.

    Returns
    -------
    xarray.Dataset
        ``variance``, ``prior_variance`` and ``active`` (chain, …).

    Raises
    ------
    NotAvailable
        With a single draw, whose noise cannot be told from the means.
    ValueError
        If a draw is infinite or NaN.

    References
    ----------
    Burda, Grosse & Salakhutdinov 2015, 1509.00519, section 5.2.
    """
    _number("threshold", threshold, math.inf)
    site = one_site(tree, site)
    values = variable(tree, "posterior", site)
    draws = values.sizes["draw"]
    if draws < 2:
        raise NotAvailable("active units need at least two draws per datum: raise draws= of pv.posterior")
    with np.errstate(invalid="ignore"):  # of infinite draws, which are refused below
        parts = list(by_blocks([values], lambda block: (block.mean(1, dtype=float), block.var(1, ddof=1, dtype=float))))
    means, within = (np.concatenate([p[i] for p in parts], 1) for i in (0, 1))
    refuse_infinite(f"means of the draws of {site!r}", means)
    template = values.isel(draw=0, obs_id=0, drop=True)
    template = template.transpose("chain", *(d for d in values.dims if d not in ("chain", "draw", "obs_id")))
    variance = template.copy(data=_between(tree, means, within, draws))
    spread = xr.ones_like(variance)
    if "prior" in tree.children and site in tree["prior"].dataset and tree["prior"].sizes["draw"] > 1:
        prior = variable(tree, "prior", site).astype(float)
        refuse_infinite(f"draws of {site!r} from the prior", prior.values)
        spread = prior.var("draw", ddof=1)
    return xr.Dataset(
        {"variance": variance, "prior_variance": spread, "active": variance > threshold * spread},
        attrs={"threshold": threshold},
    )


def _between(tree: xr.DataTree, means: np.ndarray, within: np.ndarray, draws: int) -> np.ndarray:
    """The variance over data (chain, …) of what is estimated by means (chain, datum, …) of draws of some variances."""
    if tree.attrs.get("method") == "nuts" and len(means) > 1:
        off = means - means.mean(1, keepdims=True)
        others = (off.sum(0) - off) / (len(off) - 1)
        covariance: np.ndarray = (off * others).mean(1)
        return covariance
    if tree.attrs.get("corrected") == "resample":  # within has a share 1 − 1/ess of the variance
        ess = variable(tree, "sample_stats", "ess").transpose("chain", "obs_id").values
        within = within * (draws - 1) / np.maximum(ess - 1, 1).reshape(*ess.shape, *[1] * (within.ndim - 2))
    variance: np.ndarray = means.var(1, ddof=0) - within.mean(1) / draws
    return variance


def collapse(tree: xr.DataTree, *, site: str | None = None, epsilon: float = 0.01, delta: float = 0.01) -> xr.Dataset:
    """(ε, δ)-collapse: a latent whose KL to the prior is below ε nats for a share of at least 1 − δ of the data.

    Parameters
    ----------
    tree
        Reads ``sample_stats/kl_…``.
    site
        The latent site, needed where there are several.
    epsilon, delta
        In nats, and as a share of the data.

    Returns
    -------
    xarray.Dataset
        ``share`` of the data with KL_j < ε, and ``collapsed`` (chain, …).

    References
    ----------
    Lucas, Tucker, Grosse & Norouzi 2019, 1911.02469, definition 1.
    """
    _number("epsilon", epsilon, math.inf)
    _number("delta", delta, 1)
    site = one_site(tree, site)
    share = (kl(tree)[site] < epsilon).mean("obs_id")
    return xr.Dataset({"share": share, "collapsed": share >= 1 - delta}, attrs={"epsilon": epsilon, "delta": delta})


def _number(name: str, value: Any, most: float) -> None:
    if isinstance(value, bool) or not isinstance(value, numbers.Real) or not 0 <= float(value) <= most:
        limit = "of at least 0" if math.isinf(most) else f"from 0 to {most}"
        raise ValueError(f"{name}: expected a number {limit}, got {value!r}")
