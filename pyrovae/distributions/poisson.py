"""Poisson distribution by the logarithm of its rate."""

from __future__ import annotations

from typing import Any

import pyro.distributions as dist
import torch
from torch import Tensor

__all__ = ["Poisson"]


class Poisson(dist.Poisson):
    """μ^x e^−μ / x!, with log μ as it is given: that of torch takes it from μ again.

    Parameters
    ----------
    log_rate
        log μ.

    Examples
    --------
    >>> Poisson(torch.tensor([-200.0, 0.0])).log_prob(torch.tensor([1.0, 0.0]))
    tensor([-200.,   -1.])
    """

    def __init__(self, log_rate: Tensor, validate_args: bool | None = None) -> None:
        self.log_rate = log_rate
        super().__init__(log_rate.exp(), validate_args=validate_args)

    def expand(self, batch_shape: Any, _instance: Any = None) -> Poisson:
        """The same with a larger batch."""
        new = self._get_checked_instance(Poisson, _instance)
        new.log_rate, new.rate = self.log_rate.expand(batch_shape), self.rate.expand(batch_shape)
        new.is_sparse = False
        dist.TorchDistribution.__init__(new, torch.Size(batch_shape), validate_args=False)
        new._validate_args = self._validate_args
        return new

    def log_prob(self, value: Tensor) -> Tensor:
        """Log probability."""
        if self._validate_args:
            self._validate_sample(value)
        return value * self.log_rate - self.rate - torch.lgamma(value + 1)
