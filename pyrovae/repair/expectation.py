"""Posterior expectations of any function of the latents, datum by datum, with their Monte Carlo error."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import xarray as xr
from arviz_stats.base import array_stats

from pyrovae.diagnostics._psis import psis
from pyrovae.diagnostics._tree import BLOCK, NotAvailable, latent_sites, variable
from pyrovae.diagnostics._weights import log_weights, smoothed
from pyrovae.diagnostics.reliability import good_k

__all__ = ["expectation"]

LEAD = ("chain", "draw", "obs_id")
FEWEST = 4
"""Draws, of which an effective number can be had."""
ROUNDING = 1e-6

Function = Callable[[xr.Dataset], xr.DataArray]
Reduce = Callable[[xr.DataArray, slice], xr.Dataset]


def expectation(tree: xr.DataTree, f: Function, *, method: str | None = None) -> xr.Dataset:
    """E[f(z)|x] of each datum, with its Monte Carlo standard error.

    Parameters
    ----------
    tree
        From `pyrovae.posterior`, `pyrovae.correct` or a sampler. A tree read lazily from a store is worked through by
        blocks of data.
    f
        Takes the draws, an ``xarray.Dataset`` with the latents by (chain, draw, obs_id, …), and returns a DataArray
        with these dimensions and any others, finite. Where it asks for a variable of ``posterior_predictive``, such as
        ``draws["x"]``, it gets that too, with the latents it was made from, and only the draws that have one. It is
        called on blocks of data and must treat each datum by itself.
    method
        "psis", the default where there are weights: means by smoothed importance weights, with the error √Σ w²(f − μ)².
        "q": plain means over the guide's draws, of q(z|x), not of the posterior. "resampled", of a tree corrected so:
        plain means, with the error of "psis" for a draw's share of repeats. "exact", of draws of Markov chains: the
        mean over all chains, with ArviZ's error and effective number of draws.

    Returns
    -------
    xarray.Dataset
        ``mean``, ``mcse`` and ``ess``, the number of independent posterior draws that would have this error, each
        (chain, obs_id, …) in f's units, without chain of "exact". Of "psis" and "resampled" also ``pareto_k``
        (chain, obs_id) and ``reliable``: k̂ < `good_k`, without which neither mean nor error is to be believed. Of
        "psis" ``pareto_k_f`` (chain, obs_id, …) is the k̂ of w|f − m|, m the median over draws, for an f whose
        tails are heavier than the weights', and ``reliable`` asks the same of it; of an f of few values it is that of
        the weights.

    Raises
    ------
    TypeError
        If f is not callable, or returns something else.
    ValueError
        If f returns other dimensions or values not finite, or mixes data; if the method does not suit the tree.
    NotAvailable
        If the tree has no draws of latents, or no weights and ``method`` is not "q".

    References
    ----------
    Owen 2013, "Monte Carlo theory, methods and examples", equation 9.8; Vehtari, Simpson, Gelman, Yao & Gabry 2024,
    1507.02646.

    Examples
    --------
    >>> import torch, pyrovae as pv
    >>> vae = pv.VAE(pv.priors.Normal(2), pv.likelihoods.Normal(pv.networks.MLP(2, (), 3)),
    ...              pv.guides.Normal(pv.networks.MLP(3, (), 4)))
    >>> tree = pv.posterior(vae, torch.zeros(5, 3), draws=50)
    >>> expectation(tree, lambda draws: draws["z"] ** 2)["mean"].dims
    ('chain', 'obs_id', 'z_dim_0')
    """
    if not callable(f):
        raise TypeError(
            f"f: expected a function of the draws, such as lambda draws: draws['z'] ** 2, got {type(f).__name__}"
        )
    for site in latent_sites(tree):
        variable(tree, "posterior", site)
    method = _method(tree, method)
    draws, first = _asked(tree, f)
    kept = draws.sizes["draw"]
    if kept < FEWEST:
        raise NotAvailable(f"an expectation needs at least {FEWEST} draws per datum to have an error, got {kept}")
    reduce = {"psis": _psis, "q": _q, "resampled": _resampled, "exact": _exact}[method](tree, kept)
    parts, scale = [], abs(first).max()
    for block in _blocks(draws):
        values = _values(f, draws.isel(obs_id=block))
        if block.start == 0 and not np.allclose(values.values[:, :, :1], first, rtol=1e-4, atol=ROUNDING * scale):
            raise ValueError(
                "f: expected a function of each datum by itself, got other values of the first datum where others "
                "stood beside it: take no means over obs_id and draw no random numbers in it"
            )
        parts.append(reduce(values, block))
    out = parts[0] if len(parts) == 1 else xr.concat(parts, "obs_id", join="override")
    return out.assign_attrs(method=method, draws=kept)


def _method(tree: xr.DataTree, method: str | None) -> str:
    """The method asked for, if it suits the tree, or the tree's."""
    if tree.attrs.get("method") == "nuts":
        kind, suits = "of Markov chains", ["exact"]
    elif tree.attrs.get("corrected") == "resample":
        kind, suits = "resampled by weights", ["resampled"]
    else:
        kind, suits = "of a guide", ["psis", "q"]
    if method is not None and method not in suits:
        expected = " or ".join(map(repr, suits))
        raise ValueError(f"method: expected {expected} for this tree, whose draws are {kind}, got {method!r}")
    return suits[0] if method is None else method


