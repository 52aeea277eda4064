"""Dirichlet-multinomial likelihood."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pyro.distributions as dist
from torch import Tensor

from pyrovae.distributions import DirichletMultinomial as Family
from pyrovae.likelihoods._totals import TotalLikelihood

__all__ = ["DirichletMultinomial"]


class DirichletMultinomial(TotalLikelihood):
    """As `Multinomial`, more spread: probabilities ~ Dirichlet(κ softmax(b + network(z))), integrated out.

    The variance of each cell is that of the multinomial times (total + κ) / (1 + κ).

    Parameters
    ----------
    network, total, total_column
        As for `Multinomial`.
    concentration
        κ: a number, or a second network of z with one output, which softplus makes positive.
    learned
        Learn the number, from the value given.

    Raises
    ------
    ValueError
        As `Multinomial`, or if a concentration is not positive and finite.

    Examples
    --------
    >>> import torch
    >>> from pyrovae.networks import MLP
    >>> DirichletMultinomial(MLP(8, (32,), 64), 10.0, total=500)(torch.zeros(5, 8)).event_shape
    torch.Size([64])
    """

    def __init__(
        self,
        network: Callable[..., Tensor],
        concentration: Any = 10.0,
        *,
        learned: bool = True,
        total: int | None = None,
        total_column: int | None = None,
    ) -> None:
        super().__init__(network, total, total_column)
        self.stand_beside("concentration", concentration, learned=learned)

    def forward(self, z: Tensor, context: Tensor | None = None) -> dist.TorchDistribution:
        """p(x|z)."""
        logits = self.logits(z, context)
        concentration = self.beside("concentration", z, context, (1,))
        return Family(concentration * logits.softmax(-1), self.total_of(context))
