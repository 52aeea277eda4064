"""Which latents carry information about the data."""

from __future__ import annotations

import numpy as np
import xarray as xr

from pyrovae.diagnostics._tree import by_blocks, one_site, variable
from pyrovae.diagnostics.elbo import kl

__all__ = ["active_units", "collapse"]


def active_units(tree: xr.DataTree, *, site: str | None = None, threshold: float = 0.01) -> xr.Dataset:
    """Var_x(E_q[z_j|x]) of each latent dimension, and whether it is above the threshold.

    The variance over data of the draws' means is corrected for their Monte Carlo noise, E_x[Var_q(z_j|x)]/S.

    Parameters
    ----------
    tree
        Reads the posterior.
    site
        The latent site, needed where there are several.
    threshold
        Burda et al.'s .01 for a standard Normal prior; in units of z².

    Returns
    -------
    xarray.Dataset
        ``variance`` and ``active`` (chain, …).

    References
    ----------
    Burda, Grosse & Salakhutdinov 2015, 1509.00519, section 5.2.
    """
    values = variable(tree, "posterior", one_site(tree, site))
    parts = list(by_blocks(values, lambda block: (block.mean(1, dtype=float), block.var(1, ddof=1, dtype=float))))
    means, within = (np.concatenate([p[i] for p in parts], 1) for i in (0, 1))
    variance = means.var(1, ddof=0) - within.mean(1) / values.sizes["draw"]
    template = values.isel(draw=0, obs_id=0, drop=True)
    template = template.transpose("chain", *(d for d in values.dims if d not in ("chain", "draw", "obs_id")))
    return xr.Dataset(
        {"variance": template.copy(data=variance), "active": template.copy(data=variance > threshold)},
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
