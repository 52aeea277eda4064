"""Beta prior."""

from __future__ import annotations

from typing import Any

import pyro.distributions as dist
from torch.distributions import constraints

from pyrovae.priors._sized import SizedPrior

__all__ = ["Beta"]


class Beta(SizedPrior):
    """p(z) = Π_j Beta(z_j; concentration1_j, concentration0_j), for latents between 0 and 1; uniform by default.

    Parameters
    ----------
    size
        Number of latents.
    concentration1, concentration0
        The exponents of z and of 1 − z, each plus 1: numbers, or tensors (size,).
    learned
        Learn both, from the values given.

    Shapes
    ------
    Event (size,), batch (); support: the unit interval.

    Raises
    ------
    ValueError
        If ``size`` is not a whole number of at least 1, or a concentration not positive.

    Examples
    --------
    >>> Beta(8, concentration1=2)
    Beta(8; support: interval (0, 1))
    """

    support = constraints.independent(constraints.unit_interval, 1)

    def __init__(
        self, size: int, *, concentration1: Any = 1.0, concentration0: Any = 1.0, learned: bool = False
    ) -> None:
        super().__init__(size, learned=learned)
        self.hold("concentration1", concentration1, constraints.positive, shape=(size,), learned=learned)
        self.hold("concentration0", concentration0, constraints.positive, shape=(size,), learned=learned)

    def forward(self) -> dist.TorchDistribution:
        """p(z)."""
        return dist.Beta(self.held("concentration1"), self.held("concentration0")).to_event(1)
