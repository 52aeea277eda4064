"""Data small enough that a page holds thousands: images on sheets, other data as numbers."""

from __future__ import annotations

import base64
import io
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import xarray as xr
from PIL import Image

from pyrovae.diagnostics._observed import event_dims, feature_names
from pyrovae.plots._images import MISSING, as_images, value_range

__all__ = ["as_sheets", "as_values", "packed"]

BLOCK = 64 * 2**20  # bytes of draws held at a time
LEVELS = 15  # of grey: with the tint of what is missing, four bits a pixel
SIDE = 64  # most pixels of an image's side
ACROSS = 16  # images in a row of a sheet, and rows of it: a browser decodes one sheet at a time
MOST_FEATURES = 40
MOST_LEVELS = 10  # whole numbers with no more levels are told by the commonest, which also serves codes of categories

TINT = np.array([int(MISSING[i : i + 2], 16) for i in (1, 3, 5)], np.uint8)


def packed(values: np.ndarray, dtype: str = "<f4") -> str:
    """Numbers as base64: single precision, NaN and infinities included, unless told otherwise."""
    return base64.b64encode(np.ascontiguousarray(values, dtype=dtype).tobytes()).decode("ascii")


def as_sheets(observed: xr.DataArray | None, predicted: xr.DataArray | None, rows: np.ndarray) -> dict[str, Any] | None:
    """Images of the chosen data and the means of their predictive draws, on PNG sheets; None if they are no images.

    ``observed`` (obs_id, …) and ``predicted`` (draw, obs_id, …) are read by blocks. Both have the range of the
    observed, or of the predicted where that is all there is.
    """
    some = observed if observed is not None else predicted
    if some is None or as_images(some.isel(obs_id=slice(1))) is None:
        return None
    limits = value_range(np.concatenate(list(_blocks(some, rows, lambda a: _extremes(a.values)))))
    out: dict[str, Any] = {"kind": "images", "across": ACROSS}
    for name, values in (("observed", observed), ("predicted", predicted)):
        if values is None:
            continue
        tiles = np.concatenate(list(_blocks(values, rows, lambda a: _levels(_images(a), limits))))
        out |= {"height": tiles.shape[1], "width": tiles.shape[2]}
        step = ACROSS**2
        out[name] = [_sheet(tiles[start : start + step]) for start in range(0, len(tiles), step)]
    return out


def as_values(observed: xr.DataArray | None, predicted: xr.DataArray | None, rows: np.ndarray) -> dict[str, Any] | None:
    """The first features of the chosen data, and what is predicted of each; None if neither is there.

    ``typical`` is the mean of the predictive draws, ``low`` and ``high`` span their central 90 %; where ``commonest``,
    it is the commonest draw, and ``low`` its share.
    """
    some = observed if observed is not None else predicted
    if some is None:
        return None
    names = feature_names(some)
    out: dict[str, Any] = {"kind": "values", "names": names[:MOST_FEATURES], "more": max(0, len(names) - MOST_FEATURES)}
    levels: list[np.ndarray | None] = [None] * len(out["names"])
    if observed is not None:
        seen = np.concatenate(list(_blocks(observed, rows, _features)))
        out["observed"] = packed(seen)
        levels = [_few_levels(seen[:, j]) for j in range(seen.shape[1])]
    out["commonest"] = [level is not None for level in levels]
    if predicted is not None:
        told = np.concatenate(list(_blocks(predicted, rows, lambda a: _told(_features(a), levels))))
        out |= {name: packed(told[..., i]) for i, name in enumerate(("typical", "low", "high"))}
    return out


