"""Intervals per feature: bars for a few features, bands for many."""

from __future__ import annotations

import warnings

import numpy as np
import xarray as xr
from matplotlib.axes import Axes

__all__ = ["LEVELS", "MOST_BARS", "feature_axis", "intervals", "quantiles"]

MOST_BARS = 40
LEVELS = (0.05, 0.25, 0.5, 0.75, 0.95)


def quantiles(values: xr.DataArray, dim: str) -> xr.DataArray:
    """The quantiles of values along a dimension, (level, …), NaN left out."""
    others = [d for d in values.dims if d != dim]
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "All-NaN slice", RuntimeWarning)  # a feature never observed has no interval
        found = np.nanquantile(values.transpose(dim, ...).values.astype(float), LEVELS, axis=0)
    coords = {name: c for name, c in values.coords.items() if dim not in c.dims}
    return xr.DataArray(found, dims=("level", *others), coords=coords | {"level": list(LEVELS)})


def intervals(ax: Axes, found: np.ndarray, colour: str, offset: float = 0.0, label: str = "_") -> None:
    """The central 90 % (thin) and 50 % (thick) by `quantiles` (level, feature)."""
    low, lower, _, upper, high = found
    x = np.arange(found.shape[1]) + offset
    if found.shape[1] <= MOST_BARS:
        ax.vlines(x, low, high, color=colour, lw=1.5, alpha=0.75)
        ax.vlines(x, lower, upper, color=colour, lw=5, alpha=0.75, label=label)
    else:
        ax.fill_between(x, low, high, color=colour, alpha=0.22, lw=0)
        ax.fill_between(x, lower, upper, color=colour, alpha=0.45, lw=0, label=label)


def feature_axis(ax: Axes, names: list[str], dim: str) -> None:
    """Names of the features under the axis, where they fit."""
    count = len(names)
    ax.set_xlim(-0.6, count - 0.4)
    step = 1 if count <= 30 else int(np.ceil(count / 10))
    ticks = np.arange(0, count, step)
    shown = [n if len(n) <= 22 else n[:20] + "…" for n in (names[i] for i in ticks)]
    turned = sum(map(len, shown)) > 8 * ax.get_window_extent().width / ax.figure.dpi
    ax.set_xticks(ticks, shown, rotation=60 if turned else 0, ha="right" if turned else "center")
    if turned:
        for tick in ax.get_xticklabels():
            tick.set_rotation_mode("anchor")
    ax.set_xlabel(dim)
