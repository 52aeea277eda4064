"""One latent moved, the others held."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import xarray as xr
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from pyrovae._numbers import at_least
from pyrovae.draws.target import Evaluation, evaluation
from pyrovae.plots._decoded import (
    Codes,
    carried,
    chosen_dims,
    data_of,
    latent_names,
    latent_values,
    means_of,
    obs_ids,
    observed_site,
    prior_steps,
    scale_of,
)
from pyrovae.plots._images import Scale, as_images, mosaic, value_range
from pyrovae.plots._lines import lines, panels, points
from pyrovae.plots._style import RED, Drawn, number, styled, subtitle, wants_figure

__all__ = ["plot_traversal"]

TAIL = 0.02
MOST = 6
GAP = 0.06
LEAD = ("latent", "step")


@styled
def plot_traversal(
    fit: Any,
    data: Any,
    *,
    context: Any = None,
    datum: int = 0,
    dims: Sequence[int] | None = None,
    steps: int = 9,
    var_name: str | None = None,
    seed: int = 0,
    backend: str | None = None,
) -> Drawn:
    """What changes when one latent moves through the prior's central 96 % and the others stay where a datum is.

    How to read it: each row is one dimension, those that carry most first. A row whose pictures do not differ is of
    a latent that the decoder does not use; a row in which one property changes and nothing else belongs to a latent
    that stands for this property. The framed picture of each row is the one nearest to the datum's own place. Data that
    are no images are lines over their features, from blue to orange as the latent grows, the datum itself as circles.

    Parameters
    ----------
    fit, data, context
        As for `pyrovae.posterior`. Latents on bounded supports move on the real line, and are mapped back.
    datum
        Which of the data to start from, at its posterior mean; a conditional program keeps its context.
    dims
        Which dimensions, in which order, numbered through all sites; the six that carry most by default.
    steps
        Pictures in each row, at least 2.
    var_name
        Which observed variable; the first by default.
    seed
        Of the draws that place the datum and the prior.
    backend
        None or "matplotlib" to draw, "none" for what would be drawn.

    Returns
    -------
    matplotlib.figure.Figure
        Or a Dataset: ``mean`` E[x|z] (latent, step, …), ``value`` of the latent (latent, step) and where the
        datum has it, ``own_value`` (latent), ``kl`` (latent), that of Gaussians with the moments of q and prior, mean
        over up to 200 data in nats, and ``observed``, the datum.

    Raises
    ------
    ValueError
        If the datum or a dimension does not exist, or the latents cannot be put on the real line.
    """
    draw = wants_figure(backend)
    steps = at_least("steps", steps, 2)
    with evaluation(fit, data, context) as e:
        n, site = len(e.batches), observed_site(e, var_name)
        if isinstance(datum, bool) or not isinstance(datum, (int, np.integer)) or not 0 <= datum < n:
            raise ValueError(f"datum: expected a whole number from 0 to {n - 1}, got {datum!r}")
        found = _figures(e, int(datum), dims, steps, var_name, seed)
        if not draw:
            return found
        scale = scale_of(e, site, seed)
    images = as_images(found["mean"], LEAD)
    return _lines(found, scale) if images is None else _images(found, images)


def _figures(
    e: Evaluation, datum: int, dims: Sequence[int] | None, steps: int, var_name: str | None, seed: int
) -> xr.Dataset:
    site, own = observed_site(e, var_name), Codes(e, [datum], seed)
    kl = carried(e, seed)
    chosen = chosen_dims(dims, own.target, np.argsort(-kl, kind="stable")[:MOST])
    values, _ = prior_steps(e, own.target, steps, TAIL, seed)
    u = own.place[0].repeat(len(chosen), steps, 1)
    for row, d in enumerate(chosen):
        u[row, :, d] = values[d]
    lead = dict(zip(LEAD, u.shape[:2], strict=True))
    shown = latent_values(own.target, u.flatten(0, 1)).reshape(u.shape)
    names, place = latent_names(own.target), latent_values(own.target, own.place)[0]
    return xr.Dataset(
        {
            "mean": means_of(e, own.target, u.flatten(0, 1), np.full(u[..., 0].numel(), datum), site, lead),
            "value": (LEAD, np.stack([shown[row, :, d] for row, d in enumerate(chosen)])),
            "own_value": ("latent", place[chosen]),
            "kl": ("latent", kl[chosen]),
            "observed": data_of(e, own.batch, site, {"datum": 1})[0],
        },
        coords={"latent": [names[d] for d in chosen]},
        attrs={"variable": site.name, "datum": str(obs_ids(e, datum)), "units": "kl in nats per datum"},
    )


def _labels(found: xr.Dataset) -> list[str]:
    return [
        f"{name}\nKL ≈ {number(float(kl), 1)}" for name, kl in zip(found["latent"].values, found["kl"], strict=True)
    ]


def _images(found: xr.Dataset, images: np.ndarray) -> Figure:
    rows, steps, height, width = images.shape[:4]
    tall = height / width
    size = (max(6.4, 0.92 * (1 + GAP) * steps + 1.2), 0.92 * (tall + GAP) * rows + 1.0)
    figure, ax = plt.subplots(figsize=size)
    limits = value_range(np.concatenate([images.ravel(), found["observed"].values.ravel()]))
    left, top = np.arange(steps) * (1 + GAP), np.arange(rows) * (tall + GAP)
    mosaic(ax, images, limits, left.tolist(), top.tolist())
    nearest = np.abs(found["value"].values - found["own_value"].values[:, None]).argmin(1)
    for row, column in enumerate(nearest):
        ax.add_patch(Rectangle((left[column], top[row]), 1, tall, fill=False, ec=RED, lw=2.2, zorder=4))
    ax.set_yticks(top + tall / 2, _labels(found))
    ax.set_xticks([0.5, left[-1] + 0.5], [f"{100 * TAIL:.0f} % of the prior", f"{100 * (1 - TAIL):.0f} %"])
    subtitle(
        ax, f"Traversals from datum {found.attrs['datum']}", "one latent moves, the others stay; framed: the datum"
    )
    return figure


def _lines(found: xr.Dataset, scale: Scale) -> Figure:
    title = f"Traversals from datum {found.attrs['datum']}: one latent moves, the others stay"
    ends = f"{100 * TAIL:.0f} % of\nthe prior", f"{100 * (1 - TAIL):.0f} %"
    figure, axes = panels(found["observed"].rename(found.attrs["variable"]), scale, found.sizes["latent"], title, ends)
    for ax, values, label in zip(axes, found["mean"].values, _labels(found), strict=True):
        lines(ax, values, scale)
        points(ax, found["observed"].values, scale, "o", "the datum")
        ax.set_ylabel(label)
    axes[0].legend(loc="lower right", bbox_to_anchor=(1.0, 1.0), borderaxespad=0.2)
    return figure
