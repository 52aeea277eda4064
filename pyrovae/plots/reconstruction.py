"""Data beside what the program makes of them."""

from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np
import xarray as xr
from matplotlib.figure import Figure

from pyrovae._numbers import at_least
from pyrovae.diagnostics import elbo_terms
from pyrovae.diagnostics._observed import event_dims, feature_names, observed_name
from pyrovae.diagnostics._tree import chosen, variable
from pyrovae.plots._images import Scale, as_images, show, value_range
from pyrovae.plots._intervals import feature_axis, intervals
from pyrovae.plots._style import BLUE, INK, number, styled

__all__ = ["plot_reconstruction"]


@styled
def plot_reconstruction(tree: xr.DataTree, n: int = 8, *, var_name: str | None = None) -> Figure:
    """Data from the worst described to the best, each with its reconstruction.

    The data stand at even steps of their ELBO, which is written over each in nats. Images (a dimension with coordinates
    ``row`` and ``column``, or two or three dimensions): the datum, over the mean of the posterior predictive draws,
    over one of these draws. Other data: each feature's value as a dot, with the central 50 % and 90 % of the draws.

    How to read it: what the mean leaves out, the latents do not hold; what the single draw adds, the likelihood takes
    for noise. Dots should lie within the thick bars about half of the time, within the thin ones nine times in ten.

    Parameters
    ----------
    tree
        Reads ``observed_data``, ``posterior_predictive`` and ``sample_stats/log_weight``.
    n
        How many data.
    var_name
        Which observed variable; the first by default.

    Returns
    -------
    matplotlib.figure.Figure

    Raises
    ------
    ValueError
        If a group is missing, or ``n`` is no whole number of at least 1.
    """
    n = at_least("n", n, 1)
    name = observed_name(tree, "observed_data", var_name)
    observed = variable(tree, "observed_data", name)
    predicted = variable(tree, "posterior_predictive", name)
    chain = chosen(tree, predicted)
    rows, notes = _choose(tree, observed, chain, n)
    observed = observed.isel(obs_id=rows)
    predicted = predicted.isel(chain=chain, obs_id=rows).transpose("draw", "obs_id", ...)
    titles = [f"{v}\n{note}" for v, note in zip(observed["obs_id"].values, notes, strict=True)]
    images = as_images(observed)
    if images is not None:
        return _images(images, as_images(predicted), titles)
    scale = Scale(variable(tree, "observed_data", name).transpose("obs_id", ...).values)
    return _tables(observed, predicted, titles, scale)


def _choose(tree: xr.DataTree, observed: xr.DataArray, chain: int, n: int) -> tuple[np.ndarray, list[str]]:
    """Data at even steps of their ELBO, and a note on each; at even steps of their number without it."""
    count = observed.sizes["obs_id"]
    at = np.unique(np.linspace(0, count - 1, min(n, count)).round().astype(int))
    try:
        elbo = elbo_terms(tree)["elbo"].isel(chain=chain).values
    except ValueError:
        return at, [""] * len(at)
    rows = np.argsort(elbo, kind="stable")[at]
    return rows, [number(elbo[i], 1) for i in rows]


def _images(observed: np.ndarray, predicted: np.ndarray | None, titles: list[str]) -> Figure:
    if predicted is None:
        raise ValueError("posterior_predictive: expected the observed variable's dimensions; make it with pv.posterior")
    rows = {"observed": observed, "predictive mean": predicted.mean(0), "one draw": predicted[0]}
    height, width = observed.shape[1:3]
    cell = 1.05
    size = (cell * len(titles) + 1.3, (cell * height / width + 0.04) * 3 + 0.6)
    figure, grid = plt.subplots(3, len(titles), figsize=size, squeeze=False, layout="compressed")
    limits = value_range(observed)
    for axes, (what, images) in zip(grid, rows.items(), strict=True):
        for ax, image in zip(axes, images, strict=True):
            show(ax, image, limits)
        axes[0].set_ylabel(what, rotation=0, ha="right", va="center", labelpad=8)
    for ax, title in zip(grid[0], titles, strict=True):
        ax.set_title(title, loc="center", fontsize=9, fontweight="normal", pad=4)
    figure.suptitle(_title(titles), x=0.01, ha="left", fontsize=11, fontweight="bold")
    return figure


def _tables(observed: xr.DataArray, predicted: xr.DataArray, titles: list[str], scale: Scale) -> Figure:
    names, dims = feature_names(observed), event_dims(observed)
    x = scale(observed.transpose("obs_id", ...).values.reshape(len(titles), -1).astype(float))
    draws = predicted.values.reshape(predicted.sizes["draw"], len(titles), -1)
    columns = min(len(titles), 4 if len(names) <= 8 else 2)
    rows = -(-len(titles) // columns)
    size = (max(2.4 * columns, 6.5) + (2 if len(names) > 8 else 0), 2.2 * rows + 1.2)
    figure, grid = plt.subplots(rows, columns, figsize=size, sharex=True, sharey=True, squeeze=False)
    for index, ax in enumerate(grid.ravel()):
        if index >= len(titles):
            ax.set_visible(False)
            continue
        intervals(ax, scale(draws[:, index]), BLUE, label="posterior predictive, 50 % and 90 %")
        ax.plot(x[index], "o", color=INK, ms=4.5 if len(names) <= 40 else 2.5, label="observed")
        ax.set_title(titles[index].replace("\n", ":  "), fontsize=9.5, fontweight="normal", pad=4)
        ax.grid(axis="y", color="#e4e7eb", lw=0.8)
        if index + columns >= len(titles):
            feature_axis(ax, names, dims[0] if len(dims) == 1 else "feature" if dims else "")
            ax.tick_params(labelbottom=True)
    figure.supylabel(scale.label, fontsize=10.5)
    figure.suptitle(_title(titles), x=0.01, ha="left", fontsize=11, fontweight="bold")
    handles, labels = grid[0, 0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=2)
    return figure


def _title(titles: list[str]) -> str:
    if titles[0].endswith("\n"):
        return "Reconstructions, by datum"
    return "Reconstructions, worst described to best (datum, ELBO in nats)"
