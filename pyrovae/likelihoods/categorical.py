"""Categorical likelihood."""

from __future__ import annotations

from collections.abc import Callable

import pyro.distributions as dist
from torch import Tensor
from torch.distributions import constraints

from pyrovae._numbers import at_least
from pyrovae.distributions import Categorical as Family
from pyrovae.likelihoods._likelihood import NetworkLikelihood, by_cell, cells

__all__ = ["Categorical"]


class Categorical(NetworkLikelihood):
    """p(x|z) = Π_i softmax(network(z)_i)[x_i], for classes 0, 1, …, K − 1 in each cell.

    Classes have no mean: reconstructions are draws.

    Parameters
    ----------
    classes
        K, the same for every cell.
    network
        z (..., latents) → K logits for each cell: (..., cells · K) cell by cell, (..., K · channels, height, width)
        channel by channel, or (..., *event, K).

    Raises
    ------
    ValueError
        If ``classes`` is not a whole number of at least 2, or the network has another number of outputs.

    Examples
    --------
    >>> import torch
    >>> from pyrovae.networks import MLP
    >>> Categorical(5, MLP(8, (32,), 10 * 5))(torch.zeros(3, 8)).event_shape
    torch.Size([10])
    """

    def __init__(self, classes: int, network: Callable[..., Tensor]) -> None:
        super().__init__(network)
        self.classes = at_least("likelihoods.Categorical: classes", classes, 2)
        self.support = constraints.integer_interval(0, self.classes - 1)

    def forward(self, z: Tensor, context: Tensor | None = None) -> dist.TorchDistribution:
        """p(x|z)."""
        return cells(Family(logits=by_cell(self, self.parameters_of(z, context), z, self.classes)), z)