def _asked(tree: xr.DataTree, f: Function) -> tuple[xr.Dataset, np.ndarray]:
    """The draws that f asks for, and its values of the first datum."""
    latents, one = tree["posterior"].to_dataset(), slice(0, 1)
    try:
        return latents, _values(f, latents.isel(obs_id=one)).values
    except (KeyError, AttributeError):
        if "posterior_predictive" not in tree.children:
            raise
        predicted = tree["posterior_predictive"].to_dataset()
        both = latents.isel(draw=slice(predicted.sizes["draw"])).assign(predicted.data_vars)
        return both, _values(f, both.isel(obs_id=one)).values


def _values(f: Function, draws: xr.Dataset) -> xr.DataArray:
    """f of its own copy of the draws, (chain, draw, obs_id, …) in double precision."""
    values = f(draws.compute().copy(deep=True))
    if not isinstance(values, xr.DataArray):
        raise TypeError(f"f: expected it to return an xarray.DataArray, got {type(values).__name__}")
    if values.dtype.kind not in "biuf":
        raise TypeError(f"f: expected it to return real numbers, got values of type {values.dtype}")
    sizes = {d: draws.sizes[d] for d in LEAD}
    if {d: values.sizes.get(d) for d in LEAD} != sizes:
        raise ValueError(
            f"f: expected values of the draws' dimensions {sizes} and any others, got {dict(values.sizes)}: return a "
            "value per draw, whose mean is taken here"
        )
    values = values.transpose(*LEAD, ...).astype(float)
    bad = ~np.isfinite(values.values)
    if bad.any():
        labels = draws["obs_id"].values if "obs_id" in draws.coords else np.arange(sizes["obs_id"])
        first = labels[np.nonzero(bad)[2].min()]
        raise ValueError(
            f"f: expected finite values, got {bad.sum()} of {bad.size} that are not, first at obs_id {first}"
        )
    return values


