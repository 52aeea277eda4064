"""Negative binomial likelihood."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pyro.distributions as dist
from torch import Tensor

from pyrovae.distributions import NegativeBinomial as Family
from pyrovae.likelihoods._counts import CountLikelihood
from pyrovae.likelihoods._likelihood import cells

__all__ = ["NegativeBinomial"]


class NegativeBinomial(CountLikelihood):
    """Counts of mean μ = e · exp(b + network(z)) and variance μ + μ²/r: a Poisson whose rate is Gamma(r, r/μ).

    b is the log of each cell's mean count (per exposure) in the training data: ``pyrovae.fit`` sets it before the first
    epoch (`adapt`); it is 0 until then.

    Parameters
    ----------
    network
        z (..., latents) → log(μ / e) − b (..., *event).
    inverse_dispersion
        r: a number, a tensor of one datum's shape (or that broadcasts to it), or a second network of z, whose output
        softplus makes positive. Large r is Poisson.
    learned
        Learn the number or the tensor, from the value given.
    exposure
        Which column of the context holds e; without it e = 1 (see `Poisson`).

    Raises
    ------
    ValueError
        If r is not positive and finite or has another shape than the mean, or an exposure is not positive.

    Examples
    --------
    >>> import torch
    >>> from pyrovae.networks import MLP
    >>> NegativeBinomial(MLP(8, (32,), 64), torch.ones(64))(torch.zeros(5, 8)).event_shape
    torch.Size([64])
    """

    def __init__(
        self,
        network: Callable[..., Tensor],
        inverse_dispersion: Any = 1.0,
        *,
        learned: bool = True,
        exposure: int | None = None,
    ) -> None:
        super().__init__(network, exposure)
        self.stand_beside("inverse_dispersion", inverse_dispersion, learned=learned)

    def forward(self, z: Tensor, context: Tensor | None = None) -> dist.TorchDistribution:
        """p(x|z)."""
        log_mean = self.log_mean(z, context)
        r = self.beside("inverse_dispersion", z, context, tuple(log_mean.shape[z.dim() - 1 :]))
        return cells(Family(r, logits=log_mean - r.log()), z)
