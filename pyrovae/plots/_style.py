"""The look that all plots share: colours that the colour-blind can tell apart, fonts, axes."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, cast

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

__all__ = [
    "BLUE",
    "CLASSES",
    "GREY",
    "INK",
    "ORANGE",
    "RED",
    "Drawn",
    "number",
    "one_axes",
    "styled",
    "subtitle",
    "wants_figure",
]

type Drawn = Any
"""A matplotlib Figure; with the backend "none" the xarray Dataset or DataTree of what would be drawn."""

# Okabe & Ito 2008, for roles
BLUE, ORANGE, RED, GREY, INK = "#0072b2", "#e69f00", "#d55e00", "#8a9099", "#22262b"
# Petroff 2021, 2107.02270, for up to ten classes
CLASSES = (
    "#3f90da",
    "#ffa90e",
    "#bd1f01",
    "#94a4a2",
    "#832db6",
    "#a96b59",
    "#e76300",
    "#b9ac70",
    "#717581",
    "#92dadd",
)

RC: Any = {
    "figure.dpi": 110,
    "font.size": 10.5,
    "axes.titlesize": 12,
    "axes.titlelocation": "left",
    "axes.titleweight": "bold",
    "axes.titlepad": 10,
    "axes.labelsize": 10.5,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "axes.unicode_minus": True,
    "xtick.labelsize": 9.5,
    "ytick.labelsize": 9.5,
    "legend.fontsize": 9.5,
    "legend.frameon": False,
    "hatch.linewidth": 0.6,
    "figure.constrained_layout.use": True,
}


def styled[**P, R](function: Callable[P, R]) -> Callable[P, R]:
    """Draw with the package's look, and leave matplotlib's settings as they were."""

    @functools.wraps(function)
    def inner(*args: P.args, **kwargs: P.kwargs) -> R:
        with mpl.rc_context(RC):
            return function(*args, **kwargs)

    return inner


def wants_figure(backend: str | None) -> bool:
    """Whether a plot is to be drawn, or (backend "none") the figures in it are to be returned.

    Raises
    ------
    ValueError
        For any other backend.
    """
    if not (backend is None or (isinstance(backend, str) and backend in ("matplotlib", "none"))):
        raise ValueError(
            f"backend: expected None or 'matplotlib', which draw, or 'none', which returns what would be drawn, got "
            f"{backend!r}; the plots of ArviZ, az.plot_*, draw the same tree with bokeh and plotly too"
        )
    return backend != "none"


def one_axes(ax: Axes | None, size: tuple[float, float] = (6.4, 4.0)) -> tuple[Figure, Axes]:
    """The axes given, with its figure, or new ones."""
    if ax is None:
        return plt.subplots(figsize=size)
    if not isinstance(ax, Axes):
        raise TypeError(f"ax: expected a matplotlib Axes, got {type(ax).__name__}")
    return cast(Figure, ax.figure), ax


def subtitle(ax: Axes, title: str, below: str = "") -> None:
    """A title, and a line under it in smaller type."""
    ax.set_title(title, pad=24 if below else 10)
    if below:
        ax.text(0, 1.0, below, transform=ax.transAxes + _up(ax, 7), color="#555c66", fontsize=9.5, va="bottom")


def _up(ax: Axes, points: float) -> Any:
    from matplotlib.transforms import ScaledTranslation

    return ScaledTranslation(0, points / 72, ax.figure.dpi_scale_trans)


def number(value: float, digits: int = 2) -> str:
    """A number with a true minus sign.

    Examples
    --------
    >>> number(-96.572)
    '−96.57'
    """
    if not np.isfinite(value):
        return {np.inf: "∞", -np.inf: "−∞"}.get(value, "not a number")
    text = f"{value:,.{digits}f}".replace("-", "−")
    return text.removeprefix("−") if float(f"{value:.{digits}f}") == 0 else text
