"""Whether the data fill the prior."""

from __future__ import annotations

from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import TwoSlopeNorm
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from pyrovae.diagnostics._density import dimension_effects
from pyrovae.diagnostics._samples import samples
from pyrovae.diagnostics._tree import chosen
from pyrovae.diagnostics.aggregate import POINTS, density_gap, prior_match
from pyrovae.plots._style import BLUE, GREY, INK, number, one_axes, styled, subtitle

__all__ = ["plot_aggregate_posterior"]

MOST_MARGINALS = 8
PAIRS = 3
COLOURS = "RdBu_r"
CLEAR = 2
"""Standard errors below which a gap is left white."""


@styled
def plot_aggregate_posterior(tree: xr.DataTree, *, ax: Axes | None = None) -> Figure:
    """The aggregate posterior, mean over data of q(z|x), against the prior: each dimension, and the pairs that differ.

    How to read it: above, the two densities of each dimension should lie on each other. Below, red is data that the
    prior calls unlikely, blue a hole, prior mass where no data are encoded: draws from there decode to nothing seen.
    White is a gap within two standard errors; grey lines hold 50 % and 90 % of the prior's draws on the grid. The
    p-value says whether the two differ at all, the effect in [0, 1] how much (`pyrovae.diagnostics.prior_match`).

    Parameters
    ----------
    tree
        Reads ``posterior``, ``prior`` and ``sample_stats``; of several chains the one that the fit chose.
    ax
        Axes to draw on: the pair that differs most, or the density of the only dimension. By default a new figure with
        up to 8 dimensions and 3 pairs, those that differ most.

    Returns
    -------
    matplotlib.figure.Figure

    Raises
    ------
    ValueError
        If there is no group ``prior``, or latents are shared by all data.
    """
    match = prior_match(tree)
    chain = chosen(tree, match)
    n, draws = match.attrs["data"], match.attrs["prior_draws"]
    p, effect, share = (float(match[name][chain]) for name in ("p_value", "effect", "corrected"))
    below = f"{_p(p, match.attrs['permutations'])}, effect {number(effect, 3)}; {n:,} data"
    first = tree["sample_stats"].dataset["log_lik"].sizes["obs_id"]
    drawn = samples(tree, copies=max(1, POINTS // first), most=POINTS, corrected=True, seed=0)
    own, prior, names = drawn.aggregate[chain], drawn.prior[chain], drawn.names
    gap = density_gap(tree, pairs=PAIRS).isel(chain=chain) if len(names) > 1 else None
    title = "Aggregate posterior and prior"
    if ax is not None or gap is None:
        figure, ax = one_axes(ax, (6.4, 4.4))
        if gap is None:
            _marginal(ax, own[..., 0], prior[:, 0], names[0])
            ax.set_ylim(top=1.25 * ax.get_ylim()[1])
            ax.legend(handles=_handles(), loc="upper right")
        else:
            colours = _pair(ax, gap.isel(pair=0), _limit(gap.isel(pair=[0])))
            _bar(figure, ax, colours)
        subtitle(ax, title, f"{below}, {100 * share:.0f} % corrected by weights")
        return figure
    below += f", {draws:,} draws of the prior; weights correct the draws of {100 * share:.0f} % of the data"
    return _panels(own, prior, names, gap, title, below)


def _panels(own: np.ndarray, prior: np.ndarray, names: list[str], gap: xr.Dataset, title: str, below: str) -> Figure:
    effects = dimension_effects(own[0], prior)
    shown = np.argsort(-effects, kind="stable")[:MOST_MARGINALS]
    shown = np.sort(shown) if len(names) <= MOST_MARGINALS else shown
    columns = min(len(shown), 4)
    rows, pairs = -(-len(shown) // columns), gap.sizes["pair"]
    figure = plt.figure(figsize=(10.0 if pairs > 1 else 7.6, 1.55 * rows + 4.3))
    parts: Any = figure.subfigures(2, 1, height_ratios=[1.55 * rows + 0.8, 3.5])
    upper, lower = parts
    grid = upper.subplots(rows, columns, squeeze=False)
    for k, ax in enumerate(grid.ravel()):
        if k >= len(shown):
            ax.set_visible(False)
            continue
        j = int(shown[k])
        _marginal(ax, own[..., j], prior[:, j], f"{names[j]}, effect {number(float(effects[j]), 3)}")
        ax.set_yticks([])
        ax.set_ylabel("")
    more = f" ({len(shown)} of {len(names)} dimensions)" if len(shown) < len(names) else ""
    figure.suptitle(f"{title}{more}\n", x=0.01, ha="left", fontsize=12, fontweight="bold")
    figure.text(0.011, 1 - 0.36 / figure.get_figheight(), below, color="#555c66", fontsize=9.5, va="top")
    upper.legend(handles=_handles(), loc="outside upper right", ncols=2)
    limit, axes = _limit(gap), lower.subplots(1, pairs, squeeze=False)[0]
    colours = None
    for k, ax in enumerate(axes):
        colours = _pair(ax, gap.isel(pair=k), limit)
        ax.set_title(f"effect {number(float(gap['effect'][k]), 3)}", fontsize=9.5, fontweight="normal", pad=4)
    if colours is not None:
        _bar(lower, list(axes), colours)
    return figure


def _marginal(ax: Axes, own: np.ndarray, prior: np.ndarray, name: str) -> None:
    """Densities of one dimension: shares per kind where there are few."""
    kinds = np.unique(np.concatenate([own.ravel()[:1000], prior]))
    if len(kinds) <= 8:
        wide = 0.35 * float(np.diff(kinds).min()) if len(kinds) > 1 else 0.35
        for values, colour, side in ((own, BLUE, -0.5), (prior, GREY, 0.5)):
            shares = [float((values == kind).mean()) for kind in kinds]
            ax.bar(kinds + side * wide, shares, wide, color=colour, alpha=0.8)
        ax.set_xticks(kinds)
    else:
        both = [np.quantile(v, [0.002, 0.998]) for v in (own, prior)]
        low, high = min(q[0] for q in both), max(q[1] for q in both)
        for values, colour in ((own, BLUE), (prior, GREY)):
            size = own.shape[1] if colour == BLUE else len(prior)
            edges = np.linspace(low, high, int(np.clip(np.sqrt(size) * 1.2, 10, 40)) + 1)
            density = np.histogram(values, edges)[0] / (values.size * (edges[1] - edges[0]))
            ax.stairs(density, edges, color=colour, fill=colour == GREY, alpha=0.45 if colour == GREY else 1, lw=1.6)
    ax.set_ylim(bottom=0)
    ax.set(xlabel=name, ylabel="density")


def _pair(ax: Axes, gap: xr.Dataset, limit: float) -> ScalarMappable:
    x, y = gap["x_value"].values, gap["y_value"].values
    clear = np.abs(gap["gap"].values) >= CLEAR * gap["error"].values
    values = np.where(clear, gap["gap"].values, 0.0)
    norm = TwoSlopeNorm(0.0, -limit, limit)
    image = ax.pcolormesh(x, y, values, cmap=COLOURS, norm=norm, shading="nearest", rasterized=True)
    prior = gap["prior"].values
    ordered = np.sort(prior.ravel())
    mass = ordered.cumsum() / ordered.sum()
    levels = sorted({float(ordered[np.searchsorted(mass, 1 - share)]) for share in (0.5, 0.9)})
    if levels[0] > 0 and levels[-1] < ordered[-1]:
        ax.contour(x, y, prior, levels=levels, colors=[GREY], linewidths=0.9)
    ax.set(xlabel=str(gap["first"].item()), ylabel=str(gap["second"].item()))
    return image


def _limit(gap: xr.Dataset) -> float:
    """The largest gap; if none is clear, one that leaves the panels white."""
    return float(np.abs(gap["gap"].values).max()) or 1.0


def _bar(figure: Any, where: Any, colours: ScalarMappable) -> None:
    bar = figure.colorbar(colours, ax=where, shrink=0.9, aspect=18, pad=0.02)
    bar.outline.set_edgecolor(INK)
    high = colours.get_clim()[1]
    bar.set_ticks([float(colours.get_clim()[0]) * 0.9, 0, 0.9 * float(high)])
    bar.set_ticklabels(["prior\nwithout\ndata", "no clear\ngap", "data\nwithout\nprior"])
    bar.ax.tick_params(length=0)


def _handles() -> list[Line2D]:
    return [
        Line2D([], [], color=BLUE, lw=1.8, label="data (aggregate posterior)"),
        Line2D([], [], color=GREY, lw=6, alpha=0.5, label="prior"),
    ]


def _p(value: float, permutations: int) -> str:
    return f"p ≤ {1 / (1 + permutations):.3g}" if value <= 1 / (1 + permutations) else f"p = {value:.2g}"
