"""Whether the marginals of q(z|x) are right on the data themselves, where importance weights can tell."""

from __future__ import annotations

import math
from itertools import product

import numpy as np
import xarray as xr

from pyrovae.diagnostics._codes import refuse_infinite
from pyrovae.diagnostics._tree import NotAvailable, by_blocks, discrete_sites, latent_sites, variable
from pyrovae.diagnostics._weights import log_weights, smoothed
from pyrovae.diagnostics.reliability import good_k

__all__ = ["intervals"]

MEDIAN = math.sqrt(math.pi / 2) / 0.6745
"""Standard error of a median of n Normal values, times √n over their median absolute deviation."""


def intervals(tree: xr.DataTree, *, level: float = 0.9) -> xr.Dataset:
    """Coverage, width and place of q's intervals, judged by the smoothed importance weights of each datum.

    Unlike calibration on simulated data, this is of the data in the tree, but only of those with k̂ < `good_k`: for the
    others the weights know the posterior no better than q does.

    Parameters
    ----------
    tree
        From `pyrovae.posterior`, with at least 30 draws.
    level
        Of the central interval between q's quantiles.

    Returns
    -------
    xarray.Dataset
        By (chain, obs_id, latent), one ``latent`` for each dimension of each real-valued site, such as "z[0]":
        ``coverage``, the posterior's mass between q's quantiles; ``width``, the standard deviation of q over the
        posterior's; ``shift``, the mean of q less the posterior's, over the posterior's standard deviation, and its
        Monte Carlo error ``shift_mcse``. ``width`` and ``shift`` are NaN where all weight
        is on one value. ``reliable`` (chain, obs_id): k̂ < `good_k`; ``share_reliable`` (chain).

        Over reliable data with a width, by (chain, latent), each with its standard error over data (``…_se``), NaN
        with fewer than two: ``coverage_mean``, ``width_median``, ``shift_mean``, and ``shift_rms``, the root of the
        mean of shift² − shift_mcse², 0 where that is negative.

    Raises
    ------
    NotAvailable
        If the tree has no weights, fewer than 30 draws, no real-valued latent or no datum with a good k̂, or was
        resampled, so that the draws are no longer q's.
    ValueError
        If a draw is infinite or NaN.

    Notes
    -----
    A Gaussian guide c times as wide as the posterior has width c and coverage 2Φ(c Φ⁻¹((1 + level)/2)) − 1; one that
    is δ posterior standard deviations off has shift δ. Constant weights give the level, 1 and 0, exactly, and no
    guide is made to look worse than it is: where q is too narrow, the tails that its draws leave out are missing from
    the weights too. Seen with S = 1,000, one latent: for c = .9, .7, .5 width .90, .73, .63 (reliable 100 %, 88 %,
    51 %), coverage .86, .76, .65 for a true .86, .75, .59; with S = 5,000, .90, .71, .59.

    References
    ----------
    Yao, Vehtari, Simpson & Gelman 2018, 1802.02538, for the use of the weights; the weighted variance is unbiased for
    constant ones.

    Examples
    --------
    >>> import torch, pyrovae as pv
    >>> _ = torch.manual_seed(0)
    >>> vae = pv.VAE(pv.priors.Normal(2), pv.likelihoods.Normal(pv.networks.MLP(2, (), 3)),
    ...              pv.guides.Normal(pv.networks.MLP(3, (), 4)))
    >>> found = intervals(pv.posterior(vae, torch.zeros(5, 3), draws=100))
    >>> found["latent"].values.tolist(), found["coverage"].dims
    (['z[0]', 'z[1]'], ('chain', 'obs_id', 'latent'))
    """
    if isinstance(level, bool) or not isinstance(level, (int, float)) or not 0 < level < 1:
        raise ValueError(f"level: expected a number between 0 and 1, got {level!r}")
    log_weight = log_weights(tree, "judging intervals")
    if tree.attrs.get("corrected") == "resample":
        raise NotAvailable("these draws were resampled, and no longer the guide's: give the tree before pv.correct")
    whole = discrete_sites(tree)
    sites = [variable(tree, "posterior", s) for s in latent_sites(tree) if s not in whole]
    sites = [s for s in sites if s.dtype.kind == "f"]
    if not sites:
        raise NotAvailable("no latent is real-valued: intervals are of those that are")
    parts = by_blocks([log_weight, *sites], lambda log_w, *z: _judge(log_w, list(z), float(level)))
    khat, *found = (np.concatenate(column, 1) for column in zip(*parts, strict=True))
    limit = good_k(log_weight.sizes["draw"])
    reliable = khat < limit
    if not reliable.any():
        raise NotAvailable(f"no datum has k̂ < {limit:.2f}: no weights can be relied on to say what q's intervals hold")
    template = log_weight.isel(draw=0, drop=True)
    out = xr.Dataset(
        {n: (("chain", "obs_id", "latent"), v) for n, v in zip(FIGURES, found, strict=True)},
        coords={"latent": [name for s in sites for name in _names(s)]} | dict(template.coords),
        attrs={"level": level, "good_k": limit, "draws": log_weight.sizes["draw"]},
    )
    out["reliable"] = template.copy(data=reliable)
    out["share_reliable"] = out["reliable"].mean("obs_id")
    pooled = [_pool(*(v[c][reliable[c]] for v in found)) for c in range(len(reliable))]
    return out.assign({n: (("chain", "latent"), np.stack([p[n] for p in pooled])) for n in pooled[0]})


