"""Correction by importance weights: the posterior's draws, or weights, out of the guide's draws."""

from __future__ import annotations

import numpy as np
import xarray as xr

from pyrovae._numbers import at_least
from pyrovae._rng import Stream, derive
from pyrovae.diagnostics._tree import NotAvailable, by_blocks, chosen, variable
from pyrovae.diagnostics._weights import log_weights, smoothed
from pyrovae.diagnostics.reliability import good_k

__all__ = ["correct"]

METHODS = ("psis", "resample")
PREDICTIVE = ("posterior_predictive", "predictive_stats")
BEFORE = ("log_weight", "log_lik")
"""What k̂, evidence and the terms of the ELBO of a resampled tree are read from: the draws before."""


def correct(tree: xr.DataTree, *, method: str = "psis", draws: int | None = None, seed: int = 0) -> xr.DataTree:
    """A tree whose draws stand for the posterior p(z|x), datum by datum, as far as importance weights reach.

    Where k̂ is bad (``sample_stats/corrected`` is False) the weights do not reach: a few draws carry all of the weight,
    and weighting them moves the draws without making them the posterior's.

    Parameters
    ----------
    tree
        From `pyrovae.posterior`; it is left as it was. One read lazily from a store is worked through by blocks; what
        is new is held in memory, so ask for fewer ``draws`` of a tree that memory would not hold.
    method
        "psis": the same draws, and ``sample_stats/psis_log_weight``, their Pareto-smoothed log weights, which add up
        to 1 over the draws of a datum. They are for `pyrovae.expectation`, `pyrovae.diagnostics.gold_standard` and
        your own averages: ArviZ, figures and `active_units` take the draws as they are, q's. "resample": draws made
        again with replacement by these weights, for whatever takes draws without weights (systematic resampling: a
        draw of weight w is taken ⌊Nw⌋ or ⌈Nw⌉ times).
    draws
        N, of "resample": how many draws per datum to make; as many as there are by default.
    seed
        Decides what is resampled; the global random state is left as it was.

    Returns
    -------
    xarray.DataTree
        With, in ``sample_stats`` (chain, obs_id): ``ess``, the effective number of draws (Σw)²/Σw², less what
        resampling costs, and 0 where weights are infinite or NaN; ``pareto_k``; ``corrected``: k̂ < `good_k`, so that
        the correction can be relied on. ``attrs["corrected"]`` is the method, ``attrs["correction"]`` a summary of the
        chain that the fit chose.

        Of "resample" all that has a value per draw and datum is gathered alike, ``sample_stats/ancestor`` says which of
        the draws before each is, and their weights and log likelihoods are in the group ``importance``: k̂, evidence,
        elpd and the terms of the ELBO are of those.

    Notes
    -----
    A tree holds draws of x for its first P of S draws only, and draw s of x̃ belongs to draw s of z. So
    "resample" takes its first NP/S draws from these P by their weights, x̃ with z, and the others from the rest: two
    strata with a draw's share each, which estimate as well as one does but for a bias of order 1/S more. Where NP/S
    rounds to none, the draws of x̃ are left out, as ``attrs["correction"]`` says.

    Repeats of a draw stand beside each other, so that an autocorrelation sees them.

    Raises
    ------
    NotAvailable
        Of draws of a Markov chain, which need no weights; of data that share latents, which have none of their own;
        with fewer than 30 draws.
    ValueError
        If the tree was corrected before.

    References
    ----------
    Vehtari, Simpson, Gelman, Yao & Gabry 2024, 1507.02646, section 2; Douc, Cappé
    & Moulines 2005, cs/0507025 (systematic resampling).
    """
    if method not in METHODS:
        raise ValueError(f"method: expected one of {', '.join(map(repr, METHODS))}, got {method!r}")
    if draws is not None and method != "resample":
        raise ValueError("draws: expected only with method='resample'; 'psis' weights the draws that there are")
    number = None if draws is None else at_least("draws", draws, 1)
    seed = at_least("seed", seed, 0)
    log_weight = log_weights(tree, "correction")
    if "corrected" in tree.attrs:
        raise ValueError(f"these draws were corrected by {tree.attrs['corrected']!r}: correct the tree they came from")
    out = tree.copy()
    if method == "psis":
        summary, added = _weigh(log_weight)
        out["sample_stats"] = xr.DataTree(tree["sample_stats"].to_dataset().assign(added | summary))
        note = ""
    else:
        before = tree["sample_stats"].to_dataset()
        number = log_weight.sizes["draw"] if number is None else number
        strata, linked = _strata(log_weight.sizes["draw"], _predictive(tree), number)
        summary, ancestor = _resample(log_weight, strata, number, seed)
        for group in ("posterior", *PREDICTIVE):
            for site in tree[group].dataset if group in tree.children else ():
                values = variable(tree, group, str(site))  # of the draws and data that the weights are of
                if "obs_id" not in values.dims:
                    raise NotAvailable(f"all data share the draws of {site!r}: no datum's weights choose among them")
        for name in ("posterior", "sample_stats"):
            if name in out.children:
                out[name] = xr.DataTree(_gather(out[name].to_dataset(), ancestor))
        after = out["sample_stats"].to_dataset().drop_vars("log_weight").assign(summary)
        out["sample_stats"] = xr.DataTree(after)
        out["importance"] = xr.DataTree(before[[name for name in BEFORE if name in before]])
        note = _gather_predictive(out, ancestor[:, :linked])
    out.attrs = dict(tree.attrs) | {"corrected": method, "correction": _note(out, log_weight.sizes["draw"]) + note}
    return out


