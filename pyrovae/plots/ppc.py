"""Posterior predictive check."""

from __future__ import annotations

import contextlib

import arviz as az
import numpy as np
import xarray as xr
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from pyrovae._numbers import at_least
from pyrovae.diagnostics._statistics import Statistic, statistics
from pyrovae.diagnostics._tree import NotAvailable
from pyrovae.diagnostics.predictive import predictive_check
from pyrovae.plots._style import BLUE, INK, Drawn, number, styled, wants_figure

__all__ = ["plot_ppc"]

FEWEST_LEVELS = 15


@styled
def plot_ppc(
    tree: xr.DataTree, *, var_name: str | None = None, num_samples: int = 50, backend: str | None = None
) -> Drawn:
    """Distribution over the data of what was observed, and of what the program predicts for the same data.

    Up to four features are shown as they are. Of more, statistics of each datum are: its mean and standard deviation
    over features, and its share of zeros where zeros are many. Each panel gives two p-values of
    `pyrovae.diagnostics.predictive_check`: of the average and of the spread (standard deviation) of the statistic over
    the data.

    How to read it: the dark curve should run within the bundle. A p-value below .01 means that the program predicts
    too little or too much of it. Of data that the parameters were fitted to the checks are lenient: what they show is
    wrong, but they do not show all that is.

    Parameters
    ----------
    tree
        Reads ``observed_data`` and ``posterior_predictive``, the latter of the best restart.
    var_name
        Which observed variable; the first by default.
    num_samples
        How many predictive draws are drawn as curves, at even steps of those there are.
    backend
        None or "matplotlib" to draw, "none" for what would be drawn.

    Returns
    -------
    matplotlib.figure.Figure
        Or a tree that ``az.plot_ppc_dist`` takes: groups ``posterior_predictive`` (chain, draw, datum) and
        ``observed_data`` (datum) of the statistics shown, and ``predictive_check`` with the p-values (statistic).

    Raises
    ------
    ValueError
        If a group is missing, or ``num_samples`` is no whole number of at least 1.

    References
    ----------
    Gelman, Meng & Stern 1996, Statistica Sinica 6; the curves are ``arviz.plot_ppc_dist``.
    """
    draw, num_samples = wants_figure(backend), at_least("num_samples", num_samples, 1)
    found = statistics(tree, var_name=var_name)
    reduced = _figures(tree, var_name, found, num_samples)
    if not draw:
        return reduced
    shown = reduced["posterior_predictive"].sizes["draw"]
    p_values = _p_values(reduced)
    # no density can be drawn of few levels, or of one
    steps = any(len(np.unique(s.observed)) < FEWEST_LEVELS or (np.ptp(s.predicted, axis=1) == 0).any() for s in found)
    columns = 2 if len(found) == 4 else len(found)
    rows = -(-len(found) // columns)
    drawn = az.plot_ppc_dist(
        reduced,
        kind="ecdf" if steps else "kde",
        num_samples=shown,
        backend="matplotlib",
        col_wrap=columns,
        figure_kwargs={
            "figsize": (3.4 * columns + 0.4 + 2 * (columns == 1), 2.7 * rows + 0.8),
            "layout": "constrained",
        },
        visuals={
            "predictive_dist": {"color": BLUE, "alpha": 0.3, "width": 0.8},
            "observed_dist": {"color": INK, "width": 2},
            "title": False,
            "remove_axis": not steps,
        },
    )
    figure: Figure = drawn.viz["figure"].item()
    for s in found:
        ax = drawn.viz["plot"][s.name].item()
        ax.set_title(s.name + (f"\n{p_values[s.name]}" if s.name in p_values else ""), fontsize=10, fontweight="normal")
        ax.set_xlabel(s.axis)
        if steps:
            ax.set_ylabel("share of data at most this")
    handles = [
        Line2D([], [], color=INK, lw=2, label="observed"),
        Line2D([], [], color=BLUE, lw=1.2, alpha=0.7, label=f"predicted, {shown} draws"),
    ]
    figure.legend(handles=handles, loc="outside lower center", ncols=2)
    figure.suptitle("Posterior predictive check", x=0.01, ha="left", fontsize=12, fontweight="bold")
    return figure


def _figures(tree: xr.DataTree, var_name: str | None, found: list[Statistic], num_samples: int) -> xr.DataTree:
    count = found[0].predicted.shape[0]
    draws = np.unique(np.linspace(0, count - 1, min(num_samples, count)).round().astype(int))
    observed, predicted = {}, {}
    for i, s in enumerate(found):
        observed[s.name] = ((f"obs_id_{i}",), s.observed)
        predicted[s.name] = (("chain", "draw", f"obs_id_{i}"), s.predicted[None, draws])
    groups = {
        "posterior_predictive": xr.Dataset(predicted, coords={"chain": [0], "draw": draws}),
        "observed_data": xr.Dataset(observed),
    }
    with contextlib.suppress(NotAvailable):  # a single datum, say, can be drawn but not tested
        groups["predictive_check"] = predictive_check(tree, var_name=var_name)
    return xr.DataTree.from_dict(groups)


def _p_values(reduced: xr.DataTree) -> dict[str, str]:
    if "predictive_check" not in reduced.children:
        return {}
    checked = reduced["predictive_check"].dataset
    p = dict(zip(checked["statistic"].values.tolist(), checked["p_value"].values.tolist(), strict=True))
    names = [str(name) for name in reduced["observed_data"].dataset]
    return {
        name: f"$p$ of average {_say(p[f'{name}, average'])}, of spread {_say(p[f'{name}, spread'])}" for name in names
    }


def _say(p: float) -> str:
    return "< 0.01" if p < 0.01 else number(p)
