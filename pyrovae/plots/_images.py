"""Data as images where they are such, and on one axis where they are not."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.collections import PatchCollection
from matplotlib.patches import Rectangle

from pyrovae.diagnostics._observed import LEAD

__all__ = ["FRAME", "Scale", "as_images", "mosaic", "show", "value_range"]

MISSING = "#f2c6ac"
FRAME = "#c9ced4"


def as_images(values: xr.DataArray, lead: Sequence[str] = LEAD) -> np.ndarray | None:
    """(…, h, w) or (…, h, w, 3): one dimension with coordinates row and column, two, or three with channels.

    None if a datum is no image. A grid's cells that have no pixel are NaN. ``lead`` are the dimensions that are no
    datum's own, as far as the values have them.
    """
    dims = [d for d in values.dims if d not in lead]
    lead = [d for d in lead if d in values.dims]
    array = values.transpose(*lead, *dims).values
    if len(dims) == 1 and all(c in values.coords and values[c].dims == (dims[0],) for c in ("row", "column")):
        (rows, row), (columns, column) = (np.unique(values[c].values, return_inverse=True) for c in ("row", "column"))
        out = np.full((*array.shape[:-1], len(rows), len(columns)), np.nan)
        out[..., row, column] = array
        return out
    if len(dims) == 2:
        return array.astype(float)
    if len(dims) == 3:
        if array.shape[-1] not in (1, 3):
            array = np.moveaxis(array, -3, -1)
        if array.shape[-1] in (1, 3):
            return (array[..., 0] if array.shape[-1] == 1 else array).astype(float)
    return None


def value_range(images: np.ndarray) -> tuple[float, float]:
    """Black and white of a set of images."""
    finite = images[np.isfinite(images)]
    if not finite.size:
        return 0.0, 1.0
    low, high = float(finite.min()), float(finite.max())
    return (low, high) if high > low else (low, low + 1)


def show(ax: Axes, image: np.ndarray, limits: tuple[float, float]) -> None:
    """One image in grey, or in colour with three channels; missing pixels are tinted."""
    ax.set_facecolor(MISSING)
    _paint(ax, image, limits)
    ax.set(xticks=[], yticks=[])
    for spine in ax.spines.values():
        spine.set(visible=True, color=FRAME, linewidth=0.6)


def mosaic(
    ax: Axes, images: np.ndarray, limits: tuple[float, float], left: Sequence[float], top: Sequence[float]
) -> float:
    """Images (row, column, h, w) on one axes, each one unit wide, by their left and upper edges; returns the height."""
    tall = images.shape[2] / images.shape[3]
    frames = []
    for y, line in zip(top, images, strict=True):
        for x, image in zip(left, line, strict=True):
            frames.append(Rectangle((x, y), 1, tall))
            _paint(ax, image, limits, extent=(x, x + 1, y + tall, y), zorder=2)
    ax.add_collection(PatchCollection(frames, facecolor=MISSING, edgecolor="none", zorder=1))
    ax.add_collection(PatchCollection(frames, facecolor="none", edgecolor=FRAME, lw=0.6, zorder=3))
    edge = 0.02
    ax.set(xlim=(left[0] - edge, left[-1] + 1 + edge), ylim=(top[-1] + tall + edge, top[0] - edge), aspect="equal")
    ax.tick_params(length=0)
    ax.spines[:].set_visible(False)
    return tall


def _paint(ax: Axes, image: np.ndarray, limits: tuple[float, float], **where: Any) -> None:
    low, high = limits
    if image.ndim == 3:
        there = np.isfinite(image).all(-1, keepdims=True)
        colours = np.clip((np.where(there, image, low) - low) / (high - low), 0, 1)
        ax.imshow(np.concatenate([colours, there], -1), interpolation="nearest", **where)
    else:
        ax.imshow(
            np.ma.masked_invalid(image), cmap="gray", vmin=low, vmax=high, interpolation="nearest", **where
        )  # fmt: skip


class Scale:
    """How features are put on one axis: as they are, or in standard deviations where their scales differ."""

    def __init__(self, observed: np.ndarray) -> None:
        flat = observed.reshape(len(observed), -1).astype(float)
        filled = np.ma.masked_invalid(flat)
        self.centre = filled.mean(0).filled(0.0)
        self.spread = filled.std(0).filled(0.0)
        self.spread[self.spread == 0] = 1.0
        differ = self.spread.max() > 5 * self.spread.min() or np.ptp(self.centre) > 10 * self.spread.min()
        # many features alike in kind, such as pixels, share their unit even where some hardly vary
        self.standard = bool(differ and flat.shape[1] <= 30)
        self.label = "value (s.d. from the feature's mean)" if self.standard else "value"

    def __call__(self, values: np.ndarray) -> np.ndarray:
        """Values (…, feature) as they are drawn."""
        return (values - self.centre) / self.spread if self.standard else values
