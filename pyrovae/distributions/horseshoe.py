"""Horseshoe distribution, with its exact density."""

from __future__ import annotations

import math
from typing import Any, ClassVar

import pyro.distributions as dist
import torch
from torch import Tensor
from torch.distributions import constraints

__all__ = ["Horseshoe"]

EULER = 0.57721566490153286
SPLIT = 2.0


class Horseshoe(dist.TorchDistribution):
    """θ ~ N(0, (λ · scale)²) with λ ~ HalfCauchy(1), λ integrated out (Carvalho, Polson & Scott 2010, Biometrika 97).

    log p(θ) = −½ log(2π³) − log scale + log(e^u E1(u)), u = θ²/(2 scale²), with the exponential integral E1. The
    density is unbounded at 0, where it grows as −log |θ|, and has tails as heavy as the Cauchy's: no mean.

    Parameters
    ----------
    scale
        The global scale, positive.

    Examples
    --------
    >>> Horseshoe(torch.tensor(1.0)).log_prob(torch.tensor([0.1, 1.0, 10.0]))
    tensor([-0.5056, -2.1439, -5.9951])
    """

    arg_constraints: ClassVar[dict[str, constraints.Constraint]] = {"scale": constraints.positive}
    support = constraints.real
    has_rsample = True

    def __init__(self, scale: Tensor, validate_args: bool | None = None) -> None:
        self.scale = torch.as_tensor(scale)
        super().__init__(self.scale.shape, validate_args=validate_args)

    def expand(self, batch_shape: Any, _instance: Any = None) -> Horseshoe:
        """The same with another batch shape."""
        new = self._get_checked_instance(Horseshoe, _instance)
        new.scale = self.scale.expand(batch_shape)
        dist.TorchDistribution.__init__(new, torch.Size(batch_shape), validate_args=False)
        new._validate_args = self._validate_args
        return new

    @property
    def mean(self) -> Tensor:
        """NaN: there is none, as the Cauchy has none."""
        return torch.full_like(self.scale, math.nan)

    def log_prob(self, value: Tensor) -> Tensor:
        """Log density; at 0 that of the smallest number above it."""
        if self._validate_args:
            self._validate_sample(value)
        u = (value / self.scale).square() / 2
        return log_scaled_exponential_integral(u) - self.scale.log() - math.log(2 * math.pi**3) / 2

    def rsample(self, sample_shape: Any = ()) -> Tensor:
        """Reparameterised draws, scale · |Cauchy| · Normal."""
        shape = self._extended_shape(torch.Size(sample_shape))
        local = torch.empty(shape, dtype=self.scale.dtype, device=self.scale.device).cauchy_().abs()
        return self.scale * local * torch.randn_like(local)


def log_scaled_exponential_integral(u: Tensor) -> Tensor:
    """log(e^u E1(u)) for u ≥ 0, with E1(u) = ∫_u^∞ e^−t/t dt.

    Up to 2 the power series (Abramowitz & Stegun 5.1.11), above it the continued fraction (5.1.22 in the contracted
    form), as many terms as the precision of u can tell.
    """
    terms, levels = (26, 48) if u.dtype == torch.float64 else (15, 12)
    below = u < SPLIT
    near = torch.where(below, u, 1.0).clamp(min=torch.finfo(u.dtype).tiny)
    series = torch.ones_like(near)  # Σ_k −(−u)^k/(k · k!) by Horner's rule
    for k in range(terms, 1, -1):
        series = 1 - near * series * ((k - 1) / k**2)
    far = torch.where(below, SPLIT, u)
    level = far + (2 * levels + 1)
    for k in range(levels, 0, -1):
        level = far + (2 * k - 1) - k * k / level
    return torch.where(below, near + (near * series - EULER - near.log()).log(), -level.log())
