"""Counts with extra zeros."""

from __future__ import annotations

from typing import Any

import pyro.distributions as dist
import torch
from pyro.distributions.util import broadcast_shape
from torch import Tensor
from torch.distributions import constraints
from torch.nn.functional import softplus

from pyrovae.distributions._once import once

__all__ = ["ZeroInflated"]


class ZeroInflated(dist.TorchDistribution):
    """g 1(x = 0) + (1 − g) p(x), for a distribution p of numbers.

    That of Pyro (1.9.2) cannot be expanded once its mean or a draw was asked for.

    Parameters
    ----------
    base_dist
        p, without an event dimension.
    gate_logits
        The logit of g, the probability of an extra zero.

    Examples
    --------
    >>> fn = ZeroInflated(dist.Poisson(torch.tensor(2.0)), torch.tensor(0.0))
    >>> fn.mean
    tensor(1.)
    """

    arg_constraints = {"gate_logits": constraints.real}  # noqa: RUF012

    def __init__(self, base_dist: Any, gate_logits: Tensor, validate_args: bool | None = None) -> None:
        batch = torch.Size(broadcast_shape(base_dist.batch_shape, gate_logits.shape))
        self.base_dist, self.gate_logits = base_dist.expand(batch), gate_logits.expand(batch)
        super().__init__(batch, validate_args=validate_args)

    @constraints.dependent_property
    def support(self) -> constraints.Constraint:
        """That of p."""
        return self.base_dist.support

    def expand(self, batch_shape: Any, _instance: Any = None) -> ZeroInflated:
        """The same with a larger batch."""
        batch = torch.Size(batch_shape)
        new = ZeroInflated(self.base_dist.expand(batch), self.gate_logits.expand(batch), validate_args=False)
        new._validate_args = self._validate_args
        return new

    @property
    def gate(self) -> Tensor:
        """The probability of an extra zero."""
        return self.gate_logits.sigmoid()

    @property
    def mean(self) -> Tensor:
        """(1 − g) times the mean of p."""
        return (-self.gate_logits).sigmoid() * self.base_dist.mean

    @property
    def variance(self) -> Tensor:
        """(1 − g) (variance of p + g times its squared mean)."""
        return (-self.gate_logits).sigmoid() * (self.base_dist.variance + self.gate * self.base_dist.mean.square())

    def log_prob(self, value: Tensor) -> Tensor:
        """Log probability."""
        if self._validate_args:
            self._validate_sample(value)
        log_p = self.base_dist.log_prob(value)
        gate = once(self.gate_logits)
        return torch.where(value == 0, gate + softplus(log_p - gate), log_p) - softplus(gate)

    def sample(self, sample_shape: Any = ()) -> Tensor:
        """Draws."""
        with torch.no_grad():
            shape = torch.Size(sample_shape)
            extra = torch.bernoulli(self.gate.expand(*shape, *self.batch_shape)).bool()
            return self.base_dist.sample(shape).masked_fill(extra, 0)
