"""Student t prior."""

from __future__ import annotations

from typing import Any

import pyro.distributions as dist
from torch.distributions import constraints

from pyrovae import distributions
from pyrovae.priors._sized import SizedPrior

__all__ = ["StudentT"]


class StudentT(SizedPrior):
    """p(z) = Π_j t(z_j; df_j, loc_j, scale_j): heavier tails than the Normal, which is its limit for large df.

    Parameters
    ----------
    size
        Number of latents.
    df, loc, scale
        Degrees of freedom, location and scale: numbers, or tensors (size,).
    learned
        Learn ``loc`` and ``scale``, from the values given.
    learn_df
        Learn ``df``, from the value given.

    Shapes
    ------
    Event (size,), batch (); support: the reals.

    Raises
    ------
    ValueError
        If ``size`` is not a whole number of at least 1, or ``df`` or ``scale`` not positive.

    Examples
    --------
    >>> StudentT(8, df=4)
    StudentT(8; support: real)
    >>> StudentT(8, df=4, learn_df=True)().event_shape
    torch.Size([8])
    """

    support = constraints.real_vector

    def __init__(
        self,
        size: int,
        *,
        df: Any = 4.0,
        loc: Any = 0.0,
        scale: Any = 1.0,
        learned: bool = False,
        learn_df: bool = False,
    ) -> None:
        super().__init__(size, learned=learned or learn_df)
        self.hold("df", df, constraints.positive, shape=(size,), learned=learn_df)
        self.hold("loc", loc, shape=(size,), learned=learned)
        self.hold("scale", scale, constraints.positive, shape=(size,), learned=learned)

    def forward(self) -> dist.TorchDistribution:
        """p(z)."""
        return distributions.StudentT(self.held("df"), self.held("loc"), self.held("scale")).to_event(1)
