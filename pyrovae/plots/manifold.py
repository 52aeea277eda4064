"""What the plane of two latents decodes to."""

from __future__ import annotations

from typing import Any

import numpy as np
import xarray as xr
from matplotlib.axes import Axes

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
    observed_site,
    prior_steps,
)
from pyrovae.plots._images import as_images, mosaic, value_range
from pyrovae.plots._style import Drawn, number, one_axes, styled, subtitle, wants_figure

__all__ = ["plot_manifold"]

TAIL = 0.03
SIDE = 7.0
GAP = 0.05
LEAD = ("up", "across")


@styled
def plot_manifold(
    fit: Any,
    data: Any,
    *,
    context: Any = None,
    dims: tuple[int, int] | None = None,
    steps: int = 13,
    var_name: str | None = None,
    seed: int = 0,
    ax: Axes | None = None,
    backend: str | None = None,
) -> Drawn:
    """Decoded points of a grid over two latents, between the prior's quantiles 3 % and 97 %, the others at its median.

    How to read it: it is a map of what the program can make. Neighbours should be alike; at a sharp border small moves
    of z make large moves of x. With more than two latents it is one slice of many.

    Parameters
    ----------
    fit, data, context
        As for `pyrovae.posterior`: images. A conditional program is given the context of the first datum throughout.
    dims
        Across and up, numbered through all sites; the two that carry most by default.
    steps
        Pictures along each side, at least 2.
    var_name
        Which observed variable; the first by default.
    seed
        Of the draws that place data and prior.
    ax
        Axes to draw on; a new figure by default.
    backend
        None or "matplotlib" to draw, "none" for what would be drawn.

    Returns
    -------
    matplotlib.figure.Figure
        Or a Dataset: ``mean`` E[x|z] (up, across, …), and the latents' values ``across_value`` (across) and
        ``up_value`` (up); ``attrs`` name the two latents.

    Raises
    ------
    ValueError
        If the data are no images, there are fewer than two latents, or they cannot be put on the real line.
    """
    draw = wants_figure(backend)
    steps = at_least("steps", steps, 2)
    with evaluation(fit, data, context) as e:
        found = _figures(e, dims, steps, var_name, seed)
    if not draw:
        return found
    images: Any = as_images(found["mean"], LEAD)
    tall = images.shape[2] / images.shape[3]
    figure, ax = one_axes(ax, (SIDE + 0.8, SIDE * tall + 1.1))
    left, top = np.arange(steps) * (1 + GAP), np.arange(steps) * (tall + GAP)
    mosaic(ax, images[::-1], value_range(images), left.tolist(), top.tolist())
    ticks = np.unique([0, steps // 2, steps - 1])
    ax.set_xticks(left[ticks] + 0.5, [number(float(v), 1) for v in found["across_value"].values[ticks]])
    ax.set_yticks(top[::-1][ticks] + tall / 2, [number(float(v), 1) for v in found["up_value"].values[ticks]])
    across, up, rest = found.attrs["across"], found.attrs["up"], found.attrs["others"]
    ax.set(xlabel=across, ylabel=up)
    below = f"the other {rest} at the prior's median" if rest > 1 else "the other at the prior's median" if rest else ""
    subtitle(ax, f"What {across} and {up} decode to", below)
    return figure


def _figures(e: Evaluation, dims: Any, steps: int, var_name: str | None, seed: int) -> xr.Dataset:
    site, first = observed_site(e, var_name), Codes(e, [0], seed)
    if as_images(data_of(e, first.batch, site, {"datum": 1}), ("datum",)) is None:
        raise ValueError(
            f"plot_manifold shows images, and {site.name!r} is none: it has neither coordinates row and column nor two "
            "dimensions of its own; plot_traversal shows other data as lines"
        )
    target = first.target
    if target.dim < 2:
        raise ValueError("a plane needs two latents, and the program has one: use plot_traversal")
    pair = chosen_dims(dims, target, np.argsort(-carried(e, seed), kind="stable")[:2] if dims is None else np.empty(0))
    if len(pair) != 2:
        raise ValueError(f"dims: expected two, across and up, got {dims!r}")
    across, up = pair
    values, median = prior_steps(e, target, steps, TAIL, seed)
    u = median.repeat(steps, steps, 1)
    u[..., across], u[..., up] = values[across], values[up, :, None]
    flat, names = u.flatten(0, 1), latent_names(target)
    shown = latent_values(target, flat).reshape(u.shape)
    lead = dict.fromkeys(LEAD, steps)
    return xr.Dataset(
        {
            "mean": means_of(e, target, flat, np.zeros(len(flat), int), site, lead),
            "across_value": ("across", shown[steps // 2, :, across]),
            "up_value": ("up", shown[:, steps // 2, up]),
        },
        attrs={"variable": site.name, "across": names[across], "up": names[up], "others": target.dim - 2},
    )
