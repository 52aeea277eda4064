"""Zero-inflated negative binomial likelihood."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pyro.distributions as dist
from torch import Tensor

from pyrovae.distributions import NegativeBinomial, ZeroInflated
from pyrovae.likelihoods._counts import CountLikelihood
from pyrovae.likelihoods._likelihood import cells

__all__ = ["ZeroInflatedNegativeBinomial"]


class ZeroInflatedNegativeBinomial(CountLikelihood):
    """p(x|z) = Π_i [g_i 1(x_i = 0) + (1 − g_i) NB(x_i; μ_i, r_i)] with μ = e · exp(b + network(z)).

    The variance of NB is μ + μ²/r. As used for single cells by scVI (Lopez et al. 2018). b is the log of each cell's
    mean count (per exposure) in the training data: ``pyrovae.fit`` sets it before the first epoch (`adapt`); it is 0
    until then.

    Parameters
    ----------
    network
        z (..., latents) → log(μ / e) − b (..., *event).
    inverse_dispersion
        r: a number, a tensor of one datum's shape (or that broadcasts to it), or a second network of z, whose output
        softplus makes positive.
    gate
        g, the probability of an extra zero: likewise, a network's output being its logit.
    learned
        Learn the numbers or tensors, from the values given.
    exposure
        Which column of the context holds e; without it e = 1 (see `Poisson`).

    Raises
    ------
    ValueError
        If r is not positive and finite, a gate not between 0 and 1, either has another shape than the mean, or an
        exposure is not positive.

    Examples
    --------
    >>> import torch
    >>> from pyrovae.networks import MLP
    >>> part = ZeroInflatedNegativeBinomial(MLP(8, (32,), 64), torch.ones(64), MLP(8, (32,), 64))
    >>> part(torch.zeros(5, 8)).event_shape
    torch.Size([64])
    """

    def __init__(
        self,
        network: Callable[..., Tensor],
        inverse_dispersion: Any = 1.0,
        gate: Any = 0.1,
        *,
        learned: bool = True,
        exposure: int | None = None,
    ) -> None:
        super().__init__(network, exposure)
        self.stand_beside("inverse_dispersion", inverse_dispersion, learned=learned)
        self.stand_gate(gate, learned=learned)

    def forward(self, z: Tensor, context: Tensor | None = None) -> dist.TorchDistribution:
        """p(x|z)."""
        log_mean = self.log_mean(z, context)
        event = tuple(log_mean.shape[z.dim() - 1 :])
        r = self.beside("inverse_dispersion", z, context, event)
        gate_logits = self.gate_logits(z, context, event)
        return cells(ZeroInflated(NegativeBinomial(r, logits=log_mean - r.log()), gate_logits), z)
