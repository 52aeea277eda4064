"""Importance weights as what weights the draws takes them: smoothed, normalised, with their k̂."""

from __future__ import annotations

from typing import Any

import numpy as np
import xarray as xr

from pyrovae.diagnostics._psis import FEWEST, psis
from pyrovae.diagnostics._tree import NotAvailable, stats

__all__ = ["log_weights", "smoothed"]


def log_weights(tree: Any, what: str, first: int | None = None) -> xr.DataArray:
    """Log weights (chain, draw, obs_id) of all draws or the first ones, enough of them to fit a tail.

    Raises
    ------
    NotAvailable
        If the tree has none, or fewer than 30 draws.
    """
    log_weight = stats(tree, "log_weight").isel(draw=slice(first))
    draws = log_weight.sizes["draw"]
    if draws < FEWEST:
        raise NotAvailable(
            f"{what} by weights needs at least {FEWEST} draws per datum, got {draws}: raise draws= (of x, predictive=) "
            "in pv.posterior"
        )
    return log_weight


def smoothed(block: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Smoothed log weights (chain, draw, datum) that add up to 1 over draws, and k̂ (chain, datum), of log weights."""
    log_weight, khat, _ = psis(np.moveaxis(block, 1, -1))
    return np.moveaxis(log_weight, -1, 1), khat
