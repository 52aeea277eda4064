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
from pyrovae.plots._intervals import MOST_BARS, feature_axis, intervals, quantiles
from pyrovae.plots._style import BLUE, INK, RED, Drawn, styled, subtitle, wants_figure

__all__ = ["plot_prior_draws"]


@styled
def plot_prior_draws(
    tree: xr.DataTree, n: int = 32, *, var_name: str | None = None, backend: str | None = None
) -> Drawn:
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
    backend
        None or "matplotlib" to draw, "none" for what would be drawn.

    Returns
    -------
    matplotlib.figure.Figure
        Or a Dataset: ``draws`` (draw, …), and of data that are no images the quantiles ``predicted`` (level, …) of all
        draws and, where there are data, ``observed`` (level, …).

    Raises
    ------
    ValueError
        If the group is missing, or ``n`` is no whole number of at least 1.
    """
    draw, n = wants_figure(backend), at_least("n", n, 1)
    name = observed_name(tree, "prior_predictive", var_name)
    drawn = variable(tree, "prior_predictive", name)
    drawn = drawn.isel(chain=chosen(tree, drawn), drop=True).transpose("draw", ...)
    observed = None
    if "observed_data" in tree.children and name in tree["observed_data"].dataset:
        observed = variable(tree, "observed_data", name).transpose("obs_id", ...)
    found = xr.Dataset({"draws": drawn.isel(draw=slice(n))}, attrs={"variable": name})
    images = as_images(found["draws"])
    if images is None:
        found["predicted"] = quantiles(drawn, "draw")
        if observed is not None:
            found["observed"] = quantiles(observed, "obs_id")
    if not draw:
        return found
    if images is None:
        return _table(found, Scale(drawn.values if observed is None else observed.values))
    seen = None if observed is None else as_images(observed)
    return _images(images, value_range(images if seen is None else seen))


def _images(images: np.ndarray, limits: tuple[float, float]) -> Figure:
    columns = min(len(images), 8 if len(images) > 6 else len(images))
    rows = -(-len(images) // columns)
    height, width = images.shape[1:3]
    figure, grid = plt.subplots(
        rows, columns, figsize=(0.95 * columns, 0.95 * rows * height / width + 0.4), squeeze=False, layout="compressed"
    )
    for index, ax in enumerate(grid.ravel()):
        if index < len(images):
            show(ax, images[index], limits)
        else:
            ax.set_visible(False)
    title = f"{len(images)} draw{'s' if len(images) > 1 else ''} from the prior predictive"
    figure.suptitle(title, x=0.01, ha="left", fontsize=12, fontweight="bold")
    return figure


def _table(found: xr.Dataset, scale: Scale) -> Figure:
    drawn = found["draws"].rename(found.attrs["variable"])
    names, dims = feature_names(drawn), event_dims(drawn)
    few, *levels = (
        scale(found[name].values.reshape(found[name].shape[0], -1).astype(float))
        for name in ("draws", "predicted", "observed")
        if name in found
    )
    figure, ax = plt.subplots(figsize=(float(np.clip(0.5 * len(names) + 3, 6.5, 11)), 4.6))
    shift = 0.17 if "observed" in found else 0.0
    if "observed" in found:
        intervals(ax, levels[1], INK, -shift, "data, 50 % and 90 %")
    if len(names) <= MOST_BARS:
        intervals(ax, levels[0], BLUE, shift, "prior predictive, 50 % and 90 %")
        x = np.arange(len(names)) + shift + np.linspace(-0.07, 0.07, len(few))[:, None]
        ax.plot(x.ravel(), few.ravel(), ".", color=RED, ms=4, alpha=0.7, label=f"{len(few)} draws")
    else:
        for line, style in zip(levels[0][[0, 2, 4]], ("--", "-", "--"), strict=True):
            ax.plot(np.arange(len(names)), line, color=BLUE, lw=1.4, ls=style)
        ax.plot([], [], color=BLUE, lw=1.4, ls="--", label="prior predictive, median and 90 %")
    feature_axis(ax, names, dims[0] if len(dims) == 1 else "feature" if dims else "")
    ax.set_ylabel(scale.label)
    ax.grid(axis="y", color="#e4e7eb", lw=0.8)
    subtitle(ax, "Draws from the prior predictive", "beside the data" if "observed" in found else "")
    figure.legend(*ax.get_legend_handles_labels(), loc="outside lower center", ncols=3)
    return figure
