"""Dirichlet prior."""

from __future__ import annotations

from typing import Any

import pyro.distributions as dist
from torch.distributions import constraints

from pyrovae.priors._sized import SizedPrior

__all__ = ["Dirichlet"]


class Dirichlet(SizedPrior):
    """p(z) ∝ Π_k z_k^(concentration_k − 1) on the simplex: shares that sum to 1; uniform by default.

    Parameters
    ----------
    size
        Number of shares K.
    concentration
        A number, or a tensor (size,); below 1 for sparse shares.
    learned
        Learn it, from the value given.

    Shapes
    ------
    Event (size,), batch (); support: the simplex.

    Raises
    ------
    ValueError
        If ``size`` is not a whole number of at least 2, or ``concentration`` not positive.

    Examples
    --------
    >>> Dirichlet(8, concentration=0.5)
    Dirichlet(8; support: simplex)
    """

    support = constraints.simplex

    def __init__(self, size: int, *, concentration: Any = 1.0, learned: bool = False) -> None:
        super().__init__(size, least=2, learned=learned)
        self.hold("concentration", concentration, constraints.positive, shape=(size,), learned=learned)

    def forward(self) -> dist.TorchDistribution:
        """p(z)."""
        return dist.Dirichlet(self.held("concentration"))
