"""Normal likelihood whose covariance is a diagonal and a few directions."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pyro.distributions as dist
import torch
from torch import Tensor
from torch.distributions import constraints

from pyrovae._numbers import at_least
from pyrovae.distributions.shared_covariance import LowRankMultivariateNormal as Family
from pyrovae.likelihoods._likelihood import NetworkLikelihood

__all__ = ["LowRankMultivariateNormal"]


class LowRankMultivariateNormal(NetworkLikelihood):
    """p(x|z) = N(x; network(z), W Wᵀ + diag(scale²)) with one learned W (d, rank) and scale (d,) for all z.

    As `MultivariateNormal`, for data with many features. W starts at random, a tenth of the scale long in each
    direction. Missing cells are integrated out exactly.

    Parameters
    ----------
    features
        d, the length of one datum.
    network
        z (..., latents) → mean (..., d).
    rank
        How many directions.
    scale
        Standard deviations to begin with, a number or (d,).

    Raises
    ------
    ValueError
        If a scale is not positive or has another shape, ``rank`` is not a whole number of at least 1, or the network
        makes data of another length.

    Examples
    --------
    >>> from pyrovae.networks import MLP
    >>> LowRankMultivariateNormal(64, MLP(8, (32,), 64), rank=3)(torch.zeros(5, 8)).event_shape
    torch.Size([64])
    """

    support = constraints.real_vector

    def __init__(self, features: int, network: Callable[..., Tensor], *, rank: int, scale: Any = 1.0) -> None:
        super().__init__(network)
        where = "likelihoods.LowRankMultivariateNormal"
        self.features, self.rank = at_least(f"{where}: features", features, 1), at_least(f"{where}: rank", rank, 1)
        self.hold("scale", scale, constraints.positive, shape=(self.features,), learned=True)
        start = 0.1 * self.held("scale").detach().unsqueeze(-1) * torch.randn(self.features, self.rank)
        self.hold("factor", start, learned=True)

    def forward(self, z: Tensor, context: Tensor | None = None) -> dist.TorchDistribution:
        """p(x|z)."""
        loc = self.parameters_of(z, context)
        self.expect_fit("covariance", (self.features,), tuple(loc.shape[z.dim() - 1 :]))
        return Family(loc, self.held("factor"), self.held("scale").square())

    def details(self) -> str:
        """The network and the rank."""
        return f"{super().details()}, rank={self.rank}"
