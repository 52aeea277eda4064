"""Gamma prior."""

from __future__ import annotations

from typing import Any

import pyro.distributions as dist
from torch.distributions import constraints

from pyrovae.priors._sized import SizedPrior

__all__ = ["Gamma"]


class Gamma(SizedPrior):
    """p(z) = Π_j Gamma(z_j; concentration_j, rate_j), of mean concentration/rate, for positive latents.

    Parameters
    ----------
    size
        Number of latents.
    concentration, rate
        Numbers, or tensors (size,).
    learned
        Learn both, from the values given.

    Shapes
    ------
    Event (size,), batch (); support: the positive numbers.

    Raises
    ------
    ValueError
        If ``size`` is not a whole number of at least 1, or ``concentration`` or ``rate`` not positive.

    Examples
    --------
    >>> Gamma(8, concentration=0.5)
    Gamma(8; support: greater than (0))
    """

    support = constraints.independent(constraints.positive, 1)

    def __init__(self, size: int, *, concentration: Any = 1.0, rate: Any = 1.0, learned: bool = False) -> None:
        super().__init__(size, learned=learned)
        self.hold("concentration", concentration, constraints.positive, shape=(size,), learned=learned)
        self.hold("rate", rate, constraints.positive, shape=(size,), learned=learned)

    def forward(self) -> dist.TorchDistribution:
        """p(z)."""
        return dist.Gamma(self.held("concentration"), self.held("rate")).to_event(1)
