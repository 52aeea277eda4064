"""Data as images where they are such, and on one axis where they are not."""

from __future__ import annotations

import numpy as np
import xarray as xr
from matplotlib.axes import Axes

from pyrovae.diagnostics._observed import LEAD, event_dims

__all__ = ["Scale", "as_images", "show", "value_range"]

MISSING = "#f2c6ac"


def as_images(values: xr.DataArray) -> np.ndarray | None:
    """(…, h, w) or (…, h, w, 3): one dimension with coordinates row and column, two, or three with channels.

    None if a datum is no image. A grid's cells that have no pixel are NaN.
    """
    dims = event_dims(values)
    lead = [d for d in LEAD if d in values.dims]
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
    low, high = limits
    ax.set_facecolor(MISSING)
    if image.ndim == 3:
        ax.imshow(np.clip((np.nan_to_num(image, nan=low) - low) / (high - low), 0, 1), interpolation="nearest")
    else:
        ax.imshow(np.ma.masked_invalid(image), cmap="gray", vmin=low, vmax=high, interpolation="nearest")
    ax.set(xticks=[], yticks=[])
    for spine in ax.spines.values():
        spine.set(visible=True, color="#c9ced4", linewidth=0.6)


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
