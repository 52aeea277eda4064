"""Latent dimensions of all sites side by side, with what is known of each."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import xarray as xr

from pyrovae.diagnostics import active_units, collapse, kl
from pyrovae.diagnostics._tree import by_blocks, latent_sites, variable

__all__ = ["Units", "kl_units", "names_of", "posterior_means"]


@dataclass
class Units:
    """KL of each latent dimension: ``kl`` (chain, datum, unit); ``active``, ``collapsed`` (chain, unit)."""

    names: list[str]
    kl: np.ndarray
    active: np.ndarray
    collapsed: np.ndarray


def names_of(values: xr.DataArray) -> list[str]:
    """``z[3]`` for each element of a latent's own dimensions; ``z`` if it has none."""
    own = [d for d in values.dims if d not in ("chain", "draw", "obs_id")]
    if not own:
        return [str(values.name)]
    labels = [values[d].values if d in values.coords else np.arange(values.sizes[d]) for d in own]
    return [f"{values.name}[{', '.join(map(str, at))}]" for at in _product(labels)]


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
    names, means = [], []
    for site in latent_sites(tree):
        values = variable(tree, "posterior", site).isel(chain=[chain])
        parts = by_blocks([values], lambda block: block.mean(1, dtype=float)[0])
        mean = np.concatenate(list(parts))
        names += names_of(values.transpose("chain", "draw", "obs_id", ...))
        means.append(mean.reshape(len(mean), -1))
    if not names:
        raise ValueError("the tree's posterior holds no latent with the dimension obs_id: make it with pv.posterior")
    return names, np.concatenate(means, -1)


def _product(labels: list[np.ndarray]) -> list[tuple[object, ...]]:
    import itertools

    return list(itertools.product(*labels))
