"""Normal prior with a full covariance."""

from __future__ import annotations

from typing import Any

import pyro.distributions as dist
import torch
from torch.distributions import constraints

from pyrovae.priors._sized import SizedPrior

__all__ = ["MultivariateNormal"]


class MultivariateNormal(SizedPrior):
    """p(z) = N(loc, L Lᵀ) with a learned Cholesky factor L that starts at the identity.

    Parameters
    ----------
    size
        Number of latents.
    loc
        A number, or a tensor (size,).
    scale_tril
        L, lower triangular (size, size) with a positive diagonal; the identity by default.
    learned
        Learn ``loc`` and L, from the values given.

    Shapes
    ------
    Event (size,), batch (); support: the reals.

    Raises
    ------
    ValueError
        If ``size`` is not a whole number of at least 1, or L not a Cholesky factor of that size.

    Examples
    --------
    >>> MultivariateNormal(8)
    MultivariateNormal(8, learned; support: real)
    >>> MultivariateNormal(2)().covariance_matrix.detach()
    tensor([[1., 0.],
            [0., 1.]])
    """

    support = constraints.real_vector

    def __init__(self, size: int, *, loc: Any = 0.0, scale_tril: Any = None, learned: bool = True) -> None:
        super().__init__(size, learned=learned)
        factor = torch.eye(size) if scale_tril is None else scale_tril
        self.hold("loc", loc, shape=(size,), learned=learned)
        self.hold("scale_tril", factor, constraints.lower_cholesky, shape=(size, size))  # checked as a whole
        factor = self.held("scale_tril")
        del self._buffers["_scale_tril"]
        self.hold("diagonal", factor.diagonal(), constraints.positive, learned=learned)
        self.hold("below", factor.tril(-1), learned=learned)

    def forward(self) -> dist.TorchDistribution:
        """p(z)."""
        return dist.MultivariateNormal(
            self.held("loc"), scale_tril=self.held("below").tril(-1) + self.held("diagonal").diag()
        )
