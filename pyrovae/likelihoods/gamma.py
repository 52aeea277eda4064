"""Gamma likelihood."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pyro.distributions as dist
from torch import Tensor
from torch.distributions import constraints

from pyrovae.distributions import Gamma as Family
from pyrovae.likelihoods._likelihood import cells
from pyrovae.likelihoods._offset import OffsetLikelihood

__all__ = ["Gamma"]


class Gamma(OffsetLikelihood):
    """p(x|z) = Π_i Gamma(x_i; k_i, k_i / μ_i), of mean μ = exp(b + network(z)) and variance μ²/k, for positive data.

    b is the log mean of each cell in the training data: ``pyrovae.fit`` sets it before the first epoch (`adapt`), so
    that the unit of the data does not matter; it is 0 until then.

    Parameters
    ----------
    network
        z (..., latents) → log μ − b (..., *event).
    concentration
        The shape k: a number, a tensor of one datum's shape (or that broadcasts to it), or a second network of z, whose
        output softplus makes positive.
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
    >>> Gamma(MLP(8, (32,), 64), torch.ones(64))(torch.zeros(5, 8)).event_shape
    torch.Size([64])
    """

    support = constraints.positive

    def __init__(self, network: Callable[..., Tensor], concentration: Any = 1.0, *, learned: bool = True) -> None:
        super().__init__(network)
        self.stand_beside("concentration", concentration, learned=learned)

    def forward(self, z: Tensor, context: Tensor | None = None) -> dist.TorchDistribution:
        """p(x|z)."""
        out = self.parameters_of(z, context)
        concentration = self.beside("concentration", z, context, tuple(out.shape[z.dim() - 1 :]))
        return cells(Family(concentration, concentration * (-out).exp()), z)
