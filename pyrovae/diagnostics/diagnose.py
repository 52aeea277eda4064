"""One table of verdicts: what can be trusted, and what to do about the rest."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from pyrovae.diagnostics._tree import NotAvailable, chosen, latent_sites, stats
from pyrovae.diagnostics.convergence import convergence
from pyrovae.diagnostics.diagnosis import CONVERGED, DESCRIBES, HEADS, IN_TIME, TIGHT, USABLE, USED, Diagnosis
from pyrovae.diagnostics.elbo import elbo_terms
from pyrovae.diagnostics.evidence import log_evidence
from pyrovae.diagnostics.latents import active_units, collapse
from pyrovae.diagnostics.reliability import pareto_k

__all__ = ["diagnose"]

GAP = 0.5
"""Nats per datum: a bound this close to log p(x) ranks models as the evidence would."""
FEW, SOME = 0.05, 0.25
"""Shares of data with a bad k̂: up to FEW the guide is good, up to SOME usable."""
RHAT = 1.1
RICHER = "a richer guide (a full covariance, if it is diagonal), or a wider network in it"
CHANGE = 0.5


def diagnose(tree: xr.DataTree) -> Diagnosis:
    """Judge a posterior tree: figure, threshold, verdict and what to do, a row per question.

    A tree with several chains is judged on the one that the fit chose.

    Parameters
    ----------
    tree
        From `pyrovae.posterior`, best on held-out data.

    Returns
    -------
    Diagnosis
        Prints as a table.
    """
    log_lik = stats(tree, "log_lik")
    draws, n, chains = (log_lik.sizes[dim] for dim in ("draw", "obs_id", "chain"))
    chain = chosen(tree, log_lik)
    figures = Figures(_one_chain(tree, chain))
    rows = []
    for question, check in CHECKS.items():
        try:
            row = check(figures)
        except NotAvailable as error:
            row = {"figure": "–", "verdict": "not available", "action": str(error)}
        rows.append({"question": question, "threshold": "–", "bad": math.nan, "action": "–", **row})
    name = tree.attrs.get("data", "")
    title = f"{tree.attrs.get('program', 'program')} · {n:,} data{f' of {name}' if name else ''} · {draws:,} draws each"
    which = f" · chain {chain + 1} of {chains}" if chains > 1 else ""
    return Diagnosis(pd.DataFrame(rows)[list(HEADS)], f"{title}{which} · nats per datum")


class Figures:
    """What several checks need of a tree, computed once."""

    def __init__(self, tree: xr.DataTree) -> None:
        self.tree = tree

    @cached_property
    def evidence(self) -> xr.DataArray:
        """log p(x) by datum."""
        return log_evidence(self.tree, k=[1])["log_evidence"]

    @cached_property
    def khat(self) -> xr.Dataset:
        """Pareto k by datum."""
        return pareto_k(self.tree)

    @cached_property
    def history(self) -> xr.Dataset:
        """What the optimiser's path shows."""
        return convergence(self.tree)


def _one_chain(tree: xr.DataTree, chain: int) -> xr.DataTree:
    """The tree with one of its chains."""
    groups = {name: node.to_dataset() for name, node in tree.children.items()}
    one = {f"/{name}": g.isel(chain=[chain]) if "chain" in g.dims else g for name, g in groups.items()}
    out = xr.DataTree.from_dict(one)
    out.attrs = tree.attrs
    return out


def _evidence(figures: Figures) -> dict[str, Any]:
    values = figures.evidence
    n = values.sizes["obs_id"]
    error = float(values.std(ddof=1)) / math.sqrt(n) if n > 1 else math.nan
    return {
        "figure": f"elpd {_number(float(values.mean()))} ± {error:.2f}",
        "verdict": "–",
        "action": "compare it with another model's on the same data: az.compare of pv.diagnostics.elpd(tree)",
    }


