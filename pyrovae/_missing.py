"""Missing cells: left out of a likelihood, or integrated out of it."""

from __future__ import annotations

import math
from typing import Any

import pyro.distributions as dist
import torch
from pyro.distributions.util import broadcast_shape
from torch import Tensor
from torch.distributions import constraints

__all__ = ["masked"]


def masked(fn: dist.TorchDistribution, x: Tensor, mask: Tensor) -> tuple[dist.TorchDistribution, Tensor]:
    """The likelihood of the observed cells, and x with a value of the support where cells are missing.

    Cells that are independent given z are left out, those of a multivariate Normal integrated out. A distribution may
    have a method ``marginal(mask)`` that returns that of the observed cells, for which missing cells may hold any
    number and count nothing.

    Raises
    ------
    ValueError
        If the cells are not independent given z, so that leaving one out is not a mask but an integral.
    """
    marginal = getattr(fn, "marginal", None)
    if callable(marginal):
        return marginal(mask), x
    if isinstance(fn, (dist.MultivariateNormal, dist.LowRankMultivariateNormal)):
        return _ObservedNormal(fn, mask), x
    base, dims = fn, 0
    while isinstance(base, dist.Independent):
        base, dims = base.base_dist, dims + base.reinterpreted_batch_ndims
    if base.event_shape:
        if bool(mask.all()):
            return fn, x
        raise ValueError(
            f"the likelihood {type(fn).__name__} cannot leave missing cells out: its cells are not independent given "
            "z. Use a likelihood that ends in .to_event(k), or fill the missing cells first"
        )
    inside = torch.as_tensor(_inside(base.support), dtype=x.dtype, device=x.device)
    return base.mask(mask).to_event(dims), torch.where(mask, x, inside)


class _ObservedNormal(dist.TorchDistribution):
    """A multivariate Normal of which some cells are observed: ``log_prob`` is of these, draws and moments are of all.

    Missing cells stand at their mean, with variance 1 and without covariance: a constant that is taken off again.
    """

    arg_constraints: dict[str, Any] = {}  # noqa: RUF012
    support = constraints.real_vector

    def __init__(self, base_dist: dist.TorchDistribution, mask: Tensor) -> None:
        batch = torch.Size(broadcast_shape(base_dist.batch_shape, mask.shape[:-1]))
        self.base_dist, self.observed = base_dist, mask
        super().__init__(batch, base_dist.event_shape, validate_args=False)

    @property
    def has_rsample(self) -> bool:
        """As that of all cells."""
        return bool(self.base_dist.has_rsample)

    def expand(self, batch_shape: Any, _instance: Any = None) -> _ObservedNormal:
        """The same with a larger batch."""
        return _ObservedNormal(self.base_dist.expand(torch.Size(batch_shape)), self.observed)

    def log_prob(self, value: Tensor) -> Tensor:
        """Log density of the observed cells."""
        base, mask = self.base_dist, self.observed
        here = mask.to(base.loc.dtype)
        if isinstance(base, dist.LowRankMultivariateNormal):
            factor = base._unbroadcasted_cov_factor * here.unsqueeze(-1)
            diagonal = torch.where(mask, base._unbroadcasted_cov_diag, 1.0)
            apart = dist.LowRankMultivariateNormal(base.loc, factor, diagonal, validate_args=False)
        else:
            factor = base._unbroadcasted_scale_tril * here.unsqueeze(-1)
            covariance = factor @ factor.mT + torch.diag_embed(1 - here)
            apart = dist.MultivariateNormal(base.loc, scale_tril=torch.linalg.cholesky(covariance), validate_args=False)
        out: Tensor = apart.log_prob(torch.where(mask, value, base.loc))
        return out + 0.5 * math.log(2 * math.pi) * (1 - here).sum(-1)

    def sample(self, sample_shape: Any = ()) -> Tensor:
        """Draws of all cells."""
        return self._all.sample(torch.Size(sample_shape))

    def rsample(self, sample_shape: Any = ()) -> Tensor:
        """Draws of all cells with a gradient."""
        return self._all.rsample(torch.Size(sample_shape))

    @property
    def mean(self) -> Tensor:
        """Of all cells."""
        return self._all.mean

    @property
    def variance(self) -> Tensor:
        """Of all cells."""
        return self._all.variance

    @property
    def _all(self) -> Any:
        return self.base_dist.expand(self.batch_shape)


def _inside(support: constraints.Constraint) -> Tensor:
    """Some value in a scalar support, for cells that are masked out afterwards; by cell if the bounds are."""
    low, high = (getattr(support, bound, None) for bound in ("lower_bound", "upper_bound"))
    if low is not None and high is not None:
        low, high = torch.as_tensor(low), torch.as_tensor(high)
        return low if support.is_discrete else (low + high) / 2
    if low is not None:
        return torch.as_tensor(low) + 1
    if high is not None:
        return torch.as_tensor(high) - 1
    return torch.tensor(next((v for v in (0.0, 1.0, 0.5) if bool(support.check(torch.tensor(v)).all())), 0.0))
