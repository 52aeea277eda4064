"""Poisson likelihood."""

from __future__ import annotations

from collections.abc import Callable

import pyro.distributions as dist
from torch import Tensor

from pyrovae.distributions import Poisson as Family
from pyrovae.likelihoods._counts import CountLikelihood
from pyrovae.likelihoods._likelihood import cells

__all__ = ["Poisson"]


class Poisson(CountLikelihood):
    """p(x|z) = Π_i Poisson(x_i; μ_i) with μ = e · exp(b + network(z)), for counts without a bound.

    b is the log of each cell's mean count (per exposure) in the training data: ``pyrovae.fit`` sets it before the first
    epoch (`adapt`); it is 0 until then.

    Parameters
    ----------
    network
        z (..., latents) → log(μ / e) − b (..., *event).
    exposure
        Which column of the context holds e, such as a library size or an observation time; without it e = 1. A network
        that takes a context is given that column as well.

    Raises
    ------
    ValueError
        If the context has no such column, or an exposure is not positive (looked at when not training).

    Examples
    --------
    >>> import torch
    >>> from pyrovae.networks import MLP
    >>> part = Poisson(MLP(2, (), 3), exposure=0)
    >>> part(torch.zeros(4, 2), torch.full((4, 1), 100.0)).event_shape
    torch.Size([3])
    """

    def __init__(self, network: Callable[..., Tensor], *, exposure: int | None = None) -> None:
        super().__init__(network, exposure)

    def forward(self, z: Tensor, context: Tensor | None = None) -> dist.TorchDistribution:
        """p(x|z)."""
        return cells(Family(self.log_mean(z, context)), z)
