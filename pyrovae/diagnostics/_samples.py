"""Draws of the aggregate posterior, the mean over data of q(z|x), and of the prior, as points side by side."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import xarray as xr

from pyrovae._rng import Stream, derive
from pyrovae.diagnostics._codes import columns, names_of, refuse_infinite
from pyrovae.diagnostics._observed import has_context
from pyrovae.diagnostics._psis import FEWEST, psis
from pyrovae.diagnostics._tree import NotAvailable, by_blocks, latent_sites, shared_sites, stats, variable
from pyrovae.diagnostics.reliability import good_k, pareto_k

__all__ = ["Samples", "samples"]


@dataclass(frozen=True)
class Samples:
    """``aggregate`` (chain, copy, datum, dimension), a few draws of each datum, ``prior`` (chain, draw, dimension).

    ``corrected`` (chain) is the share of the data whose draws stand for p(z|x); ``paired``: prior draw i has the
    context of datum i.
    """

    names: list[str]
    aggregate: np.ndarray
    prior: np.ndarray
    corrected: np.ndarray
    paired: bool


def samples(tree: xr.DataTree, *, copies: int, most: int, corrected: bool, seed: int) -> Samples:
    """Up to ``copies`` draws for each of at most ``most`` data, and at most ``most`` prior draws, by the seed.

    Raises
    ------
    NotAvailable
        If a group is missing, or latents are shared by all data.
    ValueError
        If a draw is infinite or NaN.
    """
    sites = latent_sites(tree)
    if shared := shared_sites(tree):
        these = ", ".join(map(repr, shared))
        raise NotAvailable(f"the data share {these}, of which the prior's draws have other values than the posterior's")
    first, prior = variable(tree, "posterior", sites[0]), variable(tree, "prior", sites[0])
    n, drawn = first.sizes["obs_id"], prior.sizes["draw"]
    rng = np.random.default_rng(derive(seed, Stream.RESAMPLING))
    paired = has_context(tree, n)
    if paired:  # draw d of the prior has the context of datum d mod n
        size = min(n, drawn)
        rows = given = np.sort(rng.choice(size, min(size, most), replace=False))
    else:
        rows, given = (np.sort(rng.choice(size, min(size, most), replace=False)) for size in (n, drawn))
    pick, share = _pick(tree, first, rows, min(copies, first.sizes["draw"]), corrected, rng)
    names: list[str] = []
    aggregates, priors = [], []
    for site in sites:
        values = variable(tree, "posterior", site).isel(obs_id=rows)
        some = np.concatenate(list(by_blocks([values, pick], _take)), 2)
        those = variable(tree, "prior", site).transpose("chain", "draw", ...).values[:, given]
        own, (some, those) = columns(names_of(values), some, those.reshape(*those.shape[:2], -1))
        refuse_infinite(f"draws of {site!r}", some)
        refuse_infinite(f"draws of {site!r} from the prior", those)
        names += own
        aggregates.append(some)
        priors.append(those)
    return Samples(names, np.concatenate(aggregates, -1), np.concatenate(priors, -1), share, paired)


def _pick(
    tree: xr.DataTree, values: xr.DataArray, rows: np.ndarray, copies: int, corrected: bool, rng: np.random.Generator
) -> tuple[xr.DataArray, np.ndarray]:
    """Which draws to take, (chain, copy, datum), and for which share of the data they stand for p(z|x), (chain).

    By smoothed weights where k̂ is good, else with equal ones; draws that need no weights, or had them, are equal.
    """
    chains, draws = values.sizes["chain"], values.sizes["draw"]
    u = (np.arange(copies)[:, None] + rng.random((chains, copies, len(rows)))) / copies
    equal = np.minimum((u * draws).astype(int), draws - 1)
    lead = ("chain", "draw", "obs_id")
    if tree.attrs.get("method") == "nuts":
        return xr.DataArray(equal, dims=lead), np.ones(chains)
    if "importance" in tree.children:
        khat = pareto_k(tree)
        good = khat["pareto_k"].transpose("chain", "obs_id").values[:, rows] < khat.attrs["good_k"]
        return xr.DataArray(equal, dims=lead), good.mean(1)
    if not corrected or draws < FEWEST:
        return xr.DataArray(equal, dims=lead), np.zeros(chains)
    limit = good_k(draws)

    def choose(log_weight: np.ndarray, where: np.ndarray, otherwise: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        smoothed, khat, _ = psis(np.moveaxis(log_weight, 1, -1))
        total, out = np.exp(smoothed).cumsum(-1), otherwise.copy()
        for chain, i in zip(*np.nonzero(khat < limit), strict=True):
            at = np.searchsorted(total[chain, i], where[chain, :, i] * total[chain, i, -1], side="right")
            out[chain, :, i] = np.minimum(at, draws - 1)
        return out, khat < limit

    arrays = [stats(tree, "log_weight").isel(obs_id=rows), *(xr.DataArray(v, dims=lead) for v in (u, equal))]
    parts = list(by_blocks(arrays, choose))
    pick, good = (np.concatenate([part[k] for part in parts], -1) for k in (0, 1))
    return xr.DataArray(pick, dims=lead), good.mean(1)


def _take(values: np.ndarray, pick: np.ndarray) -> np.ndarray:
    """Values (chain, copy, datum, dimension) of some draws."""
    taken: np.ndarray = np.take_along_axis(values.reshape(*values.shape[:3], -1), pick[..., None], 1)
    return taken
