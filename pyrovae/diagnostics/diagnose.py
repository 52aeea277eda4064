"""One table of verdicts: what can be trusted, and what to do about the rest."""

from __future__ import annotations

import html
import math
import textwrap
import unicodedata
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from pyrovae.diagnostics._tree import NotAvailable, chosen, latent_sites, stats
from pyrovae.diagnostics.convergence import convergence
from pyrovae.diagnostics.elbo import elbo_terms
from pyrovae.diagnostics.evidence import log_evidence
from pyrovae.diagnostics.latents import active_units, collapse
from pyrovae.diagnostics.reliability import pareto_k

__all__ = ["Diagnosis", "diagnose"]

GAP = 0.5
"""Nats per datum: a bound this close to log p(x) ranks models as the evidence would."""
FEW, SOME = 0.05, 0.25
"""Shares of data with a bad k̂: up to FEW the guide is good, up to SOME usable."""
RHAT = 1.1
RICHER = "a richer guide (a full covariance, if it is diagonal), or a wider network in it"
CHANGE = 0.5

DESCRIBES = "Does it describe these data?"
TIGHT = "Is the bound tight?"
USABLE = "Is q(z|x) usable for each datum?"
USED = "Are all latents used?"
CONVERGED = "Has training converged?"
IN_TIME = "Did training stop in time?"
FAULTS = {
    TIGHT: {"usable": "the ELBO is below log p(x)", "bad": "the ELBO is far below log p(x)"},
    USABLE: {
        "usable": "q(z|x) cannot stand for the posterior of some data",
        "bad": "q(z|x) cannot stand for the posterior of many data",
    },
    USED: {"usable": "some latents carry nothing", "bad": "no latent carries anything"},
    CONVERGED: {"usable": "training may not have converged", "bad": "training has not converged"},
    IN_TIME: {"usable": "training went on a little too long", "bad": "training went on too long"},
}

COLUMNS = ["question", "figure", "threshold", "bad", "verdict", "action"]


@dataclass(frozen=True)
class Diagnosis:
    """The verdicts on one tree. Prints as a table; ``table`` is a DataFrame with a row per check.

    Attributes
    ----------
    table
        Columns question, figure, threshold, bad (share of the data or of the latents that is bad, or NaN), verdict
        ("good", "usable", "bad", "–" where there is nothing to judge, "not available") and action.
    title
        What was judged.
    """

    table: pd.DataFrame
    title: str

    @property
    def verdict(self) -> str:
        """The worst verdict of the table."""
        return next((v for v in ("bad", "usable", "good") if (self.table["verdict"] == v).any()), "not available")

    @property
    def summary(self) -> str:
        """The verdict in words."""
        missing = int((self.table["verdict"] == "not available").sum())
        rest = f" {missing} of {len(self.table)} checks could not be made; the table says why." if missing else ""
        if self.verdict == "not available":
            return "Nothing could be judged; the table says why."
        if self.verdict == "good":
            made = "All checks are good" if not missing else f"The {len(self.table) - missing} checks made are good"
            if self.table.set_index("question")["verdict"].get(USABLE) == "good":
                made += ": the draws can stand for the posterior"
            return f"{made}.{rest}"
        bad = self.table[self.table["verdict"] == self.verdict]
        faults = "; ".join(FAULTS[q][self.verdict] for q in bad["question"])
        lead = "Not to be trusted as it is" if self.verdict == "bad" else "Usable with care"
        return f"{lead}: {faults}. First: {bad['action'].iloc[0]}.{rest}"

    def __str__(self) -> str:
        return _text(self)

    def _repr_html_(self) -> str:
        rows = "".join(
            "<tr>" + "".join(f"<td>{html.escape(_cell(c, v))}</td>" for c, v in row.items()) + "</tr>"
            for _, row in self.table.iterrows()
        )
        head = "".join(f"<th>{html.escape(_HEADS[c])}</th>" for c in COLUMNS)
        title, summary = html.escape(self.title), html.escape(self.summary)
        return f"<p><b>{title}</b></p><table><tr>{head}</tr>{rows}</table><p>{summary}</p>"


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
    log_weight = stats(tree, "log_weight")
    draws, n, chains = (log_weight.sizes[dim] for dim in ("draw", "obs_id", "chain"))
    chain = chosen(tree, log_weight)
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
    return Diagnosis(pd.DataFrame(rows)[COLUMNS], f"{title}{which} · nats per datum")


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
    for site in latent_sites(tree):
        active += np.atleast_1d(active_units(tree, site=site)["active"].values).ravel().tolist()
    try:
        collapsed = sum(int(collapse(tree, site=s)["collapsed"].sum()) for s in latent_sites(tree))
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

_HEADS = {
    "question": "question",
    "figure": "figure",
    "threshold": "threshold",
    "bad": "share bad",
    "verdict": "verdict",
    "action": "what to do",
}


def _number(value: float) -> str:
    return f"{value:.2f}".replace("-", "−")


def _cell(column: str, value: Any) -> str:
    if column == "bad":
        return "–" if pd.isna(value) else f"{value:.0%}"
    return str(value)


def _width(text: str) -> int:
    """Columns on a terminal: a combining accent takes none."""
    return sum(not unicodedata.combining(c) for c in text)


def _text(diagnosis: Diagnosis) -> str:
    columns = [c for c in COLUMNS if c != "action"]
    cells = [[_HEADS[c] for c in columns]] + [
        [_cell(c, row[c]) for c in columns] for _, row in diagnosis.table.iterrows()
    ]
    widths = [max(_width(row[i]) for row in cells) for i in range(len(columns))]
    lines = [diagnosis.title, ""]
    for index, row in enumerate(cells):
        lines.append(
            "  ".join(text + " " * (width - _width(text)) for text, width in zip(row, widths, strict=True)).rstrip()
        )
        if index == 0:
            lines.append("  ".join("─" * width for width in widths))
        else:
            action = diagnosis.table["action"].iloc[index - 1]
            if action != "–" and diagnosis.table["verdict"].iloc[index - 1] != "–":
                lines += textwrap.wrap(action, 100, initial_indent="    → ", subsequent_indent="      ")
    return "\n".join([*lines, "", *textwrap.wrap(diagnosis.summary, 110)])
