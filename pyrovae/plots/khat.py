"""Pareto k̂ of each datum."""

from __future__ import annotations

import numpy as np
import xarray as xr
from matplotlib.axes import Axes

from pyrovae.diagnostics import pareto_k
from pyrovae.diagnostics._tree import chosen
from pyrovae.plots._style import BLUE, INK, Drawn, number, one_axes, styled, subtitle, wants_figure

__all__ = ["plot_khat"]


@styled
def plot_khat(tree: xr.DataTree, *, ax: Axes | None = None, backend: str | None = None) -> Drawn:
    """Pareto k̂ per datum as its distribution over the data, with the two thresholds and the share beyond each.

    How to read it: the curve's height is the share of data whose k̂ is at most the value below. Left of the first line
    (`pyrovae.diagnostics.good_k`, which depends on the number of draws, and by which `pyrovae.diagnose` counts) the
    guide can be used and its draws can be weighted into the posterior; right of 1 the weights have no finite mean and
    nothing computed from them can be trusted. ``az.plot_khat(pv.diagnostics.elpd(tree))`` shows k̂ against the data's
    number instead, with the same first line.

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
        Or a Dataset: ``pareto_k`` and ``exact`` (chain, obs_id) as of `pyrovae.diagnostics.pareto_k`, their ``median``
        (chain), and the ``share`` of the data above each (chain, threshold). ``attrs["chosen"]`` is the position of the
        chain that the fit chose.

    Raises
    ------
    ValueError
        With fewer than 30 draws per datum.
    """
    draw = wants_figure(backend)
    found = _figures(tree)
    if not draw:
        return found
    values, thresholds, best = found["pareto_k"].values, found["threshold"].values, found.attrs["chosen"]
    good = float(thresholds[0])
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
    for threshold, style in zip(thresholds, ("-", (0, (4, 3))), strict=True):
        ax.axvline(threshold, color=INK, lw=0.9, ls=style, zorder=1)
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
    ax.set(xlim=(left, right), ylim=(-0.035, 1.1), ylabel="share of data with k̂ at most this")
    ax.set_yticks(np.linspace(0, 1, 5), ["0 %", "25 %", "50 %", "75 %", "100 %"])
    above = zip(found["share"].values[best], thresholds, (2, 1), strict=True)
    shares = ", ".join(f"{100 * share:.0f} % above {number(float(at), digits)}" for share, at, digits in above)
    exact = int(found["exact"].isel(chain=best).sum())
    note = f"; {exact} with constant weights" if exact else ""
    beyond = float((values[best] > right).mean())
    ax.set_xlabel(
        "Pareto k̂ of the datum" + (f" ({100 * beyond:.0f} % of the data lie beyond the axis)" if beyond else "")
    )
    subtitle(ax, "Pareto k̂ by datum", f"median {number(float(found['median'][best]))}; {shares}{note}")
    return figure


def _figures(tree: xr.DataTree) -> xr.Dataset:
    result = pareto_k(tree).transpose("chain", "obs_id")
    khat = result["pareto_k"]
    thresholds = xr.DataArray([float(result.attrs["good_k"]), 1.0], dims="threshold")
    return xr.Dataset(
        {
            "pareto_k": khat,
            "exact": result["exact"],
            "median": khat.median("obs_id"),
            "share": (khat > thresholds).mean("obs_id"),
        },
        coords={"threshold": thresholds.values},
        attrs=dict(result.attrs) | {"chosen": chosen(tree, result)},
    )


def _range(values: np.ndarray) -> tuple[float, float]:
    finite = values[np.isfinite(values)]
    if not finite.size:
        return -0.1, 1.3
    low, high = np.quantile(finite, [0.002, 0.998])
    return min(-0.05, max(float(low) - 0.05, -0.5)), max(1.3, min(float(high) + 0.05, 2.6))
