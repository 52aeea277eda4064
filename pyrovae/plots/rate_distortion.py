"""Where fits stand between copying the data into z and ignoring it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from pyrovae.diagnostics._tree import chosen
from pyrovae.diagnostics.surgery import rate_distortion
from pyrovae.plots._style import CLASSES, GREY, INK, Drawn, number, one_axes, styled, subtitle, wants_figure

__all__ = ["plot_rate_distortion"]

LINES = 7
COLOURS = [colour for colour in CLASSES if colour not in ("#94a4a2", "#717581")]  # grey is for the lines
MARKERS = "osD^vPX"


@styled
def plot_rate_distortion(
    trees: xr.DataTree | Mapping[str, xr.DataTree], *, ax: Axes | None = None, backend: str | None = None
) -> Drawn:
    """Each fit as a point: rate, how much its z says of a datum, against distortion, what it fails to say of x.

    How to read it: fits on one grey line have the same ELBO, −(rate + distortion), and lines further to the lower left
    are better. On a line, left is a z that the decoder hardly uses (rate 0: collapse), right a z that carries much.
    No fit can lie below the line of −ELBO = H, the entropy of the data, which is unknown; of continuous data it may be
    negative. Bars are ± 2 standard errors over data; fits are comparable on the same data only.

    Parameters
    ----------
    trees
        Trees by name, or one; reads ``sample_stats``. The chain that each fit chose is drawn, the others faint.
    ax
        Axes to draw on; a new figure by default.
    backend
        None or "matplotlib" to draw, "none" for what would be drawn.

    Returns
    -------
    matplotlib.figure.Figure
        Or a Dataset, a point for each chain of each tree: ``rate``, ``distortion``, ``elbo`` and their standard
        errors ``…_se`` (point), in nats per datum, with the coordinates ``fit``, ``chain``, ``chosen`` and ``data``.

    Raises
    ------
    TypeError
        If these are no trees.
    ValueError
        If there is no tree, or a figure is not available.
    """
    draw = wants_figure(backend)
    found = _figures(trees)
    if not draw:
        return found
    figure, ax = one_axes(ax, (6.4, 4.8))
    points = found[["rate", "distortion"]].to_dataarray().values.T
    spans = 2 * found[["rate_se", "distortion_se"]].to_dataarray().values.T
    fits = list(dict.fromkeys(found["fit"].values.tolist()))
    for (x, y), (ex, ey), point in zip(points, spans, range(len(points)), strict=True):
        name, main = found["fit"].values[point], bool(found["chosen"][point])
        k, elbo = fits.index(name), number(float(found["elbo"][point]))
        label = f"{name}: ELBO {elbo}" if name else f"ELBO {elbo}"
        ax.errorbar(
            x,
            y,
            yerr=ey,
            xerr=ex,
            fmt=MARKERS[k % len(MARKERS)],
            ms=8 if main else 5,
            lw=1.4,
            capsize=3,
            color=COLOURS[k % len(COLOURS)],
            mec="white",
            mew=0.8,
            alpha=1 if main else 0.4,
            zorder=4 if main else 3,
            label=label if main else None,
        )
    _limits(ax, points, spans)
    _equal_elbo(ax)
    ax.set(xlabel="rate: KL(q(z|x) ‖ p(z)) (nats per datum)", ylabel="distortion: −E log p(x|z) (nats per datum)")
    ax.legend(loc="upper center", bbox_to_anchor=(0.5, -0.13), ncols=2 if len(fits) > 1 else 1)
    count = " or ".join(f"{n:,}" for n in np.unique(found["data"].values))
    subtitle(ax, "Rate and distortion", f"{count} data; bars ± 2 standard errors; better towards the lower left")
    return figure


def _figures(trees: Any) -> xr.Dataset:
    """A point for each chain."""
    if not isinstance(trees, (xr.DataTree, Mapping)) or isinstance(trees, xr.Dataset):
        raise TypeError(
            f"expected an ArviZ tree, as pv.posterior returns it, or a mapping of such, got {type(trees).__name__}"
        )
    named = {"": trees} if isinstance(trees, xr.DataTree) else dict(trees)
    if not named:
        raise ValueError("plot_rate_distortion: expected at least one tree, got none")
    parts = []
    for name, tree in named.items():
        found = rate_distortion(tree)
        count, best = found.sizes["chain"], chosen(tree, found)
        labels = {
            "fit": np.full(count, name, dtype=object),
            "chain": found["chain"].values,
            "chosen": np.arange(count) == best,
            "data": np.full(count, found.attrs["data"]),
        }
        values = found.drop_vars("chain", errors="ignore").rename_dims(chain="point")
        parts.append(values.assign_coords({k: ("point", v) for k, v in labels.items()}))
    return xr.concat(parts, "point")


def _limits(ax: Axes, points: np.ndarray, spans: np.ndarray) -> None:
    """Room around the points and their bars, and around a rate of 0."""
    (x, y), (high, top) = (points - spans).min(0), (points + spans).max(0)
    wide, tall = max(high - min(x, 0.0), 1e-6), max(top - y, 0.01 * abs(top), 1e-6)
    ax.set_xlim(min(x, 0.0) - 0.04 * wide, min(x, 0.0) + 1.15 * wide)
    ax.set_ylim(y - 0.35 * tall, top + 0.35 * tall)


def _equal_elbo(ax: Axes) -> None:
    (left, right), (bottom, top) = ax.get_xlim(), ax.get_ylim()
    ticks = MaxNLocator(LINES, steps=[1, 2, 5, 10]).tick_values(left + bottom, right + top)
    digits = max(0, -math.floor(math.log10(ticks[1] - ticks[0]))) if len(ticks) > 1 else 0
    for total in ticks:
        x = np.array([max(left, total - top), min(right, total - bottom)])
        if x[1] - x[0] < 0.12 * (right - left):
            continue
        ax.plot(x, total - x, color="#c4c9cf", lw=0.9, zorder=1)
        height = min(total - left - 0.03 * (right - left), top - 0.06 * (top - bottom))
        ax.annotate(
            f"ELBO {number(-total, digits)}",
            (total - height, height),
            (3, 1),
            textcoords="offset points",
            color=GREY,
            fontsize=8.5,
            va="bottom",
            zorder=1,
        )
    if left <= 0 <= right:
        ax.axvline(0, color=INK, lw=0.9, zorder=1)
        ax.axvspan(left, 0, color="#e4e7eb", zorder=0)
        ax.annotate(
            "collapse: rate 0, and none below",
            (0, bottom),
            (5, 5),
            textcoords="offset points",
            va="bottom",
            fontsize=8.5,
            color=GREY,
        )
