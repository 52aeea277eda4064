"""Pareto k̂ of each datum."""

from __future__ import annotations

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from pyrovae.diagnostics import pareto_k
from pyrovae.diagnostics._tree import chosen
from pyrovae.plots._style import BLUE, INK, number, one_axes, styled, subtitle

__all__ = ["plot_khat"]


@styled
def plot_khat(tree: xr.DataTree, *, ax: Axes | None = None) -> Figure:
    """Pareto k̂ per datum as its distribution over the data, with the thresholds and the share beyond each.

    How to read it: the curve's height is the share of data whose k̂ is at most the value below. Left of the first line
    (`pyrovae.diagnostics.good_k`, which depends on the number of draws) the guide can be used and its draws can be
    weighted into the posterior; right of 1 the weights have no finite mean and nothing computed from them can be
    trusted. ``az.plot_khat(pv.diagnostics.elpd(tree))`` shows k̂ against the data's index instead.

    Parameters
    ----------
    tree
        Reads ``sample_stats/log_weight``.
    ax
        Axes to draw on; a new figure by default.

    Returns
    -------
    matplotlib.figure.Figure

    Raises
    ------
    ValueError
        With fewer than 25 draws per datum.
    """
    result = pareto_k(tree)
    values = result["pareto_k"].transpose("chain", "obs_id").values
    good = float(result.attrs["good_k"])
    best = chosen(tree, result)
    figure, ax = one_axes(ax)
    left, right = _range(values)
    zones = (
        (left, good, "#e3f0f8", "usable"),
        (good, 1.0, "#fdf1d3", "doubtful"),
        (1.0, right, "#fae0d2", "no finite mean"),
    )
    for start, stop, colour, what in zones:
        if stop - start > 0:
            ax.axvspan(start, stop, color=colour, lw=0, zorder=0)
            if stop - start > 0.09 * (right - left):
                ax.text((start + stop) / 2, 1.02, what, ha="center", va="bottom", fontsize=9.5, color=INK)
    for threshold in sorted({round(good, 3), 0.7, 1.0}):
        ax.axvline(threshold, color=INK, lw=0.9, ls="-" if threshold == round(good, 3) else (0, (4, 3)), zorder=1)
    for chain, ks in enumerate(values):
        inside = np.sort(ks[ks <= right])
        heights = np.arange(1, len(inside) + 1) / len(ks)
        ax.step(
            [left, *np.maximum(inside, left), right],
            [0, *heights, len(inside) / len(ks)],
            where="post",
            color=BLUE,
            lw=2 if chain == best else 1,
            alpha=1 if chain == best else 0.4,
            zorder=3,
        )
    if len(values[best]) <= 1000:
        ax.plot(np.clip(values[best], left, right), np.zeros(len(values[best])), "|", color=BLUE, ms=9, alpha=0.35)
    ax.set(
        xlim=(left, right),
        ylim=(-0.035, 1.1),
        xlabel="Pareto k̂ of the datum",
        ylabel="share of data with k̂ at most this",
    )
    ax.set_yticks(np.linspace(0, 1, 5), ["0 %", "25 %", "50 %", "75 %", "100 %"])
    ks = values[best]
    shares = ", ".join(
        f"{100 * (ks > t).mean():.0f} % above {number(t, 1 if t == 1 else 2)}"
        for t in ((good, 1.0) if 0.7 - good < 0.05 else (good, 0.7, 1.0))
    )
    exact = int(result["exact"].isel(chain=best).sum())
    note = f"; {exact} with constant weights" if exact else ""
    beyond = float((values[best] > right).mean())
    ax.set_xlabel(
        "Pareto k̂ of the datum" + (f" ({100 * beyond:.0f} % of the data lie beyond the axis)" if beyond else "")
    )
    subtitle(ax, "Pareto k̂ by datum", f"median {number(float(np.median(ks)))}; {shares}{note}")
    return figure


def _range(values: np.ndarray) -> tuple[float, float]:
    finite = values[np.isfinite(values)]
    if not finite.size:
        return -0.1, 1.3
    low, high = np.quantile(finite, [0.002, 0.998])
    return min(-0.05, max(float(low) - 0.05, -0.5)), max(1.3, min(float(high) + 0.05, 2.6))
