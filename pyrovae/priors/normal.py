"""Normal prior."""

from __future__ import annotations

from typing import Any

import pyro.distributions as dist
from torch.distributions import constraints

from pyrovae.priors._sized import SizedPrior

__all__ = ["Normal"]


class Normal(SizedPrior):
    """p(z) = N(loc, diag(scale²)): standard, or with other, fixed or learned, ``loc`` and ``scale``.

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
    >>> Normal(8)
    Normal(8; support: real)
    >>> Normal(8)().event_shape
    torch.Size([8])
    """

    support = constraints.real_vector

    def __init__(self, size: int, *, loc: Any = 0.0, scale: Any = 1.0, learned: bool = False) -> None:
        super().__init__(size, learned=learned)
        self.hold("loc", loc, shape=(size,), learned=learned)
        self.hold("scale", scale, constraints.positive, shape=(size,), learned=learned)

    def forward(self) -> dist.TorchDistribution:
        """p(z)."""
        return dist.Normal(self.held("loc"), self.held("scale")).to_event(1)
