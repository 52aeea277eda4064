"""The importance-weighted bound (IWAE)."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from pyrovae._numbers import at_least
from pyrovae.objectives._objective import Objective, with_gradient
from pyrovae.objectives._terms import Terms

__all__ = ["ImportanceWeighted", "power_bound"]


class ImportanceWeighted(Objective):
    """L_K = E log (1/K) Σ_k w_k, w = p(x, z) / q(z|x), by K draws of each datum (Burda et al. 2015, 1509.00519, eq. 8).

    It rises in K to log p(x), from the ELBO at K = 1. Draws without a gradient get that of the score function, each
    with a baseline made of the other K − 1 (VIMCO, Mnih & Rezende 2016, 1602.06725).

    Parameters
    ----------
    k
        Draws of each datum.
    vectorize, plate
        As in every objective: run the program once for all draws; the name of the data plate.

    Raises
    ------
    ValueError
        If k is no whole number of at least 1; before training, if a site stands outside the data plate.

    Examples
    --------
    >>> ImportanceWeighted(5)
    ImportanceWeighted(k=5)
    """

    whole = True

    def __init__(self, k: int, *, vectorize: bool = False, plate: str | None = None) -> None:
        super().__init__(particles=at_least("objectives.ImportanceWeighted: k", k, 1), vectorize=vectorize, plate=plate)

    @property
    def label(self) -> str:
        """The bound with its K."""
        return f"IWAE bound (K = {self.particles})"

    def value(self, terms: Terms) -> Tensor:
        """Σ_n log mean_k w_nk."""
        return power_bound(terms, 0.0)

    def details(self) -> str:
        """K."""
        return f"k={self.particles}"


def power_bound(terms: Terms, alpha: float) -> Tensor:
    """Σ_n 1/(1 − α) log mean_k w_nk^(1 − α), with its gradient; α is not 1."""
    bound = _mean(terms.log_weight, alpha)
    if terms.score is None:
        return bound.sum()
    signal = bound.detach() - _others(terms.log_weight.detach(), alpha)
    return with_gradient(bound.sum(), bound.sum() + (signal * terms.score).sum())


def _mean(log_weight: Tensor, alpha: float, dim: int = 0) -> Tensor:
    power = 1 - alpha
    return (torch.logsumexp(power * log_weight, dim) - math.log(log_weight.shape[dim])) / power


def _others(log_weight: Tensor, alpha: float) -> Tensor:
    """For each draw, the bound with the mean of the other log weights in its place, (K, n); 0 if there is no other."""
    k = len(log_weight)
    if k == 1:
        return torch.zeros_like(log_weight)
    others = (log_weight.sum(0) - log_weight) / (k - 1)
    replaced = torch.where(torch.eye(k, dtype=torch.bool).to(others.device).unsqueeze(-1), others, log_weight)
    return _mean(replaced, alpha, dim=1)
