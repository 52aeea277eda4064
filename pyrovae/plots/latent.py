"""Where the data lie in latent space."""

from __future__ import annotations

from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from pyrovae.diagnostics._tree import chosen, latent_sites, variable
from pyrovae.plots._colours import Colours
from pyrovae.plots._latents import kl_units, posterior_means
from pyrovae.plots._style import INK, Drawn, number, one_axes, styled, subtitle, wants_figure

__all__ = ["plot_latent"]

MOST_DIMS = 4


@styled
def plot_latent(tree: xr.DataTree, *, labels: Any = None, ax: Axes | None = None, backend: str | None = None) -> Drawn:
    """Posterior means E_q[z|x] of all data, coloured by label: one panel, or the pairs of up to four dimensions.

    How to read it: data that the program holds to be alike lie together. Labels are for colour only, no program sees
    them; classes that separate are structure found without them. Of more than four dimensions those with the largest
    KL to the prior are shown (without KL: with the largest variance of the means), and of several restarts the best.

    Parameters
    ----------
    tree
        Reads ``posterior`` and, where they are, ``constant_data`` and ``sample_stats/kl_…``.
    labels
        An array with a value per datum, or the name of a variable in ``constant_data``; by default ``label`` if that
        is there. Up to ten kinds are classes, more numbers are a scale.
    ax
        Axes to draw the two first dimensions on; by default a new figure with all pairs.
    backend
        None or "matplotlib" to draw, "none" for what would be drawn.

    Returns
    -------
    matplotlib.figure.Figure
        Or a Dataset: ``mean`` (obs_id, latent) of the dimensions that are shown, with their ``kl`` (latent) where it
        is defined, and the ``label`` (obs_id) that colours them.

    Raises
    ------
    ValueError
        If there are no latents per datum, or ``labels`` does not fit the data.
    """
    draw = wants_figure(backend)
    first = variable(tree, "posterior", latent_sites(tree)[0])
    chain = chosen(tree, first)
    names, means = posterior_means(tree, chain)
    order, notes = _order(tree, means, chain)
    names, means, notes = [names[i] for i in order], means[:, order], [notes[i] for i in order]
    colours = Colours.of(tree, labels, len(means))
    if not draw:
        size = MOST_DIMS if ax is None else 2
        return _figures(names[:size], means[:, :size], _kl(tree, chain), order[:size], colours, first["obs_id"].values)
    by = f", coloured by {colours.name}" if colours.name else ""
    if ax is not None or means.shape[1] <= 2:
        figure, ax = one_axes(ax, (6.4, 5.0))
        if means.shape[1] == 1:
            colours.histogram(ax, means[:, 0])
            ax.set(xlabel=names[0] + notes[0], ylabel="data")
        else:
            colours.scatter(ax, means[:, 0], means[:, 1], names=True)
            ax.set(xlabel=names[0] + notes[0], ylabel=names[1] + notes[1])
        _legend(figure, ax, colours)
        subtitle(ax, "Posterior means", f"{len(means):,} data{by}")
        return figure
    return _pairs(names, means, notes, colours, by)


def _pairs(names: list[str], means: np.ndarray, notes: list[str], colours: Colours, by: str) -> Figure:
    size = min(means.shape[1], MOST_DIMS)
    figure, grid = plt.subplots(
        size - 1, size - 1, figsize=(2.6 * (size - 1), 2.5 * (size - 1)), sharex="col", sharey="row", squeeze=False
    )
    for row in range(1, size):
        for column in range(size - 1):
            ax = grid[row - 1, column]
            if column >= row:
                ax.set_visible(False)
                continue
            colours.scatter(ax, means[:, column], means[:, row], names=size <= 3)
            if row == size - 1:
                ax.set_xlabel(names[column] + notes[column])
            if column == 0:
                ax.set_ylabel(names[row] + notes[row])
    hidden = means.shape[1] - size
    shown = f"the {size} of {size + hidden} dimensions with the largest KL" if hidden else f"all {size} dimensions"
    if hidden and not notes[0]:
        shown = f"the {size} of {size + hidden} dimensions that vary most"
    figure.suptitle(f"Posterior means: {shown}{by}", x=0.02, ha="left", fontsize=12, fontweight="bold")
    _legend(figure, grid[0, -1], colours, corner=grid)
    return figure


def _order(tree: xr.DataTree, means: np.ndarray, chain: int) -> tuple[np.ndarray, list[str]]:
    """Dimensions by importance, and what to write beside each name."""
    kl = _kl(tree, chain)
    if kl is None:
        return np.argsort(-means.var(0), kind="stable"), [""] * means.shape[1]
    if means.shape[1] <= 2:
        return np.arange(means.shape[1]), [f"  (KL {number(v, 1)} nats)" for v in kl]
    return np.argsort(-kl, kind="stable"), [f"  (KL {number(v, 1)} nats)" for v in kl]


def _kl(tree: xr.DataTree, chain: int) -> np.ndarray | None:
    """KL of each dimension, where it is defined."""
    try:
        return kl_units(tree).kl[chain].mean(0)
    except ValueError:
        return None


def _figures(
    names: list[str], means: np.ndarray, kl: np.ndarray | None, order: np.ndarray, colours: Colours, rows: np.ndarray
) -> xr.Dataset:
    found = xr.Dataset({"mean": (("obs_id", "latent"), means)}, coords={"obs_id": rows, "latent": names})
    if kl is not None:
        found["kl"] = ("latent", kl[order])
    if colours.values is not None:
        found["label"] = ("obs_id", colours.values)
    return found


def _legend(figure: Figure, ax: Axes, colours: Colours, corner: np.ndarray | None = None) -> None:
    if colours.classes is not None:
        handles = [
            Line2D([], [], marker="o", ls="", ms=7, mec="white", mew=0.5, color=colours.palette[i], label=str(name))
            for i, name in enumerate(colours.classes)
        ]
        columns = 1 if len(handles) <= 10 and corner is None else 2
        if corner is None:
            ax.legend(handles=handles, title=colours.name, loc="center left", bbox_to_anchor=(1.0, 0.5))
        else:
            box = figure.legend(handles=handles, title=colours.name, ncols=columns, loc="upper right")
            box.set_in_layout(False)
            box.set_bbox_to_anchor((0.97, 0.93))
    elif colours.mappable is not None:
        where = ax if corner is None else list(corner.ravel())
        figure.colorbar(colours.mappable, ax=where, label=colours.name, shrink=0.7).outline.set_edgecolor(INK)