def _blocks(
    values: xr.DataArray, rows: np.ndarray, reduce: Callable[[xr.DataArray], np.ndarray]
) -> Iterator[np.ndarray]:
    """``reduce`` of the chosen data, some at a time."""
    each = 8 * values.size // max(values.sizes["obs_id"], 1)
    step = max(1, BLOCK // max(each, 1))
    for start in range(0, len(rows), step):
        some = rows[start : start + step]
        whole = some[-1] - some[0] == len(some) - 1
        yield reduce(values.isel(obs_id=slice(some[0], some[-1] + 1) if whole else some))


def _extremes(values: np.ndarray) -> np.ndarray:
    finite = values[np.isfinite(values)]
    return np.array([finite.min(), finite.max()] if finite.size else [], dtype=float)


def _images(values: xr.DataArray) -> np.ndarray:
    """(datum, height, width) or (datum, height, width, 3), made smaller by whole factors to fit a tile."""
    mean = values.mean("draw", dtype=float) if "draw" in values.dims else values
    images: Any = as_images(mean)
    factor = -(-max(images.shape[1:3]) // SIDE)
    if factor > 1:
        height, width = (size // factor for size in images.shape[1:3])
        cut = images[:, : height * factor, : width * factor]
        images = cut.reshape(len(cut), height, factor, width, factor, *cut.shape[3:]).mean((2, 4))
    return np.asarray(images)


def _levels(images: np.ndarray, limits: tuple[float, float]) -> np.ndarray:
    """Levels of grey 0 to `LEVELS` − 1, and `LEVELS` where missing; of colours bytes, in as many levels."""
    low, high = limits
    there = np.isfinite(images)
    scaled = np.clip((np.where(there, images, low) - low) / (high - low), 0, 1)
    level = np.rint(scaled * (LEVELS - 1))
    if images.ndim == 3:
        return np.where(there, level, LEVELS).astype(np.uint8)
    return np.where(there.all(-1, keepdims=True), np.rint(level * (255 / (LEVELS - 1))), TINT).astype(np.uint8)


def _sheet(tiles: np.ndarray) -> str:
    """Tiles in rows of `ACROSS` as a PNG in base64."""
    lacking = -len(tiles) % ACROSS
    full = np.concatenate([tiles, np.zeros((lacking, *tiles.shape[1:]), tiles.dtype)])
    rows, (height, width) = len(full) // ACROSS, tiles.shape[1:3]
    grid = full.reshape(rows, ACROSS, *tiles.shape[1:]).swapaxes(1, 2)
    image = Image.fromarray(np.ascontiguousarray(grid.reshape(rows * height, ACROSS * width, *tiles.shape[3:])))
    kind: dict[str, Any] = {}
    if tiles.ndim == 3:
        greys = np.rint(np.arange(LEVELS) * (255 / (LEVELS - 1))).astype(np.uint8)
        image.putpalette([*np.repeat(greys, 3).tolist(), *TINT.tolist()])
        kind["bits"] = 4
    file = io.BytesIO()
    image.save(file, "PNG", **kind)
    return base64.b64encode(file.getvalue()).decode("ascii")


def _features(values: xr.DataArray) -> np.ndarray:
    """(…, datum, feature), the first features only."""
    lead = [d for d in ("draw", "obs_id") if d in values.dims]
    array = values.transpose(*lead, *event_dims(values)).values
    return np.asarray(array.reshape(*array.shape[: len(lead)], -1)[..., :MOST_FEATURES], dtype=float)


def _few_levels(values: np.ndarray) -> np.ndarray | None:
    levels = np.unique(values[np.isfinite(values)])
    return levels if 0 < len(levels) <= MOST_LEVELS and (levels == np.rint(levels)).all() else None


def _told(draws: np.ndarray, levels: list[np.ndarray | None]) -> np.ndarray:
    """Typical value, and the ends of the interval or the share, (datum, feature, 3)."""
    low, high = np.quantile(draws, [0.05, 0.95], axis=0)
    out = np.stack([draws.mean(0), low, high], -1)
    for j, known in enumerate(levels):
        if known is not None:
            shares = np.stack([(draws[..., j] == level).mean(0) for level in known], -1)
            out[:, j, 0] = known[shares.argmax(-1)]
            out[:, j, 1] = shares.max(-1)
            out[:, j, 2] = np.nan
    return out
