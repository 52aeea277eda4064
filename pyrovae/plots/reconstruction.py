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
from pyrovae.plots._intervals import feature_axis, intervals, quantiles
from pyrovae.plots._style import BLUE, INK, Drawn, number, styled, wants_figure

__all__ = ["plot_reconstruction"]


@styled
def plot_reconstruction(
    tree: xr.DataTree, n: int = 8, *, var_name: str | None = None, backend: str | None = None
) -> Drawn:
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
    backend
        None or "matplotlib" to draw, "none" for what would be drawn.

    Returns
    -------
    matplotlib.figure.Figure
        Or a Dataset: ``observed`` (obs_id, …), ``elbo`` (obs_id) where there are weights, and of the predictive draws
        their ``mean`` and one ``draw`` (obs_id, …) for images, the quantiles ``predicted`` (level, obs_id, …) else.

    Raises
    ------
    ValueError
        If a group is missing, or ``n`` is no whole number of at least 1.
    """
    draw, n = wants_figure(backend), at_least("n", n, 1)
    name = observed_name(tree, "observed_data", var_name)
    whole = variable(tree, "observed_data", name).transpose("obs_id", ...)
    found = _figures(tree, whole, variable(tree, "posterior_predictive", name), n)
    if not draw:
        return found
    notes = [number(float(v), 1) for v in found["elbo"]] if "elbo" in found else [""] * found.sizes["obs_id"]
    titles = [f"{v}\n{note}" for v, note in zip(found["obs_id"].values, notes, strict=True)]
    if "mean" in found:
        return _images(found, titles)
    return _tables(found, titles, Scale(whole.values))


def _figures(tree: xr.DataTree, observed: xr.DataArray, predicted: xr.DataArray, n: int) -> xr.Dataset:
    """Data at even steps of their ELBO, or of their number without it, and what is predicted for them."""
    chain, count = chosen(tree, predicted), observed.sizes["obs_id"]
    rows = np.unique(np.linspace(0, count - 1, min(n, count)).round().astype(int))
    found = {}
    try:
        elbo = elbo_terms(tree)["elbo"].isel(chain=chain, drop=True)
        rows = np.argsort(elbo.values, kind="stable")[rows]
        found["elbo"] = elbo.isel(obs_id=rows)
    except ValueError:
        pass
    found["observed"] = observed.isel(obs_id=rows)
    made = predicted.isel(chain=chain, obs_id=rows, drop=True).transpose("draw", "obs_id", ...)
    if as_images(found["observed"]) is None:
        found["predicted"] = quantiles(made, "draw")
    else:
        found |= {"mean": made.mean("draw"), "draw": made.isel(draw=0, drop=True)}
    return xr.Dataset(found, attrs={"variable": str(observed.name), "units": "elbo in nats per datum"})


def _images(found: xr.Dataset, titles: list[str]) -> Figure:
    observed, mean, one = (as_images(found[name]) for name in ("observed", "mean", "draw"))
    if observed is None or mean is None or one is None:
        raise ValueError("posterior_predictive: expected the observed variable's dimensions; make it with pv.posterior")
    rows = {"observed": observed, "predictive mean": mean, "one draw": one}
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


def _tables(found: xr.Dataset, titles: list[str], scale: Scale) -> Figure:
    observed = found["observed"].rename(found.attrs["variable"])
    names, dims = feature_names(observed), event_dims(observed)
    x = scale(observed.values.reshape(len(titles), -1).astype(float))
    levels = found["predicted"].transpose("level", "obs_id", ...).values
    levels = scale(levels.reshape(*levels.shape[:2], -1))
    columns = min(len(titles), 4 if len(names) <= 8 else 2)
    rows = -(-len(titles) // columns)
    size = (max(2.4 * columns, 6.5) + (2 if len(names) > 8 else 0), 2.2 * rows + 1.2)
    figure, grid = plt.subplots(rows, columns, figsize=size, sharex=True, sharey=True, squeeze=False)
    for index, ax in enumerate(grid.ravel()):
        if index >= len(titles):
            ax.set_visible(False)
            continue
        intervals(ax, levels[:, index], BLUE, label="posterior predictive, 50 % and 90 %")
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
