"""Spike-and-slab sparse coding by evolutionary EM: Drefs, Guiraud & Lücke 2022, "Evolutionary Variational Optimization
of Generative Models", JMLR 23(21), arXiv 2012.12294.

s ~ Bernoulli(π), v ~ N(m, Ψ), x | s, v ~ N(W (s ∘ v), σ² I). With v integrated out, in closed form,

    p(x|s) = N(W_s m_s, W_s Ψ_s W_sᵀ + σ² I),  p(v_s|x, s) = N(κ_s, Λ_s),
    Λ_s = (W_sᵀW_s/σ² + Ψ_s⁻¹)⁻¹,  κ_s = m_s + Λ_s W_sᵀ(x − W_s m_s)/σ²,

the latents of the program are the spikes s alone. q(s|x) is in proportion to p(x, s) on a few states of each datum,
which evolve (the E step, their algorithm EVO). With ⟨·⟩ the mean over q and over the slab, the M step is

    W = (Σ_n x_n⟨s∘v⟩ᵀ)(Σ_n ⟨(s∘v)(s∘v)ᵀ⟩)⁻¹,  π_h = mean_n ⟨s_h⟩,  m_h = Σ_n ⟨s_h v_h⟩ / Σ_n ⟨s_h⟩,

and σ² and Ψ the mean squares that are left. There is no gradient: each epoch is an M step, then the bound at what it
found, F = Σ_n log Σ_{s ∈ K_n} p(x_n, s) ≤ Σ_n log p(x_n), which never falls.

Their settings: bars; patches of 8 × 8 pixels and more, of one noisy image or one with holes, hundreds of latents.

What differs: Ψ is diagonal, of active spikes alone, so that the M step is exact; crossover and flips are those of
`guides.Truncated`; a column that no state uses stays as it is.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pyro.distributions as dist
import torch
from torch import Tensor, nn

import pyrovae as pv

ROWS = 256


class SpikeAndSlab(nn.Module):
    """p(s), p(x|s), and the M step of all they hold."""

    def __init__(self, features: int, latents: int, active: float) -> None:
        super().__init__()
        self.active = active
        self.register_buffer("w", torch.zeros(features, latents))
        for name in ("slab", "spread", "pi"):
            self.register_buffer(name, torch.ones(latents))
        self.register_buffer("sigma", torch.tensor(1.0))
        self.register_buffer("adapted", torch.tensor(False))

    def reset_parameters(self) -> None:
        """Start anew with the next data."""
        self.adapted.fill_(False)

    def adapt(self, x: Tensor) -> None:
        """Columns near the mean of the data, and the noise at their spread."""
        if not self.adapted:
            self.sigma.copy_(x.std(0, correction=0).square().mean().sqrt().clamp_min(1e-6))
            self.w.copy_(x.mean(0).unsqueeze(-1) + self.sigma * torch.randn_like(self.w))
            self.pi.fill_(min(self.active / len(self.pi), 0.5))
            for one in (self.slab, self.spread, self.adapted):
                one.fill_(1)

    def prior(self) -> dist.TorchDistribution:
        """p(s)."""
        return pv.distributions.Bits(self.pi)

    def forward(self, z: Tensor) -> dist.TorchDistribution:
        """p(x|s)."""
        return pv.distributions.SpikeAndSlabNormal(z, self.w, self.slab, self.spread, self.sigma)

    def update(self, x: Tensor, guide: Callable[[Tensor], Any]) -> None:
        """The M step, of a guide whose states can be listed."""
        total: list[Any] = [0.0] * 5
        for rows in torch.arange(len(x), device=x.device).split(ROWS):
            q, some = guide(rows), x[rows]
            s = q.enumerate_support()
            weight = q.log_prob(s).exp()
            kappa, within = self(s).moments(some)
            weighted = weight.unsqueeze(-1) * kappa
            both = (weight.flatten() @ within.flatten(0, 1).flatten(1)).view_as(within[0, 0])
            both = both + weighted.flatten(0, 1).T @ kappa.flatten(0, 1)
            parts = (some.T @ weighted.sum(0), both, (weight.unsqueeze(-1) * s).sum((0, 1)), weighted.sum((0, 1)))
            total = [t + p.double() for t, p in zip(total, (*parts, some.square().sum()), strict=True)]
        cross, both, count, first, square = total
        used = count > 1e-6 * len(x)
        w = self.w.double()
        w[:, used] = torch.linalg.solve(both[used][:, used], cross[:, used], left=False)
        mean = first[used] / count[used]
        self.slab[used] = mean.to(x)
        self.spread[used] = (both.diagonal()[used] / count[used] - mean.square()).clamp_min(1e-12).sqrt().to(x)
        error = square - 2 * (cross * w).sum() + ((w @ both) * w).sum()
        self.sigma.copy_((error / x.numel()).clamp_min(1e-12).sqrt())
        self.w.copy_(w)
        self.pi.copy_(count / len(x))


def build(data: pv.Data, *, latents: int = 16, states: int = 32, children: int = 32, active: float = 2.0) -> pv.VAE:
    """The program for vectors; ``active`` spikes of a datum are expected at first."""
    features = pv.data.features(data)
    if bool((data.x == data.x[0]).all()) or bool(data.x.isnan().any()):
        raise ValueError("models/sparse_coding.py: expected data that differ from each other, without missing values")
    guide = pv.guides.Truncated(len(data), latents, states=states, children=children, active=active)
    code = SpikeAndSlab(features, latents, active)
    return pv.VAE(prior=code.prior, likelihood=code, guide=guide)
