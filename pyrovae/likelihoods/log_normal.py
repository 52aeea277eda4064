"""Log-Normal likelihood."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pyro.distributions as dist
import torch
from torch import Tensor
from torch.distributions import constraints

from pyrovae.likelihoods._likelihood import cells
from pyrovae.likelihoods._offset import LEAST, OffsetLikelihood

__all__ = ["LogNormal"]


class LogNormal(OffsetLikelihood):
    """log x ~ N(b + network(z), diag(scale²)), for positive data; b is the mean log of each cell in the training data.

    ``pyrovae.fit`` sets b before the first epoch (`adapt`), so that the unit of the data does not matter; it is 0 until
    then.

    Parameters
    ----------
    network
        z (..., latents) → mean of log x − b (..., *event).
    scale
        The standard deviation of log x: a number, a tensor of one datum's shape (or that broadcasts to it), or a second
        network of z, whose output softplus makes positive.
    learn_scale
        Learn the number or the tensor, from the value given.

    Raises
    ------
    ValueError
        If a scale is not positive and finite or has another shape than the mean.

    Examples
    --------
    >>> from pyrovae.networks import MLP
    >>> LogNormal(MLP(8, (32,), 64), torch.ones(64), learn_scale=True)(torch.zeros(5, 8)).event_shape
    torch.Size([64])
    """

    support = constraints.positive

    def __init__(self, network: Callable[..., Tensor], scale: Any = 1.0, *, learn_scale: bool = False) -> None:
        super().__init__(network)
        self.stand_beside("scale", scale, learned=learn_scale)

    def forward(self, z: Tensor, context: Tensor | None = None) -> dist.TorchDistribution:
        """p(x|z)."""
        loc = self.parameters_of(z, context)
        return cells(dist.LogNormal(loc, self.beside("scale", z, context, tuple(loc.shape[z.dim() - 1 :]))), z)

    def measure(self, x: Tensor) -> Tensor:
        """log x."""
        return torch.log(x.clamp_min(LEAST))

    def intercept(self, total: Tensor, weight: Tensor) -> Tensor:
        """Its mean."""
        return total / weight
