"""Data that are no images as lines over their features, a panel under each other."""

from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure

from pyrovae.diagnostics._observed import event_dims, feature_names
from pyrovae.plots._images import Scale
from pyrovae.plots._intervals import MOST_BARS, feature_axis
from pyrovae.plots._style import BLUE, INK, RED

__all__ = ["lines", "panels", "points"]

RAMP = LinearSegmentedColormap.from_list("ramp", [BLUE, "#b8bec6", RED])


def panels(one: xr.DataArray, scale: Scale, count: int, title: str, ends: tuple[str, str]) -> tuple[Figure, list[Axes]]:
    """A figure of panels over the features of ``one`` datum, with a bar that says what the lines' colours are."""
    names, dims = feature_names(one), event_dims(one)
    width = float(np.clip(0.5 * len(names) + 3, 7.2, 11))
    figure, grid = plt.subplots(count, 1, figsize=(width, 1.75 * count + 1.3), sharex=True, squeeze=False)
    axes = list(grid[:, 0])
    for ax in axes:
        ax.grid(axis="y", color="#e4e7eb", lw=0.8)
    feature_axis(axes[-1], names, dims[0] if len(dims) == 1 else "feature" if dims else "")
    bar = figure.colorbar(ScalarMappable(cmap=RAMP), ax=axes, aspect=30, pad=0.02, shrink=0.8)
    bar.outline.set_visible(False)
    bar.set_ticks([0.0, 1.0], labels=list(ends))
    bar.ax.tick_params(length=0)
    figure.supylabel(scale.label, fontsize=10.5)
    figure.suptitle(title, x=0.01, ha="left", fontsize=12, fontweight="bold")
    return figure, axes


def lines(ax: Axes, values: np.ndarray, scale: Scale) -> None:
    """A line for each of some data (line, …), from blue to orange."""
    flat = scale(values.reshape(len(values), -1))
    style = "-" if flat.shape[1] > MOST_BARS else "-o"
    for share, row in zip(np.linspace(0, 1, len(flat)), flat, strict=True):
        ax.plot(np.arange(len(row)), row, style, ms=3.5, lw=1.4, color=RAMP(share))


def points(ax: Axes, values: np.ndarray, scale: Scale, marker: str, label: str = "_") -> None:
    """The values of a datum, beside the lines."""
    flat = scale(values.reshape(1, -1))[0]
    size = 2.5 if len(flat) > MOST_BARS else 6
    ax.plot(np.arange(len(flat)), flat, marker, color=INK, mfc="none", ms=size, label=label, zorder=4)
