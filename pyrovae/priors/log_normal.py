"""Log-normal prior."""

from __future__ import annotations

from typing import Any

import pyro.distributions as dist
from torch.distributions import constraints

from pyrovae.priors._sized import SizedPrior

__all__ = ["LogNormal"]


class LogNormal(SizedPrior):
    """log z ~ N(loc, diag(scale²)), for positive latents.

    Parameters
    ----------
    size
        Number of latents.
    loc, scale
        Mean and standard deviation of log z: numbers, or tensors (size,).
    learned
        Learn ``loc`` and ``scale``, from the values given.

    Shapes
    ------
    Event (size,), batch (); support: the positive numbers.

    Raises
    ------
    ValueError
        If ``size`` is not a whole number of at least 1, or ``scale`` not positive.

    Examples
    --------
    >>> LogNormal(8)
    LogNormal(8; support: greater than (0))
    """

    support = constraints.independent(constraints.positive, 1)

    def __init__(self, size: int, *, loc: Any = 0.0, scale: Any = 1.0, learned: bool = False) -> None:
        super().__init__(size, learned=learned)
        self.hold("loc", loc, shape=(size,), learned=learned)
        self.hold("scale", scale, constraints.positive, shape=(size,), learned=learned)

    def forward(self) -> dist.TorchDistribution:
        """p(z)."""
        return dist.LogNormal(self.held("loc"), self.held("scale")).to_event(1)
