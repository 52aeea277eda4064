"""Where the bound of each datum loses."""

from __future__ import annotations

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from pyrovae.plots._style import BLUE, ORANGE, Drawn, number, one_axes, styled, subtitle, wants_figure

__all__ = ["plot_gap"]

PARTS = ("approximation", "amortisation")
FEW = 120  # data that have a bar each
RANGE = 0.98  # of the data whose gaps the axis shows in full


@styled
def plot_gap(gaps: xr.Dataset, *, ax: Axes | None = None, backend: str | None = None) -> Drawn:
    """log p(x) − ELBO of each datum in two parts, the data sorted by the whole.

    How to read it: the lower area is what the guide's family loses even at its best, and asks for a richer family; the
    upper one is what the encoder loses beside it, and asks for a better encoder. The areas are as large as the means
    that the line under the title gives. A part below 0 is Monte Carlo noise, and drawn as 0.

    Parameters
    ----------
    gaps
        From `pyrovae.diagnostics.gaps`.
    ax
        Axes to draw on; a new figure by default.
    backend
        None or "matplotlib" to draw, "none" for what would be drawn.

    Returns
    -------
    matplotlib.figure.Figure
        Or a Dataset: ``approximation`` and ``amortisation`` by ``obs_id`` in the order drawn, nats;
        ``attrs["approximation_mean"]`` and ``attrs["amortisation_mean"]``.

    Raises
    ------
    ValueError
        If this is no such dataset, or the backend is unknown.
    """
    draw = wants_figure(backend)
    found = _figures(gaps)
    if not draw:
        return found
    lower, upper = (found[name].values.clip(0) for name in PARTS)
    means = [found.attrs[f"{name}_mean"] for name in PARTS]
    n = len(lower)
    figure, ax = one_axes(ax)
    labels = (
        f"approximation: the family's, mean {number(means[0])}",
        f"amortisation: the encoder's, mean {number(means[1])}",
    )
    edges = np.arange(n + 1) + 0.5
    line = {"edgecolor": "white", "linewidth": 0.4} if n <= FEW else {"linewidth": 0}
    ax.stairs(lower, edges, fill=True, facecolor=BLUE, label=labels[0], **line)
    ax.stairs(lower + upper, edges, baseline=lower, fill=True, facecolor=ORANGE, label=labels[1], **line)
    total = lower + upper
    top, note = float(np.quantile(total, RANGE)), ""
    if total.max() > 2 * top > 0:
        ax.set_ylim(0, 1.25 * top)
        note = f"; {int((total > 1.25 * top).sum())} beyond the axis, up to {number(float(total.max()), 1)}"
    else:
        ax.set_ylim(0, max(1.3 * float(total.max()), 1e-3))
    ax.set(
        xlim=(0.5, n + 0.5),
        xlabel=f"data, by size of the whole gap ({n:,})",
        ylabel="log p(x) − ELBO (nats per datum)",
    )
    ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    ax.grid(axis="y", color="#e4e7eb", lw=0.8)
    handles, texts = ax.get_legend_handles_labels()
    ax.legend(handles[::-1], texts[::-1], loc="upper right")
    below = f"gap of {number(sum(means))} nats per datum"
    if min(means) >= 0 and sum(means) > 0:
        below += f", {100 * means[1] / sum(means):.0f} % of it the encoder's"
    subtitle(ax, "Where the bound loses", below + note)
    return figure


def _figures(gaps: xr.Dataset) -> xr.Dataset:
    """The two parts, the largest gap first."""
    if not (isinstance(gaps, xr.Dataset) and all(name in gaps and gaps[name].dims == ("obs_id",) for name in PARTS)):
        raise ValueError(
            "expected what pyrovae.diagnostics.gaps returns, a dataset with approximation and amortisation by obs_id"
        )
    parts = gaps[list(PARTS)]
    order = np.argsort(-(parts["approximation"] + parts["amortisation"]).values, kind="stable")
    means = {f"{name}_mean": float(parts[name].mean()) for name in PARTS}
    return parts.isel(obs_id=order).assign_attrs({"units": "nats", **means})