def _tightness(figures: Figures) -> dict[str, Any]:
    elbo = elbo_terms(figures.tree)["elbo"]
    gap = float((figures.evidence - elbo).mean())
    verdict = "good" if gap < GAP else "usable" if gap < 4 * GAP else "bad"
    lower = float((figures.khat["pareto_k"] > figures.khat.attrs["good_k"]).mean()) > FEW
    return {
        "figure": f"ELBO {_number(float(elbo.mean()))}, gap {'≥ ' if lower else ''}{gap:.2f}",
        "threshold": f"gap < {GAP}",
        "verdict": verdict,
        "action": "–"
        if verdict == "good"
        else "a richer guide (a full covariance, if it is diagonal), or a wider network in it",
    }


def _usability(figures: Figures) -> dict[str, Any]:
    khat = figures.khat
    limit = khat.attrs["good_k"]
    if bool(khat["exact"].all()):
        return {
            "figure": "weights constant: q is exact",
            "threshold": f"k̂ < {limit:.2f}",
            "bad": 0.0,
            "verdict": "good",
        }
    bad = float((khat["pareto_k"] > limit).mean())
    return {
        "figure": f"k̂ median {float(khat['pareto_k'].median()):.2f}",
        "threshold": f"k̂ < {limit:.2f}",
        "bad": bad,
        "verdict": "good" if bad <= FEW else "usable" if bad <= SOME else "bad",
        "action": "–" if bad <= FEW else "a richer guide; do not weight or trust the draws of data with a bad k̂",
    }


def _latents(figures: Figures) -> dict[str, Any]:
    tree, active = figures.tree, []
    sites = [s for s in latent_sites(tree) if tree["posterior"][s].dtype.kind == "f"]
    if not sites:
        raise NotAvailable("the latents of a datum are categories, which have no variance")
    for site in sites:
        active += np.atleast_1d(active_units(tree, site=site)["active"].values).ravel().tolist()
    try:
        collapsed = sum(int(collapse(tree, site=s)["collapsed"].sum()) for s in sites)
        note = f", {collapsed} collapsed" if collapsed else ""
    except NotAvailable:
        note = ""
    idle = 1 - float(np.mean(active))
    return {
        "figure": f"{sum(active)} of {len(active)} active{note}",
        "threshold": "Var E z > 1% of prior",
        "bad": idle,
        "verdict": "good" if idle == 0 else "usable" if idle < 1 else "bad",
        "action": "–" if idle == 0 else "fewer latents; if none is active, a weaker decoder or a smaller learning rate",
    }


def _convergence(figures: Figures) -> dict[str, Any]:
    rhat, change = float(figures.history["rhat"].item()), float(figures.history["change"].item())
    good = rhat < RHAT or abs(change) < CHANGE / 5
    return {
        "figure": f"ELBO {'rises' if change > 0 else 'falls'} {abs(change):.2f}, R̂ {rhat:.2f}",
        "threshold": f"< {CHANGE / 5}, or R̂ < {RHAT}",
        "verdict": "good" if good else "usable" if abs(change) < 2 * CHANGE else "bad",
        "action": "–" if good else "more epochs" if change > 0 else "a lower lr: the bound falls",
    }


def _overfitting(figures: Figures) -> dict[str, Any]:
    if "validation_loss" not in figures.history:
        raise NotAvailable("fit with validation= to see whether training went on too long")
    loss = float(figures.history["validation_loss"].item())
    return {
        "figure": f"{loss:.2f} below its best",
        "threshold": f"< {CHANGE}",
        "verdict": "good" if loss < CHANGE else "usable" if loss < 4 * CHANGE else "bad",
        "action": "–" if loss < CHANGE else "patience=20 in pv.fit, which goes back to the best epoch",
    }


CHECKS: dict[str, Callable[[Figures], dict[str, Any]]] = {
    DESCRIBES: _evidence,
    TIGHT: _tightness,
    USABLE: _usability,
    USED: _latents,
    CONVERGED: _convergence,
    IN_TIME: _overfitting,
}
"""The table's rows, in order: a question, and what answers it with figure, threshold, bad, verdict and action."""


def _number(value: float) -> str:
    return f"{value:.2f}".replace("-", "−")
