"""The evidence lower bound and its terms."""

from __future__ import annotations

import numpy as np
import xarray as xr

from pyrovae.diagnostics._tree import latent_sites, stats, variable

__all__ = ["elbo_terms", "kl"]


def elbo_terms(tree: xr.DataTree) -> xr.Dataset:
    """ELBO = E_q[log p(x|z)] − KL(q(z|x) ‖ p(z)) of each datum, by Monte Carlo over the draws.

    Returns
    -------
    xarray.Dataset
        ``elbo``, ``log_lik`` (expected log likelihood) and ``kl``, each (chain, obs_id) in nats, and their Monte Carlo
        standard errors ``elbo_mcse``, ``log_lik_mcse``, ``kl_mcse``.

    References
    ----------
    Kingma & Welling 2013, 1312.6114, equation 3.
    """
    log_lik = stats(tree, "log_lik")
    terms = {
        "elbo": stats(tree, "log_weight"),
        "log_lik": log_lik,
        "kl": stats(tree, "log_q") - (stats(tree, "log_p") - log_lik),
    }
    out = {}
    for name, values in terms.items():
        values = values.astype(float)
        out[name] = values.mean("draw")
        out[f"{name}_mcse"] = values.std("draw", ddof=1) / np.sqrt(values.sizes["draw"])
    return xr.Dataset(out, attrs={"units": "nats"})


def kl(tree: xr.DataTree) -> xr.Dataset:
    """KL(q(z_j|x) ‖ p(z_j)) of each datum and latent dimension, (chain, obs_id, …) in nats, one variable per site.

    In closed form where there is one, else by Monte Carlo. For a guide with correlated latents these are the
    divergences of the marginals, which add up to less than the whole.

    Raises
    ------
    ValueError
        If a prior or guide is not made of independent dimensions, so that no divergence per dimension exists.
    """
    stats(tree, "log_weight")  # a tree without its group is not the program's fault
    found = {}
    for site in latent_sites(tree):
        try:
            found[site] = variable(tree, "sample_stats", f"kl_{site}").rename(site)
        except ValueError as error:
            raise ValueError(
                f"the tree holds no KL per dimension for {site!r}: it exists where prior and guide are independent "
                "over dimensions (.to_event(1) of a univariate family). diagnostics.elbo_terms(tree)['kl'] is the whole"
            ) from error
    return xr.Dataset(found, attrs={"units": "nats"})
