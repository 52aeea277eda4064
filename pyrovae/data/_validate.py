"""Checks of what a data set is built from, and how a place in it is named."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch

from pyrovae.data._rows import Rows
from pyrovae.data._values import standard_tensor, text_safe

__all__ = ["check_context", "check_coords", "check_labels", "check_x", "place", "words"]

RESERVED = ("chain", "draw", "obs_id")


def check_x(x: Any) -> Any:
    """`x` in a stored type, with at least one datum and one event dimension."""
    if not isinstance(x, torch.Tensor | Rows):
        raise TypeError(f"x must be a torch.Tensor, not {type(x).__name__}: use pyrovae.data.as_data(x)")
    x = standard_tensor(x) if isinstance(x, torch.Tensor) else x
    if x.ndim == 0:
        raise ValueError("x is a single number: expected data along the first axis, (n, *event)")
    if x.ndim == 1:
        raise ValueError(
            f"x has shape ({len(x)},), with no event dimension: for one number per datum reshape "
            "it to (n, 1), for a single datum to (1, k)"
        )
    if not x.numel():
        raise ValueError(f"x is empty, of shape {tuple(x.shape)}: expected at least one datum")
    return x


def check_coords(
    coords: Mapping[str, Any], dims: tuple[str, ...], shape: tuple[int, ...], numbers: Any = None
) -> dict[str, tuple[tuple[str, ...], np.ndarray]]:
    """`coords` with plain arrays and an ``obs_id`` (``numbers``), of the shapes that the dimensions ask for."""
    if len(dims) != len(shape) - 1:
        raise ValueError(
            f"dims names {len(dims)} event dimensions {dims}, but x has {len(shape) - 1}: its "
            f"shape is {shape}, data first"
        )
    for dim in dims:
        if not isinstance(dim, str):
            raise TypeError(f"dims must be strings, not {dim!r}")
        if dim in RESERVED or dims.count(dim) > 1:
            why = "is kept for the tree of draws" if dim in RESERVED else "appears twice"
            raise ValueError(f"the event dimension {dim!r} {why}: rename it")
    sizes = dict(zip(("obs_id", *dims), shape, strict=True))
    checked: dict[str, tuple[tuple[str, ...], np.ndarray]] = {}
    checked["obs_id"] = (("obs_id",), np.arange(shape[0]) if numbers is None else numbers)
    for name, entry in coords.items():
        if not isinstance(entry, tuple) or len(entry) != 2:
            raise TypeError(f"the coordinate {name!r} must be a pair (dims, values), not {entry!r}")
        over = (entry[0],) if isinstance(entry[0], str) else tuple(entry[0])
        values = text_safe(entry[1])
        for dim in over:
            if dim not in sizes:
                raise ValueError(
                    f"the coordinate {name!r} is over {dim!r}, which x does not have: its dimensions are {tuple(sizes)}"
                )
        if name in sizes and over != (name,):
            raise ValueError(f"the coordinate {name!r} of a dimension must be over itself: {over}")
        expected = tuple(sizes[dim] for dim in over)
        if values.shape != expected:
            raise ValueError(f"the coordinate {name!r} over {over} has shape {values.shape}: expected {expected}")
        checked[name] = (over, values)
    return checked


def check_context(context: Any, n: int, coords: Mapping[str, tuple[tuple[str, ...], np.ndarray]]) -> Any:
    """`context` as finite floats of shape (n, c); integers become the default float type."""
    if context is None:
        return None
    if not isinstance(context, torch.Tensor | Rows):
        raise TypeError(
            f"context must be a torch.Tensor, not {type(context).__name__}: use pyrovae.data.as_data(x, context=…)"
        )
    stored = isinstance(context, Rows)
    context = context if isinstance(context, Rows) else standard_tensor(context, "context")
    if context.ndim == 1:
        context = context.map(_as_column) if stored else _as_column(context)
    if context.ndim != 2 or context.shape[0] != n or not context.shape[1]:
        raise ValueError(f"context has shape {tuple(context.shape)}: expected ({n}, c), c > 0")
    if not context.dtype.is_floating_point:
        dtype = torch.get_default_dtype()
        context = context.map(lambda part: part.to(dtype)) if stored else context.to(dtype)
    if stored:
        bad = context.summary.first_missing or context.summary.first_infinite
    else:
        finite = context.isfinite()
        bad = None if finite.all() else np.argwhere(~finite.numpy())[0]
    if bad is not None:
        row, column = bad
        raise ValueError(
            f"context is {context[int(row)][int(column)].item()} at obs_id={coords['obs_id'][1][row]}, "
            f"column {column}: expected finite covariates; impute them or leave the datum out"
        )
    return context


def _as_column(context: torch.Tensor) -> torch.Tensor:
    return context.unsqueeze(-1)


def check_labels(labels: Any, n: int) -> np.ndarray | None:
    """`labels` as an array of shape (n,)."""
    if labels is None:
        return None
    labels = text_safe(labels)
    if labels.shape != (n,):
        raise ValueError(f"labels have shape {labels.shape}: expected ({n},), one for each datum")
    return labels


def place(
    bad: torch.Tensor,
    dims: tuple[str, ...],
    coords: Mapping[str, tuple[tuple[str, ...], np.ndarray]],
    start: int = 0,
) -> str:
    """The first true element of `bad`, in words: ``obs_id=7, pixel=3``; its first datum is ``start``."""
    flags = bad.cpu().numpy()
    row, *cell = np.unravel_index(int(flags.argmax()), flags.shape)
    return words((start + int(row), *map(int, cell)), dims, coords)


def words(
    position: tuple[int, ...], dims: tuple[str, ...], coords: Mapping[str, tuple[tuple[str, ...], np.ndarray]]
) -> str:
    """The datum and the cell at a position: ``obs_id=7, pixel=3``."""
    named = zip(("obs_id", *dims), position, strict=False)
    return ", ".join(f"{dim}={coords[dim][1][index] if dim in coords else index}" for dim, index in named)
