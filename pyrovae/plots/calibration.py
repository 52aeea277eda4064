"""Calibration of the guide on simulated data: ranks and coverage."""

from __future__ import annotations

from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import xarray as xr
from arviz_stats.ecdf_utils import compute_ecdf
from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from pyrovae.diagnostics._uniformity import bands
from pyrovae.diagnostics.calibration import LEVEL, WHOLE, calibration, coverage, pits
from pyrovae.plots._style import BLUE, CLASSES, INK, ORANGE, RED, Drawn, one_axes, styled, subtitle, wants_figure

__all__ = ["plot_calibration"]

COLOURS = {
    "calibrated": BLUE,
    "biased": CLASSES[4],
    "too narrow": RED,
    "too wide": ORANGE,
    "too wide or misplaced": ORANGE,
    "wrong shape": CLASSES[5],
}
LEVELS = np.linspace(0.02, 0.98, 49)
FEW_NAMES = 4
BAND = "#dfe5ec"


@styled
def plot_calibration(ranks: xr.Dataset, *, ax: Axes | None = None, backend: str | None = None) -> Drawn:
    """How far the ranks of the true latents are from uniform, and what q's intervals cover, for simulated data.

    How to read it: left, a line for each latent dimension, and a dashed one for log p(z, x), is the ECDF of the PIT
    values minus its expectation. A calibrated guide's lines all stay in the band, but for a chance of 1 % (Bonferroni
    over the lines; Säilynoja et al. 2022, 2103.10522). A line above 0 on the left and below on the right comes of a
    guide that is too narrow, the reverse of one that is too wide; one below 0 throughout of draws that lie too low,
    above 0 of draws that lie too high. Right, the share of true latents inside q's central intervals against the share
    that should be: below the diagonal q is overconfident. The band is of two standard errors at each level. Verdicts
    are those of `pyrovae.diagnostics.calibration`.

    Parameters
    ----------
    ranks
        From `pyrovae.diagnostics.sbc`.
    ax
        Axes for the left panel, which is then the only one; by default a new figure with both.
    backend
        None or "matplotlib" to draw, "none" for what would be drawn.

    Returns
    -------
    matplotlib.figure.Figure
        Or a Dataset: ``difference``, ECDF less its expectation (quantity, pit), the band ``low`` to ``high`` (pit) and
        ``verdict`` (quantity); and, where the right panel is drawn, ``coverage`` (latent, level) and its standard error
        ``se`` (level).

    Raises
    ------
    TypeError, ValueError
        If these are no ranks.
    """
    draw = wants_figure(backend)
    found = _figures(ranks, both=ax is None)
    if not draw:
        return found
    verdicts = dict(zip(found["quantity"].values.tolist(), found["verdict"].values.tolist(), strict=True))
    if "coverage" in found:
        figure, (left, right) = plt.subplots(1, 2, figsize=(11.0, 4.6), width_ratios=(1.25, 1))
        _coverage(right, found, verdicts)
    else:
        figure, left = one_axes(ax, (6.4, 4.6))
    _ranks(left, found, verdicts)
    return figure


def _figures(ranks: xr.Dataset, *, both: bool) -> xr.Dataset:
    values = pits(ranks)
    n = len(next(iter(values.values())))
    at, low, high = bands(n, 1 - LEVEL / len(values))
    heights = [np.concatenate([[0.0], compute_ecdf(pit, at[1:-1]) - at[1:-1], [0.0]]) for pit in values.values()]
    found = xr.Dataset(
        {
            "difference": (("quantity", "pit"), np.stack(heights)),
            "low": ("pit", low - at),
            "high": ("pit", high - at),
            "verdict": ("quantity", calibration(ranks)["verdict"].values),
        },
        coords={"quantity": list(values), "pit": at},
        attrs={"simulations": n},
    )
    if not both or set(values) == {WHOLE}:
        return found
    return found.assign(coverage(ranks, LEVELS.tolist())[["coverage", "se"]].rename(quantity="latent").data_vars)


def _style(name: str, count: int, verdicts: dict[str, str]) -> dict[str, Any]:
    """How the line of a quantity is drawn."""
    off = verdicts[name] != "calibrated"
    style: dict[str, Any] = {"lw": 1.6 if count <= 12 else 0.9}
    if name == WHOLE:
        style = {"ls": (0, (4, 2)), "lw": 2.0}
    return style | {"color": COLOURS[verdicts[name]], "alpha": 1 if off else 0.75, "zorder": 4 if off else 3}


def _ranks(ax: Axes, found: xr.Dataset, verdicts: dict[str, str]) -> None:
    n, at = found.attrs["simulations"], found["pit"].values
    ax.fill_between(at, found["low"], found["high"], color=BAND, lw=0, zorder=1)
    ax.axhline(0, color=INK, lw=0.8, zorder=2)
    for name, heights in zip(verdicts, found["difference"].values, strict=True):
        ax.plot(at, heights, **_style(name, len(verdicts), verdicts))
    ax.set(xlim=(0, 1), xlabel="PIT: share of q's draws below the true value", ylabel="ECDF − uniform")
    ax.margins(y=0.08)
    good = sum(v == "calibrated" for name, v in verdicts.items() if name != WHOLE)
    count = len(verdicts) - (WHOLE in verdicts)
    latents = f"{good} of {count} latent dimensions calibrated" if count else "no latent is a number"
    subtitle(ax, "Ranks of the true latents", f"{n:,} simulated data; {latents}")
    handles = [
        Line2D([], [], color=COLOURS[verdict], lw=2, label=f"{verdict}: {_names(verdict, verdicts)}")
        for verdict in COLOURS
        if verdict in verdicts.values()
    ]
    bottom, top = ax.get_ylim()
    ax.set_ylim(bottom, top + (0.07 * len(handles) + 0.02) * (top - bottom))
    ax.legend(handles=handles, loc="upper right")


def _names(verdict: str, verdicts: dict[str, str]) -> str:
    names = [name for name, found in verdicts.items() if found == verdict]
    if len(names) <= FEW_NAMES:
        return ", ".join(names)
    return f"{', '.join(names[: FEW_NAMES - 1])} and {len(names) - FEW_NAMES + 1} more"


def _coverage(ax: Axes, found: xr.Dataset, verdicts: dict[str, str]) -> None:
    se = 2 * found["se"].values
    ax.fill_between(LEVELS, LEVELS - se, LEVELS + se, color=BAND, lw=0, zorder=1)
    ax.plot([0, 1], [0, 1], color=INK, lw=0.8, zorder=2)
    names = found["latent"].values.tolist()
    for name, shares in zip(names, found["coverage"].values, strict=True):
        ax.plot(LEVELS, shares, **_style(name, len(names), verdicts))
    ticks = np.linspace(0, 1, 5)
    percent = [f"{100 * t:.0f} %" for t in ticks]
    ax.set_xticks(ticks, percent)
    ax.set_yticks(ticks, percent)
    ax.set(
        xlim=(0, 1), ylim=(0, 1), xlabel="nominal: the interval's probability under q", ylabel="true latents inside it"
    )
    subtitle(ax, "Coverage of q's central intervals", "of simulated data: real ones are judged by k̂")
