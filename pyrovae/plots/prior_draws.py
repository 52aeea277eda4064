"""What the program makes up by itself."""

from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np
import xarray as xr
from matplotlib.figure import Figure

from pyrovae._numbers import at_least
from pyrovae.diagnostics._observed import event_dims, feature_names, observed_name
from pyrovae.diagnostics._tree import chosen, variable
from pyrovae.plots._images import Scale, as_images, show, value_range
from pyrovae.plots._intervals import MOST_BARS, feature_axis, intervals
from pyrovae.plots._style import BLUE, INK, RED, styled, subtitle

__all__ = ["plot_prior_draws"]


@styled
def plot_prior_draws(tree: xr.DataTree, n: int = 32, *, var_name: str | None = None) -> Figure:
    """New data: draws of z from the prior and of x from the likelihood.

    Images (see `plot_reconstruction`): a grid of draws. Other data: the central 50 % and 90 % of the draws of each
    feature beside those of the data, and the first ``n`` draws as dots; of more than 40 features lines.

    How to read it: draws that look like data mean that prior, likelihood and data fit together. Draws that do not,
    beside good reconstructions, mean that the prior puts mass where no data are encoded.

    Parameters
    ----------
    tree
        Reads ``prior_predictive`` and, where it is, ``observed_data``.
    n
        How many draws.
    var_name
        Which observed variable; the first by default.

    Returns
    -------
    matplotlib.figure.Figure

    Raises
    ------
    ValueError
        If the group is missing, or ``n`` is no whole number of at least 1.
    """
    n = at_least("n", n, 1)
    name = observed_name(tree, "prior_predictive", var_name)
    drawn = variable(tree, "prior_predictive", name)
    drawn = drawn.isel(chain=chosen(tree, drawn)).transpose("draw", ...)
    observed = None
    if "observed_data" in tree.children and name in tree["observed_data"].dataset:
        observed = variable(tree, "observed_data", name).transpose("obs_id", ...)
    images = as_images(drawn.isel(draw=slice(n)))
    if images is None:
        return _table(drawn, observed, n)
    columns = min(len(images), 8 if len(images) > 6 else len(images))
    rows = -(-len(images) // columns)
    height, width = images.shape[1:3]
    figure, grid = plt.subplots(
        rows, columns, figsize=(0.95 * columns, 0.95 * rows * height / width + 0.4), squeeze=False, layout="compressed"
    )
    seen = None if observed is None else as_images(observed)
    limits = value_range(images if seen is None else seen)
    for index, ax in enumerate(grid.ravel()):
        if index < len(images):
            show(ax, images[index], limits)
        else:
            ax.set_visible(False)
    title = f"{len(images)} draw{'s' if len(images) > 1 else ''} from the prior predictive"
    figure.suptitle(title, x=0.01, ha="left", fontsize=12, fontweight="bold")
    return figure


def _table(drawn: xr.DataArray, observed: xr.DataArray | None, n: int) -> Figure:
    names, dims = feature_names(drawn), event_dims(drawn)
    draws = drawn.values.reshape(drawn.sizes["draw"], -1).astype(float)
    seen = None if observed is None else observed.values.reshape(observed.sizes["obs_id"], -1).astype(float)
    scale = Scale(draws if seen is None else seen)
    figure, ax = plt.subplots(figsize=(float(np.clip(0.5 * len(names) + 3, 6.5, 11)), 4.6))
    shift = 0.0 if seen is None else 0.17
    if seen is not None:
        intervals(ax, scale(seen), INK, -shift, "data, 50 % and 90 %")
    if len(names) <= MOST_BARS:
        intervals(ax, scale(draws), BLUE, shift, "prior predictive, 50 % and 90 %")
        few = scale(draws[:n])
        x = np.arange(len(names)) + shift + np.linspace(-0.07, 0.07, len(few))[:, None]
        ax.plot(x.ravel(), few.ravel(), ".", color=RED, ms=4, alpha=0.7, label=f"{len(few)} draws")
    else:
        low, middle, high = np.quantile(scale(draws), [0.05, 0.5, 0.95], axis=0)
        for line, style in ((low, "--"), (middle, "-"), (high, "--")):
            ax.plot(np.arange(len(names)), line, color=BLUE, lw=1.4, ls=style)
        ax.plot([], [], color=BLUE, lw=1.4, ls="--", label="prior predictive, median and 90 %")
    feature_axis(ax, names, dims[0] if len(dims) == 1 else "feature" if dims else "")
    ax.set_ylabel(scale.label)
    ax.grid(axis="y", color="#e4e7eb", lw=0.8)
    subtitle(ax, "Draws from the prior predictive", "beside the data" if seen is not None else "")
    figure.legend(*ax.get_legend_handles_labels(), loc="outside lower center", ncols=3)
    return figure
