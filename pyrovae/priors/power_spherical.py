"""Power spherical prior, and with it the uniform one on a sphere."""

from __future__ import annotations

from typing import Any

import pyro.distributions as dist
import torch
from pyro.distributions import constraints

from pyrovae import distributions
from pyrovae.priors._sized import SizedPrior

__all__ = ["PowerSpherical"]


class PowerSpherical(SizedPrior):
    """p(z) ∝ (1 + locᵀz)^concentration for z on the sphere |z| = 1 (De Cao & Aziz 2020, 2006.04437).

    It is uniform by default.

    Parameters
    ----------
    size
        Number of coordinates d, at least 2, of the sphere S^(d−1).
    loc
        A direction, a tensor (size,) of any length but 0; the first axis by default.
    concentration
        A number, 0 (uniform) or more; positive to be learned.
    learned
        Learn both, from the values given.

    Shapes
    ------
    Event (size,), batch (); support: the sphere.

    Raises
    ------
    ValueError
        If ``size`` is not a whole number of at least 2, ``loc`` 0, or ``concentration`` out of its domain.

    Examples
    --------
    >>> PowerSpherical(8)
    PowerSpherical(8; support: sphere)
    """

    support = constraints.sphere

    def __init__(self, size: int, *, loc: Any = None, concentration: Any = 0.0, learned: bool = False) -> None:
        super().__init__(size, least=2, learned=learned)
        self.hold("loc", torch.eye(size)[0] if loc is None else loc, shape=(size,), learned=learned)
        if not bool(self.held("loc").any()):
            raise ValueError(f"priors.PowerSpherical: loc: expected a direction, got {loc!r}")
        domain = constraints.positive if learned else constraints.nonnegative
        self.hold("concentration", concentration, domain, shape=(), learned=learned)

    def forward(self) -> dist.TorchDistribution:
        """p(z)."""
        loc = torch.nn.functional.normalize(self.held("loc"), dim=-1)
        return distributions.PowerSpherical(loc, self.held("concentration"))
