"""Binary data from values in [0, 1]."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from pyrovae.data._rows import Rows

__all__ = ["bernoulli_where_seen", "binarize"]

Draw = Callable[[torch.Tensor], torch.Tensor]


def bernoulli_where_seen(x: torch.Tensor) -> torch.Tensor:
    """`torch.bernoulli` that leaves missing values (NaN) missing."""
    return torch.where(x.isnan(), x, torch.bernoulli(x.nan_to_num(0.0)))


def binarize(x: Any, how: str, seed: int, where: Callable[..., str]) -> tuple[Any, Draw | None]:
    """The new values and the transform to apply per batch; see `Data.binarize`.

    Parameters
    ----------
    x
        Probabilities of a one, any shape, or an 8-bit image; `Rows` of them.
    how
        ``"dynamic"``, ``"static"`` or ``"threshold"``.
    seed
        Seeds the static draw.
    where
        Says in words where the first true element of a tensor like `x` is, or of one of its rows from a second
        argument on.
    """
    if how not in ("dynamic", "static", "threshold"):
        raise ValueError(f"binarize={how!r}: expected 'dynamic', 'static' or 'threshold'")
    if isinstance(x, Rows):
        return _stored(x, how, where)
    if x.dtype == torch.uint8 and x.max() > 1:
        x = x.to(torch.get_default_dtype()) / 255
    elif not x.dtype.is_floating_point:
        outside = (x < 0) | (x > 1)
        _refuse(x, outside, where)
        x = x.to(torch.get_default_dtype())
    _refuse(x, (x < 0) | (x > 1), where)
    missing = bool(x.isnan().any())
    if how == "dynamic":
        return x, bernoulli_where_seen if missing else torch.bernoulli
    if how == "static":
        generator = torch.Generator().manual_seed(seed)
        binary = torch.bernoulli(x.nan_to_num(0.0), generator=generator)
    else:
        binary = (x > 0.5).to(x.dtype)
    return torch.where(x.isnan(), x, binary) if missing else binary, None


def _stored(x: Rows, how: str, where: Callable[..., str]) -> tuple[Rows, Draw | None]:
    if how == "static":
        raise ValueError(
            "binarize='static' makes other data, and these stay on disk: choose 'dynamic', or write them as they are "
            "to be"
        )
    dtype = torch.get_default_dtype()
    if x.dtype == torch.uint8 and x.summary.largest > 1:
        x = x.map(lambda part: part.to(dtype) / 255)
    else:
        for start, block in x.blocks():
            _refuse(block, (block < 0) | (block > 1), where, start)
        x = x if x.dtype.is_floating_point else x.map(lambda part: part.to(dtype))
    if how == "threshold":
        return x.map(lambda part: torch.where(part.isnan(), part, (part > 0.5).to(part.dtype))), None
    return x, bernoulli_where_seen if x.summary.missing else torch.bernoulli


def _refuse(x: torch.Tensor, outside: torch.Tensor, where: Callable[..., str], start: int = 0) -> None:
    if outside.any():
        value = x.flatten()[int(outside.numpy().argmax())].item()
        raise ValueError(
            f"the value {value:g} at {where(outside, start)} is not in [0, 1], so it is not the "
            "probability of a one: divide the data by their largest possible value first"
        )
