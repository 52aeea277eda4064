"""Relaxed one-hot categorical prior."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pyro.distributions as dist
import torch
from torch.distributions import constraints

from pyrovae.distributions import RelaxedOneHotCategorical as Relaxed
from pyrovae.priors._sized import SizedPrior
from pyrovae.schedules import Scheduled

__all__ = ["RelaxedOneHotCategorical"]


class RelaxedOneHotCategorical(SizedPrior):
    """One-hot vectors relaxed to the simplex, the Concrete distribution (Maddison et al. 2016, 1611.00712; Jang et al.
    2016, 1611.01144): z = softmax((log probs + Gumbel noise)/temperature), censored where numbers end
    (`pyrovae.distributions.RelaxedOneHotCategorical`).

    Parameters
    ----------
    size
        Number of classes K.
    temperature
        A positive number, or a schedule of one (`pyrovae.schedules`).
    probs
        Probability that z_k is the largest: a tensor (size,) that sums to 1; equal by default.
    learned
        Learn ``probs``, from the value given.

    Shapes
    ------
    Event (size,), batch (); support: the simplex.

    Raises
    ------
    ValueError
        If ``size`` is not a whole number of at least 2, ``temperature`` not positive, or ``probs`` not on the simplex.

    Examples
    --------
    >>> from pyrovae import schedules
    >>> RelaxedOneHotCategorical(8, temperature=schedules.exponential(1, 0.1, epochs=50))
    RelaxedOneHotCategorical(8, temperature exponential(1, 0.1, epochs=50); support: simplex)
    """

    support = constraints.simplex

    def __init__(
        self, size: int, *, temperature: float | Callable[[int], float] = 0.5, probs: Any = None, learned: bool = False
    ) -> None:
        super().__init__(size, least=2, learned=learned)
        self.temperature = Scheduled("priors.RelaxedOneHotCategorical: temperature", temperature, positive=True)
        probs = torch.full((size,), 1 / size) if probs is None else probs
        self.hold("probs", probs, constraints.simplex, shape=(size,), learned=learned)

    def forward(self) -> dist.TorchDistribution:
        """p(z)."""
        return Relaxed(self.temperature.value, self.held("probs"))

    def details(self) -> str:
        """Its size and temperature."""
        return f"{super().details()}, temperature {self.temperature!r}"
