"""Latent dimensions of all sites side by side: their names, and posterior means as codes."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import xarray as xr

from pyrovae.diagnostics._tree import by_blocks, variable

__all__ = ["columns", "names_of", "posterior_means", "refuse_infinite"]

LEAD = ("chain", "draw", "obs_id")
MOST_KINDS = 64


def names_of(values: xr.DataArray) -> list[str]:
    """``z[3]`` for each element of a latent's own dimensions; ``z`` if it has none."""
    own = [d for d in values.dims if d not in LEAD]
    if not own:
        return [str(values.name)]
    labels = [values[d].values if d in values.coords else np.arange(values.sizes[d]) for d in own]
    return [f"{values.name}[{', '.join(map(str, at))}]" for at in itertools.product(*labels)]


def posterior_means(tree: xr.DataTree, sites: list[str]) -> tuple[list[str], np.ndarray]:
    """Names, and E_q[z|x] of all dimensions of some sites, (chain, datum, dimension)."""
    names, means = [], []
    for site in sites:
        values = variable(tree, "posterior", site)
        mean = np.concatenate(list(by_blocks([values], lambda block: block.mean(1, dtype=float))), 1)
        names += names_of(values)
        means.append(mean.reshape(*mean.shape[:2], -1))
    out = np.concatenate(means, -1)
    refuse_infinite("the posterior means", out)
    return names, out


def columns(names: list[str], *parts: Any) -> tuple[list[str], list[np.ndarray]]:
    """Arrays (…, dimension) of one site as floats; categories (whole numbers) become an indicator per kind.

    Raises
    ------
    ValueError
        If there are more than 64 kinds: a distance between their codes means nothing.
    """
    if all(p.dtype.kind not in "iu" for p in parts):
        return names, [p.astype(float) for p in parts]
    kinds = np.unique(np.concatenate([p.ravel() for p in parts]))
    if len(kinds) > MOST_KINDS:
        raise ValueError(f"{names[0]}: expected at most {MOST_KINDS} categories, got {len(kinds)}")
    out = [(p[..., None] == kinds).reshape(*p.shape[:-1], -1).astype(float) for p in parts]
    return [f"{name} = {kind}" for name in names for kind in kinds], out


def refuse_infinite(what: str, values: np.ndarray) -> None:
    """Raise ValueError where a value is infinite or NaN."""
    bad = int((~np.isfinite(values)).sum())
    if bad:
        raise ValueError(f"{what}: expected finite values, {bad} of {values.size} are infinite or NaN: look at the fit")
