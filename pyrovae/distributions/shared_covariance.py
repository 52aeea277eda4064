"""Multivariate Normals of a batch that shares its covariance."""

from __future__ import annotations

import math

import pyro.distributions as dist
import torch
from torch import Tensor

__all__ = ["LowRankMultivariateNormal", "MultivariateNormal"]


class MultivariateNormal(dist.MultivariateNormal):
    """N(x; loc, L Lᵀ); one L is solved for all data at once, without the permutations that torch has for many.

    Parameters
    ----------
    loc
        (..., d).
    scale_tril
        L, (d, d), or one for each of a batch, as torch's.

    Examples
    --------
    >>> MultivariateNormal(torch.zeros(5, 2), scale_tril=torch.eye(2)).log_prob(torch.zeros(5, 2)).shape
    torch.Size([5])
    """

    def log_prob(self, value: Tensor) -> Tensor:
        """Log density."""
        factor = self._unbroadcasted_scale_tril
        if self._validate_args or factor.dim() > 2:
            out: Tensor = super().log_prob(value)
            return out
        y = torch.linalg.solve_triangular(factor.mT, value - self.loc, upper=True, left=False)
        half_log_det = factor.diagonal().log().sum() + len(factor) * math.log(2 * math.pi) / 2
        return -y.square().sum(-1) / 2 - half_log_det


class LowRankMultivariateNormal(dist.LowRankMultivariateNormal):
    """N(x; loc, W Wᵀ + diag(D)); one W is multiplied with all data at once, where torch copies it for each.

    Parameters
    ----------
    loc
        (..., d).
    cov_factor, cov_diag
        W, (d, rank), and D, (d,), or one for each of a batch, as torch's.

    Examples
    --------
    >>> fn = LowRankMultivariateNormal(torch.zeros(5, 2), torch.ones(2, 1), torch.ones(2))
    >>> fn.log_prob(torch.zeros(5, 2)).shape
    torch.Size([5])
    """

    def log_prob(self, value: Tensor) -> Tensor:
        """Log density."""
        factor, diagonal, inner = self._unbroadcasted_cov_factor, self._unbroadcasted_cov_diag, self._capacitance_tril
        if self._validate_args or factor.dim() > 2:
            out: Tensor = super().log_prob(value)
            return out
        y = value - self.loc
        weighted = y / diagonal
        u = torch.linalg.solve_triangular(inner.mT, weighted @ factor, upper=True, left=False)
        log_det = 2 * inner.diagonal().log().sum() + diagonal.log().sum() + len(diagonal) * math.log(2 * math.pi)
        return (u.square().sum(-1) - (y * weighted).sum(-1) - log_det) / 2
