"""Negative binomial distribution that stays exact when it is almost Poisson."""

from __future__ import annotations

import pyro.distributions as dist
import torch
from torch import Tensor
from torch.nn.functional import softplus

__all__ = ["NegativeBinomial"]

LARGE = 100.0  # r above which Stirling's series is used; its first term left out is below 1e-13


class NegativeBinomial(dist.NegativeBinomial):
    """Γ(r + x) / (Γ(r) x!) (1 − p)^r p^x with r = ``total_count``: mean μ = r p / (1 − p), variance μ + μ²/r.

    Where r is large, log Γ(r + x) − log Γ(r) is taken from Stirling's series, in which nothing cancels. That of torch
    takes the difference: in float32 it is .3 nats off at r = 10⁶, where a learned r of counts that are Poisson ends up.

    Parameters
    ----------
    total_count
        r > 0.
    probs, logits
        One of them: p, or log(p / (1 − p)) = log(μ / r).

    Examples
    --------
    >>> mean, x = torch.tensor(50.0), torch.tensor(60.0)
    >>> NegativeBinomial(torch.tensor(1e8), logits=(mean / 1e8).log()).log_prob(x)
    tensor(-3.9068)
    >>> dist.Poisson(mean).log_prob(x)
    tensor(-3.9068)
    """

    def log_prob(self, value: Tensor) -> Tensor:
        """Log probability."""
        if self._validate_args:
            self._validate_sample(value)
        r, logits = self.total_count, self.logits
        large = r > LARGE
        # log Γ(r + x) − log Γ(r), each branch at an r where it is finite
        big, small = torch.where(large, r, LARGE), torch.where(large, 1.0, r)
        series = (big + value - 0.5) * torch.log1p(value / big) + value * (big.log() - 1)
        rising = torch.where(
            large, series + _rest(big + value) - _rest(big), torch.lgamma(small + value) - torch.lgamma(small)
        )
        return rising - torch.lgamma(value + 1) + value * logits - (r + value) * softplus(logits)


def _rest(a: Tensor) -> Tensor:
    """log Γ(a) − (a − ½) log a + a − ½ log 2π, for a large a."""
    inverse = 1 / a
    return inverse * (1 / 12 - inverse.square() / 360)
