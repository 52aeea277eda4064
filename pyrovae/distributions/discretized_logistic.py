"""Logistic distribution rounded to whole numbers, with open tails."""

from __future__ import annotations

from typing import Any

import pyro.distributions as dist
import torch
from pyro.distributions.util import broadcast_shape
from torch import Tensor
from torch.distributions import constraints
from torch.nn.functional import logsigmoid

from pyrovae._numbers import at_least
from pyrovae.distributions._once import once

__all__ = ["DiscretizedLogistic", "log_sigmoid_difference"]


class DiscretizedLogistic(dist.TorchDistribution):
    """P(x = k) = σ((k + ½ − loc) / scale) − σ((k − ½ − loc) / scale) for k = 0, …, levels − 1.

    The first level has all that lies below it and the last all above, so that the probabilities sum to one (Kingma et
    al. 2016, 1606.04934; Salimans et al. 2017, 1701.05517, equation 2).

    Parameters
    ----------
    loc, scale
        In the unit of the levels, (...).
    levels
        How many there are.

    Raises
    ------
    ValueError
        If ``levels`` is not a whole number of at least 2.

    Examples
    --------
    >>> fn = DiscretizedLogistic(torch.tensor(100.0), torch.tensor(3.0))
    >>> float(fn.log_prob(torch.arange(256.0)).logsumexp(0).abs() < 1e-5)
    1.0
    """

    arg_constraints = {"loc": constraints.real, "scale": constraints.positive}  # noqa: RUF012

    def __init__(self, loc: Tensor, scale: Tensor, levels: int = 256, validate_args: bool | None = None) -> None:
        self.levels = at_least("DiscretizedLogistic: levels", levels, 2)
        batch = torch.Size(broadcast_shape(loc.shape, scale.shape))
        self.loc, self.scale = loc.expand(batch), scale.expand(batch)
        super().__init__(batch, validate_args=validate_args)

    @constraints.dependent_property(is_discrete=True, event_dim=0)
    def support(self) -> constraints.Constraint:
        """0, …, levels − 1."""
        return constraints.integer_interval(0, self.levels - 1)

    def expand(self, batch_shape: Any, _instance: Any = None) -> DiscretizedLogistic:
        """The same with a larger batch."""
        batch = torch.Size(batch_shape)
        new = self._get_checked_instance(DiscretizedLogistic, _instance)
        new.levels, new.loc, new.scale = self.levels, self.loc.expand(batch), self.scale.expand(batch)
        dist.TorchDistribution.__init__(new, batch, validate_args=False)
        new._validate_args = self._validate_args
        return new

    def log_prob(self, value: Tensor) -> Tensor:
        """Log probability."""
        if self._validate_args:
            self._validate_sample(value)
        scale = once(self.scale)
        low, high = (value - 0.5 - self.loc) / scale, (value + 0.5 - self.loc) / scale
        inner = log_sigmoid_difference(low, high, 1 / scale)
        return torch.where(value <= 0, logsigmoid(high), torch.where(value >= self.levels - 1, logsigmoid(-low), inner))

    def sample(self, sample_shape: Any = ()) -> Tensor:
        """Draws."""
        with torch.no_grad():
            u = torch.rand(self._extended_shape(torch.Size(sample_shape)), dtype=self.loc.dtype, device=self.loc.device)
            tiny = torch.finfo(u.dtype).tiny
            x = self.loc + self.scale * (u.clamp_min(tiny).log() - torch.log1p(-u))
            return x.round().clamp(0, self.levels - 1)

    @property
    def mean(self) -> Tensor:
        """Σ_k P(x ≥ k), over the levels above 0."""
        total = torch.zeros_like(self.loc)
        for k in range(1, self.levels):
            total = total + torch.sigmoid((self.loc - (k - 0.5)) / self.scale)
        return total

    @property
    def variance(self) -> Tensor:
        """E(x − c)² − (mean − c)², c the level next to the mean, by sums of P(x ≥ k) above it and P(x < k) below."""
        mean, total = self.mean, torch.zeros_like(self.loc)
        c = mean.round()
        for k in range(1, self.levels):
            up = (self.loc - (k - 0.5)) / self.scale
            total = total + torch.where(k > c, (2 * (k - c) - 1) * up.sigmoid(), (2 * (c - k) + 1) * (-up).sigmoid())
        return total - (mean - c).square()


def log_sigmoid_difference(low: Tensor, high: Tensor, width: Tensor) -> Tensor:
    """log(σ(high) − σ(low)) = log σ(high) + log σ(−low) + log(1 − exp(−width)), width = high − low > 0.

    Exact far out, where the difference of the two would be 0.
    """
    return logsigmoid(high) + logsigmoid(-low) + torch.log(-torch.expm1(-width))
