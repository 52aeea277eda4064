"""The evidence lower bound and its terms."""

from __future__ import annotations

import numpy as np
import xarray as xr

from pyrovae.diagnostics._tree import NotAvailable, by_blocks, latent_sites, stats, variable

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
    log_weight, log_lik = stats(tree, "log_weight"), stats(tree, "log_lik")
    draws = log_weight.sizes["draw"]
    template = log_weight.isel(draw=0, drop=True)
    kl_terms = by_blocks([log_lik, log_weight], lambda lik, weight: _moments(lik - weight))
    out = {}
    for name, parts in (
        ("elbo", by_blocks([log_weight], _moments)),
        ("log_lik", by_blocks([log_lik], _moments)),
        ("kl", kl_terms),
    ):
        mean, sd = (np.concatenate(column, -1) for column in zip(*parts, strict=True))
        out[name] = template.copy(data=mean)
        out[f"{name}_mcse"] = template.copy(data=sd / np.sqrt(draws))
    return xr.Dataset(out, attrs={"units": "nats"})


def _moments(block: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard deviation over draws; log q − log p(z) is log p(x|z) minus the log weight."""
    block = block.astype(float)
    return block.mean(1), block.std(1, ddof=1) if block.shape[1] > 1 else np.full_like(block[:, 0], np.nan)


def kl(tree: xr.DataTree) -> xr.Dataset:
    """KL(q(z_j|x) ‖ p(z_j)) of each datum and latent dimension, (chain, obs_id, …) in nats, one variable per site.

    Of a site that depends on another latent, it is the conditional divergence, averaged over the other's draws.

    In closed form where there is one, else by Monte Carlo. For a guide with correlated latents these are the
    divergences of the marginals, which add up to less than the whole.

    Raises
    ------
    NotAvailable
        If a prior or guide is not made of independent dimensions, so that no divergence per dimension exists.
    """
    stats(tree, "log_weight")  # a tree without its group is not the program's fault
    found = {}
    for site in latent_sites(tree):
        try:
            found[site] = variable(tree, "sample_stats", f"kl_{site}").rename(site)
        except NotAvailable as error:
            raise NotAvailable(
                f"the tree holds no KL per dimension for {site!r}: it exists where prior and guide are independent "
                "over dimensions (.to_event(1) of a univariate family). diagnostics.elbo_terms(tree)['kl'] is the whole"
            ) from error
    return xr.Dataset(found, attrs={"units": "nats"})
