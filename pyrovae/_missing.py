"""Missing cells: left out of a likelihood whose cells are independent given z."""

from __future__ import annotations

import pyro.distributions as dist
import torch
from torch import Tensor
from torch.distributions import constraints

__all__ = ["masked"]


def masked(fn: dist.TorchDistribution, x: Tensor, mask: Tensor) -> tuple[dist.TorchDistribution, Tensor]:
    """The likelihood of the observed cells, and x with a value of the support where cells are missing.

    Raises
    ------
    ValueError
        If the cells are not independent given z, so that leaving one out is not a mask but an integral.
    """
    if not isinstance(fn, dist.Independent) or fn.base_dist.event_shape:
        if bool(mask.all()):
            return fn, x
        raise ValueError(
            f"the likelihood {type(fn).__name__} cannot leave missing cells out: its cells are not independent given "
            "z. Use a likelihood that ends in .to_event(k), or fill the missing cells first"
        )
    base = fn.base_dist
    inside = torch.as_tensor(_inside(base.support), dtype=x.dtype, device=x.device)
    return base.mask(mask).to_event(fn.reinterpreted_batch_ndims), torch.where(mask, x, inside)


def _inside(support: constraints.Constraint) -> Tensor:
    """Some value in a scalar support, for cells that are masked out afterwards; by cell if the bounds are."""
    low, high = (getattr(support, bound, None) for bound in ("lower_bound", "upper_bound"))
    if low is not None and high is not None:
        low, high = torch.as_tensor(low), torch.as_tensor(high)
        return low if support.is_discrete else (low + high) / 2
    if low is not None:
        return torch.as_tensor(low) + 1
    if high is not None:
        return torch.as_tensor(high) - 1
    return torch.tensor(next((v for v in (0.0, 1.0, 0.5) if bool(support.check(torch.tensor(v)).all())), 0.0))
