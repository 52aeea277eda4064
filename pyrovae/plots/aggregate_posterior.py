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
from pyrovae.plots._style import BLUE, GREY, INK, Drawn, number, one_axes, styled, subtitle, wants_figure

__all__ = ["plot_aggregate_posterior"]

MOST_MARGINALS = 8
MOST_KINDS = 8
PAIRS = 3
COLOURS = "RdBu_r"
CLEAR = 2
"""Standard errors below which a gap is left white."""


@styled
def plot_aggregate_posterior(tree: xr.DataTree, *, ax: Axes | None = None, backend: str | None = None) -> Drawn:
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
    backend
        None or "matplotlib" to draw, "none" for what would be drawn.

    Returns
    -------
    matplotlib.figure.Figure
        Or a tree: at its root ``effect``, ``p_value`` and ``corrected`` of `pyrovae.diagnostics.prior_match`; the group
        ``marginals`` with ``aggregate`` and ``prior`` (latent, bin) between ``left`` and ``right``, densities, or
        shares where ``kinds``, the latent has up to 8 values; NaN where it has fewer bins than another; ``pairs``, of
        `pyrovae.diagnostics.density_gap`. Given ``ax``, only what is drawn there.

    Raises
    ------
    ValueError
        If there is no group ``prior``, or latents are shared by all data.
    """
    draw = wants_figure(backend)
    found = _figures(tree, alone=ax is not None)
    if not draw:
        return found
    root, title = found.dataset, "Aggregate posterior and prior"
    p, effect, share = (float(root[name]) for name in ("p_value", "effect", "corrected"))
    n, draws = root.attrs["data"], root.attrs["prior_draws"]
    below = f"{_p(p, root.attrs['permutations'])}, effect {number(effect, 3)}; {n:,} data"
    if len(found.children) == 2:
        below += f", {draws:,} draws of the prior; weights correct the draws of {100 * share:.0f} % of the data"
        return _panels(found["marginals"].dataset, found["pairs"].dataset, root.attrs["latents"], title, below)
    figure, ax = one_axes(ax, (6.4, 4.4))
    if "marginals" in found.children:
        _marginal(ax, found["marginals"].dataset.isel(latent=0))
        ax.set_ylim(top=1.25 * ax.get_ylim()[1])
        ax.legend(handles=_handles(), loc="upper right")
    else:
        pairs = found["pairs"].dataset
        _bar(figure, ax, _pair(ax, pairs.isel(pair=0), _limit(pairs)))
    subtitle(ax, title, f"{below}, {100 * share:.0f} % corrected by weights")
    return figure


def _figures(tree: xr.DataTree, *, alone: bool) -> xr.DataTree:
    match = prior_match(tree)
    chain = chosen(tree, match)
    first = tree["sample_stats"].dataset["log_lik"].sizes["obs_id"]
    drawn = samples(tree, copies=max(1, POINTS // first), most=POINTS, corrected=True, seed=0)
    own, prior, names = drawn.aggregate[chain], drawn.prior[chain], drawn.names
    root = match[["effect", "p_value", "corrected"]].isel(chain=chain, drop=True)
    groups = {"/": root.assign_attrs(latents=len(names))}
    if len(names) > 1:
        gap = density_gap(tree, pairs=1 if alone else PAIRS).isel(chain=chain, drop=True)
        groups["pairs"] = gap
    if len(names) == 1 or not alone:
        effects = dimension_effects(own[0], prior)
        shown = np.argsort(-effects, kind="stable")[:MOST_MARGINALS]
        shown = np.sort(shown) if len(names) <= MOST_MARGINALS else shown
        marginals = xr.concat([_bins(own[..., j], prior[:, j]) for j in shown], "latent", join="outer")
        groups["marginals"] = marginals.assign(effect=("latent", effects[shown])).assign_coords(
            latent=[names[j] for j in shown]
        )
    return xr.DataTree.from_dict(groups)


def _bins(own: np.ndarray, prior: np.ndarray) -> xr.Dataset:
    """Densities of one dimension: shares per kind where there are few."""
    kinds = np.unique(np.concatenate([own.ravel()[:1000], prior]))
    few = len(kinds) <= MOST_KINDS
    if few:
        wide = 0.35 * float(np.diff(kinds).min()) if len(kinds) > 1 else 0.35
        left, right = kinds - wide, kinds + wide
        shares = [np.array([float((v == kind).mean()) for kind in kinds]) for v in (own, prior)]
    else:
        both = [np.quantile(v, [0.002, 0.998]) for v in (own, prior)]
        count = int(np.clip(np.sqrt(min(own.shape[1], len(prior))) * 1.2, 10, 40))
        edges = np.linspace(min(q[0] for q in both), max(q[1] for q in both), count + 1)
        left, right = edges[:-1], edges[1:]
        shares = [np.histogram(v, edges)[0] / (v.size * (edges[1] - edges[0])) for v in (own, prior)]
    values = {"left": left, "right": right, "aggregate": shares[0], "prior": shares[1]}
    return xr.Dataset(
        {name: ("bin", value) for name, value in values.items()} | {"kinds": few}, coords={"bin": np.arange(len(left))}
    )


def _panels(marginals: xr.Dataset, gap: xr.Dataset, latents: int, title: str, below: str) -> Figure:
    shown = marginals.sizes["latent"]
    columns = min(shown, 4)
    rows, pairs = -(-shown // columns), gap.sizes["pair"]
    figure = plt.figure(figsize=(10.0 if pairs > 1 else 7.6, 1.55 * rows + 4.3))
    parts: Any = figure.subfigures(2, 1, height_ratios=[1.55 * rows + 0.8, 3.5])
    upper, lower = parts
    grid = upper.subplots(rows, columns, squeeze=False)
    for k, ax in enumerate(grid.ravel()):
        if k >= shown:
            ax.set_visible(False)
            continue
        one = marginals.isel(latent=k)
        _marginal(ax, one)
        ax.set(xlabel=f"{one['latent'].item()}, effect {number(float(one['effect']), 3)}", yticks=[], ylabel="")
    more = f" ({shown} of {latents} dimensions)" if shown < latents else ""
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


def _marginal(ax: Axes, one: xr.Dataset) -> None:
    """Bars side by side for kinds, outlines for densities."""
    one = one.dropna("bin")
    left, right = one["left"].values, one["right"].values
    for name, colour, side in (("aggregate", BLUE, -0.25), ("prior", GREY, 0.25)):
        heights, back = one[name].values, name == "prior"
        if bool(one["kinds"]):
            ax.bar((left + right) / 2 + side * (right - left), heights, 0.5 * (right - left), color=colour, alpha=0.8)
            ax.set_xticks((left + right) / 2)
        else:
            edges = np.append(left, right[-1])
            ax.stairs(heights, edges, color=colour, fill=back, alpha=0.45 if back else 1, lw=1.6)
    ax.set_ylim(bottom=0)
    ax.set(xlabel=str(one["latent"].item()), ylabel="density")


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
