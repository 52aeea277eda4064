"""Bernoulli likelihood."""

from __future__ import annotations

import pyro.distributions as dist
from torch import Tensor
from torch.distributions import constraints

from pyrovae import distributions as own
from pyrovae.likelihoods._likelihood import NetworkLikelihood, cells

__all__ = ["Bernoulli"]


class Bernoulli(NetworkLikelihood):
    """p(x|z) = Π_i Bernoulli(x_i; σ(network(z)_i)), for data of exactly 0 and 1.

    Grey pixels between 0 and 1 are off its support and refused: binarise them (``data.binarize("dynamic")``).
    The negative log density is the cross entropy in nats.

    Parameters
    ----------
    network
        z (..., latents) → logits (..., *event).

    Examples
    --------
    >>> import torch
    >>> from pyrovae.networks import MLP
    >>> Bernoulli(MLP(8, (32,), 64))(torch.zeros(5, 8))
    _Cells(Bernoulli(logits: torch.Size([5, 64])), 1)
    """

    support = constraints.boolean

    def forward(self, z: Tensor, context: Tensor | None = None) -> dist.TorchDistribution:
        """p(x|z)."""
        return cells(own.Bernoulli(logits=self.parameters_of(z, context)), z)
