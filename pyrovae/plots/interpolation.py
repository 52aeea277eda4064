"""From one datum to another on a straight line between their codes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import torch
import xarray as xr
from matplotlib.figure import Figure
from torch import Tensor

from pyrovae._numbers import at_least
from pyrovae._rng import Stream, derive, seeded
from pyrovae.draws.target import Evaluation, Target, evaluation
from pyrovae.plots._decoded import Codes, data_of, means_of, obs_ids, observed_site, scale_of
from pyrovae.plots._images import Scale, as_images, mosaic, value_range
from pyrovae.plots._lines import lines, panels, points
from pyrovae.plots._style import Drawn, number, styled, subtitle, wants_figure

__all__ = ["plot_interpolation"]

PAIRS = 4
ACROSS, DOWN, APART = 0.06, 0.24, 0.3
LEAD = ("pair", "step")


@styled
def plot_interpolation(
    fit: Any,
    data: Any,
    *,
    context: Any = None,
    pairs: Sequence[tuple[int, int]] | None = None,
    steps: int = 9,
    var_name: str | None = None,
    seed: int = 0,
    backend: str | None = None,
) -> Drawn:
    """What lies between pairs of data: the decoded points of a straight line between their posterior means.

    How to read it: over each picture stands the change of log p(z) in nats from the left end: how much more the prior
    expects a datum there. A latent space without gaps changes steadily, through pictures that could be data, and its
    log p(z) does not fall far below both ends in the middle; a sudden change, or a blurred middle, is a gap. Between
    ends that lie far out log p(z) rises in the middle: by itself that is no fault. The outer pictures are the data.

    Parameters
    ----------
    fit, data, context
        As for `pyrovae.posterior`; the line is straight on the real line for latents on bounded supports, log p(z) is
        that of the latents themselves, and a conditional program keeps the left end's context.
    pairs
        Which data; up to four pairs drawn by the seed by default.
    steps
        Pictures in each row, both ends included, at least 3.
    var_name
        Which observed variable; the first by default.
    seed
        Of the pairs, and of the draws that place the data.
    backend
        None or "matplotlib" to draw, "none" for what would be drawn.

    Returns
    -------
    matplotlib.figure.Figure
        Or a Dataset: ``mean`` E[x|z] (pair, step, …), ``log_prior_change`` (pair, step), and the data,
        ``observed`` (pair, end, …), by the names ``obs`` (pair, end).

    Raises
    ------
    ValueError
        If a datum does not exist, or the latents cannot be put on the real line.
    """
    draw = wants_figure(backend)
    steps = at_least("steps", steps, 3)
    with evaluation(fit, data, context) as e:
        site = observed_site(e, var_name)
        found = _figures(e, _pairs(pairs, len(e.batches), seed), steps, var_name, seed)
        if not draw:
            return found
        scale = scale_of(e, site, seed)
    images = as_images(found["mean"], LEAD)
    return _lines(found, scale) if images is None else _images(found, images)


def _pairs(pairs: Any, n: int, seed: int) -> np.ndarray:
    """Rows of both ends, (pair, 2)."""
    if pairs is None:
        if n < 2:
            raise ValueError("pairs: there is one datum only, and a line has two ends")
        rng = np.random.default_rng(derive(seed, Stream.RESAMPLING))
        return np.stack([rng.choice(n, 2, replace=False) for _ in range(min(PAIRS, n // 2))])
    try:
        found = np.asarray(pairs)
    except ValueError:  # of different lengths
        found = np.empty(0)
    if found.ndim != 2 or found.shape[1] != 2 or found.dtype.kind not in "iu" or not found.size:
        raise ValueError(f"pairs: expected pairs of whole numbers such as [(0, 1)], got {pairs!r}")
    if found.min() < 0 or found.max() >= n:
        raise ValueError(f"pairs: expected whole numbers from 0 to {n - 1}, got {pairs!r}")
    return found


def _figures(e: Evaluation, pairs: np.ndarray, steps: int, var_name: str | None, seed: int) -> xr.Dataset:
    site, ends = observed_site(e, var_name), Codes(e, pairs.ravel(), seed)
    place = ends.place.reshape(len(pairs), 2, 1, -1)
    share = torch.linspace(0, 1, steps, dtype=place.dtype, device=place.device)[:, None]
    u = ((1 - share) * place[:, 0] + share * place[:, 1]).flatten(0, 1)
    rows = np.repeat(pairs[:, 0], steps)
    density = _log_prior(e, u, rows, seed).reshape(len(pairs), steps)
    return xr.Dataset(
        {
            "mean": means_of(e, ends.target, u, rows, site, {"pair": len(pairs), "step": steps}),
            "log_prior_change": (LEAD, (density - density[:, :1]).cpu().numpy()),
            "observed": data_of(e, ends.batch, site, {"pair": len(pairs), "end": 2}),
        },
        coords={"step": share[:, 0].cpu().numpy(), "obs": (("pair", "end"), obs_ids(e, pairs))},
        attrs={"variable": site.name, "units": "nats", "step": "share of the way"},
    )


def _log_prior(e: Evaluation, u: Tensor, rows: np.ndarray, seed: int) -> Tensor:
    """log p(z) of codes u (code, dim) on the real line, with the contexts of some rows."""
    parts = []
    for start in range(0, len(u), e.rows):
        block = slice(start, start + e.rows)
        with seeded(seed, Stream.DATA, start):
            target = Target(e.program, e.plan, e.batches.take(torch.as_tensor(rows[block], device=u.device)))
        line = u[None, block]
        parts.append((target.densities(line)[0] - target.log_jacobian(line))[0])
    return torch.cat(parts)


def _images(found: xr.Dataset, images: np.ndarray) -> Figure:
    count, steps, height, width = images.shape[:4]
    tall = height / width
    own: Any = as_images(found["observed"], ("pair", "end"))
    limits = value_range(np.concatenate([images.ravel(), own.ravel()]))
    inner = 1 + APART + np.arange(steps) * (1 + ACROSS)
    left, top = [0.0, *inner, inner[-1] + 1 + APART], np.arange(count) * (tall + DOWN)
    figure, ax = plt.subplots(figsize=(max(6.4, 0.92 * (left[-1] + 1)), 0.92 * (tall + DOWN) * count + 0.6))
    mosaic(ax, np.concatenate([own[:, :1], images, own[:, 1:]], 1), limits, left, top.tolist())
    for row, change in enumerate(found["log_prior_change"].values):
        names = [f"datum {name}" for name in found["obs"].values[row]]
        texts = [names[0], "0", *(number(float(v), 1) for v in change[1:]), names[1]]
        for x, text in zip(left, texts, strict=True):
            ax.text(x + 0.5, top[row] - 0.04, text, ha="center", va="bottom", fontsize=8.5)
    ax.set(xticks=[], yticks=[])
    ax.set_ylim(top=-DOWN)
    subtitle(ax, "Interpolations between data", "over each: the change of log p(z) from the left end, nats")
    return figure


def _lines(found: xr.Dataset, scale: Scale) -> Figure:
    one = found["observed"].isel(pair=0, end=0, drop=True).rename(found.attrs["variable"])
    figure, axes = panels(one, scale, found.sizes["pair"], "Interpolations between data", ("left\nend", "right\nend"))
    for row, ax in enumerate(axes):
        lines(ax, found["mean"].values[row], scale)
        first, last = found["obs"].values[row]
        points(ax, found["observed"].values[row, 0], scale, "o")
        points(ax, found["observed"].values[row, 1], scale, "s")
        low, high = (number(float(f(found["log_prior_change"].values[row])), 1) for f in (np.min, np.max))
        title = f"datum {first} (○) to datum {last} (□); log p(z) − log p(left end) from {low} to {high} nats"
        ax.set_title(title, fontsize=9.5, fontweight="normal", pad=5)
    return figure
