"""Laplace likelihood."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pyro.distributions as dist
from torch import Tensor
from torch.distributions import constraints

from pyrovae.likelihoods._likelihood import NetworkLikelihood, cells

__all__ = ["Laplace"]


class Laplace(NetworkLikelihood):
    """p(x|z) = Π_i exp(−|x_i − network(z)_i| / scale_i) / (2 scale_i): with scale 1, the absolute error plus d log 2.

    Parameters
    ----------
    network
        z (..., latents) → median (..., *event).
    scale
        The mean absolute deviation: a number, a tensor of one datum's shape (or that broadcasts to it), or a second
        network of z, whose output softplus makes positive.
    learn_scale
        Learn the number or the tensor, from the value given.

    Raises
    ------
    ValueError
        If a scale is not positive and finite or has another shape than the median.

    Examples
    --------
    >>> import torch
    >>> from pyrovae.networks import MLP
    >>> Laplace(MLP(8, (32,), 64), 0.5)(torch.zeros(5, 8)).event_shape
    torch.Size([64])
    """

    support = constraints.real

    def __init__(self, network: Callable[..., Tensor], scale: Any = 1.0, *, learn_scale: bool = False) -> None:
        super().__init__(network)
        self.stand_beside("scale", scale, learned=learn_scale)

    def forward(self, z: Tensor, context: Tensor | None = None) -> dist.TorchDistribution:
        """p(x|z)."""
        loc = self.parameters_of(z, context)
        return cells(dist.Laplace(loc, self.beside("scale", z, context, tuple(loc.shape[z.dim() - 1 :]))), z)
