"""The ELBO over the epochs of training."""

from __future__ import annotations

from typing import Any

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from pyrovae.diagnostics._tree import chosen, variable
from pyrovae.plots._style import BLUE, RED, number, one_axes, styled, subtitle

__all__ = ["plot_elbo"]


@styled
def plot_elbo(tree_or_fit: Any, *, ax: Axes | None = None) -> Figure:
    """ELBO in nats per datum by epoch, in training and on validation data, a line per restart.

    How to read it: a curve that still rises at the end wants more epochs; a validation curve that falls while training
    rises is overfitting. The axis is cut so that the first epochs do not squash the rest; what is cut is said.

    Parameters
    ----------
    tree_or_fit
        A tree, of which the group ``optimization`` is read, or a `pyrovae.Fit`.
    ax
        Axes to draw on; a new figure by default.

    Returns
    -------
    matplotlib.figure.Figure

    Raises
    ------
    ValueError
        If there is no history of at least one epoch.
    """
    history = _history(tree_or_fit)
    names = {"elbo": ("training", BLUE), "elbo_validation": ("validation", RED)}
    lines = {n: history[n].transpose("chain", "epoch").values for n in names if n in history}
    if not np.isfinite(lines["elbo"]).any():
        raise ValueError("the history holds no finite ELBO: expected at least one finished epoch; call pv.fit")
    epochs = history["epoch"].values + 1
    best = chosen(tree_or_fit, history) if isinstance(tree_or_fit, xr.DataTree) else int(tree_or_fit.best)
    figure, ax = one_axes(ax)
    for name, values in lines.items():
        what, colour = names[name]
        for chain, line in enumerate(values):
            faint = chain != best
            ax.plot(
                epochs,
                line,
                color=colour,
                lw=1 if faint else 1.9,
                alpha=0.4 if faint else 1,
                zorder=2 if faint else 3,
                marker="o" if len(epochs) == 1 else None,
                label=None if faint else _label(what, line, epochs),
            )
    cut = _limits(ax, list(lines.values()))
    chains = len(lines["elbo"])
    below = f"{chains} restarts, the best one bold" if chains > 1 else ""
    if cut:
        below += ("; " if below else "") + cut
    subtitle(ax, "ELBO by epoch", below)
    ax.set(xlabel="epochs finished", ylabel="ELBO (nats per datum)")
    ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    ax.grid(axis="y", color="#e4e7eb", lw=0.8)
    ax.legend(loc="lower right")
    return figure


def _history(source: Any) -> xr.Dataset:
    if isinstance(source, xr.DataTree):
        if "optimization" not in source.children:
            raise ValueError(
                "the tree has no group 'optimization': it was made from a program, not from a fit; "
                "pv.posterior(fit, …), with what pv.fit returned, keeps the history"
            )
        variable(source, "optimization", "elbo")
        return source["optimization"].dataset
    history = getattr(source, "history", None)
    if not isinstance(history, xr.Dataset) or "elbo" not in history:
        raise TypeError(
            f"expected an ArviZ tree, as pv.posterior returns it, or a pyrovae.Fit, got {type(source).__name__}"
        )
    return history


def _last(line: np.ndarray) -> float:
    finite = line[np.isfinite(line)]
    return float(finite[-1]) if finite.size else -np.inf


def _label(what: str, line: np.ndarray, epochs: np.ndarray) -> str:
    if not np.isfinite(line).any():
        return what
    top = int(np.nanargmax(line))
    return f"{what}: last {number(_last(line))}, best {number(line[top])} at {epochs[top]}"


def _limits(ax: Axes, lines: list[np.ndarray]) -> str:
    """The last half of the epochs takes at least a quarter of the axis; says what lies outside."""
    whole = np.concatenate(lines)
    count = whole.shape[1]
    finite = whole[np.isfinite(whole)]
    low, high = float(finite.min()), float(finite.max())
    late = whole[:, count // 2 :]
    if count >= 10 and np.isfinite(late).any():
        low = max(low, high - 4 * (high - float(np.nanquantile(late, 0.01))))
    pad = 0.06 * (high - low) or 1.0
    ax.set_ylim(low - pad, high + pad)
    with np.errstate(invalid="ignore"):
        outside = (whole < low - pad).any(0)
    if not outside.any():
        return ""
    n = int(outside.sum())
    where = f"the first {n} epochs" if outside[:n].all() and n > 1 else f"{n} epoch{'s' if n > 1 else ''}"
    return f"{where} below the axis, from {number(finite.min(), 0 if finite.min() < -100 else 1)}"
