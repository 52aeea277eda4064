"""Relaxed Bernoulli prior."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pyro.distributions as dist
from torch.distributions import constraints

from pyrovae.distributions import RelaxedBernoulli as Relaxed
from pyrovae.priors._sized import SizedPrior
from pyrovae.schedules import Scheduled

__all__ = ["RelaxedBernoulli"]


class RelaxedBernoulli(SizedPrior):
    """Bits relaxed to (0, 1), the binary Concrete distribution (Maddison et al. 2016, 1611.00712, appendix B).

    z_h = σ((logit(probs_h) + L)/temperature) with L logistic: near bits at a low temperature, and reparameterised.
    Censored where numbers end (`pyrovae.distributions.RelaxedBernoulli`).

    Parameters
    ----------
    size
        Number of bits.
    temperature
        A positive number, or a schedule of one (`pyrovae.schedules`).
    probs
        Probability that z_h > ½: a number, or a tensor (size,).
    learned
        Learn ``probs``, from the value given.

    Shapes
    ------
    Event (size,), batch (); support: the unit interval.

    Raises
    ------
    ValueError
        If ``size`` is not a whole number of at least 1, ``temperature`` not positive, or ``probs`` not between 0 and 1.

    Examples
    --------
    >>> RelaxedBernoulli(8, temperature=0.5)
    RelaxedBernoulli(8, temperature 0.5; support: interval (0, 1))
    """

    support = constraints.independent(constraints.unit_interval, 1)

    def __init__(
        self, size: int, *, temperature: float | Callable[[int], float] = 0.5, probs: Any = 0.5, learned: bool = False
    ) -> None:
        super().__init__(size, learned=learned)
        self.temperature = Scheduled("priors.RelaxedBernoulli: temperature", temperature, positive=True)
        self.hold("probs", probs, constraints.unit_interval, shape=(size,), learned=learned)

    def forward(self) -> dist.TorchDistribution:
        """p(z)."""
        return Relaxed(self.temperature.value, self.held("probs")).to_event(1)

    def details(self) -> str:
        """Its size and temperature."""
        return f"{super().details()}, temperature {self.temperature!r}"
