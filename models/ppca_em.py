"""Probabilistic PCA by the EM algorithm: Tipping & Bishop 1999, "Probabilistic Principal Component Analysis".

z ~ N(0, I), x | z ~ N(W z + μ, σ² I). The guide is the exact posterior, N(M⁻¹Wᵀ(x − μ), σ² M⁻¹) with M = WᵀW + σ² I,
so that every draw's weight is p(x) and the ELBO is the log-likelihood. E and M step in one (appendix B, equations for W̃
and σ̃², with S the covariance of the data):

    W̃ = S W (σ² I + M⁻¹ Wᵀ S W)⁻¹,  σ̃² = (1/d) tr(S − S W M⁻¹ W̃ᵀ),  μ = the mean of the data.

Each epoch is one such step, and then the log-likelihood at what it found, which never falls. At its end W spans the
principal axes: `models/ppca.py` has the maximum in closed form, and the same model trained by a gradient. It needs no
eigenvectors, and S is never formed: an iteration is two products with the data.

Their settings: a random start; convergence is to the global maximum, the only stable one.

What differs: nothing. Data without a missing cell are expected; μ stays as it was first set.
"""

from __future__ import annotations

import pyro.distributions as dist
import torch
from torch import Tensor, nn

import pyrovae as pv


class LinearGaussian(nn.Module):
    """p(x|z) = N(W z + μ, σ² I), its posterior, and its step of EM."""

    def __init__(self, features: int, latents: int) -> None:
        super().__init__()
        self.register_buffer("weight", torch.zeros(features, latents))
        self.register_buffer("mean", torch.zeros(features))
        self.register_buffer("variance", torch.tensor(1.0))
        self.register_buffer("adapted", torch.tensor(False))

    def reset_parameters(self) -> None:
        """Start anew with the next data."""
        self.adapted.fill_(False)

    def adapt(self, x: Tensor) -> None:
        """The mean of the data, their mean variance, and a random W of the size of it."""
        if not self.adapted:
            self.mean.copy_(x.mean(0))
            self.variance.copy_((x - self.mean).square().mean().clamp_min(1e-12))
            self.weight.copy_(torch.randn_like(self.weight) * (self.variance / self.weight.shape[1]).sqrt())
            self.adapted.fill_(True)

    def update(self, x: Tensor) -> None:
        """One step of EM."""
        y, w = x - self.mean, self.weight
        sw = y.T @ (y @ w) / len(x)
        inverse = torch.linalg.inv(self.precision())
        new = torch.linalg.solve(self.variance * torch.eye(w.shape[1]).to(w) + inverse @ w.T @ sw, sw, left=False)
        spread = y.square().sum() / len(x)
        variance = (spread - ((sw @ inverse) * new).sum()) / len(self.mean)
        if not variance > 10 * torch.finfo(x.dtype).eps * spread / len(self.mean):
            raise ValueError(
                f"models/ppca_em.py: {w.shape[1]} latents describe these data without noise: the likelihood has no "
                "maximum; take fewer"
            )
        self.variance.copy_(variance)
        self.weight.copy_(new)

    def precision(self) -> Tensor:
        """M = WᵀW + σ² I."""
        return self.weight.T @ self.weight + self.variance * torch.eye(self.weight.shape[1]).to(self.weight)

    def forward(self, z: Tensor) -> dist.TorchDistribution:
        """p(x|z)."""
        return dist.Normal(z @ self.weight.T + self.mean, self.variance.sqrt()).to_event(1)

    def posterior(self, x: Tensor) -> dist.TorchDistribution:
        """p(z|x)."""
        inverse = torch.linalg.inv(self.precision())
        factor = torch.linalg.cholesky(self.variance * inverse)
        return dist.MultivariateNormal((x - self.mean) @ self.weight @ inverse, scale_tril=factor)


def build(data: pv.Data, *, latents: int = 2) -> pv.VAE:
    """The program for vectors, without a parameter that a gradient would change."""
    features = pv.data.features(data)
    if not isinstance(latents, int) or not 1 <= latents < features:
        raise ValueError(f"models/ppca_em.py: expected 1 to {features - 1} latents, got {latents!r}")
    if bool((data.x == data.x[0]).all()):
        raise ValueError("models/ppca_em.py: expected data that differ from each other: the likelihood has no maximum")
    part = LinearGaussian(features, latents)
    return pv.VAE(prior=pv.priors.Normal(latents), likelihood=part, guide=part.posterior)
