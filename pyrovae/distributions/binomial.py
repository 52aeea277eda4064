"""Binomial distribution whose number of ways is looked up where the total is shared."""

from __future__ import annotations

import pyro.distributions as dist
import torch
from torch import Tensor
from torch.nn.functional import softplus

from pyrovae.distributions._once import once

__all__ = ["Binomial"]


class Binomial(dist.Binomial):
    """total! / (x! (total − x)!) p^x (1 − p)^(total − x); torch's takes three log Γ and four more functions a cell.

    Parameters
    ----------
    total_count
        Whole number.
    probs, logits
        One of them.

    Examples
    --------
    >>> Binomial(2, logits=torch.zeros(3)).log_prob(torch.arange(3.0)).exp()
    tensor([0.2500, 0.5000, 0.2500])
    """

    def log_prob(self, value: Tensor) -> Tensor:
        """Log probability."""
        if self._validate_args:
            self._validate_sample(value)
        n = once(self.total_count)
        ways = torch.lgamma(n + 1) - torch.lgamma(value + 1) - torch.lgamma(n - value + 1)
        return value * self.logits - n * softplus(self.logits) + ways
