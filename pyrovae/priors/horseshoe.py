"""Horseshoe prior."""

from __future__ import annotations

from typing import Any

import pyro.distributions as dist
from torch.distributions import constraints

from pyrovae import distributions
from pyrovae.priors._sized import SizedPrior

__all__ = ["Horseshoe"]


class Horseshoe(SizedPrior):
    """z_j ~ N(0, (λ_j · scale_j)²), λ_j ~ HalfCauchy(1), with λ integrated out exactly (Carvalho, Polson & Scott 2010).

    It pulls most latents to 0 and leaves some far from it where they are: the density is unbounded at 0 and has the
    tails of a Cauchy.

    Parameters
    ----------
    size
        Number of latents.
    scale
        The global scale: a number, or a tensor (size,).
    learned
        Learn ``scale``, from the value given.

    Shapes
    ------
    Event (size,), batch (); support: the reals.

    Raises
    ------
    ValueError
        If ``size`` is not a whole number of at least 1, or ``scale`` not positive.

    Examples
    --------
    >>> Horseshoe(8, scale=0.1)
    Horseshoe(8; support: real)
    """

    support = constraints.real_vector

    def __init__(self, size: int, *, scale: Any = 1.0, learned: bool = False) -> None:
        super().__init__(size, learned=learned)
        self.hold("scale", scale, constraints.positive, shape=(size,), learned=learned)

    def forward(self) -> dist.TorchDistribution:
        """p(z)."""
        return distributions.Horseshoe(self.held("scale")).to_event(1)
