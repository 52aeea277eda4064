"""Beta and Gamma on their open supports, where the density is neither 0 nor infinite."""

from __future__ import annotations

from typing import Any

import pyro.distributions as dist
from torch import Tensor
from torch.distributions import constraints

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
    >>> import torch
    >>> bool(Beta(2.0, 3.0).support.check(torch.tensor(0.0)))
    False
    """

    support = open_unit_interval


class Gamma(dist.Gamma):
    """Gamma(x; concentration, rate) for x > 0: exact zeros are off the support, where torch lets them in.

    Parameters
    ----------
    concentration, rate
        The mean is their ratio.

    Examples
    --------
    >>> import torch
    >>> bool(Gamma(2.0, 3.0).support.check(torch.tensor(0.0)))
    False
    """

    support = constraints.positive
