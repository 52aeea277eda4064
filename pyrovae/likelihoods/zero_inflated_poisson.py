"""Zero-inflated Poisson likelihood."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pyro.distributions as dist
from torch import Tensor

from pyrovae.distributions import Poisson as Family
from pyrovae.distributions import ZeroInflated
from pyrovae.likelihoods._counts import CountLikelihood
from pyrovae.likelihoods._likelihood import cells

__all__ = ["ZeroInflatedPoisson"]


class ZeroInflatedPoisson(CountLikelihood):
    """p(x|z) = Π_i [g_i 1(x_i = 0) + (1 − g_i) Poisson(x_i; μ_i)], μ = e · exp(b + network(z)) (Lambert 1992).

    b is the log of each cell's mean count (per exposure) in the training data: ``pyrovae.fit`` sets it before the first
    epoch (`adapt`); it is 0 until then.

    Parameters
    ----------
    network
        z (..., latents) → log(μ / e) − b (..., *event).
    gate
        g, the probability of an extra zero: a number, a tensor of one datum's shape (or that broadcasts to it), or a
        second network of z → its logit.
    learned
        Learn the number or the tensor, from the value given.
    exposure
        Which column of the context holds e; without it e = 1 (see `Poisson`).

    Raises
    ------
    ValueError
        If a gate is not between 0 and 1 or has another shape than the mean, or an exposure is not positive.

    Examples
    --------
    >>> import torch
    >>> from pyrovae.networks import MLP
    >>> ZeroInflatedPoisson(MLP(8, (32,), 64), MLP(8, (), 64))(torch.zeros(5, 8)).event_shape
    torch.Size([64])
    """

    def __init__(
        self, network: Callable[..., Tensor], gate: Any = 0.1, *, learned: bool = True, exposure: int | None = None
    ) -> None:
        super().__init__(network, exposure)
        self.stand_gate(gate, learned=learned)

    def forward(self, z: Tensor, context: Tensor | None = None) -> dist.TorchDistribution:
        """p(x|z)."""
        log_mean = self.log_mean(z, context)
        gate_logits = self.gate_logits(z, context, tuple(log_mean.shape[z.dim() - 1 :]))
        return cells(ZeroInflated(Family(log_mean), gate_logits), z)
