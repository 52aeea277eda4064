"""Beta likelihood."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pyro.distributions as dist
from torch import Tensor

from pyrovae.distributions import Beta as Family
from pyrovae.distributions.open_support import open_unit_interval
from pyrovae.likelihoods._likelihood import NetworkLikelihood, cells

__all__ = ["Beta"]


class Beta(NetworkLikelihood):
    """p(x|z) = Π_i Beta(x_i; m_i κ_i, (1 − m_i) κ_i) with mean m = σ(network(z)), for data strictly between 0 and 1.

    The variance is m (1 − m) / (κ + 1); with κ = 2 and m = ½ it is uniform. Exact zeros and ones are off the support:
    squeeze them, x (1 − ε) + ε/2, or use `ContinuousBernoulli`.

    Parameters
    ----------
    network
        z (..., latents) → logit of the mean (..., *event).
    concentration
        κ: a number, a tensor of one datum's shape (or that broadcasts to it), or a second network of z, whose output
        softplus makes positive.
    learned
        Learn the number or the tensor, from the value given.

    Raises
    ------
    ValueError
        If a concentration is not positive and finite or has another shape than the mean.

    Examples
    --------
    >>> import torch
    >>> from pyrovae.networks import MLP
    >>> Beta(MLP(8, (32,), 64))(torch.zeros(5, 8)).event_shape
    torch.Size([64])
    """

    support = open_unit_interval

    def __init__(self, network: Callable[..., Tensor], concentration: Any = 2.0, *, learned: bool = True) -> None:
        super().__init__(network)
        self.stand_beside("concentration", concentration, learned=learned)

    def forward(self, z: Tensor, context: Tensor | None = None) -> dist.TorchDistribution:
        """p(x|z)."""
        out = self.parameters_of(z, context)
        concentration = self.beside("concentration", z, context, tuple(out.shape[z.dim() - 1 :]))
        return cells(Family(out.sigmoid() * concentration, (-out).sigmoid() * concentration), z)
