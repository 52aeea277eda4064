"""The ELBO over the epochs of training."""

from __future__ import annotations

from typing import Any

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from pyrovae.diagnostics._tree import chosen, variable
from pyrovae.plots._style import BLUE, RED, Drawn, number, one_axes, styled, subtitle, wants_figure

__all__ = ["plot_elbo"]

NAMES = {"elbo": ("training", BLUE), "elbo_validation": ("validation", RED)}


@styled
def plot_elbo(tree_or_fit: Any, *, ax: Axes | None = None, backend: str | None = None) -> Drawn:
    """ELBO in nats per datum by epoch, in training and on validation data, a line per restart.

    How to read it: a curve that still rises at the end wants more epochs; a validation curve that falls while training
    rises is overfitting. The axis is cut so that the first epochs do not squash the rest; what is cut is said.

    Parameters
    ----------
    tree_or_fit
        A tree, of which the group ``optimization`` is read, or a `pyrovae.Fit`.
    ax
        Axes to draw on; a new figure by default.
    backend
        None or "matplotlib" to draw, "none" for what would be drawn.

    Returns
    -------
    matplotlib.figure.Figure
        Or a Dataset: ``elbo`` and, where it is, ``elbo_validation`` (chain, epoch), by the number of epochs
        finished. ``attrs["chosen"]`` is the position of the chain that the fit chose, ``attrs["objective"]`` what was
        raised.

    Raises
    ------
    ValueError
        If there is no history of at least one epoch.
    """
    draw = wants_figure(backend)
    found = _figures(tree_or_fit)
    if not draw:
        return found
    lines = {str(name): values.values for name, values in found.items()}
    epochs, best = found["epoch"].values, found.attrs["chosen"]
    figure, ax = one_axes(ax)
    for name, values in lines.items():
        what, colour = NAMES[name]
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
    name = found.attrs["objective"]
    subtitle(ax, f"{name} by epoch", below)
    ax.set(xlabel="epochs finished", ylabel=f"{name.split(' (')[0]} (nats per datum)")
    ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    ax.grid(axis="y", color="#e4e7eb", lw=0.8)
    ax.legend(loc="lower right")
    return figure


def _figures(source: Any) -> xr.Dataset:
    history = _history(source)
    found = history[[name for name in NAMES if name in history]].transpose("chain", "epoch")
    if not np.isfinite(found["elbo"]).any():
        raise ValueError("the history holds no finite ELBO: expected at least one finished epoch; call pv.fit")
    best = chosen(source, history) if isinstance(source, xr.DataTree) else int(source.best)
    attrs = {"units": "nats per datum", "chosen": best, "objective": history.attrs.get("objective", "ELBO")}
    return xr.Dataset(found.data_vars, attrs=attrs).assign_coords(epoch=history["epoch"].values + 1)


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
