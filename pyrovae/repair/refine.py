"""Better draws for the data that the guide serves badly."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
import xarray as xr

from pyrovae._numbers import at_least, positive
from pyrovae._rng import Stream, derive
from pyrovae.diagnostics._tree import chosen, one_chain, point_sites, stats, variable
from pyrovae.diagnostics.evidence import log_evidence
from pyrovae.diagnostics.reliability import good_k, pareto_k
from pyrovae.draws.local import FAMILIES, LR, STEPS, improve_all, log_p
from pyrovae.draws.posterior import make_tree
from pyrovae.draws.target import Evaluation, evaluation
from pyrovae.guides._local import choice

__all__ = ["refine"]

REPLACED = ("posterior", "posterior_predictive", "predictive_stats", "sample_stats")
SAME = 1e-3  # relative, and in nats: log p(x, z) of the tree's draws by the fit at hand


def refine(
    fit: Any,
    data: Any,
    *,
    context: Any = None,
    draws: int = 1000,
    family: str = "student",
    steps: int = STEPS,
    lr: float = LR,
    seed: int = 0,
    tree: xr.DataTree | None = None,
    everything: bool = False,
) -> xr.DataTree:
    """The tree of `pyrovae.posterior` in which the data with a bad k̂ have draws of a q improved for each of them.

    The model stays as it is: gradient steps on a datum's own ELBO find a better q(z|x) than the guide gives it, and its
    draws, densities and predictions take the place of the guide's. Those whose k̂ did not fall keep the draws they had;
    where both k̂ are good, the draws with the larger effective number stay. k̂ sees the part of the posterior that q
    reaches: where this has several modes, q is at the one that was found.

    Parameters
    ----------
    fit
        A `pyrovae.Fit`, of whose restarts the chosen one is taken, or a program.
    data, context
        As for `pyrovae.posterior`.
    draws
        Draws per datum.
    family
        "student": a multivariate t distribution of the unconstrained latents with max(10, 1.25 · their number) degrees
        of freedom, its location and scale from steps on the ELBO of a Normal, then from the moments of weighted draws.
        Its tails keep the weights small: the best k̂, and a bound some tenths of a nat lower than that of "full", a
        Normal with full covariance. "guide": the guide's own family.
    steps, lr
        Of Adam, and its rate at first. One rate suits all data: q is measured in units of where it starts.
    seed
        Decides every draw; the global random state is left as it was.
    tree
        A tree of these data by this fit, whose draws are kept where they are good; else it is made. The tree itself is
        left as it was. One that was refined before is refined further.
    everything
        Improve all data but those whose weights are constant, not only those with a bad k̂.

    Returns
    -------
    xarray.DataTree
        One chain, in memory. Of refined data, ``log_q`` is the density of the improved q, and ``kl_<site>`` the
        divergence of its cells from the prior's by Monte Carlo; a variable by datum that an improved q does not have,
        such as the divergence of a site that is no longer independent over cells, is left out for all. New in
        ``sample_stats``: ``refined`` (obs_id), and ``pareto_k_before`` (chain, obs_id), k̂ of the guide's draws.
        ``attrs["refined"]`` says in words what was done. `pyrovae.diagnostics.pareto_k` of the tree is k̂ of the
        draws that it now holds.

    Raises
    ------
    ValueError
        If the family is not to be had of the program, with the reason; if the data are drawn anew for each batch; or
        if the tree is not of these data and this fit, or was corrected.
    NotAvailable
        If k̂ is: with fewer than 30 draws, or latents that data share.

    References
    ----------
    Cremer, Li & Duvenaud 2018, 1801.03558 (local inference); Yao, Vehtari, Simpson & Gelman 2018, 1802.02538, section
    3 (k̂).

    Examples
    --------
    >>> import pyrovae as pv
    >>> vae = pv.VAE(pv.priors.Normal(2), pv.likelihoods.Normal(pv.networks.MLP(2, (), 3)),
    ...              pv.guides.Normal(pv.networks.MLP(3, (), 4)))
    >>> tree = refine(vae, torch.zeros(4, 3), draws=100, everything=True)
    >>> int(tree["sample_stats"]["refined"].sum())
    4
    """
    choice("family", family, FAMILIES)
    steps, lr, seed = at_least("steps", steps, 1), positive("lr", lr), at_least("seed", seed, 0)
    if tree is None:
        tree = make_tree(fit, data, context=context, draws=draws, seed=seed, copies=1)
    points = point_sites(tree)
    weighed = stats(tree, "log_p" if points else "log_weight")
    if points and family == "guide":
        raise ValueError(
            f"family='guide': q of the latent {', '.join(map(repr, points))} is a point, and stays one whatever is "
            "improved: choose family='full' or 'student'"
        )
    if "corrected" in tree.attrs:
        raise ValueError("these draws were corrected by weights: refine the tree that they came from, and correct then")
    out = one_chain(tree, chosen(tree, weighed))
    with evaluation(fit, data, context) as e:
        if e.batches.data.draw is not None:
            raise ValueError(
                "these data are drawn anew for each batch, so that a datum is not the same twice: draw them once, as "
                "by data.binarize('static'), and make the tree of that"
            )
        _refuse_other(e, out)
        whole = e.batches.data
    limit = good_k(weighed.sizes["draw"])
    if points:
        before = xr.full_like(weighed.isel(draw=0, drop=True), np.inf, dtype=float)
        rows = np.arange(before.sizes["obs_id"])
    else:
        judged = pareto_k(out)
        before = judged["pareto_k"]
        rows = np.flatnonzero(~judged["exact"].values[0] if everything else before.values[0] > limit)
    n = before.sizes["obs_id"]
    better, groups = np.zeros(n, bool), {name: node.to_dataset() for name, node in out.children.items()}
    if len(rows):
        some = whole.take(rows)
        with evaluation(fit, some) as e:
            local = improve_all(e, family, steps=steps, lr=lr, seed=seed)
        discrete = any(s.name in groups["posterior"] for s in e.plan.discrete)
        kept = groups["posterior_predictive"].sizes["draw"] if "posterior_predictive" in groups else 0
        new = make_tree(
            fit,
            some,
            draws=weighed.sizes["draw"],
            seed=derive(seed, Stream.REFINEMENT),
            predictive=kept,
            discrete=discrete,
            copies=1,
            sampler=local.sampler(weighed.sizes["draw"], discrete=discrete),
        )
        taken = np.ones(n, bool) if points else _better(out.isel(obs_id=rows), new, limit)
        better[rows] = taken
        if taken.any():
            for name in REPLACED:
                if name in groups:
                    groups[name] = _replaced(groups[name], new[name].to_dataset(), rows[taken], np.flatnonzero(taken))
    groups["sample_stats"] = _told(groups["sample_stats"], before, better)
    groups["sample_stats"].attrs.pop("point_sites", None)
    result = xr.DataTree.from_dict({f"/{name}": group for name, group in groups.items()})
    after = pareto_k(result)["pareto_k"].values[0]
    result.attrs = dict(tree.attrs) | {
        "refined": f"{better.sum()} of {n} data: {family}, {steps} steps; k̂ bad of {int((before > limit).sum())} "
        f"before, of {(after > limit).sum()} after"
    }
    return result


def _refuse_other(e: Evaluation, tree: xr.DataTree) -> None:
    """The tree must be of these data, and its densities those of this fit."""
    ours, n = e.batches.data.coords.get("obs_id"), len(e.batches)
    labels = np.arange(n) if ours is None else ours[1]
    theirs = variable(tree, "sample_stats", "log_p")
    if not np.array_equal(theirs["obs_id"].values, labels):
        raise ValueError(
            f"tree: expected the {n} data given, in their order, got {theirs.sizes['obs_id']} with other obs_id: make "
            "it with pv.posterior of the same fit and data"
        )
    found = np.empty(n)
    for block, batch in e.blocks(1):
        at = {"chain": 0, "draw": 0, "obs_id": block}
        latents = {
            s.name: torch.as_tensor(variable(tree, "posterior", s.name).isel(at).values).to(batch.x.device)[None]
            for s in e.plan.latents
        }
        found[block] = log_p(e.program, e.plan, batch, latents)[0].cpu().numpy()
    known = theirs.isel(chain=0, draw=0).values.astype(float)
    with np.errstate(invalid="ignore"):
        other = ~(abs(found - known) <= SAME * (1 + abs(known))) & np.isfinite(known)
    if other.any():
        i = int(np.flatnonzero(other)[0])
        raise ValueError(
            f"tree: log p(x, z) of its first draw of datum {labels[i]} is {known[i]:.4g}, and {found[i]:.4g} by this "
            "fit and these data: it was made of others. Make it with pv.posterior of the same fit and data"
        )


def _better(before: xr.DataTree, after: xr.DataTree, limit: float) -> np.ndarray:
    """Of which data the draws after are better: k̂ is lower, or, where both are good, more of them are effective.

    k̂ of nearly constant weights is that of their noise.
    """
    old, new = (pareto_k(tree)["pareto_k"].values[0] for tree in (before, after))
    few, many = (log_evidence(tree, k=[1])["ess"].values[0] for tree in (before, after))
    return np.where((old < limit) & (new < limit), many > few, new < old)


def _replaced(group: xr.Dataset, new: xr.Dataset, rows: np.ndarray, places: np.ndarray) -> xr.Dataset:
    """The group with the new values of some data; without the variables by datum that these lack."""
    out = {}
    for name, values in group.data_vars.items():
        if "obs_id" not in values.dims or name in ("refined", "pareto_k_before"):
            continue
        if name not in new:
            group = group.drop_vars([name])
            continue
        theirs = new[name].transpose(*values.dims).values
        array, axis = values.values.copy(), values.dims.index("obs_id")
        np.moveaxis(array, axis, 0)[rows] = np.moveaxis(theirs, axis, 0)[places]
        out[name] = values.copy(data=array)
    return group.assign(out)


def _told(group: xr.Dataset, before: xr.DataArray, better: np.ndarray) -> xr.Dataset:
    """Which data were refined, now or before, and k̂ of the guide's draws."""
    if "refined" in group:
        return group.assign(refined=group["refined"] | better)
    return group.assign(refined=("obs_id", better), pareto_k_before=before)
