"""Discretised logistic likelihood."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pyro.distributions as dist
from torch import Tensor
from torch.distributions import constraints

from pyrovae._numbers import at_least
from pyrovae.distributions import DiscretizedLogistic as Family
from pyrovae.likelihoods._likelihood import NetworkLikelihood, cells

__all__ = ["DiscretizedLogistic"]


class DiscretizedLogistic(NetworkLikelihood):
    """Whole numbers 0, …, levels − 1: a logistic variable of median c (1 + network(z)) and scale c s, rounded.

    c = (levels − 1)/2, so that the network works between −1 and 1 whatever the levels; the first and the last have all
    that lies beyond them (Kingma et al. 2016, 1606.04934; `pyrovae.distributions.DiscretizedLogistic`).

    Parameters
    ----------
    network
        z (..., latents) → median, in units of c from the middle (..., *event).
    scale
        s: a number, a tensor of one datum's shape (or that broadcasts to it), or a second network of z, whose output
        softplus makes positive.
    learned
        Learn the number or the tensor, from the value given.
    levels
        How many there are: 256 for bytes.

    Raises
    ------
    ValueError
        If a scale is not positive and finite or has another shape than the median, or ``levels`` is not a whole number
        of at least 2.

    Examples
    --------
    >>> import torch
    >>> from pyrovae.networks import MLP
    >>> DiscretizedLogistic(MLP(8, (32,), 64), levels=17)(torch.zeros(5, 8)).event_shape
    torch.Size([64])
    """

    def __init__(
        self, network: Callable[..., Tensor], scale: Any = 0.1, *, learned: bool = True, levels: int = 256
    ) -> None:
        super().__init__(network)
        self.levels = at_least("likelihoods.DiscretizedLogistic: levels", levels, 2)
        self.support = constraints.integer_interval(0, self.levels - 1)
        self.stand_beside("scale", scale, learned=learned)

    def forward(self, z: Tensor, context: Tensor | None = None) -> dist.TorchDistribution:
        """p(x|z)."""
        out, half = self.parameters_of(z, context), (self.levels - 1) / 2
        scale = self.beside("scale", z, context, tuple(out.shape[z.dim() - 1 :]))
        return cells(Family(half * (1 + out), half * scale, self.levels), z)
