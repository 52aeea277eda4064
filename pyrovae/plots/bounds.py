"""The importance-weighted bound by its number of draws."""

from __future__ import annotations

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import NullLocator, StrMethodFormatter

from pyrovae.diagnostics import log_evidence
from pyrovae.diagnostics._tree import chosen
from pyrovae.plots._style import BLUE, INK, RED, number, one_axes, styled, subtitle

__all__ = ["plot_bounds"]


@styled
def plot_bounds(tree: xr.DataTree, *, ax: Axes | None = None) -> Figure:
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

    Returns
    -------
    matplotlib.figure.Figure
    """
    result = log_evidence(tree)
    bound = result["bound"].transpose("chain", "k", "obs_id").values
    ks = result["k"].values
    n = bound.shape[-1]
    best = chosen(tree, result)
    figure, ax = one_axes(ax)
    mean = bound.mean(-1)
    for chain in range(len(mean)):
        if chain != best:
            ax.plot(ks, mean[chain], color=BLUE, lw=1, alpha=0.4)
    gain = bound[best] - bound[best, :1]
    error = gain.std(-1, ddof=1) / np.sqrt(n) if n > 1 else np.zeros(len(ks))
    ax.errorbar(ks, mean[best], yerr=2 * error, color=BLUE, lw=1.8, marker="o", ms=5, capsize=3, label="bound $L_K$")
    evidence = result["log_evidence"].transpose("chain", "obs_id").values[best]
    ax.axhline(evidence.mean(), color=RED, lw=1.2, ls=(0, (4, 3)), zorder=1)
    ax.set_xscale("log")
    _name_ends(ax, mean[best], 2 * error, float(evidence.mean()), ks)
    if ks.max() < 10:
        ax.set_xticks(ks)
    ax.xaxis.set_major_formatter(StrMethodFormatter("{x:,.0f}"))
    ax.xaxis.set_minor_locator(NullLocator())
    ax.set(xlabel="K, draws per bound", ylabel="mean over data (nats per datum)")
    ax.grid(axis="y", color="#e4e7eb", lw=0.8)
    spread = f" ± {number(evidence.std(ddof=1) / np.sqrt(n))}" if n > 1 else ""
    gap = number(evidence.mean() - mean[best, 0])
    below = f"log p(x) ≈ {number(evidence.mean())}{spread} over {n:,} data; {gap} above the ELBO"
    subtitle(ax, "From the ELBO to log p(x)", below)
    return figure


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