def _summary(log_weight: xr.DataArray, ess: np.ndarray, khat: np.ndarray) -> dict[str, xr.DataArray]:
    template = log_weight.isel(draw=0, drop=True)
    limit = good_k(log_weight.sizes["draw"])
    values = {"ess": ess, "pareto_k": khat, "corrected": khat < limit}
    return {name: template.copy(data=value) for name, value in values.items()}


def _broken(log_w: np.ndarray, khat: np.ndarray) -> np.ndarray:
    """Whether weights are infinite or NaN (chain, datum), so that equal ones took their place."""
    return np.isinf(khat) & (np.ptp(log_w, axis=1) == 0)


def _weigh(log_weight: xr.DataArray) -> tuple[dict[str, xr.DataArray], dict[str, xr.DataArray]]:
    """The summary of each datum, and its normalised log weights in the type that they came in."""
    parts = []
    for log_w, khat in by_blocks([log_weight], smoothed):
        ess = np.where(_broken(log_w, khat), 0.0, 1 / np.exp(2 * log_w).sum(1))
        parts.append((log_w.astype(log_weight.dtype), khat, ess))
    log_w, khat, ess = (np.concatenate(column, -1) for column in zip(*parts, strict=True))
    return _summary(log_weight, ess, khat), {"psis_log_weight": log_weight.copy(data=log_w)}


def _predictive(tree: xr.DataTree) -> int:
    """How many draws have draws of x."""
    return min((tree[g].sizes["draw"] for g in PREDICTIVE if g in tree.children), default=0)


def _strata(draws: int, kept: int, number: int) -> tuple[list[tuple[slice, int]], int]:
    """Which draws to take from, and how many of them; how many, the first, have draws of x."""
    if kept >= draws:
        return [(slice(draws), number)], number
    first = round(number * kept / draws)
    strata = [(slice(kept), first), (slice(kept, draws), number - first)] if first else [(slice(draws), number)]
    return [s for s in strata if s[1]], first