def _blocks(draws: xr.Dataset) -> list[slice]:
    n = draws.sizes["obs_id"]
    step = max(1, int(BLOCK / max(1, draws.nbytes // n)))
    return [slice(start, min(start + step, n)) for start in range(0, n, step)]


def _psis(tree: xr.DataTree, kept: int) -> Reduce:
    try:
        log_weight = log_weights(tree, "an expectation", kept)
    except NotAvailable as error:
        raise NotAvailable(f"{error}; method='q' gives the guide's own expectation") from error
    limit = good_k(kept)

    def reduce(values: xr.DataArray, block: slice) -> xr.Dataset:
        raw = log_weight.isel(obs_id=block).values.astype(float)
        log_w, khat = smoothed(raw)
        inner = (Ellipsis, *[None] * (values.ndim - 3))
        w, x = np.exp(log_w)[inner], values.values
        mean = (w * x).sum(1)
        away = x - mean[:, None]
        variance, error = (w * away**2).sum(1), (w**2 * away**2).sum(1)
        level = 1 / np.exp(2 * log_w).sum(1)[inner]
        ess = np.divide(variance, error, out=np.broadcast_to(level, error.shape).copy(), where=error > 0)
        khat_f = _khat_f(raw[inner], x, khat[inner])
        return _dataset(values, mean, np.sqrt(error), ess, khat, limit, khat_f)

    return reduce


def _khat_f(raw: np.ndarray, x: np.ndarray, khat: np.ndarray) -> np.ndarray:
    """k̂ of w|f − m| (chain, datum, …); that of the weights where f has too few values for a tail."""
    few = (np.diff(np.sort(x, axis=1), axis=1) > 0).sum(1) < x.shape[1] / 5
    out = np.broadcast_to(khat, few.shape).copy()
    if not few.all():
        with np.errstate(divide="ignore"):
            size = np.moveaxis(raw + np.log(abs(x - np.median(x, 1, keepdims=True))), 1, -1)
        out[~few] = psis(size[~few])[1]
    return out


def _q(tree: xr.DataTree, kept: int) -> Reduce:
    def reduce(values: xr.DataArray, block: slice) -> xr.Dataset:
        x = values.values
        error = x.std(1, ddof=1) / math.sqrt(kept)
        return _dataset(values, x.mean(1), error, np.full_like(error, kept))

    return reduce


def _resampled(tree: xr.DataTree, kept: int) -> Reduce:
    khats, ancestors = (variable(tree, "sample_stats", n) for n in ("pareto_k", "ancestor"))
    limit = good_k(variable(tree, "importance", "log_weight").sizes["draw"])

    def reduce(values: xr.DataArray, block: slice) -> xr.Dataset:
        khat = khats.transpose("chain", "obs_id").isel(obs_id=block).values
        ancestor = ancestors.transpose(*LEAD).isel(draw=slice(kept), obs_id=block).values
        x, share = values.values, _repeats(ancestor)[(Ellipsis, *[None] * (values.ndim - 3))] / kept
        square = (x - x.mean(1, keepdims=True)) ** 2
        variance, error = square.mean(1), (share * square).mean(1)
        level = np.broadcast_to(1 / share.mean(1), error.shape).copy()
        ess = np.divide(variance, error, out=level, where=error > 0)
        return _dataset(values, x.mean(1), np.sqrt(error), ess, khat, limit)

    return reduce


def _repeats(ancestor: np.ndarray) -> np.ndarray:
    """How often each draw is there (chain, draw, datum)."""
    column = np.arange(ancestor[:, 0].size).reshape(ancestor[:, :1].shape)
    _, which, counts = np.unique(ancestor + column * (int(ancestor.max()) + 1), return_inverse=True, return_counts=True)
    return counts[which].reshape(ancestor.shape)


def _exact(tree: xr.DataTree, kept: int) -> Reduce:
    def reduce(values: xr.DataArray, block: slice) -> xr.Dataset:
        x = values.values
        mcse, ess = (g(x, chain_axis=0, draw_axis=1, method="mean") for g in (array_stats.mcse, array_stats.ess))
        return _dataset(values.isel(chain=0, drop=True), x.mean((0, 1)), mcse, ess)

    return reduce


def _dataset(
    values: xr.DataArray,
    mean: np.ndarray,
    mcse: np.ndarray,
    ess: np.ndarray,
    khat: np.ndarray | None = None,
    limit: float = math.inf,
    khat_f: np.ndarray | None = None,
) -> xr.Dataset:
    template = values.isel(draw=0, drop=True).drop_attrs()
    out = {name: template.copy(data=v) for name, v in (("mean", mean), ("mcse", mcse), ("ess", ess))}
    if khat is None:
        return xr.Dataset(out)
    out["pareto_k"] = xr.DataArray(khat, dims=("chain", "obs_id"))
    out["reliable"] = out["pareto_k"] < limit
    if khat_f is not None:
        out["pareto_k_f"] = template.copy(data=khat_f)
        out["reliable"] = (out["reliable"] & (out["pareto_k_f"] < limit)).transpose(*template.dims)
    return xr.Dataset(out, attrs={"good_k": limit})