FIGURES = ("coverage", "width", "shift", "shift_mcse")


def _names(site: xr.DataArray) -> list[str]:
    """z, z[0], z[0, 1], …"""
    sizes = [n for d, n in site.sizes.items() if d not in ("chain", "draw", "obs_id")]
    return [f"{site.name}{list(index) if index else ''}" for index in product(*(range(n) for n in sizes))]


def _judge(log_weight: np.ndarray, sites: list[np.ndarray], level: float) -> tuple[np.ndarray, ...]:
    """k̂ (chain, datum) and the figures (chain, datum, latent)."""
    for z in sites:
        refuse_infinite("draws of the latents", z)
    log_w, khat = smoothed(log_weight)
    w = np.exp(log_w)[..., None]
    columns = [_figures(w, z.reshape(*z.shape[:3], -1).astype(float), level) for z in sites]
    return khat, *(np.concatenate(c, -1) for c in zip(*columns, strict=True))


def _figures(w: np.ndarray, z: np.ndarray, level: float) -> tuple[np.ndarray, ...]:
    """Of weights (chain, draw, datum, 1) and draws (chain, draw, datum, latent)."""
    draws = z.shape[1]
    rank = z.argsort(1, kind="stable").argsort(1) / draws  # a draw stands for the quantiles from this to 1/S above
    inside = np.minimum(rank + 1 / draws, (1 + level) / 2) - np.maximum(rank, (1 - level) / 2)
    coverage = (w * np.clip(inside * draws, 0, 1)).sum(1)
    z = z - z.mean(1, keepdims=True)
    mean = (w * z).sum(1)
    away = z - mean[:, None]
    left = 1 - (w**2).sum(1)
    with np.errstate(divide="ignore", invalid="ignore"):
        sd = np.sqrt((w * away**2).sum(1) / left)
        sd = np.where((sd > 0) & (left > 1e-12), sd, np.nan)
        mcse = np.sqrt(((w * away - z / draws) ** 2).sum(1)) / sd
    return coverage, z.std(1, ddof=1) / sd, -mean / sd, mcse


def _pool(coverage: np.ndarray, width: np.ndarray, shift: np.ndarray, mcse: np.ndarray) -> dict[str, np.ndarray]:
    """Figures of reliable data (datum, latent) put together, by latent."""
    known = np.isfinite(width)
    columns = [[v[known[:, j], j] for v in (coverage, width, shift, mcse)] for j in range(width.shape[1])]
    pooled = [_pool_latent(*column) for column in columns]
    return {f"{f}{e}": np.array([p[f][i] for p in pooled]) for f in POOLED for i, e in enumerate(("", "_se"))}


def _pool_latent(
    coverage: np.ndarray, width: np.ndarray, shift: np.ndarray, mcse: np.ndarray
) -> dict[str, tuple[float, float]]:
    """Of one latent, by datum: each figure and its standard error."""
    if len(width) < 2:
        return dict.fromkeys(POOLED, (math.nan, math.nan))
    root = math.sqrt(len(width))
    median, square = np.median(width), shift**2 - mcse**2
    rms = np.sqrt(square.mean().clip(0))
    return {
        "coverage_mean": (coverage.mean(), coverage.std(ddof=1) / root),
        "width_median": (median, MEDIAN * np.median(abs(width - median)) / root),
        "shift_mean": (shift.mean(), shift.std(ddof=1) / root),
        "shift_rms": (rms, np.sqrt(square.mean().clip(0) + square.std(ddof=1) / root) - rms),
    }


POOLED = ("coverage_mean", "width_median", "shift_mean", "shift_rms")