def _resample(
    log_weight: xr.DataArray, strata: list[tuple[slice, int]], number: int, seed: int
) -> tuple[dict[str, xr.DataArray], np.ndarray]:
    """The summary of each datum, and which draws to take (chain, number, datum)."""
    chains, _, n = log_weight.shape
    offsets = np.random.default_rng(derive(seed, Stream.RESAMPLING)).random((n, chains, len(strata)))
    parts, start = [], 0
    for log_w, khat in by_blocks([log_weight], smoothed):
        stop = start + log_w.shape[2]
        chosen_draws, variance = [], np.zeros_like(khat)
        for k, (these, take) in enumerate(strata):
            share = np.exp(log_w[:, these] - log_w[:, these].max(1, keepdims=True))
            share /= share.sum(1, keepdims=True)
            part = take * share % 1  # each is taken once more with this probability
            variance += ((take * share) ** 2 + part * (1 - part)).sum(1) / number**2
            chosen_draws.append(
                these.indices(log_w.shape[1])[0] + _systematic(share, take, offsets[start:stop, :, k].T)
            )
        ess = np.where(_broken(log_w, khat), 0.0, 1 / variance)
        parts.append((np.concatenate(chosen_draws, 1), khat, ess))
        start = stop
    ancestor, khat, ess = (np.concatenate(column, -1) for column in zip(*parts, strict=True))
    summary = _summary(log_weight, ess, khat)
    return summary | {"ancestor": xr.DataArray(ancestor, dims=("chain", "draw", "obs_id"))}, ancestor


def _systematic(share: np.ndarray, number: int, offset: np.ndarray) -> np.ndarray:
    """Positions (chain, number, datum) in the draws of shares (chain, draw, datum), by one offset in [0, 1) each."""
    chains, draws, n = share.shape
    cumulative = share.cumsum(1)
    cumulative /= cumulative[:, -1:]
    upto = np.clip(np.floor(number * cumulative - offset[:, None]) + 1, 0, number).astype(np.int64)
    counts = np.diff(np.moveaxis(upto, 1, -1), axis=-1, prepend=0)
    rows = np.repeat(np.tile(np.arange(draws, dtype=np.int32), chains * n), counts.ravel())
    return np.moveaxis(rows.reshape(chains, n, number), -1, 1)


def _gather(dataset: xr.Dataset, ancestor: np.ndarray) -> xr.Dataset:
    """The dataset with its draws taken again: those of a datum that the indices (chain, draw, datum) name."""
    taken = {n: _taken(v, ancestor) for n, v in dataset.data_vars.items() if {"draw", "obs_id"} <= set(v.dims)}
    out = dataset.drop_dims("draw").assign(taken).assign_coords(draw=np.arange(ancestor.shape[1]))
    return out[[n for n in dataset.data_vars if n in out]]


def _taken(values: xr.DataArray, ancestor: np.ndarray) -> tuple[tuple[str, ...], np.ndarray, dict[str, object]]:
    values = values.transpose("chain", "draw", "obs_id", ...)
    out = np.empty((*ancestor.shape, *values.shape[3:]), values.dtype)
    start = 0
    for block in by_blocks([values], lambda b: b):
        stop = start + block.shape[2]
        index = ancestor[:, :, start:stop].reshape(*ancestor.shape[:2], -1, *[1] * (block.ndim - 3))
        out[:, :, start:stop] = np.take_along_axis(block, index, 1)
        start = stop
    return tuple(map(str, values.dims)), out, dict(values.attrs)


def _gather_predictive(out: xr.DataTree, ancestor: np.ndarray) -> str:
    """Take the draws of x again with those of z; what there is to say of it."""
    groups = [name for name in PREDICTIVE if name in out.children]
    for name in groups:
        if ancestor.shape[1]:
            out[name] = xr.DataTree(_gather(out[name].to_dataset(), ancestor))
        else:
            del out[name]
    if not groups:
        return ""
    if not ancestor.shape[1]:
        return "; draws of x left out: too few of the draws asked for would have them"
    return f"; {ancestor.shape[1]} draws of x taken again, with those of z that they were made from"


def _note(out: xr.DataTree, draws: int) -> str:
    dataset = out["sample_stats"].dataset
    one = dataset[["ess", "corrected"]].isel(chain=chosen(out, dataset))
    ess, unreliable = one["ess"].values, int((~one["corrected"]).sum())
    return (
        f"median ESS {np.median(ess):.0f} of {draws}, least {ess.min():.0f}; "
        f"{unreliable} of {len(ess)} data not corrected reliably"
    )
