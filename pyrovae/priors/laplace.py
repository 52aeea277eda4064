"""Laplace prior."""

from __future__ import annotations

from typing import Any

import pyro.distributions as dist
from torch.distributions import constraints

from pyrovae.priors._sized import SizedPrior

__all__ = ["Laplace"]


class Laplace(SizedPrior):
    """p(z) = Π_j exp(−|z_j − loc_j|/scale_j) / (2 scale_j): sparse codes, the lasso's prior (Tibshirani 1996).

    Parameters
    ----------
    size
        Number of latents.
    loc, scale
        Numbers, or tensors (size,).
    learned
        Learn ``loc`` and ``scale``, from the values given.

    Shapes
    ------
    Event (size,), batch (); support: the reals.

    Raises
    ------
    ValueError
        If ``size`` is not a whole number of at least 1, or ``scale`` not positive.

    Examples
    --------
    >>> Laplace(8)
    Laplace(8; support: real)
    """

    support = constraints.real_vector

    def __init__(self, size: int, *, loc: Any = 0.0, scale: Any = 1.0, learned: bool = False) -> None:
        super().__init__(size, learned=learned)
        self.hold("loc", loc, shape=(size,), learned=learned)
        self.hold("scale", scale, constraints.positive, shape=(size,), learned=learned)

    def forward(self) -> dist.TorchDistribution:
        """p(z)."""
        return dist.Laplace(self.held("loc"), self.held("scale")).to_event(1)
