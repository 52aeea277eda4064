"""What a network is given beside its first input: covariates, and which cells are observed."""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["join", "told"]


def told(context: int, mask: bool) -> frozenset[str]:
    """The names of the further inputs that a network declares (see `pyrovae._calls.Call`)."""
    if isinstance(context, bool) or not isinstance(context, int) or context < 0:
        raise ValueError(f"context: expected the number of covariates, 0 or more, got {context!r}")
    return frozenset(({"context"} if context else set()) | ({"mask"} if mask else set()))


def join(x: Tensor, context: Tensor | None, features: int) -> Tensor:
    """``x`` (..., d) with ``context`` (n, c) broadcast over leading dimensions and appended: (..., d + c)."""
    if context is None:
        raise ValueError(
            f"this network was built for {features} covariates (context={features}) and got no context: "
            "pass context= with the data"
        )
    if context.shape[-1] != features:
        raise ValueError(
            f"this network was built for {features} covariates, got a context of {context.shape[-1]}: "
            f"build it with context={context.shape[-1]}"
        )
    return torch.cat([x, context.to(x.dtype).expand(*x.shape[:-1], features)], -1)
