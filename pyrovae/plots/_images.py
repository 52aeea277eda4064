"""Observed variables: which one, how its data are laid out, and as images where they are such."""

from __future__ import annotations

from typing import Any

import numpy as np
import xarray as xr
from matplotlib.axes import Axes

from pyrovae.diagnostics._tree import variable

__all__ = ["Scale", "as_images", "event_dims", "feature_names", "observed_name", "show", "value_range"]

LEAD = ("chain", "draw", "obs_id")
MISSING = "#f2c6ac"


def observed_name(tree: Any, group: str, name: str | None) -> str:
    """The observed variable asked for, or the first one.

    Raises
    ------
    TypeError, ValueError
        If there is no such group or variable.
    """
    if not isinstance(tree, xr.DataTree) or group not in tree.children:
        variable(tree, group, name or "x")
    names = [str(n) for n in tree[group].dataset]
    if not names or (name is not None and name not in names):
        raise ValueError(f"var_name: expected one of {names} in the group {group!r}, got {name!r}")
    return name or names[0]


def event_dims(values: xr.DataArray) -> list[str]:
    """A datum's own dimensions."""
    return [str(d) for d in values.dims if d not in LEAD]


def feature_names(values: xr.DataArray) -> list[str]:
    """A name for each feature of a datum, flattened."""
    dims = event_dims(values)
    if not dims:
        return [str(values.name)]
    if len(dims) == 1 and dims[0] in values.coords:
        return [str(v) for v in values[dims[0]].values]
    size = int(np.prod([values.sizes[d] for d in dims]))
    return [str(i) for i in range(size)]


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
