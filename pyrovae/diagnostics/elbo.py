"""The evidence lower bound and its terms."""

from __future__ import annotations

import numpy as np
import xarray as xr

from pyrovae.diagnostics._tree import NotAvailable, by_blocks, latent_sites, shared_sites, stats, variable

__all__ = ["elbo_terms", "kl"]


def elbo_terms(tree: xr.DataTree) -> xr.Dataset:
    """ELBO = E_q[log p(x|z)] − KL(q(z|x) ‖ p(z)) of each datum, by Monte Carlo over the draws.

    Of a tree with latents θ outside the data plate, these are the local terms, E_q(θ) of each datum's given θ; the
    bound of the whole set is Σ_i elbo_i − KL(q(θ) ‖ p(θ)).

    Returns
    -------
    xarray.Dataset
        ``elbo``, ``log_lik`` (expected log likelihood) and ``kl``, each (chain, obs_id) in nats, and their Monte Carlo
        standard errors ``elbo_mcse``, ``log_lik_mcse``, ``kl_mcse``, NaN of a single draw. A datum with an infinite
        or NaN density has such terms, and errors of ∞. With latents outside the plate also, (chain) in nats of the
        whole set, ``kl_global`` = E[log q(θ) − log p(θ)], ``elbo_total``, the bound on log p of all data,
        and their standard errors. Sites observed outside the plate count in p(θ).

    References
    ----------
    Kingma & Welling 2013, 1312.6114, equation 3.
    """
    log_lik = stats(tree, "log_lik")
    shared = bool(shared_sites(tree))
    weight = [stats(tree, "log_p"), stats(tree, "log_q")] if shared else [stats(tree, "log_weight")]
    template = log_lik.isel(draw=0, drop=True)
    out = {}
    for name, parts in (
        ("elbo", by_blocks(weight, lambda *w: _moments(_difference(*w)))),
        ("log_lik", by_blocks([log_lik], lambda lik: _moments(lik.astype(float)))),
        ("kl", by_blocks([log_lik, *weight], lambda lik, *w: _moments(_difference(lik, _difference(*w))))),
    ):
        mean, sd = (np.concatenate(column, -1) for column in zip(*parts, strict=True))
        out[name] = template.copy(data=mean)
        out[f"{name}_mcse"] = template.copy(data=sd / np.sqrt(log_lik.sizes["draw"]))
    if shared:
        out |= _whole(tree, weight)
    return xr.Dataset(out, attrs={"units": "nats"})


def _whole(tree: xr.DataTree, weight: list[xr.DataArray]) -> dict[str, xr.DataArray]:
    """The terms of the whole set, (chain): draws of the data's terms are joint, and added up draw by draw."""
    local = sum(by_blocks(weight, lambda *w: _difference(*w).sum(-1)))
    log_p, log_q = (variable(tree, "sample_stats", f"log_{f}_global").transpose("chain", "draw") for f in "pq")
    kl_global = _difference(log_q.values, log_p.values)
    template, out = log_p.isel(draw=0, drop=True), {}
    for name, values in (("kl_global", kl_global), ("elbo_total", local - kl_global)):
        mean, sd = _moments(values)
        out[name] = template.copy(data=mean)
        out[f"{name}_mcse"] = template.copy(data=sd / np.sqrt(values.shape[1]))
    return out


def _difference(first: np.ndarray, second: np.ndarray | None = None) -> np.ndarray:
    """In double precision: log weights as they are, or log p − log q."""
    with np.errstate(invalid="ignore"):
        return first.astype(float) if second is None else first.astype(float) - second


def _moments(block: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard deviation over draws, ∞ where a draw is not finite."""
    with np.errstate(invalid="ignore"):
        mean = block.mean(1)
        sd = block.std(1, ddof=1) if block.shape[1] > 1 else np.full_like(block[:, 0], np.nan)
    return mean, np.where(np.isfinite(mean), sd, np.inf)


def kl(tree: xr.DataTree) -> xr.Dataset:
    """KL(q(z_j|x) ‖ p(z_j)) of each datum and latent dimension, (chain, obs_id, …) in nats, one variable per site.

    Of a site that depends on another latent, it is the conditional divergence, averaged over the other's draws.

    In closed form where there is one, else by Monte Carlo. For a guide with correlated latents these are the
    divergences of the marginals, which add up to less than the whole.

    Raises
    ------
    NotAvailable
        If a prior or guide is not made of independent dimensions, so that no divergence per dimension exists, or one is
        NaN.
    """
    stats(tree, "log_lik")  # a tree without its group is not the program's fault
    found = {}
    for site in latent_sites(tree):
        try:
            found[site] = variable(tree, "sample_stats", f"kl_{site}").rename(site)
        except NotAvailable as error:
            raise NotAvailable(
                f"the tree holds no KL per dimension for {site!r}: it exists where prior and guide are independent "
                "over dimensions (.to_event(1) of a univariate family). diagnostics.elbo_terms(tree)['kl'] is the whole"
            ) from error
        if bad := int(found[site].isnull().sum()):
            raise NotAvailable(f"{bad} of {found[site].size} divergences of {site!r} are NaN: look at the fit")
    return xr.Dataset(found, attrs={"units": "nats"})
