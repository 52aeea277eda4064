"""Data of which some causes are on, each of Normal strength that is integrated out."""

from __future__ import annotations

import math
from typing import Any, ClassVar

import torch
from pyro.distributions import TorchDistribution
from torch import Tensor, nn
from torch.distributions import constraints

__all__ = ["SpikeAndSlabNormal", "solved"]

BLOCK = 2**18  # numbers in the matrices that are worked on together: so few that they stay in the processor's cache


class SpikeAndSlabNormal(TorchDistribution):
    """p(x|s) = N(W_s m_s, W_s Ψ_s W_sᵀ + σ² I), x = W (s ∘ v) + noise with the slab v ~ N(m, Ψ) integrated out.

    Of each state one matrix is factorised, with a row for each spike, and none of d × d. Nothing gets a gradient.

    Parameters
    ----------
    s
        States (*batch, H), zeros and ones as floating numbers.
    w
        W, (d, H).
    mean, spread
        m and Ψ^½ of each latent, (H,).
    sigma
        σ, a number.

    References
    ----------
    Drefs, Guiraud & Lücke 2022, JMLR 23(21), 2012.12294.

    Examples
    --------
    >>> w, ones = torch.eye(3, 2), torch.ones(2)
    >>> p = SpikeAndSlabNormal(torch.tensor([[0.0, 0.0], [1.0, 0.0]]), w, ones, ones, torch.tensor(1.0))
    >>> p.log_prob(torch.tensor([1.0, 0.0, 0.0]))  # N(1; 0, 1) and N(1; 1, 2), times N(0; 0, 1)²
    tensor([-3.2568, -3.1034])
    """

    arg_constraints: ClassVar[dict[str, constraints.Constraint]] = {}
    support = constraints.real_vector

    def __init__(self, s: Tensor, w: Tensor, mean: Tensor, spread: Tensor, sigma: Tensor) -> None:
        self.s, self.w, self.spread, self.sigma, self.slab = s, w, spread, sigma, s * mean
        super().__init__(s.shape[:-1], w.shape[:1], validate_args=False)

    @property
    def mean(self) -> Tensor:
        """W_s m_s."""
        return self.slab @ self.w.T

    @property
    def inner(self) -> Tensor:
        """Ψ^½ WᵀW Ψ^½/σ², (H, H)."""
        return self.spread.unsqueeze(-1) * (self.w.T @ self.w) * self.spread / self.sigma**2

    @torch.no_grad()
    def log_prob(self, value: Tensor) -> Tensor:
        """Log density, by the identities of Woodbury and Sylvester."""
        rest = value - self.mean
        seen = rest @ self.w * (self.spread / self.sigma)
        flat = [t.reshape(-1, t.shape[-1]) for t in (self.s.expand_as(seen), seen)]
        within, log_det = (t.view(seen.shape[:-1]) for t in solved(self.inner, *flat))
        square = (rest.square().sum(-1) - within) / self.sigma**2
        return -(square + log_det + value.shape[-1] * (2 * math.pi * self.sigma**2).log()) / 2

    @torch.no_grad()
    def moments(self, value: Tensor) -> tuple[Tensor, Tensor]:
        """κ_s (…, H) and Λ_s (…, H, H) of the slab given x, 0 where s is."""
        seen = (value - self.mean) @ self.w / self.sigma**2
        inner, identity = self.inner, torch.eye(len(self.spread)).to(self.inner)
        blocks = []
        for s in self.s.expand_as(seen).flatten(0, -2).split(max(1, BLOCK // 4 // inner.numel())):
            factor = torch.linalg.cholesky(s.unsqueeze(-1) * inner * s.unsqueeze(-2) + identity)
            half = torch.linalg.solve_triangular(factor, torch.diag_embed(s * self.spread), upper=False)
            blocks.append(half.mT @ half)
        within = torch.cat(blocks).view(*seen.shape, -1)
        return self.slab + (within @ seen.unsqueeze(-1)).squeeze(-1), within

    def sample(self, sample_shape: Any = ()) -> Tensor:
        """Draws of x."""
        slab = self.slab.expand(torch.Size(sample_shape) + self.slab.shape)
        clean = (slab + self.s * self.spread * torch.randn_like(slab)) @ self.w.T
        return clean + self.sigma * torch.randn_like(clean)


def solved(inner: Tensor, s: Tensor, right: Tensor) -> tuple[Tensor, Tensor]:
    """rᵀ(I + A)⁻¹r and log det(I + A) of each state s (n, H) and r (n, H), without the rows and columns where s is 0.

    Elimination works on many matrices at once: of states with about as many spikes, so that few rows are empty.
    """
    count = s.sum(-1).long()
    order, latents = count.argsort(), s.shape[-1]
    place = torch.where(s > 0, s.cumsum(-1).long() - 1, latents)  # which of the spikes it is
    on = torch.full((len(s), latents + 1), latents, device=s.device)
    on.scatter_(1, place, torch.arange(latents, device=s.device).expand_as(place))
    inner, right = nn.functional.pad(inner, (0, 1, 0, 1)), nn.functional.pad(right, (0, 1))
    square, log_det = right.new_empty(2, len(s)).unbind()
    for rows in order.split(max(1, BLOCK // max(1, int(count.max())) ** 2)):
        some = on[rows, : int(count[rows[-1]])].T.contiguous()
        size = len(some)
        a = right.new_zeros(size + 1, size + 1, len(rows))  # bordered by r: what is left below it is −rᵀ(I + A)⁻¹r
        a[:size, :size] = inner.take(some.unsqueeze(1) * (latents + 1) + some)
        a[size, :size] = a[:size, size] = right[rows].T.gather(0, some)
        a[:size, :size].diagonal().add_(1)
        for k in range(size):
            a[k + 1 :, k + 1 :].addcmul_((a[k + 1 :, k] / a[k, k]).unsqueeze(1), a[k, k + 1 :], value=-1)
        square[rows], log_det[rows] = -a[size, size], a.diagonal()[:, :size].log().sum(1)
    return square, log_det
