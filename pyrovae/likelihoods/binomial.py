"""Binomial likelihood."""

from __future__ import annotations

from collections.abc import Callable

import pyro.distributions as dist
from torch import Tensor
from torch.distributions import constraints

from pyrovae._numbers import at_least
from pyrovae.distributions import Binomial as Family
from pyrovae.likelihoods._likelihood import NetworkLikelihood, cells

__all__ = ["Binomial"]


class Binomial(NetworkLikelihood):
    """p(x|z) = Π_i Binomial(x_i; total, σ(network(z)_i)), for counts 0, 1, …, total.

    Parameters
    ----------
    total
        The largest count, the same for every cell.
    network
        z (..., latents) → logits (..., *event).

    Raises
    ------
    ValueError
        If ``total`` is not a whole number of at least 1.

    Examples
    --------
    >>> import torch
    >>> from pyrovae.networks import MLP
    >>> Binomial(16, MLP(8, (32,), 64))(torch.zeros(5, 8)).event_shape
    torch.Size([64])
    """

    def __init__(self, total: int, network: Callable[..., Tensor]) -> None:
        super().__init__(network)
        self.total = at_least("likelihoods.Binomial: total (the largest count)", total, 1)
        self.support = constraints.integer_interval(0, self.total)

    def forward(self, z: Tensor, context: Tensor | None = None) -> dist.TorchDistribution:
        """p(x|z)."""
        return cells(Family(self.total, logits=self.parameters_of(z, context)), z)
