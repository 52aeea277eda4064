"""Beta and Gamma on their open supports, where the density is neither 0 nor infinite."""

from __future__ import annotations

from typing import Any

import pyro.distributions as dist
import torch
from torch import Tensor
from torch.distributions import constraints

from pyrovae.distributions._once import once

__all__ = ["Beta", "Gamma", "open_unit_interval"]


class _OpenInterval(constraints.Constraint):
    """Strictly between two numbers."""

    def __init__(self, lower_bound: Any, upper_bound: Any) -> None:
        self.lower_bound, self.upper_bound = lower_bound, upper_bound
        super().__init__()

    def check(self, value: Tensor) -> Tensor:
        """Whether each value lies inside."""
        return (self.lower_bound < value) & (value < self.upper_bound)


open_unit_interval = _OpenInterval(0.0, 1.0)


class Beta(dist.Beta):
    """Beta(x; a, b) for 0 < x < 1: exact zeros and ones are off the support, where torch lets them in.

    Parameters
    ----------
    concentration1, concentration0
        a and b.

    Examples
    --------
    >>> bool(Beta(2.0, 3.0).support.check(torch.tensor(0.0)))
    False
    """

    support = open_unit_interval

    def log_prob(self, value: Tensor) -> Tensor:
        """Log density."""
        if self._validate_args:
            self._validate_sample(value)
        a, b = once(self.concentration1), once(self.concentration0)
        normaliser = torch.lgamma(a) + torch.lgamma(b) - torch.lgamma(a + b)
        return (a - 1) * value.log() + (b - 1) * torch.log1p(-value) - normaliser.expand(self.batch_shape)


class Gamma(dist.Gamma):
    """Gamma(x; concentration, rate) for x > 0: exact zeros are off the support, where torch lets them in.

    Parameters
    ----------
    concentration, rate
        The mean is their ratio.

    Examples
    --------
    >>> bool(Gamma(2.0, 3.0).support.check(torch.tensor(0.0)))
    False
    """

    support = constraints.positive

    def log_prob(self, value: Tensor) -> Tensor:
        """Log density."""
        if self._validate_args:
            self._validate_sample(value)
        a, rate = once(self.concentration), once(self.rate)
        normaliser = torch.lgamma(a) - a * rate.log()
        return (a - 1) * value.log() - self.rate * value - normaliser
