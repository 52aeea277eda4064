"""Model evidence: log p(x) of each datum by importance sampling, and the expected log predictive density."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import numpy as np
import xarray as xr
from arviz_stats.utils import ELPDDataLOO
from scipy.special import logsumexp

from pyrovae._numbers import at_least
from pyrovae.diagnostics._tree import NotAvailable, by_blocks, chosen, stats
from pyrovae.diagnostics.reliability import pareto_k

__all__ = ["elpd", "importance_evidence", "log_evidence"]


def log_evidence(tree: xr.DataTree, k: list[int] | None = None) -> xr.Dataset:
    """log p̂(x) = log (1/S) Σ_s p(x, z_s)/q(z_s|x) of each datum, and the bound L_K for smaller K.

    L_K is the mean of log (1/K) Σ over disjoint groups of K draws: L_1 is the ELBO, and L_K rises to log p(x) with K.
    ``log_evidence`` is L_S, biased downwards by about Var(w)/(2 S p²); where k̂ is bad it can be far too low.

    Parameters
    ----------
    tree
        Reads ``sample_stats/log_weight``.
    k
        Numbers of draws, 1, 2, 5, 10, … by default.

    Returns
    -------
    xarray.Dataset
        ``log_evidence`` (chain, obs_id), its Monte Carlo standard error ``mcse`` (delta method; NaN of a single draw)
        and the effective number of draws ``ess`` = (Σw)²/Σw²; ``bound`` (chain, k, obs_id), nats. A datum with a weight
        of +∞ or NaN, or none above 0, has an evidence that is ±∞ or NaN, an error of ∞ and no effective draws.

    References
    ----------
    Burda, Grosse & Salakhutdinov 2015, 1509.00519, equation 8.
    """
    log_weight = stats(tree, "log_weight")
    draws = log_weight.sizes["draw"]
    if k is not None and not isinstance(k, Iterable):
        raise TypeError(f"k: expected numbers of draws, such as [1, 10, 100], got {k!r}")
    ks = _grid(draws) if k is None else list(k)
    for size in ks:
        if isinstance(size, bool) or not isinstance(size, (int, np.integer)) or not 1 <= size <= draws:
            raise ValueError(f"k: expected whole numbers between 1 and {draws}, the number of draws, got {size!r}")

    def reduce(block: np.ndarray) -> tuple[np.ndarray, ...]:
        block = block.astype(float)
        return *importance_evidence(np.moveaxis(block, 1, -1)), np.stack([_bound(block, size) for size in ks], 1)

    parts = zip(*by_blocks([log_weight], reduce), strict=True)
    evidence, mcse, ess, bound = (np.concatenate(column, -1) for column in parts)
    template = log_weight.isel(draw=0, drop=True)
    return xr.Dataset(
        {
            "log_evidence": template.copy(data=evidence),
            "mcse": template.copy(data=mcse),
            "ess": template.copy(data=ess),
            "bound": (("chain", "k", "obs_id"), bound),
        },
        coords={"k": ks},
        attrs={"units": "nats", "draws": draws},
    )


def importance_evidence(log_weight: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """log mean w of log weights (…, draw), its Monte Carlo standard error (delta method), and (Σw)²/Σw².

    Where no weight is positive, or one is infinite or NaN, the error is ∞ and the effective number of draws 0.
    """
    draws = log_weight.shape[-1]
    evidence = logsumexp(log_weight, axis=-1) - math.log(draws)
    finite = np.isfinite(evidence)
    above = np.where(finite[..., None], log_weight, -np.inf) - np.where(finite, evidence, 0.0)[..., None]
    relative = np.exp(above)
    mcse = relative.std(-1, ddof=1) / math.sqrt(draws) if draws > 1 else np.full_like(evidence, np.nan)
    total = np.where(finite, (relative**2).sum(-1), 1.0)
    return evidence, np.where(finite, mcse, np.inf), relative.sum(-1) ** 2 / total


def elpd(tree: xr.DataTree, chain: int | None = None) -> ELPDDataLOO:
    """Expected log predictive density of the data in the tree, Σ_i log p̂(x_i), as ArviZ's ELPD object.

    The data must be held out: with one estimate of the parameters, leave-one-out is not defined. The values are
    marginal over z; the object says "LOO" because ArviZ knows no held-out kind. It serves ``az.compare`` and
    ``az.plot_khat``.

    Parameters
    ----------
    tree
        Reads ``sample_stats/log_weight``.
    chain
        Which restart; the one the fit chose by default.

    Returns
    -------
    arviz_stats.utils.ELPDDataLOO
        ``elpd`` and its standard error ``se`` over data, ``elpd_i`` and ``pareto_k`` by ``obs_id``; ``p`` is 0, since
        no parameter was fitted to these data. ``se`` of a single datum is NaN.

    Raises
    ------
    NotAvailable
        If log p̂(x) of a datum is infinite or NaN, or there are fewer than 30 draws.
    ValueError
        If there is no such chain.
    """
    evidence = log_evidence(tree, k=[1])["log_evidence"]
    chain = chosen(tree, evidence) if chain is None else at_least("chain", chain, 0)
    if not chain < evidence.sizes["chain"]:
        raise ValueError(f"chain: expected 0 to {evidence.sizes['chain'] - 1}, got {chain!r}")
    evidence = evidence.isel(chain=chain, drop=True)
    bad = ~np.isfinite(evidence.values)
    if bad.any():
        labels = evidence["obs_id"].values if "obs_id" in evidence.coords else np.arange(bad.size)
        raise NotAvailable(
            f"log p̂(x) is not finite for {bad.sum()} of {bad.size} data, first at obs_id {labels[bad.argmax()]}: give "
            "data that the model can have made, or leave these out by tree.isel(obs_id=…)"
        )
    khat = pareto_k(tree)
    k = khat["pareto_k"].isel(chain=chain, drop=True)
    n = evidence.sizes["obs_id"]
    return ELPDDataLOO(
        elpd=float(evidence.sum()),
        se=float(math.sqrt(n) * evidence.std(ddof=1)) if n > 1 else math.nan,
        p=0.0,
        n_samples=khat.attrs["draws"],
        n_data_points=n,
        scale="log",
        warning=bool((k > khat.attrs["good_k"]).any()),
        good_k=khat.attrs["good_k"],
        elpd_i=evidence.rename("elpd_i"),
        pareto_k=k,
    )


def _grid(draws: int) -> list[int]:
    steps = [m * 10**e for e in range(len(str(draws))) for m in (1, 2, 5)]
    return [k for k in steps if k < draws] + [draws]


def _bound(log_weight: np.ndarray, k: int) -> Any:
    """Mean of L_k over disjoint groups, (chain, datum) of (chain, draw, datum)."""
    groups = log_weight.shape[1] // k
    grouped = log_weight[:, : groups * k].reshape(log_weight.shape[0], groups, k, -1)
    return (logsumexp(grouped, axis=2) - math.log(k)).mean(1)
