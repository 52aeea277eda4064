"""Codes on the real line and what they decode to, laid out in a grid."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import torch
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

from pyrovae._rng import Stream, derive, seed_all
from pyrovae.diagnostics._codes import names_of
from pyrovae.diagnostics._observed import event_dims, feature_names
from pyrovae.draws.blocks import draw
from pyrovae.draws.decode import decoded
from pyrovae.draws.target import Evaluation, Target
from pyrovae.draws.tree import site_dims
from pyrovae.plots._images import as_images, show, value_range
from pyrovae.plots._style import BLUE, INK

__all__ = ["Codes", "codes", "grid", "strip"]

DRAWS = 200


@dataclass
class Codes:
    """Unconstrained codes: ``means`` (datum, dim) and ``kl`` (dim) of data, ``prior`` (draw, dim) of the prior."""

    target: Target
    means: Tensor
    kl: np.ndarray
    prior: Tensor

    @property
    def names(self) -> list[str]:
        """Of the dimensions, as the latents have them; by number where they are transformed to fewer."""
        named = []
        for site in self.target.sites:
            blank = xr.DataArray(
                np.zeros(site.event_shape), dims=site_dims(site.name, site.event_shape), name=site.name
            )
            named += names_of(blank)
        return named if len(named) == self.target.dim else [f"u[{j}]" for j in range(self.target.dim)]

    def quantiles(self, dim: int, steps: int, tail: float) -> Tensor:
        """Evenly spaced values between the prior's quantiles ``tail`` and 1 − ``tail``."""
        low, high = torch.quantile(self.prior[:, dim], torch.tensor([tail, 1 - tail], dtype=self.prior.dtype))
        return torch.linspace(0, 1, steps, dtype=self.prior.dtype) * (high - low) + low


def codes(e: Evaluation, rows: Tensor, seed: int) -> Codes:
    """Codes of some of the data.

    Raises
    ------
    ValueError
        If the latents cannot be put on the real line.
    """
    batch = e.batches.take(rows)
    target = Target(e.program, e.plan, batch)
    seed_all(derive(seed, Stream.CODES))
    u = target.unconstrain(draw(e.program, e.plan, batch, DRAWS, kl=False).latents)
    prior = target.prior_draws(max(1, 1000 // len(batch))).flatten(0, 1)
    spread = prior.var(0).clamp(min=1e-12)
    kl = 0.5 * (u.var(0) / spread - 1 - (u.var(0) / spread).clamp(min=1e-12).log()).mean(0)
    kl = kl + 0.5 * ((u.mean(0) - prior.mean(0)).square() / spread).mean(0)
    return Codes(target, u.mean(0), kl.cpu().numpy(), prior)


def images_of(e: Evaluation, target: Target, u: Tensor, rows: Tensor) -> xr.DataArray:
    """What codes u (code, dim) decode to, as the first observed site of the data, (obs_id, …)."""
    latents = {name: z[0] for name, z in target.constrain(u[None]).items()}
    site = e.plan.observed[0]
    return _array(e, decoded(e, latents, rows)[site.name])


def data_of(e: Evaluation, rows: Tensor) -> xr.DataArray:
    """Some of the data, laid out as `images_of` lays out means."""
    return _array(e, e.batches.take(rows).x)


def _array(e: Evaluation, values: Tensor) -> xr.DataArray:
    site, data = e.plan.observed[0], e.batches.data
    array = xr.DataArray(values.cpu().numpy(), dims=("obs_id", *site_dims(site.name, site.event_shape, data)))
    known = {k: c for k, c in data.coords.items() if "obs_id" not in c[0] and all(d in array.dims for d in c[0])}
    return array.assign_coords(known).rename(site.name)


def grid(
    values: xr.DataArray, rows: int, columns: int, cell: float = 0.95, *, gap: float = 0.06, head: float = 0.9
) -> tuple[Figure, Any, np.ndarray | None]:
    """A figure of rows × columns panels, and the values as images (row, column, h, w), None if they are none."""
    images = as_images(values)
    if images is None:
        figure, axes = plt.subplots(rows, 1, figsize=(7.2, 1.9 * rows + head), sharex=True, squeeze=False)
        return figure, axes, None
    height, width = images.shape[1:3]
    size = (cell * columns + 1.6, (cell * height / width + gap) * rows + head)
    figure, axes = plt.subplots(rows, columns, figsize=size, squeeze=False, layout="compressed")
    return figure, axes, images.reshape(rows, columns, *images.shape[1:])


def strip(axes: Any, images: np.ndarray, limits: tuple[float, float] | None = None) -> None:
    """Images into panels."""
    limits = value_range(images) if limits is None else limits
    for row, line in zip(axes, images, strict=True):
        for ax, image in zip(row, line, strict=True):
            show(ax, image, limits)


def lines(ax: Axes, values: xr.DataArray, colours: Any, labels: list[str]) -> None:
    """Data that are no images: a line over the features for each code."""
    names, dims = feature_names(values), event_dims(values)
    flat = values.values.reshape(len(values), -1)
    for row, colour, label in zip(flat, colours, labels, strict=True):
        ax.plot(np.arange(len(names)), row, "-o", ms=3, lw=1.4, color=colour, label=label)
    step = max(1, len(names) // 10)
    ax.set_xticks(np.arange(0, len(names), step), names[::step])
    ax.set_xlabel(dims[0] if len(dims) == 1 else "feature")
    ax.grid(axis="y", color="#e4e7eb", lw=0.8)


def ramp(count: int) -> list[Any]:
    """From blue over grey to orange."""
    from matplotlib.colors import LinearSegmentedColormap

    scale = LinearSegmentedColormap.from_list("ramp", [BLUE, "#b8bec6", "#d55e00"])
    return [scale(v) for v in np.linspace(0, 1, count)] if count > 1 else [INK]
