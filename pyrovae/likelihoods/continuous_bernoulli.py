"""Continuous Bernoulli likelihood."""

from __future__ import annotations

import pyro.distributions as dist
from torch import Tensor
from torch.distributions import constraints

from pyrovae.distributions import ContinuousBernoulli as Family
from pyrovae.likelihoods._likelihood import NetworkLikelihood, cells

__all__ = ["ContinuousBernoulli"]


class ContinuousBernoulli(NetworkLikelihood):
    """p(x|z) ∝ Π_i exp(network(z)_i x_i), for data in [0, 1] (Loaiza-Ganem & Cunningham 2019, 1907.06845).

    The cross entropy of grey pixels with the normaliser that makes it a density.

    Parameters
    ----------
    network
        z (..., latents) → logits (..., *event).

    Examples
    --------
    >>> import torch
    >>> from pyrovae.networks import MLP
    >>> ContinuousBernoulli(MLP(8, (32,), 64))(torch.zeros(5, 8)).event_shape
    torch.Size([64])
    """

    support = constraints.unit_interval

    def forward(self, z: Tensor, context: Tensor | None = None) -> dist.TorchDistribution:
        """p(x|z)."""
        return cells(Family(logits=self.parameters_of(z, context)), z)
