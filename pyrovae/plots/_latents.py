"""Latent dimensions of all sites side by side, with what is known of each."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import xarray as xr

from pyrovae.diagnostics import _codes, active_units, collapse, kl
from pyrovae.diagnostics._codes import names_of
from pyrovae.diagnostics._tree import latent_sites, variable

__all__ = ["Units", "kl_units", "posterior_means"]


@dataclass
class Units:
    """KL of each latent dimension: ``kl`` (chain, datum, unit); ``active``, ``collapsed`` (chain, unit)."""

    names: list[str]
    kl: np.ndarray
    active: np.ndarray
    collapsed: np.ndarray


def kl_units(tree: xr.DataTree) -> Units:
    """KL, activity and collapse of the latent dimensions of all sites.

    Raises
    ------
    ValueError
        If no KL per dimension is defined.
    """
    if not isinstance(tree, xr.DataTree) or "sample_stats" not in tree.children:
        variable(tree, "sample_stats", "log_weight")
    names, values, active, collapsed = [], [], [], []
    for site, divergence in kl(tree).items():
        divergence = divergence.transpose("chain", "obs_id", ...)
        chains, data = divergence.shape[:2]
        names += names_of(divergence.rename(site))
        values.append(divergence.values.reshape(chains, data, -1))
        active.append(active_units(tree, site=str(site))["active"].values.reshape(chains, -1))
        collapsed.append(collapse(tree, site=str(site))["collapsed"].values.reshape(chains, -1))
    return Units(names, np.concatenate(values, -1), np.concatenate(active, -1), np.concatenate(collapsed, -1))


def posterior_means(tree: xr.DataTree, chain: int) -> tuple[list[str], np.ndarray]:
    """Names of the latent dimensions, and E_q[z|x] of a chain, (datum, dimension)."""
    sites = latent_sites(tree)
    names, means = _codes.posterior_means(tree.isel(chain=slice(chain, chain + 1)), sites)
    return names, means[0]
