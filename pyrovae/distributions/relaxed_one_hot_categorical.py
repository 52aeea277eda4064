"""Relaxed one-hot categorical distribution that stays finite."""

from __future__ import annotations

from typing import Any

import pyro.distributions as dist
import torch
from torch import Tensor

__all__ = ["RelaxedOneHotCategorical"]


class RelaxedOneHotCategorical(dist.RelaxedOneHotCategorical):
    """The Concrete distribution on the simplex (Maddison et al. 2016, 1611.00712; Jang et al. 2016, 1611.01144).

    Torch's draws at a low temperature underflow to 0, where the density is not finite, and do not sum to 1 as its own
    check demands. Here they do, and a coordinate is at least the smallest normal number of its type.

    Examples
    --------
    >>> fn = RelaxedOneHotCategorical(torch.tensor(0.01), probs=torch.tensor([0.5, 0.5]))
    >>> bool(fn.log_prob(torch.tensor([1.0, 0.0])).isfinite())
    True
    """

    def sample(self, sample_shape: Any = ()) -> Tensor:
        """Draws without gradient."""
        with torch.no_grad():
            return self.rsample(sample_shape)

    def rsample(self, sample_shape: Any = ()) -> Tensor:
        """Reparameterised draws."""
        draw = super().rsample(torch.Size(sample_shape))
        return _inside(draw / draw.sum(-1, keepdim=True))

    def log_prob(self, value: Tensor) -> Tensor:
        """Log density with respect to all coordinates but one."""
        if self._validate_args:
            self._validate_sample(value)
        out: Tensor = super().log_prob(_inside(value))
        return out


def _inside(value: Tensor) -> Tensor:
    return value.clamp(min=torch.finfo(value.dtype).tiny)
