"""Binary data from values in [0, 1]."""

from __future__ import annotations

from collections.abc import Callable

import torch

__all__ = ["bernoulli_where_seen", "binarize"]

Draw = Callable[[torch.Tensor], torch.Tensor]


def bernoulli_where_seen(x: torch.Tensor) -> torch.Tensor:
    """`torch.bernoulli` that leaves missing values (NaN) missing."""
    return torch.where(x.isnan(), x, torch.bernoulli(x.nan_to_num(0.0)))


def binarize(
    x: torch.Tensor, how: str, seed: int, where: Callable[[torch.Tensor], str]
) -> tuple[torch.Tensor, Draw | None]:
    """The new values and the transform to apply per batch; see `Data.binarize`.

    Parameters
    ----------
    x
        Probabilities of a one, any shape, or an 8-bit image.
    how
        ``"dynamic"``, ``"static"`` or ``"threshold"``.
    seed
        Seeds the static draw.
    where
        Says in words where the first true element of a tensor like `x` is.
    """
    if how not in ("dynamic", "static", "threshold"):
        raise ValueError(f"binarize={how!r}: expected 'dynamic', 'static' or 'threshold'")
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


def _refuse(x: torch.Tensor, outside: torch.Tensor, where: Callable[[torch.Tensor], str]) -> None:
    if outside.any():
        value = x.flatten()[int(outside.numpy().argmax())].item()
        raise ValueError(
            f"the value {value:g} at {where(outside)} is not in [0, 1], so it is not the "
            "probability of a one: divide the data by their largest possible value first"
        )
