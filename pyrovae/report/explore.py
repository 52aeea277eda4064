"""What the interactive plot of the latents knows of each datum."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import matplotlib as mpl
import numpy as np
import xarray as xr
from matplotlib.colors import to_hex

from pyrovae.diagnostics import elbo_terms, log_evidence, pareto_k
from pyrovae.diagnostics._observed import observed_name
from pyrovae.diagnostics._tree import NotAvailable, chosen, latent_sites, variable
from pyrovae.plots._colours import Colours
from pyrovae.plots._latents import posterior_means
from pyrovae.plots._style import BLUE, ORANGE, RED
from pyrovae.plots.latent import _order
from pyrovae.report.sprites import as_sheets, as_values, packed

__all__ = ["BUDGET", "explorer"]

BUDGET = 6_000_000
"""Bytes of the page that the data and their reconstructions may take; where they take more, fewer are shown."""
MOST_DATA, MOST_DIMS, MOST_LABELS = 10_000, 32, 6
PILOT = 500  # data whose size tells how many fit
ZONES = (("usable", BLUE), ("doubtful", ORANGE), ("no finite mean", RED))


def explorer(tree: xr.DataTree) -> dict[str, Any]:
    """Posterior means, verdicts, data and reconstructions of up to `MOST_DATA` data, as JSON takes them.

    Of more data than fit into `BUDGET`, a random subset stratified by label and k̂ is taken, the same for the same tree.

    Raises
    ------
    NotAvailable
        If the tree holds no latents per datum.
    """
    first = variable(tree, "posterior", latent_sites(tree)[0])
    chain = chosen(tree, first)
    names, means = posterior_means(tree, chain)
    order, notes = _order(tree, means, chain)
    figures, lacking = _figures(tree, chain)
    labels = _labels(tree, len(means))
    rank = figures.get("khat", np.zeros(len(means)))
    rows, shown = _fitting(_shown(tree, chain), _strata(rank, labels), len(means))
    if "khat" in figures:
        labels.append(_zones(figures["khat"], figures["good"], figures["exact"]))
    return {
        "total": len(means),
        "ids": first["obs_id"].values[rows].tolist() if "obs_id" in first.coords else rows.tolist(),
        "chain": [chain + 1, first.sizes["chain"], "chain" if tree.attrs.get("method") == "nuts" else "restart"],
        "latents": [_short(names[i], notes[i], means[rows, i]) for i in order[:MOST_DIMS]],
        "hidden": max(0, len(order) - MOST_DIMS),
        "figures": {n: packed(v[rows]) for n, v in figures.items() if n not in ("good", "exact")},
        "good": figures.get("good"),
        "exact": np.flatnonzero(figures["exact"][rows]).tolist() if "exact" in figures else [],
        "labels": [_chosen(of, rows) for of in labels],
        "scale": [to_hex(c) for c in mpl.colormaps["viridis"](np.linspace(0, 1, 17))],
        "shown": shown,
        "lacking": lacking,
    }


def _short(name: str, note: str, values: np.ndarray) -> dict[str, Any]:
    """A latent dimension in two bytes a datum: 0 to 65,534 between its extremes, 65,535 if it is no number."""
    finite = values[np.isfinite(values)]
    low, high = (float(finite.min()), float(finite.max())) if finite.size else (0.0, 1.0)
    step = (high - low) / 65_534 or 1.0
    short = np.where(np.isfinite(values), np.rint((np.nan_to_num(values) - low) / step), 65_535)
    return {"name": name, "note": note.strip(" ()"), "low": low, "step": step, "values": packed(short, "<u2")}


def _figures(tree: xr.DataTree, chain: int) -> tuple[dict[str, Any], list[str]]:
    """ELBO, log p̂(x), its error, their gap and k̂ of each datum as far as the tree has them, and why not the others."""
    found: dict[str, Any] = {}
    lacking = []

    def terms() -> None:
        found["elbo"] = elbo_terms(tree)["elbo"].isel(chain=chain).values

    def evidence() -> None:
        result = log_evidence(tree, k=[1]).isel(chain=chain)
        found.update(evidence=result["log_evidence"].values, error=result["mcse"].values)

    def khat() -> None:
        result = pareto_k(tree)
        one = result.isel(chain=chain)
        found.update(khat=one["pareto_k"].values, good=float(result.attrs["good_k"]), exact=one["exact"].values)

    for name, read in (("ELBO", terms), ("log p̂(x)", evidence), ("k̂", khat)):
        try:
            read()
        except NotAvailable as error:
            lacking.append(f"{name}: {error}")
    if "elbo" in found and "evidence" in found:
        with np.errstate(invalid="ignore"):  # of a datum with infinite weights
            found["gap"] = found["evidence"] - found["elbo"]
    return found, lacking


def _labels(tree: xr.DataTree, n: int) -> list[dict[str, Any]]:
    """Classes or numbers of each datum, ``label`` first: the variables in ``constant_data`` that have one a datum."""
    constant = tree["constant_data"].dataset if "constant_data" in tree.children else xr.Dataset()
    names = [str(name) for name, v in constant.items() if v.dims == ("obs_id",) and v.dtype.kind in "biufUOT"]
    found: list[dict[str, Any]] = []
    for name in sorted(names, key=lambda name: name != "label")[:MOST_LABELS]:
        colours = Colours.of(tree, name, n)
        values = constant[name].values
        if colours.classes is None or colours.members is None:
            found.append({"name": name, "values": values.astype(float)})
            continue
        classes, palette = [str(c) for c in colours.classes], list(colours.palette)
        found.append({"name": name, "members": colours.members, "classes": classes, "palette": palette})
        if classes[-1] == "others":
            found[-1]["own"] = values
    return found


def _chosen(label: dict[str, Any], rows: np.ndarray) -> dict[str, Any]:
    """The chosen data's part of a label, as JSON takes it."""
    kinds = {"members": lambda v: packed(v, "u1"), "values": packed, "own": lambda v: [str(one) for one in v]}
    return {key: kinds[key](v[rows]) if key in kinds else v for key, v in label.items()}


