"""Draws of the guide against draws of the exact posterior: what the guide gets wrong, and by how much."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import xarray as xr
from arviz_stats.base import array_stats

from pyrovae.diagnostics._observed import refuse_other_data
from pyrovae.diagnostics._tree import NotAvailable, by_blocks, chosen, latent_sites, stats, variable
from pyrovae.diagnostics.sampler import refuse_guide, sampler_checks

__all__ = ["gold_standard"]

FEWEST = 30  # draws
WEIGHTS = "psis_log_weight"

Error = Callable[[np.ndarray], Any]
"""Monte Carlo standard error of the mean of a function of some draws, (chain, draw, …) → (…)."""


def gold_standard(tree: xr.DataTree, exact: xr.DataTree) -> xr.Dataset:
    """Means, standard deviations and correlations of a tree's draws beside those of Markov chains of p(z|x).

    The tree's draws are those of the restart that the fit chose, whose posterior the chains have sampled; corrected
    draws (`pyrovae.correct`) are taken with their weights, or with their repeats. A difference of several of its errors
    is real; a mean that is off by .1 to .2 exact standard deviations is small for most ends, a ratio of .7 is not:
    intervals are then 30 % too short. Take the errors for what they are worth only where ``rhat`` < 1.01.

    Parameters
    ----------
    tree
        Of `pyrovae.posterior`, holding at least the data of ``exact``.
    exact
        Of ``pyrovae.posterior(fit, some_data, method="nuts")``; matched on the coordinate ``obs_id``, so that some
        data with labels of their own (rows of a DataFrame) or the first n are compared with the same in ``tree``.

    Returns
    -------
    xarray.Dataset
        For each latent site z of real values, (obs_id, …): ``z_mean``, (mean − exact mean) / exact sd; ``z_sd``,
        sd / exact sd; and ``z_mean_mcse``, ``z_sd_mcse``, their Monte Carlo standard errors. By ``obs_id``:
        ``correlation``, the largest absolute difference between the correlations of any two latent dimensions of a
        datum, 0 if it has one, with the error of that difference ``correlation_mcse``, of which the largest of many is
        about 2 or 3 where there is nothing to see; ``rhat`` of the exact draws.

    Raises
    ------
    NotAvailable
        If ``exact`` is not of Markov chains, either has fewer than 30 draws, or the chains have not moved.
    ValueError
        If ``tree`` lacks data of ``exact``, or has others under their labels, or the two differ in their latents.

    References
    ----------
    Errors by the delta method: a figure's influence function over the draws is averaged with the error of independent
    draws, of Markov chains and of resampled draws (ArviZ's MCSE: Vehtari et al. 2021, 1903.08008), or of
    self-normalised importance sampling (Owen 2013, "Monte Carlo theory, methods and examples", section 9.2).
    """
    refuse_guide(exact)
    names = latent_sites(tree)
    if names != latent_sites(exact):
        raise ValueError(f"the trees differ in their latents: {', '.join(names)} and {', '.join(latent_sites(exact))}")
    names = [n for n in names if np.issubdtype(variable(exact, "posterior", n).dtype, np.floating)]
    ours, weights = _draws(tree, exact, names)
    theirs = [variable(exact, "posterior", n) for n in names]
    for ours_n, theirs_n in zip(ours, theirs, strict=True):
        if ours_n.isel(chain=0, draw=0).shape != theirs_n.isel(chain=0, draw=0).shape:
            raise ValueError(f"the trees differ in the shape of {ours_n.name!r}: are they of the same program?")
    few = min(ours[0].sizes["draw"], theirs[0].sizes["draw"])
    if few < FEWEST:
        raise NotAvailable(f"a comparison needs at least {FEWEST} draws of each, got {few}: raise draws=")
    chains = tree.attrs.get("method") == "nuts" or "importance" in tree.children  # or repeats stand side by side

    def reduce(*blocks: np.ndarray) -> list[np.ndarray]:
        k = len(names)
        q, p = (
            np.concatenate([b.reshape(*b.shape[:3], -1) for b in half], -1) for half in (blocks[:k], blocks[k : 2 * k])
        )
        w = np.exp(blocks[2 * k].astype(float)) if weights is not None else None
        return _compare(q.astype(float), p.astype(float), w, chains)

    extra = [] if weights is None else [weights]
    parts = list(by_blocks([*ours, *theirs, *extra], reduce))
    figures = [np.concatenate(column) for column in zip(*parts, strict=True)]
    obs_id = theirs[0]["obs_id"]
    out: dict[str, xr.DataArray] = {}
    start = 0
    for site in theirs:
        template = site.isel(chain=0, draw=0, drop=True).transpose("obs_id", ...)
        size = template.size // len(obs_id)
        for suffix, values in zip(("mean", "mean_mcse", "sd", "sd_mcse"), figures, strict=False):
            out[f"{site.name}_{suffix}"] = template.copy(data=values[:, start : start + size].reshape(template.shape))
        start += size
    checks = sampler_checks(exact)
    for name, values in zip(("correlation", "correlation_mcse"), figures[4:], strict=True):
        out[name] = checks["rhat"].copy(data=values)
    out["rhat"] = checks["rhat"]
    return xr.Dataset(out, attrs={"weighted": int(weights is not None), "draws": ours[0].sizes["draw"]})


def _draws(tree: xr.DataTree, exact: xr.DataTree, names: list[str]) -> tuple[list[xr.DataArray], xr.DataArray | None]:
    """The tree's draws of the data of ``exact``, in their order, and their normalised log weights if they have any."""
    theirs = variable(exact, "posterior", names[0])["obs_id"].to_index()
    posterior = tree["posterior"].dataset
    own = posterior["obs_id"].to_index()
    position = own.get_indexer(theirs) if own.is_unique and theirs.is_unique else np.full(len(theirs), -1)
    if (position < 0).any():
        missing = theirs[position < 0].tolist()
        raise ValueError(
            f"obs_id: exact holds {len(missing)} data that the tree lacks or does not tell apart (first: "
            f"{missing[0]!r}): make both of the same data, or of rows of one DataFrame, whose obs_id says "
            "which they are"
        )
    if "observed_data" in tree.children and "observed_data" in exact.children:  # as labels 0, 1, … say nothing
        refuse_other_data("exact", exact, "tree", tree, position)
    chains = slice(None)
    if tree.attrs.get("method") != "nuts":
        best = chosen(tree, posterior)
        chains = slice(best, best + 1)
    weighted = "sample_stats" in tree.children and WEIGHTS in tree["sample_stats"].dataset
    weights = stats(tree, WEIGHTS).isel(chain=chains, obs_id=position) if weighted else None
    return [posterior[n].isel(chain=chains, obs_id=position) for n in names], weights


def _compare(q: np.ndarray, p: np.ndarray, weights: np.ndarray | None, chains: bool) -> list[np.ndarray]:
    """Differences of draws (chain, draw, n, dim) and their errors, (n, dim) four times and (n,) twice."""
    n, dim = p.shape[2:]
    out = [np.zeros((n, dim)) for _ in range(4)] + [np.zeros(n) for _ in range(2)]
    for i in range(n):
        error_p: Error = _chain_error
        w = None if weights is None else weights[:, :, i] / weights[:, :, i].sum()
        error_q: Error = _chain_error if chains else _independent_error if w is None else _weighted(w)
        (mean_q, sd_q, y_q), (mean_p, sd_p, y_p) = _standardised(q[:, :, i], w), _standardised(p[:, :, i], None)
        fixed = (sd_p == 0) & (sd_q == 0) & np.isclose(mean_q, mean_p)  # constant by construction
        if (sd_p[~fixed] == 0).any():
            raise NotAvailable(f"the exact draws of the datum at position {i} do not move: run longer chains")
        unit = np.where(fixed, 1.0, sd_p)
        mean, ratio = (mean_q - mean_p) / unit, np.where(fixed, 1.0, sd_q / unit)
        out[0][i], out[2][i] = np.where(fixed, 0.0, mean), ratio
        out[1][i] = np.hypot(error_q(sd_q / unit * y_q), error_p(y_p + mean * (y_p**2 - 1) / 2))
        out[3][i] = ratio * np.hypot(error_q((y_q**2 - 1) / 2), error_p((y_p**2 - 1) / 2))
        out[1][i][fixed] = out[3][i][fixed] = 0.0
        if dim > 1:
            out[4][i], out[5][i] = _correlation(y_q, y_p, w, error_q, error_p)
    return out


def _standardised(draws: np.ndarray, weights: np.ndarray | None) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Mean and standard deviation (dim,) of draws (chain, draw, dim), and these standardised."""
    mean = np.average(draws, (0, 1)) if weights is None else np.einsum("cd,cdk->k", weights, draws)
    off = draws - mean
    off[:, :, np.ptp(draws, (0, 1)) == 0] = 0.0
    sd = np.sqrt(_moment(off, weights).diagonal())
    return mean, sd, off / np.where(sd > 0, sd, 1.0)


def _moment(y: np.ndarray, weights: np.ndarray | None) -> np.ndarray:
    """E[y yᵀ] (dim, dim); of unweighted draws that have their own mean, without its bias."""
    if weights is None:
        flat = y.reshape(-1, y.shape[-1])
        return np.asarray(flat.T @ flat / (len(flat) - 1))
    return np.asarray(np.einsum("cd,cdj,cdk->jk", weights, y, y))


def _correlation(
    y_q: np.ndarray, y_p: np.ndarray, weights: np.ndarray | None, error_q: Error, error_p: Error
) -> tuple[float, float]:
    r_q, r_p = _moment(y_q, weights), _moment(y_p, None)
    above = np.triu_indices(len(r_q), 1)
    worst = int(np.abs(r_q - r_p)[above].argmax())
    j, k = above[0][worst], above[1][worst]
    errors = [
        error(y[..., j] * y[..., k] - r[j, k] / 2 * (y[..., j] ** 2 + y[..., k] ** 2))
        for error, y, r in ((error_q, y_q, r_q), (error_p, y_p, r_p))
    ]
    return float(abs(r_q[j, k] - r_p[j, k])), float(np.hypot(*errors))


def _independent_error(values: np.ndarray) -> Any:
    return values.std((0, 1), ddof=1) / np.sqrt(values.shape[0] * values.shape[1])


def _weighted(weights: np.ndarray) -> Error:
    """Of functions whose weighted mean is 0."""
    return lambda values: np.sqrt(np.einsum("cd,cd...->...", weights**2, values**2))


def _chain_error(values: np.ndarray) -> Any:
    moves = np.ptp(values, (0, 1)) > 0
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(moves, array_stats.mcse(values, chain_axis=0, draw_axis=1, method="mean"), 0.0)
