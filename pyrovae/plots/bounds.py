"""The importance-weighted bound by its number of draws."""

from __future__ import annotations

import math

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.ticker import NullLocator, StrMethodFormatter

from pyrovae.diagnostics import log_evidence
from pyrovae.diagnostics._tree import NotAvailable, chosen
from pyrovae.plots._style import BLUE, INK, RED, Drawn, number, one_axes, styled, subtitle, wants_figure

__all__ = ["plot_bounds"]


@styled
def plot_bounds(tree: xr.DataTree, *, ax: Axes | None = None, backend: str | None = None) -> Drawn:
    """Mean over the data of the bound L_K against K: from the ELBO (K = 1) to the estimate of log p(x) with all draws.

    How to read it: the rise from left to right is how far the ELBO lies below log p(x), at least. A curve that is flat
    at its right end has arrived; one that still rises has not, and the truth lies above. The bars are ± 2 standard
    errors over data of the gain on the ELBO, datum by datum, so that they say whether the rise is real.

    Parameters
    ----------
    tree
        Reads ``sample_stats/log_weight``.
    ax
        Axes to draw on; a new figure by default.
    backend
        None or "matplotlib" to draw, "none" for what would be drawn.

    Returns
    -------
    matplotlib.figure.Figure
        Or a Dataset: ``bound``, mean over data of L_K (chain, k), ``log_evidence`` (chain), and of several data
        the standard errors over them: ``gain_se`` (chain, k) of the gain on the ELBO, ``log_evidence_se`` (chain).
        ``attrs["chosen"]`` is the position of the chain that the fit chose.
    """
    draw = wants_figure(backend)
    found = _figures(tree)
    if not draw:
        return found
    best, ks, n = found.attrs["chosen"], found["k"].values, found.attrs["data"]
    figure, ax = one_axes(ax)
    mean = found["bound"].values
    for chain in range(len(mean)):
        if chain != best:
            ax.plot(ks, mean[chain], color=BLUE, lw=1, alpha=0.4)
    error = found["gain_se"].values[best] if n > 1 else np.zeros(len(ks))
    ax.errorbar(ks, mean[best], yerr=2 * error, color=BLUE, lw=1.8, marker="o", ms=5, capsize=3, label="bound $L_K$")
    evidence = float(found["log_evidence"][best])
    ax.axhline(evidence, color=RED, lw=1.2, ls=(0, (4, 3)), zorder=1)
    ax.set_xscale("log")
    _name_ends(ax, mean[best], 2 * error, evidence, ks)
    if ks.max() < 10:
        ax.set_xticks(ks)
    ax.xaxis.set_major_formatter(StrMethodFormatter("{x:,.0f}"))
    ax.xaxis.set_minor_locator(NullLocator())
    ax.set(xlabel="K, draws per bound", ylabel="mean over data (nats per datum)")
    ax.grid(axis="y", color="#e4e7eb", lw=0.8)
    spread = f" ± {number(float(found['log_evidence_se'][best]))}" if n > 1 else ""
    gap = number(evidence - mean[best, 0])
    subtitle(
        ax, "From the ELBO to log p(x)", f"log p(x) ≈ {number(evidence)}{spread} over {n:,} data; {gap} above the ELBO"
    )
    return figure


def _figures(tree: xr.DataTree) -> xr.Dataset:
    result = log_evidence(tree)
    bound, evidence = (result[name].transpose("chain", ..., "obs_id") for name in ("bound", "log_evidence"))
    n = bound.sizes["obs_id"]
    infinite = int(np.sum(~np.isfinite(bound.values).all((0, 1))))
    if infinite:
        raise NotAvailable(f"the bound or log p̂(x) of {infinite} of {n} data is not finite: look at their log_weight")
    found = {"bound": bound.mean("obs_id"), "log_evidence": evidence.mean("obs_id")}
    if n > 1:
        gain = bound - bound.isel(k=0, drop=True)
        for name, values in (("gain_se", gain), ("log_evidence_se", evidence)):
            found[name] = values.std("obs_id", ddof=1) / math.sqrt(n)
    return xr.Dataset(found, attrs={"units": "nats per datum", "data": n, "chosen": chosen(tree, result)})


def _name_ends(ax: Axes, mean: np.ndarray, error: np.ndarray, evidence: float, ks: np.ndarray) -> None:
    """Say what the first point and the line are, clear of the curve."""
    span = max(float(np.ptp(mean)), 0.1)
    ax.set_ylim(mean.min() - 0.16 * span, max(float((mean + error).max()), evidence) + 0.16 * span)
    ax.annotate(f"ELBO {number(mean[0])}", (ks[0], mean[0]), (10, -3), textcoords="offset points", va="top", color=INK)
    ax.text(
        ks[0],
        evidence + 0.025 * span,
        f"importance-sampling estimate, {ks[-1]:,} draws",
        color=RED,
        va="bottom",
        fontsize=9.5,
    )
