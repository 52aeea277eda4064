"""Independent Bernoulli cells whose log density takes two passes over them."""

from __future__ import annotations

from typing import Any

import pyro.distributions as dist
import torch
from torch import Tensor
from torch.nn.functional import softplus

__all__ = ["Bernoulli"]

STRAIGHT = 40.0  # softplus(40) is 40 to double precision


class Bernoulli(dist.Bernoulli):
    """Bernoulli(x; σ(logits)); torch's cross entropy makes four passes over the cells, and copies x to their shape.

    Parameters
    ----------
    probs, logits
        One of them.

    Examples
    --------
    >>> cells = Bernoulli(logits=torch.zeros(2, 3))
    >>> cells.to_event(1).log_prob(torch.ones(3)).exp()
    tensor([0.1250, 0.1250])
    """

    def log_prob(self, value: Tensor) -> Tensor:
        """Log probability of each cell."""
        if self._validate_args:
            self._validate_sample(value)
        return value * self.logits - softplus(self.logits, threshold=STRAIGHT)

    def to_event(self, reinterpreted_batch_ndims: int | None = None) -> Any:
        """The cells as one event, whose log density is Σ (x·logits − softplus(logits))."""
        count = len(self.batch_shape) if reinterpreted_batch_ndims is None else reinterpreted_batch_ndims
        return _Cells(self, count) if count > 0 else super().to_event(count)


class _Cells(dist.Independent):
    def log_prob(self, value: Tensor) -> Tensor:
        base, dims = self.base_dist, self.reinterpreted_batch_ndims
        if not isinstance(base, Bernoulli) or base._validate_args or not base.logits.is_floating_point():
            return super().log_prob(value)
        logits = base.logits
        # cell by cell, then summed: sums of either term alone are large, and their difference would lose digits
        terms = torch.addcmul(softplus(logits, threshold=STRAIGHT), value.to(logits.dtype), logits, value=-1)
        out: Tensor = -terms.flatten(-dims).sum(-1)
        return out

    def expand(self, batch_shape: Any, _instance: Any = None) -> Any:
        return super().expand(batch_shape, self._get_checked_instance(_Cells, _instance))
