"""Uniform prior."""

from __future__ import annotations

from typing import Any

import pyro.distributions as dist
from torch.distributions import constraints

from pyrovae.priors._sized import SizedPrior

__all__ = ["Uniform"]


class Uniform(SizedPrior):
    """p(z) = Π_j 1/(high_j − low_j) for low ≤ z < high, 0 elsewhere.

    Parameters
    ----------
    size
        Number of latents.
    low, high
        Numbers, or tensors (size,).

    Shapes
    ------
    Event (size,), batch (); support: the interval.

    Raises
    ------
    ValueError
        If ``size`` is not a whole number of at least 1, or ``low`` not below ``high``.

    Examples
    --------
    >>> Uniform(8, low=-1)
    Uniform(8; support: interval (-1, 1))
    """

    def __init__(self, size: int, *, low: Any = 0.0, high: Any = 1.0) -> None:
        super().__init__(size)
        self.hold("low", low, shape=(size,))
        self.hold("high", high, shape=(size,))
        if not bool((self.held("low") < self.held("high")).all()):
            raise ValueError(f"priors.Uniform: expected low below high, got low={low!r} and high={high!r}")

    @property
    def support(self) -> constraints.Constraint:  # type: ignore[override]
        """The interval, on the device of the bounds."""
        return self().support

    def forward(self) -> dist.TorchDistribution:
        """p(z)."""
        return dist.Uniform(self.held("low"), self.held("high")).to_event(1)
