"""How much each latent dimension says about the data."""

from __future__ import annotations

from typing import Any

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator

from pyrovae.plots._latents import kl_units
from pyrovae.plots._style import BLUE, GREY, INK, ORANGE, RED, Drawn, number, one_axes, styled, subtitle, wants_figure

__all__ = ["plot_kl"]

MOST_NAMES = 40
SPAN = (0.1, 0.9)
STATES: dict[str, tuple[str, dict[str, Any]]] = {
    "used": ("used", {"facecolor": BLUE, "edgecolor": BLUE}),
    "inactive": (
        "inactive: its mean hardly moves with the data",
        {"facecolor": ORANGE, "edgecolor": INK, "hatch": "..."},
    ),
    "collapsed": ("collapsed to the prior (×)", {"facecolor": "#dfe2e6", "edgecolor": GREY, "hatch": "////"}),
}


@styled
def plot_kl(tree: xr.DataTree, *, ax: Axes | None = None, backend: str | None = None) -> Drawn:
    """KL(q(z_j|x) ‖ p(z_j)) of each latent dimension in nats, sorted: mean over the data, and the span of 80 % of them.

    How to read it: a tall bar carries much information about each datum; a bar at zero carries none, and is marked if
    the dimension is collapsed (`pyrovae.diagnostics.collapse`) or inactive (`pyrovae.diagnostics.active_units`).
    Restarts number their dimensions differently: with several, each is sorted by itself and bars go by rank.

    Parameters
    ----------
    tree
        Reads ``sample_stats/kl_…`` and ``posterior``.
    ax
        Axes to draw on; a new figure by default.
    backend
        None or "matplotlib" to draw, "none" for what would be drawn.

    Returns
    -------
    matplotlib.figure.Figure
        Or a Dataset: ``kl``, mean over data, ``low`` and ``high``, between which 80 % of them lie, and ``state``,
        "used", "inactive" or "collapsed", all (chain, latent).

    Raises
    ------
    ValueError
        If no KL per dimension is defined for the program.
    """
    draw = wants_figure(backend)
    found = _figures(tree)
    if not draw:
        return found
    mean, low, high, state = (found[name].values for name in ("kl", "low", "high", "state"))
    chains, count = mean.shape
    order = np.argsort(-mean, axis=1, kind="stable")
    figure, ax = one_axes(ax, (min(11.0, max(6.4, 0.3 * count * chains + 2)), 4.0))
    width = 0.76 / chains
    for chain, rank in enumerate(order):
        x = np.arange(count) + (chain - (chains - 1) / 2) * width
        for kind, (_, look) in STATES.items():
            chosen = state[chain, rank] == kind
            if chosen.any():
                ax.bar(x[chosen], mean[chain, rank][chosen], width * 0.92, linewidth=0.6, **look)
            if kind == "collapsed" and chosen.any():  # its bar has no height to be seen by
                ax.plot(x[chosen], mean[chain, rank][chosen], "x", color=RED, ms=6, mew=1.5, clip_on=False, zorder=4)
        ax.vlines(x, low[chain, rank], high[chain, rank], color=INK, lw=1.1 if count * chains <= 60 else 0.6)
    if count * chains < 4:
        ax.set_xlim(-1.5, count + 0.5)
    ax.set_ylim(bottom=min(0.0, float(low.min())))
    if chains == 1 and count <= MOST_NAMES:
        names = [str(name) for name in found["latent"].values[order[0]]]
        turned = 60 if max(map(len, names)) * count > 70 else 0
        ax.set_xticks(np.arange(count), names, rotation=turned)
        ax.set_xlabel("latent dimension")
    else:
        ax.xaxis.set_major_locator(MaxNLocator(integer=True))
        ax.set_xticks(_ranks(count), [str(r + 1) for r in _ranks(count)])
        ax.set_xlabel("latent dimension by rank" + (", a bar per restart" if chains > 1 else ""))
    ax.set_ylabel("KL to the prior (nats per datum)")
    ax.grid(axis="y", color="#e4e7eb", lw=0.8)
    counts = [int((row == "used").sum()) for row in state]
    used = ", ".join(map(str, counts if len(set(counts)) > 1 else counts[:1]))
    by = ", by restart" if chains > 1 else ""
    total = ", ".join(number(v, 1) for v in mean.sum(1))
    subtitle(ax, "KL per latent dimension", f"{used} of {count} dimensions used; together {total} nats per datum{by}")
    handles = [Patch(label=name, linewidth=0.6, **look) for k, (name, look) in STATES.items() if (state == k).any()]
    ax.legend(handles=[*handles, Line2D([], [], color=INK, lw=1.1, label="80 % of the data")], loc="upper right")
    _headroom(ax, float(high.max()), len(handles))
    return figure


def _figures(tree: xr.DataTree) -> xr.Dataset:
    units = kl_units(tree)
    low, high = np.quantile(units.kl, SPAN, axis=1)
    values = {
        "kl": units.kl.mean(1),
        "low": low,
        "high": high,
        "state": np.where(units.collapsed, "collapsed", np.where(units.active, "used", "inactive")),
    }
    dims = ("chain", "latent")
    return xr.Dataset(
        {name: (dims, value) for name, value in values.items()},
        coords={"latent": units.names},
        attrs={"units": "nats per datum"},
    )


def _ranks(count: int) -> np.ndarray:
    step = max(1, int(np.ceil(count / 16)))
    return np.arange(0, count, step)


def _headroom(ax: Axes, top: float, rows: int) -> None:
    """Room for the legend above the bars."""
    ax.set_ylim(top=(top or 1.0) * (1.12 + 0.08 * rows))
