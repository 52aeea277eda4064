"""Bernoulli prior."""

from __future__ import annotations

from typing import Any

import pyro.distributions as dist
from torch.distributions import constraints

from pyrovae.distributions import Bits
from pyrovae.priors._sized import SizedPrior

__all__ = ["Bernoulli"]


class Bernoulli(SizedPrior):
    """p(z) = Π_h Bernoulli(z_h; probs_h), for latents of 0 and 1.

    Parameters
    ----------
    size
        Number of bits.
    probs
        Probability of a 1: a number, or a tensor (size,).
    learned
        Learn it, from the value given.

    Shapes
    ------
    Event (size,), batch (); support: 0 and 1.

    Raises
    ------
    ValueError
        If ``size`` is not a whole number of at least 1, or ``probs`` not between 0 and 1.

    Examples
    --------
    >>> Bernoulli(8, probs=0.2)
    Bernoulli(8; support: boolean)
    >>> Bernoulli(3)().enumerate_support().shape
    torch.Size([8, 3])
    """

    support = constraints.independent(constraints.boolean, 1)

    def __init__(self, size: int, *, probs: Any = 0.5, learned: bool = False) -> None:
        super().__init__(size, learned=learned)
        self.hold("probs", probs, constraints.unit_interval, shape=(size,), learned=learned)

    def forward(self) -> dist.TorchDistribution:
        """p(z)."""
        return Bits(self.held("probs"))
