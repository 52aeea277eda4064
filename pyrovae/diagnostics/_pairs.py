"""Pairs of a datum and a replicate made from the same draw of its latents: exchangeable if the model is right."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import xarray as xr

from pyrovae._rng import Stream, derive
from pyrovae.diagnostics._codes import refuse_infinite
from pyrovae.diagnostics._observed import observed_name
from pyrovae.diagnostics._psis import FEWEST, psis
from pyrovae.diagnostics._tree import NotAvailable, by_blocks, chosen, shared_sites, stats, variable
from pyrovae.diagnostics.reliability import good_k

__all__ = ["FEWEST_DATA", "Pairs", "pairs"]

FEWEST_DATA = 2


class Pairs(NamedTuple):
    """Data x (n, *event), NaN where missing, and P replicated data sets, the r-th of which is made from z^r.

    Row r of ``pick`` (P, n) says which draw z_i^r and x̃_i^r of each datum are. Each row is by itself an exact draw of
    the posterior, as far as ``corrected``, the share of the data whose draws stand for it, goes.
    """

    name: str
    x: np.ndarray
    made: np.ndarray
    pick: np.ndarray
    latents: np.ndarray
    log_lik: np.ndarray | None
    made_log_lik: np.ndarray | None
    corrected: float

    def take(self, values: np.ndarray, r: int) -> np.ndarray:
        """The r-th set of values (draw, n, …)."""
        return values[self.pick[r], np.arange(self.pick.shape[1])]

    def replicate(self, r: int) -> np.ndarray:
        """x̃^r, NaN where x is missing."""
        made = self.take(self.made, r)
        gone = np.isnan(self.x)
        return np.where(gone, np.nan, made) if gone.any() else made


def pairs(tree: xr.DataTree, var_name: str | None, seed: int) -> Pairs:
    """Data and replicates of a tree, of the chain that the fit chose.

    Raises
    ------
    NotAvailable
        If a group is missing, there are fewer than two data, or replicates are infinite or NaN.
    """
    name = observed_name(tree, "observed_data", var_name)
    x = variable(tree, "observed_data", name).transpose("obs_id", ...)
    rep = variable(tree, "posterior_predictive", name)
    chain = chosen(tree, rep)
    made = rep.isel(chain=chain).transpose("draw", "obs_id", ...).values
    draws, n = made.shape[:2]
    if n < FEWEST_DATA:
        raise NotAvailable(f"a check of the likelihood needs at least {FEWEST_DATA} data, the tree has {n}")
    if made.dtype.kind == "f" and (bad := int((~np.isfinite(made)).sum())):
        raise NotAvailable(
            f"{bad} of {made.size} values in posterior_predictive/{name} are infinite or NaN: the likelihood makes "
            "what no datum is"
        )
    rng = np.random.default_rng(derive(seed, Stream.RESAMPLING))
    pick, corrected = _pick(tree, chain, draws, n, rng)
    return Pairs(
        name,
        np.asarray(x.values, float) if x.dtype.kind == "f" else x.values,
        made,
        pick,
        _latents(tree, chain, draws, n),
        _log_lik(tree, "sample_stats", chain, draws),
        _log_lik(tree, "predictive_stats", chain, draws),
        corrected,
    )


def _pick(tree: xr.DataTree, chain: int, draws: int, n: int, rng: np.random.Generator) -> tuple[np.ndarray, float]:
    """Which draws the replicated sets take, (set, datum), and the share of the data for which they are p(z|x)'s.

    By smoothed weights, which where k̂ is bad bring the draws nearer to the posterior without making them its own; in
    random order, so that each row has them by itself.
    """
    if shared_sites(tree):  # a draw of what is shared holds for all data
        return np.broadcast_to(np.arange(draws)[:, None], (draws, n)), float("nan")
    u = (rng.permuted(np.broadcast_to(np.arange(draws)[:, None], (draws, n)), axis=0) + rng.random(n)) / draws
    pick = np.minimum((u * draws).astype(int), draws - 1)
    if tree.attrs.get("method") == "nuts":
        return pick, 1.0
    try:
        log_weight = stats(tree, "log_weight").isel(chain=[chain])
    except NotAvailable:
        return pick, float("nan")
    if (made := log_weight.sizes["draw"]) < FEWEST:
        return pick, float("nan")
    resampled, limit, good, start = "importance" in tree.children, good_k(made), 0, 0
    for smoothed, khat, constant in by_blocks([log_weight], lambda block: psis(np.moveaxis(block[0], 0, -1))):
        good += int((khat < limit).sum())
        for i in np.flatnonzero(~constant) if not resampled else ():
            total = np.exp(smoothed[i, :draws]).cumsum()
            at = np.searchsorted(total, u[:, start + i] * total[-1], side="right")
            pick[:, start + i] = np.minimum(at, draws - 1)
        start += len(khat)
    return pick, good / n


def _latents(tree: xr.DataTree, chain: int, draws: int, n: int) -> np.ndarray:
    """The latents of each datum side by side, (draw, n, dimension); none where they are enumerated."""
    columns = [np.empty((draws, n, 0))]
    if "posterior" in tree.children:
        for site, found in tree["posterior"].dataset.items():
            if {"chain", "draw", "obs_id"} <= set(found.dims):
                values = variable(tree, "posterior", str(site))
                if values.sizes["draw"] < draws:
                    raise NotAvailable(f"{draws} draws of x and {values.sizes['draw']} of {site!r}: to each its own")
                some = values.isel(chain=chain, draw=slice(draws)).transpose("draw", "obs_id", ...).values
                refuse_infinite(f"draws of {site!r}", some)
                columns.append(some.reshape(draws, n, -1).astype(float))
    return np.concatenate(columns, -1)


def _log_lik(tree: xr.DataTree, group: str, chain: int, draws: int) -> np.ndarray | None:
    if group not in tree.children or "log_lik" not in tree[group].dataset:
        return None
    found = variable(tree, group, "log_lik").isel(chain=chain, draw=slice(draws))
    values: Any = found.transpose("draw", "obs_id").values
    return np.asarray(values, float)
