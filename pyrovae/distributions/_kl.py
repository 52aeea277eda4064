"""Kullback-Leibler divergences in closed form that neither torch nor Pyro has."""

from __future__ import annotations

from typing import Any

from torch import Tensor
from torch.distributions import Independent, MultivariateNormal, Normal, register_kl

__all__: list[str] = []


@register_kl(MultivariateNormal, Independent)
def _kl_to_independent_normal(q: Any, p: Any) -> Tensor:
    """KL(N(m, LLᵀ) ‖ N(μ, diag(s²))) = ½ Σ_j [(Σ_jj + (m_j − μ_j)²)/s_j² − 1 + log s_j²] − log |L|."""
    if not isinstance(p.base_dist, Normal) or p.reinterpreted_batch_ndims != 1:
        raise NotImplementedError
    variance = p.base_dist.variance
    terms = (q.variance + (q.loc - p.base_dist.loc).square()) / variance - 1 + variance.log()
    kl: Tensor = terms.sum(-1) / 2 - q.scale_tril.diagonal(dim1=-2, dim2=-1).log().sum(-1)
    return kl
