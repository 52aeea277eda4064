"""Checks of what a data set is built from, and how a place in it is named."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch

from pyrovae.data._values import standard_tensor, text_safe

__all__ = ["check_context", "check_coords", "check_labels", "check_x", "place"]

RESERVED = ("chain", "draw", "obs_id")


def check_x(x: Any) -> torch.Tensor:
    """`x` in a stored type, with at least one datum and one event dimension."""
    if not isinstance(x, torch.Tensor):
        raise TypeError(f"x must be a torch.Tensor, not {type(x).__name__}: use pyrovae.data.as_data(x)")
    x = standard_tensor(x)
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
    coords: Mapping[str, Any], dims: tuple[str, ...], shape: tuple[int, ...]
) -> dict[str, tuple[tuple[str, ...], np.ndarray]]:
    """`coords` with plain arrays and an ``obs_id``, of the shapes that the dimensions ask for."""
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
    checked: dict[str, tuple[tuple[str, ...], np.ndarray]] = {"obs_id": (("obs_id",), np.arange(shape[0]))}
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


def check_context(
    context: Any, n: int, coords: Mapping[str, tuple[tuple[str, ...], np.ndarray]]
) -> torch.Tensor | None:
    """`context` as finite floats of shape (n, c); integers become the default float type."""
    if context is None:
        return None
    if not isinstance(context, torch.Tensor):
        raise TypeError(
            f"context must be a torch.Tensor, not {type(context).__name__}: use pyrovae.data.as_data(x, context=…)"
        )
    context = standard_tensor(context, "context")
    context = context.unsqueeze(-1) if context.ndim == 1 else context
    if context.ndim != 2 or context.shape[0] != n or not context.shape[1]:
        raise ValueError(f"context has shape {tuple(context.shape)}: expected ({n}, c), c > 0")
    if not context.dtype.is_floating_point:
        context = context.to(torch.get_default_dtype())
    bad = ~context.isfinite()
    if bad.any():
        row, column = np.argwhere(bad.numpy())[0]
        raise ValueError(
            f"context is {context[row, column].item()} at obs_id={coords['obs_id'][1][row]}, "
            f"column {column}: expected finite covariates; impute them or leave the datum out"
        )
    return context


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
) -> str:
    """The first true element of `bad`, in words: ``obs_id=7, pixel=3``."""
    flags = bad.numpy()
    position = np.unravel_index(int(flags.argmax()), flags.shape)
    words = []
    for dim, index in zip(("obs_id", *dims), position, strict=True):
        words.append(f"{dim}={coords[dim][1][index] if dim in coords else index}")
    return ", ".join(words)
