"""Relaxed one-hot categorical distribution whose draws do not underflow."""

from __future__ import annotations

import math
from typing import Any, ClassVar

import pyro.distributions as dist
import torch
from torch import Tensor
from torch.distributions import constraints
from torch.distributions.utils import clamp_probs

__all__ = ["RelaxedOneHotCategorical"]


class RelaxedOneHotCategorical(dist.RelaxedOneHotCategorical):
    """The Concrete distribution on the simplex (Maddison et al. 2016, 1611.00712, equation 10; Jang et al. 2016,
    1611.01144), Z = softmax((logits + Gumbel noise)/temperature), its cells censored at a floor.

    A cell below the floor f, 1e-31 in float32, is put on it. With S the n cells above it, a_k = exp(logits_k) and
    ζ_k = max(z_k, f), the mass of the others integrates in closed form, and the log density is

        log Γ(n) + (n − 1) log temperature + Σ_S log(a_k ζ_k^−temperature / Σ_j a_j ζ_j^−temperature) − Σ_k log ζ_k,

    equation 10 where all are above. On the floor it is the mean over [0, f]. The floor depends on the type alone, so
    that ratios of two such densities, and their ELBO, are those of the censored latent; the total is 1 up to K f.

    Gradients of E_q[log p(z) − log q(z)] through ``rsample`` are unbiased, but for rounding: both log densities jump
    where a cell reaches the floor, and what the mass there contributes as it moves is carried by a slope of jump/f on
    it and a displacement of f · ∇ log P(cell on the floor | the others) of the draw, as in `RelaxedBernoulli`.

    Parameters
    ----------
    temperature
        A positive number; a tensor ends in a dimension of 1, as it is broadcast over the cells.
    probs, logits
        Probabilities that a cell is the largest, or their logarithms up to a constant: one of them.

    Examples
    --------
    >>> fn = RelaxedOneHotCategorical(torch.tensor(0.01), probs=torch.tensor([0.5, 0.5]))
    >>> bool(fn.log_prob(torch.tensor([1.0, 0.0])).isfinite())
    True
    """

    arg_constraints: ClassVar[dict[str, constraints.Constraint]] = {
        "temperature": constraints.positive,
        **dist.RelaxedOneHotCategorical.arg_constraints,
    }

    def sample(self, sample_shape: Any = ()) -> Tensor:
        """Draws without gradient."""
        with torch.no_grad():
            return self.rsample(sample_shape)

    def rsample(self, sample_shape: Any = ()) -> Tensor:
        """Reparameterised draws, no cell below the floor."""
        shape, logits = self._extended_shape(torch.Size(sample_shape)), self.logits
        uniform = clamp_probs(torch.rand(shape, dtype=logits.dtype, device=logits.device))
        score = (logits - (-uniform.log()).log()) / self.temperature
        draw, (floor, log_floor) = score.softmax(-1), _floor(score.dtype)
        under = draw <= floor
        bound = self.temperature * (log_floor + score.logsumexp(-1, keepdim=True)) - logits  # of its Gumbel noise
        log_mass = -torch.where(under, -bound, 0.0).exp()
        return torch.where(under, floor - floor * (log_mass - log_mass.detach()), draw)

    def log_prob(self, value: Tensor) -> Tensor:
        """Log density with respect to all cells but one; on the floor, the logarithm of the mean density below it."""
        if self._validate_args:
            self._validate_sample(value)
        floor, _ = _floor(value.dtype)
        under = value <= floor
        log_z = torch.where(under, floor, value).log()
        share = (self.logits - self.temperature * log_z).log_softmax(-1)
        above = (~under).sum(-1).to(share.dtype)
        log_t = self.temperature.log()
        jump = -(share + log_t + above.log().unsqueeze(-1)).detach()  # of the log density, from above to the floor
        cells = torch.where(under, jump / -floor * (value - value.detach()), share) - log_z
        log_t = log_t.squeeze(-1) if log_t.dim() else log_t
        return above.lgamma() + (above - 1) * log_t + cells.sum(-1)


def _floor(dtype: torch.dtype) -> tuple[float, float]:
    """The least value of a cell, of which 1/eps times the reciprocal is finite, and its logarithm."""
    floor = torch.finfo(dtype).tiny / torch.finfo(dtype).eps
    return floor, math.log(floor)
