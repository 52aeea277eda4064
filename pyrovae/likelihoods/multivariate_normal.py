"""Normal likelihood with a full covariance."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pyro.distributions as dist
import torch
from torch import Tensor
from torch.distributions import constraints

from pyrovae._numbers import at_least
from pyrovae.distributions.shared_covariance import MultivariateNormal as Family
from pyrovae.likelihoods._likelihood import NetworkLikelihood

__all__ = ["MultivariateNormal"]


class MultivariateNormal(NetworkLikelihood):
    """p(x|z) = N(x; network(z), L Lᵀ) with one lower triangular L for all z.

    What z leaves unexplained may be correlated. Missing cells are integrated out exactly.

    Parameters
    ----------
    features
        d, the length of one datum.
    network
        z (..., latents) → mean (..., d).
    scale
        L to begin with: standard deviations, a number or (d,), or the whole (d, d).
    learned
        Learn L.

    Raises
    ------
    ValueError
        If a scale is not positive (of a matrix: no lower triangle with a positive diagonal) or has another shape, or
        the network makes data of another length.

    Examples
    --------
    >>> from pyrovae.networks import MLP
    >>> MultivariateNormal(6, MLP(8, (32,), 6))(torch.zeros(5, 8)).event_shape
    torch.Size([6])
    """

    support = constraints.real_vector

    def __init__(
        self, features: int, network: Callable[..., Tensor], *, scale: Any = 1.0, learned: bool = True
    ) -> None:
        super().__init__(network)
        self.features = at_least("likelihoods.MultivariateNormal: features", features, 1)
        size = self.features
        below = torch.tril_indices(size, size, -1)
        lower: Any = torch.zeros(below.shape[1])
        if isinstance(scale, Tensor) and scale.dim() == 2:
            if tuple(scale.shape) != (size, size) or bool(scale.triu(1).any()):
                raise ValueError(
                    f"likelihoods.MultivariateNormal: expected as scale a lower triangle of shape ({size}, {size}), "
                    f"got a matrix of shape {tuple(scale.shape)}: of a covariance, take torch.linalg.cholesky"
                )
            scale, lower = scale.diagonal(), scale[below[0], below[1]]
        self.hold("scale", scale, constraints.positive, shape=(size,), learned=learned)
        self.hold("lower", lower, learned=learned)
        self.register_buffer("_below", below, persistent=False)

    def forward(self, z: Tensor, context: Tensor | None = None) -> dist.TorchDistribution:
        """p(x|z)."""
        loc = self.parameters_of(z, context)
        self.expect_fit("covariance", (self.features,), tuple(loc.shape[z.dim() - 1 :]))
        rows, columns = self.get_buffer("_below")
        factor = torch.diag(self.held("scale")).index_put((rows, columns), self.held("lower"))
        return Family(loc, scale_tril=factor)
