"""Whether Markov chains of a datum's latents have mixed: R-hat, effective numbers of draws, divergences."""

from __future__ import annotations

from typing import Any

import numpy as np
import xarray as xr
from arviz_stats.base import array_stats

from pyrovae.diagnostics._tree import NotAvailable, by_blocks, latent_sites, stats, variable

__all__ = ["refuse_guide", "sampler_checks"]

RHAT, ESS_PER_CHAIN = 1.01, 100  # Vehtari et al. 2021, section 4
FEWEST = 8  # draws of a chain, which is split into four at most
TAIL = (0.05, 0.95)


def sampler_checks(tree: xr.DataTree) -> xr.Dataset:
    """R-hat, effective numbers of draws and divergences of each datum's Markov chains.

    Draws of a datum can stand for its posterior where R-hat < 1.01, both effective numbers are above 100 per chain, and
    no transition diverges. Where they do not: more warm-up and draws, a higher target_accept against divergences.

    Parameters
    ----------
    tree
        Of ``pv.posterior(…, method="nuts")``. Reads the posterior and ``sample_stats/diverging``.

    Returns
    -------
    xarray.Dataset
        By ``obs_id``: ``rhat``, the largest rank-normalised split R-hat over latent dimensions; ``ess_bulk`` and
        ``ess_tail`` (at the 5 % and 95 % quantiles), the smallest over them; ``divergences``, the share of diverging
        transitions. ``attrs["rhat"]`` and ``attrs["ess"]`` are the thresholds. A dimension that is constant by
        construction is left out; a datum of which nothing moves has R-hat = ∞ and no effective draws. A single chain is
        cut into halves, which are compared as two.

    Raises
    ------
    NotAvailable
        Of draws of a guide; with fewer than 8 draws per chain.

    References
    ----------
    Vehtari, Gelman, Simpson, Carpenter & Bürkner 2021, 1903.08008.
    """
    refuse_guide(tree)
    diverging = stats(tree, "diverging")
    chains, draws = diverging.sizes["chain"], diverging.sizes["draw"]
    if draws < FEWEST:
        raise NotAvailable(f"R-hat needs at least {FEWEST} draws per chain, got {draws}: raise draws= of pv.posterior")
    sites = [variable(tree, "posterior", name) for name in latent_sites(tree)]
    sites = [site for site in sites if np.issubdtype(site.dtype, np.floating)]
    figures = np.concatenate(list(by_blocks(sites, _by_datum)), -1)
    names = ("rhat", "ess_bulk", "ess_tail")
    obs_id = diverging.isel(chain=0, draw=0, drop=True)
    out = {name: obs_id.copy(data=values) for name, values in zip(names, figures, strict=True)}
    out["divergences"] = diverging.mean(("chain", "draw"))
    return xr.Dataset(out, attrs={"rhat": RHAT, "ess": ESS_PER_CHAIN * chains, "draws": draws, "chains": chains})


def refuse_guide(tree: Any) -> None:
    """Raise `NotAvailable` for anything but draws of Markov chains."""
    variable(tree, "posterior", latent_sites(tree)[0])
    if tree.attrs.get("method") != "nuts":
        raise NotAvailable(
            "these are draws of a guide, not of Markov chains: they are independent, so that their R-hat is 1 and "
            "their ESS the number of draws whatever the guide's quality. Ask pareto_k, or compare with "
            "pv.posterior(…, method='nuts') by gold_standard"
        )


def _by_datum(*values: np.ndarray) -> np.ndarray:
    """R-hat, bulk and tail ESS of arrays (chain, draw, obs_id, …), (3, obs_id)."""
    whole = np.concatenate([v.reshape(*v.shape[:3], -1) for v in values], -1).astype(float)
    out = np.empty((3, whole.shape[2]))
    for i in range(whole.shape[2]):
        figures = [_of_dimension(whole[:, :, i, j]) for j in range(whole.shape[3]) if np.ptp(whole[:, :, i, j])]
        rhat, bulk, tail = zip(*figures, strict=True) if figures else ((np.inf,), (0.0,), (0.0,))
        out[:, i] = max(rhat), min(bulk), min(tail)
    return out


def _of_dimension(draws: np.ndarray) -> tuple[float, float, float]:
    if not np.ptp(draws, 1).any():  # each chain has stayed where it started
        return np.inf, 0.0, 0.0
    halves = draws if len(draws) > 1 else draws[:, : draws.shape[1] // 2 * 2].reshape(2, -1)
    with np.errstate(divide="ignore", invalid="ignore"):
        rhat = float(array_stats.rhat(halves, method="rank"))
        bulk = float(array_stats.ess(draws, method="bulk"))
        tail = float(array_stats.ess(draws, method="tail", prob=TAIL))
    return (np.inf if np.isnan(rhat) else rhat), np.nan_to_num(bulk), np.nan_to_num(tail)
