"""Which latents carry information about the data."""

from __future__ import annotations

import numpy as np
import xarray as xr

from pyrovae.diagnostics._tree import NotAvailable, by_blocks, one_site, variable
from pyrovae.diagnostics.elbo import kl

__all__ = ["active_units", "collapse"]


def active_units(tree: xr.DataTree, *, site: str | None = None, threshold: float = 0.01) -> xr.Dataset:
    """Var_x(E_q[z_j|x]) of each latent dimension, and whether it is above a share of the prior's variance.

    The variance over data of the draws' means is corrected for their Monte Carlo noise, E_x[Var_q(z_j|x)]/S, or, of
    draws resampled by `pyrovae.correct`, by their effective number in place of S. Weights of its "psis" are not used:
    the means are those of q.

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

    References
    ----------
    Burda, Grosse & Salakhutdinov 2015, 1509.00519, section 5.2.
    """
    site = one_site(tree, site)
    values = variable(tree, "posterior", site)
    draws = values.sizes["draw"]
    if draws < 2:
        raise NotAvailable("active units need at least two draws per datum: raise draws= of pv.posterior")
    parts = list(by_blocks([values], lambda block: (block.mean(1, dtype=float), block.var(1, ddof=1, dtype=float))))
    means, within = (np.concatenate([p[i] for p in parts], 1) for i in (0, 1))
    if tree.attrs.get("corrected") == "resample":  # var has a share 1 − 1/ess of the variance
        effective = variable(tree, "sample_stats", "ess").transpose("chain", "obs_id").values
        effective = np.maximum(effective - 1, 1).reshape(*effective.shape, *[1] * (within.ndim - 2))
        noise = (within / effective).mean(1) * (draws - 1) / draws
    else:
        noise = within.mean(1) / draws
    template = values.isel(draw=0, obs_id=0, drop=True)
    template = template.transpose("chain", *(d for d in values.dims if d not in ("chain", "draw", "obs_id")))
    variance = template.copy(data=means.var(1, ddof=0) - noise)
    spread = xr.ones_like(variance)
    if "prior" in tree.children and site in tree["prior"].dataset and tree["prior"].sizes["draw"] > 1:
        spread = tree["prior"].dataset[site].astype(float).var("draw", ddof=1)
    return xr.Dataset(
        {"variance": variance, "prior_variance": spread, "active": variance > threshold * spread},
        attrs={"threshold": threshold},
    )


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
    site = one_site(tree, site)
    share = (kl(tree)[site] < epsilon).mean("obs_id")
    return xr.Dataset({"share": share, "collapsed": share >= 1 - delta}, attrs={"epsilon": epsilon, "delta": delta})