def _zones(khat: np.ndarray, good: float, exact: np.ndarray) -> dict[str, Any]:
    """k̂ as classes, in the words of `pyrovae.plots.plot_khat`."""
    members = np.where(exact | (khat <= good), 0, np.where(khat <= 1, 1, 2))
    names = [f"{ZONES[0][0]} (k̂ ≤ {good:.2f})", ZONES[1][0], f"{ZONES[2][0]} (k̂ > 1)"]
    colours = [colour for _, colour in ZONES]
    return {"name": "k̂", "members": members, "classes": names, "palette": colours}


def _strata(rank: np.ndarray, labels: list[dict[str, Any]]) -> np.ndarray:
    """The data ordered by class, and by k̂ within each."""
    classes = next((of["members"] for of in labels if "members" in of), np.zeros(len(rank)))
    return np.lexsort((np.nan_to_num(rank), classes))


def _subset(strata: np.ndarray, count: int) -> np.ndarray:
    """One of each of so many strata of equal size, in the data's order."""
    if count >= len(strata):
        return np.arange(len(strata))
    edges = np.linspace(0, len(strata), count + 1)
    inside = np.random.default_rng(0).uniform(size=count)
    at = (edges[:-1] + inside * np.diff(edges)).astype(int)
    return np.sort(strata[np.unique(np.minimum(at, len(strata) - 1))])


def _shown(tree: xr.DataTree, chain: int) -> Callable[[np.ndarray], dict[str, Any] | None]:
    """What is shown of the chosen data: images, or else values."""
    observed, predicted = None, None
    for group in ("observed_data", "posterior_predictive"):
        if group not in tree.children or not tree[group].dataset.data_vars:
            continue
        values = variable(tree, group, observed_name(tree, group, None if observed is None else str(observed.name)))
        if group == "observed_data":
            observed = values.transpose("obs_id", ...)
        else:
            predicted = values.isel(chain=chain).transpose("draw", "obs_id", ...)

    def make(rows: np.ndarray) -> dict[str, Any] | None:
        made = as_sheets(observed, predicted, rows) or as_values(observed, predicted, rows)
        return made if made is None or predicted is None else {**made, "draws": predicted.sizes["draw"]}

    return make


def _fitting(
    make: Callable[[np.ndarray], dict[str, Any] | None], strata: np.ndarray, n: int
) -> tuple[np.ndarray, dict[str, Any] | None]:
    """As many data as `BUDGET` holds, and what is shown of them."""
    count = min(n, MOST_DATA)
    if count > PILOT:
        each = len(json.dumps(make(_subset(strata, PILOT)))) / PILOT
        count = min(count, int(0.95 * BUDGET / each))
    while True:
        rows = _subset(strata, count)
        shown = make(rows)
        size = len(json.dumps(shown))
        if size <= BUDGET or count <= 1:
            return rows, shown
        count = max(1, int(0.9 * count * BUDGET / size))
