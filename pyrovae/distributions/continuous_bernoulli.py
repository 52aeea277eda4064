"""Continuous Bernoulli distribution with its exact normaliser."""

from __future__ import annotations

import pyro.distributions as dist
import torch
from torch import Tensor

__all__ = ["ContinuousBernoulli"]

SMALL = 0.1  # |logit| below which series are used; their first term left out is below 1e-15


class ContinuousBernoulli(dist.ContinuousBernoulli):
    """p(x) = C exp(η x) on [0, 1] with logit η (Loaiza-Ganem & Cunningham 2019, 1907.06845).

    log p(x) = η (x − ½) − log(sinh(η/2) / (η/2)). That of torch takes C from the probability, which rounds to 0 or 1:
    in float32 it is .23 nats off per cell at η = 20, and no density any more.

    Parameters
    ----------
    probs, logits
        One of them; ``logits`` is exact everywhere.

    Examples
    --------
    >>> fn = ContinuousBernoulli(logits=torch.tensor([-40.0, 0.0, 40.0]))
    >>> fn.mean
    tensor([0.0250, 0.5000, 0.9750])
    """

    def log_prob(self, value: Tensor) -> Tensor:
        """Log density."""
        if self._validate_args:
            self._validate_sample(value)
        size = self.logits.abs()
        small = size < SMALL
        square = torch.where(small, size, 0.0).square()
        series = square / 24 - square.square() / 2880 + square**3 / 181440
        a = torch.where(small, 1.0, size)
        exact = torch.log1p(-torch.exp(-a)) - a.log()
        away = torch.where(self.logits > 0, 1 - value, value)  # from the end that it leans on: nothing cancels
        return torch.where(small, self.logits * (value - 0.5) - series, -size * away - exact)

    @property
    def mean(self) -> Tensor:
        """1 / (1 − exp(−η)) − 1/η."""
        small = self.logits.abs() < SMALL
        eta = torch.where(small, self.logits, 0.0)
        series = 0.5 + eta / 12 - eta**3 / 720 + eta**5 / 30240 - eta**7 / 1209600
        eta = torch.where(small, 1.0, self.logits)
        return torch.where(small, series, -1 / torch.expm1(-eta) - 1 / eta)

    @property
    def variance(self) -> Tensor:
        """1/η² − 1/(4 sinh²(η/2)), in double precision: little is left of the difference."""
        logits = self.logits.double()
        small = logits.abs() < SMALL
        square = torch.where(small, logits, 0.0).square()
        series = 1 / 12 - square / 240 + square.square() / 6048 - square**3 / 172800
        eta = torch.where(small, 1.0, logits)
        exact = 1 / eta.square() - 1 / (2 * torch.sinh(eta / 2)).square()
        return torch.where(small, series, exact).to(self.logits.dtype)

    def entropy(self) -> Tensor:
        """−log p(mean), as log p is linear in x."""
        return -self.log_prob(self.mean)

    def cdf(self, value: Tensor) -> Tensor:
        """(exp(ηx) − 1)/(exp(η) − 1)."""
        x, a = value.clamp(0, 1), self.logits.abs().clamp_min(torch.finfo(self.logits.dtype).eps ** 2)
        lean = torch.where(self.logits > 0, torch.exp(-a * (1 - x)), 1.0)
        return lean * torch.expm1(-a * x) / torch.expm1(-a)

    def icdf(self, value: Tensor) -> Tensor:
        """The inverse of the distribution function: an exponential cut off at 1, from the end that it leans on."""
        size = self.logits.abs()
        small = size < 1e-4
        a = torch.where(small, 1.0, size)
        u = torch.where(self.logits > 0, 1 - value, value)
        y = torch.where(small, u, -torch.log1p(u * torch.expm1(-a)) / a)
        return torch.where(self.logits > 0, 1 - y, y).clamp(0, 1)
