"""Probabilistic PCA as a linear VAE: the case in which everything is known in closed form.

Tipping & Bishop 1999, "Probabilistic Principal Component Analysis": z ~ N(0, I), x | z ~ N(W z + μ, σ² I). At maximum
likelihood W = U (Λ − σ² I)^½ R for any rotation R (eq. 7) and σ² is the mean of the eigenvalues left out (eq. 8); the
posterior is N(M⁻¹Wᵀ(x − μ), σ² M⁻¹) with M = WᵀW + σ² I.

Lucas, Tucker, Grosse & Norouzi 2019, "Don't Blame the ELBO!", arXiv 1911.02469: with q(z|x) = N(V(x − μ), D) and D
diagonal, the ELBO has no local maxima that the likelihood lacks, and at the highest R = I, so that the posterior
is diagonal and the bound exact. Settings: Adam, σ² learned.

What differs: the guide's scales depend on x too (a larger family with the same optimum), and the guide standardises its
input by one shift and one spread; on request its covariance is full.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

import pyrovae as pv


def build(data: pv.Data, *, latents: int = 2, guide: str = "normal") -> pv.VAE:
    """The linear VAE, untrained.

    ``guide``: "normal" (independent latents, which holds the posterior at R = I) or "multivariate_normal" (at any R).
    """
    families = {"normal": pv.guides.Normal, "multivariate_normal": pv.guides.MultivariateNormal}
    if guide not in families:
        raise ValueError(f"guide: expected one of {', '.join(families)}, got {guide!r}")
    features = pv.data.features(data)
    outputs = 2 * latents if guide == "normal" else pv.guides.MultivariateNormal.outputs(latents)
    spread = float(data.x.double().std())
    noise = spread if spread > 0 else 1.0  # where the scale starts, so that the unit of the data does not matter to it
    return pv.VAE(
        prior=pv.priors.Normal(latents),
        likelihood=pv.likelihoods.Normal(pv.networks.MLP(latents, (), features), noise, learn_scale=True),
        guide=families[guide](pv.networks.MLP(features, (), outputs)),
    )


def maximum_likelihood(x: Tensor, latents: int) -> tuple[Tensor, Tensor, Tensor]:
    """W (d, latents) at R = I, μ (d,) and σ² () of data (n, d), in float64 (Tipping & Bishop, eq. 7 and 8).

    The columns of W are in decreasing order of length, each of either sign.
    """
    if x.dim() != 2 or not 1 <= latents < x.shape[1]:
        raise ValueError(f"expected x (n, d) and 1 to d − 1 latents, got shape {tuple(x.shape)} and {latents} latents")
    x = x.double()
    mu = x.mean(0)
    values, vectors = torch.linalg.eigh((x - mu).T @ (x - mu) / len(x))
    values, vectors = values.flip(0), vectors.flip(1)
    sigma2 = values[latents:].mean()
    if not sigma2 > 1e-12 * values[0]:
        raise ValueError(f"{latents} latents describe these data without noise: the likelihood has no maximum")
    return vectors[:, :latents] * (values[:latents] - sigma2).clamp_min(0).sqrt(), mu, sigma2


def exact_program(x: Tensor, latents: int, *, rotation: Tensor | None = None, guide: str = "normal") -> pv.VAE:
    """`build` in float64, with decoder, scale and guide set to their values at maximum likelihood on x (n, d).

    ``rotation`` R (latents, latents) turns W into W R: another maximum. The guide is then the best of its family. The
    ELBO is log p(x) for each datum with "multivariate_normal", and with "normal" if R = I; else "normal" falls short
    by ½ (Σ_j log M_jj − log |M|), the same for all x.
    """
    w, mu, sigma2 = maximum_likelihood(x, latents)
    w = w if rotation is None else w @ rotation.to(w)
    m = w.T @ w + sigma2 * torch.eye(latents, dtype=w.dtype)
    slope = torch.linalg.solve(m, w.T)
    vae = build(pv.Data(x), latents=latents, guide=guide).double()
    if guide == "normal":
        raw = softplus_inverse((sigma2 / m.diagonal()).sqrt())
    else:
        factor = torch.linalg.cholesky(sigma2 * torch.linalg.inv(m))
        factor.diagonal().copy_(softplus_inverse(factor.diagonal()))
        raw = factor[tuple(torch.tril_indices(latents, latents))]
    decoder, encoder = (vae.parts[part].network.layers[0] for part in ("likelihood", "guide"))
    with torch.no_grad():
        assign(decoder, w, mu)
        assign(encoder, torch.cat([slope, torch.zeros(len(raw), len(mu)).to(w)]), torch.cat([-slope @ mu, raw]))
        vae.parts["likelihood"].log_scale.copy_(sigma2.log() / 2)
        vae.parts["guide"].adapted.fill_(True)  # the values are for x as it is: `fit` is not to standardise it
    return vae


def assign(layer: nn.Linear, weight: Tensor, bias: Tensor) -> None:
    """Set an affine map."""
    layer.weight.copy_(weight)
    layer.bias.copy_(bias)


def softplus_inverse(y: Tensor) -> Tensor:
    """The number whose softplus is y."""
    return y + torch.log(-torch.expm1(-y))
