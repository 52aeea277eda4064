"""One-hot categorical prior."""

from __future__ import annotations

from typing import Any

import pyro.distributions as dist
import torch
from torch.distributions import constraints

from pyrovae.priors._sized import SizedPrior

__all__ = ["OneHotCategorical"]


class OneHotCategorical(SizedPrior):
    """p(z) = probs_k for z = e_k, one of K classes as a vector with a single 1; uniform by default.

    Parameters
    ----------
    size
        Number of classes K.
    probs
        A tensor (size,) that sums to 1; equal by default.
    learned
        Learn it, from the value given.

    Shapes
    ------
    Event (size,), batch (); support: one-hot vectors.

    Raises
    ------
    ValueError
        If ``size`` is not a whole number of at least 2, or ``probs`` not on the simplex.

    Examples
    --------
    >>> OneHotCategorical(8)
    OneHotCategorical(8; support: one hot)
    """

    support = constraints.one_hot

    def __init__(self, size: int, *, probs: Any = None, learned: bool = False) -> None:
        super().__init__(size, least=2, learned=learned)
        probs = torch.full((size,), 1 / size) if probs is None else probs
        self.hold("probs", probs, constraints.simplex, shape=(size,), learned=learned)

    def forward(self) -> dist.TorchDistribution:
        """p(z)."""
        return dist.OneHotCategorical(self.held("probs"))
