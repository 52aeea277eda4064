"""Logistic normal prior."""

from __future__ import annotations

from typing import Any

import pyro.distributions as dist
from torch.distributions import constraints

from pyrovae.distributions.stick_breaking import StickBreaking
from pyrovae.priors._sized import SizedPrior

__all__ = ["LogisticNormal"]


class LogisticNormal(SizedPrior):
    """A Normal with K − 1 independent cells, pushed onto the simplex of K shares by stick-breaking.

    A relative of the logistic normal of Aitchison & Shen (1980), which divides by the last share instead; loc 0 is
    centred on equal shares. Unlike the Dirichlet it has a closed divergence from guides pushed the same way.

    Parameters
    ----------
    size
        Number of shares K.
    loc, scale
        Of the Normal: numbers, or tensors (size − 1,).
    learned
        Learn both, from the values given.

    Shapes
    ------
    Event (size,), batch (); support: the simplex.

    Raises
    ------
    ValueError
        If ``size`` is not a whole number of at least 2, or ``scale`` not positive.

    Examples
    --------
    >>> LogisticNormal(8)
    LogisticNormal(8; support: simplex)
    >>> LogisticNormal(8)().event_shape
    torch.Size([8])
    """

    support = constraints.simplex

    def __init__(self, size: int, *, loc: Any = 0.0, scale: Any = 1.0, learned: bool = False) -> None:
        super().__init__(size, least=2, learned=learned)
        self.hold("loc", loc, shape=(size - 1,), learned=learned)
        self.hold("scale", scale, constraints.positive, shape=(size - 1,), learned=learned)

    def forward(self) -> dist.TorchDistribution:
        """p(z)."""
        base = dist.Normal(self.held("loc"), self.held("scale")).to_event(1)
        return dist.TransformedDistribution(base, [StickBreaking()])
